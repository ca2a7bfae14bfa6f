package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// topLevel is the highest run level of the tests of levels; no unit is above it.
const topLevel = 6

// A leveled is a unit as it has to be, by OSGi chapter 155 and chapter 9 (start levels) of the OSGi core specification.
type leveled struct {
	support.Unit
	lazy, fragment bool

	level     int
	autoStart bool
	running   bool
	starts    int // how often its activator has run
}

func (u *leveled) start() {
	if u.running || u.fragment {
		return
	}
	u.running = true
	if !u.lazy { // whose activator waits for a class that nobody uses
		u.starts++
	}
}

func (u *leveled) status() string {
	switch {
	case !u.running:
		return "Idle"
	case u.lazy:
		return "Starting"
	}
	return "Active"
}

// A ladder is an environment with units on five start levels, and what all of them have to be.
type ladder struct {
	*crash
	random         *rand.Rand
	object         dbus.ObjectPath
	level, initial int
	units          []*leveled
}

// moved is what becomes of units when the framework is brought to a level. A unit that was stopped for now at a level that has been
// reached already is not started again.
func (l *ladder) moved(to int) {
	for _, u := range l.units {
		switch {
		case u.level > to:
			u.running = false
		case u.level > l.level && u.autoStart:
			u.start()
		}
	}
	l.level = to
}

// launched is what becomes of them when the framework is launched.
func (l *ladder) launched() {
	for _, u := range l.units {
		u.running = false
	}
	l.level = 0
	l.moved(l.initial)
}

// check waits until everything is as it has to be.
func (l *ladder) check(what string) {
	l.t.Helper()
	l.Until(what+": everything is as it has to be", func(tree *client.Tree) error {
		if e := tree.ExecEnv(l.object); e.Status != "Up" || e.CurrentRunLevel != int64(l.level) || e.InitialRunLevel != int64(l.initial) {
			return fmt.Errorf("the environment is %s at level %d, initially %d; want %d and %d", e.Status, e.CurrentRunLevel, e.InitialRunLevel, l.level, l.initial)
		}
		said := l.starts()
		for _, u := range l.units {
			eu := tree.ExecutionUnit(u.EU.Object)
			if eu.Status != u.status() || eu.AutoStart != u.autoStart || eu.RunLevel != int64(u.level) {
				return fmt.Errorf("%s is %s, AutoStart %v, level %d, with %s %q; want %s, %v, %d", u.Name, eu.Status, eu.AutoStart, eu.RunLevel,
					eu.FaultCode, eu.FaultMessage, u.status(), u.autoStart, u.level)
			}
			if said[u.Name] != u.starts {
				return fmt.Errorf("%s was started %d times, want %d", u.Name, said[u.Name], u.starts)
			}
		}
		return nil
	})
}

// starts counts what bundles have said when they were started, by their symbolic names.
func (l *ladder) starts() map[string]int {
	n := map[string]int{}
	for _, line := range l.started() {
		if who, ok := strings.CutPrefix(line, "hello from "); ok {
			name := who[:strings.IndexAny(who, "_ ")] // Felix: NAME [ID], Equinox: NAME_VERSION [ID]
			n[name]++
		}
	}
	return n
}

// step does one thing at random, and says what.
func (l *ladder) step() string {
	l.t.Helper()
	u := l.units[l.random.IntN(len(l.units))]
	switch l.random.IntN(6) {
	case 0, 1:
		to := 1 + l.random.IntN(topLevel)
		what := fmt.Sprintf("from level %d to %d", l.level, to)
		if l.random.IntN(2) == 0 {
			set(l.t, l.Device, "Device.SoftwareModules.ExecEnv.1.RequestedRunLevel", strconv.Itoa(to))
		} else if err := l.Client.SetRunLevel(l.t.Context(), l.object, int32(to)); err != nil {
			l.t.Fatal(what, err)
		}
		l.moved(to)
		return what
	case 2:
		u.level = 1 + (u.level+l.random.IntN(topLevel-2))%(topLevel-1) // another one
		set(l.t, l.Device, u.EU.Path+".RunLevel", strconv.Itoa(u.level))
		switch {
		case u.level > l.level:
			u.running = false
		case u.autoStart:
			u.start()
		}
		return fmt.Sprintf("%s to level %d", u.Name, u.level)
	case 3:
		if u.fragment {
			return "nothing"
		}
		u.autoStart = l.random.IntN(2) == 0
		set(l.t, l.Device, u.EU.Path+".AutoStart", strconv.FormatBool(u.autoStart))
		switch {
		case !u.autoStart:
			u.running = false
		case u.level <= l.level:
			u.start()
		}
		return fmt.Sprintf("%s with AutoStart %v", u.Name, u.autoStart)
	case 4:
		j := l.Job(l.Client.Start(l.t.Context(), u.EU.Object))
		switch {
		case u.fragment, u.running, u.level <= l.level, u.autoStart:
			wantDone(l.t, j)
			if u.level <= l.level {
				u.start()
			}
		default: // it cannot be started for now only
			wantFault(l.t, j, "StartFailed", 9001, 7002)
		}
		return u.Name + " is started"
	default:
		wantDone(l.t, l.Job(l.Client.Stop(l.t.Context(), u.EU.Object)))
		u.running = false
		return u.Name + " is stopped"
	}
}

