"""An adapter for CWMP, as its author would write it from docs/dbus.md, with a day of an ACS in it."""

import re
import uuid

from gi.repository import Gio, GLib

from tale import device, end_agent, fail, file, hear, holds, same, smmctl, step, until

NAME, ROOT = "org.smmd.Agent1", "/org/smmd/Agent1"
CWMP = "org.smmd.CWMP1"
SM, POLICY = "Device.SoftwareModules.", "Device.ManagementServer.DUStateChangeComplPolicy."
ENV = SM + "ExecEnv.1."
UNKNOWN = "0001-01-01T00:00:00Z"
SECRET = "never-to-be-seen"


class Refused(Exception):
    """An error of org.smmd.Error, or of the bus, for which there are no codes."""

    def __init__(self, name, body):
        self.name, self.text = name, body[0] if body else ""
        self.cwmp, self.usp, self.details = body[1:4] if name.startswith("org.smmd.Error.") else (0, 0, {})
        super().__init__(f"{name}: {body!r}")


class Agent:
    def __init__(self):
        flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
        self.bus = Gio.DBusConnection.new_for_address_sync(device["bus"], flags, None, None)
        self.heard = []  # names of signals with their bodies
        self.bus.signal_subscribe(NAME, CWMP, None, ROOT, None, Gio.DBusSignalFlags.NONE,
                                  lambda _bus, _from, _path, _iface, name, body: self.heard.append((name, body.unpack())))

    def call(self, iface, method, args=None, path=ROOT):
        m = Gio.DBusMessage.new_method_call(NAME, path, iface, method)
        if args is not None:
            m.set_body(args)
        reply, _ = self.bus.send_message_with_reply_sync(m, Gio.DBusSendMessageFlags.NONE, 60000, None)
        body = reply.get_body().unpack() if reply.get_body() else ()
        if reply.get_message_type() == Gio.DBusMessageType.ERROR:
            raise Refused(reply.get_error_name(), body)
        return body

    # The RPCs.

    def names(self, path, next_level):
        return dict(self.call(CWMP, "GetParameterNames", GLib.Variant("(sb)", (path, next_level)))[0])

    def values(self, *names):
        return {n: (kind, v) for n, kind, v in self.call(CWMP, "GetParameterValues", GLib.Variant("(as)", (names,)))[0]}

    def value(self, name):
        return self.values(name)[name][1]

    def set(self, *values):
        return self.call(CWMP, "SetParameterValues", GLib.Variant("(a(sss)a{sv})", (values, {})))[0]

    def change(self, key, token, *operations):
        listed = [(kind, {k: GLib.Variant("s", v) for k, v in fields.items()}) for kind, fields in operations]
        return self.call(CWMP, "ChangeDUState", GLib.Variant("(a(sa{sv})sa{sv})", (listed, key, {"request_token": GLib.Variant("s", token)})))[0]

    def reports(self):
        return self.call(CWMP, "PendingReports")[0]

    def acknowledge(self, report):
        self.call(CWMP, "AcknowledgeReport", GLib.Variant("(t)", (report,)))

    def changed(self):
        cursor, values = self.call(CWMP, "PendingValueChanges")
        return cursor, {n: v for n, _, v in values}

    def informed(self, cursor):
        self.call(CWMP, "AcknowledgeValueChanges", GLib.Variant("(t)", (cursor,)))

    # Waiting.

    def until(self, what, look, good):
        """Looks again whenever a signal has come, and now and then besides."""
        context, tick = GLib.MainContext.default(), GLib.timeout_add(200, lambda: True)
        try:
            return until(what, look, good, lambda: context.iteration(True))
        finally:
            GLib.source_remove(tick)

    def up(self):
        self.until("the environment is up", lambda: self.value(ENV + "Status"), lambda v: v == "Up")

    def report(self, number):
        """Waits for the report with a number."""
        found = self.until(f"report {number} waits", self.reports, lambda list: any(r[0] == number for r in list))
        return next(r for r in found if r[0] == number)

    def status(self, eu, wanted):
        self.until(f"{eu}Status is {wanted}", lambda: self.value(eu + "Status"), lambda v: v == wanted)


def restarted(how):
    """The agent after it has ended and is there again, on another bus."""
    end_agent(how)
    return Agent()


def refused(what, call, name, cwmp=None):
    try:
        got = call()
    except Refused as e:
        same(f"the error of {what}", e.name, name)
        if cwmp is not None:
            same(f"the CWMP code of {what}", e.cwmp, cwmp)
        return e
    return fail(f"{what} is not refused but answered with {got!r}")


