package org.smmd.bundles.rewire;

import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;
import org.smmd.bundles.provider.api.Greeting;

/** Needs the provider's package and starts once in its life. */
public final class Activator implements BundleActivator {
  @Override
  public void start(BundleContext context) throws Exception {
    System.out.println(new Greeting().text() + " to " + context.getBundle());
    if (context.getDataFile("started").createNewFile()) {
      return;
    }
    throw new IllegalStateException("once is enough");
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    System.out.println("goodbye from " + context.getBundle());
  }
}
