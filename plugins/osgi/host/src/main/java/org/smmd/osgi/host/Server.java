package org.smmd.osgi.host;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.BooleanSupplier;

/** The Unix socket. */
final class Server {
  private static final int CLIENTS = 16;
  /** A pause after a failed accept, which is nearly always for want of file descriptors. */
  private static final long PAUSE_MILLIS = 200;

  private final Path path;
  private final Path uploads;
  private final ServerSocketChannel channel;
  private final Requests requests;
  private final Publisher publisher;
  private final Set<Connection> clients = ConcurrentHashMap.newKeySet();

  private Server(Path path, Path uploads, ServerSocketChannel channel, Requests requests, Publisher publisher) {
    this.path = path;
    this.uploads = uploads;
    this.channel = channel;
    this.requests = requests;
    this.publisher = publisher;
  }

  /**
   * Listens on the path, in place of the socket that a dead host left there.
   *
   * @param uploads directory for what clients send; what is in it is of clients that are gone
   */
  static Server open(Path path, Path uploads, Requests requests, Publisher publisher) throws IOException {
    removeStale(path);
    Upload.prepare(uploads);
    ServerSocketChannel channel = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
    channel.bind(UnixDomainSocketAddress.of(path));
    Files.setPosixFilePermissions(path, PosixFilePermissions.fromString("rw-------"));
    Server server = new Server(path, uploads, channel, requests, publisher);
    Threads.start("smmd-accept", server::accept);
    return server;
  }

  private static void removeStale(Path path) throws IOException {
    if (!Files.exists(path, LinkOption.NOFOLLOW_LINKS)) {
      return;
    }
    if (!Files.readAttributes(path, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS).isOther()) {
      throw new IOException(path + " is no socket");
    }
    try (SocketChannel probe = SocketChannel.open(UnixDomainSocketAddress.of(path))) {
      throw new IOException("somebody listens on " + path);
    } catch (java.net.SocketException e) {
      Files.delete(path);
    }
  }

  private void accept() {
    for (int n = 1; channel.isOpen(); n++) {
      try {
        SocketChannel client = channel.accept();
        if (clients.size() >= CLIENTS) {
          Log.warn("more than " + CLIENTS + " clients, the new one is refused");
          client.close();
          continue;
        }
        serve(client, "smmd-client-" + n);
      } catch (IOException e) {
        if (channel.isOpen()) {
          Log.error("cannot accept a client", e);
          pause();
        }
      }
    }
  }

  private void serve(SocketChannel client, String name) {
    Connection[] self = new Connection[1];
    self[0] =
        new Connection(
            client,
            name,
            new Upload(uploads.resolve(name)),
            () -> {
              clients.remove(self[0]);
              publisher.unsubscribe(self[0]);
            });
    clients.add(self[0]);
    self[0].start(requests::serve);
  }

  private static void pause() {
    try {
      Thread.sleep(PAUSE_MILLIS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** Ends listening and removes the socket. Clients get what was queued for them, if they read it within the time, and are cut off. */
  void close(long millis) {
    try {
      channel.close();
      Files.deleteIfExists(path);
    } catch (IOException e) {
      Log.error("cannot remove the socket", e);
    }
    await(millis, () -> clients.stream().allMatch(Connection::drained));
    clients.forEach(Connection::close);
    await(millis, clients::isEmpty); // their threads have ended
  }

  private static void await(long millis, BooleanSupplier done) {
    long deadline = System.nanoTime() + millis * 1_000_000;
    try {
      while (!done.getAsBoolean() && System.nanoTime() < deadline) {
        Thread.sleep(5);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
