// Package osgi is the adapter for OSGi frameworks: Felix, Equinox, and others that comply with OSGi Core.
//
// The framework runs in a JVM of its own, the host process, which a small Java program (folder host) makes answer on a Unix
// socket. The host process is no child that the adapter needs: it lives in its own session, outlives the adapter, and is found
// again through its socket. The adapter translates between the contract of package adapter and the host's protocol, keeps no
// state but the version that an environment was put back to, and reads bundles itself, so that a package can be judged without a running
// framework.
//
// A deployment unit is a bundle, found again by its location, which is the unit's key. Its one execution unit has the ID
// "bundle". Run levels are the framework's start levels; its lowest is 1, and 0 is read as 1. AutoStart is the framework's
// persistent start flag.
//
// With the setting attach the framework is one that somebody else launches and ends; the host is a bundle in it.
package osgi

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// Kind is the name that environments use to refer to this adapter.
const Kind = "osgi"

// Version is the adapter's version.
const Version = "1.0.0"

var (
	_ adapter.RunLeveler  = (*osgi)(nil)
	_ adapter.AutoStarter = (*osgi)(nil)
	_ adapter.Exporter    = (*osgi)(nil)
	_ adapter.Versioner   = (*osgi)(nil)
)

// New returns the adapter. It implements all optional interfaces too.
func New(log *slog.Logger) adapter.Adapter { return newAdapter(log, defaultLimits()) }

func newAdapter(log *slog.Logger, l limits) *osgi {
	return &osgi{log: log, limits: l}
}

type osgi struct {
	log    *slog.Logger
	limits limits

	mu        sync.Mutex
	envs      map[string]*env // nil: not configured
	endWatch  context.CancelFunc
	watchOver chan struct{} // closed when the present watch has ended
}

func (o *osgi) Describe(context.Context) (adapter.Description, error) {
	return adapter.Description{Kind: Kind, Version: Version,
		Capabilities: []adapter.Capability{adapter.CapRunLevels, adapter.CapAutoStart, adapter.CapExport, adapter.CapVersions}}, nil
}

func (o *osgi) Configure(_ context.Context, configs []adapter.EnvConfig) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.envs != nil {
		return adapter.Errorf(adapter.BadState, "cannot configure the adapter: it is configured already")
	}
	envs := map[string]*env{}
	for _, c := range configs {
		set, err := parseSettings(c.ID, c.Settings)
		if err != nil {
			return err
		}
		if !filepath.IsAbs(c.DataDir) {
			return adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: data directory %q is not absolute", c.ID, c.DataDir)
		}
		if envs[c.ID] != nil {
			return adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: there are two of that name", c.ID)
		}
		c.DataDir = filepath.Clean(c.DataDir)
		envs[c.ID] = newEnv(c, set, o.limits, o.log)
	}
	o.envs = envs
	return nil
}

func (o *osgi) env(id string) (*env, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e := o.envs[id]; e != nil {
		return e, nil
	}
	return nil, adapter.Errorf(adapter.NotFound, "cannot find environment %q", id)
}

func (o *osgi) Watch(ctx context.Context) (<-chan adapter.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	o.mu.Lock()
	if o.envs == nil {
		o.mu.Unlock()
		cancel()
		return nil, adapter.Errorf(adapter.BadState, "cannot watch: the adapter is not configured")
	}
	envs := slices.SortedFunc(maps.Values(o.envs), func(a, b *env) int { return strings.Compare(a.id, b.id) })
	endBefore, beforeOver := o.endWatch, o.watchOver
	o.endWatch, o.watchOver = cancel, over
	o.mu.Unlock()
	if endBefore != nil {
		endBefore()
		<-beforeOver
	}

	events := make(chan adapter.Event)
	send := func(e adapter.Event) bool {
		select {
		case events <- e:
			return true
		case <-ctx.Done():
			return false
		}
	}
	var watchers sync.WaitGroup
	for _, e := range envs {
		w := &watcher{env: e, send: send}
		watchers.Go(func() { w.run(ctx) })
	}
	go func() { // ends with the watchers, which end with ctx
		<-ctx.Done()
		watchers.Wait()
		cancel()
		close(events)
		close(over)
	}()
	return events, nil
}

func (o *osgi) Inspect(ctx context.Context, env string, p adapter.Package) (adapter.Manifest, error) {
	if _, err := o.env(env); err != nil {
		return adapter.Manifest{}, err
	}
	return inspectBundle(ctx, p.Path)
}

// bundleAnswer is the result of the requests that make or change a bundle.
type bundleAnswer struct {
	Bundle bundleInfo `json:"bundle"`
}

