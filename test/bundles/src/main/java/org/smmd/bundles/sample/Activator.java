package org.smmd.bundles.sample;

import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/** Says hello and goodbye on standard output. */
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
