package org.smmd.osgi.host;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.ServiceLoader;
import org.osgi.framework.Bundle;
import org.osgi.framework.BundleException;
import org.osgi.framework.Constants;
import org.osgi.framework.launch.Framework;
import org.osgi.framework.launch.FrameworkFactory;
import org.osgi.framework.startlevel.BundleStartLevel;

/**
 * A launcher that is not ours: {@code HOST_JAR STORAGE KEY=VALUE…}. It has the host as a bundle of level 2, brings the framework to level 3, and does what it is told on
 * standard input: stop, start or update the host's bundle, or end.
 */
public final class Launcher {
  private Launcher() {}

  /** The entry point. */
  public static void main(String[] args) throws BundleException, IOException, InterruptedException {
    Map<String, String> properties = new HashMap<>();
    properties.put("eclipse.stateSaveDelayInterval", "0");
    properties.put(Constants.FRAMEWORK_STORAGE, args[1]);
    properties.put(Constants.FRAMEWORK_BEGINNING_STARTLEVEL, "3");
    for (int i = 2; i < args.length; i++) {
      int eq = args[i].indexOf('=');
      properties.put(args[i].substring(0, eq), args[i].substring(eq + 1));
    }
    Framework framework = ServiceLoader.load(FrameworkFactory.class).iterator().next().newFramework(properties);
    framework.init();
    Bundle host = framework.getBundleContext().installBundle("file:" + args[0]);
    host.adapt(BundleStartLevel.class).setStartLevel(2);
    host.start();
    framework.start();
    try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
      for (String line = in.readLine(); line != null && !line.equals("end"); line = in.readLine()) {
        switch (line) {
          case "stop" -> host.stop();
          case "start" -> host.start();
          case "update" -> host.update();
          default -> throw new IllegalArgumentException(line);
        }
      }
    }
    framework.stop();
    framework.waitForStop(0);
    System.exit(0); // whatever threads are left
  }
}
