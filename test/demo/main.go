// Command demo is what "make run" shows. Where a disposable machine can be booted it is a device with a Felix framework, portable services and
// containers (device.go), elsewhere an agent on a private bus with one Felix framework: something is installed, started and shown. Then it stays up for
// a second terminal. When it ends, by Ctrl-C or SIGTERM, it ends everything that it started.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/smmd-project/smmd/test/machine"
)

func main() {
	dir := flag.String("dir", "./run", "the `directory` for state, sockets and logs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := choose(ctx, *dir); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// choose shows all there is to show here, and says what is left out.
func choose(ctx context.Context, dir string) error {
	top, err := os.Getwd()
	if err != nil {
		return err
	}
	why := machine.Possible()
	if why == nil {
		return showDevice(ctx, top, dir)
	}
	leftOut := fmt.Sprintf("Left out: portable services and containers, which are shown in a disposable machine, and %v.", why)
	fmt.Println("\n" + leftOut)
	defer fmt.Println(leftOut)
	return showFramework(ctx, top, dir)
}

// showFramework shows an OSGi framework alone.
func showFramework(ctx context.Context, top, dir string) (err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := prepare(dir, top); err != nil {
		return err
	}
	server, err := serveBundles(filepath.Join(top, "test", "bundles", "target", "bundles"))
	if err != nil {
		return err
	}
	defer server.Close()

	say("Starting the agent: state, sockets and logs are in %s", dir)
	agent, err := startAgent(filepath.Join(top, "build", "smmd"), dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, agent.end(dir)) }()
	address, err := agent.ready(ctx, filepath.Join(dir, "bus-address"))
	if err != nil {
		return err
	}
	ctl := client{filepath.Join(top, "build", "smmctl"), address}
	if err := ctl.waitForUp(ctx); err != nil {
		return err
	}
	if err := story(ctx, ctl, server.Addr); err != nil {
		return err
	}
	printHints(ctl, server.Addr)
	select {
	case <-ctx.Done():
		fmt.Println("\nEnding what was started.")
		return nil
	case err := <-agent.done:
		agent.done <- err
		return fmt.Errorf("the agent ended: %w; its log is %s", err, filepath.Join(dir, "smmd.log"))
	}
}

// story is the main job.
func story(ctx context.Context, ctl client, server string) error {
	say("Installing a bundle from http://%s", server)
	if err := ctl.show(ctx, "install", "http://"+server+"/sample-1.0.0.jar", "--ee", "felix", "--auto-start=false"); err != nil {
		return err
	}
	say("Starting it")
	if err := ctl.show(ctx, "start", "org.smmd.sample"); err != nil {
		return err
	}
	say("What there is now")
	return ctl.show(ctx, "tree")
}

func printHints(ctl client, server string) {
	bus := "--address=" + ctl.bus
	fmt.Printf(`
The agent stays up; Ctrl-C ends it and everything it started. In a second terminal:

  export SMMD_BUS='%[1]s'
  %[2]s update org.smmd.sample --url http://%[3]s/sample-2.0.0.jar
  %[2]s watch
  %[2]s get Device.SoftwareModules.
  busctl '%[4]s' tree org.smmd.Agent1
  busctl '%[4]s' introspect org.smmd.Agent1 /org/smmd/Agent1/ExecutionUnit/1

`, ctl.bus, ctl.program, server, bus)
}

func say(format string, args ...any) { fmt.Printf("\n== "+format+"\n", args...) }

// prepare makes the directory, with a configuration and without the state of an earlier demonstration.
func prepare(dir, top string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	conf := filepath.Join(dir, "agent.toml")
	if old, err := os.ReadFile(conf); err == nil {
		if !strings.HasPrefix(string(old), confHead) {
			return fmt.Errorf("cannot use %s: its agent.toml is not one of this demonstration", dir)
		}
		if err := endFrameworks(filepath.Join(dir, "state")); err != nil { // of one that was killed
			return err
		}
		for _, name := range []string{"state", "bus-address"} {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	osgi := filepath.Join(top, "build", "osgi")
	text := fmt.Sprintf(confHead+`
# This starts the same agent again, with what it has installed:
#   smmd --config %[1]s/agent.toml

[agent]
state_dir = %[2]q
runtime_dir = %[1]q

[bus]
address = "private"

[[exec_env]]
name = "felix"
adapter = "osgi"
initial_run_level = 5

[exec_env.osgi]
framework = %[3]q
host_jar = %[4]q
`, dir, filepath.Join(dir, "state"), filepath.Join(osgi, "felix.jar"), filepath.Join(osgi, "osgi-host.jar"))
	return os.WriteFile(conf, []byte(text), 0o600)
}

const confHead = "# Written by make run."

// bundleServer serves bundles slowly enough for a person to see them come.
type bundleServer struct {
	http.Server
	Addr string
}

func serveBundles(dir string) (*bundleServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &bundleServer{Addr: l.Addr().String()}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := os.ReadFile(filepath.Join(dir, filepath.Base(r.URL.Path)))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		piece := len(data)/12 + 1
		for len(data) > 0 {
			n := min(piece, len(data))
			if _, err := w.Write(data[:n]); err != nil {
				return // the client has gone
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			data = data[n:]
			time.Sleep(100 * time.Millisecond)
		}
	})
	go s.Serve(l)
	return s, nil
}

// agentProcess is the agent that was started.
type agentProcess struct {
	cmd  *exec.Cmd
	done chan error // buffered 1
}

func startAgent(program, dir string) (*agentProcess, error) {
	log, err := os.OpenFile(filepath.Join(dir, "smmd.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &agentProcess{cmd: exec.Command(program, "--config", filepath.Join(dir, "agent.toml")), done: make(chan error, 1)}
	p.cmd.Stderr = log
	// Ctrl-C goes to the whole foreground group: the agent is to be ended by this program and in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p, nil
}

// ready waits until the agent has written the address of its bus.
func (p *agentProcess) ready(ctx context.Context, path string) (string, error) {
	for {
		if b, err := os.ReadFile(path); err == nil {
			return strings.TrimSpace(string(b)), nil
		}
		select {
		case err := <-p.done:
			p.done <- err
			return "", fmt.Errorf("the agent ended: %w; its log is %s", err, filepath.Join(filepath.Dir(path), "smmd.log"))
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// end ends the agent and then the framework, which would outlive it: that is what a framework is for on a device, and not in a
// demonstration.
func (p *agentProcess) end(dir string) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		if err := p.cmd.Process.Kill(); err != nil {
			return err
		}
		<-p.done
	}
	return endFrameworks(filepath.Join(dir, "state"))
}

// endFrameworks ends the processes whose command line has a path below dir: the hosts of the frameworks.
func endFrameworks(dir string) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		pids, err := processesBelow(dir)
		if err != nil || len(pids) == 0 {
			return err
		}
		signal := syscall.SIGTERM
		if time.Now().After(deadline) {
			signal = syscall.SIGKILL
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func processesBelow(dir string) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, f := range files {
		cmdline, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		for arg := range strings.SplitSeq(string(cmdline), "\x00") {
			var pid int
			if _, err := fmt.Sscanf(f, "/proc/%d/", &pid); err == nil && strings.HasPrefix(arg, dir+"/") && pid != os.Getpid() {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids, nil
}

// client is smmctl.
type client struct{ program, bus string }

func (c client) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.program, args...)
	cmd.Env = append(os.Environ(), "SMMD_BUS="+c.bus)
	return cmd
}

// show runs smmctl for the person who looks on.
func (c client) show(ctx context.Context, args ...string) error {
	fmt.Println("$ smmctl", strings.Join(args, " "))
	cmd := c.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// waitForUp waits until the framework runs.
func (c client) waitForUp(ctx context.Context) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		out, err := c.command(ctx, "get", "-q", "Device.SoftwareModules.ExecEnv.1.Status").Output()
		if err == nil && strings.TrimSpace(string(out)) == "Up" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the framework does not come up: %s", out)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
