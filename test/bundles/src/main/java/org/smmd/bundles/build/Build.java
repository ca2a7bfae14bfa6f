package org.smmd.bundles.build;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;

/** Writes every test bundle: Build CLASSES OUTPUT. */
public final class Build {
  private static final int LARGE_BYTES = 8 << 20;

  private final Path classes;
  private final Path output;

  private Build(Path classes, Path output) {
    this.classes = classes;
    this.output = output;
  }

  /** The entry point. */
  public static void main(String[] args) throws IOException {
    Path output = Path.of(args[1]);
    Files.createDirectories(output);
    Build build = new Build(Path.of(args[0]), output);
    build.plain();
    build.failing();
    build.slow();
    build.wired();
    build.damaged();
  }

  private Jar jar(String name, String version) {
    return new Jar(classes, "org.smmd." + name, version);
  }

  private void plain() {
    for (String version : new String[] {"1.0.0", "1.5.0", "2.0.0"}) {
      jar("sample", version)
          .header("Bundle-Name", "Sample")
          .header("Bundle-Description", "A sample that says hello, generation " + version.charAt(0))
          .activator(org.smmd.bundles.sample.Activator.class)
          .write(file("sample", version));
    }
    jar("sample2", "1.0.0").activator(org.smmd.bundles.sample.Activator.class).write(file("sample2", "1.0.0"));
    jar("nested", "1.0.0").activator(org.smmd.bundles.nested.Activator.class).write(file("nested", "1.0.0"));
    jar("lazy", "1.0.0")
        .activator(org.smmd.bundles.lazy.Activator.class)
        .header("Bundle-ActivationPolicy", "lazy")
        .write(file("lazy", "1.0.0"));
    byte[] noise = new byte[LARGE_BYTES];
    new Random(1).nextBytes(noise);
    jar("large", "1.0.0")
        .activator(org.smmd.bundles.large.Activator.class)
        .entry("noise.bin", noise)
        .write(file("large", "1.0.0"));
    jar("localized", "1.0.0")
        .activator(org.smmd.bundles.localized.Activator.class)
        .header("Bundle-Vendor", "%vendor")
        .header("Bundle-Description", "%description")
        .header("Bundle-Localization", "l10n/words")
        .text("l10n/words.properties", "vendor=localized.example\ndescription=Words of the default locale\n")
        .text("l10n/words_de.properties", "vendor=falsch.example\ndescription=Falsche Worte\n")
        .text("l10n/words_en.properties", "vendor=wrong.example\ndescription=Wrong words\n")
        .write(file("localized", "1.0.0"));
    jar("no-vendor", "1.0.0")
        .without("Bundle-Vendor")
        .without("Bundle-Description")
        .activator(org.smmd.bundles.sample.Activator.class)
        .write(file("no-vendor", "1.0.0"));
  }

  private void failing() {
    jar("throws-in-start", "1.0.0")
        .activator(org.smmd.bundles.throwsinstart.Activator.class)
        .write(file("throws-in-start", "1.0.0"));
    // The same unit made well: what an update after a failed start is for.
    jar("throws-in-start", "1.0.1")
        .activator(org.smmd.bundles.sample.Activator.class)
        .write(file("throws-in-start", "1.0.1"));
    jar("throws-null", "1.0.0")
        .activator(org.smmd.bundles.throwsnull.Activator.class)
        .write(file("throws-null", "1.0.0"));
    jar("throws-in-stop", "1.0.0")
        .activator(org.smmd.bundles.throwsinstop.Activator.class)
        .write(file("throws-in-stop", "1.0.0"));
    jar("throws-huge", "1.0.0")
        .activator(org.smmd.bundles.throwshuge.Activator.class)
        .write(file("throws-huge", "1.0.0"));
    jar("fails-on-file", "1.0.0")
        .activator(org.smmd.bundles.failsonfile.Activator.class)
        .write(file("fails-on-file", "1.0.0"));
    jar("missing-import", "1.0.0")
        .activator(org.smmd.bundles.sample.Activator.class)
        .header("Import-Package", "org.osgi.framework,org.smmd.nowhere")
        .write(file("missing-import", "1.0.0"));
    jar("missing-activator", "1.0.0")
        .header("Bundle-Activator", "org.smmd.bundles.NoSuchClass")
        .write(file("missing-activator", "1.0.0"));
    jar("exit", "1.0.0").activator(org.smmd.bundles.exit.Activator.class).write(file("exit", "1.0.0"));
    jar("oom", "1.0.0").activator(org.smmd.bundles.oom.Activator.class).write(file("oom", "1.0.0"));
    // Is wired to a provider if there is one: a refresh stops and starts it again.
    for (String version : new String[] {"1.0.0", "2.0.0"}) {
      jar("trouble", version)
          .activator(org.smmd.bundles.trouble.Activator.class)
          .header(
              "Import-Package",
              "org.osgi.framework,org.smmd.bundles.provider.api;resolution:=optional;version=\"[1,3)\"")
          .write(file("trouble", version));
    }
  }

