package adapter_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/adaptertest"
)

// The main function of an adapter's executable.
func ExampleServe() {
	log := adapter.NewLogger() // before Serve, which takes stderr over
	adapter.Serve(newNotes(log), adapter.ServeOptions{})
}

// notes is a small adapter that keeps the contract. An environment is a file; a deployment unit is a line in it, and its one
// module is the mark that the line is active. It shows what every adapter has to do: it keeps nothing in memory that it would
// miss after a kill, answers a call that is made again as it did before, and tells of everything by Watch.
type notes struct {
	log *slog.Logger

	mu        sync.Mutex
	envs      map[string]notesEnv
	changed   chan struct{} // closed and replaced at each change
	endWatch  context.CancelFunc
	watchOver chan struct{}
}

type notesEnv struct{ file, name string }

// page is the content of an environment's file.
type page struct {
	Launch string          `json:"launch"` // empty: the environment is down
	Notes  map[string]note `json:"notes"`  // by key
}

type note struct {
	Op      adapter.OpID `json:"op"` // that installed it
	Name    string       `json:"name"`
	Version string       `json:"version"`
	Active  bool         `json:"active"`
}

const noteModule = "note"

func newNotes(log *slog.Logger) *notes { return &notes{log: log, changed: make(chan struct{})} }

func (n *notes) Describe(context.Context) (adapter.Description, error) {
	return adapter.Description{Kind: "notes", Version: "1.0.0"}, nil
}

