package agent_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// pairs makes variables of keys and values in turn; none is an empty list, which is not nil.
func pairs(all ...string) []model.VariableRequest {
	out := []model.VariableRequest{}
	for i := 0; i < len(all); i += 2 {
		out = append(out, model.VariableRequest{Key: all[i], Value: all[i+1]})
	}
	return out
}

func memory(kib int64) model.LimitsRequest { return model.LimitsRequest{Memory: &kib} }

func disk(kib int64) model.LimitsRequest { return model.LimitsRequest{Disk: &kib} }

func cpu(percent int) model.LimitsRequest { return model.LimitsRequest{CPU: &percent} }

func (d *device) installWith(s fake.Spec, l model.LimitsRequest, variables ...string) (uint32, error) {
	d.t.Helper()
	return d.agent.Install(d.t.Context(), model.InstallRequest{URL: d.pkg(s), ExecEnv: "e", Variables: pairs(variables...), Limits: l})
}

func (d *device) installedWith(s fake.Spec, l model.LimitsRequest, variables ...string) *model.DeploymentUnit {
	d.t.Helper()
	j := d.done(d.installWith(s, l, variables...))
	return d.agent.Snapshot().DeploymentUnit(j.Objects[0].Instance)
}

func (d *device) updateWith(id model.RowID, s fake.Spec, l model.LimitsRequest, variables ...string) (uint32, error) {
	d.t.Helper()
	return d.agent.Update(d.t.Context(), model.UpdateRequest{DU: id, URL: d.pkg(s), Variables: pairs(variables...), Limits: l})
}

// sameSettings wants that a unit of a World has the settings that its row has, as have its modules that are active, and returns them as text.
func sameSettings(du *model.DeploymentUnit, u *fake.UnitState) (string, error) {
	want := adapter.UnitSettings{Limits: adapter.Limits(du.Settings.Limits)}
	for _, v := range du.Settings.Variables {
		want.Variables = append(want.Variables, adapter.Variable{Key: v.Key, Value: v.Value})
	}
	text := settingsText(want)
	if got := settingsText(u.Settings); got != text || du.SettingsPending {
		return "", fmt.Errorf("the environment has %s, the row %s, pending %t", got, text, du.SettingsPending)
	}
	for _, m := range u.Modules {
		if got := settingsText(m.Settings); got != text && m.Status == adapter.Active {
			return "", fmt.Errorf("the module %s was started with %s, the row has %s", m.ID, got, text)
		}
	}
	return text, nil
}

// settingsText are settings as text that is the same in whatever order the variables are.
func settingsText(s adapter.UnitSettings) string {
	var all []string
	for _, v := range s.Variables {
		all = append(all, v.Key+"="+v.Value)
	}
	slices.Sort(all)
	return fmt.Sprintf("%q %+v", all, s.Limits)
}

// settings is sameSettings for a row.
func (d *device) settings(du *model.DeploymentUnit) (string, error) {
	for _, e := range d.cfg.ExecEnvs {
		if e.Name != du.Env {
			continue
		}
		s, err := d.worlds[e.Adapter].State()
		if err != nil {
			return "", err
		}
		if u := s.Envs[du.Env].Units[du.Key]; u != nil {
			return sameSettings(du, u)
		}
	}
	return "", fmt.Errorf("%s does not have %s", du.Env, du.Key)
}

// wantSettings waits until a row and its environment have settings: variables as number, key and value.
func (d *device) wantSettings(what string, id model.RowID, l model.Limits, variables ...string) {
	d.t.Helper()
	d.until(what, func(s *model.Snapshot) error {
		du := s.DeploymentUnit(id)
		var got []string
		for _, v := range du.Settings.Variables {
			got = append(got, fmt.Sprint(v.Number, " ", v.Key, "=", v.Value))
		}
		if !slices.Equal(got, variables) || du.Settings.Limits != l {
			return fmt.Errorf("the row has %q %+v, not %q %+v", got, du.Settings.Limits, variables, l)
		}
		_, err := d.settings(du)
		return err
	})
}

