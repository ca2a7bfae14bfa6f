package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/config"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

func TestRequests(t *testing.T) {
	d := start(t, levels)
	w := d.worlds["fake"]
	du := d.installed(fake.Spec{Name: "a"}).ID
	eu := d.rest(du, model.EUActive).ID
	d.done(d.request(eu, model.RequestActive)) // needless
	d.done(d.request(eu, model.RequestRestart))
	d.rest(du, model.EUActive)
	if w.Count("Stop", "") != 1 || w.Count("Start", "") != 2 {
		t.Errorf("calls: %v", w.Calls())
	}
	d.done(d.request(eu, model.RequestIdle))
	d.done(d.request(eu, model.RequestIdle))
	if u := d.rest(du, model.EUIdle); !u.AutoStart || u.FaultCode != model.NoFault {
		t.Errorf("the execution unit is %+v", *u)
	}
	d.done(d.request(eu, model.RequestRestart))
	d.rest(du, model.EUActive)

	w.FailCall("Stop", 1, &adapter.Error{Reason: adapter.StopFailed, Message: "cannot stop it", Cause: "the cause"})
	d.failed(fault.StopFailed)(d.request(eu, model.RequestIdle))
	if u := d.eu(du); u.FaultCode != model.FailureOnStop || u.FaultMessage != "the cause" {
		t.Errorf("the execution unit is %+v", *u)
	}
	_, err := d.request(99, model.RequestIdle)
	wantReason(t, fault.UnknownDU, err)

	bad := d.installed(fake.Spec{Name: "b", Modules: []fake.ModuleSpec{{ID: "main", StartFails: "no luck"}}}).ID
	d.failed(fault.StartFailed)(d.request(d.eu(bad).ID, model.RequestActive))
	d.until("the failure of the request is told", func(s *model.Snapshot) error { // the news of the install may come only now
		for u := range s.ExecutionUnitsOf(bad) {
			if u.FaultCode != model.FailureOnStart || u.FaultMessage != "no luck" {
				return fmt.Errorf("the execution unit is %+v", *u)
			}
		}
		return nil
	})
}

// TestLateNews lets the news of a failure come when a later request has failed with another one.
func TestLateNews(t *testing.T) {
	d := start(t, levels)
	du := d.installed(fake.Spec{Name: "a"})
	eu := d.rest(du.ID, model.EUActive).ID
	d.done(d.request(eu, model.RequestIdle))
	d.rest(du.ID, model.EUIdle)
	reasons := []adapter.Reason{adapter.AutoStartFailed, adapter.StartFailed}
	for _, r := range reasons {
		d.worlds["fake"].FailCall("Start", 1, &adapter.Error{Reason: r, Message: "cannot start it", Cause: string(r)})
		d.failed(fault.StartFailed)(d.request(eu, model.RequestActive))
	}
	for i, r := range reasons {
		seen := int64(4711 + i) // what else is news is taken over
		d.doubles["fake"].o.Handler.AdapterEvent("fake", adapter.Event{Kind: adapter.EventUnit, EnvID: "e", Unit: &adapter.Unit{
			Env: "e", Key: du.Key, DUID: du.DUID, Manifest: adapter.Manifest{Name: "a", Version: "1"}, Resolved: true, Modules: []adapter.Module{
				{ID: "main", Name: "main", Version: "1", Status: adapter.Idle, Reason: r, Message: string(r), RunLevel: -1, Memory: -1, Disk: seen},
			},
		}})
		d.until("the news is taken over", func(s *model.Snapshot) error {
			if u := s.ExecutionUnit(eu); u.Disk != seen {
				return fmt.Errorf("the execution unit is %+v", *u)
			}
			return nil
		})
		if u := d.eu(du.ID); u.FaultCode != model.FailureOnStart || u.FaultMessage != string(adapter.StartFailed) {
			t.Errorf("after the news of %s the execution unit is %+v", r, *u)
		}
	}
}

