package adapter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"pgregory.net/rapid"

	"github.com/smmd-project/smmd/plugins/adapter/adapterpb"
)

// recorder is an adapter that writes down what it is asked and answers what the test says.
type recorder struct {
	call   string
	args   []any
	err    error
	unit   Unit
	events chan Event
	block  bool
	begun  chan struct{} // told when a blocked call has come in
	gone   chan error    // what ended a blocked call
}

func (r *recorder) note(ctx context.Context, call string, args ...any) error {
	r.call, r.args = call, args
	if r.block {
		r.begun <- struct{}{}
		<-ctx.Done()
		r.gone <- ctx.Err()
		return fmt.Errorf("cannot finish: %w", ctx.Err())
	}
	return r.err
}

func (r *recorder) Describe(ctx context.Context) (Description, error) {
	return Description{Kind: "rec", Version: "1.2", Capabilities: []Capability{CapRunLevels}}, r.note(ctx, "Describe")
}

func (r *recorder) Configure(ctx context.Context, envs []EnvConfig) error {
	return r.note(ctx, "Configure", envs)
}

func (r *recorder) Watch(ctx context.Context) (<-chan Event, error) {
	if err := r.err; err != nil {
		return nil, err
	}
	return r.events, nil
}

func (r *recorder) Inspect(ctx context.Context, env string, p Package) (Manifest, error) {
	return r.unit.Manifest, r.note(ctx, "Inspect", env, p)
}

func (r *recorder) Install(ctx context.Context, op OpID, spec InstallSpec) (Unit, error) {
	return r.unit, r.note(ctx, "Install", op, spec)
}

func (r *recorder) Update(ctx context.Context, op OpID, u UnitRef, old, next Package) (Unit, error) {
	return r.unit, r.note(ctx, "Update", op, u, old, next)
}

func (r *recorder) Revert(ctx context.Context, op OpID, u UnitRef, old Package) (Unit, error) {
	return r.unit, r.note(ctx, "Revert", op, u, old)
}

func (r *recorder) Discard(ctx context.Context, op OpID, u UnitRef) error {
	return r.note(ctx, "Discard", op, u)
}

func (r *recorder) Uninstall(ctx context.Context, op OpID, u UnitRef) (UninstallResult, error) {
	return UninstallResult{Pending: true}, r.note(ctx, "Uninstall", op, u)
}

func (r *recorder) Start(ctx context.Context, op OpID, m ModuleRef, o StartOptions) error {
	return r.note(ctx, "Start", op, m, o)
}

func (r *recorder) Stop(ctx context.Context, op OpID, m ModuleRef) error {
	return r.note(ctx, "Stop", op, m)
}

func (r *recorder) SetEnabled(ctx context.Context, op OpID, env string, on bool, first []ModuleSetting) error {
	return r.note(ctx, "SetEnabled", op, env, on, first)
}

// capable has every capability.
type capable struct{ *recorder }

func (c capable) SetRunLevel(ctx context.Context, op OpID, env string, level int) error {
	return c.note(ctx, "SetRunLevel", op, env, level)
}

func (c capable) SetInitialModuleRunLevel(ctx context.Context, op OpID, env string, level int) error {
	return c.note(ctx, "SetInitialModuleRunLevel", op, env, level)
}

func (c capable) SetModuleRunLevel(ctx context.Context, op OpID, m ModuleRef, level int) error {
	return c.note(ctx, "SetModuleRunLevel", op, m, level)
}

func (c capable) SetAutoStart(ctx context.Context, op OpID, m ModuleRef, on bool) error {
	return c.note(ctx, "SetAutoStart", op, m, on)
}

func (c capable) Export(ctx context.Context, u UnitRef, path string) error {
	return c.note(ctx, "Export", u, path)
}

func (c capable) SaveVersion(ctx context.Context, env string, path string) error {
	return c.note(ctx, "SaveVersion", env, path)
}

func (c capable) SetUnit(ctx context.Context, op OpID, u UnitRef, s UnitSettings) error {
	return c.note(ctx, "SetUnit", op, u, s)
}

func (c capable) Constrain(ctx context.Context, op OpID, env string, l Constraints, force bool) error {
	return c.note(ctx, "Constrain", op, env, l, force)
}

func (c capable) RestoreVersion(ctx context.Context, op OpID, env string, p Package) error {
	return c.note(ctx, "RestoreVersion", op, env, p)
}

