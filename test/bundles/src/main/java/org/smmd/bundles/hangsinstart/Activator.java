package org.smmd.bundles.hangsinstart;

import java.nio.file.Files;
import java.nio.file.Path;
import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/** Does not start until the file exists that the framework property smmd.test.release names; without the property never. */
public final class Activator implements BundleActivator {
  @Override
  public void start(BundleContext context) throws Exception {
    String file = context.getProperty("smmd.test.release");
    while (file == null || !Files.exists(Path.of(file))) {
      Thread.sleep(50);
    }
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    System.out.println("goodbye from " + context.getBundle());
  }
}
