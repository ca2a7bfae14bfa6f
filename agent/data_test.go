package agent_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/smmd-project/smmd/agent/config"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// storing is o with application data.
func storing(o fake.Options) fake.Options {
	o = able(o)
	o.Volumes = true
	return o
}

// volume is a request for application data at /data/NAME.
func volume(name string, retain model.Retain) model.VolumeRequest {
	return model.VolumeRequest{Name: name, Capacity: 1, Retain: retain, AccessPath: "/data/" + name}
}

func (d *device) installData(s fake.Spec, volumes ...model.VolumeRequest) (uint32, error) {
	d.t.Helper()
	return d.agent.Install(d.t.Context(), model.InstallRequest{URL: d.pkg(s), ExecEnv: "e", Volumes: volumes})
}

func (d *device) installedData(s fake.Spec, volumes ...model.VolumeRequest) *model.DeploymentUnit {
	d.t.Helper()
	j := d.done(d.installData(s, volumes...))
	return d.agent.Snapshot().DeploymentUnit(j.Objects[0].Instance)
}

// updateData updates a unit to a version of the package that it is of; retain is the argument RetainData, nil when it is not given.
func (d *device) updateData(du *model.DeploymentUnit, version string, retain *bool, volumes ...model.VolumeRequest) (uint32, error) {
	d.t.Helper()
	return d.agent.Update(d.t.Context(), model.UpdateRequest{
		DU: du.ID, URL: d.pkg(fake.Spec{Name: du.Name, Version: version}), Volumes: volumes, RetainData: retain,
	})
}

// write does what a module does that has the volume.
func (d *device) write(du *model.DeploymentUnit, name, file string) {
	d.t.Helper()
	d.ok(os.WriteFile(filepath.Join(d.volumeDir(du, name), file), []byte(file), 0o600))
}

func (d *device) volumeDir(du *model.DeploymentUnit, name string) string {
	d.t.Helper()
	for v := range d.agent.Snapshot().VolumesOf(du.Env, du.UUID) {
		if v.Name == name {
			return filepath.Join(d.cfg.Agent.StateDir, "data", v.Env, strconv.Itoa(int(v.ID)))
		}
	}
	d.t.Fatalf("%s has no application data %q", du.UUID, name)
	return ""
}

// dataOf are the volumes of a unit as text, one after the other as name, path and the files in it. It is an error when the rows, the directories and what the unit's
// environment has been told are not the same. A unit that is not there has been told nothing.
func (d *device) dataOf(s *model.Snapshot, env, uuid string) ([]string, error) {
	var out []string
	var told []adapter.Volume
	rows := map[string]bool{}
	root := filepath.Join(d.cfg.Agent.StateDir, "data", env)
	for v := range s.Volumes() {
		rows[strconv.Itoa(int(v.ID))] = true
		if v.UUID != uuid || v.Env != env {
			continue
		}
		dir := filepath.Join(root, strconv.Itoa(int(v.ID)))
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		text := v.Name + " " + v.AccessPath
		for _, e := range entries {
			text += " " + e.Name()
		}
		out = append(out, text)
		told = append(told, adapter.Volume{Source: dir, Path: v.AccessPath})
	}
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if !rows[e.Name()] {
			return nil, fmt.Errorf("%s has %s, which has no row", root, e.Name())
		}
	}
	state, err := d.worlds["fake"].State()
	if err != nil {
		return nil, err
	}
	for du := range s.DeploymentUnits() {
		u := state.Envs[env].Units[du.Key]
		if du.Env != env || du.UUID != uuid || u == nil {
			continue
		}
		if !slices.Equal(u.Settings.Volumes, told) || du.SettingsPending {
			return nil, fmt.Errorf("the environment has %v for %s %s (pending %t), not %v", u.Settings.Volumes, du.Name, du.Version, du.SettingsPending, told)
		}
		for _, m := range u.Modules {
			if m.Status == adapter.Active && !slices.Equal(m.Settings.Volumes, told) {
				return nil, fmt.Errorf("module %s runs with %v, not with %v", m.ID, m.Settings.Volumes, told)
			}
		}
	}
	return out, nil
}

