package osgi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func TestAttachSettings(t *testing.T) {
	got, err := parseSettings("home", []byte(`{"attach":true,"socket":"/run/app/s","name":"configured","call_timeout":"2s"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := defaultSettings()
	want.attach, want.socket, want.uuidName, want.callTimeout = true, "/run/app/s", false, 2*time.Second
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(settings{})); diff != "" {
		t.Error(diff)
	}
	for key, value := range map[string]string{"framework": `"/f"`, "host_jar": `"/h"`, "class_path": `[]`, "java": `"java"`, "jvm_options": `[]`, "memory": `"64MiB"`,
		"properties": `{}`, "start_timeout": `"1s"`, "stop_timeout": `"1s"`} {
		_, err := parseSettings("home", fmt.Appendf(nil, `{"attach":true,%q:%s}`, key, value))
		if adapter.ReasonOf(err) != adapter.InvalidArgument || !strings.Contains(err.Error(), "osgi."+key+":") {
			t.Errorf("%s: error %v", key, err)
		}
	}
}

// attached returns an adapter with one attached environment, "home", and the double that is its host.
func attached(t *testing.T) (*osgi, *double) {
	t.Helper()
	dir := t.TempDir()
	d := inProcess(t, dir)
	d.knob(func() { d.attached = true })
	l := shortLimits()
	l.change = 20 * time.Second // packages are sent
	return configured(t, l, dir, map[string]any{"attach": true}), d
}

func TestAttachedIsTold(t *testing.T) {
	dir := t.TempDir()
	o := configured(t, shortLimits(), dir, map[string]any{"attach": true})
	f := watch(t, o)
	first := f.until("down", down)[0].Env
	if !first.Attached || first.Detail != "waiting for the framework: nobody listens on "+filepath.Join(dir, socketName) {
		t.Errorf("%+v", first)
	}
	_, err := o.Install(t.Context(), "op", adapter.InstallSpec{Env: "home", Key: "b", Package: adapter.Package{Path: bundleJar(t, "b", "1")}, RunLevel: -1})
	reasonIs(t, err, adapter.Unavailable)
	if !strings.Contains(err.Error(), "waiting for the framework: nobody listens") {
		t.Error(err)
	}

	d := inProcess(t, dir)
	d.knob(func() { d.attached, d.add("host").System = true, true })
	seen := f.until("the sync", synced)
	if !seen[0].Env.Up || !seen[0].Env.Attached || !seen[1].Unit.System {
		t.Errorf("%s", describe(seen))
	}
	d.knob(func() { d.event(map[string]any{"event": "ending", "message": "the framework is stopping"}) })
	d.close()
	last := f.until("down", func(e adapter.Event) bool { return down(e) && strings.Contains(e.Env.Detail, "nobody listens") })
	if e := last[len(last)-1].Env; !e.Attached || !strings.HasSuffix(e.Detail, "; its last words: the framework is stopping") {
		t.Errorf("%+v", e)
	}
	// What one said that came back since explains nothing.
	d = inProcess(t, dir)
	d.knob(func() { d.attached = true })
	f.until("the sync", synced)
	d.close()
	last = f.until("down", func(e adapter.Event) bool { return down(e) && strings.Contains(e.Env.Detail, "nobody listens") })
	if e := last[len(last)-1].Env; strings.Contains(e.Detail, "last words") {
		t.Errorf("%+v", e)
	}
}

func TestAttachedIsNotOurs(t *testing.T) {
	o, d := attached(t)
	reasonIs(t, o.SetEnabled(t.Context(), "op", "home", true, nil), adapter.NotSupported)
	reasonIs(t, o.SetEnabled(t.Context(), "op", "home", false, nil), adapter.NotSupported)
	reasonIs(t, o.SaveVersion(t.Context(), "home", filepath.Join(t.TempDir(), "saved")), adapter.NotSupported)
	reasonIs(t, o.RestoreVersion(t.Context(), "op", "home", adapter.Package{Path: "/nonexistent"}), adapter.NotSupported)
	if calls := d.called(); len(calls) > 0 {
		t.Errorf("the host was asked for %v", calls)
	}
	// The refusal of the host is what is told.
	d.knob(func() { d.fail["stop"] = &hostError{Reason: "not-supported", Message: "it is the host"} })
	u := ref("host").UnitRef
	p := adapter.Package{Path: bundleJar(t, "b", "1")}
	_, update := o.Update(t.Context(), "op", u, p, p)
	_, uninstall := o.Uninstall(t.Context(), "op", u)
	for _, err := range []error{update, uninstall, o.Stop(t.Context(), "op", ref("host"))} {
		reasonIs(t, err, adapter.NotSupported)
	}
}

func TestAttachedGetsPackagesSent(t *testing.T) {
	o, d := attached(t)
	large := writeJar(t, member{manifestName, "Bundle-ManifestVersion: 2\nBundle-SymbolicName: b\n"}, member{"large", string(noise(3 * uploadChunk / 2))})
	small := bundleJar(t, "b", "2")
	if _, err := o.Install(t.Context(), "op1", adapter.InstallSpec{Env: "home", Key: "b", Package: adapter.Package{Path: large}, RunLevel: -1}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Update(t.Context(), "op2", ref("b").UnitRef, adapter.Package{Path: large}, adapter.Package{Path: small}); err != nil {
		t.Fatal(err)
	}
	d.knob(func() {
		for i, path := range []string{large, small} {
			data, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(data, d.brought[i]) {
				t.Errorf("package %d has %d bytes and arrived as %d: %v", i, len(data), len(d.brought[i]), err)
			}
		}
		d.fail["upload"] = &hostError{Reason: "no-resources", Message: "the disk is full"}
	})
	_, err := o.Install(t.Context(), "op3", adapter.InstallSpec{Env: "home", Key: "c", Package: adapter.Package{Path: small}, RunLevel: -1})
	reasonIs(t, err, adapter.NoResources)
}

// noise is what does not get smaller in an archive.
func noise(n int) []byte {
	out := make([]byte, n)
	for i, x := 0, uint32(1); i < n; i++ {
		x = x*1664525 + 1013904223
		out[i] = byte(x >> 24)
	}
	return out
}

func TestAttachedAndLaunchedAreToldApart(t *testing.T) {
	for _, configure := range []bool{true, false} {
		dir := t.TempDir()
		d := inProcess(t, dir)
		d.knob(func() { d.attached = !configure })
		set := launchable(t, "")
		if configure {
			set = map[string]any{"attach": true}
		}
		o := configured(t, shortLimits(), dir, set)
		seen := watch(t, o).until("down", down)
		if e := seen[0].Env; e.Attached != configure || !strings.Contains(e.Detail, errMode.Error()) || !strings.Contains(e.Detail, fmt.Sprint(os.Getpid())) {
			t.Errorf("%+v", e)
		}
		reasonIs(t, o.Start(t.Context(), "op", ref("b"), adapter.StartOptions{}), adapter.Unavailable)
		reasonIs(t, o.SetEnabled(t.Context(), "op", "home", true, nil), adapter.NotSupported)
		if !configure {
			reasonIs(t, o.SetEnabled(t.Context(), "op", "home", false, nil), adapter.StopFailed)
		}
		if calls := d.called(); len(calls) > 0 {
			t.Errorf("the host was asked for %v", calls)
		}
	}
}

func TestSocketThatCanBeAnybodys(t *testing.T) {
	top := t.TempDir()
	dirs := func(modes ...os.FileMode) string {
		t.Helper()
		dir, err := os.MkdirTemp(top, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, mode := range modes {
			dir = filepath.Join(dir, "d")
			if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	for name, tc := range map[string]struct {
		dir string
		ok  bool
	}{
		"own":                       {dirs(0o700), true},
		"of a group":                {dirs(0o770), true},
		"everybody's":               {dirs(0o777), false},
		"everybody's, sticky":       {dirs(0o777 | os.ModeSticky), false},
		"below everybody's":         {dirs(0o777, 0o700), false},
		"ours below a sticky one":   {dirs(0o777|os.ModeSticky, 0o700), true},
		"far below everybody's":     {dirs(0o777, 0o700, 0o700), false},
		"own with a link to it":     {link(t, dirs(0o700)), true},
		"link to everybody's":       {link(t, dirs(0o777)), false},
		"another's below sticky":    {another(t, dirs(0o777|os.ModeSticky, 0o755)), false},
		"another's below our own":   {another(t, dirs(0o700, 0o755)), true},
		"not there, so not trusted": {filepath.Join(top, "none"), false},

		"link in everybody's":               {linkIn(t, dirs(0o777), dirs(0o700)), false},
		"our link in a sticky one":          {linkIn(t, dirs(0o777|os.ModeSticky), dirs(0o700)), true},
		"another's link in a sticky one":    {another(t, linkIn(t, dirs(0o777|os.ModeSticky), dirs(0o700))), false},
		"below a link in everybody's":       {filepath.Join(linkIn(t, dirs(0o777), filepath.Dir(dirs(0o700))), "d"), false},
		"link to a link in everybody's":     {linkIn(t, dirs(0o700), linkIn(t, dirs(0o777), dirs(0o700))), false},
		"link that leaves everybody's":      {linkIn(t, dirs(0o700), dirs(0o777, 0o700)+"/../.."), false},
		"relative link":                     {linkIn(t, dirs(0o700), ".././d"), true},
		"relative link through everybody's": {linkIn(t, dirs(0o700, 0o777, 0o700), "../../d"), false},
		"link to itself":                    {linkIn(t, dirs(0o700), "link"), false},
	} {
		if tc.dir == "" {
			continue // we cannot make it
		}
		h := &host{set: settings{attach: true, socket: filepath.Join(tc.dir, "s")}}
		if err := h.trusted(); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := dirs(0o777)
	o := configured(t, shortLimits(), t.TempDir(), map[string]any{"attach": true, "socket": filepath.Join(dir, socketName)})
	d := inProcess(t, dir)
	d.knob(func() { d.attached = true })
	if e := watch(t, o).until("down", down)[0].Env; !strings.Contains(e.Detail, "writable by everybody") {
		t.Errorf("%+v", e)
	}
}

func link(t *testing.T, to string) string {
	t.Helper()
	return linkIn(t, t.TempDir(), to)
}

func linkIn(t *testing.T, dir, to string) string {
	t.Helper()
	path := filepath.Join(dir, "link")
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// another gives the file to another user; empty when we may not.
func another(t *testing.T, path string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return ""
	}
	if err := os.Lchown(path, 1, 1); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExportOfAnotherUser(t *testing.T) {
	own := bundleJar(t, "b", "1")
	symlink := link(t, own)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	me := uint32(os.Geteuid())
	for name, tc := range map[string]struct {
		file string
		user uint32
		ok   bool
	}{
		"own":         {own, me, true},
		"another's":   {own, me + 1, false},
		"root's view": {own, 0, true},
		"a link":      {symlink, me, false},
		"a pipe":      {pipe, me, false},
		"a directory": {t.TempDir(), me, false},
		"nothing":     {filepath.Join(t.TempDir(), "none"), me, false},
	} {
		var out bytes.Buffer
		if err := copyOwned(t.Context(), &out, tc.file, tc.user); (err == nil) != tc.ok || tc.ok != (out.Len() > 0) {
			t.Errorf("%s: %v, %d bytes", name, err, out.Len())
		}
	}

	o, d := attached(t)
	out := filepath.Join(t.TempDir(), "out")
	d.knob(func() { d.add("b"); d.stored = exportAnswer{own, "b", "1.0.0"} })
	if err := o.Export(t.Context(), ref("b").UnitRef, out); err != nil {
		t.Fatal(err)
	}
	d.knob(func() { d.stored.Path = symlink })
	reasonIs(t, o.Export(t.Context(), ref("b").UnitRef, out), adapter.Internal)
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file is left: %v", err)
	}
}

// A framework of another user may name a file that has a length and no content.
func TestExportThatIsTooLarge(t *testing.T) {
	sparse := filepath.Join(t.TempDir(), "sparse")
	if err := errors.Join(os.WriteFile(sparse, nil, 0o600), os.Truncate(sparse, maxUnpacked+1)); err != nil {
		t.Fatal(err)
	}
	reasonIs(t, copyOwned(t.Context(), io.Discard, sparse, uint32(os.Geteuid())), adapter.NoResources)
	// One that grows while it is read.
	var got bytes.Buffer
	reasonIs(t, copyAtMost(&got, strings.NewReader("12345"), 4), adapter.NoResources)
	if got.Len() > 5 {
		t.Errorf("%d bytes were written", got.Len())
	}
	got.Reset()
	if err := copyAtMost(&got, strings.NewReader("1234"), 4); err != nil || got.String() != "1234" {
		t.Errorf("%q, %v", &got, err)
	}

	o, d := attached(t)
	d.knob(func() { d.add("b"); d.stored = exportAnswer{sparse, "b", "1.0.0"} })
	out := filepath.Join(t.TempDir(), "out")
	err := o.Export(t.Context(), ref("b").UnitRef, out)
	reasonIs(t, err, adapter.NoResources)
	if err == nil || !strings.Contains(err.Error(), "1024 MiB") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file is left: %v", err)
	}
}

// The time that a package takes to be sent is not the install's, and that it was not sent is no install that goes on.
func TestSendingHasItsOwnTime(t *testing.T) {
	o, d := attached(t)
	e := o.envs["home"]
	e.limits.change = 300 * time.Millisecond
	p := adapter.Package{Path: bundleJar(t, "b", "1")}
	install := func() error {
		_, err := o.Install(t.Context(), "op", adapter.InstallSpec{Env: "home", Key: "b", Package: p, RunLevel: -1})
		return err
	}
	slow := make(chan struct{})
	later := func(method string) {
		d.knob(func() {
			d.on[method] = func(*peer) {
				d.knob(func() { delete(d.on, method) })
				<-slow
			}
		})
	}
	later("upload")
	err := install()
	close(slow)
	reasonIs(t, err, adapter.Unavailable)
	if err == nil || !strings.Contains(err.Error(), "the package could not be sent within 300ms") {
		t.Errorf("error %v", err)
	}
	if calls := d.called(); !slices.Equal(calls, []string{"upload"}) {
		t.Errorf("the host was asked for %v", calls)
	}

	// Both together take longer than one may.
	e.limits.change = time.Second
	wait := func(method string, id int) {
		d.knob(func() {
			d.on[method] = func(p *peer) {
				timer := time.NewTimer(800 * time.Millisecond)
				<-timer.C
				result := any(struct{}{})
				if method == "install" {
					result = bundleAnswer{bundleInfo{ID: 1, Location: "b", State: "INSTALLED"}}
				}
				p.write(map[string]any{"id": id, "result": result})
			}
		})
	}
	wait("upload", 2)
	wait("install", 3)
	if err := install(); err != nil {
		t.Error(err)
	}

	// An install that takes too long goes on.
	e.limits.change = 200 * time.Millisecond
	d.knob(func() { delete(d.on, "upload"); d.on["install"] = func(*peer) {} })
	reasonIs(t, install(), adapter.StillRunning)
}

func TestHelloOfAnOlderHost(t *testing.T) {
	var f frameworkInfo
	if err := json.Unmarshal([]byte(`{"launch":"x"}`), &f); err != nil || f.Attached {
		t.Errorf("%+v, %v", f, err)
	}
}
