package org.smmd.osgi.host;

/** The class of a failure. The strings travel; they are those of the Go package plugins/adapter, and they never change. */
enum Reason {
  CORRUPT("corrupt"),
  UNRESOLVED("unresolved"),
  NO_RESOURCES("no-resources"),
  NOT_FOUND("not-found"),
  EXISTS("exists"),
  BAD_STATE("bad-state"),
  START_FAILED("start-failed"),
  AUTO_START_FAILED("auto-start-failed"),
  STOP_FAILED("stop-failed"),
  FAILED_WHILE_ACTIVE("failed-while-active"),
  DEPENDENCY("dependency"),
  UNAVAILABLE("unavailable"),
  STILL_RUNNING("still-running"),
  NOT_SUPPORTED("not-supported"),
  INVALID_ARGUMENT("invalid-argument"),
  INTERNAL("internal");

  /** The string on the wire. */
  final String wire;

  Reason(String wire) {
    this.wire = wire;
  }
}
