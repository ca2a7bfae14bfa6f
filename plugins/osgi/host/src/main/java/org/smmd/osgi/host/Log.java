package org.smmd.osgi.host;

import java.time.Instant;
import java.time.temporal.ChronoUnit;

/** Lines for the operator, on standard error; who starts the host says where that goes. */
final class Log {
  private Log() {}

  static void info(String message) {
    line("INFO", message);
  }

  static void warn(String message) {
    line("WARN", message);
  }

  static void error(String message, Throwable thrown) {
    line("ERROR", message + ": " + thrown.getClass().getName() + ": " + Words.of(thrown));
  }

  private static void line(String level, String message) {
    String flat = Words.cut(message).replace('\n', ' ').replace('\r', ' ');
    System.err.println(Instant.now().truncatedTo(ChronoUnit.MILLIS) + " " + level + " smmd osgi host: " + flat);
  }
}
