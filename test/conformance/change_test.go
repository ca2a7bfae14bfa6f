package conformance

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/support"
)

// ofClient begins the reason of what the agent cannot do.
const ofClient = "duty of the client in front of D-Bus: "

// changeChecks are about ChangeDUState and its report.
var changeChecks = []check{
	{id: "C-01", what: "GetRPCMethods lists ChangeDUState", not: always(ofClient + "it lists the RPCs that it passes on")},
	{id: "C-02", what: "ChangeDUState is answered at once, its results come later", f: answeredAtOnce},
	{id: "C-03", what: "Inform has 11 DU STATE CHANGE COMPLETE and M ChangeDUState", not: always(ofClient + "the kind and the CommandKey of a report tell it what to write (C-04)")},
	{id: "C-04", what: "one report for each request, with its CommandKey", f: commandKeys},
	{id: "C-05", what: "a result for each operation, in the order of the request", f: inOrder},
	{id: "C-06", what: "two requests at once have two reports", f: twoRequests},
	{id: "C-07", what: "16 operations are accepted; too many are refused with 9004 and nothing is done", apart: whole, f: manyOperations},
	{id: "C-08", what: "an operation ends within 1 h (here: 2 s)", when: withRunLimit, f: deadline},
	{id: "C-09", what: "what has failed is not tried again", before: failOnce, when: afterReboot, f: notRetried},
	{id: "C-10", what: "what is at a URL is fetched each time", f: fetchedAgain},
	{id: "C-11", what: "a report waits over a reboot until it is acknowledged", before: leaveReport, when: afterReboot, f: reportWaited},
	{id: "C-12", what: "BOOTSTRAP drops reports", when: atLast, apart: whole, f: bootstrapDrops},
	{id: "C-13", what: "a unit is there after a reboot with the same UUID, version and URL", before: leaveUnit, when: afterReboot, f: unitStayed},
	{id: "C-14", what: "an operation over a reboot has one result", before: leaveOperation, when: afterReboot, f: operationEnded},
	{id: "C-15", what: "a UUID that is not given is that of Annex C", f: generatedUUID},
	{id: "C-16", what: "an environment that is not given is one that fits and is enabled", f: chosenEnvironment},
	{id: "C-17", what: "HTTP and HTTPS, basic and digest", f: transports},
	{id: "C-18", what: "references of results end with a dot, and what they name is there", f: references},
	{id: "C-19", what: "StartTime is not after CompleteTime, in UTC", f: times},
	{id: "C-20", what: "Update by UUID, by URL, by both, of all", apart: whole, f: updateBy},
	{id: "C-21", what: "Update in two environments: all or none", f: updateBoth,
		not: only("osgi lxc", "names of services are those of the whole device, so that an image is in one environment at most")},
	{id: "C-22", what: "a failed Update leaves the unit as it was", f: failedUpdate},
	{id: "C-23", what: "a failed Uninstall leaves the unit as it was", f: failedUninstall},
	{id: "C-24", what: "a failed Install leaves nothing", f: failedInstall},
	{id: "C-25", what: "Uninstall of all versions, in all environments", f: uninstallAll},
	{id: "C-26", what: "after an Update units are active or idle as before", f: stateOverUpdate},
}

// install is an Install in an environment, by its path.
func install(url, env string) client.Operation {
	return client.Operation{Kind: "Install", URL: url, ExecutionEnvRef: env}
}

// uninstall is an Uninstall of all versions, in all environments.
func uninstall(uuid string) client.Operation { return client.Operation{Kind: "Uninstall", UUID: uuid} }

// unknown is a UUID that no unit has.
const unknown = "00000000-0000-5000-b000-0123456789ab"

// held serves a package that does not come until release is called.
func (b *bench) held(p program) (url string, release func()) {
	b.t.Helper()
	c := make(chan struct{})
	path := fmt.Sprintf("/%s/held-%s-%s%s", b.k.adapter, p.name, p.version, b.k.suffix)
	url = b.Serve(path, fileserver.File{Content: b.content(b.k, p), Hang: fileserver.Bytes(10), Release: c})
	b.t.Cleanup(func() {
		select {
		case <-c:
		default:
			close(c)
		}
	})
	return url, func() { close(c) }
}

