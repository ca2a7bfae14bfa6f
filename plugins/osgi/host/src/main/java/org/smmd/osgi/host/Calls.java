package org.smmd.osgi.host;

import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.FutureTask;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Calls that may enter a bundle's code and so may never return. Each has a thread of its own and is waited for until a time limit; after that
 * the request is answered with {@link Reason#STILL_RUNNING} and the call goes on. One location sees one call at a time.
 */
final class Calls {
  /** So many calls may hang before further ones are refused. */
  private static final int THREADS = 64;

  /** A call; it is asked to look at {@link Waiter#gone} before a step that should not happen without anybody waiting for it. */
  interface Call<T> {
    T run(Waiter waiter) throws Failure;
  }

  /** Who waits for the call. */
  static final class Waiter {
    private volatile boolean gone;

    /** Whether the request was answered meanwhile. */
    boolean gone() {
      return gone;
    }
  }

  private final ThreadPoolExecutor threads = Threads.pool("smmd-call", THREADS);
  private final Lanes lanes = new Lanes();

  /**
   * Runs the call in the lane of the location.
   *
   * @param what completes "cannot …"
   * @param millis how long to wait, for the lane and the end together
   * @param busy the reason to give when an earlier call does not leave the lane
   */
  <T> T run(String location, String what, int millis, Reason busy, Call<T> call) throws Failure {
    long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(millis);
    Waiter waiter = new Waiter();
    try {
      if (!lanes.enter(location, millis)) {
        throw new Failure(busy, "cannot " + what + ": an earlier call into it has not ended");
      }
      FutureTask<T> task =
          new FutureTask<>(
              () -> {
                try {
                  return call.run(waiter);
                } finally {
                  lanes.leave(location);
                }
              });
      submit(location, what, task);
      return task.get(Math.max(0, deadline - System.nanoTime()), TimeUnit.NANOSECONDS);
    } catch (TimeoutException e) {
      waiter.gone = true;
      throw new Failure(
          Reason.STILL_RUNNING, "cannot " + what + " within " + millis + " ms: the call into it goes on");
    } catch (InterruptedException e) {
      waiter.gone = true;
      Thread.currentThread().interrupt();
      throw new Failure(Reason.UNAVAILABLE, "cannot " + what + ": the host is ending");
    } catch (ExecutionException e) {
      throw failure(what, e.getCause());
    }
  }

  /** Takes no more calls. Those that go on do so, in code that may not like an interrupt. */
  void close() {
    threads.shutdown();
  }

  private void submit(String location, String what, Future<?> task) throws Failure {
    try {
      threads.execute((Runnable) task);
    } catch (RejectedExecutionException e) {
      lanes.leave(location);
      throw threads.isShutdown()
          ? new Failure(Reason.UNAVAILABLE, "cannot " + what + ": the host is ending")
          : new Failure(Reason.NO_RESOURCES, "cannot " + what + ": " + THREADS + " calls into bundles hang");
    }
  }

  private static Failure failure(String what, Throwable thrown) {
    if (thrown instanceof Failure f) {
      return f;
    }
    Log.error("cannot " + what, thrown);
    return Failure.of(Reason.INTERNAL, what, thrown);
  }
}
