package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/agent/config"
	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/usp"
)

// uspCommand is the program as the bridge between the agent and a USP Broker.
func uspCommand() *cobra.Command {
	var file, bus string
	var o usp.Options
	cmd := &cobra.Command{
		Use: "usp", Short: "Register Device.SoftwareModules. at a USP Broker, as a client of the agent", Args: noArgs,
		Long: `Register Device.SoftwareModules. at a USP Broker on this device, for example OB-USP-AGENT, and pass on what it asks. The agent is
reached over D-Bus, at the bus that its configuration names.

It runs in the foreground, logs to the standard error, and connects again whenever the broker, the bus or the agent was away.`,
		Example: `  smmd usp
  smmd usp --bus system --broker /var/run/usp/broker_controller_path`,
		RunE: func(cmd *cobra.Command, _ []string) error { return runUSP(cmd.Context(), file, bus, o) },
	}
	cmd.Flags().StringVar(&o.Broker, "broker", usp.DefaultBroker, "the `socket` on which the broker awaits agents")
	cmd.Flags().StringVar(&o.EndpointID, "endpoint-id", usp.DefaultEndpointID, "the endpoint `identifier` to be at the broker")
	cmd.Flags().StringVar(&file, "config", "/etc/smmd/agent.toml", "the configuration `file` of the agent, which says where its bus is; not read with --bus")
	cmd.Flags().StringVar(&bus, "bus", "", "the bus of the agent: system, session or a D-Bus `address`")
	return cmd
}

// runUSP is the bridge: it ends with an error of its arguments, or after SIGTERM or SIGINT.
func runUSP(ctx context.Context, file, bus string, o usp.Options) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	cfg := config.Default()
	if bus != "" {
		cfg.Bus.Address = bus
	} else {
		var err error
		if cfg, err = config.Load(file); err != nil {
			return err
		}
	}
	o.Log = newLogger(cfg.Agent)
	slog.SetDefault(o.Log)
	if !cfg.DataModel.Has("usp") {
		o.Log.Warn("the agent keeps nothing to tell a broker: usp is not among data_model.faces", "config", file)
	}
	debug.SetGCPercent(25) // small devices: memory before speed
	o.Dial = func(ctx context.Context) (usp.Agent, error) {
		address, err := clientAddress(cfg)
		if err != nil {
			return nil, err
		}
		// A nil *client.Client in the interface would be no nil.
		c, err := client.Dial(ctx, address)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	s, err := usp.New(o)
	if err != nil {
		return usageError{err}
	}
	return s.Run(ctx)
}

// clientAddress returns the bus of the agent. Where a private one is, the agent writes down each time that it starts.
func clientAddress(cfg config.Config) (string, error) {
	if cfg.Bus.Address != "private" {
		return cfg.Bus.Address, nil
	}
	path := filepath.Join(cfg.Agent.RuntimeDir, "bus-address")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot find the private bus of the agent: %s is not there: it does not run", path)
	}
	if err != nil {
		return "", fmt.Errorf("cannot find the private bus of the agent: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
