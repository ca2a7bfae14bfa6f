package adaptertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// The most that the data model allows of variables of a unit (TR-181, EnvVariable.{i}.).
const (
	mostVariables   = 128
	mostCharacters  = 2048
	variableInCases = "SMMD_KIT"
)

func (r *rig) setter() (adapter.UnitSetter, bool) {
	s, ok := r.a.(adapter.UnitSetter)
	return s, ok && r.desc.Has(adapter.CapUnitSettings)
}

// settable brings the environment up, of an adapter that gives settings to units and can also do these.
func (r *rig) settable(also ...adapter.Capability) {
	r.t.Helper()
	r.open()
	if _, ok := r.setter(); !ok {
		r.t.Skipf("the adapter does not announce %s", adapter.CapUnitSettings)
	}
	for _, c := range also {
		if !r.desc.Has(c) {
			r.t.Skipf("the adapter does not announce %s", c)
		}
	}
	r.configure()
	r.launch(r.env)
}

// settableUnit is settable with V1 installed.
func (r *rig) settableUnit(also ...adapter.Capability) (adapter.Unit, adapter.ModuleRef) {
	r.t.Helper()
	v1 := r.h.Packages.V1.load(r, "V1")
	r.settable(also...)
	u := r.install(v1)
	return u, r.first(u)
}

func (r *rig) trySet(op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
	r.t.Helper()
	x, _ := r.setter()
	return r.call("SetUnit", func(ctx context.Context) error { return x.SetUnit(ctx, op, u, s) })
}

// set gives a unit these variables, as keys and values in turn, and no limits.
func (r *rig) set(u adapter.UnitRef, pairs ...string) {
	r.t.Helper()
	if err := r.trySet(r.op(), u, variables(pairs...)); err != nil {
		r.t.Fatalf("SetUnit with %q: want success, got %s: %v", pairs, adapter.ReasonOf(err), err)
	}
}

// variables are settings of keys and values in turn.
func variables(pairs ...string) (s adapter.UnitSettings) {
	for i := 0; i < len(pairs); i += 2 {
		s.Variables = append(s.Variables, adapter.Variable{Key: pairs[i], Value: pairs[i+1]})
	}
	return s
}

// anew starts a module that may run, and waits until Watch says that it is active after that.
func (r *rig) anew(m adapter.ModuleRef) {
	r.t.Helper()
	r.mustStop(m)
	r.waitStatus(m, adapter.Idle)
	r.run(m)
}

// environs are the environments of the processes of a module that is active, as far as they can be seen now.
func (r *rig) environs(m adapter.ModuleRef) []map[string]string {
	r.t.Helper()
	if r.h.Environ != nil {
		x := r.waitStatus(m, adapter.Active)
		return []map[string]string{r.h.Environ(r.t, r.dir, m, x.PIDs)}
	}
	x := r.waitModule(m, "active with processes", func(x adapter.Module) bool { return x.Status == adapter.Active && len(x.PIDs) > 0 })
	var all []map[string]string
	for _, pid := range x.PIDs {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			r.t.Fatalf("cannot read the environment of a process of module %s: %v", m.Module, err)
		}
		env := map[string]string{}
		for _, entry := range bytes.Split(bytes.TrimSuffix(data, []byte{0}), []byte{0}) {
			key, value, _ := strings.Cut(string(entry), "=")
			env[key] = value
		}
		all = append(all, env)
	}
	return all
}

// wantEnviron waits until each process of a module has the variables, as keys and values in turn, and no other one of those that a case sets: a
// process has those of its parent until it has become another program.
func (r *rig) wantEnviron(when string, m adapter.ModuleRef, pairs ...string) {
	r.t.Helper()
	r.wantVariables(when, m, variables(pairs...).Variables)
}

func (r *rig) wantVariables(when string, m adapter.ModuleRef, want []adapter.Variable) {
	r.t.Helper()
	deadline := time.NewTimer(r.h.Timeout)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		all := r.environs(m)
		wrong := ""
		for _, env := range all {
			wrong += compareVariables(env, want)
		}
		if len(all) > 0 && wrong == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			if len(all) == 0 {
				wrong = "it has no process whose environment can be seen"
			}
			r.t.Fatalf("%s the environment of module %s is not as set: %s", when, m.Module, wrong)
		}
	}
}