FIELDS = {"UUID": str, "DeploymentUnitRef": str, "Version": str, "CurrentState": str, "Resolved": bool, "ExecutionUnitRefList": str,
          "StartTime": str, "CompleteTime": str, "Fault": dict}
MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z")


def check(what, result, **wanted):
    """Compares a result with what it should be: its form as a whole, and the fields that are given. Code is that of its fault."""
    fields = dict(FIELDS, **({"OperationPerformed": str} if "OperationPerformed" in wanted else {}))
    same(f"{what}: the fields", {k: type(v) for k, v in result.items()}, fields)
    code = wanted.pop("Code", 0)
    fault = result["Fault"]
    same(f"{what}: the fields of the fault", {k: type(v) for k, v in fault.items()}, {"FaultCode": int, "FaultString": str})
    same(f"{what}: the fault ({fault['FaultString']})", fault["FaultCode"], code)
    holds(f"{what}: a text with a fault, of 256 characters at most, and none without", bool(fault["FaultString"]) == (code != 0) and
          len(fault["FaultString"]) <= 256 and SECRET not in fault["FaultString"], fault)
    for t in ("StartTime", "CompleteTime"):
        holds(f"{what}: {t} is a dateTime", MOMENT.fullmatch(result[t]), result[t])
    holds(f"{what}: it begins before it ends", result["CompleteTime"] != UNKNOWN and result["StartTime"] <= result["CompleteTime"], result)
    same(what, {k: result[k] for k in wanted}, wanted)


def installed(agent, what, result, **wanted):
    """Checks the result of an Install or Update that has succeeded against the row, and returns the references to that and its execution unit."""
    check(what, result, CurrentState="Installed", **wanted)
    du, eu = result["DeploymentUnitRef"], result["ExecutionUnitRefList"]
    holds(f"{what}: references with dots at their end", re.fullmatch(SM.replace(".", r"\.") + r"DeploymentUnit\.\d+\.", du) and
          re.fullmatch(SM.replace(".", r"\.") + r"ExecutionUnit\.\d+\.", eu), result)
    row = {"UUID": result["UUID"], "Version": result["Version"], "Status": "Installed", "Resolved": "true", "ExecutionUnitList": eu.rstrip("."),
           "ExecutionEnvRef": ENV.rstrip(".")}
    agent.until(f"the row of {what} is as reported", lambda: {n: agent.value(du + n) for n in row}, lambda seen: seen == row)
    return du, eu


def made_uuid(name, vendor):
    """The UUID of a unit that nobody gave one (TR-181 Annex C)."""
    plain = "".join(c if c.isascii() and c.isalnum() or c in "_-" else "".join(f"%{b:02x}" for b in c.encode()) for c in name)
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{plain}.{vendor}."))


def delivered(agent, report):
    """Plays the session in which a report is told and answered."""
    agent.acknowledge(report)
    same(f"what waits after report {report}", [r for r in agent.reports() if r[0] == report], [])
    refused(f"a second acknowledgement of {report}", lambda: agent.acknowledge(report), "org.smmd.Error.InvalidArguments")


def drain(agent):
    """Tells the ACS of all changed values, until there are none."""
    def look():
        cursor, values = agent.changed()
        if values:
            agent.informed(cursor)
        return values
    agent.until("no changed value is pending", look, lambda values: not values)


def discovery(agent):
    top = agent.names("", True)
    same("the top of the tree", top, {"Device.": False})
    below = agent.names(SM, True)
    same("what is below SoftwareModules", {k: below.get(k) for k in (SM + "ExecEnvNumberOfEntries", SM + "ExecEnv.", SM + "DeploymentUnit.", SM + "ExecutionUnit.")},
         {SM + "ExecEnvNumberOfEntries": False, SM + "ExecEnv.": False, SM + "DeploymentUnit.": False, SM + "ExecutionUnit.": False})
    everything = agent.names(SM, False)
    same("what can be written", {k: everything.get(k) for k in (ENV, ENV + "Enable", ENV + "Status", ENV + "Alias", ENV + "InitialRunLevel", ENV + "Type")},
         {ENV: False, ENV + "Enable": True, ENV + "Status": False, ENV + "Alias": True, ENV + "InitialRunLevel": True, ENV + "Type": False})
    values = agent.values(SM)
    same("names and values", set(values), {n for n in everything if not n.endswith(".")})
    same("an environment", {k: values[ENV + k] for k in ("Status", "Enable", "InitialRunLevel", "CurrentRunLevel", "Alias")},
         {"Status": ("xsd:string", "Up"), "Enable": ("xsd:boolean", "true"), "InitialRunLevel": ("xsd:unsignedInt", "1"),
          "CurrentRunLevel": ("xsd:int", "1"), "Alias": ("xsd:string", "cpe-felix")})
    alias = values[ENV + "Alias"][1]
    same("by its alias", agent.values(f"{SM}ExecEnv.[{alias}].Status"), {f"{SM}ExecEnv.[{alias}].Status": ("xsd:string", "Up")})
    refused("GetParameterNames of nothing", lambda: agent.names(SM + "Nothing.", False), "org.smmd.Error.InvalidArguments", 9005)
    refused("GetParameterValues of nothing", lambda: agent.values(ENV + "Nothing"), "org.smmd.Error.InvalidArguments", 9005)
    refused("AddObject", lambda: agent.call(CWMP, "AddObject", GLib.Variant("(s)", (SM + "DeploymentUnit.",))), "org.smmd.Error.RequestDenied", 9005)
    step(f"the tree is discovered: {len(values)} parameters")