// wantData waits until a unit has these volumes, and nothing else is there.
func (d *device) wantData(what string, du *model.DeploymentUnit, want ...string) {
	d.t.Helper()
	d.eventually(what, func() error {
		got, err := d.dataOf(d.agent.Snapshot(), du.Env, du.UUID)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("there is %q, not %q", got, want)
		}
		return err
	})
}

func TestData(t *testing.T) {
	yes, no := true, false
	for name, o := range map[string]fake.Options{"levels": levels, "plain": plain} {
		t.Run(name, func(t *testing.T) {
			d := start(t, storing(o))
			du := d.installedData(fake.Spec{Name: "a"}, volume("cfg", model.Forever), volume("tmp", model.UntilStopped))
			d.rest(du.ID, model.EUActive) // it was started with them
			d.wantData("installed", du, "cfg /data/cfg", "tmp /data/tmp")
			if info, err := os.Stat(d.volumeDir(du, "cfg")); err != nil || info.Mode().Perm() != 0o777 {
				t.Errorf("the directory is %v: %v", info, err)
			}
			for _, above := range []string{"data", "data/e"} {
				if info, err := os.Stat(filepath.Join(d.cfg.Agent.StateDir, above)); err != nil || info.Mode().Perm() != 0o700 {
					t.Errorf("the directory %s is %v: %v", above, info, err)
				}
			}
			d.write(du, "cfg", "kept")
			d.write(du, "tmp", "lost")
			d.restart()
			d.up()
			d.rest(du.ID, model.EUActive)
			d.wantData("the agent is started again", du, "cfg /data/cfg kept", "tmp /data/tmp lost")

			d.done(d.updateData(du, "2", nil))
			d.rest(du.ID, model.EUActive)
			d.wantData("updated as CWMP does: all stays but what is kept until it is stopped", du, "cfg /data/cfg kept", "tmp /data/tmp")
			d.done(d.updateData(du, "3", &yes, volume("more", model.Forever), model.VolumeRequest{Name: "cfg", Capacity: 7, Retain: model.Forever, AccessPath: "/etc/a"}))
			d.rest(du.ID, model.EUActive)
			d.wantData("updated with RetainData", du, "cfg /etc/a kept", "tmp /data/tmp", "more /data/more")
			if got := slices.Collect(d.agent.Snapshot().VolumesOf("e", du.UUID))[0].Capacity; got != 7 {
				t.Errorf("the capacity is %d MiB", got)
			}

			// An update that fails loses nothing, however far it came.
			d.write(du, "more", "new")
			for _, method := range []string{"SetUnit", "Update"} {
				d.worlds["fake"].FailCall(method, 1, adapter.Errorf(adapter.NoResources, "cannot: a test"))
				d.failed(fault.SystemResourcesExceeded)(d.updateData(du, "4", &no, volume("more", model.Forever)))
				d.rest(du.ID, model.EUActive)
				d.wantData("after an update that failed in "+method, du, "cfg /etc/a kept", "tmp /data/tmp", "more /data/more new")
			}
			d.done(d.updateData(du, "4", &no, volume("more", model.Forever)))
			d.rest(du.ID, model.EUActive)
			d.wantData("updated without RetainData", du, "more /data/more")
			d.write(du, "more", "again")
			d.done(d.updateData(du, "5", &no))
			d.rest(du.ID, model.EUActive)
			d.wantData("all is lost", du)
		})
	}
}

