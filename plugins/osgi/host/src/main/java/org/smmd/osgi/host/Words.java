package org.smmd.osgi.host;

import org.osgi.framework.BundleException;

/** What exceptions say, made fit to travel. The exceptions are those of foreign bundles: anything may be in them. */
final class Words {
  /** The longest text that is told, in chars. */
  static final int MAX = 4096;

  private Words() {}

  /** The message of an exception, its class name when it has none or an empty one. */
  static String of(Throwable thrown) {
    String message;
    try {
      message = thrown.getMessage();
    } catch (RuntimeException | StackOverflowError e) {
      message = null; // getMessage is the bundle's code too
    }
    return message == null || message.isBlank() ? thrown.getClass().getName() : cut(message);
  }

  /**
   * The bundle's own words: frameworks wrap what an activator threw into a BundleException. One without a cause was thrown by the
   * framework, or by the activator itself, and speaks for itself.
   */
  static String ofBundle(Throwable thrown) {
    if (thrown instanceof BundleException && thrown.getCause() != null) {
      return of(thrown.getCause());
    }
    return of(thrown);
  }

  static String cut(String text) {
    if (text.length() <= MAX) {
      return text;
    }
    int end = Character.isHighSurrogate(text.charAt(MAX - 1)) ? MAX - 1 : MAX;
    return text.substring(0, end);
  }
}
