"""A USP Broker with one controller, for the Service that `smmd usp` is: docs/usp.md and TR-369 on the wire, without a library."""

import select
import socket
import subprocess
import tempfile
import uuid

from tale import PATIENCE, device, fail, file, hear, holds, same, smmctl, step, until
from uspwire import ERROR, HANDSHAKE, RECORD, Link, Message, message

SM = "Device.SoftwareModules."
ENV = SM + "ExecEnv.1"
OWN = "proto::story-broker"

# Arguments of DUStateChange! (TR-181).
ARGUMENTS = sorted(("UUID", "DeploymentUnitRef", "Version", "CurrentState", "Resolved", "ExecutionUnitRefList", "StartTime", "CompleteTime",
                    "OperationPerformed", "Fault.FaultCode", "Fault.FaultString"))

# Types of messages in the header; requests and responses have other numbers in the body, which both share.
GET, NOTIFY, OPERATE, ADD, SUPPORTED, REGISTER = 1, 3, 6, 8, 12, 19  # that of the response is one more
BODY = {GET: 1, SUPPORTED: 2, ADD: 5, OPERATE: 7, NOTIFY: 8, REGISTER: 10}  # in Request and Response


class Broker:
    def __init__(self, conn):
        conn.settimeout(PATIENCE)
        self.link, self.asked, self.answers, self.connected, self.sent = Link(conn, OWN), [], {}, 0, 0

    def handshake(self):
        (kind, peer), = self.link.read()
        same("the first frame", kind, HANDSHAKE)
        self.link.peer = peer.decode()
        self.link.write(HANDSHAKE, OWN.encode())

    def take(self, what):
        """Takes the next frame; what is waited for."""
        try:
            elements = self.link.read()
        except (OSError, EOFError, ValueError) as e:
            fail(f"{what} does not come: {e!r}; so far {self.notified()}")
        for kind, value in elements:
            if kind == ERROR:
                fail(f"the Service complains: {value!r}")
            same("the type of the element", kind, RECORD)
            record = Message(value)
            same("to and from", (record.text(2), record.text(3)), (OWN, self.link.peer))
            if 13 in record:  # UDSConnectRecord
                self.connected += 1
                continue
            m = record.sub(7).sub(2)
            body = m.sub(2)
            if 1 in body:
                self.asked.append((m.sub(1), body.sub(1)))
            else:
                self.answers[m.sub(1).text(1)] = m

    def until(self, what, look):
        """Takes frames until there is what is looked for. A pause of a minute ends it."""
        while not (seen := look()):
            self.take(what)
        return seen

    def request(self, kind, content):
        """Sends a request and returns its answer, a Message."""
        self.sent += 1
        name = f"story-{self.sent}"
        self.link.send(message((1, message((1, name), (2, kind))), (2, message((1, message((BODY[kind], content)))))))
        return self.until(f"the answer to {name}", lambda: self.answers.pop(name, None))

    def response(self, kind, content):
        answer = self.request(kind, content)
        if 3 in answer.sub(2):
            e = answer.sub(2, 3)
            fail(f"answered with the error {e.int(1)} {e.text(2)}")
        same("the type of the answer", answer.sub(1).int(2), kind + 1)
        return answer.sub(2, 2, BODY[kind])

    # Messages.

    def get(self, path):
        """The parameters of a path: whole path and value, or the code."""
        result, = self.response(GET, message((1, path))).all(1)
        if result.int(2):
            return result.int(2)
        return {o.text(1) + n: v for o in result.all(4) for n, v in o.map(2).items()}

    def subscribe(self, name, kind, references):
        settings = {"NotifType": kind, "ReferenceList": references, "ID": name, "Persistent": "false", "TimeToLive": "0", "NotifRetry": "false",
                    "NotifExpiration": "0", "Enable": "true"}
        new = message((1, "Device.LocalAgent.Subscription."), *[(2, message((1, k), (2, v), (3, True))) for k, v in settings.items()])
        result, = self.response(ADD, message((2, new))).all(1)
        holds(f"the subscription {name} is made", result.sub(2, 2).text(1).startswith("Device.LocalAgent.Subscription."), result.fields)

    def operate(self, command, key, args):
        """Results of a command: what was executed, with the Request, the output arguments or the code."""
        response = self.response(OPERATE, message((1, command), (2, key), (3, True), (4, args)))
        return [(r.text(1), r.text(2) if 2 in r else r.sub(3).map(1) if 3 in r else r.sub(4).int(1)) for r in response.all(1)]

    def notified(self):
        return [n for n in map(told, self.asked) if n]


