package org.smmd.osgi.host.bundles;

import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.osgi.framework.Bundle;
import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;
import org.osgi.framework.FrameworkEvent;
import org.osgi.framework.FrameworkListener;
import org.osgi.framework.startlevel.BundleStartLevel;
import org.osgi.framework.wiring.FrameworkWiring;

/** What the bundles of the tests do. Each class is packed alone, so none uses another, and files are named by framework properties. */
public final class Activators {
  private Activators() {}

  public static class Quiet implements BundleActivator {
    @Override
    public void start(BundleContext context) {}

    @Override
    public void stop(BundleContext context) {}
  }

  public static class ThrowsInStart implements BundleActivator {
    @Override
    public void start(BundleContext context) {
      throw new IllegalStateException("boom on purpose");
    }

    @Override
    public void stop(BundleContext context) {}
  }

  public static class ThrowsNull implements BundleActivator {
    @Override
    public void start(BundleContext context) {
      throw new UnsupportedOperationException();
    }

    @Override
    public void stop(BundleContext context) {}
  }

  public static class ThrowsHuge implements BundleActivator {
    @Override
    public void start(BundleContext context) {
      throw new IllegalStateException("x".repeat(1_000_000));
    }

    @Override
    public void stop(BundleContext context) {}
  }

  public static class ThrowsInStop implements BundleActivator {
    @Override
    public void start(BundleContext context) {}

    @Override
    public void stop(BundleContext context) {
      throw new IllegalStateException("stuck on purpose");
    }
  }

  /** Fails to start for the second time. */
  public static class StartsOnce implements BundleActivator {
    @Override
    public void start(BundleContext context) throws Exception {
      if (!context.getDataFile("started").createNewFile()) {
        throw new IllegalStateException("once is enough");
      }
    }

    @Override
    public void stop(BundleContext context) {}
  }

  /** Hangs in start until the file exists. */
  public static class HangsInStart implements BundleActivator {
    @Override
    public void start(BundleContext context) throws Exception {
      while (!Files.exists(Path.of(context.getProperty("test.release")))) {
        Thread.sleep(10);
      }
    }

    @Override
    public void stop(BundleContext context) {}
  }

  /** Hangs in start until the file exists, and then fails. */
  public static class HangsAndThrows implements BundleActivator {
    @Override
    public void start(BundleContext context) throws Exception {
      while (!Files.exists(Path.of(context.getProperty("test.release")))) {
        Thread.sleep(10);
      }
      throw new IllegalStateException("late boom");
    }

    @Override
    public void stop(BundleContext context) {}
  }

  public static class HangsInStop implements BundleActivator {
    @Override
    public void start(BundleContext context) {}

    @Override
    public void stop(BundleContext context) throws Exception {
      while (!Files.exists(Path.of(context.getProperty("test.release")))) {
        Thread.sleep(10);
      }
    }
  }

  /** Installs a bundle at a location that refers to a file, as somebody at a console would. */
  public static class Refers implements BundleActivator {
    @Override
    public void start(BundleContext context) throws Exception {
      context.installBundle(context.getProperty("test.refers"));
    }

    @Override
    public void stop(BundleContext context) {}
  }

  public static class Exits implements BundleActivator {
    @Override
    public void start(BundleContext context) {
      System.exit(7);
    }

    @Override
    public void stop(BundleContext context) {}
  }

  public static class StopsFramework implements BundleActivator {
    @Override
    public void start(BundleContext context) throws Exception {
      context.getBundle(0).stop();
    }

    @Override
    public void stop(BundleContext context) {}
  }

  /** Changes its own level some time after it was started, without any event, as somebody at a console would. */
  public static class Meddles implements BundleActivator, Runnable {
    private BundleContext context;

    @Override
    public void start(BundleContext context) {
      this.context = context;
      new Thread(this).start();
    }

    @Override
    public void run() {
      while (!Files.exists(Path.of(context.getProperty("test.release")))) {
        Thread.onSpinWait();
      }
      context.getBundle().adapt(BundleStartLevel.class).setStartLevel(3);
    }

    @Override
    public void stop(BundleContext context) {}
  }

  /** Updates the bundle at the location "provider" and refreshes the framework, as somebody at a console would; returns when all have heard of the refresh. */
  public static class UpdatesAndRefreshes implements BundleActivator, FrameworkListener {
    private final Semaphore refreshes = new Semaphore(0);

    @Override
    public void start(BundleContext context) throws Exception {
      context.addFrameworkListener(this);
      Bundle provider = context.getBundle("provider");
      try (InputStream in = Files.newInputStream(Path.of(context.getProperty("test.update")))) {
        provider.update(in);
      }
      for (int i = 0; i < 2; i++) { // the second is told when the first has been told to everybody
        context.getBundle(0).adapt(FrameworkWiring.class).refreshBundles(List.of(provider));
        if (!refreshes.tryAcquire(10, TimeUnit.SECONDS)) {
          throw new IllegalStateException("no refresh");
        }
      }
    }

    @Override
    public void frameworkEvent(FrameworkEvent event) {
      if (event.getType() == FrameworkEvent.PACKAGES_REFRESHED) {
        refreshes.release();
      }
    }

    @Override
    public void stop(BundleContext context) {}
  }
}
