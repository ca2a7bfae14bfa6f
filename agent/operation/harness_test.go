package operation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errKilled = errors.New("the agent is dead")

// world is what lies outside of the agent: it survives the agent's death. Nothing happens in it while the agent is dead.
type world struct {
	mu     sync.Mutex
	things map[string]bool
	calls  []string // what was called, with repetitions: "do install", "undo install"
	dead   bool

	// at is told of each call before and after it takes effect; tests block, cancel or kill there.
	at func(call string, acted bool)
	// fail says what a call answers, and whether it takes effect all the same.
	fail map[string]failure
}

type failure struct {
	err   error
	acted bool
	times int // 0: always
	panic bool
}

func newWorld() *world { return &world{things: map[string]bool{}, fail: map[string]failure{}} }

// call carries out one call. There is true for what is to be there after it.
func (w *world) call(ctx context.Context, call, thing string, there bool) error {
	w.mu.Lock()
	if w.dead {
		w.mu.Unlock()
		return errKilled
	}
	w.calls = append(w.calls, call)
	f, failing := w.fail[call]
	if failing && f.times > 0 {
		if f.times--; f.times == 0 {
			delete(w.fail, call)
		} else {
			w.fail[call] = f
		}
	}
	at := w.at
	w.mu.Unlock()
	if at != nil {
		at(call, false)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w.mu.Lock()
	if w.dead {
		w.mu.Unlock()
		return errKilled
	}
	if !failing || f.acted {
		if there {
			w.things[thing] = true
		} else {
			delete(w.things, thing)
		}
	}
	w.mu.Unlock()
	if at != nil {
		at(call, true)
	}
	if failing && f.panic {
		panic("boom with s3cret")
	}
	if failing {
		return f.err
	}
	return nil
}

func (w *world) log() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

func (w *world) contents() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.things))
}

// clock is a device's clock that goes with the time of the bubble.
type clock struct {
	mu     sync.Mutex
	id     string
	booted time.Time
}

func newClock() *clock { return &clock{id: "boot-1", booted: time.Now().Add(-time.Hour)} }

func (c *clock) Boot() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id
}

func (c *clock) SinceBoot() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.booted)
}

func (c *clock) Wall() time.Time { return time.Time{} } // a gateway that has none

func (c *clock) reboot() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id, c.booted = c.id+"'", time.Now()
}

// device is a store, an inventory and an engine over the world.
type device struct {
	t     testing.TB
	path  string
	world *world
	clock *clock
	opts  Options
	defs  []definition

	store  *store.Store
	inv    *inventory.Inventory
	eng    *Engine
	cancel context.CancelFunc
	ended  chan struct{}

	commits func() error // asked before each commit
	count   int          // commits since it was opened
	gone    bool         // killed
}

func newDevice(t testing.TB, w *world, defs ...definition) *device {
	d := &device{
		t: t, path: filepath.Join(t.TempDir(), "state.db"), world: w, clock: newClock(), defs: defs,
		opts: Options{RunDeadline: time.Hour, TotalDeadline: 24 * time.Hour, MaxOpen: 100, KeepFinished: time.Hour},
	}
	if defs == nil {
		d.defs = []definition{w.install()}
	}
	t.Cleanup(func() { d.stop() })
	return d
}

