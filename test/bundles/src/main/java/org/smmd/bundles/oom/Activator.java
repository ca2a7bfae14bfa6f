package org.smmd.bundles.oom;

import java.util.ArrayList;
import java.util.List;
import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/** Uses up the heap. */
public final class Activator implements BundleActivator {
  @Override
  public void start(BundleContext context) throws Exception {
    List<byte[]> all = new ArrayList<>();
    while (true) {
      all.add(new byte[16 << 20]);
    }
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    System.out.println("goodbye from " + context.getBundle());
  }
}
