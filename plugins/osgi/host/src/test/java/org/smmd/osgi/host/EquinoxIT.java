package org.smmd.osgi.host;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.smmd.osgi.host.bundles.Activators;

class EquinoxIT extends HostSuite {
  @Override
  String framework() {
    return "equinox.jar";
  }

  private Path kept() {
    return dir.resolve("storage/kept");
  }

  /** The contents that have a second name. */
  private List<Path> allKept() throws IOException {
    if (!Files.exists(kept())) {
      return List.of();
    }
    try (Stream<Path> all = Files.walk(kept())) {
      return all.filter(Files::isRegularFile).toList();
    }
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
      assertEquals(List.of(), allKept(), "something is kept without need");
      host.kill();
      return content;
    }
  }

  @Test
  void aKillBeforeAnUpdateIsRecordedLosesNoBundle() throws IOException {
    Path content = live("1.0.0", "install", "location", "a", "path", sample("1.0.0"), "op", "i", "startLevel", -1);
    Path kept = kept().resolve(dir.resolve("storage/framework").relativize(content));
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

  /** A dependent that hangs in its stop holds up the refresh, and with it the update. */
  @Test
  void theOldContentIsKeptWhileAnUpdateGoesOn() throws IOException {
    Path release = dir.resolve("release");
    String one = new BundleFile("test.provider", "1.0.0").exports("test.api", "1.0.0").write(dir.resolve("p1.jar"));
    String two = new BundleFile("test.provider", "2.0.0").exports("test.api", "2.0.0").write(dir.resolve("p2.jar"));
    BundleFile consumer = new BundleFile("test.consumer", "1.0.0").activator(Activators.HangsInStop.class).imports("test.api");
    try (HostProcess host = HostProcess.launch(framework(), dir, "--property", "test.release=" + release);
        Client client = host.connect()) {
      client.call("install", "location", "provider", "path", one, "op", "p", "startLevel", -1);
      client.call("install", "location", "consumer", "path", consumer.write(dir.resolve("c.jar")), "op", "c", "startLevel", -1);
      client.call("start", "location", "consumer", "transient", false, "auto", false, "timeout", 20_000);
      int update = client.send("update", "location", "provider", "path", two, "op", "u", "timeout", 20_000);
      client.awaitBundle("consumer", b -> b.getString("state").equals("STOPPING"));
      List<Path> kept = allKept();
      assertEquals(1, kept.size(), kept.toString());
      assertEquals(-1, Files.mismatch(Path.of(one), kept.get(0)), "it is not the old content");
      Files.delete(kept.get(0)); // by whom ever: the update needs it no more
      Files.createFile(release);
      assertEquals("2.0.0", client.answer(update).getObject("result").getObject("bundle").getString("version"));
      assertEquals(List.of(), allKept());
    }
  }

  @Test
  void theOldContentIsKeptUntilTheUpdateIsRecorded() throws IOException {
    Path loop = dir.resolve("storage/loop");
    String one = sample("1.0.0");
    try (HostProcess host = HostProcess.launch(Map.of("PATH", dir.resolve("no-tools").toString()), framework(), dir);
        Client client = host.connect()) {
      client.call("install", "location", "a", "path", one, "op", "i", "startLevel", -1);
      Files.writeString(dir.resolve("bad.jar"), "no jar");
      Object[] update = {"location", "a", "path", dir.resolve("bad.jar").toString(), "op", "u", "timeout", 20_000};
      assertEquals("corrupt", client.fail("update", update).getString("reason"));
      assertEquals(List.of(), allKept(), "nothing was replaced");

      Files.createSymbolicLink(loop, loop); // which nobody can open, so the storage cannot be written
      update[3] = sample("2.0.0");
      assertEquals("internal", client.fail("update", update).getString("reason"));
      List<Path> kept = allKept();
      assertEquals(1, kept.size(), kept.toString());
      assertEquals(-1, Files.mismatch(Path.of(one), kept.get(0)), "it is not the old content");
      host.kill();
    }
    Files.delete(loop);
    live("2.0.0", "start", "location", "a", "transient", false, "auto", false, "timeout", 20_000);
  }
}