// wire serves impl in this process and returns the client and a function that breaks the connection at the server's end.
func wire(t *testing.T, impl adapterpb.AdapterServer) (*Client, func()) {
	t.Helper()
	lis := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	adapterpb.RegisterAdapterServer(srv, impl)
	h := health.NewServer()
	h.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(srv, h)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		srv.Stop()
		if err := <-served; err != nil {
			t.Errorf("serving ended with %v", err)
		}
	})
	return NewClient(conn), srv.Stop
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestCallsCrossWhole calls every method with every argument set.
func TestCallsCrossWhole(t *testing.T) {
	code, auto := 137, false
	u := Unit{
		Env: "a", Key: "k", DUID: "d", Handle: Handle{Version: 3, Data: []byte{0, 255}}, Resolved: true, System: true, Permanent: true,
		Manifest: Manifest{Name: "n", Vendor: "v", Version: "1", Description: "x"},
		Modules: []Module{{
			ID: "m", Name: "n", Label: "l", Vendor: "v", Version: "1", Description: "d", Status: Active, Reason: StartFailed,
			Message: "why", ExitCode: &code, Inert: true, AutoStart: &auto, RunLevel: -1, PIDs: []int{1, 2}, Memory: -1, Disk: 5,
			LogPath: "/l",
		}, {ID: "bare"}},
	}
	ref := UnitRef{Env: "a", Key: "k", Handle: Handle{Version: 3, Data: []byte("h")}}
	mod := ModuleRef{UnitRef: ref, Module: "m"}
	p1, p2 := Package{Path: "/p1", SHA256: "aa", Size: 1}, Package{Path: "/p2", SHA256: "bb", Size: 1 << 40}
	rec := &recorder{unit: u}
	c, _ := wire(t, NewServer(capable{rec}))
	ctx := testContext(t)

	envs := []EnvConfig{{ID: "a", DataDir: "/d", Settings: []byte(`{"x":1}`)}, {ID: "b"}}
	spec := InstallSpec{Env: "a", Key: "k", Package: p1, RunLevel: -1}
	start := StartOptions{Persistent: true, Auto: true}
	settings := UnitSettings{[]Variable{{"K", "v"}, {"EMPTY", ""}}, Limits{1 << 40, 2, 3}, []Volume{{"/a/1", "/data"}, {"/a/2", "/srv/x"}}}
	disk, memory, cpu := int64(1<<40), int64(0), 7
	limits := Constraints{&disk, &memory, &cpu}
	first := []ModuleSetting{{ModuleRef: mod, AutoStart: &auto, RunLevel: -1}, {ModuleRef: mod, RunLevel: 7}}
	tests := []struct {
		name string
		call func() (any, error)
		want any
		args []any
	}{
		{"Describe", func() (any, error) { return c.Describe(ctx) },
			Description{Kind: "rec", Version: "1.2", Capabilities: []Capability{CapRunLevels}}, nil},
		{"Configure", func() (any, error) { return nil, c.Configure(ctx, envs) }, nil, []any{envs}},
		{"Inspect", func() (any, error) { return c.Inspect(ctx, "a", p1) }, u.Manifest, []any{"a", p1}},
		{"Install", func() (any, error) { return c.Install(ctx, "o", spec) }, u, []any{OpID("o"), spec}},
		{"Update", func() (any, error) { return c.Update(ctx, "o", ref, p1, p2) }, u, []any{OpID("o"), ref, p1, p2}},
		{"Revert", func() (any, error) { return c.Revert(ctx, "o", ref, p2) }, u, []any{OpID("o"), ref, p2}},
		{"Discard", func() (any, error) { return nil, c.Discard(ctx, "o", ref) }, nil, []any{OpID("o"), ref}},
		{"Uninstall", func() (any, error) { return c.Uninstall(ctx, "o", ref) }, UninstallResult{Pending: true}, []any{OpID("o"), ref}},
		{"Start", func() (any, error) { return nil, c.Start(ctx, "o", mod, start) }, nil, []any{OpID("o"), mod, start}},
		{"Stop", func() (any, error) { return nil, c.Stop(ctx, "o", mod) }, nil, []any{OpID("o"), mod}},
		{"SetEnabled", func() (any, error) { return nil, c.SetEnabled(ctx, "o", "a", true, first) }, nil, []any{OpID("o"), "a", true, first}},
		{"SetRunLevel", func() (any, error) { return nil, c.SetRunLevel(ctx, "o", "a", 7) }, nil, []any{OpID("o"), "a", 7}},
		{"SetInitialModuleRunLevel", func() (any, error) { return nil, c.SetInitialModuleRunLevel(ctx, "o", "a", 7) }, nil,
			[]any{OpID("o"), "a", 7}},
		{"SetModuleRunLevel", func() (any, error) { return nil, c.SetModuleRunLevel(ctx, "o", mod, 7) }, nil, []any{OpID("o"), mod, 7}},
		{"SetAutoStart", func() (any, error) { return nil, c.SetAutoStart(ctx, "o", mod, true) }, nil, []any{OpID("o"), mod, true}},
		{"Export", func() (any, error) { return nil, c.Export(ctx, ref, "/x") }, nil, []any{ref, "/x"}},
		{"SaveVersion", func() (any, error) { return nil, c.SaveVersion(ctx, "a", "/x") }, nil, []any{"a", "/x"}},
		{"RestoreVersion", func() (any, error) { return nil, c.RestoreVersion(ctx, "o", "a", p2) }, nil, []any{OpID("o"), "a", p2}},
		{"SetUnit", func() (any, error) { return nil, c.SetUnit(ctx, "o", ref, settings) }, nil, []any{OpID("o"), ref, settings}},
		{"Constrain", func() (any, error) { return nil, c.Constrain(ctx, "o", "a", limits, true) }, nil, []any{OpID("o"), "a", limits, true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.call()
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("answer (-want +got):\n%s", d)
			}
			if rec.call != tt.name {
				t.Errorf("the adapter saw %s", rec.call)
			}
			if d := cmp.Diff(tt.args, rec.args, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("arguments (-want +got):\n%s", d)
			}
		})
		t.Run(tt.name+" fails", func(t *testing.T) {
			want := &Error{Reason: StillRunning, Message: "cannot do it: ä", Cause: "java.lang.Error\n\tat x"}
			rec.err = want
			defer func() { rec.err = nil }()
			_, err := tt.call()
			var got *Error
			if !errors.As(err, &got) || *got != *want {
				t.Errorf("got %#v, want %#v", err, want)
			}
		})
	}
	if n, have := len(tests)+1, reflect.TypeOf((*adapterpb.AdapterServer)(nil)).Elem().NumMethod()-1; n != have {
		t.Errorf("%d methods of the service are tested, it has %d", n, have) // +1 is Watch; -1 the generated guard
	}
	if err := c.Ping(ctx); err != nil {
		t.Errorf("Ping: %v", err)
	}
}