// asked counts the requests for a URL.
func (b *bench) asked(url string) (n int) {
	for _, r := range b.Files.Log() {
		if b.Files.URL+r.Path == url {
			n++
		}
	}
	return n
}

// wanted waits until a URL is asked for.
func (b *bench) wanted(url string) {
	b.t.Helper()
	support.Until(b.t, url+" is asked for", func() error {
		if b.asked(url) == 0 {
			return fmt.Errorf("there are %d requests, none of them for it", len(b.Files.Log()))
		}
		return nil
	})
}

func answeredAtOnce(b *bench) {
	url, release := b.held(program{name: "slow", version: "1"})
	id := b.request("key", install(url, b.env(b.k.env)))
	b.wanted(url)
	if r, ok := b.pending(id); ok {
		b.t.Errorf("there is a report while the package comes: %s", support.Show(r))
	}
	release()
	r := b.report(id)
	b.acknowledge(id)
	equal(b.t, "the code", r.Results[0].FaultCode, 0)
	b.done(uninstall(r.Results[0].UUID))
}

func commandKeys(b *bench) {
	for _, key := range []string{"", "key", strings.Repeat("x", 32)} {
		id := b.request(key, uninstall(unknown), uninstall(unknown))
		r := b.report(id)
		equal(b.t, "the report", fmt.Sprint(r.Kind, r.CommandKey, len(r.Results)), fmt.Sprint(client.ReportRequested, key, 2))
		b.acknowledge(id)
		if r, ok := b.pending(id); ok {
			b.t.Errorf("after it was acknowledged there is %s", support.Show(r))
		}
	}
	_, err := b.Client.ChangeDUState(b.t.Context(), []client.Operation{uninstall(unknown)}, strings.Repeat("x", 33), "")
	equal(b.t, "a CommandKey of 33 characters: "+fmt.Sprint(err), isError(err).CWMP != 0 || isError(err).Name == "InvalidArgs", true)
}

func inOrder(b *bench) {
	p := program{name: "mixed", version: "1"}
	url := b.serve(p)
	results := b.change(uninstall(unknown), install(url, b.env(b.k.env)), install(b.Files.URL+"/nothing", b.env(b.k.env)),
		client.Operation{Kind: "Update", UUID: unknown})
	var got []string
	for _, r := range results {
		got = append(got, fmt.Sprint(r.CurrentState, r.FaultCode))
	}
	equal(b.t, "the results", fmt.Sprint(got), "[Installed9028 Installed0 Failed9016 Installed9028]")
	b.done(uninstall(results[1].UUID))
}

func twoRequests(b *bench) {
	url, release := b.held(program{name: "first", version: "1"})
	first := b.request("first", install(url, b.env(b.k.env)))
	second := b.request("second", uninstall(unknown))
	equal(b.t, "the second report", b.report(second).CommandKey, "second")
	release()
	r := b.report(first)
	equal(b.t, "the first report", r.CommandKey, "first")
	if _, ok := b.pending(second); !ok {
		b.t.Error("the second report does not wait any more")
	}
	b.acknowledge(second)
	b.acknowledge(first)
	b.done(uninstall(r.Results[0].UUID))
}

func manyOperations(b *bench) {
	ops := slices.Repeat([]client.Operation{uninstall(unknown)}, 16)
	equal(b.t, "results of 16 operations", len(b.change(ops...)), 16)
	rows, last := support.Show(b.rows()), b.last()
	ops = slices.Concat([]client.Operation{install(b.serve(program{name: "many", version: "1"}), b.env(b.k.env))}, slices.Repeat(ops, 4))
	_, err := b.Client.ChangeDUState(b.t.Context(), ops, "key", "")
	equal(b.t, "65 operations", isError(err).CWMP, 9004)
	b.remove(b.install(program{name: "after", version: "1"}, b.k.env)) // by which time the other one would be there too
	equal(b.t, "the rows", support.Show(b.rows()), rows)
	equal(b.t, "the reports", b.reports(last), "[]")
}

// last is the number of the last request. The reports of earlier ones, those of other checks among them, may still come.
func (b *bench) last() uint64 {
	b.t.Helper()
	r := b.report(b.request("the last one", uninstall(unknown)))
	b.acknowledge(r.ID)
	return r.ID
}

