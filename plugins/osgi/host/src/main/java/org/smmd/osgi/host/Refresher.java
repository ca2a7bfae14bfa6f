package org.smmd.osgi.host;

import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import org.osgi.framework.Bundle;
import org.osgi.framework.launch.Framework;
import org.osgi.framework.wiring.FrameworkWiring;

/**
 * Rewires what depends on a bundle that was updated or uninstalled. The framework stops the dependents, resolves them anew and starts those
 * that ran; one that is left behind gets a fault, since nobody asked for its end.
 */
final class Refresher {
  /** How long a request waits for the dependents; starting them enters their code. */
  private static final long WAIT_MILLIS = 30_000;

  /** What a refresh would disturb. */
  static final class Dependents {
    /** The dependents, each with whether it ran. */
    private final Map<Bundle, Boolean> ran = new LinkedHashMap<>();
    private boolean framework;
    private final String cause;

    private Dependents(String cause) {
      this.cause = cause;
    }

    /** Whether the framework itself is one of them: it would end, and everything with it. */
    boolean framework() {
      return framework;
    }
  }

  private final Framework framework;
  private final FrameworkWatcher watcher;
  private final Faults faults;
  private final Publisher publisher;
  private final ReentrantLock one = new ReentrantLock(true);

  Refresher(Framework framework, FrameworkWatcher watcher, Faults faults, Publisher publisher) {
    this.framework = framework;
    this.watcher = watcher;
    this.faults = faults;
    this.publisher = publisher;
  }

  /** What depends on the bundle now, to be asked before it is changed. */
  Dependents dependents(Bundle bundle) {
    Dependents d = new Dependents(Inventory.describe(bundle));
    Collection<Bundle> closure = framework.adapt(FrameworkWiring.class).getDependencyClosure(List.of(bundle));
    for (Bundle b : closure) {
      int state = b.getState();
      if (b.getBundleId() == 0) {
        d.framework = true;
      } else if (!b.equals(bundle) && state != Bundle.INSTALLED && state != Bundle.UNINSTALLED) {
        d.ran.put(b, state == Bundle.ACTIVE || state == Bundle.STARTING);
      }
    }
    return d;
  }

  /** Refreshes the bundle and its dependents; returns when that is done, or goes on without us for too long. */
  void refresh(Bundle bundle, Dependents dependents) {
    one.lock();
    try {
      Map<Long, Fault> failed = new ConcurrentHashMap<>();
      FrameworkWatcher.Refresh refresh = watcher.refresh(dependents.ran.keySet(), failed);
      framework.adapt(FrameworkWiring.class).refreshBundles(List.of(bundle));
      if (!refresh.await(WAIT_MILLIS)) {
        Log.warn("the dependents of " + dependents.cause + " are still being refreshed");
      }
      refresh.end();
      dependents.ran.forEach((b, ran) -> settle(b, ran, failed.get(b.getBundleId()), dependents.cause));
    } finally {
      one.unlock();
    }
  }

  private void settle(Bundle b, boolean ran, Fault failed, String cause) {
    int state = b.getState();
    if (state == Bundle.UNINSTALLED) {
      return;
    }
    if (watcher.leftBehind(b, ran)) {
      String message = failed == null ? "unresolved since " + cause + " was changed or removed" : failed.message();
      faults.set(b.getBundleId(), new Fault(Reason.DEPENDENCY, message));
    } else if (state == Bundle.RESOLVED && ran && failed != null) {
      faults.set(b.getBundleId(), new Fault(Reason.FAILED_WHILE_ACTIVE, failed.message()));
    }
    publisher.bundle(b);
  }
}
