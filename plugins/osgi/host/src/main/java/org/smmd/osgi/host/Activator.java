package org.smmd.osgi.host;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import org.osgi.framework.Bundle;
import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;
import org.osgi.framework.BundleException;
import org.osgi.framework.Constants;
import org.osgi.framework.launch.Framework;
import org.osgi.framework.startlevel.FrameworkStartLevel;

/**
 * Serves a framework that somebody else launched and ends, in which the host is a bundle. What the host keeps is in the bundle's data area, so it
 * goes where the framework's storage goes.
 */
public final class Activator implements BundleActivator {
  /** The property of the framework, or of the JVM, with the path of the socket. */
  static final String SOCKET = "org.smmd.osgi.socket";

  private Host host;

  /** Begins to serve; the exception says what is wrong with the property {@code org.smmd.osgi.socket}. */
  @Override
  public void start(BundleContext context) throws BundleException, IOException {
    try {
      Path socket = socket(context);
      if (!(context.getBundle(0) instanceof Framework framework)) {
        throw new BundleException("cannot serve this framework: its system bundle is no Framework (OSGi Core 4.2.2)");
      }
      Storage storage = Storage.attached(context.getDataFile("").toPath());
      warn(context);
      restoreInitialLevel(framework, storage);
      host = Host.open(framework, storage, context.getBundle(), context.getBundle().getVersion().toString(), null, socket);
      Log.info("serving this framework on " + socket);
    } catch (BundleException | IOException | RuntimeException e) {
      Log.error("the host does not start", e);
      throw e;
    }
  }

  @Override
  public void stop(BundleContext context) {
    boolean ending = context.getBundle(0).getState() == Bundle.STOPPING;
    host.close(ending ? "the framework is stopping" : "the host bundle " + context.getBundle().getBundleId() + " was stopped");
    host = null;
  }

  private static Path socket(BundleContext context) throws BundleException {
    String path = context.getProperty(SOCKET);
    if (path == null || path.isBlank()) {
      throw new BundleException("cannot serve this framework: property " + SOCKET + " must be the path of the socket");
    }
    try {
      Path socket = Path.of(path);
      if (socket.isAbsolute() && Files.isDirectory(socket.getParent())) {
        return socket;
      }
    } catch (InvalidPathException e) {
      // the same answer as to a path that is not absolute
    }
    throw new BundleException(
        "cannot serve this framework: property " + SOCKET + " must be an absolute path in a directory that exists, not \"" + path + "\"");
  }

  /** Felix forgets the initial bundle start level. It is set once for each launch: what is set at a console afterwards stays. */
  private static void restoreInitialLevel(Framework framework, Storage storage) throws IOException {
    boolean launching = framework.getState() == Bundle.STARTING;
    if (!launching || !"org.apache.felix.framework".equals(framework.getSymbolicName()) || !Files.exists(storage.initialLevel())) {
      return;
    }
    try {
      int level = Integer.parseInt(Files.readString(storage.initialLevel()).trim());
      framework.adapt(FrameworkStartLevel.class).setInitialBundleStartLevel(level);
    } catch (IllegalArgumentException e) {
      Log.error("cannot read " + storage.initialLevel(), e);
    }
  }

  /** Equinox has defaults with which it forgets what it was asked for, or does what nobody asked for; see {@link FrameworkLauncher}. */
  private static void warn(BundleContext context) {
    if (!"org.eclipse.osgi".equals(context.getBundle(0).getSymbolicName())) {
      return;
    }
    Map<String, String> wanted = new TreeMap<>(FrameworkLauncher.EQUINOX);
    wanted.forEach(
        (key, value) -> {
          String is = context.getProperty(key);
          if (!value.equals(is)) {
            Log.warn("property " + key + " of this framework should be " + value + (is == null ? "" : ", not " + is));
          }
        });
  }
}
