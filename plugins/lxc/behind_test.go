package lxc

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// endless runs until it is asked to end.
const endless = "trap 'exit 0' TERM; echo > /tmp/ready; while :; do sleep 0.05; done"

// TestBehindTheBack shows that what others do to containers is told.
func TestBehindTheBack(t *testing.T) {
	for name, s := range starters {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, s, nil)
			d.run("c", endless)
			store := d.env.store.lxcPath()

			tool(t, "lxc-stop", "-P", store, "-n", d.name("c"))
			if m := d.is("c", adapter.Idle); m.Reason != "" {
				t.Errorf("after lxc-stop: %+v", m)
			}
			d.start("c")

			payload, err := oldestChild(d.first("c"))
			must(t, err, unix.Kill(payload, unix.SIGKILL))
			if m := d.is("c", adapter.Idle); m.Reason != adapter.FailedWhileActive || !strings.Contains(m.Message, "SIGKILL") || *m.ExitCode != 137 {
				t.Errorf("after a kill of its process: %+v", m)
			}
			d.start("c")

			// The monitor is the parent of the first process. Without it LXC takes the container for stopped.
			first := d.first("c")
			monitor, _, ok := parentOf(first)
			if !ok {
				t.Fatal("the container has no monitor")
			}
			must(t, unix.Kill(monitor, unix.SIGKILL))
			if m := d.is("c", adapter.Idle); m.Reason != adapter.FailedWhileActive {
				t.Errorf("after a kill of its monitor: %+v", m)
			}
			d.eventually("the end of what the monitor left", func() bool { _, _, there := parentOf(first); return !there })
			d.start("c")
			d.is("c", adapter.Active)

			tool(t, "lxc-destroy", "-f", "-P", store, "-n", d.name("c"))
			d.wait("the end of the unit", func() bool { _, there := d.units["c"]; return !there })
		})
	}
}

// TestGoneMeanwhile shows that a container which goes away while it is looked at is told as gone, and that nobody is warned of that.
func TestGoneMeanwhile(t *testing.T) {
	var log bytes.Buffer
	a := newAdapter(slog.New(slog.NewTextHandler(&log, nil)), sessions{})
	defer a.end()
	e := a.newEnv("home", t.TempDir(), settings{})
	dir := e.store.at("c")
	must(t, os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, configName), nil, 0o644))
	bin := t.TempDir()
	must(t, os.WriteFile(filepath.Join(bin, "lxc-info"), []byte("#!/bin/sh\nrm -r '"+dir+"'\necho \"c doesn't exist\" >&2\nexit 1\n"), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	told := newTeller()
	told.on, told.units["c"] = true, adapter.Unit{Key: "c"}
	e.teller = told
	e.refresh(t.Context(), "c")
	if len(told.queue) != 1 || told.queue[0].Kind != adapter.EventUnitRemoved || told.queue[0].Key != "c" || log.Len() > 0 {
		t.Errorf("told was %+v, logged was %q", told.queue, log.String())
	}
}

// TestForeignContainer shows what can be done with a container that somebody else made.
func TestForeignContainer(t *testing.T) {
	for name, s := range starters {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, s, nil)
			d.install("own", archiveOf(t, imageSpec{title: "own", version: "1", layers: [][]entry{base(t)}, config: v1Config("/bin/sh")}))
			dir := d.env.store.at("foreign-" + name)
			must(t, os.Mkdir(dir, 0o755))
			tool(t, "cp", "-a", d.rootfs("own", ""), filepath.Join(dir, "rootfs"))
			must(t, os.WriteFile(filepath.Join(dir, "rootfs/init"), []byte("#!/bin/sh\ntrap 'exit 0' PWR TERM\nwhile :; do sleep 0.05; done\n"), 0o755))
			config := "lxc.rootfs.path = dir:" + filepath.Join(dir, "rootfs") + "\nlxc.net.0.type = empty\nlxc.autodev = 1\nlxc.mount.auto = proc:mixed sys:ro\n" +
				"lxc.init.cmd = /init\nlxc.uts.name = foreign\n"
			must(t, os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o644))
			key := "foreign-" + name
			m := d.is(key, adapter.Idle)
			if m.Name != key || m.Reason != "" {
				t.Errorf("%+v", m)
			}
			elsewhere := filepath.Join(t.TempDir(), "store") // of somebody else, who calls a container the same
			must(t, os.Mkdir(elsewhere, 0o755))
			tool(t, "cp", "-a", dir, filepath.Join(elsewhere, key))
			tool(t, "lxc-start", "-P", elsewhere, "-n", key, "-d")
			defer tool(t, "lxc-stop", "-P", elsewhere, "-n", key, "-k")
			for range 2 {
				d.start(key)
				d.is(key, adapter.Active)
				d.start(key)
				d.stop(key)
				d.stop(key)
			}
			if got := tool(t, "lxc-info", "-P", elsewhere, "-n", key, "-sH"); got != "RUNNING\n" {
				t.Errorf("the container of that name elsewhere is %q", got)
			}
			_, err := d.a.Update(t.Context(), "op", d.ref(key), adapter.Package{}, packageOf(t, nil))
			reasonIs(t, err, adapter.NotSupported)
			_, err = d.a.Install(t.Context(), "op", adapter.InstallSpec{Env: "home", Key: key, Package: packageOf(t, nil)})
			reasonIs(t, err, adapter.Exists)
			d.start(key)
			_, err = d.a.Uninstall(t.Context(), "op", d.ref(key))
			must(t, err)
			d.wait("the end of the unit", func() bool { _, there := d.units[key]; return !there })
			if _, err := os.Lstat(dir); err == nil {
				t.Error("it is still there")
			}
		})
	}
}

