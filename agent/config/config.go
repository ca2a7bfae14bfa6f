// Package config reads agent.toml. A file is refused whole when it holds an unknown key, a value of the wrong type or a value out of
// range; the error names the key in full. Durations are Go durations ("90s", "1h"), sizes are strings with a binary unit
// ("64MiB"). What is not given has the default that [Default] tells; the shipped agent.toml shows every key with it.
package config

import (
	"path/filepath"
	"slices"
	"time"
)

// Config is the content of agent.toml.
type Config struct {
	Agent      Agent
	Bus        Bus
	DataModel  DataModel
	Operations Operations
	Packages   Packages
	Data       Data
	Adapters   []Adapter
	ExecEnvs   []ExecEnv
}

// EnvDir is the directory of an environment, which its adapter may use.
func (c Config) EnvDir(name string) string { return filepath.Join(c.Agent.StateDir, "env", name) }

// VolumeDir is the directory of application data.
func (c Config) VolumeDir() string { return filepath.Join(c.Agent.StateDir, "data") }

// Agent is the table [agent].
type Agent struct {
	StateDir      string   // state_dir: state.db, packages/, env/<name>/, data/<name>/
	RuntimeDir    string   // runtime_dir: sockets
	LogLevel      string   // log_level: debug, info, warn, error
	LogFormat     string   // log_format: text, json, journal
	ProtectedEnvs []string // protected_envs: may not be disabled
}

// Bus is the table [bus].
type Bus struct {
	Address string // address: system, session, private, or a D-Bus address
}

// DataModel is the table [data_model].
type DataModel struct {
	UUIDVersion int      // uuid_version: 5, or 3 for old ACSs
	Version     string   // version: of TR-181 Issue 2 that is told, 2.19 or 2.15
	Faces       []string // faces: the protocols in use, of cwmp and usp
}

// Has reports whether a protocol is in use.
func (d DataModel) Has(face string) bool { return slices.Contains(d.Faces, face) }

// Operations is the table [operations].
type Operations struct {
	RunDeadline   time.Duration // run_deadline: of an operation from the moment it leaves the queue
	TotalDeadline time.Duration // total_deadline: of an operation from its acceptance
	CallDeadline  time.Duration // call_deadline: of one call into an adapter
	MaxOpen       int           // max_open: unfinished operations at once, without updates and uninstalls of a ChangeDUState; more are refused
	Parallel      int           // parallel: downloads at once
	KeepFinished  time.Duration // keep_finished: how long a finished job stays readable, at least 1h
}

// Packages is the table [packages].
type Packages struct {
	Schemes []string      // schemes: http, https, file, docker
	MaxSize int64         // max_size: of one package, bytes
	Quota   int64         // quota: of the package store, bytes
	Reserve int64         // reserve: free space to leave on the file system, bytes
	CAFile  string        // ca_file: PEM file of certificate authorities; empty: the system's
	Idle    time.Duration // idle_timeout: a transfer that brings nothing for so long is given up
}

// Data is the table [data].
type Data struct {
	Encrypted bool // encrypted: what is below state_dir is on an encrypted medium
}

// Adapter is one table [[adapter]]: a vendor's executable.
type Adapter struct {
	Name     string // name: what exec_env.adapter refers to
	Command  string // command: absolute path
	Args     []string
	SHA256   string // sha256: of the executable; empty: not checked
	AutoMTLS bool   // auto_mtls: default true; false for adapters that are not written in Go
}

// ExecEnv is one table [[exec_env]].
type ExecEnv struct {
	Name            string // name: [a-z0-9-]{1,24}
	Adapter         string // adapter: osgi, or the name of an [[adapter]]
	Enable          bool   // enable: at the very first start; later the tree decides. Default true
	InitialRunLevel int    // initial_run_level: at the very first start, 0..65535. Default 1
	AutoStart       bool   // auto_start: of new execution units. Default true
	Parent          string // parent: name of the environment it is nested in
	Settings        []byte // the sub-table named after the adapter, as a JSON object
}
