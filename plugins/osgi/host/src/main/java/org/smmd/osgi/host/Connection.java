package org.smmd.osgi.host;

import com.grack.nanojson.JsonObject;
import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.BiConsumer;

/**
 * One client. Frames go out through a bounded queue, so that nobody in the framework ever waits for a client: one that does not read is cut
 * off, and gets everything anew when it comes back.
 */
final class Connection {
  /** A client with so many bytes still unread gets no more. */
  private static final long QUEUED_BYTES = 8 << 20;
  private static final long MAX_ID = (1L << 53) - 1;

  /** A request as it came. */
  record Request(long id, String method, Params params) {}

  private final SocketChannel channel;
  private final String name;
  private final BlockingQueue<ByteBuffer> queue = new LinkedBlockingQueue<>();
  private final AtomicLong queued = new AtomicLong();
  private final Upload upload;
  private final Runnable onClose;
  private Thread writer;
  private volatile boolean greeted;

  Connection(SocketChannel channel, String name, Upload upload, Runnable onClose) {
    this.channel = channel;
    this.name = name;
    this.upload = upload;
    this.onClose = onClose;
  }

  /** Serves the client until it goes; requests are given to the consumer, which must not block. */
  void start(BiConsumer<Connection, Request> requests) {
    writer = Threads.start(name + "-write", this::write);
    Threads.start(name + "-read", () -> read(requests));
  }

  boolean open() {
    return channel.isOpen();
  }

  boolean greeted() {
    return greeted;
  }

  void greet() {
    greeted = true;
  }

  /** What the client sent for its next install or update. */
  Upload upload() {
    return upload;
  }

  /** Queues a message. Never blocks. */
  void send(JsonObject json) {
    ByteBuffer frame = Frame.write(json);
    if (frame == null) {
      Log.warn(name + ": message is too long, client is cut off");
      close();
      return;
    }
    send(frame);
  }

  private void send(ByteBuffer frame) {
    if (!channel.isOpen()) {
      return;
    }
    if (queued.get() >= QUEUED_BYTES) {
      Log.warn(name + ": client does not read, it is cut off");
      close();
      return;
    }
    queued.addAndGet(frame.remaining());
    queue.add(frame);
  }

  void answer(long id, JsonObject result) {
    JsonObject json = new JsonObject();
    json.put("id", id);
    json.put("result", result);
    ByteBuffer frame = Frame.write(json);
    if (frame == null) {
      answer(id, new Failure(Reason.INTERNAL, "cannot answer: the answer is longer than a frame"));
      return;
    }
    send(frame);
  }

  void answer(long id, Failure failure) {
    JsonObject error = new JsonObject();
    error.put("reason", failure.reason.wire);
    error.put("message", failure.getMessage());
    if (failure.words != null) {
      error.put("cause", failure.words);
    }
    JsonObject json = new JsonObject();
    json.put("id", id);
    json.put("error", error);
    send(json);
  }

  void close() {
    try {
      channel.close();
    } catch (IOException e) {
      Log.error(name + ": cannot close", e);
    }
  }

  /** Whether everything that was queued has been handed to the system. */
  boolean drained() {
    return !channel.isOpen() || (queue.isEmpty() && writer.getState() == Thread.State.WAITING);
  }

  private void read(BiConsumer<Connection, Request> requests) {
    try (DataInputStream in = new DataInputStream(new BufferedInputStream(Channels.newInputStream(channel)))) {
      for (JsonObject json = Frame.read(in); json != null; json = Frame.read(in)) {
        requests.accept(this, request(json));
      }
    } catch (IOException e) {
      if (channel.isOpen()) {
        Log.warn(name + ": client is cut off: " + Words.of(e));
      }
    } finally {
      close();
      writer.interrupt();
      upload.close();
      onClose.run();
    }
  }

  /** A frame without an id cannot be answered, so it ends the connection; whatever else is wrong is answered. */
  private static Request request(JsonObject json) throws IOException {
    Object id = json.get("id");
    if (!(id instanceof Integer || id instanceof Long)) {
      throw new IOException("request without an id");
    }
    long number = ((Number) id).longValue();
    if (number < 0 || number > MAX_ID) {
      throw new IOException("request id " + number);
    }
    Object params = json.get("params");
    if (params == null && !json.has("params")) {
      params = new JsonObject();
    }
    return new Request(
        number,
        json.get("method") instanceof String s ? s : null,
        params instanceof JsonObject o ? new Params(o) : null);
  }

  private void write() {
    try {
      while (true) {
        ByteBuffer frame = queue.take();
        queued.addAndGet(-frame.remaining());
        while (frame.hasRemaining()) {
          channel.write(frame);
        }
      }
    } catch (IOException | InterruptedException e) {
      close(); // the reader cleans up
    }
  }
}