func (o *osgi) Install(ctx context.Context, op adapter.OpID, spec adapter.InstallSpec) (adapter.Unit, error) {
	var none adapter.Unit
	e, err := o.env(spec.Env)
	if err != nil {
		return none, err
	}
	if spec.Key == "" {
		return none, adapter.Errorf(adapter.InvalidArgument, "cannot install into environment %q: the unit has no key", spec.Env)
	}
	level := -1
	if spec.RunLevel >= 0 {
		if level, err = frameworkLevel("run level of a new bundle", spec.RunLevel); err != nil {
			return none, err
		}
	}
	// A framework says less clearly what is wrong with a file, and some keep parts of it.
	if _, err := inspectBundle(ctx, spec.Package.Path); err != nil {
		return none, err
	}
	var answer bundleAnswer
	err = e.bring(ctx, "install "+bundleName(e.id, spec.Key), "install", spec.Package.Path, map[string]any{
		"location": spec.Key, "op": string(op), "startLevel": level,
	}, &answer)
	if err != nil {
		return none, err
	}
	return toUnit(e.id, answer.Bundle), nil
}

func (o *osgi) Update(ctx context.Context, op adapter.OpID, u adapter.UnitRef, _, next adapter.Package) (adapter.Unit, error) {
	return o.update(ctx, string(op), u, next, "update")
}

// Revert updates to the old package: a framework keeps no generation of a bundle but the present one. A bundle that does not end its stop
// was not updated, for that is what an Update does first; it stays as it is.
func (o *osgi) Revert(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old adapter.Package) (adapter.Unit, error) {
	// An Update and its Revert may come with the same key; to the host they are two requests.
	unit, err := o.update(ctx, string(op)+"/revert", u, old, "revert")
	if adapter.ReasonOf(err) != adapter.StillRunning {
		return unit, err
	}
	e, envErr := o.env(u.Env)
	loc, locErr := location(u)
	if envErr != nil || locErr != nil {
		return unit, err
	}
	what := "revert " + bundleName(e.id, loc)
	same, lookErr := e.has(ctx, what, loc, old)
	if lookErr != nil || !same {
		return unit, err
	}
	return e.unit(ctx, what, loc)
}

// unit returns a bundle as it is.
func (e *env) unit(ctx context.Context, what, loc string) (adapter.Unit, error) {
	var answer struct {
		Bundles []bundleInfo `json:"bundles"`
	}
	if err := e.request(ctx, what, "list", struct{}{}, &answer, e.limits.change); err != nil {
		return adapter.Unit{}, err
	}
	for _, b := range answer.Bundles {
		if b.Location == loc {
			return toUnit(e.id, b), nil
		}
	}
	return adapter.Unit{}, adapter.Errorf(adapter.NotFound, "cannot %s: no bundle is at this location", what)
}

func (o *osgi) update(ctx context.Context, op string, u adapter.UnitRef, p adapter.Package, verb string) (adapter.Unit, error) {
	var none adapter.Unit
	e, err := o.env(u.Env)
	if err != nil {
		return none, err
	}
	loc, err := location(u)
	if err != nil {
		return none, err
	}
	if _, err := inspectBundle(ctx, p.Path); err != nil {
		return none, err
	}
	what := verb + " " + bundleName(e.id, loc)
	if err := e.stopBefore(ctx, what, loc); err != nil {
		return none, err
	}
	var answer bundleAnswer
	err = e.bring(ctx, what, "update", p.Path, map[string]any{"location": loc, "op": op}, &answer)
	if err != nil {
		return none, err
	}
	return toUnit(e.id, answer.Bundle), nil
}

// stopBefore stops a bundle that is to be updated or removed. The framework would do that too, but without a time limit: a
// bundle that does not end its stop is found here, while nothing is changed yet. A stop that fails does no harm.
func (e *env) stopBefore(ctx context.Context, what, loc string) error {
	err := e.move(ctx, what, "stop", map[string]any{"location": loc})
	switch adapter.ReasonOf(err) {
	case adapter.StillRunning, adapter.BadState:
		return adapter.Errorf(adapter.StillRunning, "cannot %s: the bundle is still starting or stopping", what)
	case adapter.Unavailable, adapter.Canceled, adapter.NotSupported: // the last: it is the host
		return err
	}
	return nil
}

// Discard has nothing to end: the framework has let go of the old generation when Update refreshed its dependents.
func (o *osgi) Discard(_ context.Context, _ adapter.OpID, u adapter.UnitRef) error {
	if _, err := o.env(u.Env); err != nil {
		return err
	}
	_, err := location(u)
	return err
}