// wantMemory waits until a row and its environment have a limit, which its modules need not have been started with.
func (d *device) wantMemory(row *model.DeploymentUnit, kib int64) {
	d.t.Helper()
	d.until("the row tells what the environment has", func(s *model.Snapshot) error {
		state, err := d.worlds["fake"].State()
		if err != nil {
			return err
		}
		u := state.Envs[row.Env].Units[row.Key]
		if u == nil {
			return fmt.Errorf("%s does not have %s", row.Env, row.Key)
		}
		du, has := s.DeploymentUnit(row.ID), u.Settings.Limits
		if want := (model.Limits{Memory: kib}); du.SettingsPending || du.Settings.Limits != want || has != adapter.Limits(want) {
			return fmt.Errorf("the row has %+v, pending %t, the environment %+v, wanted is %+v", du.Settings.Limits, du.SettingsPending, has, want)
		}
		return nil
	})
}

// able is o with settings and constraints.
func able(o fake.Options) fake.Options {
	o.Settings, o.Constraints = true, true
	return o
}

func TestSettings(t *testing.T) {
	for name, o := range map[string]fake.Options{"levels": levels, "plain": plain} {
		t.Run(name, func(t *testing.T) {
			d := start(t, able(o))
			w := d.worlds["fake"]
			d.done(d.update(d.installed(fake.Spec{Name: "without"}).ID, fake.Spec{Name: "without", Version: "2"}))
			d.installedWith(fake.Spec{Name: "none"}, memory(0)) // no variables and no limit is nothing
			if n := w.Count("SetUnit", ""); n != 0 {
				t.Errorf("SetUnit was called %d times though nothing was asked for", n)
			}

			l := model.Limits{Memory: 1000, CPU: 50}
			percent := 50
			du := d.installedWith(fake.Spec{Name: "a"}, model.LimitsRequest{Memory: &l.Memory, CPU: &percent}, "A", "one", "B", "").ID
			d.rest(du, model.EUActive) // it was started with them
			d.wantSettings("installed", du, l, "1 A=one", "2 B=")
			d.restart()
			d.up()
			d.rest(du, model.EUActive)
			d.wantSettings("the agent is started again", du, l, "1 A=one", "2 B=")

			version := 1
			update := func(what string, r model.UpdateRequest, calls int, l model.Limits, variables ...string) {
				t.Helper()
				version++
				before := w.Count("SetUnit", "")
				r.DU, r.URL = du, d.pkg(fake.Spec{Name: "a", Version: fmt.Sprint(version)})
				d.done(d.agent.Update(t.Context(), r))
				d.rest(du, model.EUActive)
				d.wantSettings(what, du, l, variables...)
				if n := w.Count("SetUnit", "") - before; n != calls {
					t.Errorf("%s: SetUnit was called %d times, not %d", what, n, calls)
				}
			}
			update("nothing is given", model.UpdateRequest{}, 0, l, "1 A=one", "2 B=")
			update("what is there is given", model.UpdateRequest{Variables: pairs("B", "", "A", "one"), Limits: memory(1000)}, 0, l, "1 A=one", "2 B=")
			update("variables are replaced", model.UpdateRequest{Variables: pairs("C", "three", "B", "two")}, 1, l, "2 B=two", "3 C=three")
			l.Memory = 2000
			update("a limit is given", model.UpdateRequest{Limits: memory(2000)}, 1, l, "2 B=two", "3 C=three")
			l.CPU = 0
			update("a limit is taken away", model.UpdateRequest{Limits: cpu(0)}, 1, l, "2 B=two", "3 C=three")
			l.Disk = 3000
			update("another limit is given", model.UpdateRequest{Limits: disk(3000)}, 1, l, "2 B=two", "3 C=three")
			update("all variables are taken away", model.UpdateRequest{Variables: pairs()}, 1, l)
			update("a variable comes again", model.UpdateRequest{Variables: pairs("B", "again")}, 1, l, "4 B=again")
		})
	}
}

