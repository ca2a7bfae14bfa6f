package org.smmd.bundles.storage;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;

/**
 * A copy of a directory in which somebody may be writing: it is taken again until nothing has changed meanwhile. It is gone when it is
 * closed.
 */
record Snapshot(Path dir) implements AutoCloseable {
  private static final int ATTEMPTS = 100;

  static Snapshot of(Path original) throws IOException {
    for (int i = 0; i < ATTEMPTS; i++) {
      Snapshot copy = new Snapshot(Files.createTempDirectory("smmd-storage-"));
      boolean whole = false;
      try {
        Map<Path, List<Object>> before = listing(original);
        copy.take(original, before.keySet());
        whole = before.equals(listing(original));
      } catch (NoSuchFileException | UncheckedIOException e) {
        if (e instanceof UncheckedIOException && !(e.getCause() instanceof NoSuchFileException)) {
          throw e;
        }
        // Something has gone meanwhile.
      } finally {
        if (!whole) {
          copy.close();
        }
      }
      if (whole) {
        return copy;
      }
    }
    throw new IOException(original + " is never at rest");
  }

  /** Returns every file and directory, with what tells that it has changed. */
  private static Map<Path, List<Object>> listing(Path root) throws IOException {
    Map<Path, List<Object>> all = new TreeMap<>(); // a directory comes before what is in it
    try (Stream<Path> walk = Files.walk(root)) {
      for (Path path : (Iterable<Path>) walk::iterator) {
        BasicFileAttributes a = Files.readAttributes(path, BasicFileAttributes.class);
        all.put(root.relativize(path), List.of(a.fileKey(), a.isDirectory() ? 0 : a.size(), a.lastModifiedTime()));
      }
    }
    return all;
  }

  private void take(Path original, Iterable<Path> paths) throws IOException {
    for (Path path : paths) {
      Path from = original.resolve(path);
      Path to = dir.resolve(path);
      if (Files.isDirectory(from)) {
        Files.createDirectories(to);
      } else {
        Files.copy(from, to);
      }
    }
  }

  @Override
  public void close() throws IOException {
    List<Path> all;
    try (Stream<Path> walk = Files.walk(dir)) {
      all = walk.sorted(Comparator.reverseOrder()).toList();
    }
    for (Path path : all) {
      Files.delete(path);
    }
  }
}
