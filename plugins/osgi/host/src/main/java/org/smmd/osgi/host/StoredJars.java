package org.smmd.osgi.host;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.osgi.framework.Bundle;

/**
 * The jars that the framework keeps of its bundles: what came in by a stream or from a URL is stored as it came. No specification says where, so
 * this knows the frameworks.
 */
final class StoredJars {
  /** Felix: bundle5/version0.1/bundle.jar is the content of bundle 5 after 0 refreshes and 1 update. */
  private static final Pattern FELIX_REVISION = Pattern.compile("version(\\d{1,18})\\.(\\d{1,18})");

  private final Path framework;

  StoredJars(Path framework) {
    this.framework = framework;
  }

  /** The jar of the bundle's present content. */
  Path of(Bundle bundle, String what) throws Failure {
    try {
      File file = bundle.adapt(File.class); // Equinox
      Path jar = file != null ? file.toPath() : felix(bundle.getBundleId());
      if (jar == null) {
        throw unsupported(what, "the framework does not say where it keeps its jars");
      }
      if (!Files.exists(jar) || !jar.toRealPath().startsWith(framework.toRealPath())) {
        throw unsupported(what, "it was installed by reference, and the framework has no jar of its own of it");
      }
      if (!Files.isRegularFile(jar)) {
        throw unsupported(what, "the framework keeps a directory of it and not the jar");
      }
      return jar;
    } catch (IOException e) {
      throw Failure.of(Reason.INTERNAL, what, e); // removed while we looked
    }
  }

  /** Where the jar is, if it was not installed by reference; null when this is not Felix. */
  private Path felix(long id) throws IOException {
    Path dir = framework.resolve("bundle" + id);
    if (!Files.isDirectory(dir)) {
      return null;
    }
    try (Stream<Path> revisions = Files.list(dir)) {
      return revisions
          .filter(r -> FELIX_REVISION.matcher(r.getFileName().toString()).matches())
          .max(Comparator.comparingLong((Path r) -> number(r, 1)).thenComparingLong(r -> number(r, 2)))
          .map(r -> r.resolve("bundle.jar"))
          .orElse(null);
    }
  }

  private static long number(Path revision, int group) {
    Matcher m = FELIX_REVISION.matcher(revision.getFileName().toString());
    return m.matches() ? Long.parseLong(m.group(group)) : -1;
  }

  private static Failure unsupported(String what, String why) {
    return new Failure(Reason.NOT_SUPPORTED, "cannot " + what + ": " + why, why);
  }
}
