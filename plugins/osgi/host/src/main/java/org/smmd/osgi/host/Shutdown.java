package org.smmd.osgi.host;

import java.util.concurrent.atomic.AtomicBoolean;
import org.osgi.framework.BundleException;
import org.osgi.framework.launch.Framework;
import sun.misc.Signal;

/**
 * The orderly end: the framework stops its bundles and the JVM exits with 0, within a time limit. There is no shutdown hook on purpose:
 * a bundle that calls System.exit in its activator would wait in it for itself.
 */
final class Shutdown implements Runnable {
  private static final long LIMIT_MILLIS = 20_000;

  private final Framework framework;
  private final AtomicBoolean begun = new AtomicBoolean();

  Shutdown(Framework framework) {
    this.framework = framework;
  }

  /** Ends on SIGTERM and SIGINT, as on request. */
  void onSignals() {
    for (String name : new String[] {"TERM", "INT"}) {
      try {
        Signal.handle(new Signal(name), signal -> run());
      } catch (IllegalArgumentException | LinkageError e) {
        Log.error("cannot handle SIG" + name + ", it ends the host at once", e);
      }
    }
  }

  boolean begun() {
    return begun.get();
  }

  /** Begins the end and returns; the main thread sees the framework stop and exits. */
  @Override
  public void run() {
    if (!begun.compareAndSet(false, true)) {
      return;
    }
    Log.info("shutting down");
    Threads.start("smmd-halt", Shutdown::haltLater);
    Threads.start("smmd-shutdown", this::stop);
  }

  private void stop() {
    try {
      framework.stop();
    } catch (BundleException | RuntimeException e) {
      Log.error("cannot stop the framework", e);
    }
  }

  private static void haltLater() {
    try {
      Thread.sleep(LIMIT_MILLIS);
    } catch (InterruptedException e) {
      return;
    }
    Log.warn("the framework did not stop within " + LIMIT_MILLIS + " ms, halted");
    Runtime.getRuntime().halt(0);
  }
}
