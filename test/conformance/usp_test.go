package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/support"
)

// uspChecks are about the commands and events of USP.
var uspChecks = []check{
	{id: "U-01", what: "InstallDU() is a Request while it goes on", f: requestRow},
	{id: "U-02", what: "DUStateChange! and OperationComplete, with UUID, Version, ExecEnvRef", f: bothNotifications},
	{id: "U-03", what: "without URL: 7027, no OperationComplete, no Request", f: func(b *bench) {
		since := b.mark()
		r := b.operate(modules+"InstallDU()", "U-03", map[string]string{"ExecutionEnvRef": b.env(b.k.env)})
		equal(b.t, "the result", fmt.Sprintf("%d %d %q", len(r), r[0].Code, r[0].Job), `1 7027 ""`)
		b.noRequest("U-03")
		_, told := b.ended(b.begin(modules+"InstallDU()", "after U-03", map[string]string{"URL": b.Files.URL + "/nothing", "ExecutionEnvRef": b.env(b.k.env)}))
		equal(b.t, "the next OperationComplete", told.CommandKey, b.key("after U-03"))
		if all := b.notified(since, func(n client.USPNotification) bool { return n.CommandKey == b.key("U-03") }); len(all) > 0 {
			b.t.Errorf("there is %s", support.Show(all))
		}
	}},
	{id: "U-04", what: "unknown arguments are ignored, names of nested ones taken", f: func(b *bench) {
		url := b.serve(program{name: "argued", version: "1"})
		event, done := b.ended(b.begin(modules+"InstallDU()", "U-04", map[string]string{
			"URL": url, "ExecutionEnvRef": strings.TrimSuffix(b.env(b.k.env), "."), "NoSuchArgument": "x", "Resources.AllocatedMemory": "-1", "Another.1.Thing": "y",
		}))
		equal(b.t, "the codes", event.Arguments["Fault.FaultCode"]+fmt.Sprint(done.Code), "00")
		b.done(uninstall(done.Outputs["UUID"]))
	}},
	{id: "U-05", what: "the codes of faults, and none of CWMP", f: codes},
	{id: "U-06", what: "Update() without URL takes the last one; row and UUID stay", f: func(b *bench) {
		path := "/" + b.k.adapter + "/renewed" + b.k.suffix
		r := b.done(install(b.serveAt(path, program{name: "renewed", version: "1"}), b.env(b.k.env)))
		b.serveAt(path, program{name: "renewed", version: "2"})
		event, done := b.ended(b.begin(r.DeploymentUnitRef+"Update()", "U-06", nil))
		equal(b.t, "the code", done.Code, 0)
		equal(b.t, "the unit", fmt.Sprint(event.Arguments["DeploymentUnitRef"], ".", event.Arguments["UUID"], event.Arguments["Version"]), fmt.Sprint(r.DeploymentUnitRef, r.UUID, b.version("2")))
		b.done(uninstall(r.UUID))
	}},
	{id: "U-07", what: "Uninstall() removes the unit of its row alone", f: func(b *bench) {
		both := b.versions()
		_, done := b.ended(b.begin(both[1].du+"Uninstall()", "U-07", nil))
		equal(b.t, "the code", done.Code, 0)
		equal(b.t, "the other version", b.value(both[0].du+"Version"), both[0].version)
		r, err := b.Client.USPGet(b.t.Context(), 0, both[1].du)
		if err != nil || len(r) != 1 || r[0].Code == 0 {
			b.t.Errorf("the unit that was removed: %s, %v", support.Show(r), err)
		}
	}},
	{id: "U-08", what: "a command that does not end within 24 h (here: 2 s) has failed", when: withLimit, f: func(b *bench) {
		url, _ := b.held(program{name: "never", version: "1"})
		event, done := b.ended(b.begin(modules+"InstallDU()", "U-08", map[string]string{"URL": url, "ExecutionEnvRef": b.env(b.k.env)}))
		equal(b.t, "the codes", fmt.Sprint(event.Arguments["Fault.FaultCode"], " ", event.Arguments["CurrentState"], " ", done.Code), "7002 Failed 7022")
	}},
	{id: "U-09", what: "Cancel(): 7023, nothing is left", f: func(b *bench) {
		url, _ := b.held(program{name: "canceled", version: "1"})
		before := support.Show(b.rows())
		job := b.begin(modules+"InstallDU()", "U-09", map[string]string{"URL": url, "ExecutionEnvRef": b.env(b.k.env)})
		if err := b.Client.Cancel(b.t.Context(), job.Job); err != nil {
			b.t.Fatal(err)
		}
		event, done := b.ended(job)
		equal(b.t, "the codes", fmt.Sprint(event.Arguments["Fault.FaultCode"], " ", event.Arguments["CurrentState"], " ", done.Code), "7002 Failed 7023")
		equal(b.t, "the rows", support.Show(b.rows()), before)
		b.noRequest("U-09")
	}},
	{id: "U-10", what: "a command with a search path: a result and a Request for each row", f: func(b *bench) {
		both := b.versions()
		since := b.mark()
		results := b.operate(modules+`DeploymentUnit.[UUID=="`+both[0].uuid+`"].Uninstall()`, "U-10", nil)
		if len(results) != 2 || results[0].Job == "" || results[1].Job == "" || results[0].Job == results[1].Job {
			b.t.Fatalf("the results are %s", support.Show(results))
		}
		for _, r := range results {
			_, done := b.ended(begun{r, since})
			equal(b.t, "the command", done.Object+done.Command, r.Command)
		}
		none := b.operate(modules+`DeploymentUnit.[UUID=="`+both[0].uuid+`"].Uninstall()`, "U-10", nil)
		equal(b.t, "results for no row", len(none), 0)
	}},
	{id: "U-11", what: "GetSupportedDM: SetRequestedState() and SetRunLevel() synchronous, Reset() asynchronous", f: func(b *bench) {
		r, err := b.Client.USPGetSupportedDM(b.t.Context(), client.USPSupportedOptions{Commands: true}, modules)
		if err != nil {
			b.t.Fatal(err)
		}
		got := map[string]string{}
		for _, o := range r[0].Objects {
			for _, c := range o.Commands {
				got[strings.TrimPrefix(o.Path, modules)+c.Name] = c.Kind
			}
		}
		for command, kind := range map[string]string{
			"InstallDU()": "CMD_ASYNC", "DeploymentUnit.{i}.Update()": "CMD_ASYNC", "DeploymentUnit.{i}.Uninstall()": "CMD_ASYNC",
			"ExecEnv.{i}.SetRunLevel()": "CMD_SYNC", "ExecEnv.{i}.Reset()": "CMD_ASYNC", "ExecEnv.{i}.Restart()": "CMD_ASYNC",
			"ExecutionUnit.{i}.SetRequestedState()": "CMD_SYNC", "ExecutionUnit.{i}.Restart()": "CMD_SYNC",
			"ExecEnv.{i}.ApplicationData.{i}.Remove()": "CMD_SYNC",
		} {
			equal(b.t, command, got[command], kind)
		}
	}},
	{id: "U-12", what: "Restart() of an environment: Restarting, Up, its reason, count and event; refused when it is disabled", f: restartEnvironment},
	{id: "U-13", what: "ModifyConstraints() below what is used: 7022, or what Force does; 7004 where an environment has no limits that could be changed", f: constrain},
	{id: "U-14", what: "ApplicationData is kept or lost as Retain and RetainData say, and Remove() of one that is in use is 7229; 7004 where units have no directories", f: applicationData},
	{id: "U-15", what: "CurrentState is spelled Uninstalled", f: func(b *bench) {
		u := b.install(program{name: "spelled", version: "1"}, b.k.env)
		event, _ := b.ended(b.begin(u.du+"Uninstall()", "U-15", nil))
		equal(b.t, "CurrentState", event.Arguments["CurrentState"], "Uninstalled")
		equal(b.t, "the references", event.Arguments["DeploymentUnitRef"]+"."+event.Arguments["ExecutionUnitRefList"]+".", u.du+u.eu)
	}},
	{id: "U-16", what: "a controller without permission: 7006", not: always("duty of the USP agent in front of D-Bus: it knows the controllers and their roles")},
	{id: "U-17", what: "EnvVariable: an Update() without it keeps the list, one with it replaces it; 7004 where units have no variables", f: variables},
}

