package fake

import (
	"context"
	"errors"
	"os"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// Export writes the package of the present generation of a unit. It is made anew of what the World keeps of it.
func (a *Adapter) Export(ctx context.Context, ref adapter.UnitRef, path string) error {
	var data []byte
	err := a.change(ctx, Call{Method: "Export", Env: ref.Env}, func(c *change, _ environment) error {
		if !a.w.opts.Export {
			return adapter.Errorf(adapter.NotSupported, "cannot export %s: environment %q gives back no packages", ref.Key, ref.Env)
		}
		_, u, err := a.unit(c, ref)
		if err != nil {
			return err
		}
		s := u.Present.Spec
		if s.ExportFails != "" {
			return &adapter.Error{Reason: adapter.NotSupported, Message: "cannot export " + ref.Key + ": " + s.ExportFails, Cause: s.ExportFails}
		}
		if data, err = encode(s); err != nil {
			return adapter.Errorf(adapter.Internal, "cannot export %s: %v", ref.Key, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return write(path, data)
}

// write replaces the file at path; on failure there is none.
func write(path string, data []byte) error {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		if gone := os.Remove(path); gone != nil && !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		return adapter.Errorf(adapter.Internal, "cannot write %s: %v", path, err)
	}
	return nil
}
