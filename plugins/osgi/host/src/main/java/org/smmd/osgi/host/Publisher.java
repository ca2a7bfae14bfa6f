package org.smmd.osgi.host;

import com.grack.nanojson.JsonObject;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import org.osgi.framework.Bundle;
import org.osgi.framework.BundleContext;
import org.osgi.framework.launch.Framework;

/**
 * Tells every subscriber what is so: everything once, then what differs from what was last told. A state is read and put in the
 * subscribers' queues under one lock, so what is told later was true later.
 */
final class Publisher {
  private final Framework framework;
  private final BundleView bundles;
  private final FrameworkView view;

  private final Set<Connection> subscribers = new LinkedHashSet<>();
  private final Map<Long, JsonObject> told = new HashMap<>();
  private JsonObject toldFramework;

  Publisher(Framework framework, BundleView bundles, FrameworkView view) {
    this.framework = framework;
    this.bundles = bundles;
    this.view = view;
  }

  /** Sends everything to the new subscriber, and from then on every change. */
  synchronized void subscribe(Connection subscriber) {
    if (subscribers.isEmpty()) {
      told.clear();
      toldFramework = view.json();
    } else {
      framework(false);
    }
    for (Bundle bundle : all()) {
      bundle(bundle, true);
    }
    subscriber.send(frameworkEvent());
    for (JsonObject bundle : told.values()) {
      subscriber.send(bundleEvent(bundle));
    }
    if (subscriber.open()) { // otherwise it may have been unsubscribed already
      subscribers.add(subscriber);
    }
  }

  synchronized void unsubscribe(Connection subscriber) {
    subscribers.remove(subscriber);
  }

  /** Tells a bundle's state if it is news. */
  synchronized void bundle(Bundle bundle) {
    bundle(bundle, false);
  }

  /** Tells that a bundle is gone. */
  synchronized void removed(Bundle bundle) {
    bundles.forget(bundle);
    if (told.remove(bundle.getBundleId()) != null) {
      JsonObject event = new JsonObject();
      event.put("event", "removed");
      event.put("location", bundle.getLocation());
      broadcast(event);
    }
  }

  /** Tells the framework's state if its levels changed; with sizes, also if those moved. */
  synchronized void framework(boolean sizes) {
    if (subscribers.isEmpty()) {
      return;
    }
    JsonObject now = view.json();
    if (FrameworkView.levelsDiffer(toldFramework, now) || (sizes && FrameworkView.moved(toldFramework, now))) {
      toldFramework = now;
      broadcast(frameworkEvent());
    }
  }

  /** Looks for what changes without an event of the framework: flags and levels that somebody set at a console. */
  synchronized void poll(boolean sizes) {
    if (subscribers.isEmpty()) {
      return;
    }
    framework(sizes);
    for (Bundle bundle : all()) {
      bundle(bundle, false);
    }
  }

  /** Tells that the host ends, and why: the last that is told. */
  synchronized void end(String why) {
    JsonObject event = new JsonObject();
    event.put("event", "ending");
    event.put("message", why);
    broadcast(event);
    subscribers.clear();
  }

  private void bundle(Bundle bundle, boolean always) {
    if (bundle.getBundleId() == 0 || (subscribers.isEmpty() && !always)) {
      return;
    }
    JsonObject now = bundles.of(bundle);
    if (now == null || now.equals(told.get(bundle.getBundleId()))) {
      return;
    }
    told.put(bundle.getBundleId(), now);
    broadcast(bundleEvent(now));
  }

  private Bundle[] all() {
    BundleContext context = framework.getBundleContext();
    return context == null ? new Bundle[0] : context.getBundles();
  }

  private void broadcast(JsonObject event) {
    for (Connection c : subscribers) {
      c.send(event);
    }
  }

  private JsonObject frameworkEvent() {
    JsonObject event = new JsonObject();
    event.put("event", "framework");
    event.put("framework", toldFramework);
    return event;
  }

  private static JsonObject bundleEvent(JsonObject bundle) {
    JsonObject event = new JsonObject();
    event.put("event", "bundle");
    event.put("bundle", bundle);
    return event;
  }
}
