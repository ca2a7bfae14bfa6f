// Package adapter is the contract between the agent and an adapter: the process that drives one kind of execution
// environment (OSGi frameworks, portable services, containers, or what a vendor adds).
//
// An adapter is a thin, restartable translator. No execution unit lives in the adapter process. What the adapter must find
// again after a crash it writes into the environment itself (a bundle's location, a unit's X- section, a container's
// configuration) or hands to the agent as a [Handle]. The agent may kill it between any two calls, and in the middle of one;
// running units must not notice.
//
// Every call that changes something is idempotent for the same [OpID]: the agent repeats a call whose answer it did not
// record.
//
// On the wire the contract is the gRPC service of adapter.proto, carried by hashicorp/go-plugin. [Serve] is the whole main
// function of an adapter executable; package adaptertest is the conformance kit.
package adapter

import (
	"context"
	"errors"
	"fmt"
)

// OpID is the idempotency key of every mutation: the same key, for the same method and the same unit or module, means the same request, made again. One
// operation of the agent makes calls of several methods, and about several modules, under one key.
type OpID string

// A Handle is what the adapter needs to find a unit again. The agent stores it and gives it back unread.
type Handle struct {
	Version uint32
	Data    []byte
}

// A Capability is something an adapter can do beyond the required methods; it is announced once, by [Adapter.Describe].
type Capability string

// The capabilities.
const (
	CapRunLevels    Capability = "run-levels"    // implements [RunLeveler]
	CapAutoStart    Capability = "auto-start"    // implements [AutoStarter]
	CapExport       Capability = "export"        // implements [Exporter]
	CapVersions     Capability = "versions"      // implements [Versioner]
	CapUnitSettings Capability = "unit-settings" // implements [UnitSetter]
	CapConstraints  Capability = "constraints"   // implements [Constrainer]
	CapVolumes      Capability = "volumes"       // [UnitSetter] takes volumes; goes with CapUnitSettings
)

// Description says what the adapter is. It knows no environments yet.
type Description struct {
	Kind         string // the name environments refer to: osgi, systemd, lxc, …
	Version      string // of the adapter
	Capabilities []Capability
}

// Has reports whether c was announced.
func (d Description) Has(c Capability) bool {
	for _, x := range d.Capabilities {
		if x == c {
			return true
		}
	}
	return false
}

// EnvConfig is one configured environment.
type EnvConfig struct {
	ID       string // the name in agent.toml
	DataDir  string // an existing directory of mode 0700 that is the adapter's own, the same at every start
	Settings []byte // its table of agent.toml as a JSON object
}

// Env is what is observed of an environment. Sizes are in KiB, -1 when unknown or not applicable.
type Env struct {
	ID      string
	Name    string // what distinguishes it from all others: the framework's UUID for OSGi
	Type    string // full type and version of its specification
	Vendor  string
	Version string
	Up      bool
	Detail  string // why it is not up, for the operator
	// Attached says that somebody else launches and ends the environment, and that the adapter finds it when it is there: SetEnabled and
	// RestoreVersion are [NotSupported]. It is told also while the environment is not up, and never changes.
	Attached bool
	// Launch names this launch of the environment: the same as long as the environment runs, another after each start of it.
	Launch   string
	RunLevel int // -1: the environment has none of its own
	// InitialModuleRunLevel is the level that the environment gives to new modules, -1 without levels.
	InitialModuleRunLevel                                          int
	AllocatedDisk, AvailableDisk, AllocatedMemory, AvailableMemory int64
	// AllocatedCPU is the share of all processors of the device that the environment may use, in percent; 0 without a limit.
	AllocatedCPU int
}

// A Package is a fetched and verified file. The adapter reads it and never moves, changes or keeps it: what it needs later it copies.
type Package struct {
	Path   string // absolute
	SHA256 string // hexadecimal
	Size   int64  // bytes
}

// Manifest is what a package says of itself.
type Manifest struct {
	Name        string // input of the UUID (TR-181 Annex C)
	Vendor      string
	Version     string
	Description string
}

