package lxc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/adaptertest"
	"github.com/smmd-project/smmd/test/machine"
)

// quietLog is a log that nobody reads, and that insists on errors that are some.
func quietLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == "err" && a.Value.Any() == nil {
			panic("an error is logged where there is none")
		}
		return a
	}}))
}

// killable is an adapter whose process can be killed: its calls and its watch end as if it were gone.
type killable struct {
	*lxc
	dead context.Context
}

func (k *killable) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(k.dead, cancel)
	return ctx, func() { stop(); cancel() }
}

func (k *killable) Watch(ctx context.Context) (<-chan adapter.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(k.dead, cancel)
	return k.lxc.Watch(ctx)
}

func (k *killable) Inspect(ctx context.Context, env string, p adapter.Package) (adapter.Manifest, error) {
	ctx, end := k.bound(ctx)
	defer end()
	return k.lxc.Inspect(ctx, env, p)
}

func (k *killable) Install(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
	ctx, end := k.bound(ctx)
	defer end()
	return k.lxc.Install(ctx, op, s)
}

func (k *killable) Update(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
	ctx, end := k.bound(ctx)
	defer end()
	return k.lxc.Update(ctx, op, u, old, next)
}

func (k *killable) Revert(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old adapter.Package) (adapter.Unit, error) {
	ctx, end := k.bound(ctx)
	defer end()
	return k.lxc.Revert(ctx, op, u, old)
}

func (k *killable) Discard(ctx context.Context, op adapter.OpID, u adapter.UnitRef) error {
	ctx, end := k.bound(ctx)
	defer end()
	return k.lxc.Discard(ctx, op, u)
}

func (k *killable) Uninstall(ctx context.Context, op adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
	ctx, end := k.bound(ctx)
	defer end()
	return k.lxc.Uninstall(ctx, op, u)
}

func (k *killable) Start(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
	ctx, end := k.bound(ctx)
	defer end()
	return k.lxc.Start(ctx, op, m, o)
}

func (k *killable) Stop(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
	ctx, end := k.bound(ctx)
	defer end()
	return k.lxc.Stop(ctx, op, m)
}

func (k *killable) SetUnit(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
	ctx, end := k.bound(ctx)
	defer end()
	return k.lxc.SetUnit(ctx, op, u, s)
}

func (k *killable) SetEnabled(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
	ctx, end := k.bound(ctx)
	defer end()
	return k.lxc.SetEnabled(ctx, op, env, on, first)
}

// openHere makes an adapter in this process. To kill it means to end what goes on in it.
func openHere(s starter) func(t adaptertest.TB, dir string) (adapter.Adapter, func()) {
	return func(t adaptertest.TB, dir string) (adapter.Adapter, func()) {
		a := newAdapter(quietLog(), s)
		dead, kill := context.WithCancel(context.Background())
		return &killable{a, dead}, func() {
			kill()
			a.end()
			a.tasks.end()
			a.mu.Lock()
			over := a.watchOver
			a.mu.Unlock()
			if over != nil {
				<-over
			}
		}
	}
}

// openExecutable starts an adapter in a process of its own, which is killed by SIGKILL.
func openExecutable(t adaptertest.TB, _ string) (adapter.Adapter, func()) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatalf("%v", err)
	}
	sockets, err := os.MkdirTemp("", "lxc-") // the path of t.TempDir is too long for a socket
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(sockets); err != nil {
			t.Errorf("%v", err)
		}
	})
	cmd := exec.Command(exe)
	cmd.Env = []string{serveVar + "=1", plugin.EnvUnixSocketDir + "=" + sockets, "PATH=" + os.Getenv("PATH")}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  adapter.Handshake,
		VersionedPlugins: adapter.Plugins(nil),
		Cmd:              cmd,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		SkipHostEnv:      true,
		Logger:           hclog.NewNullLogger(),
	})
	protocol, err := client.Client()
	if err != nil {
		client.Kill()
		t.Fatalf("cannot start the executable: %v", err)
	}
	a, err := protocol.Dispense(adapter.PluginName)
	if err != nil {
		client.Kill()
		t.Fatalf("cannot reach the executable: %v", err)
	}
	return a.(adapter.Adapter), sync.OnceFunc(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Errorf("cannot kill the executable: %v", err)
		}
		client.Kill()
	})
}

// kitEnvs returns the environments of the devices of a run of the kit. Two runs at a time have different ones: control groups and units know containers by their
// names.
func kitEnvs(run string) []string { return []string{run + "-one", run + "-two"} }

// clearDevice ends all containers of a device when the case is over.
func clearDevice(t adaptertest.TB, run, dir string) {
	t.Cleanup(func() {
		for _, env := range kitEnvs(run) {
			clearStore(t, store{env: env, dir: filepath.Join(dir, env)})
		}
	})
}

