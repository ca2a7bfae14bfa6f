package smmctl

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/smmd-project/smmd/agent/model"
)

func kib(n int64) *int64 { return &n }

func percent(n int) *int { return &n }

func TestVariablesAndLimits(t *testing.T) {
	s := newShell(t)
	s.ok("install", "http://files/app.jar", "--variable", "MODE=a=b, c", "--variable", "EMPTY=", "--memory-limit", "64MiB", "--cpu-limit", "25%", "--disk-limit", "none")
	s.ok("update", "app", "--variable", "MODE=2", "--memory-limit", "none", "--disk-limit", "1TiB")
	s.ok("update", "app")
	s.ok("update", "app", "--no-variables")
	want := []any{
		model.InstallRequest{
			URL: "http://files/app.jar", Variables: []model.VariableRequest{{Key: "EMPTY"}, {Key: "MODE", Value: "a=b, c"}},
			Limits: model.LimitsRequest{Memory: kib(65536), CPU: percent(25), Disk: kib(0)},
		},
		model.UpdateRequest{DU: 1, Variables: []model.VariableRequest{{Key: "MODE", Value: "2"}}, Limits: model.LimitsRequest{Memory: kib(0), Disk: kib(1 << 30)}},
		model.UpdateRequest{DU: 1},
		model.UpdateRequest{DU: 1, Variables: []model.VariableRequest{}},
	}
	if diff := cmp.Diff(want, s.agent.Asked(), cmpopts.IgnoreTypes(model.Origin{})); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestVariablesAndLimitsAreShown(t *testing.T) {
	s := newShell(t)
	s.ok("install", "http://files/app.jar", "--variable", "B=2", "--variable", "A=1", "--memory-limit", "64MiB")
	eu := s.object("tree")["execution_units"].([]any)[0].(map[string]any)
	if !cmp.Equal(eu["variables"], map[string]any{"A": "1", "B": "2"}) || eu["allocated_memory_kib"] != 65536.0 || eu["allocated_disk_kib"] != -1.0 || eu["allocated_cpu_percent"] != -1.0 {
		t.Errorf("the execution unit is %v", eu)
	}
	equal(t, "get", s.ok("get", "-q", "Device.SoftwareModules.ExecutionUnit.2.EnvVariable.2.Key", "Device.SoftwareModules.ExecutionUnit.*.AllocatedMemory"), "B\n65536\n")
	s.ok("update", "app", "--variable", "B=3", "--variable", "C=4")
	equal(t, "get", s.ok("get", "Device.SoftwareModules.ExecutionUnit.2.EnvVariable.*.Key"), strings.Join([]string{
		"Device.SoftwareModules.ExecutionUnit.2.EnvVariable.2.Key B", "Device.SoftwareModules.ExecutionUnit.2.EnvVariable.3.Key C", "",
	}, "\n"))
}

func TestConstrain(t *testing.T) {
	s := newShell(t)
	equal(t, "constrain", s.ok("ee", "constrain", "osgi", "--memory-limit", "2MiB", "--cpu-limit", "50"), "Constrained osgi (2MiB of memory, 50% of the processors): Up, run level 1\n")
	s.fails(statusFailed, "smmctl: cannot constrain osgi to 999 KiB of memory: it uses 1000 (LimitInUse, CWMP 9001, USP ", "ee", "constrain", "osgi", "--memory-limit", "999KiB")
	v := s.object("ee", "constrain", "osgi", "--memory-limit", "999KiB", "--force")
	if e := v["exec_env"].(map[string]any); e["allocated_memory_kib"] != 999.0 || e["allocated_cpu_percent"] != 50.0 || v["job"].(map[string]any)["operation"] != "constrain" {
		t.Errorf("constrain --json: %v", v)
	}
	equal(t, "constrain", s.ok("ee", "constrain", "osgi", "--memory-limit", "none"), "Constrained osgi (no limit of memory): Up, run level 1\n")
	if got := s.ok("ee", "constrain", "lxc", "--disk-limit", "1536KiB", "--no-wait"); got != "job 5\n" {
		t.Errorf("--no-wait: %q", got)
	}
	for want, args := range map[string][]string{
		"at least one of the flags in the group":                                                   {"osgi"},
		`cannot take "64" for --memory-limit: give a size of 1KiB or more, such as 64MiB, or none`: {"osgi", "--memory-limit", "64"},
		`cannot take "0MiB"`:  {"osgi", "--disk-limit", "0MiB"},
		`cannot take "2TiB"`:  {"osgi", "--disk-limit", "2TiB"}, // 2^31 KiB
		`cannot take "101" `:  {"osgi", "--cpu-limit", "101"},
		`cannot take "0" `:    {"osgi", "--cpu-limit", "0"},
		`cannot take "" `:     {"osgi", "--cpu-limit", ""},
		`cannot take "-1MiB"`: {"osgi", "--memory-limit=-1MiB"},
	} {
		s.fails(statusUsage, want, append([]string{"ee", "constrain"}, args...)...)
	}
	for want, args := range map[string][]string{
		`cannot take "MODE" for --variable: give KEY=VALUE`:     {"install", "http://files/app.jar", "--variable", "MODE"},
		`cannot take "=1" for --variable`:                       {"install", "http://files/app.jar", "--variable", "=1"},
		`cannot take --variable A twice`:                        {"update", "app", "--variable", "A=1", "--variable", "A=2"},
		"if any flags in the group [variable no-variables] are": {"update", "app", "--variable", "A=1", "--no-variables"},
	} {
		s.fails(statusUsage, want, args...)
	}
}