def told(asked):
    """A Notify in short: the subscription, what it is about, and what it says. None for another request."""
    _, request = asked
    if 8 not in request:
        return None
    n = request.sub(8)
    sub = n.text(1)
    if 3 in n:
        e = n.sub(3)
        return sub, e.text(1) + e.text(2), e.map(3)
    if 4 in n:
        return sub, n.sub(4).text(1), n.sub(4).text(2)
    if 5 in n:
        return sub, n.sub(5).text(1), n.sub(5).map(2)
    if 6 in n:
        return sub, n.sub(6).text(1), None
    c = n.sub(7)
    return sub, c.text(1) + c.text(2), (c.text(3), c.sub(5).int(1) if 5 in c else c.sub(4).map(1))


def register(broker):
    header, request = broker.until("the Register", lambda: broker.asked and broker.asked.pop(0))
    same("connect records before it", broker.connected, 1)
    same("the first request", header.int(2), REGISTER)
    same("what is registered", [p.text(1) for p in request.sub(10).all(2)], [SM])
    ok = message((1, SM), (2, message((2, message((1, SM))))))
    broker.link.send(message((1, message((1, header.text(1)), (2, REGISTER + 1))), (2, message((2, message((10, message((1, ok)))))))))
    step(f"{broker.link.peer} shakes hands and registers {SM}")


def supported(broker):
    result, = broker.response(SUPPORTED, message((1, SM), (3, True), (4, True), (5, True), (6, True))).all(1)
    same("the code of GetSupportedDM", result.int(2), 0)
    objects = {o.text(1): o for o in result.all(5)}
    holds("the tables", {SM, SM + "ExecEnv.{i}.", SM + "DeploymentUnit.{i}.", SM + "ExecutionUnit.{i}."} <= set(objects), sorted(objects))
    commands = {c.text(1): c for c in objects[SM].all(4)}
    same("the commands of the root", sorted(commands), ["InstallDU()"])
    same("InstallDU() is asynchronous", commands["InstallDU()"].int(4), 2)
    holds("the arguments of InstallDU()", {"URL", "UUID", "ExecutionEnvRef"} <= set(commands["InstallDU()"].texts(2)), commands["InstallDU()"].texts(2))
    same("its events", {e.text(1): sorted(e.texts(2)) for e in objects[SM].all(5)}, {"DUStateChange!": ARGUMENTS})
    env = objects[SM + "ExecEnv.{i}."]
    same("ExecEnv.{i}. is a table without AddObject", (env.int(3), env.int(2)), (1, 0))
    same("types and access", {p.text(1): (p.int(2), p.int(3)) for p in env.all(6) if p.text(1) in ("Enable", "Status", "CurrentRunLevel", "InitialRunLevel")},
         {"Enable": (1, 2), "Status": (0, 8), "CurrentRunLevel": (0, 6), "InitialRunLevel": (1, 9)})
    step(f"the data model has {len(objects)} objects")


def outcome(broker, what, command, key, state, code):
    """Waits for the end of a command, and checks that DUStateChange! has come before. Returns the arguments of the event and of the end."""
    def end():
        return [i for i, n in enumerate(broker.notified()) if n[0] == "end" and n[1] == command and n[2][0] == key]

    at = broker.until(f"the end of {key}", end)
    same(f"{what}: ends of the command", len(at), 1)
    last = broker.notified()[at[0]][2][1]
    if code:
        same(f"{what}: the code of the command", last, code[0])
    else:
        holds(f"{what}: the command succeeds", isinstance(last, dict), last)
    events = [n for n in broker.notified()[:at[0]] if n[0] == "event" and n[1] == SM + "DUStateChange!" and state(n[2])]
    same(f"{what}: events before the end of the command, of {broker.notified()}", len(events), 1)
    event = events[0][2]
    same(f"{what}: the code of the event ({event})", int(event["Fault.FaultCode"]), code[1] if code else 0)
    return event, last


