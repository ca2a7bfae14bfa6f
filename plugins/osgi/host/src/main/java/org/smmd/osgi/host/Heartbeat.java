package org.smmd.osgi.host;

import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/** Looks at regular intervals for what changes without an event. */
final class Heartbeat {
  private static final long SECONDS = 5;

  private final Publisher publisher;
  private final ScheduledExecutorService timer =
      Executors.newSingleThreadScheduledExecutor(Threads.named("smmd-heartbeat"));
  private long beats;

  Heartbeat(Publisher publisher) {
    this.publisher = publisher;
  }

  void start() {
    timer.scheduleWithFixedDelay(this::beat, SECONDS, SECONDS, TimeUnit.SECONDS);
  }

  void stop() {
    timer.shutdownNow();
  }

  private void beat() {
    beats++;
    try {
      publisher.poll(beats % 2 == 0);
    } catch (RuntimeException e) {
      Log.error("cannot look at the framework", e); // an exception would end the timer
    }
  }
}
