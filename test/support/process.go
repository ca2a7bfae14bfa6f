package support

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/smmd-project/smmd/ipc/client"
)

// process is the agent as a child of the test.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// Start starts the agent and waits until it can be reached. Its environments may not be up yet: see [Device.Up].
func (d *Device) Start() {
	d.t.Helper()
	if d.agent != nil {
		d.t.Fatal("the agent runs already")
	}
	ready := filepath.Join(d.runtime, "bus-address")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Fatal(err)
	}
	log, err := os.OpenFile(d.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	cmd := exec.Command(d.opts.Programs.Smmd, "--config", d.Config)
	cmd.Dir = d.Dir
	cmd.Stdout, cmd.Stderr = log, log
	// A session of its own: what a terminal sends to the test is not for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	if err := errors.Join(err, log.Close()); err != nil {
		d.t.Fatal(err)
	}
	p := &process{cmd, make(chan struct{})}
	d.agent = p
	go func() {
		_ = cmd.Wait() // the state says it all
		close(p.done)
	}()
	Until(d.t, "the agent is ready", func() error {
		if p.ended() {
			d.t.Fatalf("the agent ended: %v", cmd.ProcessState)
		}
		address, err := os.ReadFile(ready)
		d.Bus = strings.TrimSpace(string(address))
		return err
	})
	if d.Client, err = client.Dial(d.t.Context(), d.Bus); err != nil {
		d.t.Fatal(err)
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// PID returns the process id of the agent.
func (d *Device) PID() int { return d.agent.cmd.Process.Pid }

// Stop ends the agent in good order. Its environments go on.
func (d *Device) Stop() {
	d.t.Helper()
	p := d.leave()
	if p.ended() {
		d.t.Errorf("the agent had ended by itself: %v", p.cmd.ProcessState)
		return
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Error(err)
	}
	select {
	case <-p.done:
	case <-time.After(Patience):
		d.t.Error("the agent does not end; it is killed")
		if err := p.cmd.Process.Kill(); err != nil {
			d.t.Error(err)
		}
		<-p.done
	}
	if !p.cmd.ProcessState.Success() {
		d.t.Errorf("the agent ended badly: %v", p.cmd.ProcessState)
	}
}

// Kill ends the agent with SIGKILL and waits until its adapters and its bus are gone too. Its environments go on.
func (d *Device) Kill() {
	d.t.Helper()
	p := d.leave()
	if err := p.cmd.Process.Kill(); err != nil {
		d.t.Fatal(err)
	}
	<-p.done
	for _, left := range d.leftovers() {
		d.t.Fatalf("process %d did not end with the agent: %s", left.PID, left.Command)
	}
}

// leave gives up the connection and the agent.
func (d *Device) leave() *process {
	d.t.Helper()
	p := d.agent
	if p == nil {
		d.t.Fatal("the agent does not run")
	}
	if d.Client != nil {
		_ = d.Client.Close() // nothing is under way
	}
	d.agent, d.Client, d.Bus = nil, nil, ""
	return p
}

// Restart stops the agent in good order and starts it again.
func (d *Device) Restart() {
	d.t.Helper()
	d.Stop()
	d.Start()
}

// A Process is one of the device, as the kernel tells it.
type Process struct {
	PID     int
	Command string // its arguments, with spaces between them
	RSS     int64  // resident memory in bytes, 0 when unknown
}

// IsEnv reports whether the process is the environment called name.
func (p Process) IsEnv(name string) bool {
	return strings.Contains(p.Command, filepath.Join("env", name, "storage")+" ")
}

// kill ends the process. That it has ended meanwhile is no error.
func (p Process) kill() { _ = syscall.Kill(p.PID, syscall.SIGKILL) }

// Processes returns every process that has to do with the directory of the device, but the agent: adapters, the bus, the
// environments.
func (d *Device) Processes() []Process {
	d.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		d.t.Fatal(err)
	}
	var all []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || d.agent != nil && pid == d.PID() {
			continue
		}
		dir := filepath.Join("/proc", e.Name())
		args, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(args) == 0 {
			continue // gone, or a thread of the kernel
		}
		env, _ := os.ReadFile(filepath.Join(dir, "environ")) // of another user: not ours
		if mark := []byte(d.Dir + "/"); bytes.Contains(args, mark) || bytes.Contains(env, mark) {
			p := Process{PID: pid, Command: strings.ReplaceAll(string(args), "\x00", " ")}
			p.RSS, _ = residentMemory(pid)
			all = append(all, p)
		}
	}
	return all
}

// Host returns the process of an environment.
func (d *Device) Host(env string) (Process, bool) {
	d.t.Helper()
	for _, p := range d.Processes() {
		if p.IsEnv(env) {
			return p, true
		}
	}
	return Process{}, false
}

// leftovers waits until only environments are left of an agent that has ended, and returns what else is.
func (d *Device) leftovers() []Process {
	d.t.Helper()
	var left []Process
	_ = within(10*time.Second, func() error { // what it says is in left
		left = nil
		for _, p := range d.Processes() {
			isEnv := false
			for _, e := range d.opts.Envs {
				isEnv = isEnv || p.IsEnv(e.Name)
			}
			if !isEnv {
				left = append(left, p)
			}
		}
		if len(left) > 0 {
			return errors.New("processes are left")
		}
		return nil
	})
	return left
}

// Memory returns the resident memory of the agent in bytes.
func (d *Device) Memory() int64 {
	d.t.Helper()
	n, err := residentMemory(d.PID())
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

func residentMemory(pid int) (int64, error) {
	fields, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(fields), &size, &resident); err != nil {
		return 0, err
	}
	return resident * int64(os.Getpagesize()), nil
}

// Run runs a program of this machine to its end, at most [Patience] long, and returns what it wrote and its exit status.
func (d *Device) Run(program string, args ...string) (stdout, stderr string, status int) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), Patience)
	defer cancel()
	var out, err bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "SMMD_BUS="+d.Bus)
	cmd.Stdout, cmd.Stderr = &out, &err
	if failure := cmd.Run(); failure != nil && cmd.ProcessState == nil {
		d.t.Fatal(failure)
	}
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// Smmctl runs smmctl on the device.
func (d *Device) Smmctl(args ...string) (stdout, stderr string, status int) {
	d.t.Helper()
	return d.Run(d.opts.Programs.Smmctl, args...)
}