// Unit is an installed deployment unit as the environment sees it.
type Unit struct {
	Env string
	// Key is the environment's stable name for the unit, unique in the environment, unchanged by updates. For a unit that the
	// agent installed it is [InstallSpec.Key].
	Key      string
	DUID     string // DeploymentUnit.{i}.DUID
	Handle   Handle
	Manifest Manifest
	Resolved bool
	// System units are part of the environment itself: shown, but not to be stopped, updated or removed, nor their AutoStart and run level set
	// ([NotSupported]).
	System bool
	// Permanent units are part of the device's firmware: shown, started and stopped as any other, and their AutoStart and run level may be
	// set, but they are not updated or removed ([NotSupported]).
	Permanent bool
	Modules   []Module
}

// Status is the state of a module, in the words of TR-181 ExecutionUnit.{i}.Status.
type Status string

// The states of a module.
const (
	Idle     Status = "Idle"
	Starting Status = "Starting"
	Active   Status = "Active"
	Stopping Status = "Stopping"
)

// Module is an execution unit of a [Unit].
type Module struct {
	ID          string // unique in its unit, and the same for the same module over updates
	Name        string
	Label       string // ExecutionUnit.{i}.ExecEnvLabel
	Vendor      string
	Version     string
	Description string
	Status      Status
	Reason      Reason // why Status is not what was asked for; empty when nothing is wrong
	Message     string // the environment's own words for Reason: an exception's message, an exit status, the last log lines
	ExitCode    *int   // of the last end of its main process; nil none or unknown
	Inert       bool   // accepts start and stop without effect: fragments, libraries
	AutoStart   *bool  // nil: the environment keeps none, the agent does
	RunLevel    int    // -1: the environment keeps none
	PIDs        []int
	Memory      int64 // KiB in use, -1 unknown
	Disk        int64 // KiB in use, -1 unknown
	LogPath     string
}

// EventKind is the kind of an [Event].
type EventKind string

// The kinds of events.
const (
	EventEnv         EventKind = "env"          // Env is the state of an environment
	EventUnit        EventKind = "unit"         // Unit is the whole state of a unit that is new or changed
	EventUnitRemoved EventKind = "unit-removed" // the unit named by EnvID and Key is gone
	EventSynced      EventKind = "synced"       // everything that existed in EnvID has been sent
)

// An Event is one message of [Adapter.Watch].
type Event struct {
	Kind  EventKind
	EnvID string
	Env   *Env
	Unit  *Unit
	Key   string
}

// InstallSpec is what to install.
type InstallSpec struct {
	Env     string
	Key     string // the stable name to give to the unit, new in the environment
	Package Package
	// RunLevel is the run level for the new modules, -1 to leave it to the environment.
	RunLevel int
}

// UnitRef names an installed unit. Handle is empty when the agent never got one, because the answer to an Install was lost: Key
// finds the unit then.
type UnitRef struct {
	Env    string
	Key    string
	Handle Handle
}

// ModuleRef names a module of an installed unit.
type ModuleRef struct {
	UnitRef
	Module string
}

// StartOptions say how to start.
type StartOptions struct {
	// Persistent asks an environment that keeps AutoStart itself to start the module again at its own next start.
	Persistent bool
	// Auto says that the agent starts it because of AutoStart and not because somebody asked: a failure is an
	// [AutoStartFailed].
	Auto bool
}

// A ModuleSetting is what is to be so of a module before its environment, which is being launched, starts any.
type ModuleSetting struct {
	ModuleRef
	AutoStart *bool // nil: as it is
	RunLevel  int   // -1: as it is
}

// Limits bound what is used at most; 0 where there is none.
type Limits struct {
	Disk   int64 // KiB
	Memory int64 // KiB
	CPU    int   // percent of what is around it has: of the environment for a module, of the device for an environment; 1..100
}

// A Variable is an environment variable of processes.
type Variable struct {
	Key   string // neither empty nor with an equals sign or a zero byte
	Value string // without a zero byte
}

