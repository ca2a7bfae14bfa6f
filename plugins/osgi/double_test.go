package osgi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain is also the main function of the double in a process of its own: the adapter launches the test executable as if it
// were java.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "--storage") {
		os.Exit(doubleMain(os.Args))
	}
	if len(os.Args) == 3 && os.Args[1] == holdLock {
		os.Exit(holdMain(os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}

// double is a working host without a framework, with knobs for what can go wrong.
type double struct {
	listener net.Listener
	end      func() // what shutdown does

	mu      sync.Mutex
	version int // of the protocol, in the answer to hello
	launch  string
	level   int
	nextID  int64
	bundles map[string]*bundleInfo
	ops     map[string]string // location -> op that installed it
	peers   map[*peer]bool
	calls   []string                 // the methods that were called but hello
	on      map[string]func(p *peer) // by method: instead of an answer
	fail    map[string]*hostError    // by method: the answer
	stored  exportAnswer             // the answer to export
	// attached says that somebody else launched it.
	attached bool
	uploaded []byte // what was sent since the last install or update
	brought  [][]byte
	wg       sync.WaitGroup
}

// peer is a client of the double.
type peer struct {
	c          net.Conn
	mu         sync.Mutex
	subscribed bool // guarded by double.mu
}

func (p *peer) write(v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = writeFrame(p.c, body) // a client may go at any time
}

// newDouble makes a double that listens on socket; setup changes it before it serves anybody.
func newDouble(socket string, setup func(*double)) (*double, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	d := &double{
		listener: l, version: protocolVersion, launch: fmt.Sprint(time.Now().UnixNano()), level: 1, nextID: 1, end: func() {},
		bundles: map[string]*bundleInfo{}, ops: map[string]string{}, peers: map[*peer]bool{},
		on: map[string]func(*peer){}, fail: map[string]*hostError{},
	}
	setup(d)
	d.wg.Go(d.accept)
	return d, nil
}

// inProcess starts a double on the socket of data directory dir. It is reached through a short path, as by the adapter.
func inProcess(t *testing.T, dir string) *double {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	path := dir + "/" + socketName
	if len(path) > 107 {
		path = fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), socketName)
	}
	d, err := newDouble(path, func(d *double) { d.end = func() { go d.close() } })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

func (d *double) close() {
	_ = d.listener.Close()
	d.cut()
	d.wg.Wait()
}

// cut ends all connections.
func (d *double) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p := range d.peers {
		_ = p.c.Close()
	}
}

func (d *double) accept() {
	for {
		c, err := d.listener.Accept()
		if err != nil {
			return
		}
		p := &peer{c: c}
		d.mu.Lock()
		d.peers[p] = true
		d.mu.Unlock()
		d.wg.Go(func() { d.serve(p) })
	}
}

func (d *double) serve(p *peer) {
	defer func() {
		d.mu.Lock()
		delete(d.peers, p)
		d.mu.Unlock()
		_ = p.c.Close()
	}()
	for {
		body, err := readFrame(p.c)
		if err != nil {
			return
		}
		var r struct {
			ID     uint64
			Method string
			Params struct {
				Protocol, Level, StartLevel int
				Location, Path, Op          string
				Data                        []byte
				Transient, Auto, On         bool
				Timeout                     int
			}
		}
		if err := json.Unmarshal(body, &r); err != nil {
			return
		}
		d.mu.Lock()
		if r.Method != "hello" {
			d.calls = append(d.calls, r.Method)
		}
		hook, fail := d.on[r.Method], d.fail[r.Method]
		d.mu.Unlock()
		if hook != nil {
			hook(p)
			continue
		}
		if fail != nil {
			p.write(map[string]any{"id": r.ID, "error": fail})
			continue
		}
		var result any = struct{}{}
		var refused *hostError
		d.mu.Lock()
		b := d.bundles[r.Params.Location]
		needs := func() bool {
			if b == nil {
				refused = &hostError{Reason: "not-found", Message: "cannot find bundle " + r.Params.Location}
			}
			return b != nil
		}
		switch r.Method {
		case "hello":
			result = hello{Protocol: d.version, Host: "double", PID: os.Getpid(), Framework: d.framework()}
		case "subscribe":
			p.subscribed = true
			p.write(map[string]any{"event": "framework", "framework": d.framework()})
			p.write(map[string]any{"event": "bundle", "bundle": bundleInfo{ID: 0, Location: "System Bundle"}})
			for _, b := range d.bundles {
				p.write(map[string]any{"event": "bundle", "bundle": b})
			}
		case "upload":
			d.uploaded = append(d.uploaded, r.Params.Data...)
		case "install":
			d.bring(r.Params.Path)
			if b != nil && d.ops[r.Params.Location] != r.Params.Op {
				refused = &hostError{Reason: "exists", Message: "there is a bundle at " + r.Params.Location}
				break
			}
			if b == nil {
				b = d.add(r.Params.Location)
				d.ops[r.Params.Location] = r.Params.Op
			}
			result = bundleAnswer{*b}
		case "update":
			d.bring(r.Params.Path)
			if needs() {
				b.State = "INSTALLED"
				d.told(b)
				result = bundleAnswer{*b}
			}
		case "uninstall":
			if b != nil {
				delete(d.bundles, r.Params.Location)
				d.event(map[string]any{"event": "removed", "location": r.Params.Location})
			}
			result = map[string]bool{"pending": false}
		case "export":
			if needs() {
				result = d.stored
			}
		case "start":
			if needs() {
				b.State, b.AutoStart = "ACTIVE", b.AutoStart || !r.Params.Transient
				d.told(b)
			}
		case "stop":
			if needs() {
				b.State = "RESOLVED"
				d.told(b)
			}
		case "setAutoStart":
			if needs() {
				b.AutoStart = r.Params.On
				d.told(b)
			}
		case "setBundleStartLevel":
			if needs() {
				b.StartLevel = r.Params.Level
				d.told(b)
			}
		case "setStartLevel":
			d.level = r.Params.Level
			d.event(map[string]any{"event": "framework", "framework": d.framework()})
		case "setInitialBundleStartLevel":
		case "shutdown":
			defer d.end()
		default:
			refused = &hostError{Reason: "not-supported", Message: "no method " + r.Method}
		}
		d.mu.Unlock()
		if refused != nil {
			p.write(map[string]any{"id": r.ID, "error": refused})
			continue
		}
		p.write(map[string]any{"id": r.ID, "result": result})
		if r.Method == "shutdown" {
			return
		}
	}
}