// mark is the number of the last notification.
func (b *bench) mark() uint64 {
	b.t.Helper()
	all := b.notified(b.has.marked, func(client.USPNotification) bool { return true })
	if len(all) > 0 {
		b.has.marked = all[len(all)-1].ID
	}
	return b.has.marked
}

// notified returns what was notified after another notification.
func (b *bench) notified(since uint64, which func(client.USPNotification) bool) []client.USPNotification {
	b.t.Helper()
	all, err := b.Client.USPNotifications(b.t.Context(), since)
	if err != nil {
		b.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(n client.USPNotification) bool { return !which(n) })
}

// key is the command key of a check, which no other kind has.
func (b *bench) key(id string) string { return id + " " + b.k.adapter }

// controller is who asks by USP.
const controller = "proto::controller"

// operate executes a command.
func (b *bench) operate(command, key string, input map[string]string) []client.USPOperateResult {
	b.t.Helper()
	r, err := b.Client.USPOperate(b.t.Context(), command, b.key(key), input, controller)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// begun is a command that goes on, and the notification before it.
type begun struct {
	client.USPOperateResult
	since uint64
}

// begin executes a command that has to go on.
func (b *bench) begin(command, key string, input map[string]string) begun {
	b.t.Helper()
	since := b.mark()
	r := b.operate(command, key, input)
	if len(r) != 1 || r[0].Job == "" || r[0].Code != 0 {
		b.t.Fatalf("%s: %s", command, support.Show(r))
	}
	return begun{r[0], since}
}

// ended waits for the OperationComplete of a command, and returns it with the DUStateChange! before it.
func (b *bench) ended(c begun) (event, complete client.USPNotification) {
	b.t.Helper()
	support.Until(b.t, c.Command+" has ended", func() error {
		all, err := b.Client.USPNotifications(b.t.Context(), c.since)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(n client.USPNotification) bool { return n.Kind == client.USPOperationComplete && n.Job == c.Job })
		if i < 0 {
			return errors.New("no OperationComplete yet")
		}
		complete = all[i]
		for _, n := range all[:i] { // what is durable and ends in one transaction has neighboring numbers
			if n.Kind == client.USPEvent || n.Kind == client.USPOperationComplete {
				event = n
			}
		}
		return nil
	})
	if complete.Code/1000 == 9 || strings.HasPrefix(event.Arguments["Fault.FaultCode"], "9") {
		b.t.Errorf("codes of CWMP: %s, %s", support.Show(event), support.Show(complete))
	}
	return event, complete
}

