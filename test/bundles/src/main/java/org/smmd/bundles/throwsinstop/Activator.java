package org.smmd.bundles.throwsinstop;

import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/** Cannot be stopped in good order. */
public final class Activator implements BundleActivator {
  @Override
  public void start(BundleContext context) throws Exception {
    System.out.println("hello from " + context.getBundle());
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    throw new IllegalStateException("stuck on purpose");
  }
}
