package supervisor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"

	"github.com/smmd-project/smmd/plugins/adapter"
)

const (
	// maxSocketPath is what sun_path of sockaddr_un holds besides the final zero (unix(7)).
	maxSocketPath = 107
	// socketName is how long go-plugin makes "/plugin-dir<number>/plugin<number>" at most.
	socketName = len("/plugin-dir4294967295/plugin4294967295")
	// endGrace is how long the end of a process is awaited when its connection is gone, to be able to say how it ended.
	endGrace = time.Second
)

// session is one process with its connection, configured and watched.
type session struct {
	process     *process
	plugin      *plugin.Client
	client      *adapter.Client
	description adapter.Description
	events      <-chan adapter.Event
	stopWatch   context.CancelFunc
	failed      chan error // takes one: why the session must be given up
}

// fail gives the session up. Only the first reason counts.
func (p *session) fail(err error) {
	select {
	case p.failed <- err:
	default:
	}
}

// whyLost returns err, or the better reason for a broken connection: how the process ended, if it did.
func (p *session) whyLost(err error) error {
	if errors.Is(err, adapter.ErrLost) && p.process.endedByItself(endGrace) {
		return p.process.endError()
	}
	return err
}

// end ends process and connection, and returns when nothing of them is left: at once by force, or in order within the time limit.
func (p *session) end(force bool, limit time.Duration) {
	if !force {
		// The request for an orderly end has no time limit in go-plugin, and a process that stands still does not answer it.
		stop := time.AfterFunc(limit, func() { _ = p.process.kill() })
		defer stop.Stop()
	} else {
		_ = p.process.kill() // if it cannot be killed, go-plugin tries again and logs it
	}
	if p.stopWatch != nil {
		p.stopWatch()
	}
	p.plugin.Kill()
	if p.events != nil {
		for range p.events { // until the reader of the stream has gone
		}
	}
}

// launch starts a process and makes it ready for use. On failure nothing is left of it.
func (s *Supervisor) launch(ctx context.Context) (_ *session, err error) {
	defer func() {
		if err != nil && adapter.ReasonOf(err) != adapter.InvalidArgument {
			err = fmt.Errorf("cannot start adapter %s: %w", s.o.Name, err)
		}
	}()
	if err := s.checkExecutable(); err != nil {
		return nil, err
	}
	sockets, locks, err := s.prepareDirs()
	if err != nil {
		return nil, err
	}
	p := &session{process: newProcess(s.o.Command, s.log), failed: make(chan error, 1)}
	p.plugin = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  adapter.Handshake,
		VersionedPlugins: adapter.Plugins(nil),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         s.o.AutoMTLS,
		SkipHostEnv:      true,
		StartTimeout:     s.o.StartTimeout,
		Logger:           pluginLogger(s.log),
		SyncStdout:       newLineLog(s.log),
		SyncStderr:       newLineLog(s.log),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: sockets},
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, dir string) (runner.Runner, error) {
			p.process.cmd.Env, p.process.socketDir = s.environment(locks, spec.Env), dir
			return p.process, nil
		},
	})
	if err := s.open(ctx, p); err != nil {
		p.end(true, 0)
		return nil, err
	}
	return p, nil
}

// open makes the handshake and the first calls.
func (s *Supervisor) open(ctx context.Context, p *session) error {
	// The handshake knows no context, but the end of the process ends it.
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-p.process.running:
			_ = p.process.kill() // if it cannot be killed, the handshake has its own time limit
		case <-over:
		}
	})
	conn, err := p.plugin.Client()
	close(over)
	stop()
	if err != nil {
		return p.whyNoHandshake(err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	dispensed, err := conn.Dispense(adapter.PluginName)
	if err != nil {
		return err
	}
	client, ok := dispensed.(*adapter.Client)
	if !ok {
		return fmt.Errorf("cannot use a %T as an adapter", dispensed)
	}
	p.client = client
	first, cancel := context.WithTimeout(ctx, s.o.StartTimeout)
	defer cancel()
	if p.description, err = client.Describe(first); err != nil {
		return p.whyLost(err)
	}
	if err := client.Configure(first, s.o.Envs); err != nil {
		return p.whyLost(err)
	}
	// The stream outlives this function, so its context cannot be the one with the time limit; the limit ends it only now.
	watching, stopWatch := context.WithCancel(ctx)
	p.stopWatch = stopWatch
	inTime := context.AfterFunc(first, stopWatch)
	if p.events, err = client.Watch(watching); err != nil {
		return p.whyLost(err)
	}
	if !inTime() {
		return fmt.Errorf("cannot watch: %w", first.Err())
	}
	return nil
}

// whyNoHandshake finds the best words for a failed handshake: how the process ended, if it did by itself, else the first line of
// go-plugin's, which go on with advice to programmers.
func (p *session) whyNoHandshake(err error) error {
	if p.process.endedByItself(endGrace) {
		return p.process.endError()
	}
	if text, _, more := strings.Cut(err.Error(), "\n"); more {
		return errors.New(text)
	}
	return err
}

// checkExecutable compares the digest of the executable with the configured one.
func (s *Supervisor) checkExecutable() error {
	if len(s.o.Command) == 0 {
		return errors.New("no command is configured")
	}
	if s.o.SHA256 == "" {
		return nil
	}
	sum, err := hex.DecodeString(s.o.SHA256)
	if err != nil {
		return fmt.Errorf("cannot read the configured sha256: %w", err)
	}
	same, err := (&plugin.SecureConfig{Checksum: sum, Hash: sha256.New()}).Check(s.o.Command[0])
	if err != nil {
		return fmt.Errorf("cannot verify %s: %w", s.o.Command[0], err)
	}
	if !same {
		return fmt.Errorf("cannot trust %s: its sha256 is not the configured one", s.o.Command[0])
	}
	return nil
}

// prepareDirs makes the directories for sockets, emptied of what a killed agent left behind, and for locks, which stay.
func (s *Supervisor) prepareDirs() (sockets, locks string, err error) {
	if s.o.Name == "" || s.o.Name[0] == '.' || filepath.Base(s.o.Name) != s.o.Name {
		return "", "", fmt.Errorf("cannot make sockets for adapter %q: the name is not fit for a directory", s.o.Name)
	}
	sockets = filepath.Join(s.o.RuntimeDir, "adapters", s.o.Name)
	locks = filepath.Join(s.o.RuntimeDir, "locks")
	if n := len(sockets) + socketName; n > maxSocketPath {
		return "", "", fmt.Errorf("cannot make sockets in %s: their paths would have %d bytes of at most %d", sockets, n, maxSocketPath)
	}
	if err := os.RemoveAll(sockets); err != nil {
		return "", "", fmt.Errorf("cannot clean up old sockets: %w", err)
	}
	for _, dir := range []string{sockets, locks} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", "", fmt.Errorf("cannot make a runtime directory: %w", err)
		}
	}
	return sockets, locks, nil
}

// environment returns the whole environment of the process; later entries win.
func (s *Supervisor) environment(locks string, handshake []string) []string {
	var env []string
	if path, ok := os.LookupEnv("PATH"); ok {
		env = append(env, "PATH="+path)
	}
	env = append(env, s.o.Env...)
	env = append(env,
		adapter.EnvLogLevel+"="+lowestLevel(s.log),
		adapter.EnvLockDir+"="+locks,
		adapter.EnvWatchStdin+"=1")
	return append(env, handshake...)
}
