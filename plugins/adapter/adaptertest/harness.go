package adaptertest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// DefaultTimeout is how long a case waits for one call or one event if the [Harness] does not say otherwise.
const DefaultTimeout = 30 * time.Second

// A Harness is what the author of an adapter provides.
type Harness struct {
	// Open makes an adapter that is not yet configured. dir is an existing directory that stands for a device: an empty one is
	// a new device without environments, the same dir again is the same device after the adapter's process was restarted.
	// kill ends the adapter abruptly, as SIGKILL does, and returns when it is gone; it may be called more than once. What lives
	// on for dir is cleaned up with t.Cleanup.
	Open func(t TB, dir string) (a adapter.Adapter, kill func())

	// Environments are what the adapter is configured with on the device dir, always the same for the same dir. At least one;
	// with two, the cases about independence run. An empty DataDir becomes a directory below dir.
	Environments func(t TB, dir string) []adapter.EnvConfig

	Packages Packages

	// Kind is what Describe has to say; empty accepts any.
	Kind string

	// Lose ends an environment behind the adapter's back, as when it crashed; nil with SkipLose.
	Lose     func(t TB, dir, env string)
	SkipLose string // why there is no Lose

	// System makes a unit that is part of an environment itself ([adapter.Unit.System]), whose first module runs, and returns its key. Where there
	// is one in every environment it returns the key, or nothing for whichever Watch tells; nil with SkipSystem.
	System     func(t TB, dir, env string) string
	SkipSystem string // why there is no System

	// Permanent makes a unit that is part of the device's firmware ([adapter.Unit.Permanent]), whose first module starts and stops, and returns its
	// key. Where there is one in every environment it returns the key, or nothing for whichever Watch tells; nil with SkipPermanent.
	Permanent     func(t TB, dir, env string) string
	SkipPermanent string // why there is no Permanent

	// Left lists by name what units have left on the device for an environment that is up: files, mounts, control groups, processes, entries in the
	// environment's own records. It is not asked of the adapter. What belongs to the environment itself and not to a unit may be in it as long as it is
	// always there. nil with SkipLeft.
	Left     func(t TB, dir, env string) []string
	SkipLeft string // why there is no Left

	// Attached launches and ends the environments in place of an adapter that leaves that to somebody else ([adapter.Env.Attached]); nil: the
	// adapter does it.
	Attached *Attached

	// Versions look at what the environments run from, for an adapter with [adapter.CapVersions]; nil with SkipVersions.
	Versions     *Versions
	SkipVersions string // why there are no Versions

	// Environ says what is in the environment of the processes of a module that is active, for an adapter with [adapter.CapUnitSettings]. pids are
	// [adapter.Module.PIDs]. nil: the kit reads it from /proc.
	Environ func(t TB, dir string, m adapter.ModuleRef, pids []int) map[string]string

	// Volume says in which directory of the device the kit finds what the processes of a module that is active have at path in their file system, for an
	// adapter with [adapter.CapVolumes]; empty when they can have nothing there. pids are [adapter.Module.PIDs]. nil: the kit looks, as root, into
	// /proc/PID/root, and writes with the user and the group of the process.
	Volume func(t TB, dir string, m adapter.ModuleRef, pids []int, path string) string

	// Limited returns the configuration c of an environment with the one limit of l that is not nil in place of its own, for an adapter with
	// [adapter.CapConstraints]; false when that cannot be configured exactly. nil with SkipLimited.
	Limited     func(t TB, c adapter.EnvConfig, l adapter.Constraints) (adapter.EnvConfig, bool)
	SkipLimited string // why there is no Limited

	// Dies says why the environment ends together with the adapter, where that cannot be otherwise; empty: it lives on.
	Dies string

	// Skip leaves out cases by name, for the reason that is the value. A name that no case has is an error.
	Skip map[string]string

	// Timeout bounds each call and each wait for an event; 0 means [DefaultTimeout].
	Timeout time.Duration

	// RunLevel is a level above the lowest at which the packages' modules can run, in an environment with levels; 0 means 5.
	RunLevel int
}

// Attached is whoever launches and ends environments that are attached. What is so already is left alone.
type Attached struct {
	// Launch launches an environment of the device dir. It need not wait for it to be up: Watch tells that.
	Launch func(t TB, dir, env string)
	// End ends an environment with all its modules.
	End func(t TB, dir, env string)
}

// Versions are the ways into what an environment runs from that do not pass the adapter.
type Versions struct {
	// Upgrade makes the configuration of an environment name other content than before, as an upgrade of the environment's own
	// package does. It must not need the adapter to be configured anew.
	Upgrade func(t TB, dir, env string)
	// Running says what an environment that is up runs from: the same text for the same content, and only for that.
	Running func(t TB, dir, env string) string
}

