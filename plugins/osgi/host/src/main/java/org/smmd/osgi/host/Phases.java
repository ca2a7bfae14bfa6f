package org.smmd.osgi.host;

import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.osgi.framework.BundleEvent;

/**
 * Whether a bundle last came to rest by being stopped or by failing to start. The framework's error events do not say it, and after a failed start
 * some frameworks tell of a stop too; but only what had started can be stopped.
 *
 * <p>And who stopped it: a refresh stops and unresolves its bundles in one thread, so one that another thread stopped did not run before it.
 */
final class Phases {
  private final Set<Long> running = new HashSet<>();
  private final Set<Long> stopped = new HashSet<>();
  /** The threads that stopped bundles, which have not been unresolved since, by the ids of both. */
  private final Map<Long, Long> stoppers = new HashMap<>();

  synchronized void changed(long bundle, int event) {
    switch (event) {
      case BundleEvent.STARTING -> {
        stopped.remove(bundle);
        stoppers.remove(bundle);
      }
      case BundleEvent.STARTED -> running.add(bundle);
      case BundleEvent.STOPPING -> {
        if (running.remove(bundle)) {
          stopped.add(bundle);
          stoppers.put(bundle, Thread.currentThread().getId());
        }
      }
      case BundleEvent.UNINSTALLED -> {
        running.remove(bundle);
        stopped.remove(bundle);
        stoppers.remove(bundle);
      }
      default -> {
        // says nothing about it
      }
    }
  }

  synchronized boolean stopped(long bundle) {
    return stopped.contains(bundle);
  }

  /** A bundle is unresolved by this thread: whether it ran until this thread stopped it for that. */
  synchronized boolean ranUntilUnresolved(long bundle) {
    Long stopper = stoppers.remove(bundle);
    return stopper != null && stopper == Thread.currentThread().getId();
  }
}
