package org.smmd.bundles.build;

import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDateTime;
import java.util.Map;
import java.util.TreeMap;
import java.util.jar.Attributes;
import java.util.jar.JarEntry;
import java.util.jar.JarOutputStream;
import java.util.jar.Manifest;
import java.util.stream.Stream;

/** One bundle that is being put together. */
final class Jar {
  private static final LocalDateTime TIME = LocalDateTime.of(2025, 1, 1, 0, 0);

  private final Path classes;
  private final Manifest manifest = new Manifest();
  private final Map<String, byte[]> entries = new TreeMap<>();

  Jar(Path classes, String symbolicName, String version) {
    this.classes = classes;
    manifest.getMainAttributes().put(Attributes.Name.MANIFEST_VERSION, "1.0");
    header("Bundle-ManifestVersion", "2");
    header("Bundle-SymbolicName", symbolicName);
    header("Bundle-Version", version);
    header("Bundle-Vendor", "smmd.example");
    header("Bundle-Description", "Test bundle " + symbolicName);
  }

  Jar header(String name, String value) {
    manifest.getMainAttributes().putValue(name, value);
    return this;
  }

  Jar without(String name) {
    manifest.getMainAttributes().remove(new Attributes.Name(name));
    return this;
  }

  /** Adds the activator with all other classes of its package; sub-packages are added by {@link #packageOf}. */
  Jar activator(Class<?> activator) {
    return packageOf(activator)
        .header("Bundle-Activator", activator.getName())
        .header("Import-Package", "org.osgi.framework");
  }

  Jar packageOf(Class<?> any) {
    String dir = any.getPackageName().replace('.', '/');
    try (Stream<Path> files = Files.list(classes.resolve(dir))) {
      for (Path file : files.filter(f -> f.toString().endsWith(".class")).toList()) {
        entry(dir + "/" + file.getFileName(), Files.readAllBytes(file));
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return this;
  }

  Jar entry(String name, byte[] content) {
    entries.put(name, content);
    return this;
  }

  Jar text(String name, String content) {
    return entry(name, content.getBytes(StandardCharsets.UTF_8));
  }

  void write(Path file) {
    try (OutputStream out = Files.newOutputStream(file);
        JarOutputStream jar = new JarOutputStream(out)) {
      JarEntry first = new JarEntry("META-INF/MANIFEST.MF");
      first.setTimeLocal(TIME);
      jar.putNextEntry(first);
      manifest.write(jar);
      for (Map.Entry<String, byte[]> e : entries.entrySet()) {
        JarEntry entry = new JarEntry(e.getKey());
        entry.setTimeLocal(TIME);
        jar.putNextEntry(entry);
        jar.write(e.getValue());
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
