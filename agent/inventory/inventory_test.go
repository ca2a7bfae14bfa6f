package inventory

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// box is an inventory over a file, with a count of the commits that reached the disk.
type box struct {
	*Inventory
	t       testing.TB
	path    string
	store   *store.Store
	commits int
	broken  error // what commits fail with
}

func newBox(t testing.TB) *box {
	b := &box{t: t, path: filepath.Join(t.TempDir(), "state.db")}
	b.open()
	t.Cleanup(func() { _ = b.store.Close() }) // a second Close does nothing
	return b
}

func (b *box) open() {
	b.t.Helper()
	var err error
	if b.store, err = store.Open(b.path, quiet); err != nil {
		b.t.Fatal(err)
	}
	if b.Inventory, err = New(b.store, quiet); err != nil {
		b.t.Fatal(err)
	}
	b.commits = 0
	b.store.FailCommits(func() error {
		b.commits++
		return b.broken
	})
}

func (b *box) reopen() {
	b.t.Helper()
	if err := b.store.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.open()
}

func (b *box) update(f func(*Tx) error) {
	b.t.Helper()
	if err := b.Update(f); err != nil {
		b.t.Fatal(err)
	}
}

// fill puts an environment with n deployment units of one execution unit each.
func (b *box) fill(n uint32) {
	b.t.Helper()
	b.update(func(tx *Tx) error {
		if err := tx.PutExecEnv(env("osgi", 1)); err != nil {
			return err
		}
		for i := uint32(1); i <= n; i++ {
			if err := errors.Join(tx.PutDeploymentUnit(du(i)), tx.PutExecutionUnit(eu(i, i)), tx.PutVolume(&model.Volume{ID: i, Env: "osgi"})); err != nil {
				return err
			}
		}
		return nil
	})
}

func env(id string, instance uint32) *model.ExecEnv {
	return &model.ExecEnv{ID: id, Instance: instance, Alias: "cpe-" + id, Status: model.EEUp}
}

func du(id model.RowID) *model.DeploymentUnit {
	return &model.DeploymentUnit{ID: id, Env: "osgi", UUID: fmt.Sprintf("uuid-%d", id), Version: "1", Status: model.DUInstalled}
}

func eu(id, du model.RowID) *model.ExecutionUnit {
	return &model.ExecutionUnit{ID: id, DU: du, Env: "osgi", EUID: fmt.Sprintf("osgi/%d", id), Status: model.EUIdle, Restart: model.DefaultAutoRestart}
}

// contents is everything in a snapshot, readable.
func contents(s *model.Snapshot) string {
	var out strings.Builder
	for e := range s.ExecEnvs() {
		fmt.Fprintf(&out, "%+v\n", *e)
	}
	for u := range s.DeploymentUnits() {
		fmt.Fprintf(&out, "%+v\n", *u)
	}
	for u := range s.ExecutionUnits() {
		fmt.Fprintf(&out, "%+v\n", *u)
	}
	for v := range s.Volumes() {
		fmt.Fprintf(&out, "%+v\n", *v)
	}
	for j := range s.Jobs() {
		fmt.Fprintf(&out, "%+v\n", *j)
	}
	return out.String()
}

func TestRowsSurvive(t *testing.T) {
	b := newBox(t)
	b.fill(3)
	b.update(func(tx *Tx) error {
		u := *tx.ExecutionUnit(2)
		u.Status, u.FaultCode, u.PIDs, u.Memory = model.EUActive, model.NoFault, []uint32{7}, 12
		tx.PutJob(&model.Job{ID: 1})
		return errors.Join(tx.PutExecutionUnit(&u), tx.DeleteDeploymentUnit(3))
	})
	b.reopen()
	s := b.Snapshot()
	if e := s.ExecEnvByID("osgi"); e == nil || e.Alias != "cpe-osgi" || e.Status != model.EEError || e.AvailableDisk != model.UnknownSize {
		t.Errorf("environment %+v", e)
	}
	if s.Count(model.KindDeploymentUnit) != 2 || s.Count(model.KindExecutionUnit) != 2 || s.Count(model.KindJob) != 0 {
		t.Errorf("rows:\n%s", contents(s))
	}
	u := s.ExecutionUnit(2)
	if u.Status != model.EUIdle || u.FaultCode != model.UnStartable || u.FaultMessage == "" || u.PIDs != nil || u.Memory != model.UnknownSize || u.ExitCode != -1 {
		t.Errorf("an execution unit that nobody has seen yet: %+v", u)
	}
	if s.State != "starting" {
		t.Errorf("state %q", s.State)
	}
}

