package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/device"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/support"
)

// The objects of the data model.
const (
	modules = "Device.SoftwareModules."
	policy  = "Device.ManagementServer.DUStateChangeComplPolicy."
)

// A bench is what a check has: the device, by the words of the protocols, and the kind of environment that it is about. Its methods end the check
// when something goes wrong.
type bench struct {
	support.Control
	t   *testing.T
	d   *device.Device
	k   *kind
	s   *suite
	has *state
}

// equal compares a value with the one it should be.
func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, wanted %v", what, got, want)
	}
}

// file is one that is served as it should be.
func file(content []byte) fileserver.File { return fileserver.File{Content: content} }

// request begins operations and returns the number that their report will have.
func (b *bench) request(key string, ops ...client.Operation) uint64 {
	b.t.Helper()
	id, err := b.Client.ChangeDUState(b.t.Context(), ops, key, "")
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

// pending returns the report with a number, if it waits.
func (b *bench) pending(id uint64) (client.Report, bool) {
	b.t.Helper()
	reports, err := b.Client.PendingReports(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	i := slices.IndexFunc(reports, func(r client.Report) bool { return r.ID == id })
	if i < 0 {
		return client.Report{}, false
	}
	return reports[i], true
}

// report waits for a report.
func (b *bench) report(id uint64) (r client.Report) {
	b.t.Helper()
	support.Until(b.t, fmt.Sprintf("report %d waits", id), func() error {
		var ok bool
		if r, ok = b.pending(id); !ok {
			return errors.New("it does not")
		}
		return nil
	})
	return r
}

// acknowledge says that a report was delivered.
func (b *bench) acknowledge(id uint64) {
	b.t.Helper()
	if err := b.Client.AcknowledgeReport(b.t.Context(), id); err != nil {
		b.t.Fatal(err)
	}
}

// change has operations carried out and returns their results.
func (b *bench) change(ops ...client.Operation) []client.ReportResult {
	b.t.Helper()
	r := b.report(b.request("key", ops...))
	b.acknowledge(r.ID)
	if len(r.Results) < len(ops) {
		b.t.Fatalf("%d operations have the results %s", len(ops), support.Show(r.Results))
	}
	return r.Results
}

// one has one operation carried out that has one result.
func (b *bench) one(op client.Operation) client.ReportResult {
	b.t.Helper()
	results := b.change(op)
	if len(results) != 1 {
		b.t.Fatalf("%s has the results %s", op.Kind, support.Show(results))
	}
	return results[0]
}

// done is [bench.one] for an operation that has to succeed.
func (b *bench) done(op client.Operation) client.ReportResult {
	b.t.Helper()
	r := b.one(op)
	if r.FaultCode != 0 {
		b.t.Fatalf("%s of %s%s: %s", op.Kind, op.URL, op.UUID, support.Show(r))
	}
	return r
}

// refused is [bench.one] for an operation that has to fail with a code, and leaves things as they are.
func (b *bench) refused(code uint32, op client.Operation) client.ReportResult {
	b.t.Helper()
	before := support.Show(b.rows())
	r := b.one(op)
	state := "Installed"
	if op.Kind == "Install" {
		state = "Failed"
	}
	if r.FaultCode != code || r.CurrentState != state {
		b.t.Errorf("%s should be %s with %d: %s", op.Kind, state, code, support.Show(r))
	}
	if r.FaultString == "" || len([]rune(r.FaultString)) > 256 {
		b.t.Errorf("the fault %d has the text %q", r.FaultCode, r.FaultString)
	}
	equal(b.t, "the rows after a failed "+op.Kind, support.Show(b.rows()), before)
	return r
}

// A unit is a deployment unit with its one execution unit.
type unit struct {
	program
	du, eu         string // paths, with their dots
	uuid, url, env string
}

// unitOf is what a successful result speaks of.
func (b *bench) unitOf(p program, url, env string, r client.ReportResult) unit {
	b.t.Helper()
	if strings.Contains(r.ExecutionUnitRefList, ",") || r.ExecutionUnitRefList == "" {
		b.t.Fatalf("%s has the execution units %q", p.name, r.ExecutionUnitRefList)
	}
	p.version = r.Version // as the kind writes it
	return unit{program: p, du: r.DeploymentUnitRef, eu: r.ExecutionUnitRefList, uuid: r.UUID, url: url, env: env}
}

// install installs a program in an environment.
func (b *bench) install(p program, env string) unit { b.t.Helper(); return b.installAs("", p, env) }

// installAs installs a program as a unit with a UUID.
func (b *bench) installAs(uuid string, p program, env string) unit {
	b.t.Helper()
	url := b.serve(p)
	return b.unitOf(p, url, env, b.done(client.Operation{Kind: "Install", URL: url, UUID: uuid, ExecutionEnvRef: b.env(env)}))
}

// remove takes a unit away.
func (b *bench) remove(u unit) {
	b.t.Helper()
	b.done(client.Operation{Kind: "Uninstall", UUID: u.uuid, Version: u.version, ExecutionEnvRef: b.env(u.env)})
}

// env is the path of an environment, with its dot.
func (b *bench) env(name string) string {
	b.t.Helper()
	path, ok := b.s.env[name]
	if !ok {
		b.t.Fatalf("there is no environment %s", name)
	}
	return path
}

// values reads parameters below paths.
func (b *bench) values(paths ...string) map[string]string {
	b.t.Helper()
	parameters, err := b.Client.GetParameterValues(b.t.Context(), paths...)
	if err != nil {
		b.t.Fatal(err)
	}
	all := make(map[string]string, len(parameters))
	for _, p := range parameters {
		all[p.Path] = p.Value
	}
	return all
}

// value reads one parameter.
func (b *bench) value(path string) string {
	b.t.Helper()
	return b.values(path)[path]
}

// settings are names and values that are to be set, by turns.
func settings(pairs ...string) (all []client.Parameter) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, client.Parameter{Path: pairs[i], Value: pairs[i+1]})
	}
	return all
}

