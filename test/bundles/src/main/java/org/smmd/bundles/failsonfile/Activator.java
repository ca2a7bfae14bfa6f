package org.smmd.bundles.failsonfile;

import java.nio.file.Files;
import java.nio.file.Path;
import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/** Cannot be started while the file exists that the framework property smmd.test.fail names. */
public final class Activator implements BundleActivator {
  @Override
  public void start(BundleContext context) throws Exception {
    String file = context.getProperty("smmd.test.fail");
    if (file != null && Files.exists(Path.of(file))) {
      throw new IllegalStateException("refused by " + file);
    }
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    System.out.println("goodbye from " + context.getBundle());
  }
}