// TestDataOverUninstall is about what stays of a unit that goes, and who gets it.
func TestDataOverUninstall(t *testing.T) {
	d := start(t, storing(plain))
	uninstall := func(du *model.DeploymentUnit, retain bool) (uint32, error) {
		return d.agent.Uninstall(t.Context(), model.UninstallRequest{DU: du.ID, RetainData: retain})
	}
	du := d.installedData(fake.Spec{Name: "a"}, volume("cfg", model.Forever), volume("tmp", model.UntilStopped))
	d.rest(du.ID, model.EUActive)
	d.write(du, "cfg", "kept")
	cfg := slices.Collect(d.agent.Snapshot().Volumes())[0]
	wantReason(t, fault.VolumeInUse, d.agent.RemoveVolume(t.Context(), cfg.ID, model.Origin{}))
	d.worlds["fake"].FailCall("Uninstall", 1, adapter.Errorf(adapter.NoResources, "cannot: a test"))
	d.failed(fault.SystemResourcesExceeded)(uninstall(du, false))
	d.rest(du.ID, model.EUActive)
	d.wantData("after an uninstall that failed", du, "cfg /data/cfg kept", "tmp /data/tmp")
	d.done(uninstall(du, true))
	d.wantData("uninstalled with RetainData", du, "cfg /data/cfg kept")
	d.restart()
	d.up()
	d.wantData("the agent is started again", du, "cfg /data/cfg kept")

	other := d.installedData(fake.Spec{Name: "other"}, volume("cfg", model.Forever))
	d.wantData("another unit has its own", other, "cfg /data/cfg")
	// What was kept goes to the unit when it comes again, whether it asks for it or not.
	du = d.installedData(fake.Spec{Name: "a"})
	d.rest(du.ID, model.EUActive)
	d.wantData("installed again", du, "cfg /data/cfg kept")
	d.done(uninstall(du, true))
	du = d.installedData(fake.Spec{Name: "a", Version: "2"}, model.VolumeRequest{Name: "cfg", Capacity: 2, Retain: model.Forever, AccessPath: "/etc/a"}, volume("tmp", model.UntilStopped))
	d.rest(du.ID, model.EUActive)
	d.wantData("installed with another path for it", du, "cfg /etc/a kept", "tmp /data/tmp")
	if now := d.agent.Snapshot().Volume(cfg.ID); now == nil || now.Capacity != 2 {
		t.Errorf("the row is %+v", now)
	}
	d.done(uninstall(du, true))
	d.worlds["fake"].FailCall("Install", 1, adapter.Errorf(adapter.NoResources, "cannot: a test"))
	d.failed(fault.SystemResourcesExceeded)(d.installData(fake.Spec{Name: "a"}, volume("cfg", model.Forever), volume("new", model.Forever)))
	d.wantData("an install that failed", du, "cfg /etc/a kept")
	d.ok(d.agent.RemoveVolume(t.Context(), cfg.ID, model.Origin{}))
	d.wantData("removed", du)
	wantReason(t, fault.UnknownDU, d.agent.RemoveVolume(t.Context(), cfg.ID, model.Origin{}))
	d.done(uninstall(other, false))
	d.wantData("uninstalled without RetainData", other)
	if n := d.agent.Snapshot().Count(model.KindVolume); n != 0 {
		t.Errorf("there are %d volumes", n)
	}
}

