package org.smmd.bundles.throwsnull;

import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/** Cannot be started, and does not say why. */
public final class Activator implements BundleActivator {
  @Override
  public void start(BundleContext context) throws Exception {
    throw new UnsupportedOperationException();
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    System.out.println("goodbye from " + context.getBundle());
  }
}
