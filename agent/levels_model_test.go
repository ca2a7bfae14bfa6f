package agent_test

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// law is what run levels and AutoStart come to, in few words: a model of an environment for which the agent keeps both.
type law struct {
	up                      bool
	level, initial, newUnit int
	units                   map[string]map[string]*lawful // by unit and module
}

// lawful is an execution unit in a [law].
type lawful struct {
	auto, runs bool
	level      int
}

func (l *law) all() (out []*lawful) {
	for _, u := range l.units {
		out = slices.AppendSeq(out, maps.Values(u))
	}
	return out
}

func (l *law) to(next int) {
	for _, m := range l.all() {
		m.runs = m.level <= next && (m.runs || next >= l.level && m.auto)
	}
	l.level = next
}

func (l *law) end() {
	l.up = false
	for _, m := range l.all() {
		m.runs = false
	}
}

func (l *law) launch() {
	l.up, l.level = true, 0
	l.to(l.initial)
}

// put makes a unit have these modules: those that stay are as they were.
func (l *law) put(unit string, modules []string) {
	before := l.units[unit]
	l.units[unit] = map[string]*lawful{}
	for _, id := range modules {
		m := before[id]
		if m == nil {
			m = &lawful{auto: true, level: l.newUnit, runs: l.newUnit <= l.level}
		}
		l.units[unit][id] = m
	}
}

func (l *law) text() string {
	var all []string
	for _, unit := range l.units {
		for id, m := range unit {
			all = append(all, fmt.Sprintf("%s auto=%v level=%d runs=%v", id, m.auto, m.level, m.runs))
		}
	}
	slices.Sort(all)
	level := 0
	if l.up {
		level = l.level
	}
	return fmt.Sprintf("level %d: %s", level, strings.Join(all, ", "))
}

// levelText is what a device tells and its World has, in the words of [law.text].
func levelText(d *device) (string, error) {
	s := d.agent.Snapshot()
	state, err := d.worlds["fake"].State()
	if err != nil {
		return "", err
	}
	var all []string
	for u := range s.ExecutionUnits() {
		all = append(all, fmt.Sprintf("%s auto=%v level=%d runs=%v", u.Module, u.AutoStart, u.RunLevel, u.Status == model.EUActive))
		for _, m := range state.Envs["e"].Units[s.DeploymentUnit(u.DU).Key].Modules {
			if m.ID == u.Module && string(m.Status) != string(u.Status) {
				return "", fmt.Errorf("%s is %s and the row says %s", m.ID, m.Status, u.Status)
			}
		}
	}
	slices.Sort(all)
	return fmt.Sprintf("level %d: %s", s.ExecEnvByID("e").CurrentRunLevel, strings.Join(all, ", ")), nil
}

