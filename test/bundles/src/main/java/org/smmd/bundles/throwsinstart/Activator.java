package org.smmd.bundles.throwsinstart;

import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/** Cannot be started. */
public final class Activator implements BundleActivator {
  @Override
  public void start(BundleContext context) throws Exception {
    throw new IllegalStateException("boom on purpose");
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    System.out.println("goodbye from " + context.getBundle());
  }
}
