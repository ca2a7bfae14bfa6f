package org.smmd.osgi.host;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.grack.nanojson.JsonObject;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.smmd.osgi.host.bundles.Activators;

/** What the host promises, on one framework. */
abstract class HostSuite {
  @TempDir Path dir;
  private HostProcess host;
  private Client client;

  abstract String framework();

  @AfterEach
  void end() throws IOException {
    if (client != null) {
      client.close();
    }
    if (host != null) {
      host.close();
    }
  }

  private void launch(String... more) throws IOException {
    host = HostProcess.launch(framework(), dir, more);
    client = host.connect();
  }

  private void relaunch(String... more) throws IOException {
    host.kill();
    client.close();
    launch(more);
  }

  private Path release() {
    return dir.resolve("release");
  }

  private String releaseProperty() {
    return "test.release=" + release();
  }

  private String file(String name, String version, Class<?> activator) {
    return new BundleFile(name, version).activator(activator).write(dir.resolve(name + "-" + version + ".jar"));
  }

  private JsonObject install(String location, String file) throws IOException {
    return client.call("install", "location", location, "path", file, "op", "op-" + location, "startLevel", -1)
        .getObject("bundle");
  }

  private JsonObject install(String location, Class<?> activator) throws IOException {
    return install(location, file("test." + location, "1.0.0", activator));
  }

  private Object[] start(String location, boolean persistent) {
    return new Object[] {"location", location, "transient", !persistent, "auto", false, "timeout", 20_000};
  }

  private void assertFault(String location, String reason, String message) throws IOException {
    JsonObject fault = client.bundle(location).getObject("fault");
    assertNotNull(fault, "no fault");
    assertEquals(reason, fault.getString("reason"));
    assertTrue(fault.getString("message").contains(message), fault.getString("message"));
  }

  private void assertNoFault(String location) throws IOException {
    assertFalse(client.bundle(location).has("fault"));
  }

  private boolean running(String location) throws IOException {
    return Set.of("STARTING", "ACTIVE").contains(client.bundle(location).getString("state"));
  }

  private void assertState(String location, String state) throws IOException {
    assertEquals(state, client.bundle(location).getString("state"));
  }

  @Test
  void saysWhatItIs() throws IOException {
    host = HostProcess.launch(framework(), dir);
    client = host.dial();
    client.read();
    assertEquals("bad-state", client.fail("list").getString("reason"));
    assertEquals("not-supported", client.fail("hello", "protocol", 2).getString("reason"));
    assertEquals("invalid-argument", client.fail("hello").getString("reason"));
    JsonObject hello = client.call("hello", "protocol", 1);
    assertEquals(1, hello.getInt("protocol"));
    assertEquals("1.0.0", hello.getString("host"));
    assertEquals(host.process.pid(), hello.getLong("pid"));
    JsonObject framework = hello.getObject("framework");
    for (String key : List.of("uuid", "specVersion", "vendor", "version", "name", "launch")) {
      assertFalse(framework.getString(key).isEmpty(), key);
    }
    assertEquals(1, framework.getInt("startLevel"));
    assertEquals(1, framework.getInt("initialBundleStartLevel"));
    assertEquals(dir.resolve("storage").toString(), framework.getString("storage"));
    assertTrue(framework.getObject("memory").getLong("max") > framework.getObject("memory").getLong("used"));
    assertTrue(framework.getObject("disk").getLong("usable") > 0);
    assertEquals("not-supported", client.fail("dance").getString("reason"));

    String launch = framework.getString("launch");
    relaunch();
    assertNotEquals(launch, client.call("hello", "protocol", 1).getObject("framework").getString("launch"));
  }

  @Test
  void tellsEverythingAndThenChanges() throws IOException {
    launch();
    install("a", Activators.Quiet.class);
    try (Client second = host.connect()) {
      List<JsonObject> first = second.messages();
      assertEquals("framework", first.get(1).getString("event"));
      assertEquals("a", first.get(2).getObject("bundle").getString("location"));
      assertTrue(first.get(3).has("result"), "everything comes before the answer");
      second.forget();
      client.call("start", start("a", true));
      second.awaitBundle("a", b -> b.getString("state").equals("ACTIVE"));
      client.call("uninstall", "location", "a");
      second.await(m -> "removed".equals(m.getString("event")) && "a".equals(m.getString("location")));
    }
    List<JsonObject> all = client.messages();
    int removed = indexOf(all, m -> "removed".equals(m.getString("event")));
    int answer = indexOf(all, m -> m.has("result") && m.getObject("result").has("pending"));
    assertTrue(removed < answer, "an event of a request comes before its answer");
  }

  private static int indexOf(List<JsonObject> all, java.util.function.Predicate<JsonObject> wanted) {
    for (int i = 0; i < all.size(); i++) {
      if (wanted.test(all.get(i))) {
        return i;
      }
    }
    throw new AssertionError("not in " + all);
  }

