package conformance

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// unitChecks are about execution units and environments.
var unitChecks = []check{
	{id: "E-01", what: "RequestedState: Idle, Starting, Active and back; ActiveExecutionUnits", f: requestedState},
	{id: "E-02", what: "commands read back empty, false, -1", f: func(b *bench) {
		u := b.unit()
		env := b.env(b.k.env)
		b.set(u.eu+"RequestedState", "Active", env+"RequestedRunLevel", b.value(env+"CurrentRunLevel"), env+"Reset", "false")
		equal(b.t, "what is read", fmt.Sprintf("%q %s %s", b.value(u.eu+"RequestedState"), b.value(env+"Reset"), b.value(env+"RequestedRunLevel")), `"" false -1`)
	}},
	{id: "E-03", what: "a start while Stopping is refused; a stop when Idle and a start when Active succeed", f: whileStopping},
	{id: "E-04", what: "a start in a disabled environment: 9003 with 9007; USP 7022", f: func(b *bench) {
		u := b.off()
		b.setRefused(map[string]uint32{u.eu + "RequestedState": 9007}, u.eu+"RequestedState", "Active")
		// TR-369 I.4.2 has 7012, which is not among the codes of Operate: docs/decisions/0001.
		r := b.operate(u.eu+"SetRequestedState()", "", map[string]string{"RequestedState": "Active"})
		equal(b.t, "the code of Operate", r[0].Code, 7022)
	}},
	{id: "E-05", what: "SetParameterValues with one bad parameter changes nothing", f: func(b *bench) {
		u := b.unit()
		env := b.env(b.k.env)
		before := support.Show(b.values(env+"InitialRunLevel", u.eu+"AutoStart", u.eu+"RunLevel"))
		b.setRefused(map[string]uint32{u.eu + "Status": 9008}, env+"InitialRunLevel", "7", u.eu+"AutoStart", "false", u.eu+"Status", "Idle", u.eu+"RunLevel", "9")
		equal(b.t, "the values", support.Show(b.values(env+"InitialRunLevel", u.eu+"AutoStart", u.eu+"RunLevel")), before)
	}},
	{id: "E-06", what: "a unit that is not resolved stays Idle with DependencyFailure and a message", not: only("osgi", "an image brings all that it requires"), f: func(b *bench) {
		u := b.install(program{name: "lonely", version: "1", does: requires}, b.k.env)
		equal(b.t, "Resolved", b.value(u.du+"Resolved"), "false")
		b.becomes(u.eu+"ExecutionFaultCode", "DependencyFailure", u.eu+"Status", "Idle")
		b.set(u.eu+"RequestedState", "Active")
		b.becomes(u.eu+"ExecutionFaultCode", "DependencyFailure", u.eu+"Status", "Idle")
		if b.value(u.eu+"ExecutionFaultMessage") == "" {
			b.t.Error("there is no message")
		}
		b.done(uninstall(u.uuid))
	}},
	{id: "E-07", what: "a unit that fails while it is active: FailureWhileActive, told as a changed value", apart: values, f: failsWhileActive},
	{id: "E-08", what: "NoFault if and only if ExecutionFaultMessage is empty", f: faultMessages},
	{id: "E-09", what: "Status has active notification without being asked for, and can be switched off", apart: values, f: notificationOfStatus},
	{id: "E-10", what: "AutoStart and RunLevel decide what runs after a reboot; CurrentRunLevel is InitialRunLevel", before: leaveLevels, when: afterReboot, f: levelsAfterReboot},
	{id: "E-11", what: "without run levels CurrentRunLevel is -1", not: always("every kind of environment has run levels")},
	{id: "E-12", what: "Enable=false: Disabled, units Idle with UnStartable; Enable=true brings those with AutoStart back", f: func(b *bench) {
		b.on()
		u := b.aside()
		deployed := support.Show(b.values(u.du))
		b.enable(b.k.spare, false)
		b.becomes(u.eu+"Status", "Idle", u.eu+"ExecutionFaultCode", "UnStartable")
		equal(b.t, "the deployment unit", support.Show(b.values(u.du)), deployed)
		b.on()
		b.becomes(u.eu+"Status", "Active", u.eu+"ExecutionFaultCode", "NoFault")
	}},
	{id: "E-13", what: "Reset brings units, versions and settings back, and the environment up", when: atLast, apart: whole, f: reset},
	{id: "E-14", what: "EUIDs are unique; numbers of rows are not used again", f: func(b *bench) {
		b.on()
		b.unit()
		b.aside()
		seen := map[string]string{}
		for path, value := range b.values(modules + "ExecutionUnit.") {
			if strings.HasSuffix(path, ".EUID") {
				if seen[value] != "" || value == "" {
					b.t.Errorf("%s and %s have the EUID %q", path, seen[value], value)
				}
				seen[value] = path
			}
		}
		first := b.install(program{name: "numbered", version: "1"}, b.k.env)
		b.remove(first)
		second := b.install(program{name: "numbered", version: "1"}, b.k.env)
		b.remove(second)
		if number(b, second.du) <= number(b, first.du) || number(b, second.eu) <= number(b, first.eu) {
			b.t.Errorf("%s and %s, then %s and %s", first.du, first.eu, second.du, second.eu)
		}
	}},
	{id: "E-15", what: "references are there both ways, and go with their rows", f: consistent},
	{id: "E-16", what: "numbers of entries are right after each operation", f: func(b *bench) {
		b.entries("at first")
		u := b.install(program{name: "counted", version: "1"}, b.k.env)
		b.entries("after an install")
		b.done(client.Operation{Kind: "Update", UUID: u.uuid, URL: b.serve(program{name: "counted", version: "2"})})
		b.entries("after an update")
		b.done(uninstall(u.uuid))
		b.entries("after an uninstall")
	}},
	{id: "E-17", what: "profile SM_Baseline:1 is complete", f: baselineProfile},
	{id: "E-18", what: "rows cannot be added or deleted", f: fixedTables},
	{id: "E-19", what: "a unit without a life of its own takes a start and a stop", not: only("osgi", "every unit of it runs something"), f: func(b *bench) {
		b.unit()
		u := b.install(program{name: "fragment", version: "1", does: inert}, b.k.env)
		for _, state := range []string{"Active", "Idle"} {
			b.set(u.eu+"RequestedState", state)
			equal(b.t, "Operate", b.operate(u.eu+"SetRequestedState()", "", map[string]string{"RequestedState": state})[0].Code, 0)
		}
		b.done(uninstall(u.uuid))
	}},
}