def installs(broker, names):
    """Two installs that succeed and two that do not, at the same time. Returns the rows of the units."""
    units = {name: str(uuid.uuid4()) for name in names}
    requests = {}
    for name, wanted in units.items():
        (command, requests[name]), = broker.operate(SM + "InstallDU()", "key-" + name, {"URL": file(name + "-1.0.0.jar"), "UUID": wanted, "ExecutionEnvRef": ENV})
        same("the command", command, SM + "InstallDU()")
        holds("it is a Request", str(requests[name]).startswith("Device.LocalAgent.Request."), requests[name])
    missing = str(uuid.uuid4())
    (_, r), = broker.operate(SM + "InstallDU()", "key-missing", {"URL": file("none.jar"), "UUID": missing, "ExecutionEnvRef": ENV + "."})
    holds("the Request of a missing file", isinstance(r, str), r)
    same("InstallDU() without a URL", broker.operate(SM + "InstallDU()", "key-none", {}), [(SM + "InstallDU()", 7027)])
    same("Requests have different numbers", len({*requests.values(), r}), 3)

    rows = {}
    for name, wanted in units.items():
        event, output = outcome(broker, name, SM + "InstallDU()", "key-" + name, lambda e, wanted=wanted: e["UUID"] == wanted, None)
        same(f"{name}: the event", {k: event[k] for k in ("Version", "CurrentState", "OperationPerformed", "Fault.FaultString")},
             {"Version": "1.0.0", "CurrentState": "Installed", "OperationPerformed": "Install", "Fault.FaultString": ""})
        same(f"{name}: the arguments of the event", sorted(event), ARGUMENTS)
        holds(f"{name}: its rows", event["DeploymentUnitRef"].startswith(SM + "DeploymentUnit.") and event["ExecutionUnitRefList"].startswith(SM + "ExecutionUnit."), event)
        holds(f"{name}: references have no dot at the end", not (event["DeploymentUnitRef"] + event["ExecutionUnitRefList"]).endswith("."), event)
        same(f"{name}: the output arguments", output, {"UUID": wanted, "Version": "1.0.0", "ExecEnvRef": ENV})
        rows[name] = event["DeploymentUnitRef"], event["ExecutionUnitRefList"]
        broker.until(f"the creation of {name}", lambda row=rows[name][0]: [n for n in broker.notified() if n[:2] == ("created", row + ".")])
    event, _ = outcome(broker, "a missing file", SM + "InstallDU()", "key-missing", lambda e: e["UUID"] == missing, (7022, 7033))
    same("a missing file: the event", {k: event[k] for k in ("CurrentState", "OperationPerformed", "DeploymentUnitRef")},
         {"CurrentState": "Failed", "OperationPerformed": "Install", "DeploymentUnitRef": ""})
    holds("a missing file: a text", event["Fault.FaultString"], event)
    return units, rows


def searches(broker, units, rows):
    du, eu = rows["sample"]
    for path, want in (
        (f'{SM}DeploymentUnit.[UUID=="{units["sample"]}"].Status', {du + ".Status": "Installed"}),
        (f'{SM}DeploymentUnit.[UUID=="{units["sample"]}"].ExecutionEnvRef+.Alias', {ENV + ".Alias": "cpe-felix"}),
        (f'{SM}ExecEnv.[Status=="Up"&&CurrentRunLevel<2].Enable', {ENV + ".Enable": "true"}),
        (f'{SM}ExecEnv.[Status=="Error"].Enable', {}),
        (f"{SM}DeploymentUnit.*.Version", {row + ".Version": "1.0.0" for row, _ in rows.values()}),
        (f"{SM}ExecEnv.1.Nothing", 7026),
        (f"{SM}ExecEnv.[Status==", 7008),
    ):
        same(f"Get of {path}", broker.get(path), want)


