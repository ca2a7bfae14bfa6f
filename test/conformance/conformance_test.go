package conformance

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/device"
	"github.com/smmd-project/smmd/test/fileserver"
)

// A check is one requirement.
type check struct {
	id, what string
	when     phase
	// before is called before the reboot, if f is called after it.
	before func(b *bench)
	// f shows that the requirement is met.
	f func(b *bench)
	// apart is what must not be shared with checks of other kinds meanwhile, if anything.
	apart share
	// not says why that cannot be shown of a kind of environment; "" when it can.
	not func(k *kind) string
}

// share is something of the device that all kinds of environments have in common.
type share int

// What is shared.
const (
	nothing share = iota
	whole         // everything
	values        // values that have changed, and are acknowledged
	rules         // the policy for autonomous changes
)

// phase is when a check is tried.
type phase int

// The phases.
const (
	normally     phase = iota
	afterReboot        // of the device
	atLast             // when nothing waits any more that a new baseline would drop
	bridged            // behind the shipped USP Service, with the environments of one kind
	withRunLimit       // the agent gives an operation 2 s
	withLimit          // the agent gives an operation 2 s, the time in its queue included
)

// always is a reason for every kind.
func always(reason string) func(*kind) string { return func(*kind) string { return reason } }

// only is a reason for every kind except some.
func only(adapters, reason string) func(*kind) string {
	return func(k *kind) string {
		if slices.Contains(strings.Fields(adapters), k.adapter) {
			return ""
		}
		return reason
	}
}

// checks are all requirements, in the order in which they are tried.
func checks() []check {
	return slices.Concat(changeChecks, faultChecks, unitChecks, uspChecks, genericChecks, autonomousChecks)
}

// suite is what the checks share.
type suite struct {
	d      *device.Device
	tls    *fileserver.Server // the same by https
	env    map[string]string  // paths of environments by their names
	table  *table
	bridge *bridge // when there is one

	turn  sync.RWMutex // whole has all of it
	turns map[share]*sync.Mutex
}

// state is what is left of the checks of one kind for later ones.
type state struct {
	units  map[string]unit // that stand
	kept   map[string]any  // for the time after the reboot, by id
	marked uint64          // the last notification that was looked at
}

// keep keeps something for the time after the reboot.
func (b *bench) keep(id string, what any) { b.has.kept[id] = what }

// kept is what was kept.
func kept[T any](b *bench, id string) T {
	b.t.Helper()
	what, ok := b.has.kept[id].(T)
	if !ok {
		b.t.Fatal("it has failed before the reboot")
	}
	return what
}

// caFile is the authority of the file server by https, on the device.
const caFile = "/etc/smmd/conformance-ca.pem"

// TestConformance tries every requirement on every kind of environment.
func TestConformance(t *testing.T) {
	s := &suite{table: newTable(), turns: map[share]*sync.Mutex{values: {}, rules: {}}}
	s.boot(t)
	steps := []func(){
		normally:     func() {},
		afterReboot:  func() { s.reboot(t) },
		atLast:       func() {},
		bridged:      func() { s.join(t) },
		withRunLimit: func() { s.leave(t); s.limit(t, "run_deadline") },
		withLimit:    func() { s.limit(t, "total_deadline") },
	}
	// The tests of the kinds go on at the same time, so that they can wait for each other before what happens to the whole device.
	var all, busy sync.WaitGroup
	begin := make([]chan struct{}, len(steps))
	for i := range begin {
		begin[i] = make(chan struct{})
	}
	for _, k := range kinds {
		all.Go(func() {
			done := 0
			t.Run(k.adapter, func(t *testing.T) {
				has := &state{units: map[string]unit{}, kept: map[string]any{}}
				for ; done < len(begin); done++ {
					<-begin[done]
					s.try(t, k, has, phase(done))
					busy.Done()
				}
			})
			for ; done < len(begin); done++ { // -run leaves this kind out
				<-begin[done]
				busy.Done()
			}
		})
	}
	i := 0
	defer func() { // also when a step has ended the test
		for ; i < len(begin); i++ {
			busy.Add(len(kinds))
			close(begin[i])
		}
		all.Wait()
		s.table.write(t)
	}()
	for ; i < len(steps); i++ {
		steps[i]()
		busy.Add(len(kinds))
		close(begin[i])
		busy.Wait()
	}
}