// TestDataUntilStopped is about a volume that is kept until all execution units are stopped.
func TestDataUntilStopped(t *testing.T) {
	for name, o := range map[string]fake.Options{"levels": levels, "plain": plain} {
		t.Run(name, func(t *testing.T) {
			d := start(t, storing(o))
			spec := fake.Spec{Name: "a", Modules: []fake.ModuleSpec{{ID: "one"}, {ID: "two"}}}
			du := d.installedData(spec, volume("tmp", model.UntilStopped))
			eus := slices.Collect(d.agent.Snapshot().ExecutionUnitsOf(du.ID))
			status := func(eu *model.ExecutionUnit, want model.EUStatus) {
				t.Helper()
				d.until("the execution unit is as it is to be", func(s *model.Snapshot) error {
					if got := s.ExecutionUnit(eu.ID); got.Status != want {
						return fmt.Errorf("%s is %s, not %s: %s", got.EUID, got.Status, want, got.FaultMessage)
					}
					return nil
				})
			}
			request := func(eu *model.ExecutionUnit, r model.Request, want model.EUStatus) {
				t.Helper()
				d.done(d.request(eu.ID, r))
				status(eu, want)
			}
			status(eus[0], model.EUActive)
			status(eus[1], model.EUActive)
			d.write(du, "tmp", "file")
			d.ok(os.Symlink("/etc", filepath.Join(d.volumeDir(du, "tmp"), "link")))
			request(eus[0], model.RequestIdle, model.EUIdle)
			request(eus[0], model.RequestActive, model.EUActive)
			d.wantData("one was stopped", du, "tmp /data/tmp file link")
			request(eus[1], model.RequestIdle, model.EUIdle)
			request(eus[0], model.RequestRestart, model.EUActive)
			d.wantData("the only one that runs was restarted", du, "tmp /data/tmp file link")
			request(eus[0], model.RequestIdle, model.EUIdle)
			request(eus[1], model.RequestActive, model.EUActive)
			d.wantData("both were stopped", du, "tmp /data/tmp")
			if _, err := os.Stat("/etc/passwd"); err != nil {
				t.Error(err)
			}
			d.write(du, "tmp", "file")
			request(eus[0], model.RequestActive, model.EUActive)
			d.wantData("the other one is started, too", du, "tmp /data/tmp file")
			d.enable("e", false)
			d.enable("e", true)
			d.up()
			if o.AutoStart { // the environment itself starts them
				return
			}
			status(eus[0], model.EUActive)
			status(eus[1], model.EUActive)
			d.wantData("the environment is launched again", du, "tmp /data/tmp")
		})
	}
}