// compareVariables says what is wrong with the variables of one process.
func compareVariables(env map[string]string, want []adapter.Variable) (wrong string) {
	keys := map[string]bool{}
	for _, v := range want {
		keys[v.Key] = true
		if got, there := env[v.Key]; !there {
			wrong += fmt.Sprintf("%s is not there; ", v.Key)
		} else if got != v.Value {
			wrong += fmt.Sprintf("%s is %q, want %q; ", v.Key, got, v.Value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(env)) {
		if strings.HasPrefix(key, variableInCases) && !keys[key] {
			wrong += fmt.Sprintf("%s is %q and should not be there; ", key, env[key])
		}
	}
	return wrong
}

// The keys that cases set. All begin with variableInCases.
const (
	keyA = variableInCases + "_A"
	keyB = variableInCases + "_b2"
	keyC = variableInCases + "__C"
)

var settingsCases = []Case{
	{"SetUnit/variables are in the processes from the next start on", func(r *rig) {
		u, m := r.settableUnit()
		r.run(m)
		goesOn := r.undisturbed(m)
		r.set(ref(u), keyA, "one", keyB, "")
		goesOn("after SetUnit")
		r.wantEnviron("before the next start", m)
		r.anew(m)
		r.wantEnviron("after the next start", m, keyA, "one", keyB, "")
		other := r.first(r.install(r.h.Packages.Other.load(r, "Other")))
		r.run(other)
		r.wantEnviron("in another unit", other)
	}},
	{"SetUnit/replaces the settings as a whole, none takes them away", func(r *rig) {
		u, m := r.settableUnit()
		r.set(ref(u), keyA, "one", keyB, "two")
		r.set(ref(u), keyB, "three", keyC, "four")
		r.run(m)
		r.wantEnviron("after the second SetUnit", m, keyB, "three", keyC, "four")
		r.set(ref(u))
		r.wantEnviron("before the next start", m, keyB, "three", keyC, "four")
		r.anew(m)
		r.wantEnviron("after SetUnit without any", m)
	}},
	{"SetUnit/values arrive byte for byte, the longest and the most of them", func(r *rig) {
		u, m := r.settableUnit()
		var s adapter.UnitSettings
		for _, value := range []string{
			" blanks  in, before and behind ", "\ttab", `"`, `a "quoted" word`, `'`, `it's`, "`", "`id`", "%", "%%", "%n %i %H", "$", "$HOME", "${HOME}", "$(id)", "$$",
			`\`, `\\`, `\n`, `ends with \`, `\x41\101\u0041`, "first\nsecond", "\n", "\n\n", "a\\\nb", "# no comment", ";", "a=b", "=", "äöü", "日本語", "🚀", "*?[a-z]{a,b}~", "&|<>();!",
			"[Service]\nExecStart=/bin/false", "lxc.init.cmd = /bin/false", "/* */ -- //",
			strings.Repeat("日", mostCharacters), strings.Repeat(`"`, mostCharacters/2) + strings.Repeat(`\`, mostCharacters/2), strings.Repeat("x", mostCharacters),
		} {
			s.Variables = append(s.Variables, adapter.Variable{Key: fmt.Sprintf("%s%d", variableInCases, len(s.Variables)), Value: value})
		}
		for len(s.Variables) < mostVariables {
			s.Variables = append(s.Variables, adapter.Variable{Key: fmt.Sprintf("%s%d", variableInCases, len(s.Variables)), Value: "more"})
		}
		if err := r.trySet(r.op(), ref(u), s); err != nil {
			r.t.Fatalf("SetUnit: want success, got %s: %v", adapter.ReasonOf(err), err)
		}
		r.run(m)
		r.wantVariables("after SetUnit", m, s.Variables)
	}},
	{"SetUnit/holds for every module, over Update, Revert and Discard", func(r *rig) {
		old, next := r.h.Packages.Several.load(r, "Several"), r.h.Packages.SeveralNext.load(r, "SeveralNext")
		r.settable()
		u := r.install(old)
		r.set(ref(u), keyA, "kept")
		check := func(when string, u adapter.Unit) {
			r.t.Helper()
			r.waitUnit(u.Env, u.Key, when, func(x adapter.Unit) bool {
				return x.Manifest == u.Manifest && !slices.ContainsFunc(x.Modules, func(m adapter.Module) bool { return m.Status != adapter.Idle })
			})
			for _, x := range u.Modules {
				m := adapter.ModuleRef{UnitRef: ref(u), Module: x.ID}
				r.run(m)
				if x := r.told(m); r.h.Environ != nil || len(x.PIDs) > 0 {
					r.wantEnviron(when, m, keyA, "kept")
				}
				r.mustStop(m) // systemd's sockets start before their services only
				r.waitStatus(m, adapter.Idle)
			}
		}
		check("after SetUnit", u)
		u = r.update(u, old, next)
		check("after Update", u)
		u = r.revert(r.op(), ref(u), old)
		check("after Revert", u)
		u = r.update(u, old, next)
		r.discard(r.op(), ref(u))
		check("after Discard", u)
	}},
	{"SetUnit/holds over restarts of adapter and environment", func(r *rig) {
		u, m := r.settableUnit()
		r.set(ref(u), keyA, "kept")
		r.restart()
		r.waitEnv(r.env, "synced", func(s *seenEnv) bool { return s.synced })
		r.run(m)
		r.wantEnviron("after a restart of the adapter", m, keyA, "kept")
		r.setEnabled(r.env, false)
		r.waitEnv(r.env, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
		r.kill()
		r.start()
		r.launch(r.env)
		r.run(m)
		r.wantEnviron("after a launch by another adapter", m, keyA, "kept")
	}},
	{"SetUnit/goes with Uninstall", func(r *rig) {
		v1 := r.h.Packages.V1.load(r, "V1")
		r.settable()
		var before []string
		if r.h.Left != nil {
			before = r.leavings()
		}
		u := r.install(v1)
		r.set(ref(u), keyA, "gone")
		r.run(r.first(u))
		r.uninstall(r.op(), ref(u))
		r.waitGone(r.env, u.Key)
		if r.h.Left != nil {
			r.wantLeft("after Uninstall", r.leavings, before, func(now []string) bool { return slices.Equal(now, before) })
		}
		again, err := r.tryInstall(r.op(), r.env, u.Key, v1)
		if err != nil {
			r.t.Fatalf("Install at the same key: %s: %v", adapter.ReasonOf(err), err)
		}
		r.run(r.first(again))
		r.wantEnviron("in a new unit at the same key", r.first(again))
	}},
	{"SetUnit/what is malformed is InvalidArgument and changes nothing", func(r *rig) {
		u, m := r.settableUnit()
		r.set(ref(u), keyA, "kept")
		for _, s := range []adapter.UnitSettings{
			variables(keyB, "new", "", "empty key"), variables(keyB, "new", variableInCases+"=X", "key with an equals sign"),
			variables(keyB, "new", variableInCases+"\x00X", "key with a zero byte"), variables(keyB, "new", keyC, "value with a \x00 byte"),
			variables(keyB, "new", keyB, "key that is there twice"),
			{Variables: variables(keyB, "new").Variables, Limits: adapter.Limits{Memory: -1}}, {Variables: variables(keyB, "new").Variables, Limits: adapter.Limits{CPU: 101}},
		} {
			reasons := []adapter.Reason{adapter.InvalidArgument}
			if s.Limits != (adapter.Limits{}) {
				reasons = append(reasons, adapter.NotSupported)
			}
			r.want(fmt.Sprintf("SetUnit with %+v", s), r.trySet(r.op(), ref(u), s), reasons...)
		}
		r.run(m)
		r.wantEnviron("after the failed calls", m, keyA, "kept")
	}},
	{"SetUnit/limit is taken or NotSupported, which changes nothing", func(r *rig) {
		u, m := r.settableUnit()
		for i, l := range []adapter.Limits{{Disk: 1 << 20}, {Memory: 256 << 10}, {CPU: 50}, {}} {
			before := fmt.Sprint("before ", i)
			r.set(ref(u), keyA, before)
			s := variables(keyA, "with a limit")
			s.Limits = l
			want := "with a limit"
			if err := r.trySet(r.op(), ref(u), s); err != nil {
				r.want(fmt.Sprintf("SetUnit with %+v", l), err, adapter.NotSupported)
				want = before
			}
			r.anew(m)
			r.wantEnviron(fmt.Sprintf("after SetUnit with %+v", l), m, keyA, want)
		}
	}},
	{"SetUnit/same OpID again is no error", func(r *rig) {
		u, m := r.settableUnit()
		op := r.op()
		for _, when := range []string{"first", "again", "after a restart"} {
			if when == "after a restart" {
				r.restart()
			}
			if err := r.trySet(op, ref(u), variables(keyA, "one")); err != nil {
				r.t.Errorf("SetUnit %s: want success, got %s: %v", when, adapter.ReasonOf(err), err)
			}
		}
		r.run(m)
		r.wantEnviron("after all", m, keyA, "one")
	}},
	{"SetUnit/unknown unit is NotFound", func(r *rig) {
		r.settable()
		for _, u := range []adapter.UnitRef{{Env: r.env, Key: r.key()}, {Env: "no-such-env", Key: r.key()}} {
			r.want("SetUnit", r.trySet(r.op(), u, variables(keyA, "one")), adapter.NotFound)
		}
	}},
	{"SetUnit/environment that is not up takes it or is Unavailable", func(r *rig) {
		u, m := r.settableUnit()
		r.set(ref(u), keyA, "up")
		r.setEnabled(r.env, false)
		r.waitEnv(r.env, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
		want := "down"
		if err := r.trySet(r.op(), ref(u), variables(keyA, "down")); err != nil {
			r.want("SetUnit", err, adapter.Unavailable)
			want = "up"
		}
		r.launch(r.env)
		r.run(m)
		r.wantEnviron("after the next launch", m, keyA, want)
	}},
}
