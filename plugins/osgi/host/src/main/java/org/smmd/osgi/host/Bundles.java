package org.smmd.osgi.host;

import com.grack.nanojson.JsonObject;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import org.osgi.framework.Bundle;
import org.osgi.framework.BundleContext;
import org.osgi.framework.BundleException;
import org.osgi.framework.startlevel.BundleStartLevel;

/** Installs, updates and uninstalls bundles. None of that starts one. */
final class Bundles {
  private final Inventory inventory;
  private final Calls calls;
  private final InstallLog installs;
  private final Refresher refresher;
  private final Faults faults;
  private final BundleView view;
  private final Publisher publisher;
  private final Storage storage;

  Bundles(
      Inventory inventory,
      Calls calls,
      InstallLog installs,
      Refresher refresher,
      Faults faults,
      BundleView view,
      Publisher publisher,
      Storage storage) {
    this.inventory = inventory;
    this.calls = calls;
    this.installs = installs;
    this.refresher = refresher;
    this.faults = faults;
    this.view = view;
    this.publisher = publisher;
    this.storage = storage;
  }

  /**
   * Installs the file at the location. A bundle that the same operation installed there is the success of before.
   *
   * @param startLevel the bundle's start level, -1 for the framework's initial one
   */
  JsonObject install(String location, String path, String op, int startLevel, int millis) throws Failure {
    String what = "install " + path;
    return calls.run(
        location,
        what,
        millis,
        Reason.BAD_STATE,
        waiter -> {
          try {
            // installBundle returns the old bundle of a known location and does not look at the file.
            Bundle bundle = inventory.find(location, what);
            if (inventory.isFramework(location) || (bundle != null && !op.equals(installs.op(location)))) {
              throw new Failure(Reason.EXISTS, "cannot " + what + ": a bundle is at \"" + location + "\"");
            }
            if (bundle == null) {
              bundle = install(inventory.context(what), location, path, op);
            }
            if (startLevel > 0) {
              bundle.adapt(BundleStartLevel.class).setStartLevel(startLevel);
            }
            storage.sync();
            return told(bundle, what);
          } catch (BundleException e) {
            throw fileFailure(what, e);
          } catch (IOException e) {
            throw ioFailure(what, e);
          }
        });
  }

  private Bundle install(BundleContext context, String location, String path, String op)
      throws Failure, IOException, BundleException {
    try (InputStream in = open(path)) {
      installs.put(location, op);
      return context.installBundle(location, in);
    } catch (BundleException | RuntimeException e) {
      installs.remove(location);
      throw e;
    }
  }

  /** Replaces the bundle at the location by the file and rewires its dependents. It is stopped; its flag and level stay. */
  JsonObject update(String location, String path, int millis) throws Failure {
    String what = "update \"" + location + "\" to " + path;
    inventory.changeable(location, what);
    return calls.run(
        location,
        what,
        millis,
        Reason.BAD_STATE,
        waiter -> {
          Bundle bundle = inventory.changeable(location, what); // an earlier call may have removed it
          try (InputStream in = open(path)) {
            KeptContent old = KeptContent.of(storage, bundle);
            Refresher.Dependents dependents;
            try {
              halt(bundle, what, waiter);
              dependents = refresher.dependents(bundle);
              bundle.update(in);
            } catch (Failure | BundleException e) {
              old.release(); // nothing was replaced
              throw e;
            }
            faults.clear(bundle.getBundleId());
            if (!dependents.framework()) {
              refresher.refresh(bundle, dependents);
            }
            storage.sync();
            old.release(); // not before the update is recorded: what fails before that leaves it for the next launch to settle
            return told(bundle, what);
          } catch (BundleException e) {
            publisher.bundle(bundle);
            throw fileFailure(what, e);
          } catch (IOException e) {
            throw ioFailure(what, e);
          }
        });
  }

