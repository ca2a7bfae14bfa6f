package xml

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/model"
)

func TestEveryNamedInterfaceIsDescribed(t *testing.T) {
	names := []string{Agent, ExecEnv, DeploymentUnit, ExecutionUnit, Job, CWMP, USP, Peer, Introspectable, Properties, ObjectManager}
	for _, n := range names {
		if Lookup(n) == nil {
			t.Errorf("no description of %s", n)
		}
	}
	for n := range all {
		if !slices.Contains(names, n) {
			t.Errorf("%s is described and has no name", n)
		}
	}
}

func TestSignatures(t *testing.T) {
	m := Lookup(CWMP).Method("SetParameterValues")
	if m == nil || m.In() != "a(sss)a{sv}" || m.Out() != "i" {
		t.Errorf("SetParameterValues is %+v", m)
	}
	if p := Lookup(ExecutionUnit).Property("RunLevel"); p == nil || !p.Writable() || p.Type != "u" {
		t.Errorf("RunLevel is %+v", p)
	}
	if Lookup(Job).Method("Run") != nil || Lookup(Job).Property("Run") != nil || Lookup("org.smmd.USP2") != nil {
		t.Error("something is described that is not offered")
	}
}

func TestMethodsThatChangeEndWithOptions(t *testing.T) {
	closed := []string{"RecordBaseline", "Adapters", "GetParameterNames", "GetParameterValues", "AddObject", "DeleteObject",
		"Get", "Set", "Add", "Delete", "GetInstances", "Notifications", "AcknowledgeNotifications", "Requests",
		"PendingReports", "AcknowledgeReport", "GetParameterAttributes", "SetParameterAttributes", "PendingValueChanges", "AcknowledgeValueChanges",
	}
	for name, i := range all {
		if !strings.HasPrefix(name, "org.smmd.") {
			continue
		}
		for _, m := range i.Methods {
			if !strings.HasSuffix(m.In(), "a{sv}") && !slices.Contains(closed, m.Name) {
				t.Errorf("%s.%s cannot grow", name, m.Name)
			}
		}
	}
}

func TestPath(t *testing.T) {
	for _, k := range Kinds {
		for _, n := range []uint32{1, 10, math.MaxUint32} {
			want := model.Ref{Kind: k, Instance: n}
			if got, ok := ParsePath(Path(want)); !ok || got != want {
				t.Errorf("%s is read as %v, %v", Path(want), got, ok)
			}
		}
	}
	for _, p := range []string{
		"", "/", Root, Root + "/", Root + "/Job", Root + "/Job/", Root + "/Job/0", Root + "/Job/01", Root + "/Job/-1", Root + "/Job/+1",
		Root + "/Job/1/x", Root + "/Job/99999999999999", Root + "/Job/4294967296", Root + "/Job/x", Root + "/job/1", Root + "/Other/1",
		"/org/smmd/Agent2/Job/1", "Job/1", Root + "x/Job/1",
	} {
		if r, ok := ParsePath(p); ok {
			t.Errorf("%q is read as %v", p, r)
		}
	}
	if Path(model.Ref{}) != NoObject {
		t.Errorf("the zero Ref is %s", Path(model.Ref{}))
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{Root, Root + "/Job/1", Root + "/ExecEnv/4294967295", "/", "", Root + "/Job/01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, ok := ParsePath(s); ok && Path(r) != s {
			t.Errorf("%q is read as %v, whose path is %s", s, r, Path(r))
		}
	})
}
