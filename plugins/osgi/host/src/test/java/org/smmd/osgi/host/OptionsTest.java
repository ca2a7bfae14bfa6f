package org.smmd.osgi.host;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class OptionsTest {
  private static Options parse(String line) {
    return Options.parse(line.split(" "));
  }

  @Test
  void readsAll() {
    Options o =
        Options.parse(
            ("--socket|/s|--storage|/d|--property|a=b=c|--property|x=|--start-level|7|--stop-timeout|900"
                    + "|--bundle-level|3 at home|--auto-start|false at home|--auto-start|true b")
                .split("\\|"));
    First first = new First(Map.of("at home", 3), Map.of("at home", false, "b", true));
    assertEquals(new Options(Path.of("/s"), Path.of("/d"), Map.of("a", "b=c", "x", ""), 7, 900, first), o);
    assertEquals(1, parse("--socket /s --storage /d").startLevel());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "--socket /s",
        "--storage /d",
        "--socket /s --storage",
        "--socket /s --storage /d --level 1",
        "--socket /s --storage /d --property a",
        "--socket /s --storage /d --property =a",
        "--socket /s --storage /d --start-level 0",
        "--socket /s --storage /d --start-level one",
        "--socket /s --storage /d --stop-timeout 0",
        "--socket /s --storage /d extra"
      })
  void refuses(String line) {
    assertThrows(IllegalArgumentException.class, () -> parse(line));
  }

  @ParameterizedTest
  @CsvSource({"--bundle-level,5", "--bundle-level,0 a", "--bundle-level,five a", "--auto-start,yes a", "--auto-start,true", "--auto-start,true "})
  void refusesWithABundle(String key, String value) {
    String[] line = {"--socket", "/s", "--storage", "/d", key, value};
    assertThrows(IllegalArgumentException.class, () -> Options.parse(line));
  }
}