def faults(agent, eu):
    """SetParameterValues: all or nothing, with a fault for each parameter."""
    before = agent.value(eu + "RunLevel")
    e = refused("a wrong SetParameterValues", lambda: agent.set(
        (eu + "RunLevel", "xsd:unsignedInt", "7"), (eu + "Name", "xsd:string", "x"), (eu + "Nothing", "xsd:string", "x"),
        (ENV + "InitialRunLevel", "xsd:unsignedInt", "65536"), (ENV + "Enable", "xsd:string", "true"), (POLICY + "ResultTypeFilter", "", "Perhaps")),
        "org.smmd.Error.InvalidArguments", 9003)
    same("the faults of the parameters", {n: code for n, code, _ in e.details["parameters"]},
         {eu + "Name": 9008, eu + "Nothing": 9005, ENV + "InitialRunLevel": 9007, ENV + "Enable": 9006, POLICY + "ResultTypeFilter": 9007})
    holds("each fault has a text", all(text for _, _, text in e.details["parameters"]), e.details)
    same("the parameter that was right", agent.value(eu + "RunLevel"), before)
    same("the policy", agent.value(POLICY + "Enable"), "false")
    step("a wrong SetParameterValues changes nothing and names each fault")


def changes(agent, eu):
    """What somebody else changes is told, actively for the Status of an execution unit."""
    attributes = {n: level for n, level, _ in agent.call(CWMP, "GetParameterAttributes", GLib.Variant("(as)", ([eu + "Status", ENV + "Alias"],)))[0]}
    same("the attributes", attributes, {eu + "Status": 2, ENV + "Alias": 0})
    agent.call(CWMP, "SetParameterAttributes", GLib.Variant("(a(su))", ([(ENV + "Alias", 1)],)))
    drain(agent)
    agent.heard.clear()
    status, _, text = smmctl("stop", eu.rstrip("."))
    same(f"smmctl stop ({text})", status, 0)
    agent.call("org.freedesktop.DBus.Properties", "Set", GLib.Variant("(ssv)", ("org.smmd.ExecEnv1", "Alias", GLib.Variant("s", "by-hand"))), ROOT + "/ExecEnv/1")
    cursor, values = agent.until("the stopped unit and the alias are pending", agent.changed,
                                 lambda seen: seen[1].get(eu + "Status") == "Idle" and seen[1].get(ENV + "Alias") == "by-hand")
    agent.until("ValueChanged is heard for both", lambda: {v[0] for name, body in agent.heard if name == "ValueChanged" for v in body[0]},
                lambda names: {eu + "Status", ENV + "Alias"} <= names)
    agent.informed(cursor)
    drain(agent)
    refused("an unknown cursor", lambda: agent.informed(1), "org.smmd.Error.InvalidArguments")
    step("a change by somebody else is pending and acknowledged")

    same("the answer to RequestedState", agent.set((eu + "RequestedState", "xsd:string", "Active"), (ENV + "Alias", "", "by-the-acs")), 1)
    agent.status(eu, "Active")
    _, values = agent.until("the started unit is pending", agent.changed, lambda seen: seen[1].get(eu + "Status") == "Active")
    same("what the ACS has set itself", [n for n in values if n in (eu + "RequestedState", ENV + "Alias")], [])
    drain(agent)
    step("what follows from a SetParameterValues is told, what it sets is not")


