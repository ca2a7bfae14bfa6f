package org.smmd.osgi.host;

import java.io.IOException;
import java.util.concurrent.CompletableFuture;
import org.osgi.framework.Bundle;
import org.osgi.framework.FrameworkEvent;
import org.osgi.framework.launch.Framework;
import org.osgi.framework.startlevel.BundleStartLevel;
import org.osgi.framework.startlevel.FrameworkStartLevel;

/** The start levels of the framework and of bundles. */
final class RunLevels {
  /** How long an answer waits for the errors that the framework has still to deliver; they are told in any case. */
  private static final long EVENTS_MILLIS = 2_000;

  private final Framework framework;
  private final Inventory inventory;
  private final FrameworkWatcher watcher;
  private final Publisher publisher;
  private final Storage storage;

  RunLevels(
      Framework framework, Inventory inventory, FrameworkWatcher watcher, Publisher publisher, Storage storage) {
    this.framework = framework;
    this.inventory = inventory;
    this.watcher = watcher;
    this.publisher = publisher;
    this.storage = storage;
  }

  /** Moves the framework to the level. The framework does that in its own time and queues what comes meanwhile. */
  void set(int level, int millis) throws Failure {
    String what = "set the start level to " + level;
    inventory.context(what);
    if (level < inventory.ownLevel()) {
      throw new Failure(
          Reason.NOT_SUPPORTED,
          "cannot " + what + ": the start level of the host, by which the framework is managed, is " + inventory.ownLevel());
    }
    CompletableFuture<Void> reached = new CompletableFuture<>();
    CompletableFuture<Void> events = watcher.mark(FrameworkEvent.STARTLEVEL_CHANGED);
    framework.adapt(FrameworkStartLevel.class).setStartLevel(level, event -> reached.complete(null));
    if (!FrameworkWatcher.await(reached, millis)) {
      throw new Failure(Reason.STILL_RUNNING, "cannot " + what + " within " + millis + " ms: a bundle takes longer");
    }
    FrameworkWatcher.await(events, EVENTS_MILLIS);
    publisher.framework(false);
  }

  /** Sets the level that bundles get which are installed from now on. It is noted too, for the framework that does not keep it. */
  void setInitial(int level) throws Failure {
    String what = "set the initial bundle start level to " + level;
    inventory.context(what);
    try {
      Storage.write(storage.initialLevel(), Integer.toString(level));
    } catch (IOException e) {
      throw Failure.of(Reason.INTERNAL, what, e);
    }
    framework.adapt(FrameworkStartLevel.class).setInitialBundleStartLevel(level);
    sync(what);
    publisher.framework(false);
  }

  /** Sets a bundle's level. The framework starts or stops it for that afterwards, in a thread of its own. */
  void setBundle(String location, int level) throws Failure {
    String what = "set the start level of \"" + location + "\" to " + level;
    Bundle bundle = inventory.changeable(location, what);
    bundle.adapt(BundleStartLevel.class).setStartLevel(level);
    sync(what);
    publisher.bundle(bundle);
  }

  private void sync(String what) throws Failure {
    try {
      storage.sync();
    } catch (IOException e) {
      throw Failure.of(Reason.INTERNAL, what, e);
    }
  }
}