func TestDataArguments(t *testing.T) {
	d := start(t, storing(plain))
	du := d.installed(fake.Spec{Name: "a"})
	d.rest(du.ID, model.EUActive)
	jobs := d.agent.Snapshot().Count(model.KindJob)
	with := func(f func(*model.VolumeRequest)) []model.VolumeRequest {
		v := volume("v", model.Forever)
		f(&v)
		return []model.VolumeRequest{v}
	}
	at := func(path string) []model.VolumeRequest {
		return with(func(v *model.VolumeRequest) { v.AccessPath = path })
	}
	var many []model.VolumeRequest
	for n := range model.MaxVolumes + 1 {
		many = append(many, volume(strconv.Itoa(n), model.Forever))
	}
	for what, volumes := range map[string][]model.VolumeRequest{
		"no name":           with(func(v *model.VolumeRequest) { v.Name = "" }),
		"long name":         with(func(v *model.VolumeRequest) { v.Name = strings.Repeat("ä", model.MaxVolumeName+1) }),
		"name is no text":   with(func(v *model.VolumeRequest) { v.Name = "a\xff" }),
		"name with a break": with(func(v *model.VolumeRequest) { v.Name = "a\nb" }),
		"name twice":        {volume("v", model.Forever), {Name: "v", Capacity: 1, Retain: model.Forever, AccessPath: "/other"}},
		"no capacity":       with(func(v *model.VolumeRequest) { v.Capacity = 0 }),
		"great capacity":    with(func(v *model.VolumeRequest) { v.Capacity = model.MaxCapacity + 1 }),
		"no retain":         with(func(v *model.VolumeRequest) { v.Retain = "" }),
		"other retain":      with(func(v *model.VolumeRequest) { v.Retain = "forever" }),
		"no path":           at(""),
		"relative":          at("data"),
		"root":              at("/"),
		"not clean":         at("/data/../etc"),
		"slash at the end":  at("/data/"),
		"long path":         at("/" + strings.Repeat("a", model.MaxAccessPath)),
		"path with a break": at("/da\nta"),
		"device":            at("/dev/shm"),
		"proc":              at("/proc"),
		"sys":               at("/sys/x"),
		"systemd":           at("/run/systemd/x"),
		"same path":         {volume("v", model.Forever), {Name: "w", Capacity: 1, Retain: model.Forever, AccessPath: "/data/v"}},
		"path within":       {{Name: "w", Capacity: 1, Retain: model.Forever, AccessPath: "/data/v/w"}, volume("v", model.Forever)},
		"too many":          many,
	} {
		_, install := d.installData(fake.Spec{Name: "b"}, volumes...)
		_, update := d.updateData(du, "2", nil, volumes...)
		for _, err := range []error{install, update} {
			if fault.ReasonOf(err) != fault.InvalidArguments {
				t.Errorf("%s: the error is %q: %v", what, fault.ReasonOf(err), err)
			}
		}
	}
	_, err := d.installData(fake.Spec{Name: "b"}, with(func(v *model.VolumeRequest) { v.Encrypted = true })...)
	wantReason(t, fault.UnsupportedArgument, err)
	if n := d.agent.Snapshot().Count(model.KindJob); n != jobs {
		t.Errorf("there are %d jobs, not %d", n, jobs)
	}
	// What stays is part of what is judged.
	d.failed(fault.SystemResourcesExceeded)(d.installData(fake.Spec{Name: "b"}, with(func(v *model.VolumeRequest) { v.Capacity = model.MaxCapacity })...))
	d.done(d.updateData(du, "2", nil, many[:model.MaxVolumes]...))
	d.failed(fault.InvalidArguments)(d.updateData(du, "3", nil, volume("more", model.Forever)))
	d.failed(fault.InvalidArguments)(d.updateData(du, "3", nil, model.VolumeRequest{Name: "0", Capacity: 1, Retain: model.Forever, AccessPath: "/data/1/below"}))
	d.rest(du.ID, model.EUActive)
	// What is there must fit into another capacity, and only into that.
	d.ok(os.WriteFile(filepath.Join(d.volumeDir(du, "0"), "large"), make([]byte, 2<<20+1), 0o600))
	resized := many[0]
	resized.Capacity = 2
	d.failed(fault.SystemResourcesExceeded)(d.updateData(du, "3", nil, resized))
	d.until("what it holds is told", func(s *model.Snapshot) error {
		for v := range s.Volumes() {
			if want := map[bool]int64{true: 3}[v.Name == "0"]; v.Utilization != want {
				return fmt.Errorf("it is %d MiB of %s, not %d", v.Utilization, v.Name, want)
			}
		}
		return nil
	})
	if got := d.agent.Snapshot().Count(model.KindVolume); got != model.MaxVolumes {
		t.Errorf("there are %d volumes", got)
	}
	d.done(d.updateData(du, "3", nil, many[0]))
}

func TestDataEncrypted(t *testing.T) {
	d := start(t, storing(plain), func(d *device) { d.cfg.Data.Encrypted = true })
	v := volume("v", model.Forever)
	v.Encrypted = true
	d.installedData(fake.Spec{Name: "a"}, v)
	want := func(encrypted bool) {
		t.Helper()
		if v := slices.Collect(d.agent.Snapshot().Volumes()); len(v) != 1 || v[0].Encrypted != encrypted {
			t.Errorf("the rows are %+v", v)
		}
	}
	want(true)
	d.kill()
	d.cfg.Data.Encrypted = false
	d.start()
	want(false)
}

// TestDataUnsupported is about an environment without application data.
func TestDataUnsupported(t *testing.T) {
	d := start(t, able(plain))
	du := d.installed(fake.Spec{Name: "a"})
	_, install := d.installData(fake.Spec{Name: "b"}, volume("v", model.Forever))
	_, update := d.updateData(du, "2", nil, volume("v", model.Forever))
	wantReason(t, fault.UnsupportedArgument, install)
	wantReason(t, fault.UnsupportedArgument, update)
	no := false
	d.done(d.updateData(du, "2", &no)) // there is nothing to lose
	d.done(d.agent.Uninstall(t.Context(), model.UninstallRequest{DU: du.ID, RetainData: true}))
	if n := d.agent.Snapshot().Count(model.KindVolume); n != 0 {
		t.Errorf("there are %d volumes", n)
	}
}

