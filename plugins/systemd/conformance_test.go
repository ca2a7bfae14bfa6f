package systemd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/adaptertest"
	"github.com/smmd-project/smmd/plugins/processors"
	"github.com/smmd-project/smmd/test/machine"
	"github.com/smmd-project/smmd/test/support"
)

// oneNamespace is why a case with the same package in two environments cannot pass.
const oneNamespace = "the names of units are those of the whole device: one package cannot be in two environments"

// firmware makes a unit of the device itself for each environment.
func firmware(t testing.TB) {
	t.Helper()
	for _, env := range []string{"one", "two"} {
		text := "[Unit]\nDescription=Firmware " + env + "\n[Service]\nExecStart=/bin/busybox sleep 100000\n"
		if err := os.WriteFile("/etc/systemd/system/firmware-"+env+".service", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	systemctl(t, "daemon-reload")
}

// systemctl runs systemctl, which has to succeed, and returns what it prints.
func systemctl(t adaptertest.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// clearDevice takes everything of the device dir out of the machine.
func clearDevice(t adaptertest.TB, dir string) {
	t.Helper()
	for _, env := range []string{"one", "two"} {
		s := newAdapter(quietLog(), defaultLimits())
		if err := s.Configure(context.Background(), kitEnvs(t, dir)); err != nil {
			t.Fatalf("%v", err)
		}
		e := s.envs[env]
		err := e.shutDown(context.Background())
		l, linkErr := e.link(context.Background())
		if err = errors.Join(err, linkErr); err == nil {
			var records []*record
			records, err = e.store.all()
			for _, r := range records {
				r.State = removing
				err = errors.Join(err, e.erase(context.Background(), l, r))
			}
		}
		if err != nil {
			t.Errorf("cannot clear the machine: %v", err)
		}
		kill(t, s)
	}
	if err := os.RemoveAll(releaseDir); err != nil {
		t.Errorf("cannot clear the machine: %v", err)
	}
}

// kill ends an adapter in this process: what it does fails from now on, whatever step it is at.
func kill(t adaptertest.TB, s *systemd) {
	t.Helper()
	s.mu.Lock()
	envs := s.envs
	s.mu.Unlock()
	for _, e := range envs {
		e.dialing.Lock() // go-systemd never ends the goroutines of a connection that is lost while it is being made
	}
	s.end()
	for _, e := range envs {
		e.dialing.Unlock()
	}
	for _, e := range envs {
		for {
			e.keys.mu.Lock()
			var busy <-chan struct{}
			for _, c := range e.keys.held {
				busy = c
			}
			e.keys.mu.Unlock()
			if busy == nil {
				break
			}
			<-busy
		}
		e.mu.Lock()
		if e.conn != nil {
			e.conn.close()
		}
		e.mu.Unlock()
	}
}

func kitEnvs(t adaptertest.TB, dir string) []adapter.EnvConfig {
	var envs []adapter.EnvConfig
	for _, env := range []string{"one", "two"} {
		raw, err := json.Marshal(map[string]any{"units": []string{"firmware-" + env + ".service"}, "memory": "64MiB", "call_timeout": "20s", "stop_timeout": "1s"})
		if err != nil {
			t.Fatalf("cannot encode the settings: %v", err)
		}
		data := filepath.Join(dir, env)
		if err := os.MkdirAll(data, 0o700); err != nil {
			t.Fatalf("cannot make the data directory: %v", err)
		}
		envs = append(envs, adapter.EnvConfig{ID: env, DataDir: data, Settings: raw})
	}
	return envs
}

// limited is an environment with another limit.
func limited(t adaptertest.TB, c adapter.EnvConfig, l adapter.Constraints) (adapter.EnvConfig, bool) {
	var set map[string]any
	if err := json.Unmarshal(c.Settings, &set); err != nil {
		t.Fatalf("cannot read the settings: %v", err)
	}
	switch {
	case l.Memory != nil:
		set["memory"] = fmt.Sprintf("%dKiB", *l.Memory)
	case l.CPU != nil:
		set["cpu"] = fmt.Sprintf("%d%%", *l.CPU*processors.Online())
	default:
		return c, false
	}
	raw, err := json.Marshal(set)
	if err != nil {
		t.Fatalf("cannot encode the settings: %v", err)
	}
	c.Settings = raw
	return c, true
}

// left are the traces of deployment units of an environment.
func left(t adaptertest.TB, dir, env string) []string {
	var out []string
	add := func(pattern string) {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatalf("%v", err)
		}
		out = append(out, found...)
	}
	for _, d := range append(attachedDirs, "/run/portables", "/etc/portables", runtimeDir, "/var/lib/private", filepath.Join(dir, env, "images"), filepath.Join(dir, env, "units")) {
		add(filepath.Join(d, "*"))
	}
	add("/var/lib/kit*")
	for line := range strings.Lines(systemctl(t, "list-units", "--all", "--no-legend", "--plain", "kit*")) {
		out = append(out, "unit "+strings.TrimSpace(line))
	}
	return out
}

// kitHarness drives adapters in a machine.
func kitHarness(t *testing.T) adaptertest.Harness {
	machine.RequireInside(t)
	firmware(t)
	return adaptertest.Harness{
		Kind:         Kind,
		Environments: kitEnvs,
		Packages:     kitPackages(t),
		Lose:         func(t adaptertest.TB, _, env string) { systemctl(t, "stop", sliceOf(env)) },
		SkipSystem:   "no unit is the environment itself",
		Permanent: func(t adaptertest.TB, _, env string) string {
			return "firmware-" + env + ".service"
		},
		Left:         left,
		SkipVersions: "the service manager is the device's own",
		Limited:      limited,
		Skip: map[string]string{
			"Calls/two environments at the same time":              oneNamespace,
			"Watch/lost environment is Env down, the others go on": oneNamespace,
		},
	}
}

// prepareDevice makes what the units that hang see, and has it cleared with the test.
func prepareDevice(t adaptertest.TB, dir string) {
	err := os.Mkdir(releaseDir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return // of an earlier adapter on the device
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { clearDevice(t, dir) })
}

// share leaves to each of the two tests every second case in the short form.
func share(h adaptertest.Harness, i int) adaptertest.Harness {
	if !support.Long() {
		maps.Copy(h.Skip, adaptertest.Share(i, 2, "the other test of the kit shows it, and in the long form this one too"))
	}
	return h
}

func TestConformance(t *testing.T) {
	h := share(kitHarness(t), 0)
	h.Open = func(t adaptertest.TB, dir string) (adapter.Adapter, func()) {
		prepareDevice(t, dir)
		s := newAdapter(quietLog(), defaultLimits())
		return s, sync.OnceFunc(func() { kill(t, s) })
	}
	adaptertest.Run(t, h)
}

// TestConformanceExecutable runs the kit against processes that are killed with SIGKILL.
func TestConformanceExecutable(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts some hundred processes")
	}
	h := share(kitHarness(t), 1)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A killed process leaves its socket behind. The path of t.TempDir is too long for one.
	sockets, err := os.MkdirTemp("", "systemd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(sockets); err != nil {
			t.Error(err)
		}
	})
	h.Open = func(t adaptertest.TB, dir string) (adapter.Adapter, func()) {
		prepareDevice(t, dir)
		cmd := exec.Command(exe)
		cmd.Env = []string{serveAdapter + "=1", plugin.EnvUnixSocketDir + "=" + sockets, "PATH=" + os.Getenv("PATH")}
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
	adaptertest.Run(t, h)
}