// noRequest says that no command with a key goes on.
func (b *bench) noRequest(key string) {
	b.t.Helper()
	all, err := b.Client.USPRequests(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range all {
		if r.CommandKey == b.key(key) {
			b.t.Errorf("there still is %s", support.Show(r))
		}
	}
}

func requestRow(b *bench) {
	url, release := b.held(program{name: "requested", version: "1"})
	c := b.begin(modules+"InstallDU()", "U-01", map[string]string{"URL": url, "ExecutionEnvRef": b.env(b.k.env)})
	all, err := b.Client.USPRequests(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(r client.USPRequest) bool { return r.Job == c.Job })
	if i < 0 {
		b.t.Fatalf("the Requests are %s", support.Show(all))
	}
	equal(b.t, "the Request", fmt.Sprint(all[i].Command, all[i].CommandKey, all[i].Originator), modules+"InstallDU()"+b.key("U-01")+controller)
	if s := all[i].Status; s != "Requested" && s != "Active" {
		b.t.Errorf("its Status is %s", s)
	}
	release()
	_, done := b.ended(c)
	b.noRequest("U-01")
	b.done(uninstall(done.Outputs["UUID"]))
}

func bothNotifications(b *bench) {
	url := b.serve(program{name: "told", version: "1"})
	c := b.begin(modules+"InstallDU()", "U-02", map[string]string{"URL": url, "ExecutionEnvRef": b.env(b.k.env)})
	event, done := b.ended(c)
	equal(b.t, "the OperationComplete", fmt.Sprint(done.Object, done.Command, done.CommandKey, done.Originator, done.Code), fmt.Sprint(modules, "InstallDU()", b.key("U-02"), controller, 0))
	env := strings.TrimSuffix(b.env(b.k.env), ".")
	equal(b.t, "its outputs", support.Show(done.Outputs), support.Show(map[string]string{"UUID": b.uuid("told"), "Version": b.version("1"), "ExecEnvRef": env}))
	a := event.Arguments
	equal(b.t, "the event", fmt.Sprint(event.Object, a["UUID"], a["Version"], a["CurrentState"], a["OperationPerformed"], a["Resolved"], a["Fault.FaultCode"], a["Fault.FaultString"]),
		fmt.Sprint(modules, b.uuid("told"), b.version("1"), "Installed", "Install", "true", "0", ""))
	equal(b.t, "the environment of its unit", b.value(a["DeploymentUnitRef"]+".ExecutionEnvRef"), env)
	equal(b.t, "the execution units of its unit", b.value(a["DeploymentUnitRef"]+".ExecutionUnitList"), a["ExecutionUnitRefList"])
	if a["StartTime"] > a["CompleteTime"] || a["StartTime"] < "2000" {
		b.t.Errorf("from %s to %s", a["StartTime"], a["CompleteTime"])
	}
	b.done(uninstall(a["UUID"]))
}

func codes(b *bench) {
	u := b.unit()
	here := b.env(b.k.env)
	other := kinds[0]
	if other == b.k {
		other = kinds[1]
	}
	https := strings.Replace(b.s.tls.URL, "127.0.0.1", stranger, 1)
	for _, x := range []struct {
		what, url, env string
		operate, event uint32 // with the first the command is refused at once
	}{
		{"user information", "http://user:word@127.0.0.1/file", here, 7027, 0},
		{"an unknown environment", u.url, modules + "ExecEnv.4711", 7016, 0},
		{"a package of another kind", b.Serve("/"+b.k.adapter+"/foreign", file(b.content(other, program{name: "foreign", version: "1"}))), here, 0, 7225},
		{"a version that is there", u.url, here, 0, 7226},
		{"too large", b.Serve("/"+b.k.adapter+"/large", fileserver.File{Content: []byte("the beginning"), Length: fileserver.Bytes(1 << 40)}), here, 0, 7227},
		{"no connection", "http://127.0.0.1:1/file", here, 0, 7033},
		{"a certificate of somebody else", https + "/file", here, 0, 7034},
		{"no package", b.Serve("/"+b.k.adapter+"/garbage", file([]byte(strings.Repeat("garbage ", 512)))), here, 0, 7035},
	} {
		r := b.operate(modules+"InstallDU()", "U-05", map[string]string{"URL": x.url, "ExecutionEnvRef": x.env})[0]
		if r.Code != x.operate {
			b.t.Errorf("%s: Operate says %s", x.what, support.Show(r))
		}
		if r.Job == "" {
			continue
		}
		event, done := b.ended(begun{r, b.has.marked})
		if event.Arguments["Fault.FaultCode"] != fmt.Sprint(x.event) || done.Code == 0 {
			b.t.Errorf("%s: %s, %s", x.what, support.Show(event), support.Show(done))
		}
		b.mark()
	}
	// The event has no case of 7036: that a signature is wanted is refused before anything begins (docs/decisions/0012).
	signed := b.operate(modules+"InstallDU()", "U-05", map[string]string{"URL": u.url, "ExecutionEnvRef": here, "Signature": u.url + ".sig"})
	equal(b.t, "the code of a signature", signed[0].Code, 7004)
	release := b.occupy(u)
	r := b.operate(u.du+"Uninstall()", "U-05", nil)[0]
	if r.Job == "" {
		equal(b.t, "the code of a unit that is busy", r.Code, 7022)
	} else {
		event, _ := b.ended(begun{r, b.has.marked})
		equal(b.t, "the event of a unit that is busy", event.Arguments["Fault.FaultCode"], "7229")
	}
	release()
}

func restartEnvironment(b *bench) {
	b.on()
	env := b.env(b.k.spare)
	get := func(name string) string {
		b.t.Helper()
		r, err := b.Client.USPGet(b.t.Context(), 0, env+name)
		if err != nil || len(r) != 1 || len(r[0].Objects) != 1 {
			b.t.Fatalf("%s: %s, %v", name, support.Show(r), err)
		}
		return r[0].Objects[0].Parameters[name]
	}
	count := get("RestartCount")
	c := b.begin(env+"Restart()", "U-12", map[string]string{"Reason": "a check"})
	_, done := b.ended(c)
	equal(b.t, "the code", done.Code, 0)
	b.becomes(env+"Status", "Up")
	equal(b.t, "the reason", get("RestartReason"), "a check")
	if get("RestartCount") == count {
		b.t.Errorf("RestartCount is still %s", count)
	}
	support.Until(b.t, "it is told", func() error {
		var statuses []string
		events := 0
		for _, n := range b.notified(c.since, func(client.USPNotification) bool { return true }) {
			switch {
			case n.Parameter == env+"Status":
				statuses = append(statuses, n.Value)
			case n.Event == "Restarted!" && n.Object == env && n.Arguments["RestartReason"] == "a check":
				events++
			}
		}
		if !strings.HasSuffix(fmt.Sprint(statuses, events), "Restarting Up] 1") { // what it was before may be told late
			return fmt.Errorf("%v, %d events", statuses, events)
		}
		return nil
	})
	b.off()
	r := b.operate(env+"Restart()", "U-12 off", nil)[0]
	if r.Job != "" {
		_, done := b.ended(begun{r, b.has.marked})
		r.Code = done.Code
	}
	equal(b.t, "the code when it is disabled", r.Code, 7022)
}
