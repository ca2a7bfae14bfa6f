package org.smmd.bundles.consumer;

import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;
import org.smmd.bundles.provider.api.Greeting;

/** Needs the provider's package. */
public final class Activator implements BundleActivator {
  @Override
  public void start(BundleContext context) throws Exception {
    System.out.println(new Greeting().text() + " to " + context.getBundle());
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    System.out.println("goodbye from " + context.getBundle());
  }
}
