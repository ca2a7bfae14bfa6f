package org.smmd.osgi.host;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The command line.
 *
 * @param socket the path of the Unix socket to listen on
 * @param storage the directory that is the environment's own, made if it is missing
 * @param properties further properties of the framework, which go before those that the host sets
 * @param startLevel the level at which the framework begins, 1 or more
 * @param stopMillis how long the framework may take to stop before the JVM is halted
 * @param first what is to be so of bundles before any is started
 */
record Options(Path socket, Path storage, Map<String, String> properties, int startLevel, int stopMillis, First first) {
  static final String USAGE =
      "usage: java -cp osgi-host.jar:FRAMEWORK.jar org.smmd.osgi.host.Main --socket PATH --storage DIR"
          + " [--property KEY=VALUE …] [--start-level N] [--stop-timeout MILLIS] [--bundle-level 'N LOCATION' …] [--auto-start 'true|false LOCATION' …]";

  /** Parses the arguments; throws IllegalArgumentException with a message for the operator. */
  static Options parse(String[] args) {
    Path socket = null;
    Path storage = null;
    Map<String, String> properties = new LinkedHashMap<>();
    int startLevel = 1;
    int stopMillis = 20_000;
    Map<String, Integer> levels = new LinkedHashMap<>();
    Map<String, Boolean> autoStart = new LinkedHashMap<>();
    for (int i = 0; i < args.length; i += 2) {
      String key = args[i];
      if (i + 1 == args.length) {
        throw new IllegalArgumentException(key + " needs a value");
      }
      String value = args[i + 1];
      switch (key) {
        case "--socket" -> socket = Path.of(value).toAbsolutePath();
        case "--storage" -> storage = Path.of(value).toAbsolutePath();
        case "--property" -> {
          int eq = value.indexOf('=');
          if (eq < 1) {
            throw new IllegalArgumentException("--property needs KEY=VALUE, not \"" + value + "\"");
          }
          properties.put(value.substring(0, eq), value.substring(eq + 1));
        }
        case "--start-level" -> startLevel = number(key, value);
        case "--stop-timeout" -> stopMillis = number(key, value);
        case "--bundle-level" -> levels.put(location(key, value), number(key, word(value)));
        case "--auto-start" -> autoStart.put(location(key, value), flag(key, word(value)));
        default -> throw new IllegalArgumentException("unknown option \"" + key + "\"");
      }
    }
    if (socket == null || storage == null) {
      throw new IllegalArgumentException("--socket and --storage are needed");
    }
    return new Options(socket, storage, Map.copyOf(properties), startLevel, stopMillis, new First(levels, autoStart));
  }

  /** The value of an option about a bundle: a word, a blank, and the bundle's location, which may hold blanks too. */
  private static String location(String key, String value) {
    int blank = value.indexOf(' ');
    if (blank < 1 || blank + 1 == value.length()) {
      throw new IllegalArgumentException(key + " needs a value, a blank and a location, not \"" + value + "\"");
    }
    return value.substring(blank + 1);
  }

  private static String word(String value) {
    return value.substring(0, value.indexOf(' '));
  }

  private static boolean flag(String key, String value) {
    if (!value.equals("true") && !value.equals("false")) {
      throw new IllegalArgumentException(key + " needs true or false, not \"" + value + "\"");
    }
    return value.equals("true");
  }

  private static int number(String key, String value) {
    try {
      int number = Integer.parseInt(value);
      if (number >= 1) {
        return number;
      }
    } catch (NumberFormatException e) {
      // the same answer as to a number that is too small
    }
    throw new IllegalArgumentException(key + " needs a number of 1 or more, not \"" + value + "\"");
  }
}