func (l *ladder) walk(n int) {
	l.t.Helper()
	for i := range n {
		what := fmt.Sprintf("step %d of %d, %s", i+1, n, l.step())
		l.t.Log(what)
		l.check(what)
		if i%4 == 3 {
			agree(l.t, l.Device, l.env, l.c)
		}
		if l.t.Failed() {
			l.t.FailNow()
		}
	}
}

// Units on five start levels are at every moment what the specification says, on every way up and down, and come back as it says after
// everything that can happen to the framework. The death of agent and adapter is not felt.
func TestFiveLevels(t *testing.T) {
	either(t, "equinox", func(t *testing.T, framework string) {
		n, random := rounds(t)
		l := &ladder{
			crash: newCrash(t, support.Env{Framework: framework, InitialRunLevel: 3}), random: random, level: 3, initial: 3,
			object: client.ObjectPath(client.KindExecEnv, 1),
		}
		for _, u := range []struct {
			bundle    string
			level     int
			autoStart bool
		}{
			{"sample2-1.0.0.jar", 1, true}, {"lazy-1.0.0.jar", 2, true}, {"sample-1.0.0.jar", 2, true}, {"fragment-1.0.0.jar", 2, false},
			{"provider-1.0.0.jar", 3, false}, {"throws-in-start-1.0.1.jar", 4, true}, {"no-vendor-1.0.0.jar", 5, false}, {"large-1.0.0.jar", 5, true},
		} {
			unit := l.InstallWith(l.URL(u.bundle), client.InstallOptions{ExecEnv: framework, AutoStart: new(bool)})
			m := &leveled{Unit: unit, lazy: strings.HasPrefix(u.bundle, "lazy"), fragment: strings.HasPrefix(u.bundle, "fragment"), level: u.level, autoStart: u.autoStart}
			l.units = append(l.units, m)
			set(t, l.Device, unit.EU.Path+".RunLevel", strconv.Itoa(u.level))
			if u.autoStart {
				set(t, l.Device, unit.EU.Path+".AutoStart", "true")
				if u.level <= l.level {
					m.start()
				}
			}
		}
		for _, u := range l.units { // one that runs for now only
			if strings.HasSuffix(u.Name, ".provider") {
				l.Done(l.Client.Start(t.Context(), u.EU.Object))
				u.start()
			}
		}
		l.check("at first")
		for _, to := range []int{1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 5} {
			set(t, l.Device, "Device.SoftwareModules.ExecEnv.1.RequestedRunLevel", strconv.Itoa(to))
			l.moved(to)
			l.check(fmt.Sprintf("at level %d", to))
			agree(t, l.Device, framework, l.c)
		}
		l.walk(n)
		for _, event := range []struct {
			name     string
			relaunch bool
			happens  func()
		}{
			{"agent killed", false, func() { l.Kill(); l.Start() }},
			{"adapter killed", false, func() { l.Adapter("osgi").Kill(t) }},
			{"agent restarted", false, func() { l.Restart() }},
			{"JVM killed", true, func() { l.JVM(framework).Kill(t) }},
			{"environment restarted", true, func() { l.Done(l.Client.RestartExecEnv(t.Context(), l.object, "")) }},
			{"environment disabled and enabled", true, func() {
				set(t, l.Device, "Device.SoftwareModules.ExecEnv.1.Enable", "false")
				l.Until("it is disabled", func(tree *client.Tree) error {
					for _, u := range l.units {
						if eu := tree.ExecutionUnit(u.EU.Object); eu.Status != "Idle" || eu.FaultCode != "UnStartable" || eu.AutoStart != u.autoStart {
							return fmt.Errorf("%s is %s, AutoStart %v, with %s", u.Name, eu.Status, eu.AutoStart, eu.FaultCode)
						}
					}
					return nil
				})
				set(t, l.Device, "Device.SoftwareModules.ExecEnv.1.Enable", "true")
			}},
			{"JVM killed while there is no agent", true, func() { l.Stop(); l.JVM(framework).Kill(t); l.Start() }},
		} {
			l.walk(max(1, n/4))
			l.initial = 1 + random.IntN(topLevel)
			set(t, l.Device, "Device.SoftwareModules.ExecEnv.1.InitialRunLevel", strconv.Itoa(l.initial))
			what := fmt.Sprintf("%s, InitialRunLevel %d", event.name, l.initial)
			t.Log(what)
			l.check("before: " + what)
			name, pid, launches := l.Tree().ExecEnv(l.object).Name, l.JVM(framework).PID, strings.Count(l.HostLog(framework), "=== launch")
			adapter := l.Adapter("osgi").PID

			event.happens()

			if event.relaunch {
				l.launched()
				launches++
			} else {
				support.Until(t, "there is another adapter", func() error {
					if now := l.Adapter("osgi").PID; now == adapter {
						return fmt.Errorf("it is still process %d", now)
					}
					return nil
				})
			}
			l.Until("the environment is up", func(tree *client.Tree) error {
				if e := tree.ExecEnv(l.object); e.Status != "Up" || (e.Name != name) != event.relaunch {
					return fmt.Errorf("it is %s: %s; its framework %s, before %s", e.Status, e.StatusDetail, e.Name, name)
				}
				return nil
			})
			l.check(what)
			if event.relaunch {
				l.c = l.Console(framework)
			}
			agree(t, l.Device, framework, l.c)
			if now := l.JVM(framework).PID; (now == pid) == event.relaunch {
				t.Errorf("%s: the JVM was process %d and is %d", what, pid, now)
			}
			if diff := cmp.Diff(launches, strings.Count(l.HostLog(framework), "=== launch")); diff != "" {
				t.Errorf("%s: launches %s", what, diff)
			}
		}
	})
}

