package org.smmd.osgi.host;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/**
 * The files of the environment. Of a framework that the host launched, all are in one directory:
 *
 * <pre>
 *   DIR/host.lock        held while a host lives
 *   DIR/installs.json    see {@link InstallLog}
 *   DIR/initial-level    the initial bundle start level that was set last, see {@link RunLevels}
 *   DIR/uploads/         packages that clients are sending, see {@link Upload}
 *   DIR/kept/            see {@link KeptContent}
 *   DIR/framework/       the framework's own
 * </pre>
 *
 * In a framework that somebody else launched, DIR is the data area of the host's bundle, which is in the framework's own directory.
 */
final class Storage {
  private static final long SYNC_SECONDS = 60;

  /** The directory that everything is in, the framework's own included. */
  final Path dir;
  private final Path framework;
  private final Path state;
  /** Held until the process ends; the file stays, or two hosts could lock two files of one name. */
  private final FileLock lock;

  private Storage(Path dir, Path framework, Path state, FileLock lock) {
    this.dir = dir;
    this.framework = framework;
    this.state = state;
    this.lock = lock;
  }

  /** Makes the directory if need be and locks it; null when another host has it. */
  static Storage open(Path dir) throws IOException {
    if (!Files.isDirectory(dir)) {
      Files.createDirectories(dir, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
    }
    FileChannel file =
        FileChannel.open(dir.resolve("host.lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
    FileLock lock = file.tryLock();
    if (lock == null) {
      file.close();
      return null;
    }
    return new Storage(dir, dir.resolve("framework"), dir, lock);
  }

  /**
   * The storage of a framework that somebody else launched, which locks it itself.
   *
   * @param data the data area of the host's bundle: bundle5/data in the storage of Felix, 5/data in that of Equinox
   */
  static Storage attached(Path data) throws IOException {
    Path state = data.toAbsolutePath().normalize();
    Files.createDirectories(state);
    Path framework = state.getParent().getParent();
    return new Storage(framework, framework, state, null);
  }

  Path framework() {
    return framework;
  }

  Path installs() {
    return state.resolve("installs.json");
  }

  Path initialLevel() {
    return state.resolve("initial-level");
  }

  Path uploads() {
    return state.resolve("uploads");
  }

  /** Null in a framework that somebody else launches: nobody is there to put anything back before that. */
  Path kept() {
    return lock == null ? null : state.resolve("kept");
  }

  /** The space that is left for the framework, in KiB, -1 when the file system does not say. */
  long usableKiB() {
    try {
      return Files.getFileStore(dir).getUsableSpace() / 1024;
    } catch (IOException e) {
      return -1;
    }
  }

  /**
   * Makes what the framework wrote safe against a power cut. Frameworks write without fsync, to files that only they know, so it is
   * the whole file system, by the sync tool; a tool that cannot do that is replaced by an fsync of everything in the directory.
   */
  void sync() throws IOException {
    if (!syncfs()) {
      forceAll();
    }
  }

  private boolean syncfs() throws IOException {
    Process sync;
    try {
      sync =
          new ProcessBuilder(List.of("sync", "-f", dir.toString()))
              .redirectErrorStream(true)
              .redirectOutput(ProcessBuilder.Redirect.DISCARD)
              .start();
    } catch (IOException e) {
      return false; // no such tool
    }
    try {
      if (!sync.waitFor(SYNC_SECONDS, TimeUnit.SECONDS)) {
        sync.destroyForcibly();
        throw new IOException("the storage was not written within " + SYNC_SECONDS + " s");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while the storage was written", e);
    }
    return sync.exitValue() == 0;
  }

  private void forceAll() throws IOException {
    List<Path> all;
    try (Stream<Path> walk = Files.walk(dir)) {
      all = walk.toList();
    } catch (java.io.UncheckedIOException e) {
      throw e.getCause();
    }
    for (Path path : all) {
      force(path);
    }
  }

  /** Replaces a file whole and durably: after a crash there is the old text or the new one. */
  static void write(Path file, String text) throws IOException {
    Path next = file.resolveSibling(file.getFileName() + ".new");
    try (FileChannel out =
        FileChannel.open(
            next, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
      ByteBuffer bytes = ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
      while (bytes.hasRemaining()) {
        out.write(bytes);
      }
      out.force(true);
    }
    Files.move(next, file, StandardCopyOption.ATOMIC_MOVE);
    force(file.getParent());
  }

  /** Makes a file, or the entries of a directory, durable. One that has gone meanwhile needs it no more. */
  static void force(Path path) throws IOException {
    try (FileChannel file = FileChannel.open(path, StandardOpenOption.READ)) {
      file.force(true);
    } catch (NoSuchFileException e) {
      return;
    }
  }
}
