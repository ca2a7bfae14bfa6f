package report

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that tests set.
type clock struct {
	boot string
	now  time.Duration
}

func (c *clock) Boot() string             { return c.boot }
func (c *clock) SinceBoot() time.Duration { return c.now }
func (c *clock) Wall() time.Time          { return time.Time{} }

// bench is a keeper whose operations the test carries out: job n is the n-th element that began.
type bench struct {
	*Keeper
	t     testing.TB
	dir   string
	store *store.Store
	clock *clock
	begun []model.UnitOperation
	full  bool // the engine takes no more
	cwmp  bool
	usp   bool
	log   strings.Builder // what was logged
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, dir: t.TempDir(), clock: &clock{boot: "1", now: time.Hour}, cwmp: true, usp: true}
	b.open()
	t.Cleanup(func() { _ = b.store.Close() }) // a second Close does nothing
	return b
}

func (b *bench) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) open() {
	b.t.Helper()
	log := slog.New(slog.NewTextHandler(&b.log, nil))
	var err error
	b.store, err = store.Open(filepath.Join(b.dir, "state.db"), log)
	b.ok(err)
	inv, err := inventory.New(b.store, log)
	b.ok(err)
	sealer, err := store.OpenSealer(filepath.Join(b.dir, "key"))
	b.ok(err)
	b.Keeper = New(Options{
		Inventory: inv, Sealer: sealer, Clock: b.clock, CWMP: b.cwmp, USP: b.usp, Limit: 24 * time.Hour, Begin: b.begin, Log: log,
		Code: func(_ model.Performed, r fault.Reason) uint32 { return 9000 + uint32(len(r)) },
	})
	b.ok(b.Load())
}

func (b *bench) reopen() {
	b.t.Helper()
	b.ok(b.note()) // as Run does in its end
	b.killed()
}

// killed is reopen after an end that nobody saw coming.
func (b *bench) killed() {
	b.t.Helper()
	b.ok(b.store.Close())
	b.open()
	for i := range b.begun { // the journal of the engine
		b.job(uint32(i+1), model.JobInstalling)
	}
}

func (b *bench) update(f func(*inventory.Tx) error) {
	b.t.Helper()
	b.ok(b.Inventory.Update(f))
}

func (b *bench) begin(tx *inventory.Tx, op model.UnitOperation, _ model.Origin) ([]Part, error) {
	if b.full {
		return nil, fault.Errorf(fault.TooManyOperations, "cannot: a test")
	}
	b.begun = append(b.begun, op)
	job := uint32(len(b.begun))
	tx.PutJob(&model.Job{ID: job, State: model.JobInstalling})
	return []Part{{Job: job, Expect: []model.Result{{Performed: op.Performed, UUID: op.UUID, State: Unchanged(op.Performed)}}}}, nil
}

func (b *bench) job(id uint32, s model.JobState) {
	b.t.Helper()
	b.update(func(tx *inventory.Tx) error {
		tx.PutJob(&model.Job{ID: id, State: s})
		return nil
	})
}

// look is one round of Run.
func (b *bench) look() time.Duration { return b.work(context.Background()) }

// end ends job n.
func (b *bench) end(n uint32, results ...model.Result) {
	b.t.Helper()
	b.update(func(tx *inventory.Tx) error {
		tx.PutJob(&model.Job{ID: n, State: model.JobDone})
		return b.Conclude(tx, operation.Conclusion{Job: n, Results: results})
	})
	b.look()
}

func (b *bench) accept(r model.ChangeRequest) uint64 {
	b.t.Helper()
	var id uint64
	b.update(func(tx *inventory.Tx) (err error) {
		id, err = b.Accept(tx, r)
		return err
	})
	b.look()
	return id
}

// names are the elements that have begun, by kind and UUID.
func (b *bench) names() string {
	var all []string
	for _, op := range b.begun {
		all = append(all, string(op.Performed)+" "+op.UUID)
	}
	return strings.Join(all, ", ")
}

func request(elements ...string) (r model.ChangeRequest) {
	for _, e := range elements {
		what, uuid, _ := strings.Cut(e, " ")
		r.Operations = append(r.Operations, model.UnitOperation{Performed: model.Performed(what), UUID: uuid, Username: "u", Password: "p"})
	}
	return r
}