// A Volume is a directory of the device in which the modules of a unit keep data. The agent makes and removes it; an environment only lets the modules see it.
type Volume struct {
	// Source is the directory: absolute, of mode 0777, below directories of mode 0700 that belong to root.
	Source string
	// Path is where the modules find it, instead of what they would find there otherwise, and may write: absolute and clean, not the root, neither at nor below another
	// volume's, nor at or below /dev, /proc, /run/systemd and /sys. If their file system has no such directory, one is there as long as they run.
	Path string
}

// UnitSettings are what a controller gives to the modules of a unit beyond what the package says (TR-181, InstallDU(), EnvVariable,
// Resources and ApplicationData).
type UnitSettings struct {
	Variables []Variable // in every process of the modules; the keys differ. They win over those of the package
	Limits    Limits     // of each module
	Volumes   []Volume   // in the file system of every module
}

// UninstallResult says how far a successful [Adapter.Uninstall] went.
type UninstallResult struct {
	Pending bool // what is left goes at the next restart of the environment
}

// Adapter drives one kind of execution environment. Methods may be called concurrently, and for different environments in
// parallel: what hangs in one environment delays nothing in another.
//
// A method returns as soon as its context is done; what it had begun is finished or undone by the next call with the same
// OpID. Errors carry a [Reason]; their message is for the operator and names the thing.
//
// A call into the environment that cannot be interrupted returns [StillRunning] within the time limit of the adapter: the module
// stays Starting or Stopping, everything else goes on, and the outcome is told by Watch.
type Adapter interface {
	// Describe says what the adapter is. It answers within a second and changes nothing. It may be called at any time.
	Describe(ctx context.Context) (Description, error)

	// Configure names the environments. It is called once, after Describe and before anything else. An unknown or
	// malformed setting is an [InvalidArgument] error that names environment and key. It launches nothing.
	Configure(ctx context.Context, envs []EnvConfig) error

	// Watch sends, for each environment, its state; if it is up, every unit that exists, then Synced; then every change
	// as it happens. An environment that comes up later is sent in the same way: Env, units, Synced. An environment that
	// is lost is Env{Up: false}; the channel stays open for the others. Events of one environment keep their order, and a
	// change made by a call is sent before or shortly after the call returns. A second Watch replaces the first, whose
	// channel is closed. The channel is closed when ctx is done. The receiver is prompt; the adapter need not drop.
	Watch(ctx context.Context) (<-chan Event, error)

	// Inspect reads what the package says of itself. It changes nothing and needs no running environment. [Mismatch]: the
	// package is of another kind; [Corrupt]: it is damaged.
	Inspect(ctx context.Context, env string, p Package) (Manifest, error)

	// Install makes the unit present and stopped. On failure nothing is left. [Unavailable] while the environment is not up; the same
	// holds for all that follows but SetEnabled. [Exists]: a unit with that key, or one that
	// the environment holds to be the same, is there and was not installed by this OpID.
	Install(ctx context.Context, op OpID, spec InstallSpec) (Unit, error)

	// Update makes the package next the present generation of the unit, stopped. Key, AutoStart and run levels stay; the handle of
	// before stays valid until Discard. On failure the unit is as before, though its modules may be stopped.
	Update(ctx context.Context, op OpID, u UnitRef, old, next Package) (Unit, error)

	// Revert undoes an Update: the package old is the present generation again, stopped. It succeeds also when the Update
	// never happened or happened in part.
	Revert(ctx context.Context, op OpID, u UnitRef, old Package) (Unit, error)

	// Discard ends an Update for good: what was kept of the old generation goes. Repeating it is no error.
	Discard(ctx context.Context, op OpID, u UnitRef) error

	// Uninstall stops and removes the unit with all that belongs to it. What is gone already succeeds. On failure nothing is
	// removed.
	Uninstall(ctx context.Context, op OpID, u UnitRef) (UninstallResult, error)

	// Start starts a module; one that is active or starting is no error, nor is an inert one. [Unresolved],
	// [StartFailed], [AutoStartFailed], [BadState] while it is stopping, [StillRunning].
	Start(ctx context.Context, op OpID, m ModuleRef, o StartOptions) error

	// Stop stops a module, with grace first and then by force where the environment can; one that is idle is no error, nor is an
	// inert one. AutoStart stays as it is. [StopFailed] also when it ended but not cleanly, [StillRunning].
	Stop(ctx context.Context, op OpID, m ModuleRef) error

	// SetEnabled launches the environment or ends it with all its modules, in order. It returns when that is done: after a launch the
	// environment is up, at its lowest run level if it has levels. What is so already succeeds: an environment
	// that runs is found again and not disturbed.
	//
	// first is what was set of modules while the environment was not up, as far as the environment keeps it itself ([CapAutoStart],
	// [CapRunLevels]). A launch takes it over before any module is started, so that one that brings the environment down can be kept from it.
	// It is without effect on an environment that runs, and on modules that are not there; the agent makes the calls that belong to it
	// in any case, once the environment is up.
	SetEnabled(ctx context.Context, op OpID, env string, on bool, first []ModuleSetting) error
}

