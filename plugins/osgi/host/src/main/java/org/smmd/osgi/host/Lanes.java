package org.smmd.osgi.host;

import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/** One lane for each location: who is in it may change the bundle there. A lane may be left by another thread than entered it. */
final class Lanes {
  private static final class Lane {
    final Semaphore free = new Semaphore(1, true);
    int users;
  }

  private final Map<String, Lane> lanes = new HashMap<>();

  /** Enters the lane, or gives up after the time. */
  boolean enter(String location, long millis) throws InterruptedException {
    Lane lane;
    synchronized (lanes) {
      lane = lanes.computeIfAbsent(location, l -> new Lane());
      lane.users++;
    }
    boolean in = false;
    try {
      in = lane.free.tryAcquire(millis, TimeUnit.MILLISECONDS);
    } finally {
      if (!in) {
        drop(location, lane);
      }
    }
    return in;
  }

  void leave(String location) {
    Lane lane;
    synchronized (lanes) {
      lane = lanes.get(location);
    }
    lane.free.release();
    drop(location, lane);
  }

  private void drop(String location, Lane lane) {
    synchronized (lanes) {
      if (--lane.users == 0) {
        lanes.remove(location);
      }
    }
  }
}
