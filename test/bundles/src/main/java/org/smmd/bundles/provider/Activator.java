package org.smmd.bundles.provider;

import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/** Exports a package. */
public final class Activator implements BundleActivator {
  @Override
  public void start(BundleContext context) throws Exception {
    System.out.println("hello from " + context.getBundle());
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    System.out.println("goodbye from " + context.getBundle());
  }
}
