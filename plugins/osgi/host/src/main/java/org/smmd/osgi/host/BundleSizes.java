package org.smmd.osgi.host;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.osgi.framework.Bundle;

/** How much disk the framework uses for a bundle's own files, in bytes, without its data area. */
final class BundleSizes {
  private final Path framework;

  BundleSizes(Path framework) {
    this.framework = framework;
  }

  /** The size, or -1 when this framework does not let us see it. */
  long of(Bundle bundle) {
    try {
      File file = bundle.adapt(File.class); // Equinox
      if (file != null) {
        return sum(file.toPath());
      }
      Path dir = framework.resolve("bundle" + bundle.getBundleId()); // Felix
      if (Files.isDirectory(dir)) {
        return sum(dir);
      }
    } catch (IOException | UncheckedIOException e) {
      return -1; // removed while we looked
    }
    return -1;
  }

  private static long sum(Path root) throws IOException {
    if (Files.isRegularFile(root)) {
      return Files.size(root);
    }
    Path data = root.resolve("data");
    try (Stream<Path> walk = Files.walk(root)) {
      return walk.filter(p -> !p.startsWith(data) && Files.isRegularFile(p)).mapToLong(p -> p.toFile().length()).sum();
    }
  }
}