def first(agent, units):
    """Two units, in a request by itself."""
    report = agent.change("key-first", "token-first",
                          ("Install", {"URL": file("sample-1.0.0.jar"), "UUID": units["sample"], "ExecutionEnvRef": ENV}),
                          ("Install", {"URL": file("provider-1.0.0.jar"), "UUID": units["provider"], "ExecutionEnvRef": "", "Username": "", "Password": ""}))
    number, kind, body = agent.report(report)
    same("the report", (kind, set(body), body["CommandKey"], len(body["Results"])), ("DUStateChangeComplete", {"CommandKey", "Results"}, "key-first", 2))
    agent.until("ReportPending is heard", lambda: [b for name, b in agent.heard if name == "ReportPending"],
                lambda heard: (report, "DUStateChangeComplete", "key-first") in heard)
    rows = {}
    for name, result in zip(("sample", "provider"), body["Results"]):
        rows[name] = installed(agent, name, result, UUID=units[name], Version="1.0.0")
        agent.status(rows[name][1], "Active")
    delivered(agent, report)
    step("two units are installed, reported and acknowledged")
    return rows


def mixed(agent, units, rows):
    """A request in which much fails. The agent ends before anything is reported, and before the report is fetched."""
    nobody = str(uuid.uuid4())
    operations = [
        ("Install", {"URL": file("sample2-1.0.0.jar").replace("://", f"://user:{SECRET}@"), "ExecutionEnvRef": ENV}),
        ("Install", {"URL": file("sample2-1.0.0.jar"), "UUID": str(uuid.uuid4()), "ExecutionEnvRef": SM + "ExecEnv.99."}),
        ("Install", {"URL": file("sample-1.0.0.jar"), "UUID": units["sample"], "ExecutionEnvRef": ENV}),
        ("Install", {"URL": file("sample2-1.0.0.jar"), "UUID": units["sample2"], "ExecutionEnvRef": ENV.rstrip(".")}),
        ("Uninstall", {"UUID": nobody}),
        ("Update", {"UUID": units["provider"], "URL": file("provider-2.0.0.jar")}),
        ("Install", {"URL": file("none.jar"), "ExecutionEnvRef": ENV, "Username": "somebody", "Password": SECRET}),
        ("Install", {"URL": file("sample2-1.0.0.jar"), "UUID": "no-uuid"}),
        ("Uninstall", {"UUID": units["sample"], "Version": "9.9.9"}),
    ]
    report = agent.change("key-mixed", "token-mixed", *operations)
    agent = restarted("kill")
    same("the same request again", agent.change("key-mixed", "token-mixed", *operations), report)
    before = agent.report(report)
    agent = restarted("restart")
    same("the report after a restart", agent.report(report), before)
    agent = restarted("reboot")
    same("the report after a reboot", agent.report(report), before)
    agent.up()
    _, kind, body = before
    same("the report", (kind, set(body), body["CommandKey"], len(body["Results"])),
         ("DUStateChangeComplete", {"CommandKey", "Results"}, "key-mixed", len(operations)))
    userinfo, no_env, twice, good, unknown, update, missing, malformed, no_version = body["Results"]
    failed = {"CurrentState": "Failed", "Resolved": False, "DeploymentUnitRef": "", "ExecutionUnitRefList": ""}
    check("user information in the URL", userinfo, Code=9003, UUID="", **failed)
    check("an unknown environment", no_env, Code=9023, UUID=operations[1][1]["UUID"], **failed)
    check("a duplicate", twice, Code=9026, UUID=units["sample"], CurrentState="Failed")
    check("a file that is not there", missing, Code=9016, **failed)
    check("a malformed UUID", malformed, Code=9022, UUID="", **failed)
    check("a unit that nobody has", unknown, Code=9028, UUID=nobody, CurrentState="Installed", Resolved=False, ExecutionUnitRefList="")
    check("a version that nobody has", no_version, Code=9028, UUID=units["sample"], CurrentState="Installed")
    rows["sample2"] = installed(agent, "the install between failures", good, UUID=units["sample2"], Version="1.0.0")
    same("the row of the update", installed(agent, "the update", update, UUID=units["provider"], Version="2.0.0"), rows["provider"])
    same("the number of units", agent.value(SM + "DeploymentUnitNumberOfEntries"), "3")
    for _, eu in rows.values():
        agent.status(eu, "Active")
    delivered(agent, report)
    step("a request with nine operations survives a kill, a restart and a reboot, and is reported field by field")
    return agent


