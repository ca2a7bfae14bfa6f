package usp_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/usp"
	"github.com/smmd-project/smmd/ipc/usp/usptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent is an agent that answers as the test says, for what an agent that works cannot be brought to: silence, failures, news at will.
type agent struct {
	mu       sync.Mutex
	version  string
	news     []client.USPNotification
	acked    uint64
	given    uint64 // the greatest number of any news
	requests []client.USPRequest
	calls    []string // in order
	away     bool     // there is no agent
	boots    int      // how often there was another one
	get      func(ctx context.Context, paths []string) ([]client.USPGetResult, error)
	set      func(updates []client.USPUpdate) ([]client.USPSetResult, error)
	operate  func(ctx context.Context, command, key string) ([]client.USPOperateResult, error)
	changed  chan struct{} // closed and replaced when something is different
	lost     chan struct{} // closed: the bus is lost
}

func newAgent() *agent {
	return &agent{version: "1", changed: make(chan struct{}), lost: make(chan struct{})}
}

// change does something to the agent and tells who watches it.
func (a *agent) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	close(a.changed)
	a.changed = make(chan struct{})
}

// tell makes news.
func (a *agent) tell(list ...client.USPNotification) {
	a.change(func() { a.news = append(a.news, list...) })
}

// strange refuses a number that was never given, as the agent does.
func (a *agent) strange(id uint64) error {
	for _, n := range a.news {
		a.given = max(a.given, n.ID)
	}
	if id > a.given {
		return &client.Error{Name: "InvalidArguments", Message: "cannot tell: it was never given", CWMP: 9003, USP: 7004}
	}
	return nil
}

func (a *agent) note(format string, args ...any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, fmt.Sprintf(format, args...))
	if a.away {
		return fmt.Errorf("cannot ask: %w", client.ErrUnreachable)
	}
	return nil
}

func (a *agent) seen(call string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.calls, call)
}

func (a *agent) Close() error { return nil }

func (a *agent) Info(context.Context) (client.Info, error) {
	err := a.note("info")
	a.mu.Lock()
	defer a.mu.Unlock()
	return client.Info{Version: a.version, DataModel: "Device:2.19", State: "running"}, err
}

func (a *agent) USPGet(ctx context.Context, maxDepth uint32, paths ...string) ([]client.USPGetResult, error) {
	if err := a.note("get %d %s", maxDepth, strings.Join(paths, " ")); err != nil {
		return nil, err
	}
	a.mu.Lock()
	get := a.get
	a.mu.Unlock()
	if get != nil {
		return get(ctx, paths)
	}
	var list []client.USPGetResult
	for _, p := range paths {
		list = append(list, client.USPGetResult{Requested: p, Objects: []client.USPObject{{Path: "Device.SoftwareModules.", Parameters: map[string]string{"ExecEnvNumberOfEntries": "2"}}}})
	}
	return list, nil
}

func (a *agent) USPGetInstances(_ context.Context, first bool, paths ...string) ([]client.USPGetResult, error) {
	if err := a.note("instances %t %s", first, strings.Join(paths, " ")); err != nil {
		return nil, err
	}
	var list []client.USPGetResult
	for _, p := range paths {
		list = append(list, client.USPGetResult{Requested: p, Objects: []client.USPObject{{Path: p + "1.", Parameters: map[string]string{"Alias": "cpe-1"}}}})
	}
	return list, nil
}

func (a *agent) USPGetSupportedDM(_ context.Context, o client.USPSupportedOptions, paths ...string) ([]client.USPSupportedResult, error) {
	if err := a.note("supported %+v %s", o, strings.Join(paths, " ")); err != nil {
		return nil, err
	}
	var list []client.USPSupportedResult
	for _, p := range paths {
		list = append(list, client.USPSupportedResult{Requested: p, DataModelURI: "urn:x", Objects: []client.USPSupportedObject{{
			Path: "Device.SoftwareModules.ExecEnv.{i}.", MultiInstance: true, Access: "OBJ_READ_ONLY",
			Params:        []client.USPSupportedParam{{Name: "Enable", Access: "PARAM_READ_WRITE", Type: "PARAM_BOOLEAN", ValueChange: "VALUE_CHANGE_ALLOWED"}},
			Commands:      []client.USPSupportedCommand{{Name: "Reset()", Kind: "CMD_ASYNC", Inputs: []string{"A"}, Outputs: []string{"B"}}},
			Events:        []client.USPSupportedEvent{{Name: "Restarted!", Arguments: []string{"Reason"}}},
			UniqueKeySets: [][]string{{"Name"}, {"Alias"}},
		}}})
	}
	return list, nil
}

