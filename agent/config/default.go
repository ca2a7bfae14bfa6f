package config

import "time"

// Kinds are the adapters that come with the agent. Names of [[adapter]] tables must differ from them.
var Kinds = []string{"osgi", "systemd", "lxc"}

// Default returns what holds for a file that sets nothing: no vendor adapters, no environments.
func Default() Config {
	return Config{
		Agent: Agent{
			StateDir:   "/var/lib/smmd",
			RuntimeDir: "/run/smmd",
			LogLevel:   "info",
			LogFormat:  "text",
		},
		Bus:       Bus{Address: "system"},
		DataModel: DataModel{UUIDVersion: 5, Version: "2.19", Faces: []string{"cwmp", "usp"}},
		Operations: Operations{
			RunDeadline:   time.Hour,
			TotalDeadline: 24 * time.Hour,
			CallDeadline:  2 * time.Minute,
			MaxOpen:       256,
			Parallel:      2,
			KeepFinished:  time.Hour,
		},
		Packages: Packages{
			Schemes: []string{"http", "https", "file", "docker"},
			MaxSize: 64 << 20,
			Quota:   256 << 20,
			Reserve: 8 << 20,
			Idle:    time.Minute,
		},
	}
}

// defaultAdapter is an [[adapter]] table that sets nothing.
func defaultAdapter() Adapter { return Adapter{AutoMTLS: true} }

// defaultExecEnv is an [[exec_env]] table that sets nothing.
func defaultExecEnv() ExecEnv {
	return ExecEnv{Enable: true, InitialRunLevel: 1, AutoStart: true, Settings: []byte("{}")}
}
