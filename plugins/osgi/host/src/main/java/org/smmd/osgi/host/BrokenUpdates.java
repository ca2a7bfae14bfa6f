package org.smmd.osgi.host;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.zip.ZipFile;

/**
 * Takes back updates that broke off: the JVM was killed, or the power was cut. Felix writes the new content of a bundle beside the old one and
 * takes the newest at its next launch; when that is not whole, it removes the bundle with all it has, the old content included. So a part of an
 * update goes before Felix sees it, and the bundle is what it was.
 *
 * <p>Equinox writes new content, of an install too, to a temporary file and takes it over once it is whole. The file that it was killed
 * over would stay for ever.
 */
final class BrokenUpdates {
  private static final Pattern BUNDLE = Pattern.compile("bundle\\d{1,18}");
  /** version0.1 holds the content after 0 refreshes and 1 update. */
  private static final Pattern CONTENT = Pattern.compile("version\\d{1,18}\\.(\\d{1,18})");

  private static final Pattern EQUINOX = Pattern.compile("org\\.eclipse\\.osgi");
  private static final Pattern UNFINISHED = Pattern.compile("bundleFile.*\\.tmp");

  private BrokenUpdates() {}

  /** Looks through the framework's directory; the framework must not run. */
  static void takeBack(Path framework) throws IOException {
    for (Path bundle : children(framework, BUNDLE)) {
      List<Path> contents = children(bundle, CONTENT).stream().sorted(Comparator.comparingLong(BrokenUpdates::number)).toList();
      int last = contents.size() - 1;
      if (last > 0 && !whole(contents.get(last)) && whole(contents.get(last - 1))) {
        Log.warn("an update of " + bundle.getFileName() + " broke off and is taken back");
        delete(contents.get(last));
      }
    }
    for (Path equinox : children(framework, EQUINOX)) {
      for (Path content : named(equinox, UNFINISHED)) {
        Log.warn("content that was not written to its end is removed: " + content.getFileName());
        Files.delete(content);
      }
    }
  }

  private static List<Path> children(Path dir, Pattern name) throws IOException {
    return named(dir, name).stream().filter(Files::isDirectory).toList();
  }

  private static List<Path> named(Path dir, Pattern name) throws IOException {
    if (!Files.isDirectory(dir)) {
      return List.of();
    }
    try (Stream<Path> all = Files.list(dir)) {
      return all.filter(p -> name.matcher(p.getFileName().toString()).matches()).toList();
    }
  }

  private static long number(Path content) {
    Matcher m = CONTENT.matcher(content.getFileName().toString());
    return m.matches() ? Long.parseLong(m.group(1)) : -1;
  }

  /** Felix writes where the content came from when all else is written, but none of it so that it outlives a power cut. */
  private static boolean whole(Path content) throws IOException {
    Path origin = content.resolve("revision.location");
    if (!Files.exists(origin) || Files.size(origin) == 0) {
      return false;
    }
    Path jar = content.resolve("bundle.jar");
    if (!Files.isRegularFile(jar)) {
      return true; // by reference
    }
    try (ZipFile zip = new ZipFile(jar.toFile())) {
      return zip.size() > 0;
    } catch (IOException e) {
      return false;
    }
  }

  private static void delete(Path dir) throws IOException {
    List<Path> all;
    try (Stream<Path> walk = Files.walk(dir)) {
      all = walk.sorted(Comparator.reverseOrder()).toList();
    }
    for (Path path : all) {
      Files.delete(path);
    }
  }
}