  @Test
  void describesABundle() throws IOException {
    launch();
    String file =
        new BundleFile("test.words;singleton:=true", "1.2.3.q")
            .activator(Activators.Quiet.class)
            .header("Bundle-Vendor", "%vendor")
            .header("Bundle-Description", "%description")
            .header("Bundle-Localization", "words")
            .text("words.properties", "vendor=vendor.example\n")
            .text("words_de.properties", "vendor=falsch.example\ndescription=falsch\n")
            .text("words_en.properties", "vendor=wrong.example\ndescription=wrong\n")
            .write(dir.resolve("words.jar"));
    JsonObject b = install("words", file);
    assertEquals("test.words", b.getString("symbolicName"));
    assertEquals("1.2.3.q", b.getString("version"));
    assertEquals("vendor.example", b.getString("vendor"));
    assertEquals("description", b.getString("description"));
    assertEquals("INSTALLED", b.getString("state"));
    assertFalse(b.getBoolean("resolved"));
    assertFalse(b.getBoolean("autoStart"));
    assertFalse(b.getBoolean("lazy"));
    assertFalse(b.getBoolean("fragment"));
    assertEquals(1, b.getInt("startLevel"));
    assertTrue(b.getLong("size") >= Files.size(Path.of(file)));
    assertNull(client.bundle("System Bundle"));
  }

  @Test
  void aKnownLocationIsTheSameOperationOrExists() throws IOException {
    launch();
    String file = file("test.a", "1.0.0", Activators.Quiet.class);
    Object[] spec = {"location", "a", "path", file, "op", "one", "startLevel", 4};
    JsonObject b = client.call("install", spec).getObject("bundle");
    assertEquals(4, b.getInt("startLevel"));
    assertEquals(b, client.call("install", spec).getObject("bundle"));
    relaunch();
    assertEquals(b.getLong("id"), client.call("install", spec).getObject("bundle").getLong("id"));
    assertEquals(4, client.bundle("a").getInt("startLevel"));

    String other = file("test.b", "1.0.0", Activators.Quiet.class);
    JsonObject e = client.fail("install", "location", "a", "path", other, "op", "two", "startLevel", -1);
    assertEquals("exists", e.getString("reason"));
    e = client.fail("install", "location", "System Bundle", "path", other, "op", "two", "startLevel", -1);
    assertEquals("exists", e.getString("reason"));

    client.call("uninstall", "location", "a");
    client.call("install", "location", "a", "path", other, "op", "two", "startLevel", -1);
  }

  @Test
  void aDuplicateExists() throws IOException {
    launch();
    String file = file("test.a", "1.0.0", Activators.Quiet.class);
    install("a", file);
    JsonObject e = client.fail("install", "location", "b", "path", file, "op", "b", "startLevel", -1);
    assertEquals("exists", e.getString("reason"));
    assertNull(client.bundle("b"));
  }

  @Test
  void aDamagedFileLeavesNothing() throws IOException {
    launch();
    byte[] good = Files.readAllBytes(Path.of(file("test.a", "1.0.0", Activators.Quiet.class)));
    Files.write(dir.resolve("cut.jar"), java.util.Arrays.copyOf(good, good.length / 2));
    Files.write(dir.resolve("text.jar"), "no jar".getBytes(StandardCharsets.UTF_8));
    Files.write(dir.resolve("empty.jar"), new byte[0]);
    new BundleFile("test.a", "one.two").write(dir.resolve("version.jar"));
    for (String name : List.of("cut", "text", "empty", "version", "missing")) {
      String path = dir.resolve(name + ".jar").toString();
      JsonObject e = client.fail("install", "location", name, "path", path, "op", "x", "startLevel", -1);
      assertEquals("corrupt", e.getString("reason"), name);
    }
    assertEquals(0, client.call("list").getArray("bundles").size());
  }

  @Test
  void aFailedStartHasTheBundlesOwnWords() throws IOException {
    launch();
    install("a", Activators.ThrowsInStart.class);
    JsonObject e = client.fail("start", start("a", false));
    assertEquals("start-failed", e.getString("reason"));
    assertEquals("boom on purpose", e.getString("cause"));
    assertFault("a", "start-failed", "boom on purpose");
    assertState("a", "RESOLVED");
    assertFalse(client.bundle("a").getBoolean("autoStart"));

    e = client.fail("start", "location", "a", "transient", false, "auto", true, "timeout", 20_000);
    assertEquals("auto-start-failed", e.getString("reason"));
    assertFault("a", "auto-start-failed", "boom on purpose");
    assertTrue(client.bundle("a").getBoolean("autoStart"));

    client.call("stop", "location", "a", "timeout", 20_000);
    assertNoFault("a");

    install("null", Activators.ThrowsNull.class);
    e = client.fail("start", start("null", false));
    assertEquals("java.lang.UnsupportedOperationException", e.getString("cause"));

    install("huge", Activators.ThrowsHuge.class);
    e = client.fail("start", start("huge", false));
    assertEquals("x".repeat(4096), e.getString("cause"));
    assertEquals("x".repeat(4096), client.bundle("huge").getObject("fault").getString("message"));
  }

  @Test
  void aFailedStopEndsTheBundle() throws IOException {
    launch();
    install("a", Activators.ThrowsInStop.class);
    client.call("start", start("a", true));
    JsonObject e = client.fail("stop", "location", "a", "timeout", 20_000);
    assertEquals("stop-failed", e.getString("reason"));
    assertEquals("stuck on purpose", e.getString("cause"));
    assertFault("a", "stop-failed", "stuck on purpose");
    assertState("a", "RESOLVED");
    assertTrue(client.bundle("a").getBoolean("autoStart"));
    client.call("start", start("a", true));
    assertNoFault("a");
    client.call("uninstall", "location", "a");
    assertNull(client.bundle("a"));
  }

