package fake_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/adapterpb"
	"github.com/smmd-project/smmd/plugins/adapter/adaptertest"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// worldDir, in the environment, turns the test executable into an adapter executable.
const worldDir = "FAKE_ADAPTER_WORLD"

// served is what the executable is: an adapter on a stored World.
var served = everything

func serve(dir string) {
	served.Dir = dir
	w, err := fake.Open(served)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	adapter.Serve(fake.New(w), adapter.ServeOptions{})
}

// TestConformanceWire runs the kit over gRPC inside the process.
func TestConformanceWire(t *testing.T) {
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			w := &worlds{opts: o}
			h := inProcess(t, w)
			h.Open = func(t adaptertest.TB, dir string) (adapter.Adapter, func()) {
				return overWire(t, fake.New(w.world(t, dir)))
			}
			adaptertest.Run(t, h)
		})
	}
}

// overWire puts a connection in memory before an adapter.
func overWire(t adaptertest.TB, a *fake.Adapter) (adapter.Adapter, func()) {
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer()
	adapterpb.RegisterAdapterServer(server, adapter.NewServer(a))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:memory",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return adapter.NewClient(conn), sync.OnceFunc(func() {
		server.Stop()
		a.Kill()
		if err := conn.Close(); err != nil {
			t.Errorf("%v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("%v", err)
		}
	})
}

// TestConformanceExecutable runs the kit against processes that are killed with SIGKILL.
func TestConformanceExecutable(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts some hundred processes")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A killed process leaves its socket behind. The path of t.TempDir is too long for one.
	sockets, err := os.MkdirTemp("", "fake-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(sockets); err != nil {
			t.Error(err)
		}
	})
	h := inProcess(t, &worlds{opts: served})
	h.Lose, h.SkipLose = nil, "the console is in the process of the adapter"
	h.System, h.SkipSystem = nil, "the console is in the process of the adapter"
	h.Left, h.SkipLeft = nil, "the console is in the process of the adapter"
	h.Permanent, h.SkipPermanent = nil, "the console is in the process of the adapter"
	h.Versions, h.SkipVersions = nil, "the console is in the process of the adapter"
	h.Packages, h.Environ, h.Volume = packages(t, releaseStored, nil), environStored, volumeStored
	h.Open = func(t adaptertest.TB, dir string) (adapter.Adapter, func()) {
		cmd := exec.Command(exe)
		cmd.Env = []string{worldDir + "=" + stored(t, dir), plugin.EnvUnixSocketDir + "=" + sockets}
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