func result(text string) model.Result {
	return model.Result{Performed: model.PerformedInstall, UUID: text, State: model.ResultInstalled}
}

func uuids(results []model.Result) string {
	var all []string
	for _, r := range results {
		all = append(all, strings.TrimSpace(r.UUID+" "+string(r.Fault)))
	}
	return strings.Join(all, ", ")
}

// What names one unit runs in order, an update of many units alone, and everything else at once.
func TestElementsBegin(t *testing.T) {
	b := newBench(t)
	id := b.accept(request("Install a", "Install b", "Uninstall a", "Install ", "Update ", "Install b"))
	steps := []struct {
		end  uint32
		then string
	}{
		{0, "Install a, Install b, Install "},
		{2, "Install a, Install b, Install "},
		{1, "Install a, Install b, Install , Uninstall a"},
		{4, "Install a, Install b, Install , Uninstall a"},
		{3, "Install a, Install b, Install , Uninstall a, Update "},
		{5, "Install a, Install b, Install , Uninstall a, Update , Install b"},
	}
	for _, s := range steps {
		if s.end > 0 {
			b.end(s.end, result(fmt.Sprint("job ", s.end)))
			b.reopen()
			b.look()
		}
		if got := b.names(); got != s.then {
			t.Fatalf("after the end of job %d there began %q, not %q", s.end, got, s.then)
		}
		if n := len(b.Inventory.Snapshot().Reports); n != 0 {
			t.Errorf("after the end of job %d %d reports wait", s.end, n)
		}
	}
	for _, op := range b.begun {
		if op.Username != "u" || op.Password != "p" {
			t.Errorf("the credentials of %+v are lost", op)
		}
	}
	b.end(6, result("job 6"), result("job 6 too"))
	r := b.Inventory.Snapshot().Reports
	if len(r) != 1 || r[0].ID != id || uuids(r[0].Results) != "job 1, job 2, job 4, job 3, job 5, job 6, job 6 too" {
		t.Errorf("the reports are %+v", r)
	}
}

// The limit counts by the time of boots, the time before one included, and what has not ended then is told as failed.
func TestLimit(t *testing.T) {
	b := newBench(t)
	b.update(func(tx *inventory.Tx) error {
		return b.SetPolicy(tx, model.Assignment{Attribute: model.PolicyEnable, Value: true})
	})
	asked := request("Install a", "Install b", "Uninstall a")
	asked.Token = "token"
	id := b.accept(asked)
	b.end(2, result("b"))
	b.clock.now += 20 * time.Hour
	b.look()
	b.reopen()
	b.clock.boot, b.clock.now = "2", time.Hour
	if next := b.look(); next <= 0 || next > 3*time.Hour {
		t.Errorf("it looks again in %s", next)
	}
	b.clock.now = 4*time.Hour - time.Second
	b.look()
	if n := len(b.Inventory.Snapshot().Reports); n != 0 {
		t.Fatalf("it is told %s too early", time.Second)
	}
	b.clock.now += time.Second
	b.look()
	reports := b.Inventory.Snapshot().Reports
	if len(reports) != 1 || uuids(reports[0].Results) != "a deadline-exceeded, b, a deadline-exceeded" || reports[0].Results[0].State != model.ResultFailed {
		t.Fatalf("the reports are %+v", reports)
	}
	b.update(func(tx *inventory.Tx) error { return b.Acknowledge(tx, id) })
	b.reopen()
	b.clock.now += 30 * time.Hour
	b.look()
	if again := b.accept(asked); again != id {
		t.Errorf("the request is not known any more while an operation of it is open: %d and %d", again, id)
	}
	b.end(1, result("a")) // too late: neither part of a report nor autonomous
	if s := b.Inventory.Snapshot(); len(s.Reports) != 0 || len(s.Notifications) != 3 {
		t.Errorf("%d reports and %d notifications wait", len(s.Reports), len(s.Notifications))
	}
	if again := b.accept(asked); again == id || len(b.begun) != 4 {
		t.Errorf("a day after its report the token is known: %d, begun %s", again, b.names())
	}
}

