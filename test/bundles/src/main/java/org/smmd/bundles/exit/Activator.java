package org.smmd.bundles.exit;

import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/** Takes the whole JVM with it. */
public final class Activator implements BundleActivator {
  @Override
  public void start(BundleContext context) throws Exception {
    System.exit(7);
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    System.out.println("goodbye from " + context.getBundle());
  }
}