// Configure takes one setting, name. An unknown one is an error that names environment and key. It launches nothing.
func (n *notes) Configure(_ context.Context, configs []adapter.EnvConfig) error {
	envs := map[string]notesEnv{}
	for _, c := range configs {
		env := notesEnv{file: filepath.Join(c.DataDir, "notes.json"), name: c.ID}
		var settings map[string]json.RawMessage
		if len(c.Settings) > 0 {
			if err := json.Unmarshal(c.Settings, &settings); err != nil {
				return adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: %v", c.ID, err)
			}
		}
		for key, value := range settings {
			err := errors.New("there is no such setting")
			if key == "name" {
				err = json.Unmarshal(value, &env.name)
			}
			if err != nil {
				return adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: notes.%s: %v", c.ID, key, err)
			}
		}
		envs[c.ID] = env
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.envs = envs
	return nil
}

// read returns the page of an environment. The caller holds mu.
func (n *notes) read(id string) (notesEnv, page, error) {
	p := page{Notes: map[string]note{}}
	env, ok := n.envs[id]
	if !ok {
		return env, p, adapter.Errorf(adapter.NotFound, "cannot find environment %q", id)
	}
	data, err := os.ReadFile(env.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return env, p, nil
	case err == nil:
		err = json.Unmarshal(data, &p)
	}
	if err != nil {
		err = fmt.Errorf("cannot read environment %q: %w", id, err)
	}
	return env, p, err
}

// change reads, changes and writes a page. A kill leaves the old page or the new one. (On a real device the file and its directory
// are synced too.)
func (n *notes) change(ctx context.Context, id string, f func(*page) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	env, p, err := n.read(id)
	if err != nil {
		return err
	}
	if err := f(&p); err != nil {
		return err
	}
	data, err := json.Marshal(p)
	if err == nil {
		err = os.WriteFile(env.file+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(env.file+".new", env.file)
	}
	if err != nil {
		return fmt.Errorf("cannot write environment %q: %w", id, err)
	}
	close(n.changed)
	n.changed = make(chan struct{})
	return nil
}

// changeUp is change for an environment that has to be up.
func (n *notes) changeUp(ctx context.Context, id string, f func(*page) error) error {
	return n.change(ctx, id, func(p *page) error {
		if p.Launch == "" {
			return adapter.Errorf(adapter.Unavailable, "cannot use environment %q: it is not up", id)
		}
		return f(p)
	})
}

// changeNote is changeUp for one unit.
func (n *notes) changeNote(ctx context.Context, u adapter.UnitRef, f func(*note) error) (out note, err error) {
	err = n.changeUp(ctx, u.Env, func(p *page) error {
		var ok bool
		if out, ok = p.Notes[u.Key]; !ok {
			return adapter.Errorf(adapter.NotFound, "cannot find unit %q in environment %q", u.Key, u.Env)
		}
		if err := f(&out); err != nil {
			return err
		}
		p.Notes[u.Key] = out
		return nil
	})
	return out, err
}

// SetEnabled launches an environment or ends it with all its modules. One that runs is not disturbed.
func (n *notes) SetEnabled(ctx context.Context, _ adapter.OpID, env string, on bool, _ []adapter.ModuleSetting) error {
	return n.change(ctx, env, func(p *page) error {
		switch {
		case on && p.Launch == "":
			p.Launch = rand.Text()
		case !on:
			p.Launch = ""
			for key, x := range p.Notes {
				x.Active = false
				p.Notes[key] = x
			}
		}
		return nil
	})
}

// parseNote reads a package: one line with the words note, a name and a version.
func parseNote(path string) (adapter.Manifest, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return adapter.Manifest{}, fmt.Errorf("cannot read the package: %w", err)
	}
	words := strings.Fields(string(data))
	switch {
	case len(words) == 0 || words[0] != "note":
		return adapter.Manifest{}, adapter.Errorf(adapter.Mismatch, "cannot use %s: it is no note", path)
	case len(words) != 3:
		return adapter.Manifest{}, adapter.Errorf(adapter.Corrupt, "cannot use %s: it is not note NAME VERSION", path)
	}
	return adapter.Manifest{Name: words[1], Version: words[2]}, nil
}

// Inspect needs no running environment.
func (n *notes) Inspect(_ context.Context, env string, p adapter.Package) (adapter.Manifest, error) {
	n.mu.Lock()
	_, _, err := n.read(env)
	n.mu.Unlock()
	if err != nil {
		return adapter.Manifest{}, err
	}
	return parseNote(p.Path)
}

// Install succeeds again for the OpID that installed the unit.
func (n *notes) Install(ctx context.Context, op adapter.OpID, spec adapter.InstallSpec) (adapter.Unit, error) {
	m, err := parseNote(spec.Package.Path)
	if err != nil {
		return adapter.Unit{}, err
	}
	var x note
	err = n.changeUp(ctx, spec.Env, func(p *page) error {
		old, taken := p.Notes[spec.Key]
		if taken && old.Op != op {
			return adapter.Errorf(adapter.Exists, "cannot install %q in environment %q: it is there already", spec.Key, spec.Env)
		}
		x = note{Op: op, Name: m.Name, Version: m.Version, Active: taken && old.Active}
		p.Notes[spec.Key] = x
		return nil
	})
	if err != nil {
		return adapter.Unit{}, err
	}
	return x.unit(spec.Env, spec.Key), nil
}

// Update leaves the unit stopped. It needs nothing of the old generation, so Revert is the same with the packages exchanged.
func (n *notes) Update(ctx context.Context, _ adapter.OpID, u adapter.UnitRef, _, next adapter.Package) (adapter.Unit, error) {
	m, err := parseNote(next.Path)
	if err != nil {
		return adapter.Unit{}, err
	}
	x, err := n.changeNote(ctx, u, func(x *note) error {
		x.Name, x.Version, x.Active = m.Name, m.Version, false
		return nil
	})
	if err != nil {
		return adapter.Unit{}, err
	}
	return x.unit(u.Env, u.Key), nil
}

func (n *notes) Revert(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old adapter.Package) (adapter.Unit, error) {
	return n.Update(ctx, op, u, adapter.Package{}, old)
}

// Discard has nothing to drop.
func (n *notes) Discard(ctx context.Context, _ adapter.OpID, u adapter.UnitRef) error {
	_, err := n.changeNote(ctx, u, func(*note) error { return nil })
	return err
}

// Uninstall of what is gone succeeds.
func (n *notes) Uninstall(ctx context.Context, _ adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
	return adapter.UninstallResult{}, n.changeUp(ctx, u.Env, func(p *page) error {
		delete(p.Notes, u.Key)
		return nil
	})
}

func (n *notes) Start(ctx context.Context, _ adapter.OpID, m adapter.ModuleRef, _ adapter.StartOptions) error {
	return n.setActive(ctx, m, true)
}

func (n *notes) Stop(ctx context.Context, _ adapter.OpID, m adapter.ModuleRef) error {
	return n.setActive(ctx, m, false)
}

func (n *notes) setActive(ctx context.Context, m adapter.ModuleRef, on bool) error {
	_, err := n.changeNote(ctx, m.UnitRef, func(x *note) error {
		if m.Module != noteModule {
			return adapter.Errorf(adapter.NotFound, "cannot find module %q of %q", m.Module, m.Key)
		}
		x.Active = on
		return nil
	})
	return err
}

func (x note) unit(env, key string) adapter.Unit {
	status := adapter.Idle
	if x.Active {
		status = adapter.Active
	}
	return adapter.Unit{
		Env: env, Key: key, DUID: key, Resolved: true, Handle: adapter.Handle{Version: 1, Data: []byte(key)},
		Manifest: adapter.Manifest{Name: x.Name, Version: x.Version},
		Modules:  []adapter.Module{{ID: noteModule, Name: x.Name, Version: x.Version, Status: status, RunLevel: -1, Memory: -1, Disk: -1}},
	}
}

// Watch tells the difference between each environment and what was told of it.
func (n *notes) Watch(ctx context.Context) (<-chan adapter.Event, error) {
	ctx, end := context.WithCancel(ctx)
	events, over := make(chan adapter.Event), make(chan struct{})
	n.mu.Lock()
	endBefore, beforeOver := n.endWatch, n.watchOver
	n.endWatch, n.watchOver = end, over
	n.mu.Unlock()
	if endBefore != nil {
		endBefore()
		<-beforeOver
	}
	go func() {
		defer close(over)
		defer close(events)
		defer end()
		told := map[string]page{}
		for {
			n.mu.Lock()
			changed := n.changed
			var news []adapter.Event
			for _, id := range slices.Sorted(maps.Keys(n.envs)) {
				env, now, err := n.read(id)
				if err != nil {
					n.log.Error("an environment cannot be watched", "env", id, "err", err)
					continue
				}
				before, known := told[id]
				news = append(news, difference(id, env.name, before, known, now)...)
				told[id] = now
			}
			n.mu.Unlock()
			for _, e := range news {
				select {
				case events <- e:
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return events, nil
}

// difference returns the events that lead from before to now. A launch is told whole: Env, units, Synced.
func difference(id, name string, before page, known bool, now page) []adapter.Event {
	var events []adapter.Event
	fresh := !known || before.Launch != now.Launch
	if fresh {
		e := adapter.Env{
			ID: id, Name: name, Type: "Notes 1", Version: "1", Up: now.Launch != "", Launch: now.Launch, RunLevel: -1,
			InitialModuleRunLevel: -1, AllocatedDisk: -1, AvailableDisk: -1, AllocatedMemory: -1, AvailableMemory: -1,
		}
		if !e.Up {
			e.Detail = "it is closed"
		}
		events = append(events, adapter.Event{Kind: adapter.EventEnv, EnvID: id, Env: &e})
	}
	if now.Launch == "" {
		return events
	}
	for _, key := range slices.Sorted(maps.Keys(now.Notes)) {
		if fresh || before.Notes[key] != now.Notes[key] {
			unit := now.Notes[key].unit(id, key)
			events = append(events, adapter.Event{Kind: adapter.EventUnit, EnvID: id, Unit: &unit})
		}
	}
	if fresh {
		return append(events, adapter.Event{Kind: adapter.EventSynced, EnvID: id})
	}
	for key := range before.Notes {
		if _, there := now.Notes[key]; !there {
			events = append(events, adapter.Event{Kind: adapter.EventUnitRemoved, EnvID: id, Key: key})
		}
	}
	return events
}

// TestExampleConformance is how an adapter is held against its contract. What it cannot do is left out with a reason.
func TestExampleConformance(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) adaptertest.Package {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return adaptertest.Package{Path: path}
	}
	never := func(why string) adaptertest.Package { return adaptertest.Package{Skip: why} }
	const passive = "a mark stays until it is taken away"
	adaptertest.Run(t, adaptertest.Harness{
		Kind: "notes",
		Open: func(_ adaptertest.TB, _ string) (adapter.Adapter, func()) {
			n := newNotes(slog.New(slog.DiscardHandler))
			return n, func() { // nothing of a note lives in the process: a kill ends the watch and no more
				n.mu.Lock()
				end, over := n.endWatch, n.watchOver
				n.mu.Unlock()
				if end != nil {
					end()
					<-over
				}
			}
		},
		Environments: func(adaptertest.TB, string) []adapter.EnvConfig {
			return []adapter.EnvConfig{{ID: "one", Settings: []byte(`{"name":"first"}`)}, {ID: "two"}}
		},
		SkipLose:      "an environment is a file and does not crash",
		SkipSystem:    "nothing in the file but notes",
		SkipPermanent: "no note is part of the firmware",
		SkipLeft:      "a file of notes is all there is",
		Packages: adaptertest.Packages{
			V1: file("v1", "note lunch 1"), V2: file("v2", "note lunch 2"), Other: file("other", "note dinner 1"),
			Corrupt: file("corrupt", "note lunch"), Foreign: file("foreign", "#!/bin/sh"),
			FailsInstall: never("every note can be written"), FailsUninstall: never("every note can be removed"),
			FailsStart: never("a mark never fails"), FailsStop: never("a mark never fails"),
			HangsStart: never("a mark never hangs"), HangsStop: never("a mark never hangs"),
			Inert: never("every note can be marked"), Unresolved: never("a note needs nothing"),
			Unstartable: never("every note can be marked"), IgnoresStop: never("a mark is always taken away"), TooLarge: never("there is room for every note"),
			Several: never("a note is one module"), SeveralNext: never("a note is one module"), FailsOne: never("a note is one module"),
			Ends: never(passive), Exits: never(passive), Dies: never(passive), Restarts: never(passive), RestartsLater: never(passive),
			Completes: never(passive), Greedy: never(passive),
		},
	})
}
