package dbus

import (
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/cwmp"
)

// accepting is an agent of two environments that accepts whatever it is asked to change.
type accepting struct{ got []model.ChangeRequest }

func (a *accepting) Snapshot() *model.Snapshot { return twoEnvs() }

func (a *accepting) Set(context.Context, []model.Assignment, model.Origin) ([]uint32, error) {
	return nil, nil
}

func (a *accepting) ChangeDUState(_ context.Context, r model.ChangeRequest) (uint64, error) {
	a.got = append(a.got, r)
	return 1, nil
}

func (a *accepting) AcknowledgeReport(context.Context, uint64) error { return nil }

func (a *accepting) SetAttributes(context.Context, map[string]int) error { return nil }

// FuzzChangeDUState gives an operation of any kind with any field and text: it is refused with an error that fits the wire, or reaches the
// agent with what the structures of TR-069 allow.
func FuzzChangeDUState(f *testing.F) {
	f.Add("Install", "URL", "https://x/a.jar", "ExecutionEnvRef", ".SoftwareModules.ExecEnv.22.", "key", byte(0))
	f.Add("Update", "UUID", "fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6", "Version", "1.0", "", byte(0))
	f.Add("Uninstall", "UUID", "", "ExecutionEnvRef", "Device.SoftwareModules.ExecEnv.[cpe-osgi]", strings.Repeat("é", 33), byte(0))
	f.Add("Install", "URL", "http://me:secret@x/", "Password", "\xff\x00", "", byte(1))
	f.Add("install", "URL\x00", "x", "URL", "", "", byte(2))
	f.Add("Install", "URL", "https://x/a.\xff\x00r", "ExecutionEnvRef", "eSoftwareModules.ExecEnv.22.", "x", byte(0))
	f.Add("Update", "ExecutionEnvRef", "Device..", "URL", strings.Repeat("x", maxText+1), "\xff", byte(0))
	f.Fuzz(func(t *testing.T, kind, name1, value1, name2, value2, key string, as byte) {
		first := []any{value1, true, uint32(7), dbus.MakeVariant(value1), []string{value1}}[as%5]
		fields := map[string]dbus.Variant{name1: dbus.MakeVariant(first), name2: dbus.MakeVariant(value2)}
		operations, err := readOperations([]operation{{kind, fields}})
		if err != nil {
			e, ok := err.(*dbus.Error)
			if !ok || e.Name != "org.freedesktop.DBus.Error.InvalidArgs" {
				t.Fatalf("the error is %T %v", err, err)
			}
			if m := e.Error(); !utf8.ValidString(m) || strings.Contains(m, "\x00") || len(m) > maxMessage+3 {
				t.Errorf("the message is %q", m)
			}
			return
		}
		a := &accepting{}
		id, err := cwmp.New(a, "").ChangeDUState(t.Context(), operations, key, "", model.Origin{})
		if err != nil {
			if utf8.RuneCountInString(key) <= cwmp.MaxCommandKey || len(a.got) != 0 {
				t.Errorf("%v with %d requests", err, len(a.got))
			}
			return
		}
		if id != 1 || len(a.got) != 1 || len(a.got[0].Operations) != 1 {
			t.Fatalf("%d, %+v", id, a.got)
		}
		u := a.got[0].Operations[0]
		if u.Performed != model.Performed(kind) || u.Performed == model.PerformedUpdate && u.ExecEnv != "" || u.Performed == model.PerformedInstall && u.Version != "" ||
			u.Performed == model.PerformedUninstall && u.URL+u.Username+u.Password != "" {
			t.Errorf("%+v", u)
		}
		if u.ExecEnv != "" && u.ExecEnv != "osgi" && u.ExecEnv != "lxc" {
			t.Errorf("the environment is %q", u.ExecEnv)
		}
		if u.Refused == nil && (u.Performed == model.PerformedInstall && u.URL == "" || u.Performed == model.PerformedUninstall && len(u.UUID) != 36) {
			t.Errorf("%+v is accepted", u)
		}
	})
}

// TestPendingChangesOfRowsThatWent: they take no room.
func TestPendingChangesOfRowsThatWent(t *testing.T) {
	unit := func(s model.EUStatus) *model.Snapshot {
		return model.NewSnapshot([]*model.ExecEnv{{ID: "osgi", Instance: 1, Synced: true}}, nil, []*model.ExecutionUnit{{ID: 2, Env: "osgi", Status: s}}, nil)
	}
	a := &accepting{}
	v := newValueChanges(cwmp.New(a, ""), nil)
	v.commit(model.Commit{Snapshot: unit(model.EUIdle)})
	v.commit(model.Commit{Snapshot: unit(model.EUActive), Lost: true})
	if len(v.pending) != 1 {
		t.Fatalf("pending are %v", v.pending)
	}
	v.commit(model.Commit{Snapshot: model.NewSnapshot([]*model.ExecEnv{{ID: "osgi", Instance: 1, Synced: true}}, nil, nil, nil)})
	if len(v.pending) != 0 {
		t.Errorf("pending are %v", v.pending)
	}
}

// snapshots is an agent whose state the test moves.
type snapshots struct {
	Agent
	now *model.Snapshot
}

func (s *snapshots) Snapshot() *model.Snapshot { return s.now }

// TestAWriteThatIsRefused: what somebody else has changed meanwhile is told, whether the commit is seen before or after the refusal.
func TestAWriteThatIsRefused(t *testing.T) {
	const path = "Device.SoftwareModules.ExecEnv.1.Alias"
	state := func(seq uint64, alias string) *model.Snapshot {
		s := model.NewSnapshot([]*model.ExecEnv{{ID: "osgi", Instance: 1, Alias: alias, Synced: true}}, nil, nil, nil)
		s.Seq, s.Attributes = seq, map[string]int{path: 2}
		return s
	}
	for _, early := range []bool{true, false} {
		for _, ok := range []bool{true, false} {
			agent := &snapshots{now: state(1, "a")}
			v := newValueChanges(cwmp.New(&accepting{}, ""), agent)
			v.commit(model.Commit{Snapshot: agent.now})
			done := v.writing([]string{path})
			agent.now = state(2, "b")
			if early {
				v.commit(model.Commit{Snapshot: agent.now})
				done(ok)
			} else {
				done(ok)
				v.commit(model.Commit{Snapshot: agent.now})
			}
			if told := len(v.tell()); told == 0 != ok || len(v.pending) == 0 != ok || len(v.writes) != 0 {
				t.Errorf("commit first %t, applied %t: %d told, pending are %v, writes are %v", early, ok, told, v.pending, v.writes)
			}
			agent.now = state(3, "c")
			v.commit(model.Commit{Snapshot: agent.now})
			if len(v.tell()) != 1 {
				t.Errorf("commit first %t, applied %t: a later change is not told", early, ok)
			}
		}
	}
}
