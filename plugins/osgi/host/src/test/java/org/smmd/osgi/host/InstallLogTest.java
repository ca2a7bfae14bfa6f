package org.smmd.osgi.host;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class InstallLogTest {
  @TempDir Path dir;
  private Path file;

  @BeforeEach
  void name() {
    file = dir.resolve("installs.json");
  }

  @Test
  void remembers() throws IOException {
    InstallLog log = InstallLog.open(file);
    log.put("a", "1");
    log.put("b", "2");
    log.put("c", "3");
    log.put("b", "4");
    log.remove("a");
    InstallLog again = InstallLog.open(file);
    assertNull(again.op("a"));
    assertEquals("4", again.op("b"));
    again.retain(Set.of("c"));
    again = InstallLog.open(file);
    assertNull(again.op("b"));
    assertEquals("3", again.op("c"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "{", "[]", "{\"version\":2,\"ops\":{\"a\":\"1\"}}", "{\"version\":1,\"ops\":7}"})
  void whatCannotBeReadIsBegunAnew(String content) throws IOException {
    Files.writeString(file, content);
    InstallLog log = InstallLog.open(file);
    assertNull(log.op("a"));
    log.put("a", "2");
    assertEquals("2", InstallLog.open(file).op("a"));
  }
}