  @Test
  void anUnresolvedBundleStartsOnceItCan() throws IOException {
    launch();
    install("consumer", consumer("[1,3)", Activators.Quiet.class));
    JsonObject e = client.fail("start", start("consumer", true));
    assertEquals("unresolved", e.getString("reason"));
    assertTrue(e.getString("cause").contains("test.api"), e.toString());
    assertFault("consumer", "unresolved", "test.api");
    assertState("consumer", "INSTALLED");
    install("provider", provider("1.0.0"));
    client.call("start", start("consumer", true));
    assertState("consumer", "ACTIVE");
    assertNoFault("consumer");
    assertTrue(client.bundle("provider").getBoolean("resolved"));
  }

  private String provider(String version) {
    return new BundleFile("test.provider", version)
        .activator(Activators.Quiet.class)
        .exports("test.api", version)
        .write(dir.resolve("provider-" + version + ".jar"));
  }

  private String consumer(String range, Class<?> activator) {
    String name = "test.consumer." + activator.getSimpleName() + range.length() + range.charAt(3);
    return new BundleFile(name, "1.0.0")
        .activator(activator)
        .imports("test.api;version=\"" + range + "\"")
        .write(dir.resolve(name + ".jar"));
  }

  @Test
  void aLazyBundleStaysStarting() throws IOException {
    launch();
    String file =
        new BundleFile("test.lazy", "1.0.0")
            .activator(Activators.Quiet.class)
            .header("Bundle-ActivationPolicy", "lazy")
            .write(dir.resolve("lazy.jar"));
    assertFalse(install("lazy", file).getBoolean("autoStart"));
    for (boolean persistent : new boolean[] {false, true}) {
      client.call("start", start("lazy", persistent));
      assertState("lazy", "STARTING");
      assertTrue(client.bundle("lazy").getBoolean("lazy"));
      assertEquals(persistent, client.bundle("lazy").getBoolean("autoStart"));
      client.call("stop", "location", "lazy", "timeout", 20_000);
      assertState("lazy", "RESOLVED");
    }
  }

  @Test
  void aFragmentIsInert() throws IOException {
    launch();
    install("a", Activators.Quiet.class);
    String file = new BundleFile("test.f", "1.0.0").header("Fragment-Host", "test.a").write(dir.resolve("f.jar"));
    assertTrue(install("f", file).getBoolean("fragment"));
    client.call("start", start("f", true));
    client.call("setAutoStart", "location", "f", "on", true, "timeout", 20_000);
    client.call("stop", "location", "f", "timeout", 20_000);
    assertNoFault("f");
    client.call("start", start("a", false));
    assertState("f", "RESOLVED");
    client.call("uninstall", "location", "f");
  }

  @Test
  void levelsGovernStarts() throws IOException {
    launch();
    install("a", Activators.Quiet.class);
    client.call("setBundleStartLevel", "location", "a", "level", 5);
    JsonObject e = client.fail("start", start("a", false));
    assertEquals("start-failed", e.getString("reason"));
    assertTrue(e.getString("cause").contains("5") && e.getString("cause").contains("1"), e.toString());
    assertFault("a", "start-failed", "5");
    client.call("start", start("a", true));
    assertNoFault("a");
    assertFalse(client.bundle("a").getString("state").equals("ACTIVE"));
    assertTrue(client.bundle("a").getBoolean("autoStart"));

    client.call("setStartLevel", "level", 5, "timeout", 20_000);
    assertState("a", "ACTIVE");
    client.await(m -> "framework".equals(m.getString("event")) && m.getObject("framework").getInt("startLevel") == 5);
    client.call("setStartLevel", "level", 5, "timeout", 20_000);
    client.call("setStartLevel", "level", 2, "timeout", 20_000);
    assertState("a", "RESOLVED");
    assertTrue(client.bundle("a").getBoolean("autoStart"));

    client.call("setInitialBundleStartLevel", "level", 7);
    JsonObject b = install("b", Activators.Quiet.class);
    assertEquals(7, b.getInt("startLevel"));
    for (int level : new int[] {0, -1}) {
      assertEquals("invalid-argument", client.fail("setStartLevel", "level", level).getString("reason"));
      assertEquals("invalid-argument", client.fail("setInitialBundleStartLevel", "level", level).getString("reason"));
      e = client.fail("setBundleStartLevel", "location", "a", "level", level);
      assertEquals("invalid-argument", e.getString("reason"));
    }
    relaunch("--start-level", "6");
    JsonObject framework = client.call("hello", "protocol", 1).getObject("framework");
    assertEquals(6, framework.getInt("startLevel"));
    assertEquals(7, framework.getInt("initialBundleStartLevel"));
    assertState("a", "ACTIVE");
  }

  @Test
  void aFailureOnTheWayToALevelIsToldBeforeTheAnswer() throws IOException {
    launch();
    install("a", Activators.ThrowsInStart.class);
    client.call("setBundleStartLevel", "location", "a", "level", 3);
    client.call("start", start("a", true));
    client.forget();
    client.call("setStartLevel", "level", 3, "timeout", 20_000);
    List<JsonObject> all = client.messages();
    assertTrue(all.stream().anyMatch(m -> m.has("bundle") && m.getObject("bundle").has("fault")), all.toString());
    assertFault("a", "auto-start-failed", "boom on purpose");
  }