func TestSettingsArguments(t *testing.T) {
	d := start(t, able(levels))
	du := d.installed(fake.Spec{Name: "a"}).ID
	d.rest(du, model.EUActive)
	jobs := d.agent.Snapshot().Count(model.KindJob)
	long := strings.Repeat("ä", model.MaxVariable)
	var many []string
	for n := range model.MaxVariables {
		many = append(many, fmt.Sprint("KEY", n), "value")
	}
	for what, r := range map[string]model.UpdateRequest{
		"empty key":            {Variables: pairs("", "secret")},
		"key with =":           {Variables: pairs("A=B", "secret")},
		"key with zero byte":   {Variables: pairs("A\x00", "secret")},
		"key that is no text":  {Variables: pairs("A\xff", "secret")},
		"long key":             {Variables: pairs(long+"x", "secret")},
		"key twice":            {Variables: pairs("A", "secret", "B", "", "A", "other")},
		"value with zero byte": {Variables: pairs("A", "secret\x00")},
		"value is no text":     {Variables: pairs("A", "secret\xff")},
		"long value":           {Variables: pairs("A", "secret"+long)},
		"too many":             {Variables: pairs(append(slices.Clone(many), "MORE", "secret")...)},
		"negative disk":        {Limits: disk(-1)},
		"negative memory":      {Limits: memory(-1)},
		"memory beyond bytes":  {Limits: memory(1 << 53)},
		"negative CPU":         {Limits: cpu(-1)},
		"CPU above all":        {Limits: cpu(101)},
	} {
		r.DU, r.URL = du, d.pkg(fake.Spec{Name: "a", Version: "2"})
		_, install := d.agent.Install(t.Context(), model.InstallRequest{URL: r.URL, ExecEnv: "e", Variables: r.Variables, Limits: r.Limits})
		_, update := d.agent.Update(t.Context(), r)
		for _, err := range []error{install, update} {
			if fault.ReasonOf(err) != fault.InvalidArguments || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: the error is %q: %v", what, fault.ReasonOf(err), err)
			}
		}
	}
	if n := d.agent.Snapshot().Count(model.KindJob); n != jobs {
		t.Errorf("there are %d jobs, not %d", n, jobs)
	}
	many[0], many[1] = long, long
	percent, kib := 100, int64(1<<53-1)
	l := model.LimitsRequest{Disk: &kib, Memory: &kib, CPU: &percent}
	row := d.installedWith(fake.Spec{Name: "b"}, l, many...)
	if s := row.Settings; len(s.Variables) != model.MaxVariables || s.LastVariable != model.MaxVariables || s.Variables[0].Key != long || s.Variables[0].Value != long ||
		s.Limits != (model.Limits{Disk: kib, Memory: kib, CPU: 100}) {
		t.Errorf("the row has %d variables, the last is %d, and %+v", len(s.Variables), s.LastVariable, s.Limits)
	}
	d.rest(row.ID, model.EUActive)
	_, err := d.settings(d.agent.Snapshot().DeploymentUnit(row.ID))
	d.ok(err)
}