func TestSnapshotsDoNotChange(t *testing.T) {
	b := newBox(t)
	b.fill(300) // several nodes of a tree
	old := b.Snapshot()
	before := contents(old)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		readers.Go(func() {
			for seq := uint64(0); ; {
				select {
				case <-stop:
					return
				default:
				}
				s := b.Snapshot()
				if s.Seq < seq {
					t.Errorf("snapshot %d after %d", s.Seq, seq)
				}
				seq = s.Seq
				// Each commit changes the units 1 and 300 alike and keeps their number: a reader never sees half of one.
				if s.ExecutionUnit(1).Memory != s.ExecutionUnit(300).Memory || s.Count(model.KindExecutionUnit) != 300 {
					t.Error("half a commit can be seen")
				}
			}
		})
	}
	for i := range 200 {
		b.update(func(tx *Tx) error {
			for _, id := range []uint32{1, 150, 300} {
				u := *tx.ExecutionUnit(id)
				u.Memory = int64(i)
				if err := tx.PutExecutionUnit(&u); err != nil {
					return err
				}
			}
			return nil
		})
	}
	close(stop)
	readers.Wait()
	b.update(func(tx *Tx) error { return tx.DeleteExecEnv(tx.ExecEnvByID("osgi")) })
	for _, table := range []model.Kind{model.KindExecEnv, model.KindDeploymentUnit, model.KindExecutionUnit} {
		if n := b.Snapshot().Count(table); n != 0 {
			t.Errorf("%d rows of %s are left", n, table)
		}
	}
	if got, want := b.Snapshot().Count(model.KindVolume), old.Count(model.KindVolume); got != want {
		t.Errorf("%d of %d volumes are left", got, want)
	}
	if got := contents(old); got != before {
		t.Errorf("an old snapshot changed:\n%s", cmp.Diff(before, got))
	}
}

