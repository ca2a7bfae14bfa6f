package org.smmd.osgi.host;

import com.grack.nanojson.JsonObject;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.osgi.framework.Bundle;
import org.osgi.framework.startlevel.BundleStartLevel;

/** The JSON of a bundle. */
final class BundleView {
  /** What stays the same until the bundle is updated, and costs a look into its jar. */
  private record Fixed(long modified, BundleHeaders headers, long size) {}

  private final Faults faults;
  private final BundleSizes sizes;
  private final Inventory inventory;
  private final Map<Long, Fixed> fixed = new ConcurrentHashMap<>();

  BundleView(Faults faults, BundleSizes sizes, Inventory inventory) {
    this.faults = faults;
    this.sizes = sizes;
    this.inventory = inventory;
  }

  /** Describes the bundle; null when it is uninstalled. */
  JsonObject of(Bundle bundle) {
    int state = bundle.getState();
    BundleStartLevel level = state == Bundle.UNINSTALLED ? null : bundle.adapt(BundleStartLevel.class);
    if (level == null) {
      return null;
    }
    try {
      return of(bundle, state, level);
    } catch (IllegalStateException e) {
      return null; // uninstalled while we looked
    }
  }

  private JsonObject of(Bundle bundle, int state, BundleStartLevel level) {
    Fixed f = fixed(bundle);
    JsonObject json = new JsonObject();
    json.put("id", bundle.getBundleId());
    json.put("location", bundle.getLocation());
    json.put("symbolicName", bundle.getSymbolicName() == null ? "" : bundle.getSymbolicName());
    json.put("version", bundle.getVersion().toString());
    json.put("vendor", f.headers.vendor());
    json.put("description", f.headers.description());
    json.put("state", name(state));
    json.put("resolved", state != Bundle.INSTALLED);
    json.put("autoStart", level.isPersistentlyStarted());
    // The framework remembers the use of the policy only with a persistent start; ours always use it.
    json.put("lazy", f.headers.lazy() && (level.isActivationPolicyUsed() || state == Bundle.STARTING));
    json.put("startLevel", level.getStartLevel());
    json.put("fragment", f.headers.fragment());
    json.put("size", f.size);
    if (inventory.isOwn(bundle)) {
      json.put("system", true);
    }
    Fault fault = faults.of(bundle.getBundleId());
    if (fault != null) {
      JsonObject told = new JsonObject();
      told.put("reason", fault.reason().wire);
      told.put("message", fault.message());
      json.put("fault", told);
    }
    return json;
  }

  void forget(Bundle bundle) {
    fixed.remove(bundle.getBundleId());
  }

  private Fixed fixed(Bundle bundle) {
    long modified = bundle.getLastModified();
    Fixed f = fixed.get(bundle.getBundleId());
    if (f == null || f.modified != modified) {
      f = new Fixed(modified, BundleHeaders.of(bundle), sizes.of(bundle));
      fixed.put(bundle.getBundleId(), f);
    }
    return f;
  }

  static String name(int state) {
    return switch (state) {
      case Bundle.UNINSTALLED -> "UNINSTALLED";
      case Bundle.INSTALLED -> "INSTALLED";
      case Bundle.RESOLVED -> "RESOLVED";
      case Bundle.STARTING -> "STARTING";
      case Bundle.STOPPING -> "STOPPING";
      case Bundle.ACTIVE -> "ACTIVE";
      default -> throw new IllegalStateException("no bundle has state " + state);
    };
  }
}