// clearStore ends all containers of a store.
func clearStore(t interface{ Errorf(string, ...any) }, s store) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tools := tools{path: s.lxcPath()}
	names, err := s.list()
	if err != nil {
		t.Errorf("%v", err)
	}
	for _, name := range names {
		r, err := s.readRun(name)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		limit := noteTime // one that has just ended is noted in a moment, if anybody is there to do it
		state, _, err := tools.info(ctx, name)
		runs := err == nil && state != stopped
		if runs {
			limit = time.Minute
			if err := tools.kill(ctx, name); err != nil {
				t.Errorf("%v", err)
			}
		}
		for end := time.Now().Add(limit); r.Token != "" && !s.readEnd(name, r.Token).known; { // then nobody writes to the directory any more
			if time.Now().After(end) {
				if runs {
					t.Errorf("container %s does not end", name)
				}
				break
			}
			<-time.After(poll)
		}
	}
}

// touch makes a file in the root file system of each container of a device that f chooses.
func touch(t adaptertest.TB, run, dir, file string, chosen func(name string) bool) {
	found := false
	for _, env := range kitEnvs(run) {
		s := store{env: env, dir: filepath.Join(dir, env)}
		names, err := s.list()
		if err != nil {
			t.Fatalf("%v", err)
		}
		for _, name := range names {
			if !chosen(name) {
				continue
			}
			rec, err := s.record(name)
			if err != nil {
				t.Fatalf("%v", err)
			}
			found = true
			if err := os.WriteFile(filepath.Join(s.generationDir(name, rec.Current), rootfsName, file), nil, 0o644); err != nil {
				t.Fatalf("%v", err)
			}
		}
	}
	if !found {
		t.Fatalf("there is no container to make %s in", file)
	}
}

func kitPackages(t *testing.T, run string) adaptertest.Packages {
	t.Helper()
	dir := t.TempDir()
	file := func(name string, data []byte) adaptertest.Package {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return adaptertest.Package{Path: path}
	}
	mode := func(mode string) adaptertest.Package { return file(mode, scriptImage(t, mode, "1.0.0", mode)) }
	ends := func(name string) adaptertest.Package {
		p := mode(name)
		p.End = func(t adaptertest.TB, dir string, m adapter.ModuleRef) {
			touch(t, run, dir, "end", func(name string) bool { return strings.HasSuffix(name, m.Key) })
		}
		return p
	}
	v1 := scriptImage(t, "sample", "1.0.0", "ends")
	failsStart, failsStop, exits, hangsStop := mode("fails-start"), mode("fails-stop"), ends("exits"), mode("hangs-stop")
	failsStart.Message, failsStop.Message = "boom on purpose", "stuck on purpose"
	exits.Message, exits.ExitCode = "tired on purpose", 7
	hangsStop.Release = func(t adaptertest.TB, dir string) { touch(t, run, dir, "release", func(string) bool { return true }) }
	one := adaptertest.Package{Skip: "a container is one execution unit"}
	restarts := adaptertest.Package{Skip: "nobody but the agent starts a container again"}
	return adaptertest.Packages{
		V1: file("v1", v1), V2: file("v2", scriptImage(t, "sample", "2.0.0", "ends")), Other: file("other", scriptImage(t, "other", "1.0.0", "ends")),
		Corrupt:        file("corrupt", v1[:len(v1)/2]),
		Foreign:        file("foreign", []byte("PK\x03\x04 this is a zip file")),
		FailsInstall:   file("fails-install", hostileImage(t)),
		FailsUninstall: adaptertest.Package{Skip: "a container can always be removed"},
		FailsStart:     failsStart, FailsStop: failsStop, HangsStop: hangsStop,
		HangsStart: adaptertest.Package{Skip: "a container has started when its program runs"},
		Inert:      adaptertest.Package{Skip: "every container can be started"},
		Unresolved: adaptertest.Package{Skip: "a container has no requirements outside of it"},
		Unstartable: adaptertest.Package{Path: file("unstartable", archiveOf(t, imageSpec{title: "unstartable", version: "1", layers: [][]entry{base(t)},
			config: v1Config("/bin/absent")})).Path, Message: `"/bin/absent"`},
		IgnoresStop: mode("ignores-stop"),
		TooLarge: file("too-large", archiveOf(t, imageSpec{title: "large", version: "1", layers: [][]entry{base(t),
			{{name: "zeros", content: strings.Repeat("\x00", 24<<20)}}}, config: v1Config("/bin/sh")})),
		Several: one, SeveralNext: one, FailsOne: one,
		Ends: ends("ends"), Exits: exits, Dies: ends("dies"), Restarts: restarts, RestartsLater: restarts,
		Completes: mode("completes"), Greedy: ends("greedy"),
	}
}

