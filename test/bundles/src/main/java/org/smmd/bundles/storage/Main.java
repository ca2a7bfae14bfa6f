package org.smmd.bundles.storage;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.ServiceLoader;
import org.osgi.framework.Bundle;
import org.osgi.framework.BundleException;
import org.osgi.framework.Constants;
import org.osgi.framework.launch.Framework;
import org.osgi.framework.launch.FrameworkFactory;
import org.osgi.framework.startlevel.BundleStartLevel;

/**
 * Reads the storage of the framework on its class path: each line of standard input is a storage directory, each line of standard
 * output the answer, {@code {"bundles": […]}} or {@code {"error": "…"}}.
 *
 * <p>The framework is initialized on a copy and never started, so that no bundle runs and nothing of the original changes.
 */
public final class Main {
  private static final long STOP_MILLIS = 10_000;

  private Main() {}

  /** The entry point. */
  public static void main(String[] args) throws IOException {
    PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    System.setOut(System.err); // frameworks may write there
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      answers.println(answer(Path.of(line)));
    }
    System.exit(0); // whatever threads a framework has left
  }

  private static String answer(Path storage) {
    try (Snapshot copy = Snapshot.of(storage)) {
      return "{\"bundles\": [" + String.join(", ", bundles(copy.dir())) + "]}";
    } catch (IOException | BundleException | RuntimeException e) {
      return "{\"error\": " + quoted(e.toString()) + "}";
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return "{\"error\": \"interrupted\"}";
    }
  }

  private static List<String> bundles(Path storage) throws BundleException, InterruptedException {
    FrameworkFactory factory =
        ServiceLoader.load(FrameworkFactory.class)
            .findFirst()
            .orElseThrow(() -> new BundleException("no framework on the class path"));
    Framework framework = factory.newFramework(Map.of(Constants.FRAMEWORK_STORAGE, storage.toString()));
    List<String> all = new ArrayList<>();
    try {
      framework.init();
      for (Bundle bundle : framework.getBundleContext().getBundles()) {
        if (bundle.getBundleId() != Constants.SYSTEM_BUNDLE_ID) {
          all.add(json(bundle));
        }
      }
    } finally {
      framework.stop();
      framework.waitForStop(STOP_MILLIS);
    }
    return all;
  }

  private static String json(Bundle bundle) {
    BundleStartLevel start = bundle.adapt(BundleStartLevel.class);
    String name = bundle.getSymbolicName();
    return String.format(
        "{\"id\": %d, \"location\": %s, \"symbolic_name\": %s, \"version\": %s, \"level\": %d, \"auto_start\": %b}",
        bundle.getBundleId(),
        quoted(bundle.getLocation()),
        quoted(name == null ? "" : name),
        quoted(bundle.getVersion().toString()),
        start.getStartLevel(),
        start.isPersistentlyStarted());
  }

  private static String quoted(String text) {
    StringBuilder out = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      if (c < ' ' || c == '"' || c == '\\') {
        out.append(String.format("\\u%04x", (int) c));
      } else {
        out.append(c);
      }
    }
    return out.append('"').toString();
  }
}
