package supervisor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin/runner"
)

// pipeGrace is how long the output of a dead process is still read: what it wrote last lies in the pipe, but a process that it
// started may hold the other end for years.
const pipeGrace = 500 * time.Millisecond

// process is the child process of an adapter, as go-plugin wants to see it. In contrast to go-plugin's own runner it gives the child
// a stdin that ends with the agent, reads the logs with a reader that no input can upset, ends when the process does and not when the
// last heir of its pipes does, and takes connections only to sockets in the directory made for them.
type process struct {
	cmd       *exec.Cmd
	socketDir string
	log       *lineLog

	handshake *io.PipeReader // the first line of stdout; go-plugin reads no other
	toPlugin  *io.PipeWriter
	running   chan struct{} // closed when Start has started it, or has failed to
	ended     chan struct{} // closed when the process is gone and its output is read
	waitErr   error         // valid after ended
	killed    atomic.Bool   // by us
}

var _ runner.Runner = (*process)(nil)

// newProcess prepares the process without starting it. Environment and socket directory follow before Start.
func newProcess(command []string, log *slog.Logger) *process {
	p := &process{
		cmd: &exec.Cmd{
			Path: command[0], Args: command,
			// A signal from a terminal is for the agent, which ends its adapters in order.
			SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
		},
		log:     newLineLog(log),
		running: make(chan struct{}),
		ended:   make(chan struct{}),
	}
	p.handshake, p.toPlugin = io.Pipe()
	return p
}

// Start implements [runner.Runner].
func (p *process) Start(context.Context) (err error) {
	var files []*os.File
	defer func() {
		close(p.running)
		if err != nil {
			closeAll(files)
			close(p.ended)
		}
	}()
	pipe := func() (r, w *os.File) {
		if err == nil {
			if r, w, err = os.Pipe(); err == nil {
				files = append(files, r, w)
			}
		}
		return r, w
	}
	childIn, stdin := pipe()
	stdout, childOut := pipe()
	stderr, childErr := pipe()
	if err != nil {
		return fmt.Errorf("cannot make pipes: %w", err)
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = childIn, childOut, childErr
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("cannot execute %s: %w", p.cmd.Path, err)
	}
	closeAll([]*os.File{childIn, childOut, childErr})
	var readers sync.WaitGroup
	readers.Go(func() { p.readStdout(stdout) })
	readers.Go(func() { p.log.readAll(stderr) })
	go func() {
		defer close(p.ended)
		p.waitErr = p.cmd.Wait()
		until := time.Now().Add(pipeGrace)
		_ = stdout.SetReadDeadline(until) // a pipe always has deadlines
		_ = stderr.SetReadDeadline(until)
		readers.Wait()
		closeAll([]*os.File{stdin, stdout, stderr})
	}()
	return nil
}

// readStdout gives go-plugin the first line, and the log what should not have been written.
func (p *process) readStdout(stdout io.Reader) {
	r := bufio.NewReaderSize(stdout, 8<<10)
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line = append([]byte("a line that is too long: "), line[:64]...)
	}
	// The reader has gone only if go-plugin has given up, which then says why.
	_, _ = p.toPlugin.Write(line)
	_ = p.toPlugin.Close()
	p.log.readAll(r)
}

// pid returns the number of the process, 0 when it was not started.
func (p *process) pid() int {
	select {
	case <-p.running:
	default:
		return 0
	}
	if p.cmd.Process == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// kill ends the process at once. It is harmless when there is none.
func (p *process) kill() error {
	if p.pid() == 0 {
		return nil
	}
	p.killed.Store(true)
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cannot kill process %d: %w", p.pid(), err)
	}
	return nil
}

// endedByItself reports whether the process ends within the grace period for a reason of its own.
func (p *process) endedByItself(grace time.Duration) bool {
	if p.pid() == 0 {
		return false
	}
	select {
	case <-p.ended:
	case <-time.After(grace):
		return false
	}
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return !ok || !p.killed.Load() || !status.Signaled() || status.Signal() != syscall.SIGKILL
}

// endError says how the process ended; it has ended.
func (p *process) endError() error {
	how := "exit status 0"
	if p.waitErr != nil {
		how = p.waitErr.Error()
	}
	if words := p.log.lastWords(); words != "" {
		how += ": " + words
	}
	return fmt.Errorf("process %d ended: %s", p.pid(), how)
}

// Wait implements [runner.Runner].
func (p *process) Wait(context.Context) error {
	<-p.ended
	return p.waitErr
}

// Kill implements [runner.Runner].
func (p *process) Kill(context.Context) error { return p.kill() }

// Stdout implements [runner.Runner]: the first line only.
func (p *process) Stdout() io.ReadCloser { return p.handshake }

// Stderr implements [runner.Runner]: nothing, the logs are read here.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name implements [runner.Runner].
func (p *process) Name() string { return p.cmd.Path }

// ID implements [runner.Runner]. It is never empty, for then go-plugin would not clean up.
func (p *process) ID() string { return strconv.Itoa(p.pid()) }

// Diagnose implements [runner.Runner]; what there is to say is said by launch.
func (p *process) Diagnose(context.Context) string { return "" }

// PluginToHost implements [runner.Runner]. It refuses what is not a socket in the directory that nobody else can enter.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" || filepath.Dir(filepath.Clean(address)) != p.socketDir {
		return "", "", fmt.Errorf("cannot connect to %s %q: it is no Unix socket in %s", network, address, p.socketDir)
	}
	return network, address, nil
}

// HostToPlugin implements [runner.Runner]; both see the same files.
func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // pipes: there is nothing to lose
	}
}
