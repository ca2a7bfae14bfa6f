package org.smmd.osgi.host;

import org.osgi.framework.Bundle;
import org.osgi.framework.BundleContext;
import org.osgi.framework.launch.Framework;

/** The bundles of the framework by location. The framework's own bundle is none of them: nobody may stop or remove it by a request. */
final class Inventory {
  private final Framework framework;

  Inventory(Framework framework) {
    this.framework = framework;
  }

  /** The context of the system bundle. */
  BundleContext context(String what) throws Failure {
    BundleContext context = framework.getBundleContext();
    int state = framework.getState();
    if (context == null || (state != Bundle.ACTIVE && state != Bundle.STARTING)) {
      throw new Failure(Reason.UNAVAILABLE, "cannot " + what + ": the framework is not running");
    }
    return context;
  }

  /** The bundle at the location, null when there is none. */
  Bundle find(String location, String what) throws Failure {
    BundleContext context = context(what);
    if (location.equals(framework.getLocation())) {
      return null; // getBundle would return the system bundle
    }
    return context.getBundle(location);
  }

  Bundle get(String location, String what) throws Failure {
    Bundle bundle = find(location, what);
    if (bundle == null) {
      throw new Failure(Reason.NOT_FOUND, "cannot " + what + ": no bundle is at this location");
    }
    return bundle;
  }

  boolean isFramework(String location) {
    return location.equals(framework.getLocation());
  }

  static String describe(Bundle bundle) {
    return "bundle " + bundle.getBundleId() + " (" + bundle.getSymbolicName() + " " + bundle.getVersion() + ")";
  }
}
