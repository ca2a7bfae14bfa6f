package supervisor

import (
	"context"
	"errors"
	"fmt"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// maxLosses is how many processes one call may take with it. A call that kills every adapter must not break it for all others.
const maxLosses = 3

// call makes a call on the running process, waiting for one, and again on the next one when the process is lost in between.
func call[T any](ctx context.Context, s *Supervisor, f func(context.Context, *adapter.Client) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.CallDeadline)
	defer cancel()
	var last *session
	for losses := 0; ; {
		p, err := s.next(ctx, last)
		if err != nil {
			var zero T
			return zero, err
		}
		result, err := f(ctx, p.client)
		if !errors.Is(err, adapter.ErrLost) {
			return result, err
		}
		p.fail(err) // for the case that only the connection is gone
		last = p
		if losses++; losses == maxLosses {
			return result, adapter.Errorf(adapter.Unavailable, "cannot finish the call: adapter %s died %d times in it", s.o.Name, losses)
		}
	}
}

// do is call without a result.
func do(ctx context.Context, s *Supervisor, f func(context.Context, *adapter.Client) error) error {
	_, err := call(ctx, s, func(ctx context.Context, c *adapter.Client) (struct{}, error) { return struct{}{}, f(ctx, c) })
	return err
}

// next waits for a session that is not last. A broken adapter and the end of Run are [adapter.Unavailable] at once.
func (s *Supervisor) next(ctx context.Context, last *session) (*session, error) {
	for {
		s.mu.Lock()
		p, info, ended, changed := s.session, s.info, s.ended, s.changed
		s.mu.Unlock()
		switch {
		case ended:
			return nil, adapter.Errorf(adapter.Unavailable, "cannot call adapter %s: the agent is ending", s.o.Name)
		case p != nil && p != last:
			return p, nil
		case info.State == StateBroken:
			return nil, adapter.Errorf(adapter.Unavailable, "cannot call adapter %s: it is broken: %s", s.o.Name, info.Detail)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot call adapter %s: no process was running (%s): %w", s.o.Name, info.State, ctx.Err())
		}
	}
}

// Describe implements [adapter.Adapter], as do all that follow.
func (s *Supervisor) Describe(ctx context.Context) (adapter.Description, error) {
	return call(ctx, s, func(ctx context.Context, c *adapter.Client) (adapter.Description, error) { return c.Describe(ctx) })
}

// Configure is not supported: the environments are those of [Options], which every new process gets.
func (s *Supervisor) Configure(context.Context, []adapter.EnvConfig) error {
	return adapter.Errorf(adapter.NotSupported, "cannot configure adapter %s again", s.o.Name)
}

// Watch is not supported: the [Handler] hears the events, and of the processes that they belong to.
func (s *Supervisor) Watch(context.Context) (<-chan adapter.Event, error) {
	return nil, adapter.Errorf(adapter.NotSupported, "cannot watch adapter %s besides its supervisor", s.o.Name)
}

// Inspect implements [adapter.Adapter].
func (s *Supervisor) Inspect(ctx context.Context, env string, p adapter.Package) (adapter.Manifest, error) {
	return call(ctx, s, func(ctx context.Context, c *adapter.Client) (adapter.Manifest, error) { return c.Inspect(ctx, env, p) })
}

// Install implements [adapter.Adapter].
func (s *Supervisor) Install(ctx context.Context, op adapter.OpID, spec adapter.InstallSpec) (adapter.Unit, error) {
	return call(ctx, s, func(ctx context.Context, c *adapter.Client) (adapter.Unit, error) { return c.Install(ctx, op, spec) })
}

// Update implements [adapter.Adapter].
func (s *Supervisor) Update(
	ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package,
) (adapter.Unit, error) {
	return call(ctx, s, func(ctx context.Context, c *adapter.Client) (adapter.Unit, error) {
		return c.Update(ctx, op, u, old, next)
	})
}

// Revert implements [adapter.Adapter].
func (s *Supervisor) Revert(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old adapter.Package) (adapter.Unit, error) {
	return call(ctx, s, func(ctx context.Context, c *adapter.Client) (adapter.Unit, error) { return c.Revert(ctx, op, u, old) })
}

