package org.smmd.bundles.provider.api;

/** What the provider exports. */
public final class Greeting {
  /** Returns the words. */
  public String text() {
    return "greetings";
  }
}