func TestNotSupported(t *testing.T) {
	c, _ := wire(t, NewServer(&recorder{}))
	old, _ := wire(t, adapterpb.UnimplementedAdapterServer{}) // as one in another language that left the methods out
	ctx := testContext(t)
	for name, c := range map[string]*Client{"without capability": c, "without method": old} {
		for _, err := range []error{
			c.SetRunLevel(ctx, "o", "a", 1), c.SetInitialModuleRunLevel(ctx, "o", "a", 1),
			c.SetModuleRunLevel(ctx, "o", ModuleRef{}, 1), c.SetAutoStart(ctx, "o", ModuleRef{}, true),
			c.Export(ctx, UnitRef{}, "/x"), c.SaveVersion(ctx, "a", "/x"), c.RestoreVersion(ctx, "o", "a", Package{}),
			c.SetUnit(ctx, "o", UnitRef{}, UnitSettings{}), c.Constrain(ctx, "o", "a", Constraints{}, false),
		} {
			if ReasonOf(err) != NotSupported {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
}

// TestEveryReasonCrosses also holds the table of codes total.
func TestEveryReasonCrosses(t *testing.T) {
	all := []Reason{
		Mismatch, Corrupt, Unresolved, NoResources, NotFound, Exists, BadState, StartFailed, AutoStartFailed, StopFailed, Unstartable,
		FailedWhileActive, Dependency, Unavailable, StillRunning, NotSupported, InvalidArgument, Canceled, Internal, InUse,
	}
	if len(all) != len(codeOf) {
		t.Errorf("%d reasons, %d codes", len(all), len(codeOf))
	}
	rec := &recorder{}
	c, _ := wire(t, NewServer(rec))
	for _, r := range append(all, "a-reason-of-tomorrow") {
		rec.err = fmt.Errorf("cannot do: %w", Errorf(r, "because"))
		err := c.Stop(testContext(t), "o", ModuleRef{})
		if ReasonOf(err) != r || errors.Is(err, ErrLost) {
			t.Errorf("%s arrived as %s: %v", r, ReasonOf(err), err)
		}
	}
	rec.err = errors.New("plain")
	if err := c.Stop(testContext(t), "o", ModuleRef{}); ReasonOf(err) != Internal || err.Error() != "plain" {
		t.Errorf("a plain error arrived as %v", err)
	}
	rec.err = &Error{Reason: StartFailed, Message: "bad \xff", Cause: "\xfe"}
	if err := c.Stop(testContext(t), "o", ModuleRef{}); ReasonOf(err) != StartFailed || err.Error() != "bad \uFFFD" {
		t.Errorf("an error that is not UTF-8 arrived as %v", err)
	}
}

func TestStatusWithoutDetail(t *testing.T) {
	for code, want := range map[codes.Code]Reason{
		codes.InvalidArgument: InvalidArgument, codes.NotFound: NotFound, codes.AlreadyExists: Exists,
		codes.FailedPrecondition: BadState, codes.ResourceExhausted: NoResources, codes.Unimplemented: NotSupported,
		codes.DeadlineExceeded: Canceled, codes.Unknown: Internal, codes.Internal: Internal,
		codes.Unavailable: Unavailable, codes.Canceled: Unavailable,
	} {
		err := fromStatus(context.Background(), "M", status.Error(code, "m"))
		if ReasonOf(err) != want {
			t.Errorf("%s: got %s, want %s", code, ReasonOf(err), want)
		}
		if lost := code == codes.Unavailable || code == codes.Canceled; errors.Is(err, ErrLost) != lost {
			t.Errorf("%s: lost is %v", code, !lost)
		}
	}
}

func TestCancelCrosses(t *testing.T) {
	rec := &recorder{block: true, begun: make(chan struct{}, 1), gone: make(chan error, 1)}
	c, _ := wire(t, NewServer(rec))
	for _, want := range []error{context.Canceled, context.DeadlineExceeded} {
		ctx, cancel := context.WithCancel(testContext(t))
		if want == context.DeadlineExceeded {
			cancel()
			// The call has to come in before: the connection is there by now.
			ctx, cancel = context.WithTimeout(testContext(t), time.Second)
		}
		done := make(chan error, 1)
		go func() { done <- c.Stop(ctx, "o", ModuleRef{}) }()
		select {
		case <-rec.begun:
		case <-testContext(t).Done():
			t.Fatal("the call did not come in")
		}
		if want == context.Canceled {
			cancel()
		}
		err := <-done
		cancel()
		if !errors.Is(err, want) || ReasonOf(err) != Canceled {
			t.Errorf("got %v, want %v", err, want)
		}
		select {
		case err := <-rec.gone:
			if ReasonOf(err) != Canceled {
				t.Errorf("the adapter was told %v", err)
			}
		case <-testContext(t).Done():
			t.Fatal("the adapter was not told")
		}
	}
}

func TestConnectionLost(t *testing.T) {
	rec := &recorder{block: true, begun: make(chan struct{}, 1), gone: make(chan error, 1), events: make(chan Event)}
	c, breakIt := wire(t, NewServer(rec))
	events, err := c.Watch(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Stop(testContext(t), "o", ModuleRef{}) }()
	go func() {
		<-rec.begun
		breakIt()
	}()
	if err := <-done; !errors.Is(err, ErrLost) || ReasonOf(err) != Unavailable {
		t.Errorf("got %v", err)
	}
	for range events {
	}
	if err := c.WatchError(); !errors.Is(err, ErrLost) {
		t.Errorf("Watch ended with %v", err)
	}
}

func TestWatch(t *testing.T) {
	rec := &recorder{events: make(chan Event)}
	c, _ := wire(t, NewServer(rec))
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	events, err := c.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Event{
		{Kind: EventEnv, EnvID: "a", Env: &Env{
			ID: "a", Name: "n", Type: "t", Vendor: "v", Version: "1", Up: true, Detail: "d", Launch: "l", RunLevel: -1,
			InitialModuleRunLevel: 4, AllocatedDisk: -1, AvailableDisk: 1 << 33, AllocatedMemory: 2, AvailableMemory: 3, Attached: true,
			AllocatedCPU: 50,
		}},
		{Kind: EventUnit, EnvID: "a", Key: "k", Unit: &Unit{Env: "a", Key: "k"}},
		{Kind: EventUnitRemoved, EnvID: "a", Key: "k"},
		{Kind: EventSynced, EnvID: "a"},
	} {
		rec.events <- want
		if d := cmp.Diff(want, <-events, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
	close(rec.events)
	if e, ok := <-events; ok {
		t.Errorf("got %v after the end", e)
	}
	if err := c.WatchError(); err != nil {
		t.Errorf("an orderly end is told as %v", err)
	}
}

func TestWatchEnds(t *testing.T) {
	rec := &recorder{err: Errorf(BadState, "cannot watch yet")}
	c, _ := wire(t, NewServer(rec))
	if _, err := c.Watch(testContext(t)); ReasonOf(err) != BadState {
		t.Errorf("a refused Watch: %v", err)
	}

	rec.err, rec.events = nil, make(chan Event)
	ctx, cancel := context.WithCancel(testContext(t))
	events, err := c.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for range events {
	}
	if err := c.WatchError(); ReasonOf(err) != Canceled {
		t.Errorf("a canceled Watch: %v", err)
	}

	events, err = c.Watch(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	rec.events <- Event{Kind: EventUnit, EnvID: "a"} // without its unit
	for range events {
		t.Error("an incomplete event arrived")
	}
	if err := c.WatchError(); ReasonOf(err) != Internal {
		t.Errorf("an incomplete event: %v", err)
	}
}

// noUnit answers Install without a unit, as an adapter in another language may.
type noUnit struct {
	adapterpb.UnimplementedAdapterServer
}

func (noUnit) Install(context.Context, *adapterpb.InstallRequest) (*adapterpb.InstallResponse, error) {
	return &adapterpb.InstallResponse{}, nil
}

func TestAnswerWithoutUnit(t *testing.T) {
	c, _ := wire(t, noUnit{})
	if _, err := c.Install(testContext(t), "o", InstallSpec{}); ReasonOf(err) != Internal {
		t.Errorf("got %v", err)
	}
}

func TestUnitRoundTrip(t *testing.T) {
	text := rapid.String()
	pointer := func(g *rapid.Generator[int]) *rapid.Generator[*int] { return rapid.Ptr(g, true) }
	module := rapid.Custom(func(t *rapid.T) Module {
		return Module{
			ID: text.Draw(t, "id"), Name: text.Draw(t, "name"), Status: rapid.SampledFrom([]Status{Idle, Active}).Draw(t, "status"),
			Message: text.Draw(t, "message"), ExitCode: pointer(rapid.IntRange(-1, 255)).Draw(t, "code"),
			AutoStart: rapid.Ptr(rapid.Bool(), true).Draw(t, "auto"), RunLevel: rapid.IntRange(-1, 65535).Draw(t, "level"),
			PIDs: rapid.SliceOf(rapid.IntRange(1, 1<<22)).Draw(t, "pids"), Memory: rapid.Int64Min(-1).Draw(t, "memory"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		want := Unit{
			Env: text.Draw(t, "env"), Key: text.Draw(t, "key"),
			Handle:  Handle{Version: rapid.Uint32().Draw(t, "hv"), Data: rapid.SliceOf(rapid.Byte()).Draw(t, "hd")},
			Modules: rapid.SliceOf(module).Draw(t, "modules"),
		}
		if d := cmp.Diff(want, unitFromWire(unitToWire(&want)), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
	})
}

func TestEnvLocks(t *testing.T) {
	dir := t.TempDir()
	first, second := &envLocks{dir: dir}, &envLocks{dir: dir}
	ctx := testContext(t)
	for range 2 { // its own lock is no obstacle
		if err := first.take(ctx, "a"); err != nil {
			t.Fatal(err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 2*lockRetry)
	defer cancel()
	if err := second.take(short, "a"); ReasonOf(err) != Unavailable {
		t.Errorf("the second got %v", err)
	}
	if err := second.take(ctx, "b"); err != nil {
		t.Errorf("another environment: %v", err)
	}
	if err := second.take(ctx, "../b"); ReasonOf(err) != InvalidArgument {
		t.Errorf("a name that climbs out: %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- second.take(ctx, "a") }()
	if err := first.held["a"].Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Errorf("after the end of the first: %v", err)
	}
}