def autonomous(agent, units, rows):
    """Changes by somebody else, as the policy says."""
    status, _, text = smmctl("uninstall", units["provider"])
    same(f"smmctl uninstall ({text})", status, 0)
    same("without a policy", agent.reports(), [])
    same("the answer to the policy", agent.set(
        (POLICY + "Enable", "xsd:boolean", "1"), (POLICY + "OperationTypeFilter", "xsd:string", "Install,Uninstall"),
        (POLICY + "ResultTypeFilter", "xsd:string", "Both"), (POLICY + "FaultCodeFilter", "xsd:string", "9016")), 0)
    same("the policy", {n.removeprefix(POLICY): v for n, v in agent.values(POLICY).items()},
         {"Enable": ("xsd:boolean", "true"), "OperationTypeFilter": ("xsd:string", "Install,Uninstall"), "ResultTypeFilter": ("xsd:string", "Both"),
          "FaultCodeFilter": ("xsd:string", "9016")})
    agent.heard.clear()
    status, done, text = smmctl("install", file("provider-1.0.0.jar"), "--ee", "felix")
    same(f"smmctl install ({text})", status, 0)
    uuid_made = done["deployment_units"][0]["uuid"]

    def report(results):
        (number, kind, body), = agent.until(f"one autonomous report with {results} results waits", agent.reports,
                                            lambda list: len(list) == 1 and len(list[0][2]["Results"]) == results)
        same("the kind and the fields", (kind, set(body)), ("AutonomousDUStateChangeComplete", {"Results"}))
        return number, body["Results"]

    early, results = report(1)
    agent.until("ReportPending is heard", lambda: [b for name, b in agent.heard if name == "ReportPending"],
                lambda heard: (early, "AutonomousDUStateChangeComplete", "") in heard)
    du, _ = installed(agent, "an autonomous install", results[0], UUID=uuid_made, Version="1.0.0", OperationPerformed="Install")
    same("the UUID that the agent makes", uuid_made, made_uuid(agent.value(du + "Name"), agent.value(du + "Vendor")))
    step("a change by smmctl is reported as autonomous")

    same("smmctl install of nothing", smmctl("install", file("none.jar"), "--ee", "felix")[0], 1)
    same("smmctl install of another kind of wrong", smmctl("install", "http://user@" + file("none.jar").removeprefix("http://"), "--ee", "felix")[0], 1)
    same("smmctl uninstall", smmctl("uninstall", uuid_made)[0], 0)
    late, results = report(3)
    holds("a report that has grown has a greater number", late > early, (early, late))
    check("an autonomous failure", results[1], Code=9016, CurrentState="Failed", OperationPerformed="Install", DeploymentUnitRef="")
    check("an autonomous uninstall", results[2], CurrentState="Uninstalled", OperationPerformed="Uninstall", UUID=uuid_made, DeploymentUnitRef=du, Version="1.0.0")
    agent.acknowledge(early)
    rest, left = report(2)
    same("what an early number leaves", left, results[1:])
    agent = restarted("restart")
    same("the rest after a restart", agent.reports(), [(rest, "AutonomousDUStateChangeComplete", {"Results": left})])
    delivered(agent, rest)
    same("what waits at last", agent.reports(), [])
    step("autonomous results are gathered, filtered and acknowledged by number")
    return agent


def bootstrap(agent, units):
    """Another ACS: what waits for the old one is dropped."""
    agent.up()
    report = agent.change("key-old", "token-old", ("Uninstall", {"UUID": units["sample2"]}))
    _, _, body = agent.report(report)
    check("an uninstall", body["Results"][0], CurrentState="Uninstalled", UUID=units["sample2"], Version="1.0.0")
    for _ in range(2):
        agent.call(NAME, "RecordBaseline", GLib.Variant("(ss)", ("cwmp", "bootstrap-2")))
        same("what waits after a bootstrap", agent.reports(), [])
    step("a bootstrap drops what waits")


def main():
    hear()
    agent = Agent()
    agent.call(NAME, "RecordBaseline", GLib.Variant("(ss)", ("cwmp", "bootstrap-1")))
    same("what waits at first", agent.reports(), [])
    step("the baseline of the first bootstrap is recorded")
    discovery(agent)
    e = refused("a field that there is not", lambda: agent.change("k", "t", ("Install", {"Colour": "red"})), "org.freedesktop.DBus.Error.InvalidArgs")
    holds("the field is named", "Colour" in e.text, e.text)
    refused("too many operations", lambda: agent.change("k", "t", *[("Uninstall", {"UUID": str(uuid.uuid4())})] * 65), "org.smmd.Error.TooManyOperations", 9004)
    units = {name: str(uuid.uuid4()) for name in ("sample", "sample2", "provider")}
    rows = first(agent, units)
    faults(agent, rows["sample"][1])
    changes(agent, rows["sample"][1])
    agent = mixed(agent, units, rows)
    agent = autonomous(agent, units, rows)
    bootstrap(agent, units)


main()