// TestRestarting looks at a unit between the stop and the start of a Restart().
func TestRestarting(t *testing.T) {
	d := start(t, levels)
	w := d.worlds["fake"]
	for name, unlucky := range map[string]bool{"starts": false, "fails": true} {
		du := d.installed(fake.Spec{Name: name}).ID
		eu := d.rest(du, model.EUActive).ID
		looked := 0
		w.Hook("Start", fake.Before, func(fake.Call) error {
			looked++
			d.until("the unit is Restarting", func(s *model.Snapshot) error {
				if u := s.ExecutionUnit(eu); u.Status != model.EURestarting {
					return fmt.Errorf("it is %s", u.Status)
				}
				return nil
			})
			if unlucky {
				return &adapter.Error{Reason: adapter.StartFailed, Message: "cannot start it"}
			}
			return nil
		})
		if unlucky {
			d.failed(fault.StartFailed)(d.request(eu, model.RequestRestart))
			if u := d.rest(du, model.EUIdle); u.FaultCode != model.FailureOnStart {
				t.Errorf("%s: after the restart it is %+v", name, *u)
			}
		} else {
			idle := d.followed(model.EUIdle, func() { d.done(d.request(eu, model.RequestRestart)) })
			if d.rest(du, model.EUActive); len(idle) != 0 {
				t.Errorf("the unit is Idle on its way: %s", idle)
			}
		}
		if looked != 1 {
			t.Errorf("%s: %d starts were seen", name, looked)
		}
		w.Hook("Start", fake.Before, nil)
		d.done(d.request(eu, model.RequestIdle))
		if u := d.rest(du, model.EUIdle); u.Restarting {
			t.Errorf("%s: after the restart it is %+v", name, *u)
		}
	}
}

func TestRequestsThatHang(t *testing.T) {
	d := start(t, levels)
	w := d.worlds["fake"]
	du := d.installed(fake.Spec{Name: "a", Modules: []fake.ModuleSpec{{ID: "main", StartHangs: true, StopHangs: true}}}).ID
	eu := d.rest(du, model.EUStarting).ID
	d.done(d.request(eu, model.RequestActive)) // is on its way
	d.ok(w.Release("a"))
	d.rest(du, model.EUActive)

	du = d.installed(fake.Spec{Name: "b", Modules: []fake.ModuleSpec{{ID: "main", StopHangs: true}}}).ID
	eu = d.rest(du, model.EUActive).ID
	if j := d.done(d.request(eu, model.RequestIdle)); j.Message == "" {
		t.Error("the job does not remark that it goes on")
	}
	if u := d.eu(du); u.Status != model.EUStopping {
		t.Errorf("the execution unit is %s", u.Status)
	}
	for _, r := range []model.Request{model.RequestActive, model.RequestRestart} {
		_, err := d.request(eu, r)
		wantReason(t, fault.InvalidDUState, err)
	}
	d.done(d.request(eu, model.RequestIdle))
	d.ok(w.Release("b"))
	d.rest(du, model.EUIdle)

	du = d.installed(fake.Spec{Name: "c", Modules: []fake.ModuleSpec{{ID: "main", StartHangs: true}}}).ID
	d.rest(du, model.EUStarting)
	if j := d.done(d.request(d.eu(du).ID, model.RequestRestart)); !strings.Contains(j.Message, "Starting") {
		t.Errorf("the remark is %q", j.Message)
	}
	d.rest(du, model.EUStarting)
	d.ok(w.Release("c"))
	d.rest(du, model.EUActive)
}