// A token is known for a day after its report is gone.
func TestTokenIsForgotten(t *testing.T) {
	b := newBench(t)
	asked := request("Install a")
	asked.Token = "token"
	id := b.accept(asked)
	b.end(1, result("a"))
	b.clock.now += 100 * time.Hour // nobody fetches it
	b.look()
	b.update(func(tx *inventory.Tx) error { return b.Acknowledge(tx, id) })
	b.clock.now += 24*time.Hour - time.Second
	b.look()
	if again := b.accept(asked); again != id {
		t.Errorf("it is forgotten before a day: %d and %d", again, id)
	}
	b.clock.now += time.Second
	b.look()
	if again := b.accept(asked); again == id {
		t.Error("it is known after a day")
	}
}

// An operation whose record was lost ends its element. One for which there is no room waits for it, while there are jobs whose end or removal makes some.
func TestLostAndFull(t *testing.T) {
	b := newBench(t)
	b.accept(request("Install a", "Uninstall a"))
	b.full = true
	b.job(1, model.JobFailed) // and nobody was told
	if next := b.look(); next > time.Minute || len(b.Inventory.Snapshot().Reports) != 0 {
		t.Errorf("while a finished job is kept: it looks again in %s, the reports are %+v", next, b.Inventory.Snapshot().Reports)
	}
	b.update(func(tx *inventory.Tx) error {
		tx.DeleteJob(1)
		return nil
	})
	b.look()
	reports := b.Inventory.Snapshot().Reports
	if len(reports) != 1 || uuids(reports[0].Results) != "a internal, a too-many-operations" {
		t.Errorf("the reports are %+v", reports)
	}
	b.full = false
	b.accept(request("Install b"))
	b.full = true
	b.accept(request("Install c"))
	if b.names() != "Install a, Install b" || len(b.Inventory.Snapshot().Reports) != 1 {
		t.Errorf("begun is %s", b.names())
	}
	b.end(2, result("b")) // its job is kept, and may have been the one that took the room
	if b.names() != "Install a, Install b" || len(b.Inventory.Snapshot().Reports) != 2 {
		t.Errorf("without room begun is %s, the reports are %+v", b.names(), b.Inventory.Snapshot().Reports)
	}
	b.full = false
	b.look()
	if b.names() != "Install a, Install b, Install c" {
		t.Errorf("begun is %s", b.names())
	}
}

// Requests that nobody fetches the reports of do not pile up.
// An operation that ends is written by itself, and the next process knows of it: the request, which may be about every unit of the device, is not written again.
func TestPartsAreWrittenByThemselves(t *testing.T) {
	b := newBench(t)
	id := b.accept(request("Install a", "Install b", "Install c"))
	b.look()
	written := func() (r Request, ended int) {
		b.update(func(tx *inventory.Tx) error {
			st, err := tx.Store()
			if err != nil {
				return err
			}
			r, _, err = requests.Get(st, uint32(id))
			return errors.Join(err, parts.Load(st, func(uint32, []model.Result) error {
				ended++
				return nil
			}))
		})
		return r, ended
	}
	before, _ := written()
	b.end(2, result("second"))
	if after, ended := written(); !reflect.DeepEqual(after, before) || ended != 1 {
		t.Errorf("%d parts are written by themselves, and the request is\n%+v, not\n%+v", ended, after, before)
	}
	b.killed()
	b.end(1, result("first"))
	b.reopen() // which writes the request
	b.end(3, result("third"))
	var told []string
	for _, r := range b.Inventory.Snapshot().Reports {
		told = append(told, uuids(r.Results))
	}
	if want := []string{"first, second, third"}; !slices.Equal(told, want) {
		t.Errorf("the reports are of %q, not %q", told, want)
	}
	if _, ended := written(); ended != 0 {
		t.Errorf("%d parts are left", ended)
	}
	// What belongs to no request goes.
	b.update(func(tx *inventory.Tx) error {
		st, err := tx.Store()
		if err != nil {
			return err
		}
		return parts.Put(st, 4711, []model.Result{result("nobody's")})
	})
	b.reopen()
	if _, ended := written(); ended != 0 {
		t.Errorf("%d parts are nobody's", ended)
	}
}

