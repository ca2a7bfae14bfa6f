package org.smmd.osgi.host;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.grack.nanojson.JsonObject;
import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FrameTest {
  private static JsonObject read(byte[] bytes) throws IOException {
    return Frame.read(new DataInputStream(new ByteArrayInputStream(bytes)));
  }

  private static byte[] framed(byte[] body) {
    return ByteBuffer.allocate(4 + body.length).putInt(body.length).put(body).array();
  }

  @Test
  void whatIsWrittenIsRead() throws IOException {
    JsonObject json = new JsonObject();
    json.put("text", "ä€😀\n\"");
    json.put("number", (1L << 53) - 1);
    assertEquals(json, read(Frame.write(json).array()));
  }

  @Test
  void theEndOfTheStreamIsNoFrame() throws IOException {
    assertNull(read(new byte[0]));
  }

  @ParameterizedTest
  @ValueSource(ints = {0, -1, Frame.MAX_READ + 1, Integer.MAX_VALUE, Integer.MIN_VALUE})
  void aLengthOutOfBoundsIsRefused(int length) {
    byte[] bytes = ByteBuffer.allocate(8).putInt(length).array();
    assertThrows(IOException.class, () -> read(bytes));
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "{", "[]", "1", "{} {}", "{\"a\":}", "null"})
  void whatIsNoObjectIsRefused(String body) {
    assertThrows(IOException.class, () -> read(framed(body.getBytes(StandardCharsets.UTF_8))));
  }

  @Test
  void aFrameCutOffIsRefused() {
    byte[] whole = framed("{\"id\":1}".getBytes(StandardCharsets.UTF_8));
    for (int n = 1; n < whole.length; n++) {
      byte[] cut = java.util.Arrays.copyOf(whole, n);
      assertThrows(IOException.class, () -> read(cut), n + " bytes");
    }
  }

  @Test
  void deepNestingIsRefused() {
    byte[] deep = framed(("{\"a\":" + "[".repeat(900_000)).getBytes(StandardCharsets.UTF_8));
    assertThrows(IOException.class, () -> read(deep));
  }

  @Test
  void noiseIsReadOrRefused() {
    Random random = new Random(1);
    byte[] seed = "{\"id\":1,\"method\":\"list\",\"params\":{\"a\":[1,true,null,\"\\u00e4\"]}}".getBytes(StandardCharsets.UTF_8);
    for (int n = 0; n < 20_000; n++) {
      byte[] body = seed.clone();
      for (int i = random.nextInt(4); i >= 0; i--) {
        body[random.nextInt(body.length)] = (byte) random.nextInt(256);
      }
      try {
        read(framed(body));
      } catch (IOException e) {
        continue; // the only exception that is foreseen
      }
    }
  }

  @Test
  void aMessageThatIsTooLongIsNotWritten() {
    JsonObject json = new JsonObject();
    json.put("text", "x".repeat(Frame.MAX_SENT));
    assertNull(Frame.write(json));
  }
}