  @Test
  void aFailureToStopForALevelIsNoFailureToStart() throws IOException {
    launch("--start-level", "3");
    install("a", Activators.ThrowsInStop.class);
    client.call("setBundleStartLevel", "location", "a", "level", 3);
    client.call("start", start("a", true));
    client.call("setStartLevel", "level", 2, "timeout", 20_000);
    assertFault("a", "stop-failed", "stuck on purpose");
    client.call("setStartLevel", "level", 3, "timeout", 20_000);
    assertState("a", "ACTIVE");
    assertNoFault("a");
  }

  @Test
  void autoStartIsTheFrameworksFlag() throws IOException {
    launch();
    install("a", Activators.Quiet.class);
    client.call("start", start("a", true));
    client.call("stop", "location", "a", "timeout", 20_000);
    assertTrue(client.bundle("a").getBoolean("autoStart"), "stop keeps it");
    client.call("setAutoStart", "location", "a", "on", false, "timeout", 20_000);
    assertFalse(client.bundle("a").getBoolean("autoStart"));
    client.call("start", start("a", false));
    assertFalse(client.bundle("a").getBoolean("autoStart"));
    client.call("setAutoStart", "location", "a", "on", true, "timeout", 20_000);
    assertTrue(client.bundle("a").getBoolean("autoStart"), "also of one that is active");
    assertState("a", "ACTIVE");
    client.call("setAutoStart", "location", "a", "on", false, "timeout", 20_000);
    assertState("a", "RESOLVED");
    client.call("setAutoStart", "location", "a", "on", true, "timeout", 20_000);
    assertState("a", "ACTIVE");

    install("b", Activators.ThrowsInStart.class);
    assertEquals("start-failed", client.fail("setAutoStart", "location", "b", "on", true).getString("reason"));
    assertTrue(client.bundle("b").getBoolean("autoStart"), "set though the start failed");
  }

  @Test
  void failuresOfTheLaunchAreKeptForTheFirstClient() throws IOException {
    launch();
    install("a", Activators.ThrowsInStart.class);
    client.fail("start", start("a", true));
    install("c", consumer("[1,3)", Activators.Quiet.class));
    client.fail("start", start("c", true));
    install("ok", Activators.Quiet.class);
    client.call("start", start("ok", true));
    relaunch();
    assertFault("a", "auto-start-failed", "boom on purpose");
    assertFault("c", "unresolved", "test.api");
    assertState("ok", "ACTIVE");
    assertNoFault("ok");
  }

  @Test
  void anUpdateKeepsFlagAndLevelAndStops() throws IOException {
    launch("--start-level", "3");
    install("provider", provider("1.0.0"));
    client.call("setBundleStartLevel", "location", "provider", "level", 2);
    client.call("start", start("provider", true));
    install("any", consumer("[1,3)", Activators.Quiet.class));
    install("strict", consumer("[1,2)", Activators.Quiet.class));
    install("once", consumer("[1,3)", Activators.StartsOnce.class));
    for (String l : List.of("any", "strict", "once")) {
      client.call("start", start(l, false));
    }
    Files.writeString(dir.resolve("bad.jar"), "no jar");
    JsonObject e = client.fail("update", "location", "provider", "path", dir.resolve("bad.jar").toString(), "op", "u0");
    assertEquals("corrupt", e.getString("reason"));
    assertEquals("1.0.0", client.bundle("provider").getString("version"));
    assertState("any", "ACTIVE");

    Object[] update = {"location", "provider", "path", provider("2.0.0"), "op", "u1"};
    JsonObject b = client.call("update", update).getObject("bundle");
    assertEquals("2.0.0", b.getString("version"));
    assertEquals(2, b.getInt("startLevel"));
    assertTrue(b.getBoolean("autoStart"));
    assertFalse(b.getString("state").equals("ACTIVE"));
    assertState("any", "ACTIVE");
    assertState("strict", "INSTALLED");
    assertFault("strict", "dependency", "");
    assertFault("once", "failed-while-active", "once is enough");
    client.call("update", update);

    client.call("start", start("provider", true));
    client.call("uninstall", "location", "provider");
    assertState("any", "INSTALLED");
    assertFault("any", "dependency", "");
    client.call("uninstall", "location", "provider");
    assertEquals("not-found", client.fail("update", update).getString("reason"));
    assertEquals("not-found", client.fail("start", start("provider", true)).getString("reason"));
  }

  /** A bundle that is stopped, or above the framework's level, has lost nothing by a refresh after which it could start again. */
  @Test
  void anUpdateBlamesOnlyWhatItLeavesBehind() throws IOException {
    launch();
    dependents();
    client.call("update", "location", "provider", "path", provider("2.0.0"), "op", "u", "timeout", 20_000);
    assertBlamed();
  }

  @Test
  void aRefreshAtTheConsoleBlamesOnlyWhatItLeavesBehind() throws IOException {
    launch("--property", "test.update=" + provider("2.0.0"));
    dependents();
    install("console", Activators.UpdatesAndRefreshes.class);
    client.call("start", start("console", false));
    assertBlamed();
  }

  /** Bundles that use the provider: of each kind one that can do with any version of it, and one that cannot. */
  private void dependents() throws IOException {
    install("provider", provider("1.0.0"));
    client.call("start", start("provider", true));
    for (String l : List.of("runs", "runs-strict", "stopped", "stopped-strict", "above")) {
      String range = l.endsWith("-strict") ? "[1,2)" : "[1,3)";
      BundleFile file = new BundleFile("test." + l, "1.0.0").activator(Activators.Quiet.class).imports("test.api;version=\"" + range + "\"");
      install(l, file.write(dir.resolve(l + ".jar")));
      client.call("start", start(l, !l.startsWith("runs")));
      if (l.startsWith("stopped")) {
        client.call("stop", "location", l, "timeout", 20_000);
      }
    }
    client.call("setBundleStartLevel", "location", "above", "level", 5);
    client.awaitBundle("above", b -> b.getInt("startLevel") == 5 && b.getString("state").equals("RESOLVED"));
  }