// TestDataCutOff ends the agent in the middle of operations on units with application data.
func TestDataCutOff(t *testing.T) {
	no := false
	for _, method := range []string{"Install", "SetUnit", "Update", "Start"} {
		t.Run(method, func(t *testing.T) {
			d := start(t, storing(plain))
			w := d.worlds["fake"]
			cut := func(begin func() (uint32, error)) {
				t.Helper()
				entered, release := w.Block(method)
				job, err := begin()
				d.ok(err)
				<-entered
				d.kill()
				release()
				d.start()
				d.done(job, nil)
			}
			if method != "Update" {
				cut(func() (uint32, error) { return d.installData(fake.Spec{Name: "a"}, volume("cfg", model.Forever)) })
			} else {
				d.done(d.installData(fake.Spec{Name: "a"}, volume("cfg", model.Forever)))
			}
			du := slices.Collect(d.agent.Snapshot().DeploymentUnits())[0]
			d.rest(du.ID, model.EUActive)
			d.wantData("installed", du, "cfg /data/cfg")
			d.write(du, "cfg", "old")
			if method == "Install" {
				return
			}
			cut(func() (uint32, error) { return d.updateData(du, "2", &no, volume("cfg", model.Forever)) })
			d.rest(du.ID, model.EUActive)
			d.wantData("updated", du, "cfg /data/cfg")
		})
	}
}

// TestDataOfAGoneUnit is about a unit that somebody takes away and puts back.
func TestDataOfAGoneUnit(t *testing.T) {
	d := start(t, storing(plain))
	c := d.console("e")
	du := d.installedData(fake.Spec{Name: "a"}, volume("cfg", model.Forever))
	d.rest(du.ID, model.EUActive)
	d.write(du, "cfg", "kept")
	d.ok(c.Remove(du.Key))
	d.row("a", gone)
	d.wantData("it is gone", du, "cfg /data/cfg kept")
	d.ok(c.Install(du.Key, fake.Spec{Name: "a", Version: "1"}))
	d.wantData("it is there again", du, "cfg /data/cfg kept")
	d.done(d.agent.Uninstall(t.Context(), model.UninstallRequest{DU: du.ID, RetainData: true}))
	d.ok(c.Install(du.Key, fake.Spec{Name: "a", Version: "1"}))
	d.until("it is found", func(s *model.Snapshot) error {
		if n := s.Count(model.KindDeploymentUnit); n != 1 {
			return fmt.Errorf("there are %d units", n)
		}
		return nil
	})
	d.wantData("it is found by its UUID", du, "cfg /data/cfg kept")
	d.kill()
	d.ok(os.RemoveAll(filepath.Join(d.cfg.Agent.StateDir, "data"))) // somebody was thorough
	d.start()
	d.up()
	d.done(d.request(d.eu(slices.Collect(d.agent.Snapshot().DeploymentUnits())[0].ID).ID, model.RequestActive))
	d.wantData("the directory is there again", du, "cfg /data/cfg")
}

// TestDataOfAForgottenEnvironment takes an environment out of the configuration for a while.
func TestDataOfAForgottenEnvironment(t *testing.T) {
	d := start(t, storing(plain))
	du := d.installedData(fake.Spec{Name: "a"}, volume("cfg", model.Forever))
	d.write(du, "cfg", "kept")
	d.kill()
	envs := d.cfg.ExecEnvs
	d.cfg.ExecEnvs = []config.ExecEnv{}
	d.env("other", "fake")
	d.start()
	d.up()
	d.done(d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "b"}), ExecEnv: "other"})) // what is useless is looked for then
	d.kill()
	d.cfg.ExecEnvs = envs
	d.start()
	d.up()
	d.wantData("it is there with the environment", du, "cfg /data/cfg kept")
}

