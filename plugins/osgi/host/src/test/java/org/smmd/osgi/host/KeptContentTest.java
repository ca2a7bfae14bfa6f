package org.smmd.osgi.host;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class KeptContentTest {
  @TempDir Path dir;

  @Test
  void onlyAFileSystemWithoutLinksIsNoFailure() throws IOException {
    for (String reason : new String[] {"Operation not permitted", "Invalid cross-device link", "Cross-device link", "Operation not supported", "Not supported"}) {
      KeptContent.requireLinkless(new FileSystemException("a", "b", reason));
    }
    KeptContent.requireLinkless(new UnsupportedOperationException());
    Exception[] failures = {
      new FileSystemException("a", "b", "No space left on device"),
      new FileSystemException("a", "b", "Read-only file system"),
      new FileSystemException("a", "b", null),
      new AccessDeniedException("a", "b", "Operation not permitted"), // EACCES, whatever it says
      new NoSuchFileException("a", "b", null),
    };
    for (Exception failure : failures) {
      IOException thrown = assertThrows(IOException.class, () -> KeptContent.requireLinkless(failure), failure.toString());
      assertEquals(failure, thrown);
    }
  }

  /** The words are those of the system. */
  @Test
  void anotherFileSystemHasNoLinks() throws IOException {
    Path memory = Path.of("/dev/shm");
    assumeTrue(Files.isDirectory(memory) && !Files.getFileStore(memory).equals(Files.getFileStore(dir)), "there is one file system only");
    Path file = Files.createFile(dir.resolve("file"));
    Path there = Files.createTempDirectory(memory, "kept");
    try {
      FileSystemException e = assertThrows(FileSystemException.class, () -> Files.createLink(there.resolve("file"), file));
      KeptContent.requireLinkless(e);
    } finally {
      Files.delete(there);
    }
  }
}
