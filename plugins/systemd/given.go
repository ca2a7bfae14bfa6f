package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/processors"
)

// given are the settings that a controller gave to a deployment unit. They are in its record, and in /run for the service manager: the limits in the
// drop-ins of its services, the volumes too, the variables in one file that the drop-ins name. Such a file wins over what the image sets, by Environment= and by
// EnvironmentFile= (systemd.exec(5)), nothing is expanded in it, and unlike Environment= it is not shown to everybody on the bus.
type given struct {
	Variables []givenVariable `json:"variables,omitempty"`
	Memory    int64           `json:"memory,omitempty"` // KiB, of each service; 0: no limit
	CPU       int             `json:"cpu,omitempty"`    // percent of what the environment has, of each service; 0: no limit
	Volumes   []givenVolume   `json:"volumes,omitempty"`
}

type givenVariable struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// maxMemory is more than any device has, in KiB, and not too much to be counted in bytes.
const maxMemory = 1 << 53

// variableName is what systemd takes as the name of a variable.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// givenOf checks settings. [adapter.InvalidArgument] and [adapter.NotSupported] name the one that is wrong.
func givenOf(s adapter.UnitSettings, what string) (*given, error) {
	wrong := func(r adapter.Reason, format string, args ...any) error {
		return adapter.Errorf(r, "cannot %s: %s", what, fmt.Sprintf(format, args...))
	}
	g := &given{Memory: s.Limits.Memory, CPU: s.Limits.CPU}
	volumes, err := volumesOf(s.Volumes, what)
	if err != nil {
		return nil, err
	}
	g.Volumes = volumes
	keys := map[string]bool{}
	for _, v := range s.Variables {
		switch {
		case v.Key == "" || strings.ContainsAny(v.Key, "=\x00") || !utf8.ValidString(v.Key):
			return nil, wrong(adapter.InvalidArgument, "%q is not the name of a variable", v.Key)
		case keys[v.Key]:
			return nil, wrong(adapter.InvalidArgument, "variable %s is there twice", v.Key)
		case strings.ContainsRune(v.Value, 0) || !utf8.ValidString(v.Value):
			return nil, wrong(adapter.InvalidArgument, "the value of variable %s is no text of UTF-8 without zero bytes", v.Key)
		case !variableName.MatchString(v.Key):
			return nil, wrong(adapter.NotSupported, "systemd has no variables like %q, but those of letters, digits and underscores that do not begin with a digit", v.Key)
		case strings.ContainsFunc(v.Value, refused):
			return nil, wrong(adapter.NotSupported, "systemd takes no control characters but tab and line feed, which variable %s has", v.Key)
		}
		keys[v.Key] = true
		g.Variables = append(g.Variables, givenVariable(v))
	}
	switch l := s.Limits; {
	case l.Memory < 0 || l.Memory > maxMemory:
		return nil, wrong(adapter.InvalidArgument, "a limit of memory of %d KiB is none", l.Memory)
	case l.CPU < 0 || l.CPU > 100:
		return nil, wrong(adapter.InvalidArgument, "a limit of %d percent of the processors is none", l.CPU)
	case l.Disk < 0:
		return nil, wrong(adapter.InvalidArgument, "a limit of disk space of %d KiB is none", l.Disk)
	case l.Disk > 0:
		return nil, wrong(adapter.NotSupported, "systemd has no limit of disk space for services")
	}
	return g, nil
}

// refused reports whether systemd takes no value of a variable with this character: control characters but tab and line feed, and what Unicode
// has no characters for.
func refused(c rune) bool {
	return c < ' ' && c != '\t' && c != '\n' || c == 0x7f || c >= 0xfdd0 && c <= 0xfdef || c&0xfffe == 0xfffe
}

// variablesFile is the text of a file of variables. In double quotes a line feed stands for itself, and a backslash is before each of the four characters
// that mean something there (systemd.exec(5), EnvironmentFile).
func (g *given) variablesFile(env, key string) string {
	quote := strings.NewReplacer(`"`, `\"`, `\`, `\\`, "`", "\\`", `$`, `\$`)
	var b strings.Builder
	fmt.Fprintf(&b, "# Made by smmd for unit %q in environment %q.\n", key, env)
	for _, v := range g.Variables {
		b.WriteString(v.Key + `="` + quote.Replace(v.Value) + "\"\n")
	}
	return b.String()
}

