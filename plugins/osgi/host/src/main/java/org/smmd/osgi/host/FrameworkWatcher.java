package org.smmd.osgi.host;

import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.osgi.framework.Bundle;
import org.osgi.framework.BundleContext;
import org.osgi.framework.BundleEvent;
import org.osgi.framework.BundleException;
import org.osgi.framework.FrameworkEvent;
import org.osgi.framework.FrameworkListener;
import org.osgi.framework.SynchronousBundleListener;
import org.osgi.framework.launch.Framework;
import org.osgi.framework.startlevel.BundleStartLevel;
import org.osgi.framework.wiring.FrameworkWiring;

/**
 * Hears what the framework says. Bundle events come in the thread that causes them, so what a request did is told before its answer.
 * Framework events come later, in order, from a thread of the framework: an error of a bundle that the framework itself tried to start or stop is a fault
 * of that bundle, and one that comes after the end of what caused it is waited for by {@link #mark}.
 */
final class FrameworkWatcher implements SynchronousBundleListener, FrameworkListener {
  /** A refresh that goes on; errors of its bundles are collected and not judged. */
  final class Refresh {
    private final Set<Bundle> bundles;
    private final Map<Long, Fault> failed;
    private final CompletableFuture<Void> done;

    private Refresh(Set<Bundle> bundles, Map<Long, Fault> failed) {
      this.bundles = bundles;
      this.failed = failed;
      this.done = mark(FrameworkEvent.PACKAGES_REFRESHED);
    }

    boolean await(long millis) {
      return FrameworkWatcher.await(done, millis);
    }

    void end() {
      refresh = null;
    }
  }

  private record Mark(int type, CompletableFuture<Void> seen) {}

  private final Framework framework;
  private final Faults faults;
  private final Publisher publisher;
  private final Phases phases = new Phases();
  private final CopyOnWriteArrayList<Mark> marks = new CopyOnWriteArrayList<>();
  /** Bundles that have been unresolved since the last refresh that somebody else asked for, at a console say; each with whether it ran until then. */
  private final Map<Bundle, Boolean> rewired = new ConcurrentHashMap<>();
  private volatile Refresh refresh;

  FrameworkWatcher(Framework framework, Faults faults, Publisher publisher) {
    this.framework = framework;
    this.faults = faults;
    this.publisher = publisher;
  }

  void watch(BundleContext context) {
    context.addBundleListener(this);
    context.addFrameworkListener(this);
  }

  void unwatch(BundleContext context) {
    try {
      context.removeBundleListener(this);
      context.removeFrameworkListener(this);
    } catch (IllegalStateException e) {
      // the framework has stopped and forgotten its listeners
    }
  }

  Refresh refresh(Set<Bundle> bundles, Map<Long, Fault> failed) {
    refresh = new Refresh(Set.copyOf(new HashSet<>(bundles)), failed);
    return refresh;
  }

  /** Completes when the next framework event of this type comes, after all events before it. */
  CompletableFuture<Void> mark(int type) {
    Mark mark = new Mark(type, new CompletableFuture<>());
    marks.add(mark);
    return mark.seen;
  }

  /** Waits for a mark; whether it came in time. */
  static boolean await(CompletableFuture<Void> mark, long millis) {
    try {
      mark.get(millis, TimeUnit.MILLISECONDS);
      return true;
    } catch (TimeoutException e) {
      return false;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    } catch (ExecutionException e) {
      throw new IllegalStateException(e.getCause()); // marks are only ever completed
    }
  }

  @Override
  public void bundleChanged(BundleEvent event) {
    Bundle bundle = event.getBundle();
    phases.changed(bundle.getBundleId(), event.getType());
    switch (event.getType()) {
      case BundleEvent.UNINSTALLED -> {
        rewired.remove(bundle);
        faults.clear(bundle.getBundleId());
        publisher.removed(bundle);
        return;
      }
      case BundleEvent.UNRESOLVED -> rewired.put(bundle, phases.ranUntilUnresolved(bundle.getBundleId()));
      case BundleEvent.STARTED, BundleEvent.UPDATED -> {
        rewired.remove(bundle);
        faults.clear(bundle.getBundleId());
      }
      default -> {
        // a change of state alone
      }
    }
    publisher.bundle(bundle);
  }

  @Override
  public void frameworkEvent(FrameworkEvent event) {
    switch (event.getType()) {
      case FrameworkEvent.ERROR -> error(event.getBundle(), event.getThrowable());
      case FrameworkEvent.STARTED, FrameworkEvent.STARTLEVEL_CHANGED -> publisher.framework(false);
      case FrameworkEvent.PACKAGES_REFRESHED -> refreshed();
      default -> {
        // of no interest to a client
      }
    }
    for (Mark mark : marks) {
      if (mark.type == event.getType()) {
        marks.remove(mark);
        mark.seen.complete(null);
      }
    }
  }

  /** Not every framework reports an error of a bundle that a refresh has left without what it imports. */
  private void refreshed() {
    rewired.forEach(
        (bundle, ran) -> {
          rewired.remove(bundle);
          if (refresh == null && faults.of(bundle.getBundleId()) == null && leftBehind(bundle, ran)) {
            faults.set(bundle.getBundleId(), new Fault(Reason.DEPENDENCY, "unresolved since a refresh of the framework"));
            publisher.bundle(bundle);
          }
        });
  }

  /**
   * Whether a refresh has left the bundle without what it imports. Felix resolves only those that it starts again: one that is to run and did
   * not, since it was stopped for now or is above the framework's level, is left behind if it cannot be resolved.
   *
   * @param ran whether it ran before the refresh
   */
  boolean leftBehind(Bundle bundle, boolean ran) {
    return bundle.getState() == Bundle.INSTALLED
        && (ran
            || (bundle.adapt(BundleStartLevel.class).isPersistentlyStarted()
                && !framework.adapt(FrameworkWiring.class).resolveBundles(List.of(bundle))));
  }

  private void error(Bundle bundle, Throwable thrown) {
    if (bundle == null || bundle.getBundleId() == 0 || !(thrown instanceof BundleException e)) {
      if (thrown != null) {
        Log.error("the framework reports an error", thrown);
      }
      return;
    }
    Fault fault;
    if (e.getType() == BundleException.RESOLVE_ERROR) {
      fault = new Fault(rewired.containsKey(bundle) ? Reason.DEPENDENCY : Reason.UNRESOLVED, Words.of(e));
    } else {
      boolean stop = phases.stopped(bundle.getBundleId());
      Reason start = rewired.containsKey(bundle) ? Reason.FAILED_WHILE_ACTIVE : Reason.AUTO_START_FAILED;
      fault = new Fault(stop ? Reason.STOP_FAILED : start, Words.ofBundle(e));
    }
    Refresh now = refresh;
    if (now != null && now.bundles.contains(bundle)) {
      now.failed.put(bundle.getBundleId(), fault);
      return;
    }
    int state = bundle.getState();
    if (state == Bundle.ACTIVE || state == Bundle.UNINSTALLED) {
      return; // started or removed since: the event was on its way
    }
    faults.set(bundle.getBundleId(), fault);
    publisher.bundle(bundle);
  }
}
