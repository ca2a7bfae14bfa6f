package lxc

import (
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/processors"
)

// awkward are variables that a shell, a configuration file or a service manager might read otherwise.
var awkward = []adapter.Variable{
	{Key: "BLANKS", Value: "  two  words\t "}, {Key: "QUOTES", Value: `"'` + "`" + `'"`}, {Key: "QUOTED", Value: `"all"`}, {Key: "BACKSLASH", Value: `\n\\ \`},
	{Key: "DOLLAR", Value: "$HOME ${PATH} $(id) %n %%"}, {Key: "EMPTY", Value: ""}, {Key: "EQUALS", Value: "=a=b="}, {Key: "UTF8", Value: "größer 漢字 🐧"},
	{Key: "CR", Value: "a\rb\r\n"}, {Key: "NL", Value: "\none \n\n\"two\" 'three' \\ # four\n"}, {Key: "LINE", Value: "x\nlxc.environment = INJECTED=1\n"}, {Key: "a key.with-ä", Value: "1"},
	{Key: "#k", Value: "2"}, {Key: "k\nl", Value: "3"}, {Key: `"q`, Value: `4"`}, {Key: "CONTROL", Value: "\x01\x1b[0m\x7f"}, {Key: "LONG", Value: strings.Repeat("ü \"\n", 512)},
	{Key: "SET", Value: "by the controller"}, {Key: "IMAGE", Value: "not of the image"}, {Key: "LD_PRELOAD", Value: "/absent.so\n"}, {Key: "LD_LIBRARY_PATH", Value: "/absent"},
}

// environOf returns the variables of the program of a container, once it has made the file /tmp/ready.
func (d *device) environOf(key string) map[string]string {
	d.t.Helper()
	d.file(key, "tmp/ready")
	payload, err := oldestChild(d.first(key))
	must(d.t, err)
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", payload))
	must(d.t, err)
	vars := map[string]string{}
	for v := range strings.SplitSeq(strings.TrimSuffix(string(data), "\x00"), "\x00") {
		name, value, _ := strings.Cut(v, "=")
		if _, twice := vars[name]; twice {
			d.t.Errorf("%q is there twice in %q", name, data)
		}
		vars[name] = value
	}
	return vars
}

// restart starts a container that was stopped, or stops it first.
func (d *device) restart(key string) {
	d.t.Helper()
	d.stop(key)
	must(d.t, removeIfThere(d.rootfs(key, "tmp/ready")))
	d.start(key)
}

// limitsOf returns the limits of memory, in bytes, and of time in a tenth of a second, in microseconds, that the control groups of a container keep.
func (d *device) limitsOf(key string) [2]int64 {
	d.t.Helper()
	groups, err := readCgroups("1")
	must(d.t, err)
	own := groups.groupsOf(d.first(key))
	var limits [2]int64
	for i, file := range []string{
		filepath.Join(own[groups.controllers["memory"]], "memory.limit_in_bytes"),
		filepath.Join(own[groups.controllers["cpu"]], "cpu.cfs_quota_us"),
	} {
		data, err := os.ReadFile(file)
		must(d.t, err)
		limits[i], err = strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		must(d.t, err)
	}
	return limits
}

// TestGiven shows that a container has what a controller gave to it, to the last byte, over updates and adapters, and until its end.
func TestGiven(t *testing.T) {
	for name, s := range starters {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, s, map[string]any{"memory": "24MiB", "cpu": "150%"})
			spec := imageSpec{title: "c", version: "1", layers: [][]entry{base(t)}, config: v1Config("/bin/sh", "-c", endless)}
			spec.config.Env = []string{"SET=by the image", "IMAGE=yes\nlxc.hook.start-host = /bin/false"}
			old := archiveOf(t, spec)
			spec.version = "2"
			next := archiveOf(t, spec)
			image := map[string]string{"SET": "by the image", "IMAGE": "yes\nlxc.hook.start-host = /bin/false", "PATH": defaultPath, "HOME": "/root", "container": "lxc"}
			both := maps.Clone(image)
			for _, v := range awkward {
				both[v.Key] = v.Value
			}
			all := int64(processors.Online())
			check := func(when string, want map[string]string, memory, quota int64) {
				t.Helper()
				if diff := cmp.Diff(want, d.environOf("c")); diff != "" {
					t.Errorf("%s: the variables (-want +got):\n%s\nLXC logged:\n%s", when, diff, d.logOf("c"))
				}
				if got, want := d.limitsOf("c"), [2]int64{memory, quota}; got != want {
					t.Errorf("%s: the limits are %v, want %v", when, got, want)
				}
			}
			d.install("c", old)
			d.start("c")
			check("nothing given", image, 24<<20, 150_000)
			first := d.first("c")

			set := func(v []adapter.Variable, l adapter.Limits) {
				t.Helper()
				must(t, d.a.SetUnit(t.Context(), "set", d.ref("c"), adapter.UnitSettings{Variables: v, Limits: l}))
			}
			set(awkward, adapter.Limits{Memory: 16 << 10, CPU: 10})
			check("it runs", image, 24<<20, 150_000)
			if now := d.first("c"); now != first {
				t.Errorf("it was process %d and is %d", first, now)
			}
			d.restart("c")
			check("its next start", both, 16<<20, 10_000*all)

			again := newAdapter(quietLog(), s) // as one that follows after a crash
			defer again.end()
			e := again.newEnv("home", d.env.store.dir, d.env.set)
			d.stop("c")
			must(t, os.Remove(d.rootfs("c", "tmp/ready")), e.start(t.Context(), e.container(d.name("c")), false))
			check("another adapter", both, 16<<20, 10_000*all)

			_, err := d.a.Update(t.Context(), "update", d.ref("c"), packageOf(t, old), packageOf(t, next))
			must(t, err)
			d.start("c")
			check("updated", both, 16<<20, 10_000*all)
			_, err = d.a.Revert(t.Context(), "update", d.ref("c"), packageOf(t, old))
			must(t, err, removeIfThere(d.rootfs("c", "tmp/ready")))
			d.start("c")
			check("reverted", both, 16<<20, 10_000*all)

			set([]adapter.Variable{{Key: "ONE", Value: "1"}}, adapter.Limits{Memory: 1 << 20, CPU: 100})
			d.restart("c")
			one := maps.Clone(image)
			one["ONE"] = "1"
			check("another setting", one, 24<<20, min(150_000, 100_000*all))
			set(nil, adapter.Limits{})
			d.restart("c")
			check("set back", image, 24<<20, 150_000)

			set(awkward, adapter.Limits{CPU: 10})
			_, err = d.a.Uninstall(t.Context(), "uninstall", d.ref("c"))
			must(t, err)
			d.install("c", old)
			d.start("c")
			check("installed anew", image, 24<<20, 150_000)
		})
	}
}

// TestGivenWithoutEnvironment shows that a container can be given settings while its environment is down.
func TestGivenWithoutEnvironment(t *testing.T) {
	d := newDevice(t, sessions{}, nil)
	d.install("c", archiveOf(t, imageSpec{title: "c", version: "1", layers: [][]entry{base(t)}, config: v1Config("/bin/sh", "-c", endless)}))
	must(t, d.a.SetEnabled(t.Context(), "off", "home", false, nil),
		d.a.SetUnit(t.Context(), "set", d.ref("c"), adapter.UnitSettings{Variables: []adapter.Variable{{Key: "A", Value: "b"}}}),
		d.a.SetEnabled(t.Context(), "on", "home", true, nil))
	d.start("c")
	if got := d.environOf("c"); got["A"] != "b" {
		t.Errorf("its variables are %q", got)
	}
}

// TestGivenRefused shows what cannot be given, and that nothing is changed then.
func TestGivenRefused(t *testing.T) {
	d := newDevice(t, sessions{}, nil)
	d.install("c", archiveOf(t, imageSpec{title: "c", version: "1", layers: [][]entry{base(t)}, config: v1Config("/bin/sh")}))
	must(t, d.a.SetUnit(t.Context(), "set", d.ref("c"), adapter.UnitSettings{Variables: []adapter.Variable{{Key: "A", Value: "b"}}, Limits: adapter.Limits{Memory: 2048}}))
	want := given{Format: format, Variables: []variable{{"A", "b"}}, Memory: 2048}
	v := func(pairs ...string) adapter.UnitSettings {
		var s adapter.UnitSettings
		for i := 0; i < len(pairs); i += 2 {
			s.Variables = append(s.Variables, adapter.Variable{Key: pairs[i], Value: pairs[i+1]})
		}
		return s
	}
	l := func(l adapter.Limits) adapter.UnitSettings { return adapter.UnitSettings{Limits: l} }
	for _, c := range []struct {
		s      adapter.UnitSettings
		reason adapter.Reason
		says   string
	}{
		{v("A", "1", "B", "2", "A", "3"), adapter.InvalidArgument, `"A"`},
		{v("", "1"), adapter.InvalidArgument, `""`},
		{v("a=b", "1"), adapter.InvalidArgument, `"a=b"`},
		{v("a\x00", "1"), adapter.InvalidArgument, `a\x00`},
		{v("a\xff", "1"), adapter.InvalidArgument, `a\xff`},
		{v("NUL", "1\x00"), adapter.InvalidArgument, `"NUL"`},
		{v("LATIN", "gr\xf6\xdfer"), adapter.InvalidArgument, `"LATIN"`},
		{l(adapter.Limits{Memory: -1}), adapter.InvalidArgument, "-1 KiB"},
		{l(adapter.Limits{Memory: math.MaxInt64}), adapter.InvalidArgument, "memory"},
		{l(adapter.Limits{CPU: -1}), adapter.InvalidArgument, "-1 %"},
		{l(adapter.Limits{CPU: 101}), adapter.InvalidArgument, "101 %"},
		{l(adapter.Limits{Disk: 1024, Memory: 4096}), adapter.NotSupported, "disk space"},
		{adapter.UnitSettings{Volumes: []adapter.Volume{{Source: "/a", Path: "/proc/x"}}}, adapter.InvalidArgument, `"/proc/x"`},
		{adapter.UnitSettings{Volumes: []adapter.Volume{{Source: "a", Path: "/x"}}}, adapter.InvalidArgument, `"a"`},
	} {
		err := d.a.SetUnit(t.Context(), "op", d.ref("c"), c.s)
		reasonIs(t, err, c.reason)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v; it does not say %s", c.s, err, c.says)
		}
		if got, err := d.env.store.readGiven(d.name("c")); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%+v: kept is %+v: %v", c.s, got, err)
		}
	}
	reasonIs(t, d.a.SetUnit(t.Context(), "op", d.ref("absent"), v("A", "1")), adapter.NotFound)
	foreign := d.env.store.at("foreign")
	must(t, os.Mkdir(foreign, 0o755), os.WriteFile(filepath.Join(foreign, configName), nil, 0o644))
	reasonIs(t, d.a.SetUnit(t.Context(), "op", d.ref("foreign"), v("A", "1")), adapter.NotSupported)

	must(t, os.WriteFile(d.env.store.at(d.name("c"), givenName), []byte(`{"format": 2}`), 0o644))
	if err := d.a.Start(t.Context(), "op", d.moduleOf("c"), adapter.StartOptions{}); err == nil || !strings.Contains(err.Error(), "newer than 1") {
		t.Errorf("a start with what is of a newer format: %v", err)
	}
}

// TestGivenLimitNotKept shows that a limit is refused which the device cannot keep.
func TestGivenLimitNotKept(t *testing.T) {
	d := newDevice(t, sessions{}, nil)
	d.install("c", archiveOf(t, imageSpec{title: "c", version: "1", layers: [][]entry{base(t)}, config: v1Config("/bin/sh")}))
	groups, err := readCgroups("self")
	must(t, err)
	// A process that sees one of the controllers read-only, as who starts containers may.
	view := exec.CommandContext(t.Context(), "unshare", "-m", "--propagation", "private", "sh", "-c", `mount -o remount,bind,ro "$0" && echo ready && read -r end`,
		groups.controllers["memory"])
	in, err := view.StdinPipe()
	must(t, err)
	out, err := view.StdoutPipe()
	must(t, err, view.Start())
	defer func() { must(t, in.Close()); _ = view.Wait() }() // it ends with an error at the end of its input
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the controller cannot be made read-only: %v", err)
	}
	d.env.cgroupView = strconv.Itoa(view.Process.Pid)
	set := func(l adapter.Limits) error {
		return d.a.SetUnit(t.Context(), "op", d.ref("c"), adapter.UnitSettings{Limits: l})
	}
	must(t, set(adapter.Limits{CPU: 50}))
	err = set(adapter.Limits{Memory: 4096, CPU: 20})
	reasonIs(t, err, adapter.NotSupported)
	if err == nil || !strings.Contains(err.Error(), "a limit of memory") {
		t.Errorf("it does not say what is not supported: %v", err)
	}
	if got, err := d.env.store.readGiven(d.name("c")); err != nil || got.CPU != 50 || got.Memory != 0 {
		t.Errorf("kept is %+v: %v", got, err)
	}
}

func TestSmallerLimit(t *testing.T) {
	for _, c := range [][3]int{{0, 0, 0}, {5, 0, 5}, {0, 5, 5}, {3, 5, 3}, {5, 3, 3}} {
		if got := smallerLimit(c[0], c[1]); got != c[2] {
			t.Errorf("of %d and %d it is %d", c[0], c[1], got)
		}
	}
}

// TestVariablesOfImage shows what becomes of the variables of an image.
func TestVariablesOfImage(t *testing.T) {
	got := environment(v1.Config{Env: []string{"A=1", "none", "=x", "B=2\nC=3", "A=4"}}.Env, "")
	if want := []string{"B=2\nC=3", "A=4", "PATH=" + defaultPath, "HOME=/"}; !slices.Equal(got, want) {
		t.Errorf("they are %q, want %q", got, want)
	}
}
