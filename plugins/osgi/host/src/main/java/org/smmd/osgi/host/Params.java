package org.smmd.osgi.host;

import com.grack.nanojson.JsonObject;
import java.util.Base64;

/** The parameters of a request. What is missing or of a wrong type is an {@link Reason#INVALID_ARGUMENT}. */
final class Params {
  private static final int LONGEST = 4096;

  private final JsonObject json;

  Params(JsonObject json) {
    this.json = json;
  }

  /** A string that is not empty, at most 4096 chars. */
  String text(String name) throws Failure {
    if (json.get(name) instanceof String s && !s.isEmpty() && s.length() <= LONGEST && s.indexOf('\0') < 0) {
      return s;
    }
    throw invalid(name, "a string of 1 to " + LONGEST + " characters");
  }

  /** A whole number within bounds. */
  int number(String name, int least, int most) throws Failure {
    if (json.get(name) instanceof Integer n && n >= least && n <= most) {
      return n;
    }
    throw invalid(name, "a whole number from " + least + " to " + most);
  }

  /** As {@link #number(String, int, int)}, with what a missing one means. */
  int number(String name, int least, int most, int missing) throws Failure {
    return json.has(name) ? number(name, least, most) : missing;
  }

  boolean has(String name) {
    return json.has(name);
  }

  /** Bytes in Base64, at least one. */
  byte[] bytes(String name) throws Failure {
    if (json.get(name) instanceof String s && !s.isEmpty()) {
      try {
        return Base64.getDecoder().decode(s);
      } catch (IllegalArgumentException e) {
        // the same answer as to what is no text
      }
    }
    throw invalid(name, "bytes in Base64");
  }

  boolean flag(String name) throws Failure {
    if (json.get(name) instanceof Boolean b) {
      return b;
    }
    throw invalid(name, "true or false");
  }

  private static Failure invalid(String name, String wanted) {
    return new Failure(Reason.INVALID_ARGUMENT, "cannot understand the request: \"" + name + "\" must be " + wanted);
  }
}
