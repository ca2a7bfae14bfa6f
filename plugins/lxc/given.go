package lxc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os/exec"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/processors"
)

// givenName is the file with what a controller gave to a container.
const givenName = "given.json"

// given is given.json: what a controller gave to a container beyond what its package says. It belongs to the container and not to a generation.
type given struct {
	Format    int        `json:"format"`
	Variables []variable `json:"variables"`
	Memory    int64      `json:"memory"` // KiB, 0: no limit
	CPU       int        `json:"cpu"`    // percent of all processors of the device, 0: no limit
	Volumes   []volume   `json:"volumes,omitempty"`
}

type variable struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// readGiven reads given.json; a container that nobody gave anything has an empty one.
func (s store) readGiven(name string) (given, error) {
	var g given
	err := readJSON(s.at(name, givenName), &g)
	if errors.Is(err, fs.ErrNotExist) {
		return given{}, nil
	}
	if err == nil && g.Format > format {
		err = fmt.Errorf("it is of format %d, newer than %d", g.Format, format)
	}
	if err != nil {
		return g, fmt.Errorf("cannot read what was given to container %q: %w", name, err)
	}
	return g, nil
}

func (s store) saveGiven(name string, g given) error {
	g.Format = format
	return writeJSON(s.at(name, givenName), g)
}

// setUnit is [adapter.UnitSetter] SetUnit. It needs no environment that is up: it changes what the next start reads.
func (e *env) setUnit(ctx context.Context, c *container, s adapter.UnitSettings) error {
	what := "set " + containerName(e.id, c.key)
	g, err := e.giving(s, what)
	if err != nil {
		return err
	}
	done, err := e.takeChange(ctx, c)
	if err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	defer done()
	if _, err := e.ownRecord(c, what); err != nil {
		return err
	}
	return e.store.saveGiven(c.name, g)
}

// giving checks settings, and makes of them what is kept.
func (e *env) giving(s adapter.UnitSettings, what string) (given, error) {
	var g given
	for _, v := range s.Variables {
		switch {
		case v.Key == "" || strings.ContainsAny(v.Key, "=\x00") || !utf8.ValidString(v.Key):
			return g, adapter.Errorf(adapter.InvalidArgument, "cannot %s: %q is no name of an environment variable", what, v.Key)
		case strings.Contains(v.Value, "\x00") || !utf8.ValidString(v.Value):
			return g, adapter.Errorf(adapter.InvalidArgument, "cannot %s: the value of the environment variable %q is no text without a NUL", what, v.Key)
		case slices.ContainsFunc(g.Variables, func(o variable) bool { return o.Key == v.Key }):
			return g, adapter.Errorf(adapter.InvalidArgument, "cannot %s: the environment variable %q is there twice", what, v.Key)
		}
		g.Variables = append(g.Variables, variable(v))
	}
	switch l := s.Limits; {
	case l.Disk != 0:
		return g, adapter.Errorf(adapter.NotSupported, "cannot %s: the disk space of a container cannot be limited", what)
	case l.Memory < 0 || l.Memory > math.MaxInt64>>10:
		return g, adapter.Errorf(adapter.InvalidArgument, "cannot %s: %d KiB is no limit of memory", what, l.Memory)
	case l.CPU < 0 || l.CPU > 100:
		return g, adapter.Errorf(adapter.InvalidArgument, "cannot %s: %d %% is no share of the processors", what, l.CPU)
	}
	g.Memory, g.CPU = s.Limits.Memory, s.Limits.CPU
	if err := adapter.CheckVolumes(what, s.Volumes); err != nil {
		return g, err
	}
	for _, v := range s.Volumes {
		g.Volumes = append(g.Volumes, volume(v))
		for _, name := range mountPrograms {
			if _, err := exec.LookPath(name); err != nil {
				return g, adapter.Errorf(adapter.NotSupported, "cannot %s: %s is not installed, which containers with volumes need", what, name)
			}
		}
	}
	return g, e.keeps(g, what)
}

// keeps returns an error when the device cannot keep the limits of g. Nobody would read a warning of one that was asked for in a call.
func (e *env) keeps(g given, what string) error {
	if g.Memory == 0 && g.CPU == 0 {
		return nil
	}
	groups, err := readCgroups(e.cgroupView)
	if err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	if missing := missingLimits(settings{memory: g.Memory, cpu: g.CPU}, groups); len(missing) > 0 {
		return adapter.Errorf(adapter.NotSupported, "cannot %s: the device has no control group that can be written for a limit of %s",
			what, strings.Join(missing, " and "))
	}
	return nil
}

// variables are those of a process: the ones of its image, and those that were given, which win.
func (g given) variables(image []string) []string {
	env := slices.DeleteFunc(slices.Clone(image), func(have string) bool {
		name, _, _ := strings.Cut(have, "=")
		return slices.ContainsFunc(g.Variables, func(v variable) bool { return v.Key == name })
	})
	for _, v := range g.Variables {
		env = append(env, v.Key+"="+v.Value)
	}
	return env
}

// within returns the settings of an environment for a container with the limits of g: of two limits the smaller one holds.
func (g given) within(s settings) settings {
	s.memory = smallerLimit(s.memory, g.Memory)
	s.cpu = smallerLimit(s.cpu, g.CPU*processors.Online())
	return s
}

// smallerLimit returns the smaller one of two limits; 0 is none.
func smallerLimit[T int | int64](a, b T) T {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
