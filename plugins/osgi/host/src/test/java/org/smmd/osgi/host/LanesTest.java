package org.smmd.osgi.host;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

class LanesTest {
  @Test
  void oneAtATimeInEachLane() throws InterruptedException {
    Lanes lanes = new Lanes();
    assertTrue(lanes.enter("a", 0));
    assertFalse(lanes.enter("a", 1));
    assertTrue(lanes.enter("b", 0));
    lanes.leave("a");
    assertTrue(lanes.enter("a", 0));
  }

  @Test
  void manyUsers() throws InterruptedException {
    Lanes lanes = new Lanes();
    AtomicInteger inside = new AtomicInteger();
    AtomicInteger worst = new AtomicInteger();
    AtomicInteger runs = new AtomicInteger();
    ExecutorService threads = Executors.newFixedThreadPool(8);
    for (int i = 0; i < 400; i++) {
      threads.execute(
          () -> {
            try {
              if (lanes.enter("a", 10_000)) {
                worst.accumulateAndGet(inside.incrementAndGet(), Math::max);
                inside.decrementAndGet();
                runs.incrementAndGet();
                lanes.leave("a");
              }
            } catch (InterruptedException e) {
              Thread.currentThread().interrupt();
            }
          });
    }
    threads.shutdown();
    assertTrue(threads.awaitTermination(20, TimeUnit.SECONDS));
    assertTrue(worst.get() == 1 && runs.get() == 400, worst + " at once, " + runs + " runs");
  }
}
