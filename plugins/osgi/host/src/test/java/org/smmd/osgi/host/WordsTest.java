package org.smmd.osgi.host;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;
import org.osgi.framework.BundleException;

class WordsTest {
  /** An exception of a bundle that does not even want to be asked. */
  private static final class Hostile extends RuntimeException {
    @Override
    public String getMessage() {
      throw new IllegalStateException();
    }
  }

  @Test
  void theCauseOfABundleExceptionSpeaks() {
    assertEquals("own", Words.ofBundle(new BundleException("framework", new RuntimeException("own"))));
    assertEquals("alone", Words.ofBundle(new BundleException("alone")));
    assertEquals("outer", Words.ofBundle(new RuntimeException("outer", new RuntimeException("inner"))));
  }

  @Test
  void anExceptionWithoutMessageIsItsClass() {
    assertEquals("java.lang.StackOverflowError", Words.of(new StackOverflowError()));
    assertEquals("java.lang.IllegalStateException", Words.of(new IllegalStateException(" ")));
    assertEquals(Hostile.class.getName(), Words.of(new Hostile()));
  }

  @Test
  void longTextIsCutBetweenCharacters() {
    assertEquals(Words.MAX, Words.cut("x".repeat(1_000_000)).length());
    assertEquals("x".repeat(Words.MAX - 1), Words.cut("x".repeat(Words.MAX - 1) + "😀".repeat(9)));
    assertEquals("x".repeat(Words.MAX), Words.cut("x".repeat(Words.MAX)));
  }
}
