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
  private final Framework framework;
  private final long limitMillis;
  private final AtomicBoolean begun = new AtomicBoolean();

  Shutdown(Framework framework, long limitMillis) {
    this.framework = framework;
    this.limitMillis = limitMillis;
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
    Threads.start("smmd-halt", this::haltLater);
    Threads.start("smmd-shutdown", this::stop);
  }

  private void stop() {
    try {
      framework.stop();
    } catch (BundleException | RuntimeException e) {
      Log.error("cannot stop the framework", e);
    }
  }

  private void haltLater() {
    try {
      Thread.sleep(limitMillis);
    } catch (InterruptedException e) {
      return;
    }
    Log.warn("the framework did not stop within " + limitMillis + " ms, halted");
    Runtime.getRuntime().halt(0);
  }
}
