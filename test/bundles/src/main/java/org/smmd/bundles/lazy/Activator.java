package org.smmd.bundles.lazy;

import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/** Says hello; the manifest asks for activation by the first loaded class. */
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