func TestTooManyRequests(t *testing.T) {
	b := newBench(t)
	refusedElement := request("Install a")
	refusedElement.Operations[0].Refused = errors.New("a test")
	for range maxRequests {
		b.accept(refusedElement)
	}
	err := b.Inventory.Update(func(tx *inventory.Tx) error {
		_, err := b.Accept(tx, refusedElement)
		return err
	})
	if fault.ReasonOf(err) != fault.TooManyOperations {
		t.Errorf("one more: %v", err)
	}
	b.update(func(tx *inventory.Tx) error { return b.Acknowledge(tx, 1) })
	b.accept(refusedElement)
}

// Requests of which nothing but the token is remembered keep nobody out: the oldest are forgotten for new ones.
func TestRememberedTokensMakeRoom(t *testing.T) {
	b := newBench(t)
	asked := request("Install a")
	asked.Operations[0].Refused = errors.New("a test")
	for i := range maxRequests + 2 {
		asked.Token = fmt.Sprint("token ", i)
		b.update(func(tx *inventory.Tx) error {
			id, err := b.Accept(tx, asked)
			if err != nil || i == 0 { // the report of the first one waits on
				return err
			}
			return b.Acknowledge(tx, id)
		})
	}
	b.reopen()
	if known := b.known(); len(known) != maxRequests || known[0] != 1 || known[1] != 4 {
		t.Errorf("%d requests are known: %d", len(known), known)
	}
	asked.Token = "token 0"
	if again := b.accept(asked); again != 1 {
		t.Errorf("the request whose report waits is not known any more: %d", again)
	}
}

// What waits for nobody is bounded: the oldest go.
func TestWaitingIsBounded(t *testing.T) {
	b := newBench(t)
	b.update(func(tx *inventory.Tx) error {
		return b.SetPolicy(tx, model.Assignment{Attribute: model.PolicyEnable, Value: true})
	})
	var all []model.Result
	for i := range maxWaiting {
		all = append(all, result(fmt.Sprint("unit ", i)))
	}
	b.update(func(tx *inventory.Tx) error { return b.Tell(tx, all...) })
	b.update(func(tx *inventory.Tx) error { return b.Tell(tx, result("one more"), result("another")) })
	check := func(when string) {
		s := b.Inventory.Snapshot()
		if n := len(s.Notifications); n != maxWaiting || s.Notifications[0].Result.UUID != "unit 2" || s.Notifications[n-1].Result.UUID != "another" {
			t.Errorf("%s %d notifications wait", when, n)
		}
		if len(s.Reports) != 1 || len(s.Reports[0].Results) != maxWaiting || s.Reports[0].Results[0].UUID != "unit 2" || s.Reports[0].Results[maxWaiting-1].UUID != "another" {
			t.Errorf("%s the reports are %d", when, len(s.Reports))
		}
	}
	check("at the end")
	b.reopen()
	check("after a restart")
}

// The first that is dropped of each kind is logged, and then ever fewer, with how many there are.
func TestDroppingIsLoggedSparsely(t *testing.T) {
	b := newBench(t)
	b.update(func(tx *inventory.Tx) error {
		return b.SetPolicy(tx, model.Assignment{Attribute: model.PolicyEnable, Value: true})
	})
	b.update(func(tx *inventory.Tx) error {
		return b.Tell(tx, slices.Repeat([]model.Result{result("x")}, maxWaiting)...)
	})
	if text := b.log.String(); text != "" {
		t.Errorf("nothing was dropped, and logged is %s", text)
	}
	for range 2 {
		b.update(func(tx *inventory.Tx) error { return b.Tell(tx, slices.Repeat([]model.Result{result("x")}, 10)...) })
	}
	for _, what := range []string{"result", "notification"} {
		var got []string
		for line := range strings.Lines(b.log.String()) {
			if _, n, found := strings.Cut(line, "dropped="); found && strings.Contains(line, "the oldest "+what) {
				got = append(got, strings.TrimSpace(n))
			}
		}
		if want := "1 2 4 8 16"; strings.Join(got, " ") != want {
			t.Errorf("that a %s was dropped is logged at %q, not at %q", what, got, want)
		}
	}
}

