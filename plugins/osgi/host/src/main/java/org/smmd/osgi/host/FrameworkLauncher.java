package org.smmd.osgi.host;

import java.io.IOException;
import java.nio.file.Files;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.ServiceLoader;
import org.osgi.framework.BundleException;
import org.osgi.framework.Constants;
import org.osgi.framework.launch.Framework;
import org.osgi.framework.launch.FrameworkFactory;

/** Makes the framework from whatever {@link FrameworkFactory} is on the class path. */
final class FrameworkLauncher {
  /** What Equinox has to be told; others do not know these properties. */
  static final Map<String, String> EQUINOX =
      Map.of(
          // Equinox writes its table of bundles 30 s after a change unless told otherwise, and a kill loses every install since.
          // It looks for this among the framework's properties and not among those of the system.
          "eclipse.stateSaveDelayInterval", "0",
          // Equinox alone starts a bundle with the persistent flag as soon as it resolves, also one that was stopped on purpose or is
          // being updated. Starting is the adapter's decision, on every framework.
          "osgi.module.auto.start.on.resolve", "false",
          // Equinox sets the persistent flag of every bundle with a lazy activation policy when it is installed.
          "osgi.compatibility.eagerStart.LazyActivation", "false");

  private FrameworkLauncher() {}

  /** Returns the framework, initialized and not started: its bundles are known and none of them runs. */
  static Framework init(Options options, Storage storage) throws BundleException, IOException {
    Iterator<FrameworkFactory> factories = ServiceLoader.load(FrameworkFactory.class).iterator();
    if (!factories.hasNext()) {
      throw new BundleException("no framework on the class path");
    }
    FrameworkFactory factory = factories.next();
    if (factories.hasNext()) {
      throw new BundleException(
          "more than one framework on the class path: "
              + factory.getClass().getName()
              + ", "
              + factories.next().getClass().getName());
    }
    Framework framework = factory.newFramework(configuration(options, storage));
    framework.init();
    return framework;
  }

  private static Map<String, String> configuration(Options options, Storage storage) throws IOException {
    Map<String, String> c = new HashMap<>();
    c.putAll(EQUINOX);
    c.putAll(options.properties());
    // Felix forgets the initial bundle start level, and asks for it here; others remember it and do not look.
    if (Files.exists(storage.initialLevel())) {
      c.put("felix.startlevel.bundle", Files.readString(storage.initialLevel()).trim());
    }
    c.put(Constants.FRAMEWORK_STORAGE, storage.framework().toString());
    c.put(Constants.FRAMEWORK_BEGINNING_STARTLEVEL, Integer.toString(options.startLevel()));
    // What the storage holds is the environment: nothing may ask for it to be wiped.
    c.remove(Constants.FRAMEWORK_STORAGE_CLEAN);
    return c;
  }
}
