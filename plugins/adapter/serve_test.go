package adapter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-plugin"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// envRole says what the test binary is when it is executed again.
const envRole = "SMMD_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(envRole) {
	case "adapter":
		Serve(&recorder{}, ServeOptions{})
	case "parent":
		beParent()
	default:
		goleak.VerifyTestMain(m)
	}
}

// beParent starts an adapter in the way of a host that knows nothing of SMMD_ADAPTER_WATCH_STDIN, and waits to be killed.
func beParent() {
	child := exec.Command(os.Args[0])
	child.Env = []string{envRole + "=adapter", Handshake.MagicCookieKey + "=" + Handshake.MagicCookieValue, "TMPDIR=" + os.Getenv("TMPDIR")}
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	if err := child.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(child.Process.Pid)
	_ = child.Wait()
}

func TestServeIsNotForPeople(t *testing.T) {
	c := exec.Command(os.Args[0])
	c.Env = []string{envRole + "=adapter"}
	out, err := c.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || len(out) != 0 || !strings.Contains(string(exit.Stderr), "plugin") {
		t.Errorf("printed %q and ended with %v", out, err)
	}
}

// TestServeWithPlainHost uses go-plugin as any host does, for the conformance kit and others that are not the agent.
func TestServeWithPlainHost(t *testing.T) {
	host := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: Handshake, VersionedPlugins: Plugins(nil), AutoMTLS: true,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, Cmd: adapterCommand(),
	})
	defer host.Kill()
	conn, err := host.Client()
	if err != nil {
		t.Fatal(err)
	}
	if v := host.NegotiatedVersion(); v != ContractVersion {
		t.Errorf("version %d", v)
	}
	x, err := conn.Dispense(PluginName)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := x.(*Client).Describe(context.Background()); err != nil || d.Kind != "rec" {
		t.Errorf("Describe: %v, %v", d, err)
	}
}

func adapterCommand() *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = []string{envRole + "=adapter"}
	return c
}

// TestServeEndsWithItsParent kills the parent of an adapter that has nobody at the other end of its stdin.
func TestServeEndsWithItsParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = []string{envRole + "=parent", "TMPDIR=" + t.TempDir()}
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	// The number and the handshake, in either order; then the adapter serves.
	pid, lines := 0, bufio.NewScanner(out)
	for range 2 {
		if lines.Scan() && !strings.HasPrefix(lines.Text(), "1|1|unix|") {
			if _, err := fmt.Sscan(lines.Text(), &pid); err != nil {
				t.Errorf("the adapter printed %q", lines.Text())
			}
		}
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if kerr := parent.Process.Kill(); kerr != nil {
		t.Fatal(kerr)
	}
	if err != nil {
		t.Fatalf("no adapter: %v", err)
	}
	defer func() { _ = unix.Close(fd) }()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 30_000)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 30_000)
	}
	if err != nil || n != 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		t.Errorf("the adapter outlived its parent: %d, %v", n, err)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = parent.Wait() // killed, as it must be
}