// RunLeveler is implemented by adapters of environments that have run levels of their own ([CapRunLevels]).
type RunLeveler interface {
	// SetRunLevel brings the environment to a run level; it returns when the level is reached, [StillRunning] when that
	// takes longer than the time limit. Modules that fail on the way are told by Watch and are no error.
	SetRunLevel(ctx context.Context, op OpID, env string, level int) error
	// SetInitialModuleRunLevel sets the level that new modules get.
	SetInitialModuleRunLevel(ctx context.Context, op OpID, env string, level int) error
	// SetModuleRunLevel sets the level of one module; it is started or stopped if that follows from it.
	SetModuleRunLevel(ctx context.Context, op OpID, m ModuleRef, level int) error
}

// AutoStarter is implemented by adapters of environments that keep AutoStart themselves ([CapAutoStart]).
type AutoStarter interface {
	// SetAutoStart sets whether the module is started with its environment, with the side effects that the environment
	// has: an OSGi bundle is started or stopped (OSGi chapter 155, AutoStart). Errors as those of Start and Stop; the flag is
	// set even if the start failed.
	SetAutoStart(ctx context.Context, op OpID, m ModuleRef, on bool) error
}

// Exporter is implemented by adapters that can give back the package a unit was installed from ([CapExport]). It serves units that
// somebody else installed: the agent has no package of them.
//
// The file that it writes, as that of [Versioner], is at a path on the device in a directory that the agent owns. What is at the path
// already is replaced: it is the rest of a call that was cut off. On failure no file is left there.
type Exporter interface {
	// Export writes the package of the unit's present generation to the file at path, equal in content to what was installed as far
	// as the environment keeps it: installing it gives the same unit. It changes nothing in the environment. [NotSupported]
	// when the environment has no package of it, with the reason; [NotFound]: there is no such unit.
	Export(ctx context.Context, u UnitRef, path string) error
}

// Versioner is implemented by adapters of environments that run from files that can be put back ([CapVersions]). Neither method
// disturbs an environment that runs, and neither needs one.
type Versioner interface {
	// SaveVersion writes what the environment runs from to the file at path: for OSGi the framework's jar and its class path, as one
	// archive. Of an environment that is down it is what a launch would make it run from, of one that runs what it was launched from, also when
	// another version has been configured or restored since. The same content gives the same bytes. [NotSupported] when that cannot be
	// saved, with the reason.
	SaveVersion(ctx context.Context, env string, path string) error

	// RestoreVersion makes the environment run from the saved file p from its next launch on, for as long as its
	// configuration names files of the content that it names now. When it names other content, that is what runs at the next
	// launch, and the restored version is forgotten. Restoring what it runs from anyway changes nothing. [Mismatch]: p is no
	// saved version of this kind of environment; [Corrupt]: it is damaged. On failure the environment runs from what it ran from.
	RestoreVersion(ctx context.Context, op OpID, env string, p Package) error
}

