package org.smmd.osgi.host;

import java.io.File;
import java.io.IOException;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.osgi.framework.Bundle;

/**
 * Keeps the old content of a bundle over its update. Equinox removes the old content before it writes into its table that there is a
 * new one, and at its next launch it drops a bundle whose content is gone: if the JVM was killed in between, the bundle is lost. So the
 * content has a second name, outside of what is the framework's, until the update is recorded.
 *
 * <p>Felix does not say where a content is, and needs none of this: see {@link BrokenUpdates}.
 */
final class KeptContent {
  /** EPERM, EXDEV and ENOTSUP, of which Java tells only what glibc and musl call them. */
  private static final Set<String> LINKLESS =
      Set.of(
          "Operation not permitted", "Invalid cross-device link", "Cross-device link", "Operation not supported", "Not supported");

  /** Null: nothing is kept. */
  private final Path name;

  private KeptContent(Path name) {
    this.name = name;
  }

  /** Gives the present content of the bundle its second name; a file system without links does without. Throws what else is in the way. */
  static KeptContent of(Storage storage, Bundle bundle) throws IOException {
    Path content = content(storage, bundle);
    if (storage.kept() == null || content == null) {
      return new KeptContent(null);
    }
    Path name = storage.kept().resolve(content);
    Files.createDirectories(name.getParent());
    Files.deleteIfExists(name);
    try {
      Files.createLink(name, storage.framework().resolve(content));
    } catch (UnsupportedOperationException | IOException e) {
      requireLinkless(e);
      Log.warn("the update of " + Inventory.describe(bundle) + " is not safe against a kill, its old content cannot be linked: " + Words.of(e));
      return new KeptContent(null);
    }
    for (Path dir = name.getParent(); dir.startsWith(storage.dir); dir = dir.getParent()) {
      Storage.force(dir);
    }
    return new KeptContent(name);
  }

  /** Throws the exception again, unless it says that there are no links on the file system, or none from there to here. */
  static void requireLinkless(Exception e) throws IOException {
    // The classes derived from FileSystemException are causes of their own: no permission, no such file.
    String reason = e.getClass() == FileSystemException.class ? ((FileSystemException) e).getReason() : null;
    boolean linkless = reason != null && LINKLESS.contains(reason);
    if (e instanceof IOException failure && !linkless) {
      throw failure;
    }
  }

  /** The update is recorded, or was none. A name that cannot be removed does no harm to either: the next launch removes it. */
  void release() {
    if (name == null) {
      return;
    }
    try {
      Files.delete(name);
      Files.delete(name.getParent());
      Files.delete(name.getParent().getParent());
    } catch (DirectoryNotEmptyException e) {
      // Another content of the bundle, of an update that broke off.
    } catch (IOException e) {
      Log.error("cannot remove the second name of an old content, it stays until the next launch", e);
    }
  }

  /** Puts back what was removed by updates that broke off; the framework must not run. */
  static void putBack(Storage storage) throws IOException {
    for (Path content : all(storage)) {
      Path file = storage.framework().resolve(content);
      if (!Files.exists(file)) {
        Log.warn("an update broke off; the old content is put back: " + content);
        Files.createDirectories(file.getParent());
        Files.createLink(file, storage.kept().resolve(content));
      }
    }
  }

  /** Keeps nothing any more, and removes what was put back of a bundle that has its new content. The framework knows its bundles now. */
  static void settle(Storage storage, Bundle[] bundles) throws IOException {
    Set<Path> used = new HashSet<>();
    for (Bundle bundle : bundles) {
      used.add(content(storage, bundle));
    }
    for (Path content : all(storage)) {
      if (!used.contains(content)) {
        Files.deleteIfExists(storage.framework().resolve(content));
      }
    }
    if (Files.exists(storage.kept())) {
      try (Stream<Path> walk = Files.walk(storage.kept())) {
        for (Path path : walk.sorted(Comparator.reverseOrder()).toList()) {
          Files.delete(path);
        }
      }
    }
  }

  /** Where the content of a bundle is in the framework's directory; null when this is not Equinox, or not there. */
  private static Path content(Storage storage, Bundle bundle) throws IOException {
    File file = bundle.adapt(File.class);
    if (file == null || !file.isFile()) {
      return null;
    }
    Path framework = storage.framework().toRealPath();
    Path content = file.toPath().toRealPath();
    return content.startsWith(framework) ? framework.relativize(content) : null;
  }

  /** Every content that is kept, relative to the framework's directory. */
  private static List<Path> all(Storage storage) throws IOException {
    if (!Files.exists(storage.kept())) {
      return List.of();
    }
    try (Stream<Path> walk = Files.walk(storage.kept())) {
      return walk.filter(Files::isRegularFile).map(storage.kept()::relativize).toList();
    }
  }
}