func TestArguments(t *testing.T) {
	d := start(t, levels)
	good := d.pkg(fake.Spec{Name: "a"})
	for _, x := range []struct {
		r    model.InstallRequest
		want fault.Reason
	}{
		{model.InstallRequest{}, fault.InvalidArguments},
		{model.InstallRequest{URL: "no-scheme"}, fault.InvalidArguments},
		{model.InstallRequest{URL: "http://user:secret@host/x"}, fault.InvalidArguments},
		{model.InstallRequest{URL: "http://host/" + strings.Repeat("x", 2048)}, fault.InvalidArguments},
		{model.InstallRequest{URL: "mailto:x"}, fault.InvalidArguments},
		{model.InstallRequest{URL: good, Password: strings.Repeat("x", 257)}, fault.InvalidArguments},
		{model.InstallRequest{URL: good, UUID: "x"}, fault.InvalidUUID},
		{model.InstallRequest{URL: good, ExecEnv: "nowhere"}, fault.UnknownExecEnv},
	} {
		_, err := d.agent.Install(t.Context(), x.r)
		wantReason(t, x.want, err)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells a password: %v", err)
		}
	}
	_, err := d.update(99, fake.Spec{Name: "a"})
	wantReason(t, fault.UnknownDU, err)
	_, err = d.uninstall(99)
	wantReason(t, fault.UnknownDU, err)
	_, err = d.agent.RestartExecEnv(t.Context(), 99, "", model.Origin{Name: "test"})
	wantReason(t, fault.UnknownExecEnv, err)
	_, err = d.agent.RestartExecEnv(t.Context(), 1, strings.Repeat("x", 257), model.Origin{Name: "test"})
	wantReason(t, fault.InvalidArguments, err)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = d.agent.Install(over, model.InstallRequest{URL: good})
	wantReason(t, fault.Canceled, err)
	if n := d.agent.Snapshot().Count(model.KindJob); n != 0 {
		t.Errorf("there are %d jobs", n)
	}
	const uuid = "01234567-89AB-cdef-0123-456789abcdef"
	off := false
	du := d.done(d.agent.Install(t.Context(), model.InstallRequest{URL: good, UUID: uuid, AutoStart: &off})).Objects[0].Instance
	if row := d.agent.Snapshot().DeploymentUnit(du); row.UUID != strings.ToLower(uuid) {
		t.Errorf("the UUID is %s", row.UUID)
	}
	if u := d.eu(du); u.AutoStart || u.Status != model.EUIdle {
		t.Errorf("the execution unit is %+v", *u)
	}
}

// TestChoice is about installs that name no environment.
func TestChoice(t *testing.T) {
	fakes := func(d *device) {
		d.world("other", fake.Options{Kind: "other"})
		d.env("down", "fake").Enable = false
		d.env("o", "other")
	}
	choose := func(d *device, kind string) (uint32, error) {
		return d.agent.Install(d.t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "a", Kind: kind})})
	}
	where := func(d *device, j *model.Job) string {
		return d.agent.Snapshot().DeploymentUnit(j.Objects[0].Instance).Env
	}

	t.Run("the one that takes it", func(t *testing.T) {
		d := start(t, plain, fakes)
		if env := where(d, d.done(choose(d, "other"))); env != "o" {
			t.Errorf("it is on %s", env)
		}
		d.failed(fault.DUExecEnvMismatch)(choose(d, "nobody's"))
	})
	t.Run("up before down", func(t *testing.T) {
		d := start(t, plain, func(d *device) {
			d.cfg.ExecEnvs = nil
			d.env("a", "fake").Enable = false
			d.env("b", "fake")
		})
		if env := where(d, d.done(choose(d, "fake"))); env != "b" {
			t.Errorf("it is on %s", env)
		}
	})
	t.Run("only disabled ones", func(t *testing.T) {
		d := start(t, plain, fakes, func(d *device) { d.cfg.ExecEnvs[0].Enable = false })
		d.failed(fault.DisabledExecEnv)(choose(d, "fake"))
		if n := d.agent.Snapshot().Count(model.KindDeploymentUnit); n != 0 {
			t.Errorf("there are %d rows", n)
		}
		d.stored(0)
	})
}

