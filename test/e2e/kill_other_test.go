package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// An uninstall in which somebody dies ends with nothing left.
func TestKillUninstall(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		k := newCrash(t, support.Env{Framework: framework, InitialRunLevel: 2})
		agree(t, k.Device, k.env, k.c)
		before := tracesOf(t, k.Device, k.c)
		for _, v := range victims {
			t.Run(string(v), func(t *testing.T) {
				u := k.Install("sample-1.0.0.jar", k.env)
				wantDone(t, k.hanging(v, "uninstalling", func() (dbus.ObjectPath, error) { return k.Client.Uninstall(t.Context(), u.Object) }))
				k.nothing(before)
			})
		}
	})
}

// A start in which somebody dies ends with the unit active, and what was set while the framework hung is in it.
func TestKillStart(t *testing.T) {
	either(t, "equinox", func(t *testing.T, framework string) {
		k := newCrash(t, support.Env{Framework: framework, InitialRunLevel: 2})
		no := false
		u := k.InstallWith(k.URL("slow-start-1.0.0.jar"), client.InstallOptions{ExecEnv: k.env, AutoStart: &no})
		agree(t, k.Device, k.env, k.c)
		for _, v := range victims {
			t.Run(string(v)+" in a slow start", func(t *testing.T) {
				wantDone(t, k.during(v, "starting", func() (dbus.ObjectPath, error) { return k.Client.Start(t.Context(), u.EU.Object) }))
				wantUnit(t, k, u, "1.0.0", "Active", false)
				wantDone(t, k.Job(k.Client.Stop(t.Context(), u.EU.Object)))
				agree(t, k.Device, k.env, k.c)
			})
		}
		other := k.Install("sample-1.0.0.jar", k.env)
		for i, v := range victims {
			t.Run(string(v)+" while values are set", func(t *testing.T) {
				k.fresh()
				level, auto := int64(3+i), i%2 == 0
				jvm := k.JVM(k.env)
				jvm.Signal(t, syscall.SIGSTOP)
				known := k.Tree()
				for name, value := range map[string]any{"RunLevel": uint32(level), "AutoStart": auto} {
					if err := k.Client.SetProperty(t.Context(), other.EU.Object, name, value); err != nil {
						t.Fatal(err)
					}
				}
				if v == theAgent {
					k.Kill()
					jvm.Signal(t, syscall.SIGCONT)
					k.Start()
					k.kills = 0
				} else {
					k.die(v)
					if v != theJVM {
						jvm.Signal(t, syscall.SIGCONT)
					}
				}
				k.whole(v)
				for _, j := range k.Tree().Jobs {
					if known.Job(j.Object) == nil {
						wantDone(t, k.Job(j.Object, nil))
					}
				}
				agree(t, k.Device, k.env, k.c)
				untilUnit(t, k, other, fmt.Sprintf("the unit has run level %d, AutoStart %v", level, auto), func(now support.Unit) bool {
					return now.EU.RunLevel == level && now.EU.AutoStart == auto
				})
				i := slices.IndexFunc(k.Stored(k.env), func(b support.StoredBundle) bool { return b.Location == other.UUID })
				if b := k.Stored(k.env)[i]; int64(b.Level) != level || b.AutoStart != auto {
					t.Errorf("on disk it is %+v, want level %d and AutoStart %v", b, level, auto)
				}
			})
		}
		t.Run("agent while the run level moves", func(t *testing.T) {
			k.fresh()
			env := k.Tree().ExecEnvs[0]
			jvm := k.JVM(k.env)
			jvm.Signal(t, syscall.SIGSTOP)
			moved := make(chan error, 1)
			old := k.Client
			go func() { moved <- old.SetRunLevel(t.Context(), env.Object, 4) }()
			k.Until("the operation runs", func(tree *client.Tree) error {
				if i := slices.IndexFunc(tree.Jobs, func(j *client.Job) bool { return j.Operation == "run-level" && j.State == "configuring" }); i < 0 {
					return errors.New("there is no such job")
				}
				return nil
			})
			k.Kill()
			<-moved // the agent it asked is gone
			jvm.Signal(t, syscall.SIGCONT)
			k.Start()
			k.Until("the level is reached", func(tree *client.Tree) error {
				if e := tree.ExecEnvs[0]; e.CurrentRunLevel != 4 {
					return fmt.Errorf("it is %s at %d", e.Status, e.CurrentRunLevel)
				}
				return nil
			})
			agree(t, k.Device, k.env, k.c)
		})
	})
}