// TestSettingsUnsupported is about an environment that has no settings of units.
func TestSettingsUnsupported(t *testing.T) {
	d := start(t, levels)
	w := d.worlds["fake"]
	du := d.installedWith(fake.Spec{Name: "a"}, memory(0)) // nothing is asked for
	d.rest(du.ID, model.EUActive)
	d.done(d.updateWith(du.ID, fake.Spec{Name: "a", Version: "2"}, memory(0)))
	before := identity(d.agent.Snapshot(), du.ID)
	jobs := d.agent.Snapshot().Count(model.KindJob)
	_, err := d.installWith(fake.Spec{Name: "b"}, model.LimitsRequest{}, "A", "")
	wantReason(t, fault.UnsupportedArgument, err)
	_, err = d.installWith(fake.Spec{Name: "b"}, disk(1))
	wantReason(t, fault.UnsupportedArgument, err)
	_, err = d.updateWith(du.ID, fake.Spec{Name: "a", Version: "3"}, model.LimitsRequest{}, "A", "")
	wantReason(t, fault.UnsupportedArgument, err)
	if n := d.agent.Snapshot().Count(model.KindJob); n != jobs {
		t.Errorf("there are %d jobs, not %d", n, jobs)
	}
	// As long as its adapter is not known that cannot be judged.
	d.kill()
	d.held = true
	d.start()
	install, err := d.installWith(fake.Spec{Name: "b"}, cpu(1))
	d.ok(err)
	update, err := d.updateWith(du.ID, fake.Spec{Name: "a", Version: "3"}, model.LimitsRequest{}, "A", "")
	d.ok(err)
	calls := len(w.Calls())
	d.doubles["fake"].resume()
	d.failed(fault.UnsupportedArgument)(install, nil)
	d.failed(fault.UnsupportedArgument)(update, nil)
	d.rest(du.ID, model.EUActive)
	d.until("the row is as before", func(s *model.Snapshot) error {
		if now := identity(s, du.ID); now != before || s.Count(model.KindDeploymentUnit) != 1 {
			return fmt.Errorf("%s\nnot\n%s", now, before)
		}
		return nil
	})
	for _, c := range w.Calls()[calls:] {
		if c.Method == "Install" || c.Method == "Update" || c.Method == "SetUnit" {
			t.Errorf("%s was called", c.Method)
		}
	}
}

// TestSettingsRefused is about an adapter that refuses settings.
func TestSettingsRefused(t *testing.T) {
	d := start(t, able(levels))
	w := d.worlds["fake"]
	du := d.installedWith(fake.Spec{Name: "a"}, memory(1000), "KEY", "before")
	d.rest(du.ID, model.EUActive)
	before := identity(d.agent.Snapshot(), du.ID)
	for reason, want := range map[adapter.Reason]fault.Reason{
		adapter.NotSupported: fault.UnsupportedArgument, adapter.InvalidArgument: fault.InvalidArguments, adapter.Internal: fault.Internal,
		adapter.NoResources: fault.SystemResourcesExceeded,
	} {
		t.Run(string(reason), func(t *testing.T) {
			d := d.in(t)
			w.FailCall("SetUnit", 1, adapter.Errorf(reason, "cannot: a test"))
			j := d.failed(want)(d.installWith(fake.Spec{Name: "b"}, memory(1), "A", ""))
			if len(j.Objects) != 0 || !strings.Contains(j.Message, "a test") {
				t.Errorf("the job is %+v", *j)
			}
			if units := d.units("e"); len(units) != 1 {
				t.Errorf("the environment has %v", units)
			}
			w.FailCall("SetUnit", 1, adapter.Errorf(reason, "cannot: a test"))
			d.failed(want)(d.updateWith(du.ID, fake.Spec{Name: "a", Version: "2"}, memory(2000), "KEY", "after"))
			d.rest(du.ID, model.EUActive)
			d.until("the row is as before", func(s *model.Snapshot) error {
				if now := identity(s, du.ID); now != before || s.Count(model.KindDeploymentUnit) != 1 {
					return fmt.Errorf("%s\nnot\n%s", now, before)
				}
				return nil
			})
			d.wantSettings("they are as before", du.ID, model.Limits{Memory: 1000}, "1 KEY=before")
		})
	}
	t.Run("always", func(t *testing.T) { // also when the settings of before are set back
		d := d.in(t)
		w.Fail("SetUnit", adapter.Errorf(adapter.NotSupported, "cannot: a test"))
		defer w.Fail("SetUnit", nil)
		d.failed(fault.UnsupportedArgument)(d.updateWith(du.ID, fake.Spec{Name: "a", Version: "2"}, memory(2000)))
		d.wantSettings("they are as before", du.ID, model.Limits{Memory: 1000}, "1 KEY=before")
	})
}

