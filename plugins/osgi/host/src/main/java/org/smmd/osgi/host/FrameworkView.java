package org.smmd.osgi.host;

import com.grack.nanojson.JsonObject;
import java.util.UUID;
import org.osgi.framework.BundleContext;
import org.osgi.framework.Constants;
import org.osgi.framework.launch.Framework;
import org.osgi.framework.startlevel.FrameworkStartLevel;

/** The JSON of the framework. Sizes in KiB. */
final class FrameworkView {
  private final Framework framework;
  private final Storage storage;
  private final boolean attached;
  private final String launch;

  /**
   * Describes a framework.
   *
   * @param attached whether somebody else launched it
   */
  FrameworkView(Framework framework, Storage storage, boolean attached) {
    this.framework = framework;
    this.storage = storage;
    this.attached = attached;
    // One JVM of ours launches one framework once, so a name that is made here names that launch. In a framework that was launched by somebody else
    // the host's bundle may be started several times.
    String uuid = property(framework.getBundleContext(), Constants.FRAMEWORK_UUID);
    this.launch = attached && !uuid.isEmpty() ? uuid : UUID.randomUUID().toString();
  }

  JsonObject json() {
    BundleContext context = framework.getBundleContext();
    FrameworkStartLevel level = framework.adapt(FrameworkStartLevel.class);
    Runtime vm = Runtime.getRuntime();
    JsonObject memory = new JsonObject();
    memory.put("max", vm.maxMemory() / 1024);
    memory.put("used", (vm.totalMemory() - vm.freeMemory()) / 1024);
    JsonObject disk = new JsonObject();
    disk.put("usable", storage.usableKiB());
    JsonObject json = new JsonObject();
    json.put("uuid", property(context, Constants.FRAMEWORK_UUID));
    json.put("specVersion", property(context, Constants.FRAMEWORK_VERSION));
    json.put("vendor", property(context, Constants.FRAMEWORK_VENDOR));
    json.put("version", framework.getVersion().toString());
    json.put("name", framework.getSymbolicName());
    json.put("launch", launch);
    json.put("attached", attached);
    // 0 is told by a framework that has not begun: no level that anybody could ask for.
    json.put("startLevel", Math.max(1, level.getStartLevel()));
    json.put("initialBundleStartLevel", level.getInitialBundleStartLevel());
    json.put("memory", memory);
    json.put("storage", storage.dir.toString());
    json.put("disk", disk);
    return json;
  }

  private static String property(BundleContext context, String key) {
    String value = context == null ? null : context.getProperty(key);
    return value == null ? "" : value;
  }

  /** Whether the levels differ: changes that are told at once. */
  static boolean levelsDiffer(JsonObject a, JsonObject b) {
    return a.getInt("startLevel") != b.getInt("startLevel")
        || a.getInt("initialBundleStartLevel") != b.getInt("initialBundleStartLevel");
  }

  /** Whether memory or disk moved by more than a tenth: what changes all the time is told now and then. */
  static boolean moved(JsonObject a, JsonObject b) {
    return moved(a.getObject("memory").getLong("used"), b.getObject("memory").getLong("used"))
        || moved(a.getObject("disk").getLong("usable"), b.getObject("disk").getLong("usable"));
  }

  private static boolean moved(long a, long b) {
    return Math.abs(a - b) > Math.abs(a) / 10;
  }
}