// variablesPath is where the file of variables of a unit is. Nothing in it means something in a unit file or to glob(7).
func (e *env) variablesPath(key string) string {
	return filepath.Join(runtimeDir, "smmd-"+idOf(e.id+"\x00"+key)+".env")
}

// writeVariables makes the file of variables of a unit that was ever given settings. It stays until the unit goes, as long as the manager may have a
// drop-in in memory that names it.
func (e *env) writeVariables(r *record) error {
	if r.Given == nil {
		return nil
	}
	path := e.variablesPath(r.Key)
	text := r.Given.variablesFile(e.id, r.Key)
	if now, err := os.ReadFile(path); err == nil && string(now) == text {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return writeFile(path, []byte(text), 0o600)
}

func (e *env) removeVariables(key string) error {
	if err := os.Remove(e.variablesPath(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the variables of a unit: %w", err)
	}
	return nil
}

// givenDropIn is the part of the drop-in of a service that has to do with settings. Limits of the image give way to those that were given.
func (e *env) givenDropIn(service string, r *record) string {
	if r.Given == nil {
		return ""
	}
	text := "EnvironmentFile=" + e.variablesPath(r.Key) + "\n"
	if r.Given.Memory > 0 {
		text += fmt.Sprintf("MemoryMax=%dK\n", r.Given.Memory)
	}
	if r.Given.CPU > 0 {
		text += fmt.Sprintf("CPUQuota=%d%%\n", shareOf(e.bounds().cpu, r.Given.CPU))
	}
	return text + volumesDropIn(service, r.Given.Volumes)
}

// shareOf returns percent of what an environment has of the processors, in percent of one of them, of which the kernel gives no less than 1.
func shareOf(env, percent int) int {
	all := 100 * processors.Online()
	if env == 0 || env > all {
		env = all
	}
	return (env*percent + 99) / 100
}

func (e *env) setUnit(ctx context.Context, u adapter.UnitRef, s adapter.UnitSettings) error {
	if err := e.refusePermanent(u.Key, "give settings to"); err != nil {
		return err
	}
	what := fmt.Sprintf("give settings to unit %q in environment %q", u.Key, e.id)
	g, err := givenOf(s, what)
	if err != nil {
		return err
	}
	return e.locked(ctx, u.Key, what, func(l *link, r *record) error {
		if r == nil {
			return notThere(what)
		}
		if r.Given == nil && reflect.DeepEqual(g, &given{}) {
			return nil
		}
		if err := e.checkInUse(ctx, l, r, g.Memory, what); err != nil {
			return err
		}
		before := r.Given
		r.Given = g
		err := e.give(ctx, l, r)
		if err == nil || ctx.Err() != nil {
			return err
		}
		r.Given = before
		if undo := e.give(ctx, l, r); undo != nil {
			e.log.Error("settings of a unit that could not be given could not be taken back; the next launch or call does it", "du", r.Key, "err", undo)
		}
		return err
	})
}

// give makes the settings of a record hold. The manager reads its files in any case: an adapter that was killed may have written them and not come to that.
func (e *env) give(ctx context.Context, l *link, r *record) error {
	if err := e.store.save(r); err != nil {
		return err
	}
	if _, err := e.ensure(ctx, l, r, r.Current); err != nil {
		return err
	}
	return l.reload(ctx)
}

// checkInUse refuses a limit that is below what a service uses now: systemd makes limits hold for what runs, too, and the kernel would end it.
func (e *env) checkInUse(ctx context.Context, l *link, r *record, memory int64, what string) error {
	if memory == 0 {
		return nil
	}
	services := slices.DeleteFunc(slices.Clone(r.Current.Units), func(u string) bool { return kindOf(u) != service })
	units, err := l.instantiate(ctx, services)
	if err != nil {
		return err
	}
	for _, u := range units {
		s, err := l.state(ctx, u)
		if err != nil {
			return err
		}
		if !s.over() && s.memory > memory {
			return adapter.Errorf(adapter.InUse, "cannot %s: %s runs and uses %d KiB of memory, more than the limit of %d KiB", what, u, s.memory, memory)
		}
	}
	return nil
}
