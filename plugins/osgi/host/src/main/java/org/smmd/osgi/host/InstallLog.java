package org.smmd.osgi.host;

import com.grack.nanojson.JsonObject;
import com.grack.nanojson.JsonParser;
import com.grack.nanojson.JsonParserException;
import com.grack.nanojson.JsonWriter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;

/**
 * Which operation installed the bundle at a location: a JSON file {@code {"version":1,"ops":{LOCATION:OP}}}. An entry is written before
 * the bundle is installed, so a repeat after a crash is always recognized; an entry without a bundle means nothing.
 */
final class InstallLog {
  private static final int VERSION = 1;

  private final Path file;
  private final Map<String, String> ops;

  private InstallLog(Path file, Map<String, String> ops) {
    this.file = file;
    this.ops = ops;
  }

  /**
   * Reads the file. One that cannot be understood is begun anew: all that is lost is that a repeat of an install is answered with
   * {@link Reason#EXISTS}, and that is no ground to keep an environment down.
   */
  static InstallLog open(Path file) throws IOException {
    Map<String, String> ops = new HashMap<>();
    if (Files.exists(file)) {
      try {
        JsonObject read = JsonParser.object().from(Files.readString(file));
        if (read.getInt("version") == VERSION) {
          read.getObject("ops", new JsonObject()).forEach((location, op) -> ops.put(location, String.valueOf(op)));
        } else {
          Log.warn("cannot read version " + read.get("version") + " of " + file + ", begun anew");
        }
      } catch (JsonParserException | java.nio.charset.CharacterCodingException e) {
        Log.warn("cannot read " + file + ", begun anew: " + Words.of(e));
      }
    }
    return new InstallLog(file, ops);
  }

  synchronized String op(String location) {
    return ops.get(location);
  }

  /** Notes that op is about to install at location. Durable when it returns. */
  synchronized void put(String location, String op) throws IOException {
    if (!op.equals(ops.put(location, op))) {
      write();
    }
  }

  synchronized void remove(String location) throws IOException {
    if (ops.remove(location) != null) {
      write();
    }
  }

  /** Drops the entries of all other locations. */
  synchronized void retain(Set<String> locations) throws IOException {
    if (ops.keySet().retainAll(locations)) {
      write();
    }
  }

  private void write() throws IOException {
    JsonObject all = new JsonObject();
    all.put("version", VERSION);
    all.put("ops", new JsonObject(ops));
    Storage.write(file, JsonWriter.string(all));
  }
}