func (a *agent) USPSet(_ context.Context, partial bool, updates ...client.USPUpdate) ([]client.USPSetResult, error) {
	if err := a.note("set %t %v", partial, updates); err != nil {
		return nil, err
	}
	a.mu.Lock()
	set := a.set
	a.mu.Unlock()
	if set != nil {
		return set(updates)
	}
	var list []client.USPSetResult
	for _, u := range updates {
		one := client.USPUpdated{Path: u.Path, Updated: map[string]string{}}
		for _, s := range u.Settings {
			one.Updated[s.Parameter] = s.Value
		}
		list = append(list, client.USPSetResult{Requested: u.Path, Objects: []client.USPUpdated{one}})
	}
	return list, nil
}

func (a *agent) USPAdd(_ context.Context, partial bool, objects ...client.USPUpdate) ([]client.USPAddResult, error) {
	if err := a.note("add %t %v", partial, objects); err != nil {
		return nil, err
	}
	return nil, &client.Error{Name: "InvalidArguments", Message: "cannot add", USP: 7006}
}

func (a *agent) USPDelete(_ context.Context, partial bool, paths ...string) ([]client.USPDeleteResult, error) {
	if err := a.note("delete %t %s", partial, strings.Join(paths, " ")); err != nil {
		return nil, err
	}
	var list []client.USPDeleteResult
	for _, p := range paths {
		list = append(list, client.USPDeleteResult{Requested: p, USPError: client.USPError{Code: 7006, Text: "cannot delete"}})
	}
	return list, nil
}

func (a *agent) USPOperate(ctx context.Context, command, key string, input map[string]string, originator string) ([]client.USPOperateResult, error) {
	if err := a.note("operate %s %s %v %s", command, key, input, originator); err != nil {
		return nil, err
	}
	a.mu.Lock()
	operate := a.operate
	a.mu.Unlock()
	if operate == nil {
		return []client.USPOperateResult{{Command: command, Outputs: map[string]string{}}}, nil
	}
	return operate(ctx, command, key)
}

func (a *agent) USPRequests(context.Context) ([]client.USPRequest, error) {
	err := a.note("requests")
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.requests), err
}

func (a *agent) Cancel(_ context.Context, job dbus.ObjectPath) error {
	if err := a.note("cancel %s", job); err != nil {
		return err
	}
	if strings.HasSuffix(string(job), "/9") {
		return &client.Error{Name: "InvalidDUState", Message: "cannot cancel: it is past the point of no return", CWMP: 9029, USP: 7229}
	}
	return nil
}

func (a *agent) USPNotifications(_ context.Context, after uint64) ([]client.USPNotification, error) {
	if err := a.note("notifications"); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.strange(after); err != nil {
		return nil, err
	}
	var list []client.USPNotification
	for _, n := range a.news {
		if n.ID > after {
			list = append(list, n)
		}
	}
	return list, nil
}

func (a *agent) USPAcknowledgeNotifications(_ context.Context, upTo uint64) error {
	if err := a.note("acknowledge %d", upTo); err != nil {
		return err
	}
	var err error
	a.change(func() {
		if err = a.strange(upTo); err != nil {
			return
		}
		a.acked = upTo
		a.news = slices.DeleteFunc(a.news, func(n client.USPNotification) bool {
			return n.ID <= upTo && (n.Kind == client.USPEvent || n.Kind == client.USPOperationComplete)
		})
	})
	return err
}

func (a *agent) WatchUSPNotifications(ctx context.Context, f func(uint64) error) error {
	boots := -1
	for {
		a.mu.Lock()
		changed, lost, id := a.changed, a.lost, uint64(1)
		if boots != a.boots {
			id = 0
		}
		away := a.away
		if !away {
			boots = a.boots
		}
		a.mu.Unlock()
		if !away {
			if err := f(id); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-lost:
			return fmt.Errorf("cannot follow: %w", client.ErrUnreachable)
		default:
		}
	}
}

// await waits until f, called under the lock of the agent, is true.
func (a *agent) await(t testing.TB, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), usptest.Patience)
	defer cancel()
	for {
		a.mu.Lock()
		done, changed, calls := f(), a.changed, slices.Clone(a.calls)
		a.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s does not happen; the agent was asked %q", what, calls)
		}
	}
}

// serve runs a Service between an agent and a broker until the test ends.
func serve(t testing.TB, b *usptest.Broker, a usp.Agent, adjust ...func(*usp.Service)) {
	t.Helper()
	s, err := usp.New(usp.Options{Broker: b.Path, Dial: func(context.Context) (usp.Agent, error) { return a, nil }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.Hurry()
	for _, f := range adjust {
		f(s)
	}
	run(t, s)
}

// run runs a Service until the test ends.
func run(t testing.TB, s *usp.Service) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the service ended with %v", err)
		}
	})
}
