package org.smmd.bundles.nested;

import java.io.InputStream;
import java.lang.reflect.InvocationTargetException;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/**
 * Runs a framework inside the JVM of its own framework for as long as it is started. The framework property smmd.test.nested names a properties
 * file with its class path, the bundles that are to be in it, both separated by commas, and besides these the properties of the inner framework.
 */
public final class Activator implements BundleActivator {
  private URLClassLoader loader;
  private AutoCloseable child;

  @Override
  public void start(BundleContext context) throws Exception {
    Properties words = new Properties();
    try (InputStream in = Files.newInputStream(Path.of(context.getProperty("smmd.test.nested")))) {
      words.load(in);
    }
    String[] classPath = ((String) words.remove("class_path")).split(",");
    String[] bundles = ((String) words.remove("bundles")).split(",");
    Map<String, String> properties = new HashMap<>();
    words.forEach((key, value) -> properties.put((String) key, (String) value));
    // The API of the inner framework is its own, so the loader sees nothing of this one: only Java, and its jars.
    loader = new URLClassLoader("nested", urls(classPath), ClassLoader.getPlatformClassLoader());
    try {
      child = launch(properties, bundles);
    } catch (Exception | Error e) {
      loader.close();
      throw e;
    }
    System.out.println("hello from " + context.getBundle());
  }

  /** What uses the API of the inner framework is loaded beside it. */
  private AutoCloseable launch(Map<String, String> properties, String[] bundles) throws Exception {
    Thread thread = Thread.currentThread();
    ClassLoader before = thread.getContextClassLoader();
    thread.setContextClassLoader(loader); // the threads that the framework makes have it too
    try {
      return (AutoCloseable)
          loader.loadClass("org.smmd.bundles.nested.Child").getMethod("launch", Map.class, String[].class).invoke(null, properties, bundles);
    } catch (InvocationTargetException e) {
      throw e.getCause() instanceof Exception cause ? cause : e;
    } finally {
      thread.setContextClassLoader(before);
    }
  }

  private static URL[] urls(String[] paths) throws MalformedURLException {
    URL[] urls = new URL[paths.length];
    for (int i = 0; i < paths.length; i++) {
      urls[i] = Path.of(paths[i]).toUri().toURL();
    }
    return urls;
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    try {
      child.close();
    } finally {
      loader.close();
    }
    System.out.println("goodbye from " + context.getBundle());
  }
}