  private void slow() {
    jar("hangs-in-start", "1.0.0")
        .activator(org.smmd.bundles.hangsinstart.Activator.class)
        .write(file("hangs-in-start", "1.0.0"));
    jar("hangs-in-stop", "1.0.0")
        .activator(org.smmd.bundles.hangsinstop.Activator.class)
        .write(file("hangs-in-stop", "1.0.0"));
    jar("slow-start", "1.0.0")
        .activator(org.smmd.bundles.slowstart.Activator.class)
        .write(file("slow-start", "1.0.0"));
    jar("slow-stop", "1.0.0")
        .activator(org.smmd.bundles.slowstop.Activator.class)
        .write(file("slow-stop", "1.0.0"));
  }

  private void wired() {
    for (String version : new String[] {"1.0.0", "2.0.0"}) {
      jar("provider", version)
          .activator(org.smmd.bundles.provider.Activator.class)
          .packageOf(org.smmd.bundles.provider.api.Greeting.class)
          .header("Export-Package", "org.smmd.bundles.provider.api;version=\"" + version + "\"")
          .write(file("provider", version));
    }
    // Takes any provider.
    jar("consumer", "1.0.0")
        .activator(org.smmd.bundles.consumer.Activator.class)
        .header("Import-Package", "org.osgi.framework,org.smmd.bundles.provider.api;version=\"[1,3)\"")
        .write(file("consumer", "1.0.0"));
    // Is left unresolved by an update of the provider to 2.0.0.
    jar("consumer-strict", "1.0.0")
        .activator(org.smmd.bundles.consumer.Activator.class)
        .header("Import-Package", "org.osgi.framework,org.smmd.bundles.provider.api;version=\"[1,2)\"")
        .write(file("consumer-strict", "1.0.0"));
    // Throws when it is started for the second time, so a refresh cannot bring it back.
    jar("rewire", "1.0.0")
        .activator(org.smmd.bundles.rewire.Activator.class)
        .header("Import-Package", "org.osgi.framework,org.smmd.bundles.provider.api;version=\"[1,3)\"")
        .write(file("rewire", "1.0.0"));
    jar("fragment", "1.0.0")
        .header("Fragment-Host", "org.smmd.sample")
        .text("fragment.txt", "from the fragment\n")
        .write(file("fragment", "1.0.0"));
  }

  /** Files that are no bundle, or no longer one. */
  private void damaged() throws IOException {
    byte[] good = Files.readAllBytes(file("sample", "1.0.0"));
    Files.write(output.resolve("truncated.jar"), Arrays.copyOf(good, good.length / 2));
    Files.write(output.resolve("not-a-zip.jar"), "This is not a jar.\n".getBytes(StandardCharsets.UTF_8));
    Files.write(output.resolve("empty.jar"), new byte[0]);
    jar("bad-version", "one.two.three").write(output.resolve("bad-version.jar"));
    new Jar(classes, "", "1.0.0")
        .without("Bundle-SymbolicName")
        .without("Bundle-ManifestVersion")
        .without("Bundle-Version")
        .without("Bundle-Vendor")
        .without("Bundle-Description")
        .text("hello.txt", "a jar without OSGi headers\n")
        .write(output.resolve("plain.jar"));
  }

  private Path file(String name, String version) {
    return output.resolve(name + "-" + version + ".jar");
  }
}