// bring keeps the package of an install or update: what is at the path, or what was uploaded. The caller holds mu.
func (d *double) bring(path string) {
	data := d.uploaded
	if path != "" {
		data, _ = os.ReadFile(path) // a test that wants it looks
	}
	d.brought, d.uploaded = append(d.brought, data), nil
}

// add makes a bundle; the caller holds mu.
func (d *double) add(location string) *bundleInfo {
	b := &bundleInfo{ID: d.nextID, Location: location, SymbolicName: "test." + location, Version: "1.0.0", State: "INSTALLED", StartLevel: 1, Size: 1025}
	d.nextID++
	d.bundles[location] = b
	d.told(b)
	return b
}

func (d *double) told(b *bundleInfo) { d.event(map[string]any{"event": "bundle", "bundle": *b}) }

// event sends to all that subscribed; the caller holds mu.
func (d *double) event(v any) {
	for p := range d.peers {
		if p.subscribed {
			p.write(v)
		}
	}
}

func (d *double) framework() frameworkInfo {
	f := frameworkInfo{UUID: "uuid-of-" + d.launch, SpecVersion: "1.10", Vendor: "Double", Version: "1.2.3", Launch: d.launch, Attached: d.attached, StartLevel: d.level, InitialBundleStartLevel: 4}
	f.Memory.Max, f.Memory.Used, f.Disk.Usable = 1000, 400, 5000
	return f
}

// knob changes the double while nothing else does.
func (d *double) knob(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *double) called() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

// doubleMain is the double in a process of its own. The framework property "mode" says what is wrong with it.
func doubleMain(args []string) int {
	after := func(flag string) string { return args[slices.Index(args, flag)+1] }
	mode := ""
	if i := slices.Index(args, "--property"); i > 0 {
		mode = strings.TrimPrefix(args[i+1], "mode=")
	}
	fmt.Println("double begins", mode, len(os.Environ()), os.Getenv("SMMD_SECRET"))
	if mode == "exit" {
		fmt.Fprintln(os.Stderr, "java.lang.Error: no framework here")
		return 7
	}
	for _, file := range classPathOf(args) { // as a JVM has its class path open
		if f, err := os.Open(file); err == nil {
			defer f.Close()
		}
	}
	// A framework writes before it is up.
	written := after("--storage") + "/" + frameworkName
	if err := errors.Join(os.MkdirAll(written, 0o700), os.WriteFile(written+"/bundles", nil, 0o600)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Remove(after("--socket")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 1
	}
	end := make(chan os.Signal, 1)
	if mode == "immortal" {
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(end, syscall.SIGTERM)
	}
	d, err := newDouble(after("--socket"), func(d *double) {
		switch mode {
		case "deaf":
			d.on["hello"] = func(*peer) {}
		case "version":
			d.version = 2
		}
		if mode != "immortal" {
			d.end = func() { end <- syscall.SIGTERM }
		}
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	<-end
	_ = d.listener.Close() // removes the socket
	return 0
}