// An environment that is being disabled or restarted when somebody dies is what was asked for in the end, with all its units.
func TestKillSwitch(t *testing.T) {
	either(t, "felix", func(t *testing.T, framework string) {
		k := newCrash(t, support.Env{Framework: framework, InitialRunLevel: 2})
		u := k.Install("slow-stop-1.0.0.jar", k.env) // it keeps the framework busy for two seconds
		agree(t, k.Device, k.env, k.c)
		env := u.EU.ExecEnv
		before := rows(t, k.Device)
		// job returns the one that runs and was not there before.
		job := func(known *client.Tree) (path dbus.ObjectPath) {
			t.Helper()
			k.Until("the operation runs", func(tree *client.Tree) error {
				for _, j := range tree.Jobs {
					if known.Job(j.Object) == nil && j.State != "queued" {
						path = j.Object
						return nil
					}
				}
				return errors.New("there is no new job")
			})
			return path
		}
		enable := func(t *testing.T, on bool) {
			t.Helper()
			if err := k.Client.SetProperty(t.Context(), env, "Enable", on); err != nil {
				t.Fatal(err)
			}
		}
		for _, v := range victims {
			t.Run(string(v)+" while it is disabled", func(t *testing.T) {
				k.fresh()
				known := k.Tree()
				k.launch = known.ExecEnvs[0].Name
				enable(t, false)
				path := job(known)
				if v == theJVM {
					// It may have ended already.
					if p, ok := k.Host(k.env); ok {
						p.Kill(t)
					}
				} else {
					k.die(v)
				}
				wantDone(t, k.one(known, path))
				k.Until("it is disabled", func(tree *client.Tree) error {
					e, eu := tree.ExecEnv(env), tree.ExecutionUnit(u.EU.Object)
					p, runs := k.Host(k.env)
					if e.Status != "Disabled" || e.RestartCount != 0 || runs || eu.Status != "Idle" || eu.FaultCode != "UnStartable" {
						return fmt.Errorf("its process is %d, it is %s; the unit is %s", p.PID, support.Show(e), support.Show(eu))
					}
					return nil
				})
				enable(t, true)
				k.whole(theJVM)
				k.same(before, jobs(t, k.Device), "Name", "RestartReason", "RestartCount") // they are counted since then
			})
			t.Run(string(v)+" while it is restarted", func(t *testing.T) {
				k.fresh()
				known := k.Tree()
				old := *known.ExecEnv(env)
				k.launch = old.Name
				path := k.begun(k.Client.RestartExecEnv(t.Context(), env, "by "+string(v)))
				k.await(path, "restarting")
				if v == theJVM {
					if p, ok := k.Host(k.env); ok {
						p.Kill(t)
					}
				} else {
					k.die(v)
				}
				wantDone(t, k.one(known, path))
				k.whole(theJVM)
				k.same(before, jobs(t, k.Device), "Name", "RestartCount", "RestartReason", "LastRestarted")
				if e := k.Tree().ExecEnv(env); e.RestartCount != old.RestartCount+1 || e.RestartReason != "by "+string(v) {
					t.Errorf("it was restarted %d times and is now %d times, %q", old.RestartCount, e.RestartCount, e.RestartReason)
				}
				before = rows(t, k.Device)
			})
		}
	})
}

// What was queued in an environment when the agent died is done after it, in the order in which it was asked for.
func TestKillWithQueue(t *testing.T) {
	either(t, "equinox", func(t *testing.T, framework string) {
		k := newCrash(t, support.Env{Framework: framework, InitialRunLevel: 2})
		var units []support.Unit
		for _, bundle := range []string{"sample-1.0.0.jar", "sample2-1.0.0.jar", "no-vendor-1.0.0.jar", "throws-in-start-1.0.1.jar", "large-1.0.0.jar"} {
			units = append(units, k.Install(bundle, k.env))
		}
		agree(t, k.Device, k.env, k.c)
		for round := range 3 {
			jvm, said := k.JVM(k.env), len(k.started())
			jvm.Signal(t, syscall.SIGSTOP)
			var jobs []dbus.ObjectPath
			var want []string
			order := append(slices.Clone(units[round:]), units[:round]...)
			for _, u := range order {
				jobs = append(jobs, k.begun(k.Client.Restart(t.Context(), u.EU.Object)))
				want = append(want, "goodbye from "+k.spoken(u), "hello from "+k.spoken(u))
			}
			for i, u := range order {
				if i%2 == 0 {
					jobs = append(jobs, k.begun(k.Client.Stop(t.Context(), u.EU.Object)))
					want = append(want, "goodbye from "+k.spoken(u))
				}
			}
			k.await(jobs[0], "restarting")
			k.Kill()
			jvm.Signal(t, syscall.SIGCONT)
			k.Start()
			for _, job := range jobs {
				wantDone(t, k.Job(job, nil))
			}
			k.whole(theAgent)
			got := k.started()[said:]
			// The first one may have been done by the framework alone, and once more by the next agent: a restart that nobody recorded.
			for len(got) > len(want) && slices.Equal(got[:2], want[:2]) && slices.Equal(got[2:4], want[:2]) {
				got = got[2:]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("the framework did in another order: %s", diff)
			}
			for i, u := range order {
				if i%2 == 0 {
					k.Done(k.Client.Start(t.Context(), u.EU.Object))
				}
			}
			agree(t, k.Device, k.env, k.c)
		}
	})
}

