package org.smmd.bundles.nested;

import java.util.Map;
import java.util.ServiceLoader;
import org.osgi.framework.BundleContext;
import org.osgi.framework.BundleException;
import org.osgi.framework.launch.Framework;
import org.osgi.framework.launch.FrameworkFactory;

/** The inner framework, seen with its own API. */
public final class Child implements AutoCloseable {
  private static final long END_MILLIS = 20_000;

  private final Framework framework;

  private Child(Framework framework) {
    this.framework = framework;
  }

  /** Launches the framework. A bundle that is not there yet is installed and started; the others are as they were. */
  public static AutoCloseable launch(Map<String, String> properties, String[] bundles) throws BundleException, InterruptedException {
    FrameworkFactory factory = ServiceLoader.load(FrameworkFactory.class, Child.class.getClassLoader()).findFirst().orElseThrow();
    Child child = new Child(factory.newFramework(properties));
    try {
      child.start(bundles);
    } catch (BundleException | RuntimeException | LinkageError e) {
      child.close();
      throw e;
    }
    return child;
  }

  private void start(String[] bundles) throws BundleException {
    framework.init();
    BundleContext context = framework.getBundleContext();
    for (String path : bundles) {
      String location = "file:" + path;
      if (context.getBundle(location) == null) {
        context.installBundle(location).start(); // which the framework does once it starts
      }
    }
    framework.start();
  }

  @Override
  public void close() throws BundleException, InterruptedException {
    framework.stop();
    framework.waitForStop(END_MILLIS);
  }
}