// try tries the checks of a phase.
func (s *suite) try(t *testing.T, k *kind, has *state, now phase) {
	for _, c := range checks() {
		if c.when == bridged && k != bridgeKind {
			continue
		}
		reason := ""
		if c.not != nil {
			reason = c.not(k)
		}
		switch {
		case reason != "":
			if now == normally {
				s.table.put(c, k, notApplicable, reason)
			}
		case c.when == now:
			o := failed
			if t.Run(c.id, func(t *testing.T) { s.run(t, k, has, c, c.f) }) {
				o = passed
			}
			s.table.put(c, k, o, "")
		case c.before != nil && now == normally:
			t.Run("before the reboot", func(t *testing.T) { t.Run(c.id, func(t *testing.T) { s.run(t, k, has, c, c.before) }) })
		}
	}
}

// run runs one check.
func (s *suite) run(t *testing.T, k *kind, has *state, c check, f func(*bench)) {
	if c.apart == whole {
		s.turn.Lock()
		defer s.turn.Unlock()
	} else {
		s.turn.RLock()
		defer s.turn.RUnlock()
	}
	if turn := s.turns[c.apart]; turn != nil {
		turn.Lock()
		defer turn.Unlock()
	}
	if s.d.Client == nil {
		t.Fatal("the device is gone")
	}
	if c.when == bridged {
		if s.bridge == nil {
			t.Fatal("the USP Service is not there")
		}
		s.bridge.For(t)
	}
	f(&bench{Control: s.d.In(t), t: t, d: s.d, k: k, s: s, has: has})
}

// boot boots the device.
func (s *suite) boot(t *testing.T) {
	var err error
	if s.tls, err = fileserver.Start(fileserver.Options{TLS: fileserver.Good}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.tls.Close)
	config := ""
	for _, k := range kinds {
		config += k.config
	}
	s.d = device.Boot(t, device.Options{Programs: programs, Config: config, Settings: map[string]any{"ca_file": caFile}, Prepare: s.prepare})
	s.arrive(t)
	s.env = map[string]string{}
	for _, e := range s.d.Up().ExecEnvs {
		s.env[e.ID] = e.Path + "."
	}
}

// stranger is another address of the file server by https, which its certificate does not have.
const stranger = "127.0.0.2"

// arrive is what is to be done once the device has booted.
func (s *suite) arrive(t *testing.T) {
	t.Helper()
	server := strings.TrimPrefix(s.tls.URL, "https://")
	for _, address := range []string{server, strings.Replace(server, "127.0.0.1", stranger, 1)} {
		listener, err := s.d.Machine.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(startRelay(listener, server).close)
	}
}

// reboot reboots the device.
func (s *suite) reboot(t *testing.T) {
	s.d.Reboot()
	s.arrive(t)
	s.d.Up()
}

// limit starts the agent again with one deadline of two seconds and the other as long as it is.
func (s *suite) limit(t *testing.T, key string) {
	const file = "/etc/smmd/agent.toml"
	lines := strings.Split(string(s.d.Machine.ReadFile(t, file)), "\n")
	for i, line := range lines {
		if name, _, _ := strings.Cut(strings.TrimPrefix(line, "#"), " = "); name == "run_deadline" || name == "total_deadline" {
			lines[i] = "#" + strings.TrimPrefix(line, "#")
			if name == key {
				lines[i] = key + ` = "2s"`
			}
		}
	}
	s.d.Machine.WriteFile(t, file, []byte(strings.Join(lines, "\n")), 0o600)
	s.d.Machine.Run(t, "systemctl", "restart", "smmd.service")
	s.d.Up()
}

// isError returns the error of the agent that an error is.
func isError(err error) *client.Error {
	var e *client.Error
	if errors.As(err, &e) {
		return e
	}
	return &client.Error{Message: "no error of the agent"}
}