func (o *osgi) Uninstall(ctx context.Context, _ adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
	var answer struct {
		Pending bool `json:"pending"`
	}
	e, err := o.env(u.Env)
	if err != nil {
		return adapter.UninstallResult{}, err
	}
	loc, err := location(u)
	if err != nil {
		return adapter.UninstallResult{}, err
	}
	what := "uninstall " + bundleName(e.id, loc)
	if err := e.stopBefore(ctx, what, loc); err != nil {
		return adapter.UninstallResult{}, err
	}
	err = e.change(ctx, what, "uninstall", map[string]any{"location": loc}, &answer)
	return adapter.UninstallResult{Pending: answer.Pending}, err
}

func (o *osgi) moveModule(ctx context.Context, verb, method string, m adapter.ModuleRef, params map[string]any) error {
	e, err := o.env(m.Env)
	if err != nil {
		return err
	}
	loc, err := moduleLocation(m)
	if err != nil {
		return err
	}
	params["location"] = loc
	return e.move(ctx, verb+" "+bundleName(e.id, loc), method, params)
}

func (o *osgi) Start(ctx context.Context, _ adapter.OpID, m adapter.ModuleRef, s adapter.StartOptions) error {
	return o.moveModule(ctx, "start", "start", m, map[string]any{"transient": !s.Persistent, "auto": s.Auto})
}

func (o *osgi) Stop(ctx context.Context, _ adapter.OpID, m adapter.ModuleRef) error {
	return o.moveModule(ctx, "stop", "stop", m, map[string]any{})
}

// SetAutoStart implements [adapter.AutoStarter].
func (o *osgi) SetAutoStart(ctx context.Context, _ adapter.OpID, m adapter.ModuleRef, on bool) error {
	return o.moveModule(ctx, "set AutoStart of", "setAutoStart", m, map[string]any{"on": on})
}

// SetModuleRunLevel implements [adapter.RunLeveler].
func (o *osgi) SetModuleRunLevel(ctx context.Context, _ adapter.OpID, m adapter.ModuleRef, level int) error {
	level, err := frameworkLevel("run level of a bundle", level)
	if err != nil {
		return err
	}
	return o.moveModule(ctx, "set the run level of", "setBundleStartLevel", m, map[string]any{"level": level})
}

// SetRunLevel implements [adapter.RunLeveler].
func (o *osgi) SetRunLevel(ctx context.Context, _ adapter.OpID, id string, level int) error {
	e, err := o.env(id)
	if err != nil {
		return err
	}
	if level, err = frameworkLevel("run level", level); err != nil {
		return err
	}
	return e.move(ctx, fmt.Sprintf("set the run level of environment %q to %d", id, level), "setStartLevel", map[string]any{"level": level})
}

// SetInitialModuleRunLevel implements [adapter.RunLeveler].
func (o *osgi) SetInitialModuleRunLevel(ctx context.Context, _ adapter.OpID, id string, level int) error {
	e, err := o.env(id)
	if err != nil {
		return err
	}
	if level, err = frameworkLevel("initial run level of bundles", level); err != nil {
		return err
	}
	return e.move(ctx, fmt.Sprintf("set the initial run level of bundles in environment %q to %d", id, level),
		"setInitialBundleStartLevel", map[string]any{"level": level})
}

// firstOptions turns settings of modules into options of the host. A setting of a module that is not there is without effect.
func firstOptions(first []adapter.ModuleSetting) ([]string, error) {
	var options []string
	for _, s := range first {
		loc, err := moduleLocation(s.ModuleRef)
		if adapter.ReasonOf(err) == adapter.NotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		if s.RunLevel >= 0 {
			level, err := frameworkLevel("run level of a bundle", s.RunLevel)
			if err != nil {
				return nil, err
			}
			options = append(options, "--bundle-level", fmt.Sprintf("%d %s", level, loc))
		}
		if s.AutoStart != nil {
			options = append(options, "--auto-start", fmt.Sprintf("%t %s", *s.AutoStart, loc))
		}
	}
	return options, nil
}

func (o *osgi) SetEnabled(ctx context.Context, _ adapter.OpID, id string, on bool, first []adapter.ModuleSetting) error {
	e, err := o.env(id)
	if err != nil {
		return err
	}
	switch {
	case e.set.attach && on:
		return notOurs(fmt.Sprintf("launch environment %q", id))
	case e.set.attach:
		return notOurs(fmt.Sprintf("end environment %q", id))
	case !on:
		return e.disable(ctx)
	}
	options, err := firstOptions(first)
	if err != nil {
		return err
	}
	return e.enable(ctx, options)
}