  private void assertBlamed() throws IOException {
    assertState("runs", "ACTIVE");
    for (String l : List.of("runs", "stopped", "above")) {
      assertNoFault(l);
    }
    for (String l : List.of("runs-strict", "stopped-strict")) {
      assertState(l, "INSTALLED");
      assertFault(l, "dependency", "");
    }
    client.call("start", start("stopped", false));
    client.call("setStartLevel", "level", 5, "timeout", 20_000);
    assertState("above", "ACTIVE");
  }

  @Test
  void whatWasAnsweredSurvivesAKill() throws IOException {
    launch();
    install("a", Activators.Quiet.class);
    client.call("start", start("a", true));
    install("b", Activators.Quiet.class);
    client.call("setBundleStartLevel", "location", "b", "level", 4);
    install("c", Activators.Quiet.class);
    client.call("update", "location", "c", "path", file("test.c", "2.0.0", Activators.Quiet.class), "op", "u");
    install("d", Activators.Quiet.class);
    client.call("uninstall", "location", "d");
    install("e", Activators.Quiet.class);
    client.call("start", start("e", true));
    client.call("setAutoStart", "location", "e", "on", false, "timeout", 20_000);
    relaunch();
    assertState("a", "ACTIVE");
    assertEquals(4, client.bundle("b").getInt("startLevel"));
    assertEquals("2.0.0", client.bundle("c").getString("version"));
    assertNull(client.bundle("d"));
    assertFalse(client.bundle("e").getString("state").equals("ACTIVE"));
    assertFalse(client.bundle("e").getBoolean("autoStart"));
  }

  @Test
  void aHangingStartHoldsUpNothingElse() throws IOException {
    launch("--property", releaseProperty());
    install("a", Activators.HangsInStart.class);
    install("b", Activators.HangsAndThrows.class);
    Object[] brief = {"location", "a", "transient", true, "auto", false, "timeout", 100};
    assertEquals("still-running", client.fail("start", brief).getString("reason"));
    brief[1] = "b";
    assertEquals("still-running", client.fail("start", brief).getString("reason"));
    assertState("a", "STARTING");
    assertEquals("still-running", client.fail("stop", "location", "a", "timeout", 100).getString("reason"));
    assertEquals("bad-state", client.fail("uninstall", "location", "a", "timeout", 100).getString("reason"));
    install("c", Activators.Quiet.class);
    client.call("start", start("c", false));
    assertState("c", "ACTIVE");

    client.forget();
    Files.createFile(release());
    client.awaitBundle("a", b -> b.getString("state").equals("ACTIVE"));
    client.awaitBundle("b", b -> b.has("fault") && b.getObject("fault").getString("message").equals("late boom"));
    client.call("stop", "location", "a", "timeout", 20_000);
    assertState("a", "RESOLVED");
  }

  @Test
  void aHangingStopKeepsTheBundleFromBeingReplaced() throws IOException {
    launch("--property", releaseProperty());
    install("a", Activators.HangsInStop.class);
    client.call("start", start("a", false));
    String next = file("test.a", "2.0.0", Activators.Quiet.class);
    JsonObject e = client.fail("update", "location", "a", "path", next, "op", "u", "timeout", 100);
    assertEquals("still-running", e.getString("reason"));
    assertState("a", "STOPPING");
    assertEquals("bad-state", client.fail("start", start("a", false)).getString("reason"));
    client.forget();
    Files.createFile(release());
    client.awaitBundle("a", b -> b.getString("state").equals("RESOLVED"));
    client.call("start", start("a", false));
    assertEquals("1.0.0", client.bundle("a").getString("version"));
  }

  /** Whoever repeats a removal whose answer he did not get may meet it still at work. */
  @Test
  void aStopSaysThatTheBundleIsGoneMeanwhile() throws IOException {
    launch("--property", releaseProperty());
    install("a", Activators.HangsInStop.class);
    client.call("start", start("a", false));
    client.forget();
    int uninstall = client.send("uninstall", "location", "a", "timeout", 20_000);
    client.awaitBundle("a", b -> b.getString("state").equals("STOPPING"));
    int stop = client.send("stop", "location", "a", "timeout", 20_000);
    install("b", Activators.Quiet.class); // the stop waits by now
    Files.createFile(release());
    assertTrue(client.answer(uninstall).has("result"));
    assertEquals("not-found", client.answer(stop).getObject("error").getString("reason"));
  }

  @Test
  void aBundleThatHangsAtLaunchLeavesTheHostReachable() throws IOException {
    launch("--property", releaseProperty());
    install("a", Activators.HangsInStart.class);
    Files.createFile(release());
    client.call("start", start("a", true));
    Files.delete(release());
    relaunch("--property", releaseProperty());
    assertState("a", "STARTING");
    assertEquals("still-running", client.fail("setStartLevel", "level", 2, "timeout", 100).getString("reason"));
    Files.createFile(release());
    client.awaitBundle("a", b -> b.getString("state").equals("ACTIVE"));
    client.await(m -> "framework".equals(m.getString("event")) && m.getObject("framework").getInt("startLevel") == 2);
  }

