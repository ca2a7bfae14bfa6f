package systemd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// detour is a way to the system bus that can be cut and blocked.
type detour struct {
	t        testing.TB
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	before  func(message []byte) // is told what goes to the bus, just before it goes; nil: nobody
	pairs   [][2]net.Conn        // to the adapter, to the bus
	blocked bool                 // nothing goes through any more
}

// takeDetour makes connections to the bus from now on go through a detour.
func takeDetour(t testing.TB) *detour {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	x := &detour{t: t, listener: listener}
	x.running.Go(x.serve)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		x.cut(x.connections()...)
		x.running.Wait()
	})
	return x
}

func (x *detour) serve() {
	for {
		near, err := x.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			x.t.Error(err)
			return
		}
		far, err := net.Dial("unix", "/run/dbus/system_bus_socket")
		if err != nil {
			x.t.Error(errors.Join(err, near.Close()))
			return
		}
		x.mu.Lock()
		x.pairs = append(x.pairs, [2]net.Conn{near, far})
		x.mu.Unlock()
		x.running.Go(func() { x.pass(near, far) })
		x.running.Go(func() { x.pass(far, near) })
	}
}

// pass hands on what comes from one side, until either has ended. What ends it is no failure: that is what detours are for.
func (x *detour) pass(to, from net.Conn) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		x.mu.Lock()
		blocked, before := x.blocked, x.before
		x.mu.Unlock()
		if before != nil {
			before(buffer[:n])
		}
		if err == nil && !blocked {
			_, err = to.Write(buffer[:n])
		}
		if err != nil {
			if err := errors.Join(to.Close(), from.Close()); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
				x.t.Error(err)
			}
			return
		}
	}
}

// connections are the numbers of those made so far.
func (x *detour) connections() (all []int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range x.pairs {
		all = append(all, i)
	}
	return all
}

func (x *detour) cut(which ...int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, i := range which {
		_ = x.pairs[i][0].Close() // it may have ended by itself
	}
}

func (x *detour) block() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.blocked = true
}

// TestLostConnection: whoever waits hears of it at once, whichever of the connections it was, and the environment is found again.
func TestLostConnection(t *testing.T) {
	x := takeDetour(t)
	d := one(t, map[string]any{"call_timeout": "5m"})
	d.install(home, "slow", newImage("slow", "1").service("slow.service", sleeps, "Type=oneshot\n").pkg(t))
	m := ref(home, "slow", "slow.service")
	for i := range 3 {
		all := x.connections()
		if len(all) < 3 {
			t.Fatalf("there are connections %v, a link has three", all)
		}
		ended := make(chan error, 1)
		go func() { ended <- d.start(m) }()
		d.status(m, adapter.Starting)
		x.cut(all[len(all)-3+i])
		select {
		case err := <-ended:
			reasonIs(t, fmt.Sprintf("a start while connection %d of the link is lost", i), err, adapter.Unavailable)
		case <-time.After(patience):
			t.Fatalf("nobody told who waits that connection %d of the link is lost", i)
		}
		d.await("the loss", func() bool { return !d.envs[home].Up })
		d.status(m, adapter.Starting)
		reasonIs(t, "a stop in the middle of a start", d.stop(m), adapter.StopFailed) // by a signal
		d.status(m, adapter.Idle)
	}
}

// TestManagerExecutesItselfAnew: nothing is lost by that, no start that is under way either.
func TestManagerExecutesItselfAnew(t *testing.T) {
	d := one(t, map[string]any{"call_timeout": "5m"})
	d.install(home, "slow", newImage("slow", "1").service("slow.service", "until [ -e /run/slow/go ]; do sleep 0.02; done",
		"Type=oneshot\nRemainAfterExit=yes\nRuntimeDirectory=slow\n").pkg(t))
	m := ref(home, "slow", "slow.service")
	ended := make(chan error, 1)
	go func() { ended <- d.start(m) }()
	d.status(m, adapter.Starting)
	systemctl(t, "daemon-reexec")
	if _, err := d.s.envs[home].link(t.Context()); err != nil {
		t.Error(err)
	}
	run(t, "touch", "/run/slow/go")
	select {
	case err := <-ended:
		d.must(err)
	case <-time.After(patience):
		t.Fatal("the start is not answered")
	}
	d.status(m, adapter.Active)
}

// TestNoAnswer: a bus that takes connections and says nothing holds up nobody for good.
func TestNoAnswer(t *testing.T) {
	x := takeDetour(t)
	const soon = 100 * time.Millisecond
	l, err := newLink(t.Context(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	l.answer = soon
	if v := l.version(t.Context()); v == "" {
		t.Error("systemd has no version")
	}
	x.block()
	answered := make(chan error, 1)
	within := func(what string, f func() error) error {
		t.Helper()
		go func() { answered <- f() }()
		select {
		case err := <-answered:
			return err
		case <-time.After(patience):
			t.Fatalf("%s has no end", what)
			return nil
		}
	}
	if err := within("the version", func() error {
		if v := l.version(t.Context()); v != "" {
			return fmt.Errorf("it is %s", v)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	err = within("the question for what a unit lacks", func() error {
		_, err := l.lacks(t.Context(), unitState{name: "x.service", requires: []string{"y.service"}})
		return err
	})
	reasonIs(t, "what a unit lacks", err, adapter.Unavailable)
	if err := within("a connection", func() error {
		l, err := newLink(t.Context(), soon)
		if err == nil {
			l.close()
		}
		return err
	}); !says(err, soon.String()) { // the bus has a limit of its own, of half a minute
		t.Errorf("a link to nothing: %v", err)
	}
}
