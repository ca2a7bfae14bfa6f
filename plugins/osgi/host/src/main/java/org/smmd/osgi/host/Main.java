package org.smmd.osgi.host;

import java.io.IOException;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import org.osgi.framework.Bundle;
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
  private static final long DRAIN_MILLIS = 1_000;

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
    Framework framework = FrameworkLauncher.init(options, storage);
    InstallLog installs = InstallLog.open(storage.installs());
    installs.retain(
        Arrays.stream(framework.getBundleContext().getBundles()).map(Bundle::getLocation).collect(Collectors.toSet()));

    if (options.first().apply(framework)) {
      storage.sync();
    }

    Faults faults = new Faults();
    BundleView view = new BundleView(faults, new BundleSizes(storage.framework()));
    FrameworkView frameworkView = new FrameworkView(framework, storage);
    Publisher publisher = new Publisher(framework, view, frameworkView);
    FrameworkWatcher watcher = new FrameworkWatcher(faults, publisher);
    watcher.watch(framework.getBundleContext());
    CompletableFuture<Void> started = watcher.mark(FrameworkEvent.STARTED);

    Inventory inventory = new Inventory(framework);
    Calls calls = new Calls();
    Refresher refresher = new Refresher(framework, watcher, faults, publisher);
    Shutdown shutdown = new Shutdown(framework);
    Requests requests =
        new Requests(
            framework,
            inventory,
            view,
            frameworkView,
            publisher,
            started,
            shutdown,
            new Bundles(inventory, calls, installs, refresher, faults, view, publisher, storage),
            new Execution(framework, inventory, calls, faults, publisher, storage),
            new RunLevels(framework, inventory, watcher, publisher, storage),
            new StoredJars(storage.framework()));
    Server server = Server.open(options.socket(), requests, publisher);
    shutdown.onSignals();
    new Heartbeat(publisher).start();

    // A bundle that hangs in its activator may keep start from ever returning; the socket answers all the same.
    start(framework, shutdown);
    FrameworkEvent end = framework.waitForStop(0);
    server.close();
    if (!shutdown.begun()) {
      Log.warn("the framework ended by itself, event " + end.getType());
      return ENDED;
    }
    drain(server);
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

  private static void drain(Server server) throws InterruptedException {
    long deadline = System.nanoTime() + DRAIN_MILLIS * 1_000_000;
    while (!server.drained() && System.nanoTime() < deadline) {
      Thread.sleep(5);
    }
  }
}
