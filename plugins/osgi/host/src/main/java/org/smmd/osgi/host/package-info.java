/**
 * The host of one OSGi framework.
 *
 * <p>The host is the process of an execution environment: it launches the framework that lies beside it on the class path and serves it
 * to whoever connects to its Unix socket. Or it is a bundle in a framework that somebody else launched, and serves that: {@link org.smmd.osgi.host.Activator}
 * in place of {@link org.smmd.osgi.host.Main}. It holds no wishes. What should be installed or running is the business of
 * the adapter; the host does what one request says, tells what is so, and keeps what the framework itself forgets: the last fault
 * of each bundle, and which operation installed it. It outlives its clients: the adapter may die and come back at any time.
 *
 * <p>The class path belongs to the framework and its bundles, so the only library of the host is relocated into this package's
 * jar. PROTOCOL.md is what travels on the socket.
 */
package org.smmd.osgi.host;
