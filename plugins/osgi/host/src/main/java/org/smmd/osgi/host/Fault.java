package org.smmd.osgi.host;

/** Why a bundle is not in the state that was asked for. */
record Fault(Reason reason, String message) {}
