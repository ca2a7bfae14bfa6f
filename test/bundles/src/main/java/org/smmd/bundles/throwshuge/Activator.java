package org.smmd.bundles.throwshuge;

import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/** Cannot be started, and goes on about it. */
public final class Activator implements BundleActivator {
  private static final int LENGTH = 1_000_000;

  @Override
  public void start(BundleContext context) throws Exception {
    throw new IllegalStateException("x".repeat(LENGTH));
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    System.out.println("goodbye from " + context.getBundle());
  }
}
