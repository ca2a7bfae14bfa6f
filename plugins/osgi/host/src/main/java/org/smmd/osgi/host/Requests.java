package org.smmd.osgi.host;

import com.grack.nanojson.JsonArray;
import com.grack.nanojson.JsonObject;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import org.osgi.framework.Bundle;
import org.osgi.framework.launch.Framework;

/** The methods of the protocol, by name. Every request has a thread of its own, so that one that waits holds up no other. */
final class Requests {
  static final int PROTOCOL = 1;
  private static final int THREADS = 128;
  /**
   * How long after the opening answers wait for the framework's own start to end, so that they tell the faults of that start. Once it is over
   * nobody waits any more: a bundle may hang in that start.
   */
  private static final long STARTED_MILLIS = 3_000;
  private static final int LONGEST_MILLIS = 24 * 60 * 60 * 1000;
  private static final int USUAL_MILLIS = 60_000;

  private interface Method {
    JsonObject run(Connection client, Params params) throws Failure;
  }

  private final Framework framework;
  private final Inventory inventory;
  private final BundleView view;
  private final FrameworkView frameworkView;
  private final Publisher publisher;
  private final CompletableFuture<Void> started;
  private final long opened = System.nanoTime();
  private final String version;
  /** Ends the framework; null when that is not ours to do. */
  private final Runnable shutdown;
  private final ThreadPoolExecutor threads = Threads.pool("smmd-request", THREADS);
  private final Map<String, Method> methods;

  Requests(
      Framework framework,
      Inventory inventory,
      BundleView view,
      FrameworkView frameworkView,
      Publisher publisher,
      CompletableFuture<Void> started,
      String version,
      Runnable shutdown,
      Bundles bundles,
      Execution execution,
      RunLevels levels,
      StoredJars jars) {
    this.framework = framework;
    this.inventory = inventory;
    this.view = view;
    this.frameworkView = frameworkView;
    this.publisher = publisher;
    this.started = started;
    this.version = version;
    this.shutdown = shutdown;
    this.methods =
        Map.ofEntries(
            Map.entry("hello", this::hello),
            Map.entry("subscribe", this::subscribe),
            Map.entry("list", this::list),
            Map.entry("upload", Requests::upload),
            Map.entry("install", (c, p) -> install(bundles, c, p)),
            Map.entry("update", (c, p) -> update(bundles, c, p)),
            Map.entry("uninstall", (c, p) -> uninstall(bundles, p)),
            Map.entry("export", (c, p) -> export(jars, p)),
            Map.entry("start", (c, p) -> start(execution, p)),
            Map.entry("stop", (c, p) -> stop(execution, p)),
            Map.entry("setAutoStart", (c, p) -> setAutoStart(inventory, execution, p)),
            Map.entry("setStartLevel", (c, p) -> setStartLevel(levels, p)),
            Map.entry("setInitialBundleStartLevel", (c, p) -> setInitialBundleStartLevel(levels, p)),
            Map.entry("setBundleStartLevel", (c, p) -> setBundleStartLevel(levels, p)),
            Map.entry("shutdown", this::shutdown));
  }

  /** Serves one request, in a thread of its own. */
  void serve(Connection client, Connection.Request request) {
    try {
      threads.execute(() -> run(client, request));
    } catch (RejectedExecutionException e) {
      if (threads.isShutdown()) {
        client.answer(request.id(), new Failure(Reason.UNAVAILABLE, "cannot serve: the host is ending"));
        return;
      }
      client.answer(
          request.id(), new Failure(Reason.NO_RESOURCES, "cannot serve: " + THREADS + " requests are being served"));
    }
  }

  /** Takes no more requests, and gives up waiting for what the present ones wait for. */
  void close() {
    threads.shutdownNow();
  }

  private void run(Connection client, Connection.Request request) {
    try {
      client.answer(request.id(), method(client, request).run(client, request.params()));
      if ("shutdown".equals(request.method())) {
        shutdown.run();
      }
    } catch (Failure f) {
      client.answer(request.id(), f);
    } catch (RuntimeException | LinkageError | StackOverflowError e) {
      Log.error("cannot " + request.method(), e);
      client.answer(request.id(), unexpected(request.method(), e));
    }
  }

  private Failure unexpected(String method, Throwable thrown) {
    int state = framework.getState();
    boolean up = state == Bundle.ACTIVE || state == Bundle.STARTING;
    return Failure.of(up ? Reason.INTERNAL : Reason.UNAVAILABLE, method, thrown);
  }

  private Method method(Connection client, Connection.Request request) throws Failure {
    if (request.method() == null || request.params() == null) {
      throw new Failure(
          Reason.INVALID_ARGUMENT, "cannot understand the request: method must be a string, params an object");
    }
    Method method = methods.get(request.method());
    if (method == null) {
      throw new Failure(Reason.NOT_SUPPORTED, "cannot " + Words.cut(request.method()) + ": no such method");
    }
    if (!client.greeted() && !"hello".equals(request.method())) {
      throw new Failure(Reason.BAD_STATE, "cannot " + request.method() + ": the first request must be hello");
    }
    return method;
  }

