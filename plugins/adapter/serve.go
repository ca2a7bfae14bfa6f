package adapter

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

// What the agent tells an adapter process in its environment, besides what go-plugin needs. An adapter in another language reads the
// same variables; adapter.proto says how to use them.
const (
	// EnvLogLevel is the lowest level of interest: debug, info, warn or error.
	EnvLogLevel = "SMMD_ADAPTER_LOG_LEVEL"
	// EnvLockDir is the directory of the locks of the environments.
	EnvLockDir = "SMMD_ADAPTER_LOCK_DIR"
	// EnvWatchStdin is 1 when the agent holds the other end of stdin for as long as it lives.
	EnvWatchStdin = "SMMD_ADAPTER_WATCH_STDIN"
)

// parentPoll is how often the parent is looked at when stdin does not tell of its end.
const parentPoll = time.Second

// ServeOptions are the options of [Serve].
type ServeOptions struct {
	// LockDir is where the locks of the environments are; by default what the agent says in [EnvLockDir], and no locks when it
	// says nothing.
	LockDir string
}

// NewLogger returns a logger whose lines the agent takes into its own log with level and attributes. It writes to the stderr that the
// process has now, which [Serve] replaces: call it before.
func NewLogger() *slog.Logger {
	var level slog.Level // info, also when the variable is absent or wrong
	if err := level.UnmarshalText([]byte(os.Getenv(EnvLogLevel))); err != nil {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// Serve serves a to the agent that started this process, and returns when the agent has asked for the end. It is the whole main
// function of an adapter executable:
//
//	func main() {
//		adapter.Serve(vendor.New(adapter.NewLogger()), adapter.ServeOptions{})
//	}
//
// The process exits with status 1 when a person started it and not an agent, and with status 2 when the agent is gone, whatever
// it is doing then. Only the handshake goes to stdout: from here on, what the program itself prints goes to the agent's log.
// In [Adapter.Configure] the locks of the environments are taken before a hears of them.
func Serve(a Adapter, o ServeOptions) {
	if o.LockDir == "" {
		o.LockDir = os.Getenv(EnvLockDir)
	}
	server := NewServer(a)
	if o.LockDir != "" {
		server.locks = &envLocks{dir: o.LockDir}
	}
	log := NewLogger()
	// The goroutine needs no end of its own: it ends the process, or the process ends.
	go exitWithParent(os.Getppid(), log)
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  Handshake,
		VersionedPlugins: map[int]plugin.PluginSet{ContractVersion: {PluginName: &grpcPlugin{server: server}}},
		GRPCServer:       plugin.DefaultGRPCServer,
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr, JSONFormat: true}),
	})
}

// exitWithParent ends the process when its parent, which had the given number, is gone. PR_SET_PDEATHSIG would be shorter and wrong: it fires when the thread
// that forked ends, and threads of a Go program come and go.
func exitWithParent(parent int, log *slog.Logger) {
	if os.Getenv(EnvWatchStdin) == "1" {
		// The agent writes nothing; whatever ends the copy, nobody is there any more.
		_, _ = io.Copy(io.Discard, os.Stdin)
	} else {
		for os.Getppid() == parent {
			time.Sleep(parentPoll)
		}
	}
	log.Debug("the agent is gone, so this adapter process ends")
	os.Exit(2)
}