func TestNothingOfAFailedUpdateStays(t *testing.T) {
	refused := errors.New("refused")
	change := func(tx *Tx) error {
		u := *tx.ExecutionUnit(1)
		u.Status, u.Alias = model.EUActive, "new"
		d := *tx.DeploymentUnit(2)
		d.Version = "2"
		tx.PutJob(&model.Job{ID: 9})
		tx.State = "running"
		tx.AfterCommit(func() { panic("the hook of a failed update is called") })
		_, err := tx.NextNumber(model.KindJob)
		return errors.Join(err, tx.PutExecutionUnit(&u), tx.PutDeploymentUnit(&d), tx.DeleteDeploymentUnit(1))
	}
	for _, c := range []struct {
		name string
		do   func(b *box) error
	}{
		{"error", func(b *box) error {
			return b.Update(func(tx *Tx) error { return errors.Join(change(tx), refused) })
		}},
		{"commit", func(b *box) error {
			b.broken = refused
			defer func() { b.broken = nil }()
			return b.Update(change)
		}},
		{"panic", func(b *box) (err error) {
			defer func() {
				if recover() != nil {
					err = refused
				}
			}()
			return b.Update(func(tx *Tx) error {
				if err := change(tx); err != nil {
					return err
				}
				panic("a defect")
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t)
			b.fill(2)
			old := b.Snapshot()
			feed := b.Feed(t.Context())
			<-feed
			if err := c.do(b); !errors.Is(err, refused) {
				t.Fatalf("update: %v", err)
			}
			if b.Snapshot() != old {
				t.Errorf("the snapshot is another one:\n%s", cmp.Diff(contents(old), contents(b.Snapshot())))
			}
			// The next writer finds everything as it was, and the feed tells of its commit only.
			b.update(func(tx *Tx) error {
				if n, err := tx.NextNumber(model.KindJob); n != 1 || err != nil {
					t.Errorf("next number %d, %v", n, err)
				}
				if id, ok, err := store.UnitIndex.Get(must(tx.Store()), store.IndexKey("uuid-2", "1", "osgi")); id != 2 || !ok || err != nil {
					t.Errorf("index: %d, %v, %v", id, ok, err)
				}
				tx.PutJob(&model.Job{ID: 1})
				return nil
			})
			if got := <-feed; len(got.Changes) != 1 || got.Snapshot.Seq != old.Seq+1 {
				t.Errorf("feed tells %+v", got)
			}
			before := contents(b.Snapshot())
			b.reopen()
			b.update(func(tx *Tx) error {
				for _, id := range []uint32{1, 2} {
					u := *tx.ExecutionUnit(id)
					u.Status, u.FaultCode, u.FaultMessage, u.Memory, u.Disk, u.ExitCode = model.EUIdle, "", "", 0, 0, 0
					if err := tx.PutExecutionUnit(&u); err != nil {
						return err
					}
				}
				tx.PutJob(&model.Job{ID: 1})
				return tx.PutExecEnv(env("osgi", 1))
			})
			if d := cmp.Diff(before, contents(b.Snapshot())); d != "" {
				t.Errorf("on the disk is something else:\n%s", d)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestRunTimeStateDoesNotTouchTheDisk(t *testing.T) {
	for _, c := range []struct {
		name    string
		commits int
		change  func(*Tx) error
	}{
		{"status of an execution unit", 0, func(tx *Tx) error {
			u := *tx.ExecutionUnit(1)
			u.Status, u.FaultCode, u.FaultMessage = model.EUActive, model.FailureOnStart, "why"
			u.PIDs, u.Memory, u.Disk, u.ExitCode, u.LogPath = []uint32{1}, 2, 3, 4, "/log"
			u.Restart.Next = time.Unix(1, 0)
			return tx.PutExecutionUnit(&u)
		}},
		{"status of an environment", 0, func(tx *Tx) error {
			e := *tx.ExecEnvByID("osgi")
			e.Status, e.StatusDetail, e.CurrentRunLevel = model.EEError, "why", 3
			e.AllocatedDisk, e.AvailableDisk, e.AllocatedMemory, e.AvailableMemory = 1, 2, 3, 4
			return tx.PutExecEnv(&e)
		}},
		{"what application data holds", 0, func(tx *Tx) error {
			v := *tx.Volume(1)
			v.Utilization = 7
			return tx.PutVolume(&v)
		}},
		{"alias of application data", 1, func(tx *Tx) error {
			v := *tx.Volume(1)
			v.Alias = "new"
			return tx.PutVolume(&v)
		}},
		{"progress", 0, func(tx *Tx) error {
			tx.PutJob(&model.Job{ID: 1, Progress: 0.5})
			return nil
		}},
		{"state", 0, func(tx *Tx) error {
			tx.State = "running"
			return nil
		}},
		{"alias", 1, func(tx *Tx) error {
			u := *tx.ExecutionUnit(1)
			u.Alias = "new"
			return tx.PutExecutionUnit(&u)
		}},
		{"enable", 1, func(tx *Tx) error {
			e := *tx.ExecEnvByID("osgi")
			e.Enable = true
			return tx.PutExecEnv(&e)
		}},
		{"status of a deployment unit", 1, func(tx *Tx) error {
			u := *tx.DeploymentUnit(1)
			u.Status = model.DUUpdating
			return tx.PutDeploymentUnit(&u)
		}},
		{"new rows", 1, func(tx *Tx) error { return errors.Join(tx.PutDeploymentUnit(du(2)), tx.PutExecutionUnit(eu(2, 2))) }},
		{"a row gone", 1, func(tx *Tx) error { return tx.DeleteExecutionUnit(1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t)
			b.fill(1)
			seq := b.Snapshot().Seq
			b.commits = 0
			b.update(c.change)
			if b.commits != c.commits {
				t.Errorf("%d commits, want %d", b.commits, c.commits)
			}
			if got := b.Snapshot().Seq; got != seq+1 {
				t.Errorf("snapshot %d, want %d", got, seq+1)
			}
		})
	}
}

func TestNoChangeIsNoCommit(t *testing.T) {
	b := newBox(t)
	b.fill(1)
	old := b.Snapshot()
	b.commits = 0
	after := 0
	b.update(func(tx *Tx) error {
		d, e, u := *tx.DeploymentUnit(1), *tx.ExecEnvByID("osgi"), *tx.ExecutionUnit(1)
		tx.AfterCommit(func() { after++ })
		tx.DeleteJob(5)
		return errors.Join(tx.PutDeploymentUnit(&d), tx.PutExecEnv(&e), tx.PutExecutionUnit(&u),
			tx.DeleteDeploymentUnit(8), tx.DeleteExecutionUnit(8))
	})
	if b.commits != 0 || b.Snapshot() != old || after != 1 {
		t.Errorf("%d commits, snapshot %d after %d, %d hooks", b.commits, b.Snapshot().Seq, old.Seq, after)
	}
}

func TestChangesAreThoseThatAre(t *testing.T) {
	b := newBox(t)
	b.fill(4)
	b.update(func(tx *Tx) error {
		tx.PutJob(&model.Job{ID: 1, Objects: []model.Ref{{Kind: model.KindExecEnv, Instance: 1}}})
		return nil
	})
	feed := b.Feed(t.Context())
	<-feed
	old := b.Snapshot()
	b.update(func(tx *Tx) error {
		same := *tx.ExecutionUnit(1) // put, but not changed
		there := *tx.ExecutionUnit(2)
		there.Status = model.EUActive
		back := there
		back.Status = model.EUIdle
		changed := *tx.ExecutionUnit(3)
		changed.PIDs = []uint32{1}
		tx.PutJob(&model.Job{ID: 1, Objects: []model.Ref{{Kind: model.KindExecEnv, Instance: 1}}})
		tx.PutJob(&model.Job{ID: 2})
		tx.DeleteJob(2) // came and went
		return errors.Join(tx.PutExecutionUnit(&same), tx.PutExecutionUnit(&there), tx.PutExecutionUnit(&back),
			tx.PutExecutionUnit(&changed), tx.DeleteDeploymentUnit(4), tx.PutDeploymentUnit(du(5)))
	})
	got := (<-feed).Changes
	now := b.Snapshot()
	want := []model.Change{
		{Row: model.Ref{Kind: model.KindDeploymentUnit, Instance: 4}, Old: old.DeploymentUnit(4)},
		{Row: model.Ref{Kind: model.KindDeploymentUnit, Instance: 5}, New: now.DeploymentUnit(5)},
		{Row: model.Ref{Kind: model.KindExecutionUnit, Instance: 3}, Old: old.ExecutionUnit(3), New: now.ExecutionUnit(3)},
		{Row: model.Ref{Kind: model.KindExecutionUnit, Instance: 4}, Old: old.ExecutionUnit(4)},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
}

func TestUniqueIndex(t *testing.T) {
	b := newBox(t)
	b.fill(2)
	twin := du(3)
	twin.UUID = "uuid-1"
	if err := b.Update(func(tx *Tx) error { return tx.PutDeploymentUnit(twin) }); err == nil {
		t.Fatal("two rows have the same UUID, version and environment")
	}
	for _, elsewhere := range []func(u *model.DeploymentUnit){
		func(u *model.DeploymentUnit) { u.ID, u.Env = 4, "lxc" }, func(u *model.DeploymentUnit) { u.ID, u.Version = 5, "2" },
	} {
		u := *twin
		elsewhere(&u)
		b.update(func(tx *Tx) error { return tx.PutDeploymentUnit(&u) })
	}
	// An update moves the row in the index: the old version is free again, the new one is taken.
	b.update(func(tx *Tx) error {
		u := *tx.DeploymentUnit(1)
		u.Version = "3"
		return tx.PutDeploymentUnit(&u)
	})
	b.update(func(tx *Tx) error { return tx.PutDeploymentUnit(twin) })
	err := b.Update(func(tx *Tx) error {
		u := *tx.DeploymentUnit(3)
		u.Version = "3"
		return tx.PutDeploymentUnit(&u)
	})
	if err == nil {
		t.Error("an update takes the place of another row")
	}
	b.update(func(tx *Tx) error { return tx.DeleteDeploymentUnit(1) })
	b.update(func(tx *Tx) error {
		u := *twin
		u.ID, u.Version = 6, "3"
		return tx.PutDeploymentUnit(&u)
	})
}

// A record that cannot be read takes with it what belonged to it, and nothing else.
func TestRowsThatBelongTogether(t *testing.T) {
	b := newBox(t)
	b.fill(3)
	b.update(func(tx *Tx) error {
		st := must(tx.Store())
		for id := model.RowID(1); id <= 3; id++ {
			if err := store.Privates.Put(st, id, store.Private{SHA256: fmt.Sprint(id)}); err != nil {
				return err
			}
		}
		return errors.Join(
			store.NewTable[model.RowID, string]("deployment_unit").Put(st, 2, "not a row"),
			store.NewTable[model.RowID, string]("unit_private").Put(st, 3, "not a private"),
			store.UnitIndex.Delete(st, store.IndexKey("uuid-1", "1", "osgi")))
	})
	for range 2 {
		b.reopen()
		s := b.Snapshot()
		if s.Count(model.KindDeploymentUnit) != 2 || s.DeploymentUnit(2) != nil || s.Count(model.KindExecutionUnit) != 2 || s.ExecutionUnit(2) != nil {
			t.Errorf("rows:\n%s", contents(s))
		}
		var index []string
		var privates []model.RowID
		err := b.View(func(st *store.Tx) error {
			return errors.Join(
				store.UnitIndex.Load(st, func(k string, _ model.RowID) error {
					index = append(index, k)
					return nil
				}),
				store.Privates.Load(st, func(id model.RowID, _ store.Private) error {
					privates = append(privates, id)
					return nil
				}))
		})
		if err != nil {
			t.Error(err)
		}
		if want := []string{store.IndexKey("uuid-1", "1", "osgi"), store.IndexKey("uuid-3", "1", "osgi")}; !slices.Equal(index, want) {
			t.Errorf("index %q, want %q", index, want)
		}
		if !slices.Equal(privates, []model.RowID{1}) {
			t.Errorf("privates of %v", privates)
		}
	}
	b.update(func(tx *Tx) error { // the place is free again
		u := du(9)
		u.UUID = "uuid-2"
		return tx.PutDeploymentUnit(u)
	})
}

func TestNewTellsItsError(t *testing.T) {
	b := newBox(t)
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := New(b.store, quiet); err == nil {
		t.Error("a closed store can be loaded")
	}
	if err := b.Update(func(tx *Tx) error { return tx.PutExecEnv(env("x", 2)) }); err == nil {
		t.Error("a closed store can be written")
	}
	b.open()
	b.broken = errors.New("no")
	if _, err := New(b.store, quiet); err == nil {
		t.Error("a commit that fails at the load is no error")
	}
}

// BenchmarkStatusChange shows that a commit costs the logarithm of the table and not its size: compare the bytes per operation.
func BenchmarkStatusChange(bench *testing.B) {
	for _, n := range []uint32{100, 10000} {
		bench.Run(fmt.Sprint(n), func(bench *testing.B) {
			b := newBox(bench)
			b.fill(n)
			i := int64(0)
			for bench.Loop() {
				i++
				b.update(func(tx *Tx) error {
					u := *tx.ExecutionUnit(n / 2)
					u.Memory = i
					return tx.PutExecutionUnit(&u)
				})
			}
		})
	}
}

func TestAChangeCopiesFewRows(t *testing.T) {
	cost := func(n uint32) int64 {
		b := newBox(t)
		b.fill(n)
		i := int64(0)
		return int64(testing.AllocsPerRun(50, func() {
			i++
			b.update(func(tx *Tx) error {
				u := *tx.ExecutionUnit(n / 2)
				u.Memory = i
				return tx.PutExecutionUnit(&u)
			})
		}))
	}
	small, large := cost(50), cost(5000)
	if large > small+40 {
		t.Errorf("a change allocates %d times with 50 rows and %d times with 5,000", small, large)
	}
}
