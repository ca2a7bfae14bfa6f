package systemd

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/processors"
)

// TestGivenChecked: what cannot be given is refused, by what is wrong with it.
func TestGivenChecked(t *testing.T) {
	value := func(v string) adapter.UnitSettings {
		return adapter.UnitSettings{Variables: []adapter.Variable{{Key: "KEY", Value: v}}}
	}
	key := func(k string) adapter.UnitSettings {
		return adapter.UnitSettings{Variables: []adapter.Variable{{Key: k, Value: "v"}}}
	}
	limits := func(l adapter.Limits) adapter.UnitSettings { return adapter.UnitSettings{Limits: l} }
	for _, c := range []struct {
		s    adapter.UnitSettings
		want adapter.Reason
	}{
		{value(""), ""}, {value("a\tb\nc"), ""}, {value("日本語 🚀"), ""}, {value(strings.Repeat("x", 1<<16)), ""},
		{value("\x00"), adapter.InvalidArgument}, {value("\xff"), adapter.InvalidArgument},
		{value("\r"), adapter.NotSupported}, {value("\x1b[m"), adapter.NotSupported}, {value("\x7f"), adapter.NotSupported},
		{value("\ufdd0"), adapter.NotSupported}, {value("\uffff"), adapter.NotSupported}, {value("\U0001fffe"), adapter.NotSupported}, {value("\ufffd"), ""},
		{key("_a9Z"), ""}, {key(""), adapter.InvalidArgument}, {key("A=B"), adapter.InvalidArgument}, {key("A\x00"), adapter.InvalidArgument},
		{key("\xff"), adapter.InvalidArgument}, {key("9A"), adapter.NotSupported}, {key("a-b"), adapter.NotSupported}, {key("a b"), adapter.NotSupported},
		{key("A\n"), adapter.NotSupported}, {key("Ä"), adapter.NotSupported}, {key("A.B"), adapter.NotSupported},
		{limits(adapter.Limits{Memory: 1, CPU: 100}), ""}, {limits(adapter.Limits{Memory: -1}), adapter.InvalidArgument},
		{limits(adapter.Limits{Memory: maxMemory + 1}), adapter.InvalidArgument}, {limits(adapter.Limits{CPU: 101}), adapter.InvalidArgument},
		{limits(adapter.Limits{CPU: -1}), adapter.InvalidArgument}, {limits(adapter.Limits{Disk: 1}), adapter.NotSupported},
		{limits(adapter.Limits{Disk: -1}), adapter.InvalidArgument},
	} {
		_, err := givenOf(c.s, "try")
		if got := adapter.ReasonOf(err); got != c.want {
			t.Errorf("%.60q: %q, %v; want %q", fmt.Sprintf("%+v", c.s), got, err, c.want)
		}
	}
}

func TestShareOf(t *testing.T) {
	all := 100 * processors.Online()
	for _, c := range [][3]int{{80, 50, 40}, {100, 1, 1}, {10, 5, 1}, {0, 100, all}, {0, 50, all / 2}, {all * 7, 100, all}, {33, 50, 17}} {
		if got := shareOf(c[0], c[1]); got != c[2] {
			t.Errorf("%d %% of %d %% is %d, want %d", c[1], c[0], got, c[2])
		}
	}
}

