package conformance

import (
	"fmt"
	"slices"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// autonomousChecks are about changes that ChangeDUState has not asked for.
var autonomousChecks = []check{
	{id: "A-01", what: "event 12 only when the policy enables it, with OperationPerformed", apart: rules, f: func(b *bench) {
		b.policy("Enable", "false")
		silent := b.uspFails("A-01")
		b.policy("Enable", "true", "OperationTypeFilter", "Install,Update,Uninstall", "ResultTypeFilter", "Both", "FaultCodeFilter", "9016")
		told := b.uspFails("A-01b")
		equal(b.t, "the results", fmt.Sprint(b.performed(told)), "[Install9016]")
		equal(b.t, "those of before", fmt.Sprint(b.performed(silent)), "[]")
	}},
	{id: "A-02", what: "OperationTypeFilter, ResultTypeFilter, FaultCodeFilter", apart: rules, f: filters},
	{id: "A-03", what: "results of ChangeDUState are not autonomous", apart: rules, f: func(b *bench) {
		b.policy("Enable", "true", "OperationTypeFilter", "Install,Update,Uninstall", "ResultTypeFilter", "Both", "FaultCodeFilter", "9016")
		asked := "00000000-0000-5000-b000-0000000000a3"
		op := install(b.Files.URL+"/nothing", b.env(b.k.env))
		op.UUID = asked
		b.refused(9016, op)
		b.performed(b.uspFails("A-03")) // which is later
		equal(b.t, "autonomous results of a ChangeDUState", len(b.autonomous(asked)), 0)
	}},
	{id: "A-04", what: "an autonomous report waits over a reboot", apart: rules, before: func(b *bench) {
		b.policy("Enable", "true", "OperationTypeFilter", "Install", "ResultTypeFilter", "Both", "FaultCodeFilter", "9016")
		uuid := b.uspFails("A-04")
		b.performed(uuid)
		b.keep("A-04", support.Show(b.autonomous(uuid)))
	}, when: afterReboot, f: func(b *bench) {
		before := kept[string](b, "A-04")
		equal(b.t, "the results", support.Show(b.autonomous(b.named("A-04"))), before)
		equal(b.t, "the policy that A-05 has left", support.Show(b.values(policy)), support.Show(map[string]string{
			policy + "Enable": "true", policy + "OperationTypeFilter": "Install,Update,Uninstall", policy + "ResultTypeFilter": "Both", policy + "FaultCodeFilter": "",
		}))
	}},
	{id: "A-05", what: "a change by USP is autonomous for CWMP", apart: rules, f: func(b *bench) {
		b.policy("Enable", "true", "OperationTypeFilter", "Install,Update,Uninstall", "ResultTypeFilter", "Both", "FaultCodeFilter", "")
		url := b.serve(program{name: "by-usp", version: "1"})
		_, done := b.ended(b.begin(modules+"InstallDU()", "A-05", map[string]string{"URL": url, "ExecutionEnvRef": b.env(b.k.env)}))
		equal(b.t, "the code", done.Code, 0)
		row := b.autonomous(done.Outputs["UUID"])
		if len(row) != 1 {
			b.t.Fatalf("the results are %s", support.Show(row))
		}
		b.ended(b.begin(row[0].DeploymentUnitRef+"Uninstall()", "A-05", nil))
		equal(b.t, "the results", fmt.Sprint(b.performed(done.Outputs["UUID"])), "[Install0 Uninstall0]")
	}},
}

// policy sets parameters of the policy.
func (b *bench) policy(pairs ...string) {
	b.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		pairs[i] = policy + pairs[i]
	}
	b.set(pairs...)
}

// named is a UUID of its own for a check.
func (b *bench) named(id string) string {
	kind := slices.Index(kinds, b.k)
	return fmt.Sprintf("%08x-0000-5000-b000-%012x", kind, id)[:36]
}

// uspFails has a unit installed by USP that is not there, 9016, and returns its UUID.
func (b *bench) uspFails(id string) (uuid string) {
	b.t.Helper()
	uuid = b.named(id)
	_, done := b.ended(b.begin(modules+"InstallDU()", id, map[string]string{"URL": b.Files.URL + "/nothing", "UUID": uuid, "ExecutionEnvRef": b.env(b.k.env)}))
	if done.Code == 0 {
		b.t.Fatal("it has succeeded")
	}
	return uuid
}

// autonomous are the results of a unit that wait in autonomous reports. A result is there when OperationComplete is.
func (b *bench) autonomous(uuid string) (all []client.ReportResult) {
	b.t.Helper()
	reports, err := b.Client.PendingReports(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range reports {
		for _, x := range r.Results {
			if r.Kind == client.ReportAutonomous && x.UUID == uuid {
				all = append(all, x)
			}
		}
	}
	return all
}

// performed is what the autonomous results of a unit say.
func (b *bench) performed(uuid string) (all []string) {
	b.t.Helper()
	for _, r := range b.autonomous(uuid) {
		all = append(all, fmt.Sprint(r.OperationPerformed, r.FaultCode))
	}
	return all
}

func filters(b *bench) {
	url := b.serve(program{name: "filtered", version: "1"})
	uuid := b.uuid("filtered")
	all := 0
	for i, x := range []struct {
		operations, results, codes string
		whole                      bool // an install that fails, one that succeeds, an uninstall; else the first alone
		want                       string
	}{
		{"", "Both", "9016", false, "[]"},
		{"Install", "Failure", "9015", false, "[]"},
		{"Install", "Both", "9015,9016", false, "[Install9016]"},
		{"Uninstall", "Both", "9016", true, "[Uninstall0]"},
		{"Install", "Success", "9016", true, "[Install0]"},
		{"Install,Uninstall", "Failure", "9016", true, "[Install9016]"},
		{"Install,Update,Uninstall", "Both", "", true, "[Install0 Uninstall0]"},
	} {
		b.policy("Enable", "true", "OperationTypeFilter", x.operations, "ResultTypeFilter", x.results, "FaultCodeFilter", x.codes)
		key := fmt.Sprint("A-02-", i)
		input := map[string]string{"URL": b.Files.URL + "/nothing", "UUID": uuid, "ExecutionEnvRef": b.env(b.k.env)}
		b.ended(b.begin(modules+"InstallDU()", key, input))
		if x.whole {
			input["URL"] = url
			event, done := b.ended(b.begin(modules+"InstallDU()", key, input))
			if done.Code != 0 {
				b.t.Fatalf("the install has ended with %s", support.Show(done))
			}
			b.ended(b.begin(event.Arguments["DeploymentUnitRef"]+".Uninstall()", key, nil))
		}
		got := b.performed(uuid)
		equal(b.t, fmt.Sprintf("%+v", x), fmt.Sprint(got[all:]), x.want)
		all = len(got)
	}
}