// TestServiceManagerStops shows that containers are given their grace also when the service manager ends their slice, and outlive that it starts anew.
func TestServiceManagerStops(t *testing.T) {
	d := newDevice(t, units{}, nil)
	d.run("c", "trap 'sleep 2; echo done > /tmp/end; exit 0' TERM; echo > /tmp/ready; while :; do sleep 0.05; done")
	tool(t, "systemctl", "daemon-reload")
	tool(t, "systemctl", "daemon-reexec")
	first := d.first("c")
	d.eventually("the manager after daemon-reexec", func() bool { return activeState(unitName(d.name("c"))) != "" })
	if got := activeState(unitName(d.name("c"))); got != "active" {
		t.Errorf("after daemon-reexec the unit is %q", got)
	}
	tool(t, "systemctl", "stop", sliceName("home"))
	if _, _, there := parentOf(first); there {
		t.Error("the container outlived its slice")
	}
	if got := d.file("c", "tmp/end"); got != "done\n" {
		t.Errorf("it wrote %q", got)
	}
	if m := d.is("c", adapter.Idle); m.Reason != "" {
		t.Errorf("%+v", m)
	}
	d.start("c")
	d.is("c", adapter.Active)
}

// TestEndOfEnvironment shows that all containers of an environment end with it, the last one first, and no other.
func TestEndOfEnvironment(t *testing.T) {
	other := deviceWith(t, "other", units{}, nil)
	other.run("a", endless)
	d := newDevice(t, units{}, nil)
	for _, key := range []string{"a", "b", "c"} {
		d.run(key, "trap 'cat /proc/uptime > /tmp/end; exit 0' TERM; echo > /tmp/ready; while :; do sleep 0.05; done")
		d.is(key, adapter.Active)
	}
	ends := map[string]string{}
	must(t, d.a.SetEnabled(t.Context(), "off", "home", false, nil))
	d.wait("the end of the environment", func() bool { return !d.synced })
	for _, key := range []string{"a", "b", "c"} {
		if s, _, err := d.env.tools.info(t.Context(), d.name(key)); err != nil || s != stopped {
			t.Errorf("%s is %s: %v", key, s, err)
		}
		ends[key] = d.file(key, "tmp/end")
	}
	if ends["c"] > ends["b"] || ends["b"] > ends["a"] {
		t.Errorf("they ended at %q", ends)
	}
	reasonIs(t, d.a.Start(t.Context(), "op", d.moduleOf("a"), adapter.StartOptions{}), adapter.Unavailable)
	if s, _, err := other.env.tools.info(t.Context(), other.name("a")); err != nil || s != running {
		t.Errorf("the container of another environment is %s: %v", s, err)
	}
}

// TestWhatIsSoAlready shows that a start of what runs and a stop of what does not tell nothing: nothing happens.
func TestWhatIsSoAlready(t *testing.T) {
	d := newDevice(t, sessions{}, nil)
	d.run("c", endless)
	d.is("c", adapter.Active)
	d.start("c")
	d.stop("c")
	must(t, d.a.Stop(t.Context(), "again", d.moduleOf("c")))
	d.install("last", archiveOf(t, imageSpec{title: "last", version: "1", layers: [][]entry{base(t)}, config: v1Config("/bin/sh")}))
	d.is("last", adapter.Idle) // whatever was to be told before has been
	d.mu.Lock()
	defer d.mu.Unlock()
	var got []string
	for _, s := range d.history["c"] {
		if len(got) == 0 || got[len(got)-1] != string(s) {
			got = append(got, string(s))
		}
	}
	if want := "Idle Starting Active Stopping Idle"; strings.Join(got, " ") != want {
		t.Errorf("it was told to be %q, want %q", got, want)
	}
}

// TestLaunchEndsWithBoot shows that an environment is not up after a boot of the device until it is launched, and that what an adapter was doing
// then is gone.
func TestLaunchEndsWithBoot(t *testing.T) {
	d := newDevice(t, sessions{}, nil)
	d.install("c", archiveOf(t, imageSpec{title: "c", version: "1", layers: [][]entry{base(t)}, config: v1Config("/bin/sh")}))
	before := d.env.launched()
	must(t, writeJSON(filepath.Join(d.env.store.dir, launchName), launch{Format: format, Boot: "another", Launch: before}))
	d.wait("the end of the environment", func() bool { return !d.synced })
	reasonIs(t, d.a.Start(t.Context(), "op", d.moduleOf("c"), adapter.StartOptions{}), adapter.Unavailable)
	rest, err := d.env.store.stage()
	must(t, err)
	again := newAdapter(quietLog(), sessions{})
	defer again.end()
	e := again.newEnv("home", d.env.store.dir, d.env.set)
	must(t, e.enable(t.Context()))
	if now := e.launched(); now == "" || now == before {
		t.Errorf("the launch was %q and is %q", before, now)
	}
	if _, err := os.Lstat(rest); err == nil {
		t.Error("what was staged before is still there")
	}
	d.is("c", adapter.Idle)
}