// growing makes SetUnit answer that more is in use while a module of the unit runs, for calls whose OpID ends like that.
func growing(w *fake.World, ops string) {
	w.Hook("SetUnit", fake.Before, func(c fake.Call) error {
		s, err := w.State()
		if err != nil || !strings.HasSuffix(string(c.OpID), ops) {
			return err
		}
		for _, u := range s.Envs[c.Env].Units {
			for _, m := range u.Modules {
				if m.Status == adapter.Active {
					return adapter.Errorf(adapter.InUse, "cannot: a test")
				}
			}
		}
		return nil
	})
}

// TestSettingsOutgrown is about an update that fails when the unit has taken more already than the settings of before allow.
func TestSettingsOutgrown(t *testing.T) {
	d := start(t, able(levels), func(d *device) { d.env("f", "fake") })
	w := d.worlds["fake"]
	var rows []model.RowID
	for _, env := range []string{"e", "f"} {
		j := d.done(d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "a"}), ExecEnv: env, Limits: memory(1000)}))
		rows = append(rows, j.Objects[0].Instance)
		d.rest(rows[len(rows)-1], model.EUActive)
	}
	before := identity(d.agent.Snapshot(), rows[0]) + identity(d.agent.Snapshot(), rows[1])
	growing(w, "-back")
	for method, n := range map[string]int{"SetUnit": 2, "Update": 2} {
		t.Run(method, func(t *testing.T) {
			d := d.in(t)
			w.FailCall(method, n, adapter.Errorf(adapter.NoResources, "cannot: a test"))
			calls := len(w.Calls())
			r := model.UpdateRequest{URL: d.pkg(fake.Spec{Name: "a", Version: "2"}), Variables: pairs("NEW", "value"), Limits: memory(2000)}
			d.failed(fault.SystemResourcesExceeded)(d.agent.UpdateRows(r, rows...))
			d.until("the rows are as before", func(s *model.Snapshot) error {
				if now := identity(s, rows[0]) + identity(s, rows[1]); now != before {
					return fmt.Errorf("%s\nnot\n%s", now, before)
				}
				return nil
			})
			for _, du := range rows {
				d.wantSettings("they are as before", du, model.Limits{Memory: 1000})
			}
			tried := map[string]int{}
			for _, c := range w.Calls()[calls:] {
				if c.Method == "SetUnit" && strings.HasSuffix(string(c.OpID), "-back") {
					tried[c.Env]++
				}
			}
			if tried["e"] > 2 || tried["f"] > 2 {
				t.Errorf("they were set back %v times", tried)
			}
		})
	}
}

// TestSettingsNotSetBack is about an update that fails and whose settings cannot be taken back either: the row tells what the environment has.
func TestSettingsNotSetBack(t *testing.T) {
	for reason, want := range map[adapter.Reason]int64{
		adapter.NotSupported: 2000, adapter.InvalidArgument: 2000, // it keeps what it was given
		adapter.InUse: 1000, // it is told again
	} {
		t.Run(string(reason), func(t *testing.T) {
			d := start(t, able(levels))
			w := d.worlds["fake"]
			row := d.installedWith(fake.Spec{Name: "a"}, memory(1000))
			d.rest(row.ID, model.EUActive)
			w.Hook("SetUnit", fake.Before, func(c fake.Call) error {
				if strings.HasSuffix(string(c.OpID), "-back") {
					return adapter.Errorf(reason, "cannot: a test")
				}
				return nil
			})
			w.FailCall("Update", 1, adapter.Errorf(adapter.NoResources, "cannot: a test"))
			d.failed(fault.SystemResourcesExceeded)(d.updateWith(row.ID, fake.Spec{Name: "a", Version: "2"}, memory(2000)))
			d.rest(row.ID, model.EUActive)
			d.wantMemory(row, want)
		})
	}
}

