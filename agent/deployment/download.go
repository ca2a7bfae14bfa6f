package deployment

import (
	"context"
	"time"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/packages"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// download is the part of the state of install and update that brings the package.
type download struct {
	URL         string           `json:"url"`
	Credentials []byte           `json:"credentials,omitempty"` // sealed
	Fetched     packages.Fetched `json:"fetched"`
	Transfer    time.Time        `json:"transfer"` // wall time at which it began; zero: it did not, or the clock was not set
	// For is the environment that the package was asked for; empty: any.
	For string `json:"for,omitempty"`
	// Pins are the packages that the operation needs; they are not collected while it is open.
	Pins []string `json:"pins,omitempty"`
}

// downloadSteps are the first steps of an operation that brings a package: into the spool, and from there into the package store. of
// returns the part of its state that they work on.
func downloadSteps[S any](us *Units, of func(*S) *download) []operation.Step[S] {
	type run = operation.Run[S]
	return []operation.Step[S]{
		{
			Name: "fetch", State: model.JobFetching, Weight: 10,
			Do: func(ctx context.Context, r *run) (operation.Apply, error) {
				return nil, us.fetch(ctx, r, r.Rebooted, of(r.State))
			},
			Undo: func(_ context.Context, r *run) (operation.Apply, error) {
				return nil, us.Packages.Discard(string(r.OpID()))
			},
		},
		{
			Name: "verify", State: model.JobVerifying,
			Do: func(ctx context.Context, r *run) (operation.Apply, error) { return nil, us.verify(ctx, of(r.State)) },
		},
	}
}

// progress is what the steps of a download need of their run.
type progress interface {
	OpID() adapter.OpID
	Progress(done, total int64)
	Wall() time.Time
}

// fetch brings the file into the spool. After a restart of the agent it goes on where it was; after one of the device it
// has failed (TR-369: a command that was running counts as failed).
func (us *Units) fetch(ctx context.Context, r progress, rebooted bool, d *download) error {
	if rebooted {
		return fault.Errorf(fault.TransferIncomplete, "cannot fetch %s: the device restarted", packages.Display(d.URL))
	}
	slots, known := us.downloads[d.For]
	if !known { // it was taken out of the configuration since
		return environment.Check(us.Inventory.Snapshot(), d.For)
	}
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if d.Transfer.IsZero() {
		d.Transfer = r.Wall()
	}
	c, err := us.Sealer.Open(d.Credentials)
	if err != nil {
		return err
	}
	got, err := us.Fetcher.Fetch(ctx, packages.Request{Key: string(r.OpID()), URL: d.URL, Username: c.Username, Password: c.Password}, r.Progress)
	if err != nil {
		return err
	}
	d.Fetched, d.Pins = got, append(d.Pins, got.SHA256)
	return nil
}

// verify moves the file into the package store. When an earlier process has done that and died, it finds the package there.
func (us *Units) verify(ctx context.Context, d *download) error {
	if _, err := us.Packages.Put(ctx, d.Fetched); err != nil {
		if _, getErr := us.Packages.Get(d.Fetched.SHA256, d.Fetched.Size); getErr == nil {
			return nil
		}
		return err
	}
	return nil
}
