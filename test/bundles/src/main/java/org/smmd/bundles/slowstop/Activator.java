package org.smmd.bundles.slowstop;

import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/** Takes two seconds to stop. */
public final class Activator implements BundleActivator {
  @Override
  public void start(BundleContext context) throws Exception {
    System.out.println("hello from " + context.getBundle());
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    Thread.sleep(2_000);
  }
}