// TestDataWithoutARecord is about a row that cannot be read any more: its data is not taken for useless.
func TestDataWithoutARecord(t *testing.T) {
	d := start(t, storing(plain))
	du := d.installedData(fake.Spec{Name: "a"}, volume("cfg", model.Forever))
	d.write(du, "cfg", "kept")
	kept := filepath.Join(d.volumeDir(du, "cfg"), "kept")
	useless := filepath.Join(d.cfg.Agent.StateDir, "data/e/1001")
	d.kill()
	db, err := bolt.Open(filepath.Join(d.cfg.Agent.StateDir, "state.db"), 0o600, nil)
	d.ok(err)
	err = db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("volume")).ForEach(func(key, _ []byte) error { return tx.Bucket([]byte("volume")).Put(key, []byte("nonsense")) })
	})
	d.ok(errors.Join(err, db.Close(), os.Mkdir(useless, 0o700)))
	d.start()
	d.eventually("what is useless is gone", func() error {
		if _, err := os.Stat(useless); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
	if n := d.agent.Snapshot().Count(model.KindVolume); n != 0 {
		t.Errorf("there are %d rows", n)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

// TestDataOfAnOpenOperation wants that what an operation has made stays while it is at work.
func TestDataOfAnOpenOperation(t *testing.T) {
	d := start(t, storing(plain))
	d.env("other", "fake")
	d.restart()
	d.up()
	entered, release := d.worlds["fake"].Block("SetUnit")
	defer release()
	job, err := d.installData(fake.Spec{Name: "a"}, volume("cfg", model.Forever))
	d.ok(err)
	<-entered
	root := filepath.Join(d.cfg.Agent.StateDir, "data/e")
	for _, useless := range []string{"1001", "1002"} { // when the second one is gone, all has been looked at once
		d.ok(os.Mkdir(filepath.Join(root, useless), 0o700))
		d.done(d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: useless}), ExecEnv: "other"}))
		d.eventually("what nobody needs is gone", func() error {
			if _, err := os.Stat(filepath.Join(root, useless)); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is there: %v", useless, err)
			}
			return nil
		})
	}
	if found, err := filepath.Glob(filepath.Join(root, "*")); err != nil || len(found) != 1 {
		t.Errorf("there is %v: %v", found, err)
	}
	release()
	d.done(job, nil)
}

// TestDataThatCannotBeReady is about a start whose data cannot be made ready.
func TestDataThatCannotBeReady(t *testing.T) {
	d := start(t, storing(plain))
	du := d.installedData(fake.Spec{Name: "a"}, volume("cfg", model.Forever))
	eu := d.rest(du.ID, model.EUActive)
	d.done(d.request(eu.ID, model.RequestIdle))
	d.rest(du.ID, model.EUIdle)
	dir := filepath.Join(d.cfg.Agent.StateDir, "data/e")
	d.ok(errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)))
	j := d.failed(fault.StartFailed)(d.request(eu.ID, model.RequestActive))
	if u := d.eu(du.ID); u.Status != model.EUIdle || u.FaultCode != model.FailureOnStart || !strings.Contains(u.FaultMessage, `"cfg"`) || !strings.Contains(j.Message, `"cfg"`) {
		t.Errorf("the unit is %s, %s: %s; the job says %s", u.Status, u.FaultCode, u.FaultMessage, j.Message)
	}
	d.ok(os.Remove(dir))
	d.done(d.request(eu.ID, model.RequestActive))
	if u := d.rest(du.ID, model.EUActive); u.FaultCode != model.NoFault {
		t.Errorf("it shows %s: %s", u.FaultCode, u.FaultMessage)
	}
}