// spoken is how a bundle calls itself in what it says: as its framework writes it, Equinox with the version.
func (k *crash) spoken(u support.Unit) string {
	name := u.Name
	if k.env == "equinox" {
		name += "_" + u.Version
	}
	return fmt.Sprintf("%s [%s]", name, u.DUID)
}

// An adapter that dies again and again is broken: that is told, operations fail at once, what runs goes on.
func TestKillAdapterLoop(t *testing.T) {
	either(t, "equinox", func(t *testing.T, framework string) {
		k := newCrash(t, support.Env{Framework: framework, InitialRunLevel: 2})
		u := k.Install("sample-1.0.0.jar", k.env)
		agree(t, k.Device, k.env, k.c)
		before, said, last := rows(t, k.Device), k.started(), k.Tree()
		one := func() client.Adapter {
			t.Helper()
			all, err := k.Client.Adapters(t.Context())
			if err != nil || len(all) != 1 {
				t.Fatalf("the adapters are %v, %v", all, err)
			}
			return all[0]
		}
		for range 5 {
			support.Until(t, "the adapter runs", func() error {
				if a := one(); a.State != "running" {
					return fmt.Errorf("it is %s: %s", a.State, a.Detail)
				}
				return nil
			})
			adapter := k.Adapter("osgi")
			adapter.Kill(t)
			support.Until(t, "its death is noticed", func() error {
				if a := one(); a.State == "running" && int(a.PID) == adapter.PID {
					return fmt.Errorf("it is %+v", a)
				}
				return nil
			})
		}
		k.Until("the adapter is broken", func(tree *client.Tree) error {
			a, e := one(), tree.ExecEnvs[0]
			if a.State != "broken" || !strings.Contains(a.Detail, "killed") || a.PID != 0 || e.Status != "Error" || !strings.Contains(e.StatusDetail, "killed") {
				return fmt.Errorf("the adapter is %+v, the environment %s: %s", a, e.Status, e.StatusDetail)
			}
			if diff := cmp.Diff(last.ExecutionUnits, tree.ExecutionUnits) + cmp.Diff(last.DeploymentUnits, tree.DeploymentUnits); diff != "" {
				t.Fatalf("the loss of the adapter changed units: %s", diff)
			}
			return nil
		})
		begin := time.Now()
		for name, job := range map[string]func() (dbus.ObjectPath, error){
			"install": func() (dbus.ObjectPath, error) {
				return k.Client.Install(t.Context(), k.URL("sample2-1.0.0.jar"), client.InstallOptions{ExecEnv: k.env})
			},
			"stop": func() (dbus.ObjectPath, error) { return k.Client.Stop(t.Context(), u.EU.Object) },
			"update": func() (dbus.ObjectPath, error) {
				return k.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: k.URL("sample-2.0.0.jar")})
			},
			"uninstall": func() (dbus.ObjectPath, error) { return k.Client.Uninstall(t.Context(), u.Object) },
			"restart":   func() (dbus.ObjectPath, error) { return k.Client.RestartExecEnv(t.Context(), u.EU.ExecEnv, "") },
		} {
			t.Run(name, func(t *testing.T) {
				j := k.Job(job())
				if j.State != client.JobFailed || j.FaultName != "ExecEnvUnavailable" {
					t.Errorf("it is %s with %s %q", j.State, j.FaultName, j.Message)
				}
				support.Until(t, "the unit is as it was", func() error {
					if diff := cmp.Diff(last.DeploymentUnits, k.Tree().DeploymentUnits); diff != "" {
						return errors.New(diff)
					}
					return nil
				})
			})
		}
		if took := time.Since(begin); took > time.Minute { // a call may take two
			t.Errorf("to fail took the operations %v", took)
		}
		if now := k.started(); !slices.Equal(said, now) {
			t.Errorf("the bundles noticed: %v", now)
		}
		if !support.Long() {
			k.Restart()
		} else { // the next attempt of the agent itself comes after two minutes
			over, tick := time.After(3*time.Minute), time.NewTicker(time.Second)
			defer tick.Stop()
			for one().State == "broken" {
				select {
				case <-over:
					t.Fatal("the adapter is not tried again")
				case <-tick.C:
				}
			}
		}
		k.whole(theAgent)
		k.same(before, jobs(t, k.Device))
	})
}
