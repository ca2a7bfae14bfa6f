package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// inside is set in the environment of tests that run in a machine.
const inside = "SMMD_TEST_INSIDE_MACHINE"

// Inside reports whether this process is a test in a machine, see [Main].
func Inside() bool { return os.Getenv(inside) != "" }

// Main runs the tests of a package in a machine and ends the process: it is the body of its TestMain. It boots a machine, with loop
// devices and writable controllers, and starts this test binary there as a service of its own, with the same arguments and environment
// and in the same directory; the module is there read-only at its own path. There it just runs the tests.
//
// Where no machine can be booted it runs the tests here: those that need a machine say so by [RequireInside].
func Main(m *testing.M) { os.Exit(Tests{m}.Run()) }

// Tests are the tests of a package, run as [Main] does: for those who have more to do in TestMain, such as goleak.VerifyTestMain.
type Tests struct{ M interface{ Run() int } }

// Run runs the tests and returns the exit status.
func (ts Tests) Run() int {
	if Inside() || Possible() != nil {
		return ts.M.Run()
	}
	status, err := runInside()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(status, 1)
	}
	return status
}

// testUnit is the service that tests run as, and testsEnded a file that systemd makes when they have ended.
const (
	testUnit   = "smmd-test.service"
	testsEnded = "/run/smmd-test-ended"
)

// runInside boots a machine, runs this test binary in it and returns its exit status.
func runInside() (status int, err error) {
	interrupts := make(chan os.Signal, 4)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(interrupts)

	dir, err := os.Getwd()
	if err != nil {
		return 1, err
	}
	module, err := moduleRoot(dir)
	if err != nil {
		return 1, err
	}
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	binary := "/usr/lib/smmd-test/" + filepath.Base(self) // not its own path: /tmp is empty in a machine
	args, writable := arguments(os.Args[1:])
	m, err := build(Options{
		Loops: true, Controllers: true,
		Binds: append(writable, Bind{Source: module, ReadOnly: true}, Bind{Source: self, Target: binary, ReadOnly: true}),
	})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if _, err := m.start(); err != nil {
		return 1, err
	}

	full := []string{
		"systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--service-type=exec", "--unit=" + testUnit,
		"--working-directory=" + dir, "--property=Delegate=yes", "--property=TasksMax=infinity", "--property=LimitNOFILE=65536",
		"--property=OOMPolicy=continue", "--property=ExecStopPost=/bin/touch " + testsEnded, "--setenv=" + inside + "=1",
	}
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); !ofHost[name] {
			full = append(full, "--setenv="+pair)
		}
	}
	cmd := m.Command(context.Background(), append(append(full, "--", binary), literal(args)...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-interrupts:
			if _, err := m.Try(context.Background(), "systemctl", "kill", "--kill-who=main", fmt.Sprintf("--signal=%d", s), testUnit); err != nil {
				return 1, err // it has ended, or will never
			}
		case err := <-ended:
			// systemd-run may end with 0 when it loses the bus of a machine that goes down.
			if _, gone := m.Try(context.Background(), "test", "-e", testsEnded); gone != nil {
				state, _ := m.up()
				return 1, fmt.Errorf("the machine ended under its tests: it is %q\n%s\n%s", state, tail(m.Journal()), tail(m.Console()))
			}
			if err == nil {
				return 0, nil
			}
			fmt.Fprintf(os.Stderr, "the journal of the machine:\n%s\n", tail(m.Journal()))
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				return exit.ExitCode(), nil
			}
			return 1, err
		}
	}
}

// ofHost are the variables of the environment that mean nothing in a machine.
var ofHost = map[string]bool{
	"NOTIFY_SOCKET": true, "LISTEN_FDS": true, "LISTEN_PID": true, "LISTEN_FDNAMES": true, "WATCHDOG_PID": true, "WATCHDOG_USEC": true,
	"INVOCATION_ID": true, "JOURNAL_STREAM": true, "DBUS_SESSION_BUS_ADDRESS": true, "DBUS_SYSTEM_BUS_ADDRESS": true,
	"XDG_RUNTIME_DIR": true, "TMPDIR": true,
}

// arguments returns those of a test binary for its life in a machine, and the directories that it writes to on the host.
func arguments(all []string) (args []string, writable []Bind) {
	for _, arg := range all {
		name, value, _ := strings.Cut(arg, "=")
		switch strings.TrimLeft(name, "-") {
		case "test.testlogfile": // for go's cache of results, which cannot know what happened in a machine
			continue
		case "test.gocoverdir", "test.outputdir":
			writable = append(writable, Bind{Source: value})
		}
		args = append(args, arg)
	}
	return args, writable
}

// moduleRoot returns the directory of go.mod above dir.
func moduleRoot(dir string) (string, error) {
	for d := dir; ; d = filepath.Dir(d) {
		switch _, err := os.Stat(filepath.Join(d, "go.mod")); {
		case err == nil:
			return d, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		case d == filepath.Dir(d):
			return "", fmt.Errorf("cannot find go.mod above %s", dir)
		}
	}
}
