package config

import "strings"

// A Problem is one thing that is wrong with a file.
type Problem struct {
	// Key is the full name of the key, such as "exec_env[2].initial_run_level"; the elements of an array count from 0. It is
	// empty for what is not TOML at all.
	Key  string
	Text string // what is wrong, with the offending value
}

func (p Problem) String() string {
	if p.Key == "" {
		return p.Text
	}
	return p.Key + ": " + p.Text
}

// Error is everything that is wrong with a file, sorted as the tables of [Config] are. Its message is one line; a command that has more room
// asks for the Problems with [errors.As].
type Error struct {
	Problems []Problem // at least one
}

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "; ")
}
