package org.smmd.bundles.slowstart;

import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/** Takes two seconds to start. */
public final class Activator implements BundleActivator {
  @Override
  public void start(BundleContext context) throws Exception {
    Thread.sleep(2_000);
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    System.out.println("goodbye from " + context.getBundle());
  }
}