  private JsonObject hello(Connection client, Params p) throws Failure {
    int protocol = p.number("protocol", 0, Integer.MAX_VALUE);
    if (protocol != PROTOCOL) {
      throw new Failure(
          Reason.NOT_SUPPORTED, "cannot speak protocol " + protocol + ": this host speaks " + PROTOCOL);
    }
    FrameworkWatcher.await(started, STARTED_MILLIS - TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - opened));
    client.greet();
    JsonObject result = new JsonObject();
    result.put("protocol", PROTOCOL);
    result.put("host", version);
    result.put("pid", ProcessHandle.current().pid());
    result.put("framework", frameworkView.json());
    return result;
  }

  private JsonObject subscribe(Connection client, Params p) {
    publisher.subscribe(client);
    return new JsonObject();
  }

  private JsonObject list(Connection client, Params p) throws Failure {
    JsonArray all = new JsonArray();
    for (Bundle bundle : inventory.context("list").getBundles()) {
      JsonObject json = bundle.getBundleId() == 0 ? null : view.of(bundle);
      if (json != null) {
        all.add(json);
      }
    }
    JsonObject result = new JsonObject();
    result.put("bundles", all);
    return result;
  }

  private static JsonObject upload(Connection client, Params p) throws Failure {
    JsonObject result = new JsonObject();
    result.put("size", client.upload().add(p.bytes("data")));
    return result;
  }

  /** The file with the package: one that the host can read, or what the client sent. */
  private static String file(Connection client, Params p) throws Failure {
    return p.has("path") ? p.text("path") : client.upload().file();
  }

  private static JsonObject install(Bundles bundles, Connection client, Params p) throws Failure {
    int level = p.number("startLevel", -1, Integer.MAX_VALUE, -1);
    if (level == 0) {
      throw new Failure(Reason.INVALID_ARGUMENT, "cannot install: start level 0 is the framework's alone");
    }
    try {
      return bundle(bundles.install(p.text("location"), file(client, p), p.text("op"), level, millis(p)));
    } finally {
      client.upload().remove();
    }
  }

  private static JsonObject update(Bundles bundles, Connection client, Params p) throws Failure {
    p.text("op");
    try {
      return bundle(bundles.update(p.text("location"), file(client, p), millis(p)));
    } finally {
      client.upload().remove();
    }
  }

  private static JsonObject uninstall(Bundles bundles, Params p) throws Failure {
    JsonObject result = new JsonObject();
    result.put("pending", bundles.uninstall(p.text("location"), millis(p)));
    return result;
  }

  private JsonObject export(StoredJars jars, Params p) throws Failure {
    String location = p.text("location");
    String what = "export \"" + location + "\"";
    Bundle bundle = inventory.get(location, what);
    JsonObject result = new JsonObject();
    result.put("path", jars.of(bundle, what).toString());
    result.put("symbolicName", bundle.getSymbolicName() == null ? "" : bundle.getSymbolicName());
    result.put("version", bundle.getVersion().toString());
    return result;
  }

  private static JsonObject start(Execution execution, Params p) throws Failure {
    Reason fault = p.flag("auto") ? Reason.AUTO_START_FAILED : Reason.START_FAILED;
    execution.start(p.text("location"), !p.flag("transient"), fault, millis(p));
    return new JsonObject();
  }

  private static JsonObject stop(Execution execution, Params p) throws Failure {
    execution.stop(p.text("location"), false, millis(p));
    return new JsonObject();
  }

  /** The flag is the persistence of the last start or stop, so setting it starts or stops (OSGi chapter 155, AutoStart). */
  private static JsonObject setAutoStart(Inventory inventory, Execution execution, Params p) throws Failure {
    inventory.changeable(p.text("location"), "set the persistent start flag of \"" + p.text("location") + "\"");
    if (p.flag("on")) {
      execution.start(p.text("location"), true, Reason.START_FAILED, millis(p));
    } else {
      execution.stop(p.text("location"), true, millis(p));
    }
    return new JsonObject();
  }

  private static JsonObject setStartLevel(RunLevels levels, Params p) throws Failure {
    levels.set(p.number("level", 1, Integer.MAX_VALUE), millis(p));
    return new JsonObject();
  }

  private static JsonObject setInitialBundleStartLevel(RunLevels levels, Params p) throws Failure {
    levels.setInitial(p.number("level", 1, Integer.MAX_VALUE));
    return new JsonObject();
  }

  private static JsonObject setBundleStartLevel(RunLevels levels, Params p) throws Failure {
    levels.setBundle(p.text("location"), p.number("level", 1, Integer.MAX_VALUE));
    return new JsonObject();
  }

  /** Answered first, done afterwards. */
  private JsonObject shutdown(Connection client, Params p) throws Failure {
    if (shutdown == null) {
      throw new Failure(Reason.NOT_SUPPORTED, "cannot shutdown: somebody else launched this framework and ends it");
    }
    return new JsonObject();
  }

  private static JsonObject bundle(JsonObject bundle) {
    JsonObject result = new JsonObject();
    result.put("bundle", bundle);
    return result;
  }

  private static int millis(Params p) throws Failure {
    return p.number("timeout", 0, LONGEST_MILLIS, USUAL_MILLIS);
  }
}