def value_change(broker, eu):
    def statuses(value):
        return [n for n in broker.notified() if n == ("value", eu + ".Status", value)]

    def wait_for(value):
        until(f"{eu} is {value}", lambda: broker.get(eu + ".Status"), lambda seen: seen == {eu + ".Status": value},
              lambda: select.select([broker.link.conn], [], [], 0.1))

    wait_for("Active")
    same("SetRequestedState()", broker.operate(eu + ".SetRequestedState()", "key-stop", {"RequestedState": "Idle"}), [(eu + ".SetRequestedState()", {})])
    broker.until("the ValueChange to Idle", lambda: statuses("Idle"))
    wait_for("Idle")
    seen = len(statuses("Active"))
    same("smmctl start", smmctl("start", eu)[0], 0)
    broker.until("the ValueChange to Active", lambda: len(statuses("Active")) > seen)


def uninstalls(broker, units, rows):
    command = SM + "DeploymentUnit.*.Uninstall()"
    results = dict(broker.operate(command, "key-away", {}))
    same("what is executed", set(results), {du + ".Uninstall()" for du, _ in rows.values()})
    holds("each has its Request", len(set(results.values())) == len(rows) and all(str(r).startswith("Device.LocalAgent.Request.") for r in results.values()), results)
    for name, (du, _) in rows.items():
        event, _ = outcome(broker, "away with " + name, du + ".Uninstall()", "key-away",
                           lambda e, name=name: e["UUID"] == units[name] and e["OperationPerformed"] == "Uninstall", None)
        same(f"away with {name}", {k: event[k] for k in ("CurrentState", "DeploymentUnitRef", "Version")},
             {"CurrentState": "Uninstalled", "DeploymentUnitRef": du, "Version": "1.0.0"})
        broker.until(f"the deletion of {name}", lambda du=du: [n for n in broker.notified() if n[:2] == ("deleted", du + ".")])
    same("what is left", broker.get(SM + "DeploymentUnit.*.Name"), {})
    same("Requests that are left", broker.get("Device.LocalAgent.RequestNumberOfEntries"), {"Device.LocalAgent.RequestNumberOfEntries": "0"})


def play(broker):
    broker.handshake()
    register(broker)
    supported(broker)
    same("an environment", broker.get(SM + 'ExecEnv.[Status=="Up"].Alias'), {ENV + ".Alias": "cpe-felix"})
    broker.subscribe("event", "Event", SM + "DUStateChange!")
    broker.subscribe("end", "OperationComplete", SM)
    broker.subscribe("value", "ValueChange", SM + "ExecutionUnit.*.Status")
    broker.subscribe("created", "ObjectCreation", SM + "DeploymentUnit.")
    broker.subscribe("deleted", "ObjectDeletion", SM + "DeploymentUnit.")
    step("five subscriptions are made")
    units, rows = installs(broker, ("sample", "sample2"))
    step("commands end, each with a DUStateChange! before it")
    searches(broker, units, rows)
    step("search expressions and followed references are answered")
    value_change(broker, rows["sample"][1])
    step("changes of a value are told")
    uninstalls(broker, units, rows)
    step("a wildcard uninstalls every unit, each with an end of its own")


def main():
    hear()
    path = device["broker"]
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    listener.settimeout(PATIENCE)
    with tempfile.TemporaryFile("w+") as log:
        service = subprocess.Popen([device["smmd"], "usp", "--broker", path, "--config", device["config"]],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        try:
            play(Broker(listener.accept()[0]))
            service.terminate()
            same("the status of smmd usp", service.wait(PATIENCE), 0)
        except BaseException:
            service.kill()
            service.wait()
            log.seek(0)
            print(log.read(), flush=True)
            raise
    step("the Service ends")


main()
