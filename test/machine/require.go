package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// programs are what every machine needs.
var programs = []string{"systemd-nspawn", "nsenter", "losetup", "mountpoint", "dbus-daemon", "journalctl", "systemctl"}

// Require skips a test where no machine can be booted, or fails it where everything has to be there (CI=true).
func Require(t testing.TB) {
	t.Helper()
	if err := Possible(); err != nil {
		skip(t, err)
	}
}

// RequireInside skips a test that does not run in a machine, see [Main], or fails it where everything has to be there (CI=true).
func RequireInside(t testing.TB) {
	t.Helper()
	switch {
	case Inside():
	case Possible() != nil:
		skip(t, Possible())
	default:
		t.Fatal("the tests of this package do not begin with machine.Main")
	}
}

func skip(t testing.TB, why error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// Possible returns why no machine can be booted here, or nil.
func Possible() error {
	if os.Getuid() != 0 {
		return errors.New("booting a machine needs root")
	}
	if admin, err := administers(); err != nil || !admin {
		return errors.Join(errors.New("booting a machine needs CAP_SYS_ADMIN"), err)
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("booting a machine needs %s: %w", program, err)
		}
	}
	groups := "/sys/fs/cgroup/systemd"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		groups = "/sys/fs/cgroup"
	}
	if err := unix.Access(groups, unix.W_OK); err != nil {
		return fmt.Errorf("booting a machine needs control groups that can be written: %s: %w", groups, err)
	}
	var root, usr syscall.Stat_t
	usrDir, err := filepath.EvalSymlinks("/usr")
	if err := errors.Join(err, syscall.Stat("/", &root), syscall.Stat(usrDir, &usr)); err != nil {
		return err
	}
	if root.Dev != usr.Dev {
		return errors.New("booting a machine needs /usr on the same file system as /: its disk is an overlay over that one alone")
	}
	return nil
}

// administers reports whether this process has CAP_SYS_ADMIN, which root in a container may not have.
func administers() (bool, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false, err
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0, nil
}