// The three filters, and the switch.
func TestPolicyFilters(t *testing.T) {
	b := newBench(t)
	install := model.Result{Performed: model.PerformedInstall}
	corrupt := model.Result{Performed: model.PerformedUpdate, Fault: fault.PackageCorrupt}
	code := fmt.Sprint(b.Code(model.PerformedUpdate, fault.PackageCorrupt))
	type set map[model.Attribute]any
	for _, c := range []struct {
		set  set
		want []model.Result
	}{
		{set{}, nil},
		{set{"Enable": true}, []model.Result{install, corrupt}},
		{set{"Enable": true, "OperationTypeFilter": ""}, nil},
		{set{"Enable": true, "OperationTypeFilter": "Update,Uninstall"}, []model.Result{corrupt}},
		{set{"Enable": true, "ResultTypeFilter": "Success"}, []model.Result{install}},
		{set{"Enable": true, "ResultTypeFilter": "Failure"}, []model.Result{corrupt}},
		{set{"Enable": true, "FaultCodeFilter": ""}, []model.Result{install}},
		{set{"Enable": true, "FaultCodeFilter": "1"}, []model.Result{install}},
		{set{"Enable": true, "FaultCodeFilter": "1," + code}, []model.Result{install, corrupt}},
		{set{"Enable": true, "ResultTypeFilter": "Failure", "FaultCodeFilter": ""}, nil},
	} {
		var got []model.Result
		p := b.defaultPolicy()
		b.update(func(tx *inventory.Tx) error {
			tx.SetPolicy(p)
			for a, v := range c.set {
				if err := b.SetPolicy(tx, model.Assignment{Attribute: a, Value: v}); err != nil {
					return err
				}
			}
			p = tx.Policy
			return nil
		})
		for _, r := range []model.Result{install, corrupt} {
			if b.passes(p, r) {
				got = append(got, r)
			}
		}
		if !slices.EqualFunc(got, c.want, func(a, b model.Result) bool { return a.Performed == b.Performed }) {
			t.Errorf("%v lets %v through, not %v", c.set, got, c.want)
		}
	}
}

// A command that the device restarted under has failed, whatever became of it; what became of it is told as it is.
func TestCommandAcrossAReboot(t *testing.T) {
	b := newBench(t)
	origin := model.Origin{Command: "Device.X()"}
	b.update(func(tx *inventory.Tx) error {
		return b.Conclude(tx, operation.Conclusion{Job: 1, Origin: origin, Rebooted: true, Results: []model.Result{result("a")}})
	})
	b.update(func(tx *inventory.Tx) error {
		return b.Conclude(tx, operation.Conclusion{Job: 2, Origin: origin, Rebooted: true, Fault: fault.Canceled, Message: strings.Repeat("é", 300)})
	})
	n := b.Inventory.Snapshot().Notifications
	if len(n) != 3 || n[0].Result.Fault != fault.None || n[1].Fault != fault.RequestDenied || n[1].Message == "" || n[2].Fault != fault.Canceled ||
		len([]rune(n[2].Message)) != 256 {
		t.Errorf("the notifications are %+v %+v %+v", *n[0], *n[1], *n[2])
	}
}

// Of a protocol that is no longer in use nothing is kept; what was accepted is done all the same.
func TestFaceTakenOut(t *testing.T) {
	b := newBench(t)
	b.accept(request("Install a", "Uninstall a"))
	b.update(func(tx *inventory.Tx) error { return b.Tell(tx, result("x")) })
	b.cwmp, b.usp = false, false
	b.reopen()
	b.end(1, result("a"))
	b.end(2, result("a"))
	b.cwmp, b.usp = true, true
	b.reopen()
	if s := b.Inventory.Snapshot(); len(s.Reports)+len(s.Notifications) != 0 || b.names() != "Install a, Uninstall a" || len(b.known()) != 0 {
		t.Errorf("%d reports, %d notifications, %d requests; begun is %s", len(s.Reports), len(s.Notifications), len(b.known()), b.names())
	}
}
