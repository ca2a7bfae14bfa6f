package client

import (
	"context"
	"errors"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

const testOwner = ":1.7"

// changedTo is the signal that a job has another progress.
func changedTo(path dbus.ObjectPath, progress float64, seq dbus.Sequence) *dbus.Signal {
	return &dbus.Signal{
		Sender: testOwner, Path: path, Name: ifaceProperties + ".PropertiesChanged", Sequence: seq,
		Body: []any{KindJob.iface(), map[string]dbus.Variant{"Progress": dbus.MakeVariant(progress)}, []string{}},
	}
}

// strange are signals that tell nothing new of job 1 after sequence 10.
func strange(job dbus.ObjectPath) map[string]*dbus.Signal {
	signals := map[string]*dbus.Signal{
		"of another job":       changedTo(ObjectPath(KindJob, 2), 0.9, 11),
		"of another interface": changedTo(job, 0.9, 11),
		"short":                changedTo(job, 0.9, 11),
		"of wrong types":       changedTo(job, 0.9, 11),
		"without news":         changedTo(job, 0.5, 11),
		"unknown":              {Sender: testOwner, Path: job, Name: KindJob.iface() + ".Renamed", Sequence: 11},
	}
	signals["of another interface"].Body[0] = "org.smmd.Job2"
	signals["short"].Body = signals["short"].Body[:2]
	signals["of wrong types"].Body = []any{1, 2, 3}
	return signals
}

func TestJobWaiterIgnores(t *testing.T) {
	path := ObjectPath(KindJob, 1)
	for name, sig := range strange(path) {
		t.Run(name, func(t *testing.T) {
			s := &subscription{ch: make(chan *dbus.Signal, 2), owner: testOwner}
			job := newObject(path).(*Job)
			job.State, job.Progress = "fetching", 0.5
			calls := 0
			w := jobWaiter{s: s, path: path, job: job, seq: 10, progress: func(*Job) { calls++ }}
			s.ch <- sig
			s.ch <- changedTo(path, 0.6, 12)
			for range 2 {
				if err := w.step(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if calls != 1 || w.job.Progress != 0.6 {
				t.Errorf("told %d times, progress %v; want once, 0.6", calls, w.job.Progress)
			}
		})
	}
}

func TestWatchIgnores(t *testing.T) {
	path := ObjectPath(KindJob, 1)
	signals := strange(path)
	manager := func(member string, body ...any) *dbus.Signal {
		return &dbus.Signal{Sender: testOwner, Path: Root, Name: ifaceManager + "." + member, Sequence: 11, Body: body}
	}
	signals["a short addition"] = manager("InterfacesAdded", path)
	signals["an addition elsewhere"] = manager("InterfacesAdded", dbus.ObjectPath("/elsewhere"), map[string]map[string]dbus.Variant{})
	signals["a short removal"] = manager("InterfacesRemoved")
	signals["a removal of what is not known"] = manager("InterfacesRemoved", ObjectPath(KindJob, 3), []string{})
	for name, sig := range signals {
		t.Run(name, func(t *testing.T) {
			job := newObject(path).(*Job)
			job.Progress = 0.5
			w := watch{known: objectMap{path: job}, ended: map[dbus.ObjectPath]bool{}, seq: 10, tell: func(e Event) error {
				t.Errorf("told %+v", e)
				return nil
			}}
			if err := w.take(t.Context(), sig); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWatchTellsAnEndOnce(t *testing.T) {
	path := ObjectPath(KindJob, 1)
	job := newObject(path).(*Job)
	job.State = JobDone
	ends := 0
	w := watch{known: objectMap{path: job}, ended: map[dbus.ObjectPath]bool{}, tell: func(Event) error { ends++; return nil }}
	for range 2 {
		if err := w.take(t.Context(), &dbus.Signal{Sender: testOwner, Path: path, Name: KindJob.iface() + ".Completed", Body: []any{true, ""}}); err != nil {
			t.Fatal(err)
		}
	}
	if ends != 1 {
		t.Errorf("told %d times", ends)
	}
}

// TestNext looks at whose signals are taken.
func TestNext(t *testing.T) {
	owner := func(sender, name, is string, seq dbus.Sequence) *dbus.Signal {
		return &dbus.Signal{Sender: sender, Path: pathBus, Name: ifaceBus + ".NameOwnerChanged", Sequence: seq, Body: []any{name, "", is}}
	}
	alien := changedTo(ObjectPath(KindJob, 1), 0.1, 20)
	alien.Sender = ":1.66"
	s := &subscription{ch: make(chan *dbus.Signal, 8), owner: testOwner, asked: 10}
	for _, sig := range []*dbus.Signal{
		owner(ifaceBus, BusName, "", 9),          // known from the answer
		owner(ifaceBus, BusName, testOwner, 11),  // nothing new
		owner(":1.66", BusName, ":1.66", 12),     // not from the bus
		owner(ifaceBus, "org.else", ":1.66", 13), // of somebody else
		alien,
		changedTo(ObjectPath(KindJob, 1), 0.2, 21),
		owner(ifaceBus, BusName, "", 22),
		owner(ifaceBus, BusName, ":1.8", 24),
	} {
		s.ch <- sig
	}
	var got []dbus.Sequence
	var owners []string
	for range 3 {
		sig, err := s.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, owners = append(got, sig.Sequence), append(owners, s.owner)
	}
	if diff := cmp.Diff([]dbus.Sequence{21, 22, 24}, got); diff != "" {
		t.Errorf("signals (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{testOwner, "", ":1.8"}, owners); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	close(s.ch)
	if _, err := s.next(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("without a bus: %v", err)
	}
}
