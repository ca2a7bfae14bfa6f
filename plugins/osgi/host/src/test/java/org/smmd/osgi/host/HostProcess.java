package org.smmd.osgi.host;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** A host in a JVM of its own, with the options that the adapter gives it. */
final class HostProcess implements AutoCloseable {
  private static final long LIMIT_MILLIS = 20_000;

  final Process process;
  final Path socket;
  private final Path log;

  private HostProcess(Process process, Path socket, Path log) {
    this.process = process;
    this.socket = socket;
    this.log = log;
  }

  static HostProcess launch(String framework, Path dir, String... more) throws IOException {
    return launch(Map.of(), framework, dir, more);
  }

  /** As {@link #launch(String, Path, String...)}, with other environment variables. */
  static HostProcess launch(Map<String, String> environment, String framework, Path dir, String... more) throws IOException {
    Path socket = dir.resolve("s");
    Path log = dir.resolve("log");
    String jars = System.getProperty("host.jar") + File.pathSeparator + System.getProperty("frameworks") + "/" + framework;
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(List.of("-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError"));
    command.addAll(List.of("-Duser.language=de", "-cp", jars, "org.smmd.osgi.host.Main"));
    command.addAll(List.of("--socket", socket.toString(), "--storage", dir.resolve("storage").toString()));
    command.addAll(List.of(more));
    return run(environment, command, socket, log);
  }

  /** Launches a framework that has the host as a bundle: {@link Launcher}. */
  static HostProcess attach(String framework, Path dir, String... properties) throws IOException {
    String jars = System.getProperty("test.classes") + File.pathSeparator + System.getProperty("frameworks") + "/" + framework;
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(List.of("-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", jars, Launcher.class.getName()));
    command.addAll(List.of(System.getProperty("host.jar"), dir.resolve("storage").toString()));
    command.addAll(List.of(properties));
    return run(Map.of(), command, dir.resolve("s"), dir.resolve("log"));
  }

  private static HostProcess run(Map<String, String> environment, List<String> command, Path socket, Path log) throws IOException {
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.appendTo(log.toFile()));
    builder.environment().putAll(environment);
    return new HostProcess(builder.start(), socket, log);
  }

  /** Connects as soon as the host listens, says hello and subscribes. */
  Client connect() throws IOException {
    Client client = greet();
    client.call("subscribe");
    return client;
  }

  Client greet() throws IOException {
    Client client = dial();
    client.read();
    client.call("hello", "protocol", 1);
    return client;
  }

  Client dial() throws IOException {
    long deadline = System.nanoTime() + LIMIT_MILLIS * 1_000_000;
    while (true) {
      try {
        return new Client(socket);
      } catch (IOException e) {
        if (!process.isAlive() || System.nanoTime() > deadline) {
          throw new AssertionError("no host: " + Files.readString(log), e);
        }
        Thread.onSpinWait();
      }
    }
  }

  /** Tells the launcher of a framework that it has the host in to do something. */
  void tell(String line) throws IOException {
    process.getOutputStream().write((line + "\n").getBytes(StandardCharsets.UTF_8));
    process.getOutputStream().flush();
  }

  /** Waits until the log says this. */
  void awaitLog(String text) throws IOException {
    long deadline = System.nanoTime() + LIMIT_MILLIS * 1_000_000;
    while (!Files.exists(log) || !Files.readString(log).contains(text)) {
      if (System.nanoTime() > deadline) {
        throw new AssertionError("the log does not say \"" + text + "\": " + Files.readString(log));
      }
      Thread.onSpinWait();
    }
  }

  /** Ends it as a power cut would. */
  void kill() {
    process.destroyForcibly();
    exit();
  }

  int exit() {
    try {
      if (!process.waitFor(LIMIT_MILLIS, TimeUnit.MILLISECONDS)) {
        throw new AssertionError("the host did not end");
      }
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
    return process.exitValue();
  }

  @Override
  public void close() {
    kill();
  }
}
