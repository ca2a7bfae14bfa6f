package org.smmd.osgi.host;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.smmd.osgi.host.bundles.Activators;

class EquinoxIT extends HostSuite {
  @Override
  String framework() {
    return "equinox.jar";
  }

  private String sample(String version) {
    return new BundleFile("test.a", version).activator(Activators.Quiet.class).write(dir.resolve("a-" + version + ".jar"));
  }

  /** Launches, does something with bundle a, and kills the host. Returns where the content of the bundle is. */
  private Path live(String version, String method, Object... arguments) throws IOException {
    try (HostProcess host = HostProcess.launch(framework(), dir);
        Client client = host.connect()) {
      client.call(method, arguments);
      assertEquals(version, client.bundle("a").getString("version"));
      Path content = Path.of(client.call("export", "location", "a").getString("path"));
      try (Stream<Path> kept = Files.walk(dir.resolve("storage"))) {
        assertFalse(kept.anyMatch(p -> p.toString().contains("/kept/") && Files.isRegularFile(p)), "something is kept without need");
      }
      host.kill();
      return content;
    }
  }

  @Test
  void aKillBeforeAnUpdateIsRecordedLosesNoBundle() throws IOException {
    Path content = live("1.0.0", "install", "location", "a", "path", sample("1.0.0"), "op", "i", "startLevel", -1);
    Path kept = dir.resolve("storage/kept").resolve(dir.resolve("storage/framework").relativize(content));
    Files.createDirectories(kept.getParent());
    Files.move(content, kept); // as Equinox was killed: the content is removed, the table says that it is the present one
    assertEquals(content, live("1.0.0", "start", "location", "a", "transient", false, "auto", false, "timeout", 20_000));
    assertFalse(Files.exists(kept), "it is still kept");

    Path next = live("2.0.0", "update", "location", "a", "path", sample("2.0.0"), "op", "u", "timeout", 20_000);
    assertFalse(Files.exists(content), "the old content is still there");
    Files.createDirectories(kept.getParent());
    Files.copy(next, kept); // killed later: the table has the new content
    assertEquals(next, live("2.0.0", "start", "location", "a", "transient", false, "auto", false, "timeout", 20_000));
    assertFalse(Files.exists(content), "the old content has come back");
    assertFalse(Files.exists(kept), "it is still kept");
    assertTrue(Files.exists(next));
  }
}
