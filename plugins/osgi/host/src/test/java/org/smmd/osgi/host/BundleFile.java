package org.smmd.osgi.host;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.jar.Attributes;
import java.util.jar.JarEntry;
import java.util.jar.JarOutputStream;
import java.util.jar.Manifest;

/** A bundle made for one test. */
final class BundleFile {
  private final Manifest manifest = new Manifest();
  private final Map<String, byte[]> entries = new LinkedHashMap<>();

  BundleFile(String name, String version) {
    manifest.getMainAttributes().put(Attributes.Name.MANIFEST_VERSION, "1.0");
    header("Bundle-ManifestVersion", "2").header("Bundle-SymbolicName", name).header("Bundle-Version", version);
  }

  BundleFile header(String name, String value) {
    manifest.getMainAttributes().putValue(name, value);
    return this;
  }

  BundleFile activator(Class<?> activator) {
    String entry = activator.getName().replace('.', '/') + ".class";
    try (InputStream in = activator.getClassLoader().getResourceAsStream(entry)) {
      entries.put(entry, in.readAllBytes());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    header("Import-Package", "org.osgi.framework,org.osgi.framework.startlevel,org.osgi.framework.wiring");
    return header("Bundle-Activator", activator.getName());
  }

  /** Imports one package more. */
  BundleFile imports(String clause) {
    String old = manifest.getMainAttributes().getValue("Import-Package");
    return header("Import-Package", old == null ? clause : old + "," + clause);
  }

  /** Exports a package with nothing but a text in it. */
  BundleFile exports(String name, String version) {
    text(name.replace('.', '/') + "/words.txt", version);
    return header("Export-Package", name + ";version=\"" + version + "\"");
  }

  BundleFile text(String name, String content) {
    entries.put(name, content.getBytes(StandardCharsets.UTF_8));
    return this;
  }

  String write(Path file) {
    try (OutputStream out = Files.newOutputStream(file);
        JarOutputStream jar = new JarOutputStream(out, manifest)) {
      for (Map.Entry<String, byte[]> e : entries.entrySet()) {
        jar.putNextEntry(new JarEntry(e.getKey()));
        jar.write(e.getValue());
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return file.toString();
  }
}
