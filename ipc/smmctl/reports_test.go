package smmctl

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/client"
)

func TestReports(t *testing.T) {
	s := newShell(t)
	const head = "REPORT  KIND  COMMAND KEY  OPERATION  STATE  UUID  VERSION  FAULT\n"
	equal(t, "no reports", s.ok("reports"), head)
	equal(t, "no reports --json", s.ok("reports", "--json"), "[]\n")
	s.agent.Report(&model.Report{ID: 3, Kind: model.ReportRequested, CommandKey: "key\x1b[2J", Results: []model.Result{
		{Performed: model.PerformedInstall, UUID: uuid1, DU: 1, Version: "1.0.0", State: model.ResultInstalled, Resolved: true},
		{Performed: model.PerformedInstall, State: model.ResultFailed, Fault: fault.TransferFileUnavailable, Message: "cannot fetch it"},
	}})
	s.agent.Report(&model.Report{ID: 12, Kind: model.ReportAutonomous, Results: []model.Result{
		{Performed: model.PerformedUninstall, UUID: uuid1, Version: "1.0.0", State: model.ResultUninstalled, Resolved: true},
	}})
	want := "REPORT  KIND        COMMAND KEY  OPERATION  STATE        UUID                                  VERSION  FAULT\n" +
		"3       requested   key\\x1b[2J              Installed    " + uuid1 + "  1.0.0\n" +
		"                                            Failed                                                      cannot fetch it (CWMP 9016)\n" +
		"12      autonomous               Uninstall  Uninstalled  " + uuid1 + "  1.0.0\n"
	equal(t, "reports", s.ok("reports"), want)
	var reports []client.Report
	if err := json.Unmarshal([]byte(s.ok("reports", "--json")), &reports); err != nil || len(reports) != 2 || reports[0].ID != 3 || reports[0].Results[1].FaultCode != 9016 ||
		reports[1].Results[0].OperationPerformed != "Uninstall" {
		t.Errorf("reports --json: %+v, %v", reports, err)
	}
	equal(t, "ack", s.ok("reports", "ack", "3"), "Removed report 3\n")
	if v := s.object("reports", "ack", "12"); len(v) != 1 || v["report"] != 12.0 {
		t.Errorf("reports ack --json: %v", v)
	}
	equal(t, "reports after that", s.ok("reports"), head)
}

func TestPathSyntaxes(t *testing.T) {
	for path, want := range map[string]struct{ usp, alias bool }{
		"":                                  {},
		"Device.":                           {},
		"Device.A.1.B":                      {},
		"Device.A.[x].B":                    {alias: true},
		"Device.A.[x.y*].B":                 {alias: true},
		"Device.A.*.B":                      {usp: true},
		`Device.A.[Name=="a.b]c"].B`:        {usp: true},
		"Device.A.[Level>=3&&On!=true].B":   {usp: true},
		"Device.A.1.Ref+.Name":              {usp: true},
		"Device.A.1.Refs#2+.Name":           {usp: true},
		`Device.A.[Ref+.Name=="x"].[y].B`:   {usp: true, alias: true},
		"Device.ManagementServer.X.Enable":  {},
		"Device.SoftwareModules.InstallDU(": {},
	} {
		if got := isUSP(path); got != want.usp {
			t.Errorf("isUSP(%q) = %t", path, got)
		}
		if got := hasAlias(path); got != want.alias {
			t.Errorf("hasAlias(%q) = %t", path, got)
		}
	}
	for arg, want := range map[string][2]string{
		"A.B=c=d":                        {"A.B", "c=d"},
		`A.[Name=="x]=y"].B==`:           {`A.[Name=="x]=y"].B`, "="},
		"A.[x].B=":                       {"A.[x].B", ""},
		`A.[a=="1"&&b=="2"].C=[Name=="z`: {`A.[a=="1"&&b=="2"].C`, `[Name=="z`},
	} {
		if path, value, ok := cutAssignment(arg); !ok || path != want[0] || value != want[1] {
			t.Errorf("%q is %q and %q, %t", arg, path, value, ok)
		}
	}
	for _, arg := range []string{"", "A.B", `A.[Name=="x"].B`, `A.[Name=="x`} {
		if _, _, ok := cutAssignment(arg); ok {
			t.Errorf("%q is an assignment", arg)
		}
	}
}

func TestUSPPaths(t *testing.T) {
	s := newShell(t)
	const sm = "Device.SoftwareModules."
	equal(t, "a wildcard", s.ok("get", sm+"ExecEnv.*.Status"), sm+"ExecEnv.1.Status Up\n"+sm+"ExecEnv.2.Status Disabled\n")
	equal(t, "a search", s.ok("get", "-q", sm+`ExecEnv.[Alias=="cpe-lxc"].Status`), "Disabled\n")
	equal(t, "a search for nothing", s.ok("get", sm+`ExecEnv.[Status=="x"].Name`), "")
	equal(t, "a search for nothing, as JSON", s.ok("get", "--json", sm+`ExecEnv.[Status=="x"].Name`), "[]\n")
	equal(t, "both syntaxes", s.ok("get", "-q", sm+"ExecEnv.[cpe-lxc].Status", sm+"ExecEnv.*.Status"), "Disabled\nUp\nDisabled\n")
	equal(t, "what only USP has", s.ok("get", "-q", sm+"ExecEnv.1.RestartCount", sm+"ExecEnv.1.Status"), "0\nUp\n")
	equal(t, "what only CWMP has", s.ok("get", "-q", sm+"ExecEnv.1.RequestedRunLevel"), "-1\n")
	equal(t, "set", s.ok("set", sm+`ExecEnv.[Alias=="cpe-osgi"].InitialRunLevel=7`, sm+"ExecEnv.2.InitialRunLevel=8"), "")
	equal(t, "get", s.ok("get", "-q", sm+"ExecEnv.*.InitialRunLevel"), "7\n8\n")
	if v := s.object("set", sm+"ExecEnv.*.InitialRunLevel=9"); len(v["parameters"].([]any)) != 1 {
		t.Errorf("set --json: %v", v)
	}
	before := len(s.agent.Asked())
	_, stderr, status := s.run(t.Context(), "set", sm+"ExecEnv.*.InitialRunLevel=70000")
	if status != statusFailed || strings.Count(stderr, "USP 70") < 2 || len(s.agent.Asked()) != before {
		t.Errorf("a value that is out of range: status %d, %q", status, stderr)
	}
	s.fails(statusFailed, "(USP 7026)", "get", sm+`ExecEnv.[Alias=="x"].Status`)
	s.fails(statusFailed, "CWMP 9005, USP 70", "get", sm+"ExecEnv.1.Nothing")
	s.fails(statusFailed, "CWMP 9005, USP 70", "get", sm+"ExecEnv.[x].Status")
}
