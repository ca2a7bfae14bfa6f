package lxc

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/smmd-project/smmd/plugins/table"
)

// settings is the sub-table lxc of an environment in agent.toml. The limits are those of each container.
type settings struct {
	memory       int64         // memory: KiB, 0: no limit
	cpu          int           // cpu: percent of one processor, 0: no limit
	processes    int           // processes: processes and threads, 0: no limit
	bridge       string        // bridge: network interface of the host, empty: no network
	subIDs       idRange       // sub_ids: what the container's ids are on the host, none: the same
	capabilities []string      // capabilities: that the container keeps, in LXC's words
	seccomp      string        // seccomp: absolute path of the profile
	seccompSet   bool          // the profile was named, so it has to be there
	maxUnpacked  int64         // max_unpacked: bytes of a package when it is unpacked
	settle       time.Duration // settle: who fails sooner failed to start
	startTimeout time.Duration // start_timeout: from the call until the entrypoint runs
	stopTimeout  time.Duration // stop_timeout: from the stop signal until force is used
}

// idRange is a range of user and group ids of the host.
type idRange struct{ first, count uint32 }

// keptCapabilities are those that services commonly need. Left out is mknod besides what reaches beyond the container: an image has no
// device nodes, and where devices cannot be restricted by a control group nothing else would keep a container from making some.
var keptCapabilities = []string{
	"chown", "dac_override", "fsetid", "fowner", "net_raw", "setgid", "setuid", "setfcap", "setpcap", "net_bind_service", "sys_chroot",
	"kill", "audit_write",
}

func defaultSettings() settings {
	return settings{
		capabilities: keptCapabilities,
		seccomp:      "/usr/share/lxc/config/common.seccomp",
		maxUnpacked:  512 << 20,
		settle:       200 * time.Millisecond,
		startTimeout: 30 * time.Second,
		stopTimeout:  10 * time.Second,
	}
}

// parseSettings reads the settings of environment env. Every error is an [adapter.InvalidArgument] that names the environment and the
// key.
func parseSettings(env string, raw []byte) (settings, error) {
	s := defaultSettings()
	readers := s.readers()
	_, err := table.Read(Kind, env, raw, readers)
	return s, err
}

// readers read the settings that there are, by their keys.
func (s *settings) readers() table.Readers {
	return table.Readers{
		"memory": func(v json.RawMessage) error {
			var n int64
			if err := readSize(v, &n); err != nil {
				return err
			}
			if n < 1<<20 {
				return errors.New("less than 1MiB is no limit that a container can live with")
			}
			s.memory = n >> 10
			return nil
		},
		"cpu":          func(v json.RawMessage) error { return readPercent(v, &s.cpu) },
		"processes":    func(v json.RawMessage) error { return readCount(v, &s.processes) },
		"bridge":       func(v json.RawMessage) error { return readInterface(v, &s.bridge) },
		"sub_ids":      func(v json.RawMessage) error { return readIDs(v, &s.subIDs) },
		"capabilities": func(v json.RawMessage) error { return readCapabilities(v, &s.capabilities) },
		"seccomp": func(v json.RawMessage) error {
			if err := table.Value(v, &s.seccomp); err != nil {
				return err
			}
			if !filepath.IsAbs(s.seccomp) || strings.ContainsAny(s.seccomp, "\n\x00") {
				return fmt.Errorf("%q is no absolute path", s.seccomp)
			}
			s.seccompSet = true
			return nil
		},
		"max_unpacked":  func(v json.RawMessage) error { return readSize(v, &s.maxUnpacked) },
		"settle":        func(v json.RawMessage) error { return table.Duration(v, &s.settle) },
		"start_timeout": func(v json.RawMessage) error { return table.Duration(v, &s.startTimeout) },
		"stop_timeout":  func(v json.RawMessage) error { return table.Duration(v, &s.stopTimeout) },
	}
}

// readSize reads a size with a binary unit into bytes.
func readSize(v json.RawMessage, into *int64) error {
	var text string
	if err := table.Value(v, &text); err != nil {
		return err
	}
	for unit, bytes := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40} {
		number, ok := strings.CutSuffix(text, unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 63)
		if err != nil || n == 0 || n > uint64(math.MaxInt64/bytes) {
			break
		}
		*into = int64(n) * bytes
		return nil
	}
	return fmt.Errorf(`%q is no size such as "64MiB"`, text)
}

func readPercent(v json.RawMessage, into *int) error {
	var text string
	if err := table.Value(v, &text); err != nil {
		return err
	}
	number, ok := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 1 || n > 100*1024 {
		return fmt.Errorf(`%q is no share of a processor such as "50%%"`, text)
	}
	*into = n
	return nil
}

func readCount(v json.RawMessage, into *int) error {
	var n int
	if err := table.Value(v, &n); err != nil {
		return err
	}
	if n < 2 || n > 1<<22 {
		return fmt.Errorf("%d is not between 2 and %d", n, 1<<22)
	}
	*into = n
	return nil
}

func readInterface(v json.RawMessage, into *string) error {
	if err := table.Value(v, into); err != nil {
		return err
	}
	if !interfaceName.MatchString(*into) {
		return fmt.Errorf("%q is no name of a network interface", *into)
	}
	return nil
}

// interfaceName is a name that the kernel takes for an interface, which has at most 15 bytes.
var interfaceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$`)

// readIDs reads a range as /etc/subuid writes it, first and count.
func readIDs(v json.RawMessage, into *idRange) error {
	var text string
	if err := table.Value(v, &text); err != nil {
		return err
	}
	a, b, _ := strings.Cut(text, ":")
	first, err1 := strconv.ParseUint(a, 10, 32)
	count, err2 := strconv.ParseUint(b, 10, 32)
	if err1 != nil || err2 != nil || first == 0 || count == 0 || first+count > math.MaxUint32 {
		return fmt.Errorf(`%q is no range of ids such as "100000:65536"`, text)
	}
	*into = idRange{first: uint32(first), count: uint32(count)}
	return nil
}

var capabilityName = regexp.MustCompile(`^[a-z][a-z0-9_]{1,31}$`)

func readCapabilities(v json.RawMessage, into *[]string) error {
	var names []string
	if err := table.Value(v, &names); err != nil {
		return err
	}
	for _, name := range names {
		if !capabilityName.MatchString(name) || strings.HasPrefix(name, "cap_") {
			return fmt.Errorf(`%q is no capability such as "net_admin"`, name)
		}
	}
	*into = names
	return nil
}
