package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// What the test binary is when it is executed again.
const (
	envRole = "SMMD_TEST_ROLE"
	envDir  = "SMMD_TEST_DIR" // where the child leaves traces
)

func TestMain(m *testing.M) {
	switch role := os.Getenv(envRole); role {
	case "":
		goleak.VerifyTestMain(m)
	case "agent":
		beAgent()
	case "exit":
		fmt.Fprintln(os.Stderr, "no license found")
		os.Exit(3)
	case "garbage":
		fmt.Println("Hello, I am an adapter!\nand so on")
		waitForEnd()
	case "silent":
		waitForEnd()
	case "heir":
		select {} // holds the pipes that it inherited; the test kills it
	case "flood":
		fmt.Print(strings.Repeat("x", 1<<20))
		waitForEnd()
	case "tcp":
		fmt.Println("1|1|tcp|127.0.0.1:1|grpc|")
		waitForEnd()
	case "version":
		fmt.Println("1|7|unix|/x|grpc|")
		waitForEnd()
	default:
		log := adapter.NewLogger()
		c := &child{role: role, dir: os.Getenv(envDir), log: log}
		adapter.Serve(c, adapter.ServeOptions{})
		c.once("served")
	}
}

// waitForEnd waits until the agent is gone.
func waitForEnd() { _, _ = io.Copy(io.Discard, os.Stdin) }

// child is the adapter that runs in the child process. What a call does depends on the module that it is for.
type child struct {
	role string
	dir  string
	log  *slog.Logger
	envs []adapter.EnvConfig
}

func (c *child) Describe(context.Context) (adapter.Description, error) {
	return adapter.Description{Kind: "test", Version: "1.0", Capabilities: []adapter.Capability{adapter.CapRunLevels}}, nil
}

func (c *child) Configure(_ context.Context, envs []adapter.EnvConfig) error {
	c.envs = envs
	if c.role == "misconfigured" {
		return adapter.Errorf(adapter.InvalidArgument, "environment e1: cannot use setting color")
	}
	return nil
}

func (c *child) Watch(ctx context.Context) (<-chan adapter.Event, error) {
	events := make(chan adapter.Event, 2*len(c.envs))
	for _, e := range c.envs {
		events <- adapter.Event{Kind: adapter.EventEnv, EnvID: e.ID, Env: &adapter.Env{ID: e.ID, Up: true, Launch: fmt.Sprint(os.Getpid())}}
		events <- adapter.Event{Kind: adapter.EventSynced, EnvID: e.ID}
	}
	if c.role == "watch-ends" {
		close(events)
		return events, nil
	}
	context.AfterFunc(ctx, func() { close(events) })
	return events, nil
}

// once reports whether nobody has asked for name before, in any process.
func (c *child) once(name string) bool {
	f, err := os.OpenFile(filepath.Join(c.dir, name), os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

func (c *child) Start(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, _ adapter.StartOptions) error {
	f, err := os.OpenFile(filepath.Join(c.dir, "starts"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s\n", op, m.Module)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	switch m.Module {
	case "crash-once":
		if c.once("crashed") {
			os.Exit(4)
		}
	case "leave-heir":
		if c.once("heir") {
			heir := exec.Command(os.Args[0])
			heir.Env = []string{envRole + "=heir"}
			// Those that the process was started with; go-plugin has put others in their place.
			heir.Stdout, heir.Stderr = os.NewFile(1, "stdout"), os.NewFile(2, "stderr")
			if err := heir.Start(); err != nil {
				return err
			}
			pid := []byte(fmt.Sprint(heir.Process.Pid))
			if err := os.WriteFile(filepath.Join(c.dir, "heir"), pid, 0o600); err != nil {
				return err
			}
			os.Exit(5)
		}
	case "crash":
		panic("out of luck")
	case "hang":
		<-ctx.Done()
		return ctx.Err()
	case "stuck":
		select {}
	case "freeze-once":
		if c.once("frozen") {
			return syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		}
	case "environment":
		return &adapter.Error{Reason: adapter.BadState, Message: "m", Cause: strings.Join(os.Environ(), "\n")}
	case "talk":
		c.log.Warn("structured", "du", "d1", "n", 7, "list", []int{1, 2}, "adapter", "liar")
		c.log.Debug("too small")
		fmt.Fprintln(os.Stderr, "over the connection")
		fmt.Println("on stdout")
	}
	return nil
}

func (c *child) Inspect(context.Context, string, adapter.Package) (adapter.Manifest, error) {
	return adapter.Manifest{Name: "inspected"}, nil
}

func (c *child) Install(_ context.Context, _ adapter.OpID, spec adapter.InstallSpec) (adapter.Unit, error) {
	return adapter.Unit{Env: spec.Env, Key: spec.Key}, nil
}

func (c *child) Update(_ context.Context, _ adapter.OpID, u adapter.UnitRef, _, _ adapter.Package) (adapter.Unit, error) {
	return adapter.Unit{Env: u.Env, Key: "updated"}, nil
}

func (c *child) Revert(_ context.Context, _ adapter.OpID, u adapter.UnitRef, _ adapter.Package) (adapter.Unit, error) {
	return adapter.Unit{Env: u.Env, Key: "reverted"}, nil
}

func (c *child) Discard(context.Context, adapter.OpID, adapter.UnitRef) error {
	return adapter.Errorf(adapter.NotFound, "Discard")
}

func (c *child) Uninstall(context.Context, adapter.OpID, adapter.UnitRef) (adapter.UninstallResult, error) {
	return adapter.UninstallResult{Pending: true}, nil
}

func (c *child) Stop(context.Context, adapter.OpID, adapter.ModuleRef) error {
	return adapter.Errorf(adapter.StopFailed, "Stop")
}

func (c *child) SetEnabled(context.Context, adapter.OpID, string, bool, []adapter.ModuleSetting) error {
	return adapter.Errorf(adapter.Unavailable, "SetEnabled") // a plain answer, not a lost connection
}

func (c *child) SetRunLevel(context.Context, adapter.OpID, string, int) error {
	return adapter.Errorf(adapter.StillRunning, "SetRunLevel")
}

func (c *child) SetInitialModuleRunLevel(context.Context, adapter.OpID, string, int) error {
	return nil
}

func (c *child) SetModuleRunLevel(context.Context, adapter.OpID, adapter.ModuleRef, int) error {
	return nil
}

// beAgent is the parent that gets killed: it prints the process number of its adapter.
func beAgent() {
	ready := make(chan adapter.Description, 1)
	s := New(Options{
		Name: "orphan", Command: []string{os.Args[0]}, RuntimeDir: os.Getenv(envDir), Env: []string{envRole + "=good"},
		Envs: []adapter.EnvConfig{{ID: "e1"}}, Handler: readyOnly{ready},
	})
	go func() {
		<-ready
		fmt.Println(s.waitPID())
	}()
	_ = s.Run(context.Background())
}

// waitPID waits for a running process and returns its number.
func (s *Supervisor) waitPID() int {
	if _, err := s.Describe(context.Background()); err != nil {
		return 0
	}
	return s.Info().PID
}

type readyOnly struct{ ready chan adapter.Description }

func (readyOnly) AdapterEvent(string, adapter.Event)             {}
func (readyOnly) AdapterLost(string, error)                      {}
func (r readyOnly) AdapterReady(_ string, d adapter.Description) { r.ready <- d }
