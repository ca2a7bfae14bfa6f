package org.smmd.osgi.host;

import com.grack.nanojson.JsonObject;
import com.grack.nanojson.JsonParser;
import com.grack.nanojson.JsonParserException;
import com.grack.nanojson.JsonWriter;
import java.io.DataInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/** One message: a length of four bytes, big-endian, and so many bytes of a JSON object in UTF-8. */
final class Frame {
  /** The longest frame that we send, in bytes without the length. */
  static final int MAX_SENT = 8 << 20;
  /** The longest frame that we read. Requests are small, and the heap is too. */
  static final int MAX_READ = 1 << 20;

  private Frame() {}

  /** Reads one frame; null at the end of the stream. An IOException means that the other side does not speak the protocol. */
  static JsonObject read(DataInputStream in) throws IOException {
    int first = in.read();
    if (first < 0) {
      return null;
    }
    int length = first << 24 | in.readUnsignedByte() << 16 | in.readUnsignedShort();
    if (length < 1 || length > MAX_READ) {
      throw new IOException("frame of " + Integer.toUnsignedString(length) + " bytes");
    }
    return parse(in.readNBytes(length), length);
  }

  private static JsonObject parse(byte[] bytes, int length) throws IOException {
    if (bytes.length < length) {
      throw new IOException("frame cut off");
    }
    try {
      return JsonParser.object().from(StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString());
    } catch (CharacterCodingException e) {
      throw new IOException("frame is not UTF-8", e);
    } catch (JsonParserException e) {
      throw new IOException("frame is no JSON object: " + Words.of(e), e);
    } catch (StackOverflowError e) {
      throw new IOException("frame is nested too deeply", e);
    }
  }

  /** The bytes of a frame; null when it would be longer than {@link #MAX_SENT}. */
  static ByteBuffer write(JsonObject json) {
    byte[] bytes = JsonWriter.string(json).getBytes(StandardCharsets.UTF_8);
    if (bytes.length > MAX_SENT) {
      return null;
    }
    return ByteBuffer.allocate(4 + bytes.length).putInt(bytes.length).put(bytes).flip();
  }
}
