package model

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/smmd-project/smmd/agent/fault"
)

func TestDUTransitions(t *testing.T) {
	all := []DUStatus{"", DUInstalling, DUInstalled, DUUpdating, DUUninstalling, DUUninstalled}
	allowed := map[[2]DUStatus]bool{
		{"", DUInstalling}: true, {"", DUInstalled}: true,
		{DUInstalling, DUInstalled}: true, {DUInstalling, DUUninstalled}: true,
		{DUInstalled, DUUpdating}: true, {DUInstalled, DUUninstalling}: true,
		{DUUpdating, DUInstalled}:       true,
		{DUUninstalling, DUUninstalled}: true, {DUUninstalling, DUInstalled}: true,
	}
	for _, from := range all {
		for _, to := range all {
			if got := from.CanBecome(to); got != allowed[[2]DUStatus{from, to}] {
				t.Errorf("%q to %q: %v", from, to, got)
			}
		}
		want := fault.InvalidDUState
		if from == DUInstalled {
			want = fault.None
		}
		if got := FaultOf(from); got != want {
			t.Errorf("FaultOf(%q) = %q", from, got)
		}
	}
}

func TestAnswers(t *testing.T) {
	states := []EUStatus{EUIdle, EUStarting, EUActive, EUStopping, EURestarting}
	for r, want := range map[Request][]Answer{
		RequestIdle:    {Ignore, Obey, Obey, Ignore, Obey},
		RequestActive:  {Obey, Ignore, Ignore, Refuse, Ignore},
		RequestRestart: {Obey, Obey, Obey, Refuse, Ignore},
		"Dance":        {Refuse, Refuse, Refuse, Refuse, Refuse},
	} {
		for i, s := range states {
			if got := s.Answer(r); got != want[i] {
				t.Errorf("%s asked of %s: %d, want %d", r, s, got, want[i])
			}
		}
	}
	if EUStatus("unheard").Answer(RequestIdle) != Refuse {
		t.Error("a state that is not known takes requests")
	}
}

func TestFinalStates(t *testing.T) {
	for _, s := range []JobState{JobDone, JobFailed, JobCancelled} {
		if !s.Final() {
			t.Errorf("%s is not final", s)
		}
	}
	for _, s := range []JobState{"", JobQueued, JobFetching, JobUndoing, JobRecording, JobStarting} {
		if s.Final() {
			t.Errorf("%s is final", s)
		}
	}
}

func TestSetErrorNamesTheOnlyOne(t *testing.T) {
	one := &SetError{Faults: map[int]error{3: errors.New("cannot set Alias")}}
	two := &SetError{Faults: map[int]error{3: errors.New("a"), 4: errors.New("b")}}
	if one.Error() != "cannot set Alias" || two.Error() != "cannot set: several values are refused" {
		t.Errorf("%q, %q", one, two)
	}
}

// A draft holds what a map would, in the order of numbers; what was frozen or copied before goes its own way.
func TestDraftIsAMapWithAPast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, want := NewDraft(), map[uint32]*Job{}
		type past struct {
			s    *Snapshot
			jobs []*Job
		}
		var history []past
		for range rapid.IntRange(1, 80).Draw(t, "changes") {
			id := rapid.Uint32Range(1, 60).Draw(t, "id")
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				d.Delete(Ref{KindJob, id})
				delete(want, id)
			case 1:
				history = append(history, past{d.Freeze(), slices.Collect(d.Jobs())})
			case 2:
				history = append(history, past{&d.Snapshot, slices.Collect(d.Jobs())})
				d = d.Copy()
			default:
				want[id] = &Job{ID: id}
				d.PutJob(want[id])
			}
			got := slices.Collect(d.Jobs())
			if len(got) != len(want) || d.Count(KindJob) != len(want) {
				t.Fatalf("%d jobs, want %d", len(got), len(want))
			}
			for i, j := range got {
				if want[j.ID] != j || d.Job(j.ID) != j || i > 0 && got[i-1].ID >= j.ID {
					t.Fatalf("job %d", j.ID)
				}
			}
		}
		for _, p := range history {
			if !slices.Equal(slices.Collect(p.s.Jobs()), p.jobs) {
				t.Fatal("the past has changed")
			}
		}
	})
}

func TestSnapshotFindsRows(t *testing.T) {
	s := NewSnapshot(
		[]*ExecEnv{{ID: "b", Instance: 2}, {ID: "a", Instance: 1}}, []*DeploymentUnit{{ID: 5}},
		[]*ExecutionUnit{{ID: 9, DU: 5}, {ID: 7, DU: 5}, {ID: 8, DU: 6}}, []*Job{{ID: 1}})
	if e := s.ExecEnvByID("b"); e == nil || e.Instance != 2 || s.ExecEnv(2) != e || s.ExecEnvByID("c") != nil || s.ExecEnv(3) != nil {
		t.Errorf("environment %+v", e)
	}
	var eus []uint32
	for u := range s.ExecutionUnitsOf(5) {
		eus = append(eus, u.ID)
	}
	if !slices.Equal(eus, []uint32{7, 9}) {
		t.Errorf("execution units %v", eus)
	}
	for range s.ExecutionUnitsOf(5) {
		break // an early end is no panic
	}
	for k, n := range map[Kind]int{KindExecEnv: 2, KindDeploymentUnit: 1, KindExecutionUnit: 3, KindJob: 1, "Cat": 0} {
		if s.Count(k) != n {
			t.Errorf("%s has %d rows, want %d", k, s.Count(k), n)
		}
	}
	if s.DeploymentUnit(5) == nil || s.DeploymentUnit(6) != nil || s.ExecutionUnit(8) == nil || s.ExecutionUnit(1) != nil {
		t.Error("rows by number")
	}
}