// TestSettingsChoice is about installs with settings that name no environment.
func TestSettingsChoice(t *testing.T) {
	choose := func(d *device, kind string, variables ...string) (uint32, error) {
		return d.agent.Install(d.t.Context(), model.InstallRequest{
			URL: d.pkg(fake.Spec{Name: "a", Kind: kind, Version: fmt.Sprint(len(variables))}), Variables: pairs(variables...),
		})
	}
	d := start(t, plain, func(d *device) {
		d.world("able", able(plain))
		d.env("s", "able")
	})
	for variables, want := range map[int]string{0: "e", 2: "s"} {
		j := d.done(choose(d, "fake", []string{"A", "one"}[:variables]...))
		if row := d.agent.Snapshot().DeploymentUnit(j.Objects[0].Instance); row.Env != want {
			t.Errorf("with %d variables it is on %s, not %s", variables/2, row.Env, want)
		}
	}
	d.failed(fault.DUExecEnvMismatch)(choose(d, "nobody's", "A", "", "B", ""))
	d.enable("s", false)
	d.failed(fault.DisabledExecEnv)(choose(d, "fake", "A", "", "B", ""))
	only := start(t, plain)
	only.failed(fault.UnsupportedArgument)(choose(only, "fake", "A", ""))
	only.clean()
}

// TestSettingsEverywhere is about an update of a unit on two environments: all or none.
func TestSettingsEverywhere(t *testing.T) {
	d := start(t, able(levels), func(d *device) { d.env("f", "fake") })
	w := d.worlds["fake"]
	var rows []model.RowID
	for _, env := range []string{"e", "f"} {
		j := d.done(d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "a"}), ExecEnv: env, Variables: pairs("ON", env)}))
		rows = append(rows, j.Objects[0].Instance)
		d.rest(rows[len(rows)-1], model.EUActive)
	}
	update := func() (uint32, error) {
		return d.agent.UpdateRows(model.UpdateRequest{URL: d.pkg(fake.Spec{Name: "a", Version: "2"}), Variables: pairs("NEW", "value")}, rows...)
	}
	w.FailCall("SetUnit", 2, adapter.Errorf(adapter.NoResources, "cannot: a test"))
	d.failed(fault.SystemResourcesExceeded)(update())
	for i, env := range []string{"e", "f"} {
		d.rest(rows[i], model.EUActive)
		d.wantSettings("they are as before", rows[i], model.Limits{}, "1 ON="+env)
		if v := d.agent.Snapshot().DeploymentUnit(rows[i]).Version; v != "1" {
			t.Errorf("the version on %s is %s", env, v)
		}
	}
	d.done(update())
	for _, row := range rows {
		d.rest(row, model.EUActive)
		d.wantSettings("they are new", row, model.Limits{}, "2 NEW=value")
	}
}

// The agent dies at each commit of an update with other settings, one that succeeds and one that fails. What it ends in is the same.
func TestSettingsKilledAtEveryCommit(t *testing.T) {
	run := func(t *testing.T, fails bool, n int) (string, int) {
		o := able(levels)
		o.NoDiskLimit = true
		d := start(t, o)
		du := d.installedWith(fake.Spec{Name: "a"}, memory(1000), "KEY", "before").ID
		d.rest(du, model.EUActive)
		l := memory(2000)
		if fails {
			l = disk(2000)
		}
		r := model.UpdateRequest{DU: du, URL: d.pkg(fake.Spec{Name: "a", Version: "2"}), Variables: pairs("NEW", "", "KEY", "after"), Limits: l}
		dead, seen := d.dieAt(n)
		job, err := d.agent.Update(t.Context(), r)
		if n > 0 {
			ended := make(chan struct{})
			if err == nil {
				go func(feed <-chan model.Commit) {
					for c := range feed {
						if c.Snapshot.Job(job).State.Final() {
							close(ended)
							return
						}
					}
				}(d.agent.Feed(t.Context()))
			}
			select {
			case <-dead:
			case <-ended:
			case <-time.After(patience):
				t.Fatalf("the agent neither dies nor ends the job\n%s", dump(d.agent.Snapshot()))
			}
			d.agent.FailCommits(func() error { return nil }) // it comes to no more commits
			select {
			case <-dead:
				d.restart()
				if err != nil {
					job, err = d.agent.Update(t.Context(), r)
				}
			default:
			}
		}
		d.ok(err)
		d.end(job)
		commits := seen()
		d.rest(du, model.EUActive)
		return d.outcome(job), commits
	}
	for name, fails := range map[string]bool{"succeeds": false, "fails": true} {
		t.Run(name, func(t *testing.T) {
			want, commits := run(t, fails, 0)
			if commits < 6 {
				t.Fatalf("there were %d commits", commits)
			}
			for n := 1; n <= commits; n++ {
				t.Run(fmt.Sprint("commit ", n), func(t *testing.T) {
					t.Parallel()
					if got, _ := run(t, fails, n); got != want {
						t.Errorf("the end is\n%s\nnot\n%s", got, want)
					}
				})
			}
		})
	}
}

