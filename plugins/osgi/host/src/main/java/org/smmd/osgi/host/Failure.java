package org.smmd.osgi.host;

/** A request that failed: the reason, a message for the operator that starts "cannot …", and the framework's or bundle's own words. */
final class Failure extends Exception {
  final Reason reason;
  /** The message of the exception behind it, never longer than {@link Words#MAX}; null when there is none. */
  final String words;

  Failure(Reason reason, String message) {
    this(reason, message, null);
  }

  Failure(Reason reason, String message, String words) {
    super(Words.cut(message), null, false, false);
    this.reason = reason;
    this.words = words;
  }

  /** What a call into the framework threw, for calls in which every exception means the same. */
  static Failure of(Reason reason, String what, Throwable thrown) {
    String words = Words.of(thrown);
    return new Failure(reason, "cannot " + what + ": " + words, words);
  }
}