// UnitSetter is implemented by adapters whose environments give settings to the modules of a unit ([CapUnitSettings]).
type UnitSetter interface {
	// SetUnit replaces the settings of a unit, which have been none at its Install. The Source of each volume is there. They hold from the next start of each module on, whoever
	// starts it, over updates, restarts and reboots, until the unit is uninstalled; a module that runs is not disturbed. Limits may hold for one that runs at once:
	// [InUse] where it would be ended by that. One that is taken away may uncover a limit of the package's own, which may end it. [NotSupported] names the setting that the environment does not
	// have, [InvalidArgument] the one that is malformed: nothing is changed then.
	SetUnit(ctx context.Context, op OpID, u UnitRef, s UnitSettings) error
}

// Constrainer is implemented by adapters of environments whose limits can be changed ([CapConstraints]).
type Constrainer interface {
	// Constrain sets limits of the environment, for all of its modules together. A limit that is nil stays as it is, 0 takes it
	// away. They hold at once, and over restarts and reboots, until they are set again or until the configuration of the environment
	// names another value for the limit than it does now. It needs no running environment. [InUse]: a limit is below what the environment
	// uses now, and force is not set; with it modules may be ended by the environment. [NotSupported] names the limit that the
	// environment does not have. Nothing is changed then.
	Constrain(ctx context.Context, op OpID, env string, c Constraints, force bool) error
}

// Constraints are limits to be set of an environment; see [Limits]. Nil: as it is.
type Constraints struct {
	Disk, Memory *int64
	CPU          *int
}

// Reason is the class of an adapter's error. The strings travel; they never change, new ones are appended.
type Reason string

// The reasons.
const (
	Mismatch          Reason = "mismatch"            // the package is of another kind of environment
	Corrupt           Reason = "corrupt"             // the package is damaged
	Unresolved        Reason = "unresolved"          // requirements are missing
	NoResources       Reason = "no-resources"        // no disk, memory, …
	NotFound          Reason = "not-found"           // no such environment, unit or module
	Exists            Reason = "exists"              // there is one like it
	BadState          Reason = "bad-state"           // not in this state
	StartFailed       Reason = "start-failed"        // an explicit start failed
	AutoStartFailed   Reason = "auto-start-failed"   // a start because of AutoStart or a run level failed
	StopFailed        Reason = "stop-failed"         // a stop failed, or ended it uncleanly
	Unstartable       Reason = "unstartable"         // its configuration, or the environment, forbids starting
	FailedWhileActive Reason = "failed-while-active" // it was started and failed later
	Dependency        Reason = "dependency"          // what it depends on went away
	Unavailable       Reason = "unavailable"         // the environment is not up
	StillRunning      Reason = "still-running"       // not finished, cannot be interrupted; the outcome comes by Watch
	NotSupported      Reason = "not-supported"       // the adapter does not do that
	InvalidArgument   Reason = "invalid-argument"    // a setting or argument is wrong
	Canceled          Reason = "canceled"            // the context of the call was done
	Internal          Reason = "internal"            // anything else
	InUse             Reason = "in-use"              // it is less than what is in use
)

// Error is an error of an adapter. It crosses the wire whole.
type Error struct {
	Reason  Reason
	Message string // for the operator
	// Cause is the environment's own message where it has one: it becomes ExecutionFaultMessage.
	Cause string
}

func (e *Error) Error() string { return e.Message }

// Errorf returns an *[Error] without a Cause.
func Errorf(r Reason, format string, args ...any) error {
	return &Error{Reason: r, Message: fmt.Sprintf(format, args...)}
}

// ReasonOf returns the reason of err: empty for nil, [Canceled] for the errors of package context, [Internal] for an error
// that is no *[Error].
func ReasonOf(err error) Reason {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Reason
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Canceled
	}
	return Internal
}
