package org.smmd.bundles.trouble;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.osgi.framework.BundleActivator;
import org.osgi.framework.BundleContext;

/**
 * Does what it is told in the files start, stop and later of the directory that the framework property smmd.test.trouble names, each a properties
 * file: do is throw, with a message to be said so many times, exit, with a status, oom, or hang, for as long as the file is there. Without a file nothing happens.
 */
public final class Activator implements BundleActivator {
  private static final int PAUSE_MILLIS = 20;
  private static final int CHUNK_BYTES = 16 << 20;

  private Path dir;
  private Thread later;

  @Override
  public void start(BundleContext context) throws Exception {
    dir = Path.of(context.getProperty("smmd.test.trouble"));
    act("start");
    later = new Thread(this::later, "later");
    later.setDaemon(true);
    later.start();
    System.out.println("hello from " + context.getBundle());
  }

  @Override
  public void stop(BundleContext context) throws Exception {
    later.interrupt();
    act("stop");
    System.out.println("goodbye from " + context.getBundle());
  }

  /** A thread of the bundle's own, in which it does while it is active what the file says once it is there. */
  private void later() {
    try {
      while (!Files.exists(dir.resolve("later"))) {
        Thread.sleep(PAUSE_MILLIS);
      }
      act("later");
    } catch (InterruptedException e) {
      // stopped before anything was asked for
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  private void act(String when) throws IOException, InterruptedException {
    Path file = dir.resolve(when);
    if (!Files.exists(file)) {
      return;
    }
    Properties words = new Properties();
    try (InputStream in = Files.newInputStream(file)) {
      words.load(in);
    }
    switch (words.getProperty("do")) {
      case "throw" -> {
        String message = words.getProperty("message");
        int times = Integer.parseInt(words.getProperty("times", "1"));
        throw new IllegalStateException(message == null ? null : message.repeat(times));
      }
      case "exit" -> System.exit(Integer.parseInt(words.getProperty("status")));
      case "oom" -> {
        List<byte[]> all = new ArrayList<>();
        while (true) {
          all.add(new byte[CHUNK_BYTES]);
        }
      }
      case "hang" -> {
        while (Files.exists(file)) {
          Thread.sleep(PAUSE_MILLIS);
        }
      }
      default -> throw new IllegalArgumentException(file + ": " + words);
    }
  }
}
