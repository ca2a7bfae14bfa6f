package org.smmd.osgi.host;

import org.osgi.framework.Bundle;
import org.osgi.framework.BundleContext;
import org.osgi.framework.launch.Framework;
import org.osgi.framework.startlevel.BundleStartLevel;

/**
 * The bundles of the framework by location. The framework's own bundle is none of them: nobody may stop or remove it by a request. That of the
 * host, if the host is a bundle, is one, and nobody may change it either.
 */
final class Inventory {
  private final Framework framework;
  /** The host's bundle, null if it is none. */
  private final Bundle own;

  Inventory(Framework framework, Bundle own) {
    this.framework = framework;
    this.own = own;
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

  /** As {@link #get}, for a request that changes the bundle. */
  Bundle changeable(String location, String what) throws Failure {
    Bundle bundle = get(location, what);
    refuseOwn(bundle, what);
    return bundle;
  }

  /** Refuses to change the host's bundle; there may be none. */
  void refuseOwn(Bundle bundle, String what) throws Failure {
    if (isOwn(bundle)) {
      throw new Failure(Reason.NOT_SUPPORTED, "cannot " + what + ": it is the host, by which the framework is managed");
    }
  }

  boolean isOwn(Bundle bundle) {
    return own != null && bundle != null && own.getBundleId() == bundle.getBundleId();
  }

  /** The level below which the framework would stop the host, 0 when the host is no bundle. */
  int ownLevel() {
    return own == null ? 0 : own.adapt(BundleStartLevel.class).getStartLevel();
  }

  boolean isFramework(String location) {
    return location.equals(framework.getLocation());
  }

  static String describe(Bundle bundle) {
    return "bundle " + bundle.getBundleId() + " (" + bundle.getSymbolicName() + " " + bundle.getVersion() + ")";
  }
}
