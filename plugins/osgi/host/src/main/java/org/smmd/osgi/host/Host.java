package org.smmd.osgi.host;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import org.osgi.framework.Bundle;
import org.osgi.framework.BundleContext;
import org.osgi.framework.FrameworkEvent;
import org.osgi.framework.launch.Framework;

/** All that serves one framework, put together: whoever launched it. */
final class Host {
  /** How long the end waits for clients to take what is theirs. */
  private static final long DRAIN_MILLIS = 400;

  private final Publisher publisher;
  private final FrameworkWatcher watcher;
  private final BundleContext context;
  private final Heartbeat heartbeat;
  private final Requests requests;
  private final Calls calls;
  private final Server server;

  private Host(
      Publisher publisher,
      FrameworkWatcher watcher,
      BundleContext context,
      Heartbeat heartbeat,
      Requests requests,
      Calls calls,
      Server server) {
    this.publisher = publisher;
    this.watcher = watcher;
    this.context = context;
    this.heartbeat = heartbeat;
    this.requests = requests;
    this.calls = calls;
    this.server = server;
  }

  /**
   * Begins to serve the framework, which is initialized at least.
   *
   * @param own the bundle that this code is, null when it is none
   * @param version of this code
   * @param shutdown ends the framework; null when that is not ours to do
   */
  static Host open(Framework framework, Storage storage, Bundle own, String version, Runnable shutdown, Path socket)
      throws IOException {
    BundleContext context = framework.getBundleContext();
    InstallLog installs = InstallLog.open(storage.installs());
    installs.retain(Arrays.stream(context.getBundles()).map(Bundle::getLocation).collect(Collectors.toSet()));

    Faults faults = new Faults();
    Inventory inventory = new Inventory(framework, own);
    BundleView view = new BundleView(faults, new BundleSizes(storage.framework()), inventory);
    FrameworkView frameworkView = new FrameworkView(framework, storage, own != null);
    Publisher publisher = new Publisher(framework, view, frameworkView);
    FrameworkWatcher watcher = new FrameworkWatcher(framework, faults, publisher);
    watcher.watch(context);
    CompletableFuture<Void> started = watcher.mark(FrameworkEvent.STARTED);
    if (framework.getState() == Bundle.ACTIVE) {
      started.complete(null);
    }

    Calls calls = new Calls();
    Refresher refresher = new Refresher(framework, watcher, faults, publisher);
    Requests requests =
        new Requests(
            framework,
            inventory,
            view,
            frameworkView,
            publisher,
            started,
            version,
            shutdown,
            new Bundles(inventory, calls, installs, refresher, faults, view, publisher, storage),
            new Execution(framework, inventory, calls, faults, publisher, storage),
            new RunLevels(framework, inventory, watcher, publisher, storage),
            new StoredJars(storage.framework()));
    Heartbeat heartbeat = new Heartbeat(publisher);
    try {
      Server server = Server.open(socket, storage.uploads(), requests, publisher);
      heartbeat.start();
      return new Host(publisher, watcher, context, heartbeat, requests, calls, server);
    } catch (IOException | RuntimeException e) {
      watcher.unwatch(context);
      throw e;
    }
  }

  /** Ends the service: the socket goes, and the threads. What clients were told is sent, and why it ends. */
  void close(String why) {
    publisher.end(why);
    server.close(DRAIN_MILLIS);
    heartbeat.stop();
    watcher.unwatch(context);
    requests.close();
    calls.close();
  }
}
