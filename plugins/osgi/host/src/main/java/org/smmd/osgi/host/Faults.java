package org.smmd.osgi.host;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The last fault of each bundle, by bundle id. Frameworks report a failed auto-start once, by an event that comes before any
 * client can be connected, and forget it; here it stays until something newer is known.
 */
final class Faults {
  private final Map<Long, Fault> last = new ConcurrentHashMap<>();

  Fault of(long bundle) {
    return last.get(bundle);
  }

  void set(long bundle, Fault fault) {
    last.put(bundle, fault);
  }

  void clear(long bundle) {
    last.remove(bundle);
  }
}