// TestSettingsPutBack is about a unit with settings that somebody removes and installs again: it comes without them.
func TestSettingsPutBack(t *testing.T) {
	for name, o := range map[string]fake.Options{"levels": levels, "plain": plain} {
		t.Run(name, func(t *testing.T) {
			d := start(t, able(o))
			w := d.worlds["fake"]
			spec := fake.Spec{Name: "a", Version: "1"}
			row := d.installedWith(spec, memory(1000), "KEY", "value")
			du := row.ID
			d.rest(du, model.EUActive)
			c := d.console("e")
			d.ok(c.Remove(row.Key))
			d.row("a", gone)
			n := w.Count("SetUnit", "")
			d.ok(c.Install(row.Key, spec))
			d.wantSettings("it has them again", du, model.Limits{Memory: 1000}, "1 KEY=value")
			if calls := w.Count("SetUnit", "") - n; calls != 1 {
				t.Errorf("SetUnit was called %d times", calls)
			}
			// The same while the agent is away, and the environment is launched again.
			d.kill()
			d.ok(c.Remove(row.Key))
			d.start()
			d.row("a", gone)
			d.kill()
			d.ok(c.Lose("a test"))
			d.ok(c.Install(row.Key, spec))
			d.start()
			d.wantSettings("it has them again", du, model.Limits{Memory: 1000}, "1 KEY=value")

			// What could not be done is tried again.
			for _, reason := range []adapter.Reason{adapter.Internal, adapter.InUse} {
				d.ok(c.Remove(row.Key))
				d.row("a", gone)
				w.FailCall("SetUnit", 1, adapter.Errorf(reason, "cannot: a test"))
				d.ok(c.Install(row.Key, spec))
				d.wantSettings("it has them again", du, model.Limits{Memory: 1000}, "1 KEY=value")
			}
			// It does not keep the environment from being brought up.
			d.kill()
			d.ok(c.Remove(row.Key))
			d.start()
			d.row("a", gone)
			d.kill()
			d.ok(c.Lose("a test"))
			d.ok(c.Install(row.Key, spec))
			w.Fail("SetUnit", adapter.Errorf(adapter.NoResources, "cannot: a test"))
			launch := d.ee("e").Launch
			d.start()
			d.until("it is brought up, and what could not be told is pending", func(s *model.Snapshot) error {
				e, du := s.ExecEnvByID("e"), s.DeploymentUnit(du)
				if e.Launch == launch || e.CurrentRunLevel != e.InitialRunLevel || !du.SettingsPending || du.Settings.Limits.Memory != 1000 {
					return fmt.Errorf("launch %s, run level %d, pending %t, %+v", e.Launch, e.CurrentRunLevel, du.SettingsPending, du.Settings.Limits)
				}
				return nil
			})
			w.Fail("SetUnit", nil)
			d.wantMemory(row, 1000) // its module runs without them already

			// What is refused goes from the row.
			d.ok(c.Remove(row.Key))
			d.row("a", gone)
			w.FailCall("SetUnit", 1, adapter.Errorf(adapter.NotSupported, "cannot: a test"))
			d.ok(c.Install(row.Key, spec))
			d.wantSettings("it has none", du, model.Limits{})
			if s := d.agent.Snapshot().DeploymentUnit(du).Settings; s.LastVariable != 1 {
				t.Errorf("the last number is forgotten: %+v", s)
			}
		})
	}
}