// Packages are the packages that the cases use. Only V1 and V2 have to be there; each other one is left out by stating why.
type Packages struct {
	V1, V2         Package // two versions of one unit with at least one module that starts and stops
	Other          Package // another unit, that can be there together with V1
	Corrupt        Package // damaged: Inspect and Install answer Corrupt
	Foreign        Package // of another kind: Inspect and Install answer Mismatch
	FailsInstall   Package // good for Inspect, but cannot be installed, nor be the next package of an Update
	FailsUninstall Package // can be installed but not be uninstalled
	FailsStart     Package // the first module fails to start, with Message
	FailsStop      Package // the first module ends uncleanly when it is stopped
	HangsStart     Package // the first module does not finish its start before Release
	HangsStop      Package // the first module does not finish its stop before Release
	Inert          Package // the first module is inert
	Unresolved     Package // its requirements are missing
	Unstartable    Package // can be installed, but the first module can never be started, and says so with Message before anybody tries
	IgnoresStop    Package // the first module does not end when it is asked to; the environment ends it by force
	TooLarge       Package // good for Inspect, but the environment has no room for it

	// Several and SeveralNext are two versions of one unit with at least two modules each, which start and stop separately. SeveralNext lacks a module of
	// Several, has one that Several has not, and shares one with it.
	Several, SeveralNext Package
	FailsOne             Package // at least two modules: the first one fails to start, with Message, the second one starts and stops

	// Of the following the first module does something by itself. Unless it says otherwise it starts and stops as any other, and does what it is for at
	// [Package.End].
	Ends          Package // ends in good order, with exit status 0
	Exits         Package // ends with ExitCode, which is not 0, and Message among its last words
	Dies          Package // ends by a signal
	Restarts      Package // ends unasked and is started again by the environment, at once
	RestartsLater Package // ends unasked and waits to be started again by the environment, for longer than a case takes
	Completes     Package // has done its work when its start is over, and has ended then in good order. It needs no End
	Greedy        Package // takes more than the limits of the environment allow: at End, or at its start if it has no End
}

// A Package is a file, or the reason why there is none.
type Package struct {
	Path string
	Skip string // why the cases with this package cannot be run
	// Message is what the environment says when it fails; empty when that is not known.
	Message string
	// ExitCode is the exit status of Exits.
	ExitCode int
	// End makes a module that is active do what the package is for: as something in it would, and not by the adapter.
	End func(t TB, dir string, m adapter.ModuleRef)
	// Release lets a module go on that hangs, on the device dir; nil if it cannot.
	Release func(t TB, dir string)
}

// TB is what a case needs of a test; [*testing.T] is one.
type TB interface {
	Helper()
	Name() string
	TempDir() string
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Runner is a test that has tests below it; [*testing.T] is one.
type Runner[T TB] interface {
	TB
	Run(name string, f func(T)) bool
}

// A Case is one sentence of the contract.
type Case struct {
	Name string // Method/sentence
	run  func(*rig)
}

// Cases are all cases, in the order in which they run.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{
		describeCases, watchCases, inspectCases, installCases, updateCases, revertCases, discardCases, uninstallCases,
		startCases, stopCases, severalCases, endCases, hangCases, setEnabledCases, attachedCases, runLevelCases, autoStartCases, systemCases, permanentCases, leftCases, exportCases, versionCases, settingsCases, volumeCases, constraintCases, callCases,
	} {
		all = append(all, group...)
	}
	return all
}

// Share is a [Harness.Skip] for run i of n that share the cases of these methods, all cases when none is named: it has every n-th of
// them. why is the reason that the others of them are left out.
func Share(i, n int, why string, methods ...string) map[string]string {
	skip := map[string]string{}
	for k, c := range Cases() {
		method, _, _ := strings.Cut(c.Name, "/")
		if k%n != i && (len(methods) == 0 || slices.Contains(methods, method)) {
			skip[c.Name] = why
		}
	}
	return skip
}

// Run runs all cases as subtests of t, which is a [*testing.T].
func Run[T Runner[T]](t T, h Harness) {
	t.Helper()
	cases := Cases()
	known := map[string]bool{}
	for _, c := range cases {
		known[c.Name] = true
	}
	for name := range h.Skip {
		if !known[name] {
			t.Errorf("cannot skip %q: there is no such case", name)
		}
	}
	for _, c := range cases {
		t.Run(c.Name, func(t T) {
			t.Helper()
			if why, skip := h.Skip[c.Name]; skip {
				t.Skipf("the harness leaves it out: %s", why)
			}
			c.run(newRig(t, h))
		})
	}
}

// load returns the package as the agent hands it over: a copy in a directory of its own, so that a case may delete it.
func (p Package) load(r *rig, what string) adapter.Package {
	r.t.Helper()
	if p.Path == "" {
		if p.Skip == "" {
			r.t.Fatalf("the harness has no package %s and no reason for it", what)
		}
		r.t.Skipf("no package %s: %s", what, p.Skip)
	}
	data, err := os.ReadFile(p.Path)
	if err != nil {
		r.t.Fatalf("cannot read package %s: %v", what, err)
	}
	path := filepath.Join(r.t.TempDir(), filepath.Base(p.Path))
	if err := os.WriteFile(path, data, 0o600); err != nil {
		r.t.Fatalf("cannot copy package %s: %v", what, err)
	}
	loaded, _, err := handedOver(path)
	if err != nil {
		r.t.Fatalf("cannot read package %s: %v", what, err)
	}
	return loaded
}
