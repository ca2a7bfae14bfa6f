package org.smmd.osgi.host;

import java.util.Map;
import org.osgi.framework.Bundle;
import org.osgi.framework.BundleContext;
import org.osgi.framework.BundleException;
import org.osgi.framework.launch.Framework;
import org.osgi.framework.startlevel.BundleStartLevel;

/**
 * What was set of bundles while the framework was down. It is taken over when the framework is initialized and starts nothing yet, so a
 * bundle that would bring it down can be kept from that.
 *
 * @param levels start levels by the bundles' locations
 * @param autoStart persistent start flags by the bundles' locations
 */
record First(Map<String, Integer> levels, Map<String, Boolean> autoStart) {
  /** Takes it over, as far as the bundles are there; says whether anything was changed. */
  boolean apply(Framework framework) {
    BundleContext context = framework.getBundleContext();
    boolean changed = false;
    for (Map.Entry<String, Integer> e : levels.entrySet()) {
      Bundle bundle = find(context, e.getKey());
      if (bundle != null) {
        bundle.adapt(BundleStartLevel.class).setStartLevel(e.getValue());
        changed = true;
      }
    }
    for (Map.Entry<String, Boolean> e : autoStart.entrySet()) {
      Bundle bundle = find(context, e.getKey());
      if (bundle != null) {
        flag(bundle, e.getValue());
        changed = true;
      }
    }
    return changed;
  }

  private static Bundle find(BundleContext context, String location) {
    Bundle bundle = context.getBundle(location);
    return bundle == null || bundle.getBundleId() == 0 ? null : bundle;
  }

  /** The framework is at level 0, which no bundle is: the flag alone is set. */
  private static void flag(Bundle bundle, boolean on) {
    try {
      if (on) {
        bundle.start(Bundle.START_ACTIVATION_POLICY);
      } else {
        bundle.stop();
      }
    } catch (BundleException e) {
      Log.error("cannot set the persistent start flag of " + Inventory.describe(bundle), e); // a fragment
    }
  }
}