func TestCredentials(t *testing.T) {
	const password = "very-secret-word"
	var content []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "me" || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write(content)
	}))
	defer srv.Close()
	serve := func(s fake.Spec) {
		var err error
		if content, err = os.ReadFile(fake.Package(t, s).Path); err != nil {
			t.Fatal(err)
		}
	}
	d := start(t, levels)
	serve(fake.Spec{Name: "a", Version: "1"})
	r := model.InstallRequest{URL: srv.URL + "/a", Username: "me", Password: password}
	du := d.done(d.agent.Install(t.Context(), r)).Objects[0].Instance
	r.Password = "wrong"
	d.failed(fault.TransferAuthentication)(d.agent.Install(t.Context(), r))
	d.restart()
	d.up()
	serve(fake.Spec{Name: "a", Version: "2"})
	d.done(d.agent.Update(t.Context(), model.UpdateRequest{DU: du}))
	serve(fake.Spec{Name: "a", Version: "3"})
	d.failed(fault.TransferAuthentication)(d.agent.Update(t.Context(), model.UpdateRequest{DU: du, URL: srv.URL + "/a"}))
	d.done(d.agent.Update(t.Context(), model.UpdateRequest{DU: du}))
	if row := d.agent.Snapshot().DeploymentUnit(du); row.Version != "3" || row.URL != srv.URL+"/a" {
		t.Errorf("the row is %+v", *row)
	}
	d.kill()
	d.ok(filepath.WalkDir(d.cfg.Agent.StateDir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(password)) {
			t.Errorf("%s has the password in it", path)
		}
		return err
	}))
	d.start()
}

func TestPackagesWhileUpdating(t *testing.T) {
	d := start(t, levels)
	du := d.installed(fake.Spec{Name: "a"}).ID
	d.stored(1)
	entered, release := d.worlds["fake"].Block("Discard")
	defer release()
	job, err := d.update(du, fake.Spec{Name: "a", Version: "2"})
	d.ok(err)
	<-entered
	// Another operation ends meanwhile, and what it needed is collected.
	d.failed(fault.DUExecEnvMismatch)(d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "x", Kind: "x"})}))
	d.stored(2)
	release()
	d.done(job, nil)
	d.stored(1)
}

func TestBusyAndLimits(t *testing.T) {
	d := start(t, levels, func(d *device) { d.cfg.Operations.MaxOpen = 2 })
	du := d.installed(fake.Spec{Name: "a"}).ID
	entered, release := d.worlds["fake"].Block("Uninstall")
	defer release()
	job, err := d.uninstall(du)
	d.ok(err)
	<-entered
	_, err = d.update(du, fake.Spec{Name: "a", Version: "2"})
	wantReason(t, fault.InvalidDUState, err)
	_, err = d.uninstall(du)
	wantReason(t, fault.InvalidDUState, err)
	queued, err := d.request(d.eu(du).ID, model.RequestIdle)
	d.ok(err)
	_, err = d.install(fake.Spec{Name: "b"})
	wantReason(t, fault.TooManyOperations, err)
	release()
	d.done(job, nil)
	d.failed(fault.UnknownDU)(queued, nil)
}

func TestEnvironmentNoLongerConfigured(t *testing.T) {
	other := func(d *device) { d.env("other", "fake") }
	d := start(t, levels, other)
	kept := d.installed(fake.Spec{Name: "kept"}).ID
	d.done(d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "a"}), ExecEnv: "other"}))
	for _, method := range []string{"Install", "SetEnabled"} {
		entered, release := d.worlds["fake"].Block(method)
		var job uint32
		var err error
		if method == "Install" {
			job, err = d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "b"}), ExecEnv: "other"})
		} else {
			var jobs []uint32
			jobs, err = d.agent.Set(t.Context(), []model.Assignment{{
				Row: ref(model.KindExecEnv, d.ee("other").Instance), Attribute: model.Enable, Value: false,
			}}, model.Origin{Name: "test"})
			job = jobs[0]
		}
		d.ok(err)
		<-entered
		d.kill()
		release()
		envs := d.cfg.ExecEnvs
		d.cfg.ExecEnvs = append([]config.ExecEnv(nil), envs[0])
		d.start()
		d.up()
		if j := d.end(job); j.State != model.JobFailed || j.Fault != fault.UnknownExecEnv {
			t.Errorf("after %s the job is %+v", method, *j)
		}
		if s := d.agent.Snapshot(); s.Count(model.KindExecEnv) != 1 || s.Count(model.KindDeploymentUnit) != 1 || s.DeploymentUnit(kept) == nil {
			t.Errorf("there is\n%s", dump(s))
		}
		d.kill()
		d.cfg.ExecEnvs = envs
		d.start()
		d.up()
	}
}