// Discard implements [adapter.Adapter].
func (s *Supervisor) Discard(ctx context.Context, op adapter.OpID, u adapter.UnitRef) error {
	return do(ctx, s, func(ctx context.Context, c *adapter.Client) error { return c.Discard(ctx, op, u) })
}

// Uninstall implements [adapter.Adapter].
func (s *Supervisor) Uninstall(ctx context.Context, op adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
	return call(ctx, s, func(ctx context.Context, c *adapter.Client) (adapter.UninstallResult, error) {
		return c.Uninstall(ctx, op, u)
	})
}

// Start implements [adapter.Adapter].
func (s *Supervisor) Start(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
	return do(ctx, s, func(ctx context.Context, c *adapter.Client) error { return c.Start(ctx, op, m, o) })
}

// Stop implements [adapter.Adapter].
func (s *Supervisor) Stop(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
	return do(ctx, s, func(ctx context.Context, c *adapter.Client) error { return c.Stop(ctx, op, m) })
}

// SetEnabled implements [adapter.Adapter].
func (s *Supervisor) SetEnabled(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
	return do(ctx, s, func(ctx context.Context, c *adapter.Client) error { return c.SetEnabled(ctx, op, env, on, first) })
}

// SetRunLevel implements [adapter.RunLeveler].
func (s *Supervisor) SetRunLevel(ctx context.Context, op adapter.OpID, env string, level int) error {
	return do(ctx, s, func(ctx context.Context, c *adapter.Client) error { return c.SetRunLevel(ctx, op, env, level) })
}

// SetInitialModuleRunLevel implements [adapter.RunLeveler].
func (s *Supervisor) SetInitialModuleRunLevel(ctx context.Context, op adapter.OpID, env string, level int) error {
	return do(ctx, s, func(ctx context.Context, c *adapter.Client) error {
		return c.SetInitialModuleRunLevel(ctx, op, env, level)
	})
}

// SetModuleRunLevel implements [adapter.RunLeveler].
func (s *Supervisor) SetModuleRunLevel(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, level int) error {
	return do(ctx, s, func(ctx context.Context, c *adapter.Client) error { return c.SetModuleRunLevel(ctx, op, m, level) })
}

// SetAutoStart implements [adapter.AutoStarter].
func (s *Supervisor) SetAutoStart(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, on bool) error {
	return do(ctx, s, func(ctx context.Context, c *adapter.Client) error { return c.SetAutoStart(ctx, op, m, on) })
}

// Export implements [adapter.Exporter].
func (s *Supervisor) Export(ctx context.Context, u adapter.UnitRef, path string) error {
	return do(ctx, s, func(ctx context.Context, c *adapter.Client) error { return c.Export(ctx, u, path) })
}

// SaveVersion implements [adapter.Versioner].
func (s *Supervisor) SaveVersion(ctx context.Context, env string, path string) error {
	return do(ctx, s, func(ctx context.Context, c *adapter.Client) error { return c.SaveVersion(ctx, env, path) })
}

// SetUnit implements [adapter.UnitSetter].
func (s *Supervisor) SetUnit(ctx context.Context, op adapter.OpID, u adapter.UnitRef, settings adapter.UnitSettings) error {
	return do(ctx, s, func(ctx context.Context, c *adapter.Client) error { return c.SetUnit(ctx, op, u, settings) })
}

// Constrain implements [adapter.Constrainer].
func (s *Supervisor) Constrain(ctx context.Context, op adapter.OpID, env string, l adapter.Constraints, force bool) error {
	return do(ctx, s, func(ctx context.Context, c *adapter.Client) error { return c.Constrain(ctx, op, env, l, force) })
}

// RestoreVersion implements [adapter.Versioner].
func (s *Supervisor) RestoreVersion(ctx context.Context, op adapter.OpID, env string, p adapter.Package) error {
	return do(ctx, s, func(ctx context.Context, c *adapter.Client) error { return c.RestoreVersion(ctx, op, env, p) })
}