  @Test
  void changesWithoutAnEventAreFound() throws IOException {
    launch("--start-level", "4", "--property", releaseProperty());
    install("a", Activators.Meddles.class);
    client.call("start", start("a", false));
    assertEquals(1, client.bundle("a").getInt("startLevel"));
    client.forget();
    Files.createFile(release());
    client.awaitBundle("a", b -> b.getInt("startLevel") == 3);
  }

  @Test
  void badFramesEndTheirConnectionOnly() throws IOException {
    launch();
    List<byte[]> bad =
        List.of(
            new byte[] {0, 0, 0, 0},
            new byte[] {0, (byte) 0x80, 0, 1},
            new byte[] {-1, -1, -1, -1},
            framed("no json"),
            framed("[1]"),
            framed("{"),
            framed("{\"method\":\"list\"}"),
            framed("{\"id\":\"1\",\"method\":\"list\"}"),
            framed("{\"id\":-1,\"method\":\"list\"}"),
            framed("{\"id\":1.5,\"method\":\"list\"}"),
            framed("{\"id\":9007199254740992,\"method\":\"list\"}"),
            framed("{\"a\":" + "[".repeat(500_000)),
            new byte[] {0, 0, 0, 4, '{', (byte) 0xff, (byte) 0xfe, '}'});
    for (byte[] frame : bad) {
      try (Client other = host.greet()) {
        other.raw(frame);
        other.awaitEnd();
      }
    }
    try (Client cut = host.greet()) {
      cut.raw(new byte[] {0, 0, 1});
    }
    String[] wrong = {
      "{\"id\":90,\"method\":7,\"params\":{}}",
      "{\"id\":90,\"method\":\"list\",\"params\":[]}",
      "{\"id\":90,\"params\":{}}",
      "{\"id\":90,\"method\":\"install\",\"params\":{}}",
      "{\"id\":90,\"method\":\"install\",\"params\":{\"location\":1,\"path\":\"p\",\"op\":\"o\"}}",
      "{\"id\":90,\"method\":\"install\",\"params\":{\"location\":\"\",\"path\":\"p\",\"op\":\"o\"}}",
      "{\"id\":90,\"method\":\"install\",\"params\":{\"location\":\"l\",\"path\":\"p\",\"op\":\"o\",\"startLevel\":0}}",
      "{\"id\":90,\"method\":\"start\",\"params\":{\"location\":\"l\",\"transient\":\"no\",\"auto\":false}}",
      "{\"id\":90,\"method\":\"start\",\"params\":{\"location\":\"l\",\"transient\":true,\"auto\":false,\"timeout\":-1}}",
      "{\"id\":90,\"method\":\"setStartLevel\",\"params\":{\"level\":1e99}}"
    };
    for (String json : wrong) {
      client.forget();
      client.frame(json);
      assertEquals("invalid-argument", client.answer(90).getObject("error").getString("reason"), json);
    }
    client.call("list");
  }

  private static byte[] framed(String json) {
    byte[] bytes = json.getBytes(StandardCharsets.UTF_8);
    return java.nio.ByteBuffer.allocate(4 + bytes.length).putInt(bytes.length).put(bytes).array();
  }

  @Test
  void aClientThatDoesNotReadIsCutOff() throws IOException {
    launch();
    install("a", Activators.Quiet.class);
    try (Client deaf = host.dial()) {
      deaf.send("hello", "protocol", 1);
      IOException cut = null;
      for (int i = 0; i < 500_000 && cut == null; i++) {
        try {
          deaf.send("list");
        } catch (IOException e) {
          cut = e;
        }
      }
      assertNotNull(cut, "never cut off");
    }
    client.call("start", start("a", false));
  }

  private void assertExports(String location, String file) throws IOException {
    JsonObject exported = client.call("export", "location", location);
    Path path = Path.of(exported.getString("path"));
    assertTrue(path.startsWith(dir.resolve("storage").resolve("framework")), path.toString());
    assertEquals(-1, Files.mismatch(Path.of(file), path), path + " is not " + file);
    JsonObject bundle = client.bundle(location);
    assertEquals(bundle.getString("symbolicName"), exported.getString("symbolicName"));
    assertEquals(bundle.getString("version"), exported.getString("version"));
  }

  @Test
  void theStoredJarIsWhatWasInstalled() throws IOException {
    launch();
    String one = file("test.a", "1.0.0", Activators.Quiet.class);
    String two = file("test.a", "2.0.0", Activators.Quiet.class);
    install("other", Activators.Quiet.class);
    install("a", one);
    assertExports("a", one);
    client.call("start", start("a", true));
    assertExports("a", one);
    client.call("update", "location", "a", "path", two, "op", "up", "timeout", 20_000);
    assertExports("a", two);
    for (int i = 0; i < 3; i++) {
      client.call("update", "location", "a", "path", one, "op", "back" + i, "timeout", 20_000);
      client.call("update", "location", "a", "path", two, "op", "again" + i, "timeout", 20_000);
    }
    assertExports("a", two);
    Files.write(dir.resolve("text.jar"), "no jar".getBytes(StandardCharsets.UTF_8));
    client.fail("update", "location", "a", "path", dir.resolve("text.jar").toString(), "op", "bad", "timeout", 20_000);
    assertExports("a", two);
    relaunch();
    assertExports("a", two);
    client.call("update", "location", "a", "path", one, "op", "down", "timeout", 20_000);
    assertExports("a", one);
    String fragment = new BundleFile("test.f", "1.0.0").header("Fragment-Host", "test.a").write(dir.resolve("f.jar"));
    install("f", fragment);
    assertExports("f", fragment);
    assertEquals("not-found", client.fail("export", "location", "nobody").getString("reason"));
    assertEquals("not-found", client.fail("export", "location", "System Bundle").getString("reason"));
    assertEquals("invalid-argument", client.fail("export").getString("reason"));
  }

