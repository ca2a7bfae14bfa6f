package org.smmd.osgi.host;

import java.io.IOException;
import org.osgi.framework.BundleException;
import org.osgi.framework.FrameworkEvent;
import org.osgi.framework.launch.Framework;

/**
 * Launches the framework and serves it until it ends.
 *
 * <p>Exit status: 0 after a shutdown that was asked for, 1 when the framework could not be launched or served, 2 for a wrong command line, 3
 * when another host has the storage, 4 when the framework ended without being asked to by us. Anything else is not ours: a bundle called
 * System.exit, or the JVM died.
 */
public final class Main {
  private static final int FAILED = 1;
  private static final int USAGE = 2;
  private static final int LOCKED = 3;
  private static final int ENDED = 4;

  private Main() {}

  /** The entry point; see {@link Options} for the arguments. */
  public static void main(String[] args) {
    Options options;
    try {
      options = Options.parse(args);
    } catch (IllegalArgumentException e) {
      System.err.println(e.getMessage() + "\n" + Options.USAGE);
      System.exit(USAGE);
      return;
    }
    try {
      System.exit(host(options));
    } catch (IOException | BundleException | RuntimeException | LinkageError e) {
      Log.error("cannot host a framework", e);
      System.exit(FAILED);
    } catch (InterruptedException e) {
      System.exit(FAILED); // nobody interrupts the main thread but one who wants that
    }
  }

  private static int host(Options options) throws IOException, BundleException, InterruptedException {
    Storage storage = Storage.open(options.storage());
    if (storage == null) {
      Log.warn("another host has " + options.storage());
      return LOCKED;
    }
    BrokenUpdates.takeBack(storage.framework());
    KeptContent.putBack(storage);
    Framework framework = FrameworkLauncher.init(options, storage);
    KeptContent.settle(storage, framework.getBundleContext().getBundles());
    if (options.first().apply(framework)) {
      storage.sync();
    }

    Shutdown shutdown = new Shutdown(framework, options.stopMillis());
    Host host = Host.open(framework, storage, null, version(), shutdown, options.socket());
    shutdown.onSignals();

    // A bundle that hangs in its activator may keep start from ever returning; the socket answers all the same.
    start(framework, shutdown);
    FrameworkEvent end = framework.waitForStop(0);
    host.close("the framework ended");
    if (!shutdown.begun()) {
      Log.warn("the framework ended by itself, event " + end.getType());
      return ENDED;
    }
    storage.sync();
    return 0;
  }

  private static void start(Framework framework, Shutdown shutdown) throws BundleException {
    try {
      framework.start();
    } catch (BundleException e) {
      if (!shutdown.begun()) { // otherwise it was told to stop before it had started
        throw e;
      }
    }
  }

  private static String version() {
    String version = Main.class.getPackage().getImplementationVersion();
    return version == null ? "unpackaged" : version;
  }
}
