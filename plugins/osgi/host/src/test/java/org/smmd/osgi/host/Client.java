package org.smmd.osgi.host;

import com.grack.nanojson.JsonObject;
import com.grack.nanojson.JsonParser;
import com.grack.nanojson.JsonParserException;
import com.grack.nanojson.JsonWriter;
import java.io.DataInputStream;
import java.io.IOException;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;

/** A client of a host: keeps every message in the order in which it came. */
final class Client implements AutoCloseable {
  private static final long LIMIT_MILLIS = 20_000;

  private final SocketChannel channel;
  private final List<JsonObject> messages = new ArrayList<>();
  private boolean ended;
  private int ids;

  Client(Path socket) throws IOException {
    channel = SocketChannel.open(UnixDomainSocketAddress.of(socket));
  }

  /** Connects and reads in the background. */
  static Client open(Path socket) throws IOException {
    Client client = new Client(socket);
    client.read();
    return client;
  }

  void read() {
    Thread reader = new Thread(this::readAll, "client");
    reader.setDaemon(true);
    reader.start();
  }

  private void readAll() {
    try (DataInputStream in = new DataInputStream(Channels.newInputStream(channel))) {
      while (true) {
        byte[] bytes = in.readNBytes(in.readInt());
        JsonObject json = JsonParser.object().from(new String(bytes, StandardCharsets.UTF_8));
        synchronized (messages) {
          messages.add(json);
          messages.notifyAll();
        }
      }
    } catch (IOException e) {
      synchronized (messages) {
        ended = true;
        messages.notifyAll();
      }
    } catch (JsonParserException e) {
      throw new AssertionError(e);
    }
  }

  void raw(byte[] bytes) throws IOException {
    ByteBuffer buffer = ByteBuffer.wrap(bytes);
    while (buffer.hasRemaining()) {
      channel.write(buffer);
    }
  }

  void frame(String json) throws IOException {
    byte[] bytes = json.getBytes(StandardCharsets.UTF_8);
    raw(ByteBuffer.allocate(4 + bytes.length).putInt(bytes.length).put(bytes).array());
  }

  /** Sends a request and returns its id. Parameters come as name, value, name, value, … */
  int send(String method, Object... params) throws IOException {
    JsonObject p = new JsonObject();
    for (int i = 0; i < params.length; i += 2) {
      p.put((String) params[i], params[i + 1]);
    }
    JsonObject json = new JsonObject();
    json.put("id", ++ids);
    json.put("method", method);
    json.put("params", p);
    frame(JsonWriter.string(json));
    return ids;
  }

  JsonObject answer(int id) {
    return await(m -> m.has("id") && m.getInt("id") == id);
  }

  /** Calls a method that must succeed. */
  JsonObject call(String method, Object... params) throws IOException {
    JsonObject answer = answer(send(method, params));
    if (!answer.has("result")) {
      throw new AssertionError(method + ": " + answer);
    }
    return answer.getObject("result");
  }

  /** Calls a method that must fail and returns the error. */
  JsonObject fail(String method, Object... params) throws IOException {
    JsonObject answer = answer(send(method, params));
    if (!answer.has("error")) {
      throw new AssertionError(method + " succeeded: " + answer);
    }
    return answer.getObject("error");
  }

  /** Waits for a message among those that came and those to come. */
  JsonObject await(Predicate<JsonObject> wanted) {
    long deadline = System.nanoTime() + LIMIT_MILLIS * 1_000_000;
    synchronized (messages) {
      for (int i = 0; true; i++) {
        while (i == messages.size()) {
          long left = (deadline - System.nanoTime()) / 1_000_000;
          if (ended || left <= 0) {
            throw new AssertionError((ended ? "connection ended" : "no such message") + " after " + messages);
          }
          pause(left);
        }
        if (wanted.test(messages.get(i))) {
          return messages.get(i);
        }
      }
    }
  }

  /** Waits until a bundle event fits. */
  JsonObject awaitBundle(String location, Predicate<JsonObject> wanted) {
    return await(
            m -> m.has("bundle") && m.getObject("bundle").getString("location").equals(location)
                && wanted.test(m.getObject("bundle")))
        .getObject("bundle");
  }

  /** Waits for the end of the connection. */
  void awaitEnd() {
    long deadline = System.nanoTime() + LIMIT_MILLIS * 1_000_000;
    synchronized (messages) {
      while (!ended) {
        long left = (deadline - System.nanoTime()) / 1_000_000;
        if (left <= 0) {
          throw new AssertionError("the connection did not end");
        }
        pause(left);
      }
    }
  }

  private void pause(long millis) {
    try {
      messages.wait(millis);
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  /** What came so far, in order. */
  List<JsonObject> messages() {
    synchronized (messages) {
      return List.copyOf(messages);
    }
  }

  void forget() {
    synchronized (messages) {
      messages.clear();
    }
  }

  /** The bundle as list tells it, null when there is none. */
  JsonObject bundle(String location) throws IOException {
    for (Object o : call("list").getArray("bundles")) {
      if (((JsonObject) o).getString("location").equals(location)) {
        return (JsonObject) o;
      }
    }
    return null;
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }
}