  @Test
  void aStoredJarIsFoundWithABundleThatUsesTheOldContent() throws IOException {
    launch();
    install("provider", provider("1.0.0"));
    install("consumer", consumer("[1,3)", Activators.HangsInStop.class));
    client.call("start", start("provider", true));
    client.call("start", start("consumer", true));
    String next = provider("2.0.0");
    client.send("update", "location", "provider", "path", next, "op", "up", "timeout", 20_000);
    client.awaitBundle("provider", b -> b.getString("version").equals("2.0.0"));
    assertExports("provider", next);
  }

  @Test
  void whatWasInstalledByReferenceIsNotExported() throws IOException {
    String file = file("test.there", "1.0.0", Activators.Quiet.class);
    Path exploded = Files.createDirectories(dir.resolve("exploded"));
    Files.createDirectories(exploded.resolve("META-INF"));
    Files.writeString(
        exploded.resolve("META-INF/MANIFEST.MF"),
        "Manifest-Version: 1.0\nBundle-ManifestVersion: 2\nBundle-SymbolicName: exploded\n");
    for (String location : List.of("reference:file:" + file, "reference:file:" + exploded)) {
      launch("--property", "test.refers=" + location);
      install("refers", Activators.Refers.class);
      client.call("start", start("refers", false));
      JsonObject e = client.fail("export", "location", location);
      assertEquals("not-supported", e.getString("reason"), e.toString());
      assertTrue(e.getString("cause").contains("by reference"), e.toString());
      client.call("uninstall", "location", "refers");
      host.kill();
      client.close();
    }
  }

  @Test
  void oneHostOwnsAStorage() throws IOException {
    launch();
    assertEquals("rw-------", PosixFilePermissions.toString(Files.getPosixFilePermissions(host.socket)));
    try (HostProcess second = HostProcess.launch(framework(), dir)) {
      assertEquals(3, second.exit());
    }
    client.call("list");
    relaunch(); // in place of the socket that the killed one left
    client.call("list");
    Path other = Files.createDirectory(dir.resolve("other"));
    try (HostProcess thief = HostProcess.launch(framework(), other, "--socket", host.socket.toString())) {
      assertEquals(1, thief.exit(), "a socket that is in use is left alone");
    }
    client.call("list");
    try (HostProcess wrong = HostProcess.launch(framework(), other, "--start-level", "0")) {
      assertEquals(2, wrong.exit());
    }
  }

  @Test
  void itEndsInOrder() throws IOException {
    launch();
    install("a", Activators.Quiet.class);
    client.call("start", start("a", true));
    client.call("shutdown");
    assertEquals(0, host.exit());
    assertFalse(Files.exists(host.socket));
    client.awaitBundle("a", b -> b.getString("state").equals("STOPPING"));

    launch();
    assertState("a", "ACTIVE");
    host.process.destroy(); // SIGTERM
    assertEquals(0, host.exit());
  }

  @Test
  void aBundleMayEndEverything() throws IOException {
    launch();
    install("exits", Activators.Exits.class);
    client.send("start", start("exits", false));
    assertEquals(7, host.exit());
    launch();
    install("stops", Activators.StopsFramework.class);
    client.send("start", start("stops", false));
    assertEquals(4, host.exit());
  }

  /** What a bundle that ends the JVM in its start is asked to be while there is none holds before it is started. */
  @Test
  void aBundleCanBeKeptFromItsStart() throws IOException {
    launch();
    install("exits", Activators.Exits.class);
    install("b c", Activators.Quiet.class);
    client.send("start", start("exits", true));
    assertEquals(7, host.exit());
    host = HostProcess.launch(framework(), dir);
    assertEquals(7, host.exit(), "at each launch");

    launch("--bundle-level", "5 exits", "--auto-start", "true b c", "--auto-start", "false nowhere");
    assertFalse(running("exits"));
    assertEquals(5, client.bundle("exits").getInt("startLevel"));
    assertTrue(client.bundle("exits").getBoolean("autoStart"));
    assertState("b c", "ACTIVE");
    relaunch("--bundle-level", "1 exits", "--auto-start", "false exits");
    assertFalse(running("exits"));
    assertFalse(client.bundle("exits").getBoolean("autoStart"));
    relaunch();
    assertEquals(1, client.bundle("exits").getInt("startLevel"));
    assertFalse(client.bundle("exits").getBoolean("autoStart"));
    assertNoFault("exits");
    assertState("b c", "ACTIVE");
  }

  private String socketProperty() {
    return Activator.SOCKET + "=" + dir.resolve("s");
  }

  private void attach() throws IOException {
    host = HostProcess.attach(framework(), dir, socketProperty());
    client = host.connect();
  }

  private JsonObject hello() throws IOException {
    return client.call("hello", "protocol", 1).getObject("framework");
  }