// set sets parameters.
func (b *bench) set(pairs ...string) {
	b.t.Helper()
	if _, err := b.Client.SetParameterValues(b.t.Context(), settings(pairs...)...); err != nil {
		b.t.Fatal(err)
	}
}

// setRefused sets parameters that cannot be set, and wants 9003 with the faults of parameters.
func (b *bench) setRefused(want map[string]uint32, pairs ...string) {
	b.t.Helper()
	_, err := b.Client.SetParameterValues(b.t.Context(), settings(pairs...)...)
	var e *client.Error
	if !errors.As(err, &e) {
		b.t.Errorf("setting %q: %v", pairs, err)
		return
	}
	got := map[string]uint32{}
	for _, f := range e.Parameters() {
		got[f.Path] = f.CWMP
	}
	if e.CWMP != 9003 || fmt.Sprint(got) != fmt.Sprint(want) {
		b.t.Errorf("setting %q: %d with %v, wanted 9003 with %v", pairs, e.CWMP, got, want)
	}
}

// becomes waits until parameters have values; names and values by turns.
func (b *bench) becomes(pairs ...string) {
	b.t.Helper()
	support.Until(b.t, fmt.Sprint(pairs), func() error {
		for i := 0; i < len(pairs); i += 2 {
			values, err := b.Client.GetParameterValues(b.t.Context(), pairs[i])
			if err != nil {
				return err
			}
			if values[0].Value != pairs[i+1] {
				return fmt.Errorf("%s is %q", pairs[i], values[0].Value)
			}
		}
		return nil
	})
}

// rows are the units in the environments of the kind, without what changes by itself.
func (b *bench) rows() (rows []string) {
	b.t.Helper()
	all := b.values(modules+"DeploymentUnit.", modules+"ExecutionUnit.")
	mine := map[string]bool{}
	for path, value := range all {
		if row, ok := strings.CutSuffix(path, "ExecutionEnvRef"); ok && (value+"." == b.s.env[b.k.env] || value+"." == b.s.env[b.k.spare]) {
			mine[row] = true
		}
	}
	volatile := []string{"DiskSpaceInUse", "MemoryInUse", "CPUPercentInUse", "AssociatedProcessList"}
	for path, value := range all {
		dot := strings.LastIndexByte(path, '.') + 1
		if mine[path[:dot]] && !slices.Contains(volatile, path[dot:]) {
			rows = append(rows, path+"="+value)
		}
	}
	slices.Sort(rows)
	return rows
}

// standing is the name of the unit that is always there.
const standing = "standing"

// unit is one that every check may use that leaves it as it found it: active, in the kind's first environment.
func (b *bench) unit() unit { return b.stands(standing, b.k.env) }

// aside is one in the kind's other environment.
func (b *bench) aside() unit { b.t.Helper(); return b.stands("aside", b.k.spare) }

// stands makes a unit be there as it should be, whatever a check that has failed has left of it.
func (b *bench) stands(name, env string) unit {
	b.t.Helper()
	u, ok := b.has.units[name+env]
	p := program{name: name, version: "1.0.0"}
	if ok {
		v, err := b.Client.GetParameterValues(b.t.Context(), u.du+"Version", u.du+"Status", u.eu+"AutoStart", u.eu+"RunLevel")
		if ok = err == nil && v[0].Value == p.version && v[1].Value == "Installed" && v[3].Value == "1"; ok && v[2].Value == "false" {
			b.set(u.eu+"AutoStart", "true")
		}
	}
	if !ok {
		if u.uuid != "" {
			b.change(client.Operation{Kind: "Uninstall", UUID: u.uuid, ExecutionEnvRef: b.env(env)}) // if there is anything left
		}
		u = b.install(p, env)
		b.has.units[name+env] = u
	}
	if b.value(u.eu+"Status") == "Idle" {
		b.set(u.eu+"RequestedState", "Active")
	}
	b.becomes(u.eu+"Status", "Active", u.eu+"ExecutionFaultCode", "NoFault")
	return u
}

// enable switches an environment on or off, if it is not already.
func (b *bench) enable(env string, on bool) {
	b.t.Helper()
	path, status := b.env(env), "Disabled"
	if on {
		status = "Up"
	}
	if b.value(path+"Enable") != fmt.Sprint(on) {
		b.set(path+"Enable", fmt.Sprint(on))
	}
	b.becomes(path+"Status", status)
	if on {
		b.becomes(path+"CurrentRunLevel", b.value(path+"InitialRunLevel"))
	}
}

// off has the spare environment disabled, and returns a unit in it.
func (b *bench) off() unit {
	b.t.Helper()
	u, ok := b.has.units["aside"+b.k.spare]
	if !ok || b.value(b.env(b.k.spare)+"Enable") == "true" {
		b.on()
		u = b.aside()
	}
	b.enable(b.k.spare, false)
	return u
}

// on has the spare environment enabled.
func (b *bench) on() { b.t.Helper(); b.enable(b.k.spare, true) }
