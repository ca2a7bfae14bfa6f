package org.smmd.osgi.host;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BrokenUpdatesTest {
  @TempDir Path framework;

  @Test
  void onlyTheBrokenNewestGoes() throws IOException {
    content("bundle1/version0.0", true, true); // never updated
    content("bundle2/version0.9", true, true); // updated and not refreshed
    content("bundle2/version0.10", true, true);
    content("bundle3/version0.9", true, true); // broken off before the end
    content("bundle3/version0.10", true, false);
    content("bundle4/version0.0", true, true); // and in the jar, after a power cut
    content("bundle4/version0.1", false, true);
    content("bundle5/version0.0", true, false); // an install that broke off: the framework's own matter
    content("bundle6/version0.0", false, true); // nothing to go back to
    content("bundle6/version0.1", true, false);
    content("bundle7/version1.1", true, true); // a framework that removes the old content broke off
    content("bundle7/version1.0", false, false);
    content("other/version0.1", true, false);
    BrokenUpdates.takeBack(framework);
    assertEquals(
        List.of(
            "bundle1/version0.0",
            "bundle2/version0.10",
            "bundle2/version0.9",
            "bundle3/version0.9",
            "bundle4/version0.0",
            "bundle5/version0.0",
            "bundle6/version0.0",
            "bundle6/version0.1",
            "bundle7/version1.0",
            "bundle7/version1.1",
            "other/version0.1"),
        contents());
  }

  @Test
  void whatEquinoxDidNotTakeOverGoes() throws IOException {
    Path equinox = Files.createDirectories(framework.resolve("org.eclipse.osgi/7/0")).getParent().getParent();
    Files.createFile(equinox.resolve("7/0/bundleFile"));
    Files.createFile(equinox.resolve("7/0/bundleFile1.tmp")); // a bundle's own
    Files.createFile(equinox.resolve("framework.info.1"));
    Files.createFile(equinox.resolve("bundleFile1.tmp"));
    Files.createFile(equinox.resolve("bundleFile22.tmp"));
    BrokenUpdates.takeBack(framework);
    try (Stream<Path> all = Files.walk(equinox)) {
      assertEquals(
          List.of("7/0/bundleFile", "7/0/bundleFile1.tmp", "framework.info.1"),
          all.filter(Files::isRegularFile).map(p -> equinox.relativize(p).toString()).sorted().toList());
    }
  }

  @Test
  void firstLaunch() throws IOException {
    BrokenUpdates.takeBack(framework.resolve("nothing"));
    assertTrue(contents().isEmpty());
  }

  private void content(String name, boolean whole, boolean located) throws IOException {
    Path dir = Files.createDirectories(framework.resolve(name));
    try (ZipOutputStream jar = new ZipOutputStream(Files.newOutputStream(dir.resolve("bundle.jar")))) {
      jar.putNextEntry(new ZipEntry("file"));
    }
    if (!whole) {
      Files.write(dir.resolve("bundle.jar"), new byte[] {'P', 'K'});
    }
    if (located) {
      Files.writeString(dir.resolve("revision.location"), "inputstream:");
    }
  }

  private List<String> contents() throws IOException {
    try (Stream<Path> walk = Files.walk(framework, 2)) {
      return walk.map(p -> framework.relativize(p).toString()).filter(p -> p.contains("/")).sorted().toList();
    }
  }
}