// environ is the environment of the main process of a service.
func environ(t *testing.T, unit string) map[string]string {
	t.Helper()
	data, err := os.ReadFile("/proc/" + show(t, unit, "MainPID") + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for pair := range strings.SplitSeq(string(data), "\x00") {
		k, v, _ := strings.Cut(pair, "=")
		env[k] = v
	}
	return env
}

// quota is a share of a processor as systemctl shows it.
func quota(percent int) string {
	var parts []string
	if s := percent / 100; s > 0 {
		parts = append(parts, fmt.Sprintf("%ds", s))
	}
	if ms := percent % 100 * 10; ms > 0 {
		parts = append(parts, fmt.Sprintf("%dms", ms))
	}
	return strings.Join(parts, " ")
}

// TestGivenSettings: what was given holds for every service of an image, whoever starts it, over what the image says, and over a reboot.
func TestGivenSettings(t *testing.T) {
	settings := map[string]map[string]any{home: {"cpu": "80%", "stop_timeout": "5s"}}
	d := newDevice(t, settings)
	file := filepath.Join(t.TempDir(), "image.env")
	d.must(os.WriteFile(file, []byte("FILE=image\n"), 0o644))
	i := newImage("given", "1").
		service("given.service", sleeps, "Type=exec\nEnvironment=OWN=image BOTH=image\nEnvironmentFile="+file+"\nMemoryMax=4G\n").
		service("given-tick.service", sleeps, "Type=exec\n").unit("given-tick.timer", "[Timer]\nOnActiveSec=1ms\nAccuracySec=1ms\n").
		service("given@.service", sleeps, "Type=exec\n")
	d.install(home, "given", i.pkg(t))
	u := adapter.UnitRef{Env: home, Key: "given"}
	set := func(s adapter.UnitSettings) error { return d.s.SetUnit(t.Context(), d.op(), u, s) }
	volume := makeVolume(t, t.TempDir(), "1", "/data")
	d.must(os.WriteFile(filepath.Join(volume.Source, "kept"), []byte("data"), 0o644))
	secret := "a secret %n $OWN \"\\\n"
	d.must(set(adapter.UnitSettings{
		Variables: []adapter.Variable{{Key: "BOTH", Value: secret}, {Key: "FILE", Value: "controller"}}, Limits: adapter.Limits{Memory: 40 << 10, CPU: 50},
		Volumes: []adapter.Volume{volume},
	}))

	check := func(when string, cpu string) {
		t.Helper()
		d.must(d.start(ref(home, "given", "given.service")))
		d.must(d.start(ref(home, "given", "given-tick.timer")))
		d.status(ref(home, "given", "given-tick.service"), adapter.Active)
		systemctl(t, "start", "given@x.service")
		for _, unit := range []string{"given.service", "given-tick.service", "given@x.service"} {
			env := environ(t, unit)
			got := map[string]string{"BOTH": env["BOTH"], "FILE": env["FILE"], "MemoryMax": show(t, unit, "MemoryMax"), "CPU": show(t, unit, "CPUQuotaPerSecUSec")}
			maps.Copy(got, filesIn(t, inside(t, unit, volume.Path)))
			want := map[string]string{"kept": "data", "BOTH": secret, "FILE": "controller", "MemoryMax": fmt.Sprint(40 << 20), "CPU": cpu}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s (-want +got)\n%s", when, unit, diff)
			}
		}
		if own := environ(t, "given.service")["OWN"]; own != "image" {
			t.Errorf("%s: the image's own variable is %q", when, own)
		}
	}
	check("after SetUnit", quota(40))
	info, err := os.Stat(d.s.envs[home].variablesPath("given"))
	d.must(err)
	if all := systemctl(t, "show", "given.service"); strings.Contains(all, "a secret") || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v; everybody can read on the bus\n%s", info.Mode(), all)
	}

	// The share follows the environment's.
	for _, c := range []struct{ cpu, quota int }{{20, 10 * processors.Online()}, {100, 50 * processors.Online()}, {0, 50 * processors.Online()}} {
		d.must(d.s.Constrain(t.Context(), d.op(), home, adapter.Constraints{CPU: &c.cpu}, false))
		if got, want := show(t, "given.service", "CPUQuotaPerSecUSec"), quota(c.quota); got != want {
			t.Errorf("with %d %% for the environment the service has %s, want %s", c.cpu, got, want)
		}
	}

	// Nothing that runs is ended by a limit.
	err = set(adapter.UnitSettings{Limits: adapter.Limits{Memory: 4}})
	reasonIs(t, "a limit below what runs", err, adapter.InUse)
	if got := show(t, "given.service", "MemoryMax"); got != fmt.Sprint(40<<20) {
		t.Errorf("after a call that failed the limit is %s", got)
	}

	// After a reboot nothing of all this is in /run.
	cpu := 40
	d.must(d.s.Constrain(t.Context(), d.op(), home, adapter.Constraints{CPU: &cpu}, false))
	d.must(d.s.SetEnabled(t.Context(), d.op(), home, false, nil))
	kill(t, d.s)
	for _, pattern := range []string{"/run/systemd/system/given*", "/run/systemd/system/smmd-*", "/run/systemd/system.attached/given*", "/run/portables/given*"} {
		found, err := filepath.Glob(pattern)
		d.must(err)
		if len(found) == 0 {
			t.Errorf("there is no %s", pattern)
		}
		for _, f := range found {
			d.must(os.RemoveAll(f))
		}
	}
	systemctl(t, "daemon-reload")
	d.open(settings)
	d.must(d.s.SetEnabled(t.Context(), d.op(), home, true, nil))
	check("after a reboot", quota(20*processors.Online()))

	// Nothing of the settings is left of a unit that has been given none.
	d.must(d.stop(ref(home, "given", "given.service")))
	d.must(set(adapter.UnitSettings{}))
	d.must(d.start(ref(home, "given", "given.service")))
	if env := environ(t, "given.service"); env["BOTH"] != "image" || env["FILE"] != "image" || show(t, "given.service", "MemoryMax") != fmt.Sprint(4<<30) {
		t.Errorf("after an empty SetUnit: %q, MemoryMax %s", env, show(t, "given.service", "MemoryMax"))
	}
	_, err = d.s.Uninstall(t.Context(), d.op(), u)
	d.must(err)
	if left, err := filepath.Glob(filepath.Join(runtimeDir, "smmd-*.env")); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestGivenToFirmware: a unit of the device itself gets no settings.