// number is the instance number of a row.
func number(b *bench, path string) int {
	b.t.Helper()
	parts := strings.Split(strings.TrimSuffix(path, "."), ".")
	n, err := strconv.Atoi(parts[len(parts)-1])
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// statuses are the values of Status that an execution unit was told to have since a notification.
func (b *bench) statuses(since uint64, eu string) (all []string) {
	b.t.Helper()
	for _, n := range b.notified(since, func(n client.USPNotification) bool { return n.Parameter == eu+"Status" }) {
		all = append(all, n.Value)
	}
	return all
}

func requestedState(b *bench) {
	u := b.unit()
	since := b.mark()
	active := func() []string { return strings.Split(b.value(b.env(b.k.env)+"ActiveExecutionUnits"), ",") }
	for _, state := range []string{"Idle", "Active"} {
		b.set(u.eu+"RequestedState", state)
		b.becomes(u.eu+"Status", state, u.eu+"ExecutionFaultCode", "NoFault")
		if got := active(); slices.Contains(got, strings.TrimSuffix(u.eu, ".")) != (state == "Active") {
			b.t.Errorf("when %s is %s, ActiveExecutionUnits are %q", u.eu, state, got)
		}
	}
	// Starting and Stopping are told if they are seen: where nothing has to be waited for, they are over at once.
	// What the unit was before may be told late.
	told := regexp.MustCompile(`\bIdle (Starting )?Active\]$`)
	support.Until(b.t, "all states were told", func() error {
		if got := fmt.Sprint(b.statuses(since, u.eu)); !told.MatchString(got) {
			return fmt.Errorf("%s, not %s", got, told)
		}
		return nil
	})
}

func whileStopping(b *bench) {
	u := b.unit()
	b.set(u.eu+"RequestedState", "Active")
	b.becomes(u.eu+"Status", "Active")
	b.set(u.eu+"RequestedState", "Idle")
	b.becomes(u.eu+"Status", "Idle")
	b.set(u.eu+"RequestedState", "Idle")
	equal(b.t, "the unit that was stopped twice", support.Show(b.values(u.eu+"Status", u.eu+"ExecutionFaultCode")),
		support.Show(map[string]string{u.eu + "Status": "Idle", u.eu + "ExecutionFaultCode": "NoFault"}))

	p := program{name: "lingers", version: "1.0.0", does: lingers}
	l := b.install(p, b.k.env)
	b.becomes(l.eu+"Status", "Active")
	release := b.releaser(l)
	b.set(l.eu+"RequestedState", "Idle")
	b.becomes(l.eu+"Status", "Stopping")
	b.setRefused(map[string]uint32{l.eu + "RequestedState": 9007}, l.eu+"RequestedState", "Active")
	for _, command := range []string{"SetRequestedState()", "Restart()"} {
		if r := b.operate(l.eu+command, "", map[string]string{"RequestedState": "Active"}); r[0].Code != 7022 {
			b.t.Errorf("%s while Stopping: %s", command, support.Show(r))
		}
	}
	release()
	b.becomes(l.eu+"Status", "Idle")
	b.done(uninstall(l.uuid))
}

// releaser lets a unit go that lingers.
func (b *bench) releaser(u unit) func() {
	b.t.Helper()
	path := releaseFile
	if b.k.adapter != "osgi" {
		dir := "/proc/" + b.pid(u) + "/root/tmp/"
		path = dir + "release"
		support.Until(b.t, "it minds being stopped", func() error { // a script that has only just begun does not
			_, err := b.d.Machine.Try(b.t.Context(), "test", "-e", dir+"lingers")
			return err
		})
	}
	return func() { b.t.Helper(); b.d.Machine.Run(b.t, "touch", path) }
}

// pid is the first process of a unit.
func (b *bench) pid(u unit) (pid string) {
	b.t.Helper()
	support.Until(b.t, "it has a process", func() error {
		for _, eu := range b.Tree().ExecutionUnits {
			if eu.Path+"." == u.eu && len(eu.PIDs) > 0 {
				pid = fmt.Sprint(eu.PIDs[0])
				return nil
			}
		}
		return fmt.Errorf("there is none of %s", u.eu)
	})
	return pid
}

func failsWhileActive(b *bench) {
	var u unit
	if b.k.adapter == "osgi" { // a bundle that cannot be started a second time is stopped by the update of what it is wired to
		of := func(name string) client.ReportResult {
			return b.done(install(b.URL(name), b.env(b.k.env)))
		}
		provider := of("provider-1.0.0.jar")
		r := of("rewire-1.0.0.jar")
		u = unit{eu: r.ExecutionUnitRefList, uuid: r.UUID}
		b.becomes(u.eu+"Status", "Active")
		b.done(client.Operation{Kind: "Update", UUID: provider.UUID, URL: b.URL("provider-2.0.0.jar")})
		defer b.done(uninstall(provider.UUID))
	} else {
		u = b.install(program{name: "mortal", version: "1"}, b.k.env)
		b.becomes(u.eu+"Status", "Active")
		b.d.Machine.Run(b.t, "kill", "-KILL", b.pid(u))
	}
	b.becomes(u.eu+"ExecutionFaultCode", "FailureWhileActive", u.eu+"Status", "Idle")
	b.toldOf(u.eu+"Status", "Idle")
	b.done(uninstall(u.uuid))
}

// toldOf waits until a value is pending for the ACS.
func (b *bench) toldOf(path, value string) {
	b.t.Helper()
	support.Until(b.t, path+" is told to have changed", func() error {
		_, values, err := b.Client.PendingValueChanges(b.t.Context())
		if err == nil && !slices.Contains(values, client.Parameter{Path: path, Type: "xsd:string", Value: value}) {
			err = fmt.Errorf("there is %s", support.Show(values))
		}
		return err
	})
}

func faultMessages(b *bench) {
	b.unit()
	u := b.install(program{name: "failing", version: "1", does: fails}, b.k.env)
	support.Until(b.t, "it has failed", func() error {
		if code := b.value(u.eu + "ExecutionFaultCode"); code == "NoFault" {
			return fmt.Errorf("it is %s with %s", b.value(u.eu+"Status"), code)
		}
		return nil
	})
	all := b.values(modules + "ExecutionUnit.")
	for path, code := range all {
		if eu, ok := strings.CutSuffix(path, "ExecutionFaultCode"); ok && (code == "NoFault") != (all[eu+"ExecutionFaultMessage"] == "") {
			b.t.Errorf("%s has %s with the message %q", eu, code, all[eu+"ExecutionFaultMessage"])
		}
	}
	b.done(uninstall(u.uuid))
}

func notificationOfStatus(b *bench) {
	u := b.unit()
	attribute := func(name string) uint32 {
		b.t.Helper()
		a, err := b.Client.GetParameterAttributes(b.t.Context(), u.eu+name)
		if err != nil {
			b.t.Fatal(err)
		}
		return a[0].Notification
	}
	notify := func(n uint32) {
		b.t.Helper()
		if err := b.Client.SetParameterAttributes(b.t.Context(), client.Notification{Path: u.eu + "Status", Notification: n}); err != nil {
			b.t.Fatal(err)
		}
	}
	equal(b.t, "notification of Status and ExecutionFaultCode", fmt.Sprint(attribute("Status"), attribute("ExecutionFaultCode")), "2 0")
	ask := func(state string) {
		b.t.Helper()
		b.operate(u.eu+"SetRequestedState()", "", map[string]string{"RequestedState": state})
		b.becomes(u.eu+"Status", state)
	}
	ask("Idle")
	b.toldOf(u.eu+"Status", "Idle")
	cursor, _, err := b.Client.PendingValueChanges(b.t.Context())
	if err == nil {
		err = b.Client.AcknowledgeValueChanges(b.t.Context(), cursor)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	notify(client.NotificationOff)
	equal(b.t, "notification when it is switched off", attribute("Status"), 0)
	ask("Active")
	notify(client.NotificationActive)
	if _, values, err := b.Client.PendingValueChanges(b.t.Context()); err != nil || slices.ContainsFunc(values, func(p client.Parameter) bool { return p.Path == u.eu+"Status" }) {
		b.t.Errorf("what was switched off is told: %s, %v", support.Show(values), err)
	}
}

func leaveLevels(b *bench) {
	b.unit()
	var units []unit
	for _, name := range []string{"by-hand", "too-high", "high"} {
		units = append(units, b.install(program{name: name, version: "1"}, b.k.env))
	}
	b.set(units[0].eu+"AutoStart", "false", units[1].eu+"RunLevel", "5", units[2].eu+"RunLevel", "3", b.env(b.k.env)+"InitialRunLevel", "3")
	b.keep("E-10", units)
}

func levelsAfterReboot(b *bench) {
	units := kept[[]unit](b, "E-10")
	equal(b.t, "CurrentRunLevel", b.value(b.env(b.k.env)+"CurrentRunLevel"), "3")
	u := b.unit()
	b.becomes(u.eu+"Status", "Active", units[0].eu+"Status", "Idle", units[1].eu+"Status", "Idle", units[2].eu+"Status", "Active")
	for _, u := range units {
		b.done(uninstall(u.uuid))
	}
}

func reset(b *bench) {
	b.on()
	env := b.env(b.k.spare)
	stays := b.aside()
	goes := b.install(program{name: "goes", version: "1"}, b.k.spare)
	if err := b.Client.RecordBaseline(b.t.Context(), client.BaselineCWMP, ""); err != nil {
		b.t.Fatal(err)
	}
	b.done(client.Operation{Kind: "Update", UUID: stays.uuid, URL: b.serve(program{name: stays.name, version: "2.0.0"})})
	b.remove(goes)
	b.install(program{name: "comes", version: "1"}, b.k.spare)
	b.set(env+"InitialRunLevel", "5", stays.eu+"RunLevel", "4")
	since := b.mark()
	moving, err := b.Client.SetParameterValues(b.t.Context(), settings(env+"Reset", "true")...)
	if err != nil || !moving {
		b.t.Fatalf("Reset: %t, %v", moving, err)
	}
	wanted := map[string]string{stays.uuid: "1.0.0", goes.uuid: goes.version}
	support.Until(b.t, "the environment is as it was", func() error {
		got := map[string]string{}
		for _, du := range b.Tree().DeploymentUnits {
			if r, ok := client.ParseRef(string(du.ExecEnv)); ok && r.Path+"." == env {
				got[du.UUID] = du.Version
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(wanted) {
			return fmt.Errorf("it has %v, not %v", got, wanted)
		}
		return nil
	})
	b.becomes(env+"InitialRunLevel", "1", stays.eu+"RunLevel", "1")
	support.Until(b.t, "it was restarted", func() error {
		told := b.notified(since, func(n client.USPNotification) bool { return n.Parameter == env+"Status" })
		if len(told) < 2 || told[len(told)-1].Value != "Up" {
			return fmt.Errorf("its states were %s", support.Show(told))
		}
		return nil
	})
	b.becomes(stays.eu+"Status", "Active")
}

func consistent(b *bench) {
	u := b.unit()
	gone := b.install(program{name: "referred", version: "1"}, b.k.env)
	b.becomes(gone.eu+"Status", "Active")
	b.remove(gone)
	all := b.values(modules)
	split := func(list string) (paths []string) {
		if list != "" {
			paths = strings.Split(list, ",")
		}
		return paths
	}
	exists := func(path, at string) {
		if _, ok := all[path+".Alias"]; !ok {
			b.t.Errorf("%s refers to %q, which is not there", at, path)
		}
	}
	for path, value := range all {
		row, parameter := path[:strings.LastIndexByte(path, '.')], path[strings.LastIndexByte(path, '.')+1:]
		switch parameter {
		case "ExecutionEnvRef":
			exists(value, path)
		case "ActiveExecutionUnits":
			for _, eu := range split(value) {
				exists(eu, path)
				equal(b.t, "the environment of "+eu, all[eu+".ExecutionEnvRef"], row)
			}
		case "ExecutionUnitList":
			for _, eu := range split(value) {
				exists(eu, path)
				equal(b.t, "the environment of "+eu, all[eu+".ExecutionEnvRef"], all[row+".ExecutionEnvRef"])
			}
		}
	}
	equal(b.t, "the list of the unit", all[u.du+"ExecutionUnitList"]+".", u.eu)
}

// entries compares the numbers of entries with the rows.
func (b *bench) entries(when string) {
	b.t.Helper()
	all := b.values(modules)
	for _, name := range []string{"ExecEnv", "DeploymentUnit", "ExecutionUnit"} {
		n := 0
		for path := range all {
			if rest, ok := strings.CutPrefix(path, modules+name+"."); ok && strings.HasSuffix(rest, ".Alias") && strings.Count(rest, ".") == 1 {
				n++
			}
		}
		equal(b.t, when+": "+name+"NumberOfEntries", all[modules+name+"NumberOfEntries"], fmt.Sprint(n))
	}
}

func baselineProfile(b *bench) {
	u := b.unit()
	writable := map[string]bool{}
	names, err := b.Client.GetParameterNames(b.t.Context(), modules, false)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, n := range names {
		writable[n.Path] = n.Writable
	}
	values := b.values(modules)
	for row, parameters := range map[string]string{
		modules:        "ExecEnvNumberOfEntries DeploymentUnitNumberOfEntries ExecutionUnitNumberOfEntries",
		b.env(b.k.env): "Enable! Status Name Type Vendor Version ActiveExecutionUnits",
		u.du:           "UUID DUID Name Status Resolved URL Vendor Version ExecutionUnitList ExecutionEnvRef",
		u.eu:           "EUID Name ExecEnvLabel Status RequestedState! ExecutionFaultCode ExecutionFaultMessage Vendor Version References SupportedDataModelList",
	} {
		for _, name := range strings.Fields(parameters) {
			name, write := strings.CutSuffix(name, "!")
			_, there := values[row+name]
			if can, listed := writable[row+name]; !listed || !there || can != write {
				b.t.Errorf("%s%s: listed %t, has a value %t, writable %t", row, name, listed, there, can)
			}
		}
	}
	if _, ok := writable[u.eu+"Extensions."]; !ok {
		b.t.Error("there is no Extensions.")
	}
}

// refusedCall returns the code of a call of CWMP1 that is refused.
func (b *bench) refusedCall(method, path string) uint32 {
	b.t.Helper()
	conn, err := dbus.Connect(b.d.Machine.Bus())
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	var e dbus.Error
	if err := conn.Object(client.BusName, client.Root).Call("org.smmd.CWMP1."+method, 0, path).Err; !errors.As(err, &e) || len(e.Body) < 2 {
		b.t.Fatalf("%s of %s: %v", method, path, err)
	}
	code, _ := e.Body[1].(uint32)
	return code
}

func fixedTables(b *bench) {
	u := b.unit()
	before := support.Show(b.rows())
	for row, table := range map[string]string{b.env(b.k.env): "ExecEnv.", u.du: "DeploymentUnit.", u.eu: "ExecutionUnit."} {
		for method, path := range map[string]string{"AddObject": modules + table, "DeleteObject": row} {
			if code := b.refusedCall(method, path); code != 9005 {
				b.t.Errorf("%s of %s: %d", method, path, code)
			}
		}
		added, err := b.Client.USPAdd(b.t.Context(), true, client.USPUpdate{Path: modules + table})
		if err == nil && (len(added) != 1 || added[0].Code/1000 != 7 || added[0].Path != "") || err != nil && isError(err).USP/1000 != 7 {
			b.t.Errorf("Add to %s: %s, %v", table, support.Show(added), err)
		}
		deleted, err := b.Client.USPDelete(b.t.Context(), true, row)
		if err == nil && (len(deleted) != 1 || len(deleted[0].Unaffected) != 1 || deleted[0].Unaffected[0].Code/1000 != 7 || len(deleted[0].Affected) > 0) || err != nil && isError(err).USP/1000 != 7 {
			b.t.Errorf("Delete of %s: %s, %v", row, support.Show(deleted), err)
		}
	}
	equal(b.t, "the rows", support.Show(b.rows()), before)
}