// TestLevelsAgainstTheLaw makes random requests and compares what the agent makes of them with the [law].
func TestLevelsAgainstTheLaw(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := flag.Set("rapid.checks", "15"); err != nil { // each is an agent with dozens of jobs
			t.Fatal(err)
		}
		defer func() {
			if err := flag.Set("rapid.checks", f.DefValue); err != nil {
				t.Error(err)
			}
		}()
	}
	ids := []string{"a", "b", "c", "d"}
	rapid.Check(t, func(r *rapid.T) {
		d := start(t, plain)
		defer d.kill()
		l := &law{up: true, level: 1, initial: 1, newUnit: 1, units: map[string]map[string]*lawful{}}
		rows := map[string]model.RowID{}
		env := ref(model.KindExecEnv, 1)
		version := 0
		spec := func(unit string, modules []string) fake.Spec {
			version++
			s := fake.Spec{Name: unit, Version: fmt.Sprint(version)}
			for _, id := range modules {
				s.Modules = append(s.Modules, fake.ModuleSpec{ID: id})
			}
			return s
		}
		draw := func(what string) int { return rapid.IntRange(0, 4).Draw(r, what) }
		pick := func() (string, *lawful, *model.ExecutionUnit) {
			var names []string
			for unit, modules := range l.units {
				for id := range modules {
					names = append(names, unit+"/"+id)
				}
			}
			if len(names) == 0 {
				return "", nil, nil
			}
			slices.Sort(names)
			unit, id, _ := strings.Cut(rapid.SampledFrom(names).Draw(r, "eu"), "/")
			return unit, l.units[unit][id], d.unitOf(rows[unit], id)
		}
		subset := func(unit string) (out []string) {
			for _, id := range ids {
				if len(out) == 0 && id == "d" || rapid.Bool().Draw(r, id) {
					out = append(out, unit+id)
				}
			}
			return out
		}
		levelOf := func(module string) int {
			for _, u := range l.units {
				if m := u[module]; m != nil {
					return m.level
				}
			}
			return -1
		}
		// inOrder checks that what was stopped came down and what was started went up.
		inOrder := func(calls []string) {
			was := map[string]int{"Start": -1, "Stop": 1 << 20}
			for _, c := range calls {
				verb, module, _ := strings.Cut(c, " ")
				switch now := levelOf(module); {
				case verb == "Start" && now < was[verb], verb == "Stop" && now > was[verb]:
					t.Fatalf("the calls are out of order: %q", calls)
				case verb == "Start" || verb == "Stop":
					was[verb] = now
				}
			}
		}
		actions := []func() func(){
			func() func() { // install or update
				unit := rapid.SampledFrom([]string{"u", "v", "w"}).Draw(r, "unit")
				modules := subset(unit)
				if !l.up {
					return nil
				}
				if l.units[unit] == nil {
					rows[unit] = d.installed(spec(unit, modules)).ID
				} else {
					d.done(d.update(rows[unit], spec(unit, modules)))
				}
				l.put(unit, modules)
				return nil
			},
			func() func() { // RunLevel
				_, m, u := pick()
				if m == nil {
					return nil
				}
				m.level = draw("RunLevel")
				if l.up {
					m.runs = m.level <= l.level && (m.runs || m.auto)
				}
				return func() { d.setLevel(u, m.level) }
			},
			func() func() { // AutoStart
				if _, m, u := pick(); m != nil {
					m.auto = rapid.Bool().Draw(r, "AutoStart")
					d.set(ref(model.KindExecutionUnit, u.ID), model.AutoStart, m.auto)
				}
				return nil
			},
			func() func() { // start
				_, m, u := pick()
				if m == nil {
					return nil
				}
				job, err := d.request(u.ID, model.RequestActive)
				if refused := err != nil; refused == l.up {
					t.Fatalf("the request was answered %v while the environment is up: %v", err, l.up)
				}
				if !l.up {
					return nil
				}
				j, above := d.end(job), m.level > l.level && !m.runs
				if failed := j.State == model.JobFailed; failed != (above && !m.auto) {
					t.Fatalf("job %+v of %+v at level %d", *j, *m, l.level)
				}
				m.runs = m.runs || !above
				return nil
			},
			func() func() { // stop
				if _, m, u := pick(); m != nil && l.up {
					d.done(d.request(u.ID, model.RequestIdle))
					m.runs = false
				}
				return nil
			},
			func() func() { // a module ends by itself
				if unit, m, u := pick(); m != nil && m.runs {
					d.ok(d.console("e").Crash(d.agent.Snapshot().DeploymentUnit(rows[unit]).Key, u.Module, "boom", 1))
					m.runs = false
				}
				return nil
			},
			func() func() { // RequestedRunLevel
				if !l.up {
					return nil
				}
				next := draw("level")
				l.to(next)
				return func() { d.moveTo(next) }
			},
			func() func() { // InitialRunLevel and InitialExecutionUnitRunLevel
				l.initial, l.newUnit = draw("InitialRunLevel"), draw("InitialExecutionUnitRunLevel")
				d.set(env, model.InitialRunLevel, l.initial)
				d.set(env, model.InitialExecutionUnitRunLevel, l.newUnit)
				return nil
			},
			func() func() { // restart, disable, enable
				switch {
				case !l.up:
					l.launch()
					return func() { d.enable("e", true) }
				case rapid.Bool().Draw(r, "disable"):
					l.end()
					return func() { d.enable("e", false) }
				}
				l.end()
				l.launch()
				return func() { d.done(d.agent.RestartExecEnv(t.Context(), 1, "", model.Origin{Name: "test"})) }
			},
			func() func() { // the agent or the adapter is killed
				if rapid.Bool().Draw(r, "agent") {
					d.restart()
					d.up()
				} else {
					d.doubles["fake"].crash(false)
				}
				return nil
			},
		}
		for range rapid.IntRange(4, 16).Draw(r, "steps") {
			step := rapid.IntRange(0, len(actions)-1).Draw(r, "action")
			if f := actions[step](); f != nil {
				inOrder(d.calls(f))
			}
			d.eventually(fmt.Sprintf("after action %d it is %s", step, l.text()), func() error {
				got, err := levelText(d)
				if err == nil && got != l.text() {
					err = fmt.Errorf("it is %s", got)
				}
				return err
			})
		}
	})
}