  /** Removes the bundle at the location and rewires its dependents. Returns whether something is left for the next launch. */
  boolean uninstall(String location, int millis) throws Failure {
    String what = "uninstall \"" + location + "\"";
    return calls.run(
        location,
        what,
        millis,
        Reason.BAD_STATE,
        waiter -> {
          Bundle bundle = inventory.find(location, what);
          if (bundle == null) {
            return false;
          }
          inventory.refuseOwn(bundle, what);
          try {
            halt(bundle, what, waiter);
            Refresher.Dependents dependents = refresher.dependents(bundle);
            bundle.uninstall();
            installs.remove(location);
            // The framework's own extensions go with it.
            if (!dependents.framework()) {
              refresher.refresh(bundle, dependents);
            }
            storage.sync();
            return dependents.framework();
          } catch (BundleException e) {
            throw Failure.of(e.getType() == BundleException.STATECHANGE_ERROR ? Reason.BAD_STATE : Reason.INTERNAL, what, e);
          } catch (IOException e) {
            throw ioFailure(what, e);
          }
        });
  }

  /**
   * Stops the bundle. One that objects is stopped all the same, and going to be replaced: its objection is logged. One that hangs until
   * nobody waits any more keeps the rest from happening behind the caller's back.
   */
  private static void halt(Bundle bundle, String what, Calls.Waiter waiter) throws Failure {
    if (!BundleHeaders.of(bundle).fragment()) {
      try {
        bundle.stop(Bundle.STOP_TRANSIENT);
      } catch (BundleException e) {
        if (e.getType() == BundleException.STATECHANGE_ERROR) {
          throw Failure.of(Reason.BAD_STATE, what, e);
        }
        Log.warn(Inventory.describe(bundle) + " failed to stop: " + Words.ofBundle(e));
      }
    }
    if (waiter.gone()) {
      throw new Failure(Reason.BAD_STATE, "cannot " + what + ": it took too long to stop");
    }
  }

  private JsonObject told(Bundle bundle, String what) throws Failure {
    view.forget(bundle); // a refresh changes its size on disk, and not its time of modification
    publisher.bundle(bundle);
    JsonObject json = view.of(bundle);
    if (json == null) {
      throw new Failure(Reason.BAD_STATE, "cannot " + what + ": it was uninstalled meanwhile");
    }
    return json;
  }

  private static InputStream open(String path) throws Failure {
    try {
      return Files.newInputStream(Path.of(path));
    } catch (IOException | InvalidPathException e) {
      throw new Failure(Reason.CORRUPT, "cannot read " + path + ": " + e.getClass().getSimpleName(), Words.of(e));
    }
  }

  /** A framework that refuses a file. Most say no more than that it could not be read, so the few that say more are told apart. */
  private static Failure fileFailure(String what, BundleException e) {
    return switch (e.getType()) {
      case BundleException.DUPLICATE_BUNDLE_ERROR -> Failure.of(Reason.EXISTS, what, e);
      case BundleException.STATECHANGE_ERROR, BundleException.REJECTED_BY_HOOK -> Failure.of(Reason.BAD_STATE, what, e);
      default -> {
        // Frameworks say that they could not, their innermost exception says why.
        String words = Words.of(e);
        Throwable root = root(e);
        String why = root == e ? words : words + ": " + Words.of(root);
        yield new Failure(noSpace(e) ? Reason.NO_RESOURCES : Reason.CORRUPT, "cannot " + what + ": " + why, words);
      }
    };
  }

  static Failure ioFailure(String what, IOException e) {
    return Failure.of(noSpace(e) ? Reason.NO_RESOURCES : Reason.INTERNAL, what, e);
  }

  private static Throwable root(Throwable thrown) {
    Throwable root = thrown;
    while (root.getCause() != null) {
      root = root.getCause();
    }
    return root;
  }

  /** Whether the disk was full: Java has no exception for it, only the text of errno. */
  private static boolean noSpace(Throwable thrown) {
    for (Throwable t = thrown; t != null; t = t.getCause()) {
      String message = t.getMessage();
      if (message != null && (message.contains("No space left") || message.contains("quota exceeded"))) {
        return true;
      }
    }
    return false;
  }
}