// reports are the numbers of those that wait of requests after another one.
func (b *bench) reports(after uint64) string {
	b.t.Helper()
	reports, err := b.Client.PendingReports(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	var ids []uint64
	for _, r := range reports {
		if r.ID > after {
			ids = append(ids, r.ID)
		}
	}
	return fmt.Sprint(ids)
}

// uuid is that of a package of the kind (TR-181 Annex C).
func (b *bench) uuid(name string) string {
	return uuid.NewSHA1(uuid.NameSpaceDNS, []byte(name+"."+b.k.vendor()+".")).String()
}

func deadline(b *bench) {
	url, _ := b.held(program{name: "endless", version: "1"})
	r := b.one(install(url, b.env(b.k.env)))
	equal(b.t, "the result", fmt.Sprint(r.CurrentState, r.FaultCode), "Failed9001")
}

func failOnce(b *bench) {
	url := b.Serve("/"+b.k.adapter+"/unavailable", fileserver.File{Status: http.StatusServiceUnavailable})
	b.one(install(url, b.env(b.k.env)))
	b.keep("C-09", b.asked(url))
}

func notRetried(b *bench) {
	equal(b.t, "requests for a file that was not there", b.asked(b.Files.URL+"/"+b.k.adapter+"/unavailable"), kept[int](b, "C-09"))
	equal(b.t, "requests at first", kept[int](b, "C-09"), 1)
}

func fetchedAgain(b *bench) {
	path := "/" + b.k.adapter + "/again" + b.k.suffix
	for i, version := range []string{"1", "1", "2"} {
		url := b.serveAt(path, program{name: "again", version: version})
		r := b.done(install(url, b.env(b.k.env)))
		equal(b.t, "the version", r.Version, b.version(version))
		equal(b.t, "requests", b.asked(url), i+1)
		b.done(uninstall(r.UUID))
	}
}

// version is how the kind writes a version.
func (b *bench) version(v string) string {
	if b.k.adapter == "osgi" {
		return (v + ".0.0")[:5]
	}
	return v
}

func leaveReport(b *bench) {
	id := b.request("over the reboot", uninstall(unknown))
	first, again := b.report(id), b.report(id)
	equal(b.t, "the report a second time", support.Show(again), support.Show(first))
	b.keep("C-11", first)
}

func reportWaited(b *bench) {
	before := kept[client.Report](b, "C-11")
	equal(b.t, "the report after the reboot", support.Show(b.report(before.ID)), support.Show(before))
	b.acknowledge(before.ID)
	if _, ok := b.pending(before.ID); ok {
		b.t.Error("it is still there after it was acknowledged")
	}
}

func bootstrapDrops(b *bench) {
	id := b.request("dropped", uninstall(unknown))
	b.report(id)
	if err := b.Client.RecordBaseline(b.t.Context(), client.BaselineCWMP, ""); err != nil {
		b.t.Fatal(err)
	}
	equal(b.t, "the reports after it", b.reports(0), "[]")
}

func leaveUnit(b *bench) {
	u := b.unit()
	b.keep("C-13", support.Show(b.values(u.du+"UUID", u.du+"Version", u.du+"URL", u.du+"Alias", u.du+"ExecutionUnitList", u.eu+"EUID")))
}

func unitStayed(b *bench) {
	before := kept[string](b, "C-13")
	u := b.unit()
	equal(b.t, "the unit after the reboot", support.Show(b.values(u.du+"UUID", u.du+"Version", u.du+"URL", u.du+"Alias", u.du+"ExecutionUnitList", u.eu+"EUID")), before)
	equal(b.t, "its UUID", u.uuid, b.uuid(standing))
}

func leaveOperation(b *bench) {
	p := program{name: "interrupted", version: "1"}
	url := b.Serve("/"+b.k.adapter+"/interrupted"+b.k.suffix, fileserver.File{Content: b.content(b.k, p), Hang: fileserver.Bytes(10)})
	id := b.request("interrupted", install(url, b.env(b.k.env)))
	b.wanted(url)
	b.keep("C-14", id)
}

func operationEnded(b *bench) {
	id := kept[uint64](b, "C-14")
	r := b.report(id)
	b.acknowledge(id)
	if len(r.Results) != 1 {
		b.t.Fatalf("the results are %s", support.Show(r.Results))
	}
	switch r.Results[0].FaultCode {
	case 0:
		b.done(uninstall(r.Results[0].UUID))
	case 9001, 9017:
		equal(b.t, "the state", r.Results[0].CurrentState, "Failed")
	default:
		b.t.Errorf("the result is %s", support.Show(r.Results[0]))
	}
}

func generatedUUID(b *bench) {
	p := program{name: "sample_1-a", version: "1", does: beside}
	u := b.install(p, b.k.env)
	equal(b.t, "the UUID", u.uuid, b.uuid(p.name))
	p.version = "2"
	v := b.install(p, b.k.env)
	equal(b.t, "the UUID of another version", v.uuid, u.uuid)
	equal(b.t, "the parameter", b.value(v.du+"UUID"), u.uuid)
	b.change(uninstall(u.uuid))
	b.serve(p)
	given := uuid.NewString() // the other kinds of environments are on the same device
	r := b.done(client.Operation{Kind: "Install", URL: v.url, UUID: given, ExecutionEnvRef: b.env(b.k.env)})
	equal(b.t, "the UUID that was given", r.UUID, given)
	b.done(uninstall(given))
}

func chosenEnvironment(b *bench) {
	b.off()
	r := b.done(client.Operation{Kind: "Install", URL: b.serve(program{name: "anywhere", version: "1"})})
	equal(b.t, "the environment", b.value(r.DeploymentUnitRef+"ExecutionEnvRef")+".", b.env(b.k.env))
	b.done(uninstall(r.UUID))
}

func transports(b *bench) {
	// What is there already is refused when its package has been read, which is sooner than an installation. The last one is a new unit.
	u := b.unit()
	there, carried := b.content(b.k, u.program), b.content(b.k, program{name: "carried", version: "1"})
	for _, server := range []*fileserver.Server{b.Files, b.s.tls} {
		for _, scheme := range []string{"", "basic", "digest"} {
			path := "/" + b.k.adapter + "/carried-" + scheme + b.k.suffix
			f, op := file(there), install(server.URL+path, b.env(b.k.env))
			if scheme != "" {
				f.Auth = fileserver.Auth{Username: "user", Password: "a word", Schemes: []string{scheme}}
				op.Username, op.Password = "user", "a word"
			}
			if server == b.s.tls && scheme == "digest" {
				f.Content = carried
				server.Set(path, f)
				b.done(uninstall(b.done(op).UUID))
				continue
			}
			server.Set(path, f)
			b.refused(9026, op)
		}
	}
}

func references(b *bench) {
	u := b.install(program{name: "named", version: "1"}, b.k.env)
	r := client.ReportResult{DeploymentUnitRef: u.du, ExecutionUnitRefList: u.eu, Version: b.version("1"), CurrentState: "Installed"}
	for _, kind := range []string{"Install", "Update"} {
		if kind == "Update" {
			r = b.done(client.Operation{Kind: kind, UUID: u.uuid, URL: b.serve(program{name: "named", version: "2"})})
		}
		for _, ref := range []string{r.DeploymentUnitRef, r.ExecutionUnitRefList} {
			if !strings.HasPrefix(ref, modules) || !strings.HasSuffix(ref, ".") {
				b.t.Errorf("a reference of %s is %q", kind, ref)
			}
		}
		v := b.values(r.DeploymentUnitRef, r.ExecutionUnitRefList)
		equal(b.t, "the version", v[r.DeploymentUnitRef+"Version"], r.Version)
		equal(b.t, "the list of execution units", v[r.DeploymentUnitRef+"ExecutionUnitList"]+".", r.ExecutionUnitRefList)
		equal(b.t, "the state", fmt.Sprint(v[r.DeploymentUnitRef+"Status"], r.CurrentState), "InstalledInstalled")
	}
	gone := b.done(uninstall(u.uuid))
	equal(b.t, "the references of an Uninstall", fmt.Sprint(gone.DeploymentUnitRef, gone.ExecutionUnitRefList, gone.CurrentState, gone.Resolved),
		fmt.Sprint(r.DeploymentUnitRef, r.ExecutionUnitRefList, "Uninstalled", true))
}

func times(b *bench) {
	results := b.change(install(b.serve(program{name: "timed", version: "1"}), b.env(b.k.env)), uninstall(unknown), install(b.Files.URL+"/nothing", b.env(b.k.env)))
	for _, r := range results {
		start, err := time.Parse(time.RFC3339, r.StartTime)
		complete, err2 := time.Parse(time.RFC3339, r.CompleteTime)
		if err != nil || err2 != nil || start.After(complete) || !strings.HasSuffix(r.StartTime, "Z") || !strings.HasSuffix(r.CompleteTime, "Z") {
			b.t.Errorf("from %s to %s", r.StartTime, r.CompleteTime)
		}
	}
	b.done(uninstall(results[0].UUID))
}

func updateBy(b *bench) {
	path := "/" + b.k.adapter + "/moving" + b.k.suffix
	url := b.serveAt(path, program{name: "moving", version: "1"})
	first := b.done(install(url, b.env(b.k.env)))
	other := ""
	for i, op := range []client.Operation{{UUID: first.UUID}, {URL: url}, {UUID: first.UUID, URL: "other"}, {}} {
		p := program{name: "moving", version: fmt.Sprint(i + 2)}
		b.serveAt(path, p)
		if op.URL == "other" {
			other = b.serve(p)
			op.URL = other
		}
		if op == (client.Operation{}) {
			b.serveAt(strings.TrimPrefix(other, b.Files.URL), p)
		}
		op.Kind = "Update"
		results := b.change(op)
		i := slices.IndexFunc(results, func(r client.ReportResult) bool { return r.DeploymentUnitRef == first.DeploymentUnitRef })
		if op.UUID == "" && op.URL == "" { // everything there is
			equal(b.t, "results of an update of all", fmt.Sprint(len(results)), b.value(modules+"DeploymentUnitNumberOfEntries"))
		} else {
			equal(b.t, "results of one update", len(results), 1)
		}
		if i < 0 || results[i].FaultCode != 0 || results[i].Version != b.version(p.version) {
			b.t.Fatalf("an update to version %s has the results %s", p.version, support.Show(results))
		}
		want := url
		if other != "" {
			want = other
		}
		equal(b.t, "the unit", support.Show(b.values(first.DeploymentUnitRef+"URL", first.DeploymentUnitRef+"Version")),
			support.Show(map[string]string{first.DeploymentUnitRef + "URL": want, first.DeploymentUnitRef + "Version": b.version(p.version)}))
	}
	b.done(uninstall(first.UUID))
}

func updateBoth(b *bench) {
	b.on()
	units := []unit{b.install(program{name: "twice", version: "1"}, b.k.env), b.install(program{name: "twice", version: "1"}, b.k.spare)}
	update := client.Operation{Kind: "Update", UUID: units[0].uuid, URL: b.serve(program{name: "twice", version: "2"})}
	results := b.change(update)
	equal(b.t, "results of an update in two environments", len(results), 2)
	for _, r := range results {
		if r.FaultCode != 0 || r.Version != b.version("2") || r.CurrentState != "Installed" {
			b.t.Errorf("a result is %s", support.Show(r))
		}
	}
	for _, u := range units {
		equal(b.t, "the version", b.value(u.du+"Version"), b.version("2"))
	}
	b.enable(b.k.spare, false)
	before := support.Show(b.rows())
	update.URL = b.serve(program{name: "twice", version: "3"})
	results = b.change(update)
	if len(results) != 2 || results[0].FaultCode != 9024 || results[0].FaultCode != results[1].FaultCode || results[0].FaultString != results[1].FaultString {
		b.t.Errorf("an update with one environment disabled has the results %s", support.Show(results))
	}
	equal(b.t, "the rows after it", support.Show(b.rows()), before)
	b.on()
	equal(b.t, "results of an uninstall in two environments", len(b.change(uninstall(units[0].uuid))), 2)
	b.updateApart()
}

// updateApart updates a unit that two environments have from different places, without a URL (TR-069 Table 72).
func (b *bench) updateApart() {
	at := func(env string) string { return fmt.Sprintf("/%s/apart/%s%s", b.k.adapter, env, b.k.suffix) }
	envs := []string{b.k.env, b.k.spare}
	uuid := ""
	for _, env := range envs {
		uuid = b.done(install(b.serveAt(at(env), program{name: "apart", version: "1"}), b.env(env))).UUID
		b.serveAt(at(env), program{name: "apart", version: "2"})
	}
	results := b.change(client.Operation{Kind: "Update", UUID: uuid})
	equal(b.t, "results of an update from two places", len(results), 2)
	for i, r := range results {
		row := support.Show(b.values(r.DeploymentUnitRef+"Version", r.DeploymentUnitRef+"URL"))
		want := map[string]string{r.DeploymentUnitRef + "Version": b.version("2"), r.DeploymentUnitRef + "URL": b.Files.URL + at(envs[i])}
		equal(b.t, "a unit after it", row, support.Show(want))
		equal(b.t, "requests for its packages", b.asked(b.Files.URL+at(envs[i])), 2)
		if r.FaultCode != 0 {
			b.t.Errorf("a result is %s", support.Show(r))
		}
	}
	equal(b.t, "results of its uninstall", len(b.change(uninstall(uuid))), 2)
}

func failedUpdate(b *bench) {
	u := b.unit()
	r := b.refused(9016, client.Operation{Kind: "Update", UUID: u.uuid, URL: b.Files.URL + "/nothing"})
	equal(b.t, "the result", fmt.Sprint(r.DeploymentUnitRef, r.Version, r.UUID), fmt.Sprint(u.du, u.version, u.uuid))
}

func failedUninstall(b *bench) {
	u := b.off()
	r := b.refused(9024, client.Operation{Kind: "Uninstall", UUID: u.uuid, ExecutionEnvRef: b.env(b.k.spare)})
	equal(b.t, "the result", fmt.Sprint(r.DeploymentUnitRef, r.Version, r.UUID, r.ExecutionUnitRefList), fmt.Sprint(u.du, u.version, u.uuid, u.eu))
}

func failedInstall(b *bench) {
	r := b.refused(9016, install(b.Files.URL+"/nothing", b.env(b.k.env)))
	equal(b.t, "the references", r.DeploymentUnitRef+r.ExecutionUnitRefList, "")
	b.entries("after a failed install")
}

func uninstallAll(b *bench) {
	b.on()
	one := b.install(program{name: "many", version: "1", does: beside}, b.k.env)
	b.install(program{name: "many", version: "2", does: beside}, b.k.env)
	b.installAs(one.uuid, program{name: "more", version: "1"}, b.k.spare)
	results := b.change(uninstall(one.uuid))
	var versions []string
	for _, r := range results {
		equal(b.t, "a result", fmt.Sprint(r.FaultCode, r.CurrentState), "0Uninstalled")
		versions = append(versions, r.Version)
	}
	slices.Sort(versions)
	equal(b.t, "the versions", fmt.Sprint(versions), fmt.Sprint([]string{b.version("1"), b.version("1"), b.version("2")}))
	for _, row := range b.rows() {
		if strings.HasSuffix(row, "UUID="+one.uuid) {
			b.t.Errorf("there still is %s", row)
		}
	}
}

func stateOverUpdate(b *bench) {
	for _, state := range []string{"Active", "Idle"} {
		u := b.install(program{name: "state", version: "1"}, b.k.env)
		b.becomes(u.eu+"Status", "Active")
		if state == "Idle" {
			b.set(u.eu+"RequestedState", "Idle")
			b.becomes(u.eu+"Status", "Idle")
		}
		r := b.done(client.Operation{Kind: "Update", UUID: u.uuid, URL: b.serve(program{name: "state", version: "2"})})
		b.becomes(r.ExecutionUnitRefList+"Status", state, r.ExecutionUnitRefList+"ExecutionFaultCode", "NoFault")
		b.done(uninstall(u.uuid))
	}
}

// prepare puts the authority of the file server by https on the disk.
func (s *suite) prepare(disk *os.Root) error {
	return disk.WriteFile(strings.TrimPrefix(caFile, "/"), s.tls.CA, 0o644)
}
