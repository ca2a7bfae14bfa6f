package org.smmd.osgi.host;

import java.util.HashSet;
import java.util.Set;
import org.osgi.framework.BundleEvent;

/**
 * Whether a bundle last came to rest by being stopped or by failing to start. The framework's error events do not say it, and after a failed start
 * some frameworks tell of a stop too; but only what had started can be stopped.
 */
final class Phases {
  private final Set<Long> running = new HashSet<>();
  private final Set<Long> stopped = new HashSet<>();

  synchronized void changed(long bundle, int event) {
    switch (event) {
      case BundleEvent.STARTING -> stopped.remove(bundle);
      case BundleEvent.STARTED -> running.add(bundle);
      case BundleEvent.STOPPING -> {
        if (running.remove(bundle)) {
          stopped.add(bundle);
        }
      }
      case BundleEvent.UNINSTALLED -> {
        running.remove(bundle);
        stopped.remove(bundle);
      }
      default -> {
        // says nothing about it
      }
    }
  }

  synchronized boolean stopped(long bundle) {
    return stopped.contains(bundle);
  }
}