// TestKeeper is about environments that are launched again.
func TestKeeper(t *testing.T) {
	t.Run("after a loss", func(t *testing.T) {
		d := start(t, plain)
		du := d.installed(fake.Spec{Name: "a"}).ID
		d.ok(d.console("e").Lose("a test"))
		d.until("it is launched again", func(s *model.Snapshot) error {
			if e := s.ExecEnvByID("e"); e.Launch != "e#2" {
				return errors.New(e.Launch)
			}
			return nil
		})
		d.rest(du, model.EUActive)
	})
	t.Run("launch fails", func(t *testing.T) {
		d := prepare(t, plain)
		w := d.worlds["fake"]
		for n := range 2 {
			w.FailCall("SetEnabled", n+1, adapter.Errorf(adapter.Internal, "cannot launch: a test"))
		}
		d.start()
		d.up()
		if n := w.Count("SetEnabled", ""); n != 3 {
			t.Errorf("it was tried %d times", n)
		}
		ops := map[adapter.OpID]bool{}
		for _, c := range w.Calls() {
			if c.Method == "SetEnabled" {
				ops[c.OpID] = true
			}
		}
		if len(ops) != 3 {
			t.Errorf("the launches have the keys %v", ops)
		}
	})
	t.Run("restart is left alone", func(t *testing.T) {
		d := start(t, plain)
		launches := d.launches()
		entered, release := d.worlds["fake"].Block("SetEnabled")
		job, err := d.agent.RestartExecEnv(t.Context(), 1, "", model.Origin{Name: "test"})
		d.ok(err)
		<-entered
		if e := d.ee("e"); e.Status != model.EERestarting {
			t.Errorf("it is %s", e.Status)
		}
		release()
		d.done(job, nil)
		if n := d.launches(); n != launches+1 {
			t.Errorf("it was launched %d times", n-launches)
		}
		if n := d.worlds["fake"].Count("SetEnabled", ""); n != 3 {
			t.Errorf("calls: %v", d.worlds["fake"].Calls())
		}
	})
	t.Run("restart fails", func(t *testing.T) {
		d := start(t, plain)
		d.worlds["fake"].FailCall("SetEnabled", 2, adapter.Errorf(adapter.Internal, "cannot launch: a test"))
		d.failed(fault.Internal)(d.agent.RestartExecEnv(t.Context(), 1, "", model.Origin{Name: "test"}))
		d.until("it is launched again", func(s *model.Snapshot) error {
			if e := s.ExecEnvByID("e"); e.Launch != "e#2" || e.Status != model.EEUp {
				return fmt.Errorf("%s %s", e.Launch, e.Status)
			}
			return nil
		})
	})
	t.Run("an operation waits for it", func(t *testing.T) {
		d := start(t, plain)
		d.ok(d.console("e").Lose("a test"))
		d.done(d.install(fake.Spec{Name: "a"}))
	})
	t.Run("an undo waits for it", func(t *testing.T) {
		// The environment is lost in an install and disabled: the undo comes to its end when it is enabled again.
		d := start(t, plain)
		w := d.worlds["fake"]
		w.Hook("Install", fake.After, func(fake.Call) error {
			w.Hook("Install", fake.After, nil)
			return errors.Join(d.console("e").Lose("a test"), adapter.Errorf(adapter.Unavailable, "cannot: a test"))
		})
		job, err := d.install(fake.Spec{Name: "a"})
		d.ok(err)
		d.until("it is down", func(s *model.Snapshot) error {
			if s.ExecEnvByID("e").Status == model.EEUp {
				return errors.New("up")
			}
			return nil
		})
		set := func(on bool) []uint32 {
			jobs, err := d.agent.Set(t.Context(), []model.Assignment{{Row: ref(model.KindExecEnv, 1), Attribute: model.Enable, Value: on}}, model.Origin{Name: "test"})
			d.ok(err)
			return jobs
		}
		off := set(false)
		d.state(job, model.JobUndoing)
		on := set(true)
		d.failed(fault.DisabledExecEnv)(job, nil)
		d.end(off[0])
		d.done(on[0], nil)
		d.clean()
	})
}
