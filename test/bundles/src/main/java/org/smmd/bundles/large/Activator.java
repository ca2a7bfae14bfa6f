package org.smmd.bundles.large;

import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/** Says hello; the jar is large. */
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