func TestGivenToFirmware(t *testing.T) {
	firmware(t)
	d := one(t, map[string]any{"units": []string{"firmware-one.service"}})
	err := d.s.SetUnit(t.Context(), d.op(), adapter.UnitRef{Env: home, Key: "firmware-one.service"}, adapter.UnitSettings{})
	reasonIs(t, "SetUnit", err, adapter.NotSupported)
}

// TestConstraintsHold: the kernel has what was set, and the manager what was configured once that is another value.
func TestConstraintsHold(t *testing.T) {
	d := newDevice(t, map[string]map[string]any{home: {"memory": "96MiB", "stop_timeout": "5s"}})
	d.install(home, "held", newImage("held", "1").service("held.service", sleeps, "").pkg(t))
	d.must(d.start(ref(home, "held", "held.service"))) // without one the slice has no group
	group := show(t, sliceOf(home), "ControlGroup")
	kernel := func() string {
		for _, path := range []string{"/sys/fs/cgroup/memory" + group + "/memory.limit_in_bytes", "/sys/fs/cgroup" + group + "/memory.max"} {
			if data, err := os.ReadFile(path); err == nil {
				return strings.TrimSpace(string(data))
			}
		}
		return "no file for " + group
	}
	for _, mib := range []int64{48, 200} {
		kib := mib << 10
		d.must(d.s.Constrain(t.Context(), d.op(), home, adapter.Constraints{Memory: &kib}, false))
		eventually(t, fmt.Sprintf("with a limit of %d MiB the kernel has", mib), func() (string, bool) { return kernel(), kernel() == fmt.Sprint(mib<<20) })
	}
	for what, c := range map[string]adapter.Constraints{"negative memory": {Memory: new(int64)}, "too much memory": {Memory: new(int64)}, "101 %": {CPU: new(int)}, "-1 %": {CPU: new(int)}} {
		switch what {
		case "negative memory":
			*c.Memory = -1
		case "too much memory":
			*c.Memory = maxMemory + 1
		case "101 %":
			*c.CPU = 101
		default:
			*c.CPU = -1
		}
		reasonIs(t, what, d.s.Constrain(t.Context(), d.op(), home, c, true), adapter.InvalidArgument)
	}
}

// TestConstraintsEnd: a constraint ends with the configuration of then, for good, and each one for itself.
func TestConstraintsEnd(t *testing.T) {
	dir := t.TempDir()
	open := func(memory int64, cpu int) *env {
		return newEnv(newAdapter(quietLog(), defaultLimits()), adapter.EnvConfig{ID: "e", DataDir: dir}, settings{memory: memory, cpu: cpu})
	}
	want := func(when string, e *env, memory int64, cpu int) {
		t.Helper()
		if got := e.bounds(); got != (bounds{memory, cpu}) {
			t.Errorf("%s: %+v, want %d KiB and %d %%", when, got, memory, cpu)
		}
	}
	e := open(100, 80)
	want("as configured", e, 100, 80)
	set := constraints{Memory: &constraint[int64]{100, 50}, CPU: &constraint[int]{80, 30}}
	if err := e.hold(context.Background(), nil, set, false); err != nil {
		t.Fatal(err)
	}
	want("set", e, 50, 30*processors.Online())
	want("after a restart", open(100, 80), 50, 30*processors.Online())
	want("with another memory", open(200, 80), 200, 30*processors.Online())
	want("with the memory of then", open(100, 80), 100, 30*processors.Online())
	want("with another cpu", open(100, 0), 100, 0)
	want("with the cpu of then", open(100, 80), 100, 80)

	if err := e.hold(context.Background(), nil, constraints{Memory: &constraint[int64]{100, 0}}, false); err != nil {
		t.Fatal(err)
	}
	want("taken away", open(100, 80), 0, 80)
	for _, bad := range []string{"", "{", `{"version":2,"memory":{"configured":100,"limit":7}}`} {
		if err := os.WriteFile(filepath.Join(dir, "constraints.json"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		want(fmt.Sprintf("with a file of %q", bad), open(100, 80), 100, 80)
	}
}

// TestFreeFollowsTheLimit: what is free is told when the limit is another one, however little it has changed, so that it is never more than that.
func TestFreeFollowsTheLimit(t *testing.T) {
	was := adapter.Env{AllocatedMemory: 100 << 10, AvailableMemory: 99 << 10}
	for _, c := range []struct{ allocated, available, want int64 }{{100 << 10, 98 << 10, 99 << 10}, {98 << 10, 97 << 10, 97 << 10}, {100 << 10, 50 << 10, 50 << 10}} {
		now := adapter.Env{AllocatedMemory: c.allocated, AvailableMemory: c.available}
		if keepUnnoticed(&now, was); now.AvailableMemory != c.want {
			t.Errorf("%d of %d KiB are free, told is %d, want %d", c.available, c.allocated, now.AvailableMemory, c.want)
		}
	}
}
