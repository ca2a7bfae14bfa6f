package org.smmd.osgi.host;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.stream.Stream;

/**
 * The package that a client sends over its connection, in a file of its own, because the host may not be able to read the client's: it may run as another user.
 * It goes with the connection.
 */
final class Upload {
  private final Path file;
  private long size;
  private boolean closed;

  Upload(Path file) {
    this.file = file;
  }

  /** Makes the directory for uploads, and empties it of those of an earlier process. */
  static void prepare(Path dir) throws IOException {
    if (!Files.isDirectory(dir)) {
      Files.createDirectory(dir, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
    }
    List<Path> old;
    try (Stream<Path> all = Files.list(dir)) {
      old = all.toList();
    }
    for (Path path : old) {
      Files.delete(path);
    }
  }

  /** Adds bytes; returns how many there are now. */
  synchronized long add(byte[] bytes) throws Failure {
    String what = "take the package";
    if (closed) {
      throw new Failure(Reason.UNAVAILABLE, "cannot " + what + ": the connection has ended");
    }
    try {
      Files.write(file, bytes, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.APPEND);
    } catch (IOException e) {
      throw Bundles.ioFailure(what, e);
    }
    return size += bytes.length;
  }

  /** The path of the file. */
  synchronized String file() throws Failure {
    if (size == 0) {
      throw new Failure(Reason.INVALID_ARGUMENT, "cannot understand the request: it has no \"path\", and nothing was uploaded");
    }
    return file.toString();
  }

  /** Ends with its connection. */
  synchronized void close() {
    closed = true;
    remove();
  }

  /** Removes the file: what is sent next is another package. Whoever reads it at the moment goes on. */
  synchronized void remove() {
    size = 0;
    try {
      Files.deleteIfExists(file);
    } catch (IOException e) {
      Log.error("cannot remove " + file, e);
    }
  }
}
