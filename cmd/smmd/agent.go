package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/smmd-project/smmd/agent"
	"github.com/smmd-project/smmd/agent/config"
	"github.com/smmd-project/smmd/ipc/bus"
	"github.com/smmd-project/smmd/ipc/dbus"
	"github.com/smmd-project/smmd/mapping/cwmp"
)

// runAgent is the program as the agent: it ends with an error, or after SIGTERM or SIGINT.
func runAgent(ctx context.Context, file, busAddress string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	if busAddress != "" {
		cfg.Bus.Address = busAddress
	}
	log := newLogger(cfg.Agent)
	slog.SetDefault(log)
	debug.SetGCPercent(25) // small devices: memory before speed

	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	commands := map[string][]string{}
	for kind := range builtIn {
		commands[kind] = []string{self, "adapter", kind}
	}
	a, err := agent.New(cfg, agent.Options{Log: log, BuiltIn: commands, ResultCode: cwmp.ResultCode})
	if err != nil {
		return err
	}
	address, stopBus, err := openBus(ctx, cfg)
	if err != nil {
		return errors.Join(err, a.Close())
	}
	defer stopBus()
	face := func(ctx context.Context, ready func()) error {
		opts := dbus.Options{
			Version: version, DataModel: "Device:" + cfg.DataModel.Version, Faces: cfg.DataModel.Faces, Log: log, Ready: once(ready),
		}
		return serve(ctx, dbus.New(a, opts), address, log)
	}
	return a.Run(ctx, func() {
		tellReady(cfg, address, log)
		// Nobody waits for it: an agent that hangs must not hang in its end too.
		go feedWatchdog(ctx, watchdogInterval(), a.Alive, log)
	}, face)
}

// openBus returns the address of the bus to serve, and what ends a private one.
func openBus(ctx context.Context, cfg config.Config) (address string, stop func(), err error) {
	if cfg.Bus.Address == "private" {
		return bus.Private(context.WithoutCancel(ctx), filepath.Join(cfg.Agent.RuntimeDir, "bus"))
	}
	address, err = bus.Address(cfg.Bus.Address)
	return address, func() {}, err
}

// serve keeps the agent on the bus: it comes back when the bus does.
func serve(ctx context.Context, s *dbus.Server, address string, log *slog.Logger) error {
	for {
		err := s.Run(ctx, address)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, dbus.ErrLost) {
			return err
		}
		log.Warn("the bus is lost; trying again", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// once makes f count only the first time.
func once(f func()) func() {
	done := false
	return func() {
		if !done {
			done = true
			f()
		}
	}
}

// tellReady says that the agent can be reached: to the service manager, if it asked, and where a private bus is.
func tellReady(cfg config.Config, address string, log *slog.Logger) {
	log.Info("ready", "version", version, "bus", address)
	if cfg.Bus.Address == "private" {
		path := filepath.Join(cfg.Agent.RuntimeDir, "bus-address")
		if err := writeAtomically(path, address+"\n"); err != nil {
			log.Error("the address of the private bus could not be written", "path", path, "err", err)
		}
	}
	if err := notifySystemd("READY=1"); err != nil {
		log.Error("the service manager could not be told", "err", err)
	}
	go func() { // what the start needed and nothing else does
		time.Sleep(time.Second)
		debug.FreeOSMemory()
	}()
}

func writeAtomically(path, content string) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func newLogger(c config.Agent) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo // config has checked it
	}
	o := &slog.HandlerOptions{Level: level}
	switch c.LogFormat {
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	case "journal":
		return slog.New(newJournalHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}
