package deployment

import (
	"context"
	"errors"
	"strconv"
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
	// NewVolumes are the numbers of volumes that have no rows before the operation has succeeded; their directories are not collected while it is open.
	NewVolumes []model.RowID `json:"volumes,omitempty"`
	// Others are what the operation brings besides, from other places. They have none of their own.
	Others []download `json:"others,omitempty"`
}

// all returns d and the others.
func (d *download) all() []*download {
	all := []*download{d}
	for i := range d.Others {
		all = append(all, &d.Others[i])
	}
	return all
}

// spoolKey is the key in the spool of the n-th download of an operation, from 0.
func spoolKey(op string, n int) string {
	if n == 0 {
		return op
	}
	return op + "-" + strconv.Itoa(n+1)
}

// downloadSteps are the first steps of an operation that brings packages: into the spool, and from there into the package store. of
// returns the part of its state that they work on. When one package cannot be had, the operation has none.
func downloadSteps[S any](us *Units, of func(*S) *download) []operation.Step[S] {
	type run = operation.Run[S]
	return []operation.Step[S]{
		{
			Name: "fetch", State: model.JobFetching, Weight: 10,
			Do: func(ctx context.Context, r *run) (operation.Apply, error) {
				return nil, us.fetchAll(ctx, r, r.Rebooted, of(r.State))
			},
			Undo: func(_ context.Context, r *run) (operation.Apply, error) {
				var errs []error
				for n := range of(r.State).all() {
					errs = append(errs, us.Packages.Discard(spoolKey(string(r.OpID()), n)))
				}
				return nil, errors.Join(errs...)
			},
		},
		{
			Name: "verify", State: model.JobVerifying,
			Do: func(ctx context.Context, r *run) (operation.Apply, error) {
				for _, d := range of(r.State).all() {
					if err := us.verify(ctx, d); err != nil {
						return nil, err
					}
				}
				return nil, nil
			},
		},
	}
}

// progress is what the steps of a download need of their run.
type progress interface {
	OpID() adapter.OpID
	Progress(done, total int64)
	Wall() time.Time
}

// fetchAll brings the files into the spool, one after the other. After a restart of the agent it goes on where it was; after one of the device it
// has failed (TR-369: a command that was running counts as failed).
func (us *Units) fetchAll(ctx context.Context, r progress, rebooted bool, first *download) error {
	if rebooted {
		return fault.Errorf(fault.TransferIncomplete, "cannot fetch %s: the device restarted", packages.Display(first.URL))
	}
	all := first.all()
	var before int64 // bytes of those that are there
	for n, d := range all {
		// How much there is in all is known when the last one is.
		tell := func(done, total int64) {
			if n < len(all)-1 || total < 0 {
				total = 0
			} else {
				total += before
			}
			r.Progress(before+done, total)
		}
		if err := us.fetch(ctx, r, spoolKey(string(r.OpID()), n), d, tell); err != nil {
			return err
		}
		first.Pins = append(first.Pins, d.Fetched.SHA256)
		before += d.Fetched.Size
	}
	return nil
}

// fetch brings one file into the spool.
func (us *Units) fetch(ctx context.Context, r progress, key string, d *download, tell func(done, total int64)) error {
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
	d.Fetched, err = us.Fetcher.Fetch(ctx, packages.Request{Key: key, URL: d.URL, Username: c.Username, Password: c.Password}, tell)
	return err
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
