package lxc

import (
	"fmt"
	"os"
	"strings"
)

// openDevices are those that every container may use: null, zero, full, random, urandom, tty, console, ptmx and the pseudo terminals
// (Linux allocated devices).
var openDevices = []string{
	"c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm",
}

// configText is the configuration of a container for LXC (lxc.container.conf(5)).
type configText struct{ strings.Builder }

// set writes one line. The value is in quotation marks, which LXC takes away: blanks at its ends stay then, and so do quotation
// marks of its own. It has no line feed.
func (c *configText) set(key string, value any) { fmt.Fprintf(c, "%s = \"%v\"\n", key, value) }

// configOf returns the configuration of a container with its root file system at root. Nothing of LXC's own files is included, so
// that it says all there is.
func configOf(s settings, groups cgroups, host, root string, p process, mounts []mount) string {
	var c configText
	c.set("lxc.uts.name", host)
	c.set("lxc.rootfs.path", "dir:"+root)
	c.set("lxc.autodev", 1)
	c.set("lxc.mount.auto", "proc:mixed sys:ro")
	for _, m := range mounts {
		c.set("lxc.mount.entry", m.entry())
	}
	c.set("lxc.pty.max", 64)
	c.set("lxc.tty.max", 0)
	c.network(s)
	c.process(p)
	c.confine(s)
	c.limit(s, groups)
	return c.String()
}

func (c *configText) network(s settings) {
	if s.bridge == "" {
		c.set("lxc.net.0.type", "empty")
		return
	}
	c.set("lxc.net.0.type", "veth")
	c.set("lxc.net.0.link", s.bridge)
	c.set("lxc.net.0.name", "eth0")
	c.set("lxc.net.0.flags", "up")
}

func (c *configText) process(p process) {
	c.set("lxc.init.uid", p.UID)
	c.set("lxc.init.gid", p.GID)
	c.set("lxc.init.cwd", p.Dir)
	for _, v := range p.Env {
		if !breaksLine(v) {
			c.set("lxc.environment", v)
		}
	}
}

// breaksLine reports whether a variable cannot be in a file of LXC's, whose lines end where they end.
func breaksLine(variable string) bool { return strings.Contains(variable, "\n") }

// definitions are arguments for lxc-execute with the variables that its file cannot have. They are read as a line of the file is, but end with the argument.
// An environment of lxc-execute from which the container inherits would say the same, and have that run on the device with the PATH or the libraries that are meant for
// the container.
func definitions(env []string) []string {
	var args []string
	for _, v := range env {
		if breaksLine(v) {
			args = append(args, "-s", `lxc.environment="`+v+`"`)
		}
	}
	return args
}

func (c *configText) confine(s settings) {
	if len(s.capabilities) == 0 {
		c.set("lxc.cap.keep", "none")
	} else {
		c.set("lxc.cap.keep", strings.Join(s.capabilities, " "))
	}
	c.set("lxc.no_new_privs", 1)
	if _, err := os.Stat(s.seccomp); err == nil || s.seccompSet {
		c.set("lxc.seccomp.profile", s.seccomp)
	}
	if s.subIDs.count > 0 {
		for _, kind := range []string{"u", "g"} {
			c.set("lxc.idmap", fmt.Sprintf("%s 0 %d %d", kind, s.subIDs.first, s.subIDs.count))
		}
	}
}

// limit sets the limits whose controllers can be used.
func (c *configText) limit(s settings, groups cgroups) {
	if prefix := []string{"", "lxc.cgroup.devices", "lxc.cgroup2.devices"}[groups.devices()]; prefix != "" {
		c.set(prefix+".deny", "a")
		for _, d := range openDevices {
			c.set(prefix+".allow", d)
		}
	}
	// A tenth of a second is the period that the kernel itself begins with.
	const period = 100_000
	if s.memory > 0 {
		switch groups.limitable("memory") {
		case 1:
			c.set("lxc.cgroup.memory.limit_in_bytes", s.memory*1024)
		case 2:
			c.set("lxc.cgroup2.memory.max", s.memory*1024)
		}
	}
	if s.cpu > 0 {
		switch quota := s.cpu * period / 100; groups.limitable("cpu") {
		case 1:
			c.set("lxc.cgroup.cpu.cfs_period_us", period)
			c.set("lxc.cgroup.cpu.cfs_quota_us", quota)
		case 2:
			c.set("lxc.cgroup2.cpu.max", fmt.Sprintf("%d %d", quota, period))
		}
	}
	if s.processes > 0 {
		switch groups.limitable("pids") {
		case 1:
			c.set("lxc.cgroup.pids.max", s.processes)
		case 2:
			c.set("lxc.cgroup2.pids.max", s.processes)
		}
	}
}

// missingLimits names the limits that are configured and that the device cannot keep.
func missingLimits(s settings, groups cgroups) []string {
	var missing []string
	for _, l := range []struct {
		name, controller string
		set              bool
	}{{"memory", "memory", s.memory > 0}, {"cpu", "cpu", s.cpu > 0}, {"processes", "pids", s.processes > 0}} {
		if l.set && groups.limitable(l.controller) == 0 {
			missing = append(missing, l.name)
		}
	}
	return missing
}