  /** The bundle that is the host. */
  private JsonObject own() throws IOException {
    for (Object o : client.call("list").getArray("bundles")) {
      if (((JsonObject) o).getBoolean("system", false)) {
        return (JsonObject) o;
      }
    }
    throw new AssertionError("no bundle is the host's");
  }

  @Test
  void servesAFrameworkThatItIsABundleOf() throws IOException {
    launch();
    assertFalse(hello().getBoolean("attached"));
    install("a", Activators.Quiet.class);
    assertFalse(client.bundle("a").has("system"));
    host.kill();
    client.close();
    dir = Files.createDirectory(dir.resolve("attached"));

    attach();
    JsonObject framework = hello();
    assertTrue(framework.getBoolean("attached"));
    assertEquals(framework.getString("uuid"), framework.getString("launch"));
    assertEquals(3, framework.getInt("startLevel"));
    assertTrue(framework.getString("storage").startsWith(dir.resolve("storage").toString()));
    String own = own().getString("location");
    assertState(own, "ACTIVE");
    Object[][] refused = {
      {"stop", "location", own},
      {"setAutoStart", "location", own, "on", true},
      {"setAutoStart", "location", own, "on", false},
      {"setBundleStartLevel", "location", own, "level", 1},
      {"update", "location", own, "path", System.getProperty("host.jar"), "op", "1"},
      {"uninstall", "location", own},
      {"setStartLevel", "level", 1}, // which is below that of the host
      {"shutdown"},
    };
    for (Object[] r : refused) {
      JsonObject error = client.fail((String) r[0], Arrays.copyOfRange(r, 1, r.length));
      assertEquals("not-supported", error.getString("reason"), error.toString());
    }
    client.call("start", start(own, false));
    client.call("setStartLevel", "level", 2);
    assertEquals("exists", client.fail("install", "location", own, "path", file("a", "1.0.0", Activators.Quiet.class), "op", "1").getString("reason"));
    assertTrue(host.process.isAlive());
    host.tell("end");
    assertEquals("the framework is stopping", client.await(m -> "ending".equals(m.getString("event"))).getString("message"));
    client.awaitEnd();
    assertEquals(0, host.exit());
    assertFalse(Files.exists(dir.resolve("s")));
  }

  @Test
  void keepsWhatItHasInTheStorageOfAFrameworkThatItIsABundleOf() throws IOException {
    attach();
    byte[] jar = Files.readAllBytes(Path.of(file("test.a", "1.0.0", Activators.Quiet.class)));
    Object[] install = {"location", "a", "op", "1", "startLevel", -1};
    JsonObject error = client.fail("install", install);
    assertEquals("invalid-argument", error.getString("reason"), "nothing was uploaded");
    assertEquals("invalid-argument", client.fail("upload", "data", "?").getString("reason"));
    int half = jar.length / 2;
    client.call("upload", "data", Base64.getEncoder().encodeToString(Arrays.copyOf(jar, half)));
    JsonObject whole = client.call("upload", "data", Base64.getEncoder().encodeToString(Arrays.copyOfRange(jar, half, jar.length)));
    assertEquals(jar.length, whole.getInt("size"));
    client.call("install", install);
    assertEquals("invalid-argument", client.fail("update", "location", "a", "op", "2").getString("reason"), "an upload is for one request");
    client.call("start", start("a", true));
    Path stored = Path.of(client.call("export", "location", "a").getString("path"));
    assertTrue(stored.startsWith(dir.resolve("storage")));
    assertArrayEquals(jar, Files.readAllBytes(stored));
    client.call("setInitialBundleStartLevel", "level", 3);
    String launch = hello().getString("launch");

    host.kill();
    client.close();
    attach();
    assertNotEquals(launch, hello().getString("launch"));
    assertEquals(3, hello().getInt("initialBundleStartLevel"));
    client.awaitBundle("a", b -> b.getString("state").equals("ACTIVE"));
    client.call("upload", "data", Base64.getEncoder().encodeToString(jar));
    client.call("install", install); // a repeat of what was done
    client.call("upload", "data", Base64.getEncoder().encodeToString(jar));
    client.close();
    try (Client next = host.connect()) {
      try (var uploads = Files.walk(dir.resolve("storage"))) {
        assertTrue(uploads.noneMatch(p -> p.getFileName().toString().startsWith("smmd-client-")), "it goes with its connection");
      }
      assertNotNull(next.bundle("a"));
    }
    client = host.connect();
  }

  @Test
  void comesBackWithItsBundle() throws IOException {
    attach();
    String own = own().getString("location");
    String launch = hello().getString("launch");
    client.call("setInitialBundleStartLevel", "level", 2);
    for (String end : List.of("stop", "update")) {
      host.tell(end);
      JsonObject last = client.await(m -> "ending".equals(m.getString("event")));
      assertTrue(last.getString("message").startsWith("the host bundle "), last.getString("message"));
      client.awaitEnd();
      if (end.equals("stop")) {
        host.tell("start");
      }
      client = host.connect();
      assertEquals(launch, hello().getString("launch"), "the framework runs on");
      assertState(own, "ACTIVE");
    }
  }

  @Test
  void needsASocketToBeABundle() throws IOException {
    host = HostProcess.attach(framework(), dir);
    host.awaitLog(Activator.SOCKET + " must be the path of the socket");
    host.kill();
    host = HostProcess.attach(framework(), dir, Activator.SOCKET + "=" + dir.resolve("none/s"));
    host.awaitLog("in a directory that exists, not \"" + dir.resolve("none/s"));
  }
}