func kit(t *testing.T, run string, open func(adaptertest.TB, string) (adapter.Adapter, func())) adaptertest.Harness {
	t.Helper()
	machine.RequireInside(t)
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	return adaptertest.Harness{
		Kind: Kind,
		Open: func(t adaptertest.TB, dir string) (adapter.Adapter, func()) {
			clearDevice(t, run, dir)
			return open(t, dir)
		},
		Environments: func(t adaptertest.TB, dir string) []adapter.EnvConfig {
			var envs []adapter.EnvConfig
			settle := "100ms"
			// On a busy device a program may need some time to fail, and nobody waits for one that has; or to say what is to be done when it is stopped.
			switch name := t.Name(); {
			case strings.Contains(name, "/Start/failure"):
				settle = "20s"
			case strings.Contains(name, "unclean"), strings.Contains(name, "stopping_module"), strings.Contains(name, "ignores"), strings.Contains(name, "hangs"):
				settle = "1s"
			}
			for _, env := range kitEnvs(run) {
				data := filepath.Join(dir, env)
				if err := os.MkdirAll(data, 0o700); err != nil {
					t.Fatalf("%v", err)
				}
				envs = append(envs, adapter.EnvConfig{ID: env, DataDir: data, Settings: []byte(
					`{"memory": "48MiB", "processes": 50, "max_unpacked": "16MiB", "settle": "` + settle + `", "stop_timeout": "3s"}`)})
			}
			return envs
		},
		Packages: kitPackages(t, run),
		Lose: func(t adaptertest.TB, dir, env string) {
			if err := os.Remove(filepath.Join(dir, env, launchName)); err != nil {
				t.Fatalf("%v", err)
			}
		},
		SkipSystem:    "an environment of containers has none that belongs to it",
		SkipPermanent: "containers of the firmware are no units",
		Left:          left,
		Environ:       environ,
		SkipVersions:  "an environment of containers runs from no files",
		Timeout:       time.Minute,
	}
}

// left lists what containers of an environment have left, wherever that may be.
func left(t adaptertest.TB, dir, env string) []string {
	var all []string
	data := filepath.Join(dir, env)
	err := filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // it goes while it is listed
		}
		all = append(all, path)
		return err
	})
	if err != nil {
		t.Errorf("%v", err)
	}
	groups, err := readCgroups("self")
	if err != nil {
		t.Fatalf("%v", err)
	}
	for _, root := range groups.roots() {
		found, err := filepath.Glob(filepath.Join(root, "lxc.*."+env+".*"))
		if err != nil {
			t.Fatalf("%v", err)
		}
		all = append(all, found...)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatalf("%v", err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, data) {
			all = append(all, "mount "+line)
		}
	}
	units, err := exec.Command("systemctl", "list-units", "--all", "--plain", "--no-legend", unitName(env+".*")).Output()
	if err != nil {
		t.Fatalf("%v", err)
	}
	for line := range strings.Lines(string(units)) {
		all = append(all, "unit "+line)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatalf("%v", err)
	}
	for _, c := range commands {
		// lxc-monitor and its server belong to the environment, and lxc-info is a look at a container that is over in a moment.
		line, err := os.ReadFile(c)
		if err == nil && strings.Contains(string(line), data) && !strings.Contains(string(line), "lxc-monitor") && !strings.HasPrefix(string(line), "lxc-info\x00") {
			all = append(all, fmt.Sprintf("process %q", line))
		}
	}
	slices.Sort(all)
	return all
}

// environ returns the variables of the program of a container. Its first process, the init of LXC, shows those that lxc-execute was started with.
func environ(t adaptertest.TB, dir string, m adapter.ModuleRef, _ []int) map[string]string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s := store{env: m.Env, dir: filepath.Join(dir, m.Env)}
	for {
		data := []byte(nil)
		_, first, err := tools{path: s.lxcPath()}.info(ctx, s.nameFor(m.Key))
		if err == nil && first > 0 {
			var payload int
			if payload, err = oldestChild(first); err == nil {
				data, err = os.ReadFile(fmt.Sprintf("/proc/%d/environ", payload))
			}
		}
		if len(data) > 0 {
			vars := map[string]string{}
			for v := range strings.SplitSeq(strings.TrimSuffix(string(data), "\x00"), "\x00") {
				name, value, _ := strings.Cut(v, "=")
				vars[name] = value
			}
			return vars
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the variables of module %s in %s cannot be seen: %v", m.Module, m.Key, err)
		case <-time.After(poll):
		}
	}
}

// TestConformance runs the kit in this process, with containers in sessions of their own as on a device without systemd.
func TestConformance(t *testing.T) {
	t.Parallel() // with the other one: both wait most of the time
	adaptertest.Run(t, kit(t, "session", openHere(sessions{})))
}

// TestConformanceExecutable runs the kit against processes that are killed with SIGKILL, with containers as units of systemd.
func TestConformanceExecutable(t *testing.T) {
	t.Parallel()
	adaptertest.Run(t, kit(t, "unit", openExecutable))
}