// TestSettingsPutBackAtOnce is about one that is installed again before anybody has taken note that it was gone.
func TestSettingsPutBackAtOnce(t *testing.T) {
	d := start(t, able(plain))
	spec := fake.Spec{Name: "a", Version: "1"}
	row := d.installedWith(spec, memory(1000), "KEY", "value")
	other := d.installed(fake.Spec{Name: "other"})
	d.rest(row.ID, model.EUActive)
	d.rest(other.ID, model.EUActive)
	writing, release := make(chan struct{}), make(chan struct{})
	first := sync.OnceFunc(func() { close(writing); <-release })
	d.agent.FailCommits(func() error { first(); return nil })
	named := make(chan error)
	go func() {
		_, err := d.agent.Set(t.Context(), []model.Assignment{{Row: ref(model.KindDeploymentUnit, other.ID), Attribute: model.Alias, Value: "x"}}, model.Origin{})
		named <- err
	}()
	<-writing
	c := d.console("e")
	d.ok(errors.Join(c.Stop(other.Key, "main"), c.Remove(row.Key), c.Install(row.Key, spec))) // the first of these is as far as the agent gets
	close(release)
	d.ok(<-named)
	d.rest(other.ID, model.EUIdle)
	d.wantSettings("it has them again", row.ID, model.Limits{Memory: 1000}, "1 KEY=value")
}

// TestSettingsKeepWhatIsThere wants that requests do not change what they are combined with.
func TestSettingsKeepWhatIsThere(t *testing.T) {
	d := start(t, able(plain))
	du := d.installedWith(fake.Spec{Name: "a"}, memory(1000), "A", "one", "B", "two").ID
	before := d.agent.Snapshot()
	was := *before.DeploymentUnit(du)
	d.done(d.updateWith(du, fake.Spec{Name: "a", Version: "2"}, memory(2000), "B", "other", "A", "another"))
	if now := before.DeploymentUnit(du).Settings; !reflect.DeepEqual(now.Variables, []model.Variable{{Number: 1, Key: "A", Value: "one"}, {Number: 2, Key: "B", Value: "two"}}) ||
		now.Limits != was.Settings.Limits {
		t.Errorf("a snapshot of before has changed: %+v", now)
	}
}

// TestSettingsOfAGoneUnitAreForgotten resets an environment to a unit without settings that was given some and is gone.
func TestSettingsOfAGoneUnitAreForgotten(t *testing.T) {
	k := keep(t, nil)
	du := k.installed(fake.Spec{Name: "a"})
	k.rest(du.ID, model.EUActive)
	k.record("cwmp", "1")
	k.whole(2)
	k.done(k.updateWith(du.ID, fake.Spec{Name: "a", Version: "2"}, memory(1000), "KEY", "value"))
	k.ok(k.console("e").Remove(du.Key))
	k.device.row("a", gone)
	n := k.world().Count("SetUnit", "")
	k.done(k.reset("cwmp"))
	k.wantSettings("it has none", du.ID, model.Limits{})
	if calls := k.world().Count("SetUnit", "") - n; calls != 0 {
		t.Errorf("SetUnit was called %d times for a unit that is installed without settings", calls)
	}
	if s := k.agent.Snapshot().DeploymentUnit(du.ID).Settings; s.LastVariable != 1 {
		t.Errorf("the last number is forgotten: %+v", s)
	}
}