// load opens the file and reads the journal; what is accepted now waits for run.
func (d *device) load() {
	d.t.Helper()
	var err error
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if d.store, err = store.Open(d.path, log); err != nil {
		d.t.Fatal(err)
	}
	if d.inv, err = inventory.New(d.store, log); err != nil {
		d.t.Fatal(err)
	}
	d.count, d.gone = 0, false
	d.world.mu.Lock()
	d.world.dead = false
	d.world.mu.Unlock()
	d.store.FailCommits(func() error {
		if d.gone {
			return errKilled
		}
		d.count++
		if d.commits != nil {
			return d.commits()
		}
		return nil
	})
	o := d.opts
	o.Clock, o.Log = d.clock, log
	d.eng = New(d.inv, o, d.defs...)
	if err := d.eng.Load(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) run() {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel, d.ended = cancel, make(chan struct{})
	eng, ended := d.eng, d.ended
	go func() {
		defer close(ended)
		_ = eng.Run(ctx) // its error, of a dead store, is what some tests make
	}()
}

func (d *device) start() {
	d.t.Helper()
	d.load()
	d.run()
}

// stop ends the agent in good order.
func (d *device) stop() {
	if d.cancel != nil {
		d.cancel()
		<-d.ended
		d.cancel = nil
	}
	if d.store != nil {
		if err := d.store.Close(); err != nil {
			d.t.Error(err)
		}
		d.store = nil
	}
}

// kill freezes the disk and the world at this moment. The next start goes on from there.
func (d *device) kill() {
	if d.gone {
		return
	}
	d.gone = true
	d.world.mu.Lock()
	d.world.dead = true
	d.world.mu.Unlock()
	b, err := os.ReadFile(d.path)
	if err != nil {
		d.t.Error(err)
	}
	d.path += "+"
	if err := os.WriteFile(d.path, b, 0o600); err != nil {
		d.t.Error(err)
	}
	d.cancel()
}

// restart is a stop, or the end of a killed one, and a start.
func (d *device) restart() {
	d.t.Helper()
	d.stop()
	d.start()
}

// toy is the state of the operations of these tests.
type toy struct {
	Row    model.RowID `json:"row,omitempty"`
	Secret string      `json:"secret,omitempty"`
	Notes  []string    `json:"notes,omitempty"`
}

// install is a plan as the real one: it fetches, makes a row, changes an environment, records and starts.
func (w *world) install() *Definition[toy] {
	do := func(step string) func(context.Context, *Run[toy]) (Apply, error) {
		return func(ctx context.Context, r *Run[toy]) (Apply, error) {
			return nil, w.call(ctx, "do "+step, fmt.Sprint(r.ID(), " ", step), true)
		}
	}
	undo := func(step string) func(context.Context, *Run[toy]) (Apply, error) {
		return func(ctx context.Context, r *Run[toy]) (Apply, error) {
			return nil, w.call(ctx, "undo "+step, fmt.Sprint(r.ID(), " ", step), false)
		}
	}
	inspect := func(ctx context.Context, r *Run[toy]) (Apply, error) {
		if err := w.call(ctx, "do inspect", fmt.Sprint(r.ID(), " inspect"), true); err != nil {
			return nil, err
		}
		r.UseEnvs("osgi")
		return func(tx *inventory.Tx) (err error) {
			if r.State.Row, err = tx.NextNumber(model.KindDeploymentUnit); err != nil {
				return err
			}
			r.SetObjects(model.Ref{Kind: model.KindDeploymentUnit, Instance: r.State.Row})
			row := &model.DeploymentUnit{ID: r.State.Row, Env: "osgi", UUID: fmt.Sprint("uuid-", r.ID()), Status: model.DUInstalling}
			if err := tx.PutDeploymentUnit(row); err != nil {
				return err
			}
			return w.fail["apply inspect"].err
		}, nil
	}
	forget := func(ctx context.Context, r *Run[toy]) (Apply, error) {
		err := w.call(ctx, "undo inspect", fmt.Sprint(r.ID(), " inspect"), false)
		return func(tx *inventory.Tx) error {
			r.SetObjects()
			if r.State.Row == 0 {
				return nil
			}
			return tx.DeleteDeploymentUnit(r.State.Row)
		}, err
	}
	record := func(ctx context.Context, r *Run[toy]) (Apply, error) {
		if err := w.call(ctx, "do record", fmt.Sprint(r.ID(), " record"), true); err != nil {
			return nil, err
		}
		return func(tx *inventory.Tx) error {
			row := *tx.DeploymentUnit(r.State.Row)
			row.Status = model.DUInstalled
			if err := tx.PutDeploymentUnit(&row); err != nil {
				return err
			}
			return w.fail["apply record"].err
		}, nil
	}
	return &Definition[toy]{Kind: "install", Steps: []Step[toy]{
		{Name: "fetch", State: model.JobFetching, Weight: 10, Do: do("fetch"), Undo: undo("fetch")},
		{Name: "verify", State: model.JobVerifying, Do: func(ctx context.Context, r *Run[toy]) (Apply, error) {
			r.State.Notes = append(r.State.Notes, "verified")
			return nil, w.call(ctx, "do verify", fmt.Sprint(r.ID(), " fetch"), true)
		}},
		{Name: "inspect", State: model.JobInspecting, Do: inspect, Undo: forget},
		{Name: "install", State: model.JobInstalling, Weight: 4, Turn: true, Do: do("install"), Undo: undo("install")},
		{Name: "record", State: model.JobRecording, Turn: true, Final: true, Do: record, Undo: undo("record")},
		{Name: "start", State: model.JobStarting, Turn: true, Do: do("start")},
	}, Finish: func(tx *inventory.Tx, r *Run[toy], err error) error {
		f := w.fail["finish"]
		if f.panic {
			panic("boom with s3cret")
		}
		return f.err
	}}
}

func (d *device) submit(def *Definition[toy], r Request) (id uint32, err error) {
	err = d.inv.Update(func(tx *inventory.Tx) (err error) {
		id, err = Submit(d.eng, tx, def, &toy{Secret: "s3cret"}, r)
		return err
	})
	return id, err
}

func (d *device) mustSubmit(r Request) uint32 {
	d.t.Helper()
	id, err := d.submit(d.defs[0].(*Definition[toy]), r)
	if err != nil {
		d.t.Fatal(err)
	}
	return id
}

// await returns the job once it has ended.
func (d *device) await(id uint32) *model.Job {
	d.t.Helper()
	return d.awaitJob(id, func(j *model.Job) bool { return j.State.Final() })
}

// awaitJob returns the job once it is as wanted, or what it is when the agent has been killed.
func (d *device) awaitJob(id uint32, wanted func(*model.Job) bool) *model.Job {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 48*time.Hour) // of the bubble
	defer cancel()
	feed := d.inv.Feed(ctx)
	for {
		select {
		case c, ok := <-feed:
			if !ok {
				d.t.Fatalf("job %d is %+v for two days", id, d.inv.Snapshot().Job(id))
			}
			if j := c.Snapshot.Job(id); j != nil && wanted(j) {
				return j
			}
		case <-d.ended:
			return d.inv.Snapshot().Job(id)
		}
	}
}

// state is what is to be the same however often the agent dies: the world, the rows, the outcome.
func (d *device) state() string {
	var out strings.Builder
	fmt.Fprintln(&out, "world:", strings.Join(d.world.contents(), ", "))
	s := d.inv.Snapshot()
	for u := range s.DeploymentUnits() {
		fmt.Fprintln(&out, "row:", u.UUID, u.Status)
	}
	for j := range s.Jobs() {
		fmt.Fprintln(&out, "job:", j.ID, j.State, j.Fault, j.Progress)
	}
	d.eng.mu.Lock()
	defer d.eng.mu.Unlock()
	fmt.Fprintln(&out, "open:", len(d.eng.open), "queues:", len(d.eng.turns.queues))
	return out.String()
}

// record reads an operation from the journal.
func (d *device) record(id uint32) (r record) {
	d.t.Helper()
	err := d.inv.View(func(st *store.Tx) (err error) {
		r, _, err = journal.Get(st, id)
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

// refuse is a failure that had no effect; broken one of which nobody knows.
var (
	refused = fault.Errorf(fault.PackageCorrupt, "cannot do that")
	broken  = fault.Errorf(fault.Internal, "cannot say what happened")
)