// A level that there is not is refused or without effect, and the command reads as if it had never been given.
func TestNoSuchLevel(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework, InitialRunLevel: 2})
		c := d.InstallConsole(framework)
		const env = "Device.SoftwareModules.ExecEnv.1."
		refused := func(path, value string) {
			t.Helper()
			_, err := d.Client.SetParameterValues(t.Context(), client.Parameter{Path: path, Value: value})
			var e *client.Error
			if !errors.As(err, &e) || len(e.Parameters()) != 1 || e.Parameters()[0].Path != path || e.Parameters()[0].CWMP != 9007 {
				t.Errorf("%s = %s is answered with %v", path, value, err)
			}
		}
		jobs := len(d.Tree().Jobs)
		refused(env+"InitialRunLevel", "-1") // an unsignedInt
		refused(env+"InitialRunLevel", "65536")
		refused(env+"RequestedRunLevel", "-2")
		refused(env+"RequestedRunLevel", "65536")
		refused(d.Tree().ExecutionUnits[0].Path+".RunLevel", "-1")
		set(t, d, env+"RequestedRunLevel", "-1")
		if now := len(d.Tree().Jobs); now != jobs {
			t.Errorf("there were %d jobs and are %d", jobs, now)
		}
		values, err := d.Client.GetParameterValues(t.Context(), env+"InitialRunLevel", env+"RequestedRunLevel", env+"CurrentRunLevel")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range values {
			got = append(got, v.Value)
		}
		if diff := cmp.Diff([]string{"2", "-1", "2"}, got); diff != "" {
			t.Error(diff)
		}
		set(t, d, env+"RequestedRunLevel", "5")
		if values, err = d.Client.GetParameterValues(t.Context(), env+"RequestedRunLevel"); err != nil || values[0].Value != "-1" {
			t.Errorf("after a move RequestedRunLevel reads %v, %v", values, err)
		}
		agree(t, d, framework, c)

		set(t, d, env+"Enable", "false")
		refused(env+"InitialRunLevel", "-1")
		set(t, d, env+"Enable", "true")
		d.Up()
		agree(t, d, framework, d.Console(framework))
	})
}
