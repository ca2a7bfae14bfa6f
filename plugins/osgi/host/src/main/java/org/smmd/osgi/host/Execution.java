package org.smmd.osgi.host;

import java.io.IOException;
import org.osgi.framework.Bundle;
import org.osgi.framework.BundleException;
import org.osgi.framework.launch.Framework;
import org.osgi.framework.startlevel.BundleStartLevel;
import org.osgi.framework.startlevel.FrameworkStartLevel;

/** Starts and stops bundles, and remembers why that failed. */
final class Execution {
  private final Framework framework;
  private final Inventory inventory;
  private final Calls calls;
  private final Faults faults;
  private final Publisher publisher;
  private final Storage storage;

  Execution(
      Framework framework, Inventory inventory, Calls calls, Faults faults, Publisher publisher, Storage storage) {
    this.framework = framework;
    this.inventory = inventory;
    this.calls = calls;
    this.faults = faults;
    this.publisher = publisher;
    this.storage = storage;
  }

  /** A call into a framework that throws what the framework throws. */
  private interface Deed {
    void run() throws BundleException;
  }

  /**
   * Starts a bundle, always by its activation policy.
   *
   * @param persistent whether the framework starts it again at its own next start
   * @param fault the reason of a failure of the bundle itself
   */
  void start(String location, boolean persistent, Reason fault, int millis) throws Failure {
    Bundle bundle = startable(location);
    if (bundle == null || inventory.isOwn(bundle)) {
      return; // it runs
    }
    String what = "start " + Inventory.describe(bundle);
    refuseStopping(bundle, what);
    calls.run(
        location,
        what,
        millis,
        Reason.STILL_RUNNING,
        waiter -> {
          inventory.get(location, what); // an earlier call may have removed it
          refuseStopping(bundle, what);
          faults.clear(bundle.getBundleId());
          if (!persistent) {
            refuseLevel(bundle, what, fault);
          }
          int options = Bundle.START_ACTIVATION_POLICY | (persistent ? 0 : Bundle.START_TRANSIENT);
          deed(bundle, what, fault, persistent, () -> bundle.start(options));
          return null;
        });
  }

  /**
   * Stops a bundle.
   *
   * @param persistent whether the framework leaves it stopped at its own next start; otherwise that stays as it is
   */
  void stop(String location, boolean persistent, int millis) throws Failure {
    Bundle bundle = startable(location);
    if (bundle == null) {
      return;
    }
    String what = "stop " + Inventory.describe(bundle);
    inventory.refuseOwn(bundle, what);
    calls.run(
        location,
        what,
        millis,
        Reason.STILL_RUNNING,
        waiter -> {
          inventory.get(location, what); // likewise
          faults.clear(bundle.getBundleId());
          int options = persistent ? 0 : Bundle.STOP_TRANSIENT;
          deed(bundle, what, Reason.STOP_FAILED, persistent, () -> bundle.stop(options));
          return null;
        });
  }

  /** The bundle, null for a fragment: it takes start and stop without effect. */
  private Bundle startable(String location) throws Failure {
    Bundle bundle = inventory.get(location, "use \"" + location + "\"");
    return BundleHeaders.of(bundle).fragment() ? null : bundle;
  }

  private void deed(Bundle bundle, String what, Reason reason, boolean durable, Deed deed) throws Failure {
    try {
      deed.run();
      if (durable) {
        storage.sync();
      }
    } catch (IOException e) {
      throw Failure.of(Reason.INTERNAL, what, e);
    } catch (BundleException | RuntimeException | LinkageError e) {
      Failure failure = failure(e, what, reason);
      if (failure.reason == reason || failure.reason == Reason.UNRESOLVED) {
        faults.set(bundle.getBundleId(), new Fault(failure.reason, failure.words));
      }
      if (durable) {
        syncAfter(e);
      }
      throw failure;
    } finally {
      publisher.bundle(bundle);
    }
  }

  /** The flag of a persistent start is set though the start failed, and must last. */
  private void syncAfter(Throwable thrown) {
    try {
      storage.sync();
    } catch (IOException e) {
      thrown.addSuppressed(e);
      Log.error("cannot write the storage", e);
    }
  }

  private static Failure failure(Throwable thrown, String what, Reason reason) {
    if (thrown instanceof BundleException e) {
      switch (e.getType()) {
        case BundleException.RESOLVE_ERROR:
          return Failure.of(Reason.UNRESOLVED, what, e);
        case BundleException.STATECHANGE_ERROR:
          return Failure.of(Reason.BAD_STATE, what, e);
        default:
          String words = Words.ofBundle(e);
          return new Failure(reason, "cannot " + what + ": " + words, words);
      }
    }
    if (thrown instanceof IllegalStateException) {
      return Failure.of(Reason.BAD_STATE, what, thrown); // uninstalled meanwhile
    }
    return Failure.of(reason, what, thrown);
  }

  private static void refuseStopping(Bundle bundle, String what) throws Failure {
    if (bundle.getState() == Bundle.STOPPING) {
      throw new Failure(Reason.BAD_STATE, "cannot " + what + ": it is stopping");
    }
  }

  /** Frameworks refuse a transient start above their level in words that name no level. */
  private void refuseLevel(Bundle bundle, String what, Reason reason) throws Failure {
    int wanted = bundle.adapt(BundleStartLevel.class).getStartLevel();
    int level = framework.adapt(FrameworkStartLevel.class).getStartLevel();
    if (wanted <= level || bundle.getState() == Bundle.ACTIVE || bundle.getState() == Bundle.STARTING) {
      return;
    }
    String words = "its start level " + wanted + " is above the framework's start level " + Math.max(1, level);
    faults.set(bundle.getBundleId(), new Fault(reason, words));
    publisher.bundle(bundle);
    throw new Failure(reason, "cannot " + what + ": " + words, words);
  }
}
