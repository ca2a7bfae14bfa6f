package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// mainVariable makes the TestMain of this test binary call [Main]; its value says what [TestInside] does there.
const mainVariable = "SMMD_TEST_MACHINE_MAIN"

// TestInside is what [TestRunInside] makes this test binary run in a machine.
func TestInside(t *testing.T) {
	deed := os.Getenv(mainVariable)
	if deed == "" {
		t.Skip("part of TestRunInside")
	}
	RequireInside(t)
	comm, err := os.ReadFile("/proc/1/comm")
	if err != nil || string(comm) != "systemd\n" {
		t.Errorf("PID 1 is %q, %v", comm, err)
	}
	if hostname, err := os.Hostname(); err != nil || hostname != "device" {
		t.Errorf("this is %q, %v", hostname, err)
	}
	if _, err := os.Stat("warden.sh"); err != nil {
		t.Errorf("this is not the directory of the package: %v", err)
	}
	if err := os.WriteFile("new-file", nil, 0o600); err == nil {
		t.Error("the module can be written")
	}
	switch deed {
	case "fail":
		t.Error("failed on purpose: $HOME and $$ are not replaced")
	case "crash":
		if err := exec.Command("systemctl", "--no-block", "--force", "--force", "poweroff").Run(); err != nil {
			t.Log(err)
		}
		select {}
	case "wait":
		fmt.Println("it waits")
		select {}
	}
}

// TestRunInside: a test binary runs in a machine as it would on the host, and what happens there is told.
func TestRunInside(t *testing.T) {
	Require(t)
	for _, c := range []struct {
		deed    string
		status  int
		says    []string
		saysNot string
		signal  os.Signal
	}{
		{deed: "pass", says: []string{"--- PASS: TestInside/", "PASS"}, saysNot: "journal"},
		{deed: "fail", status: 1, says: []string{"--- FAIL: TestInside", "failed on purpose", "the journal of the machine", "Reached target multi-user.target"}},
		{deed: "crash", status: 1, says: []string{"the machine ended under its tests", "Reached target multi-user.target"}},
		{deed: "wait", status: 2, says: []string{"SIGQUIT: quit", "main_test.go"}, signal: syscall.SIGQUIT},
	} {
		t.Run(c.deed, func(t *testing.T) {
			t.Parallel()
			args := []string{"-test.run=^TestInside$", "-test.v"}
			says := c.says
			if c.deed == "pass" {
				args[0] = "-test.run=^(TestInside|TestArguments)$" // the sign of the end is one that systemd-run would replace
				says = []string{"--- PASS: TestInside", "--- PASS: TestArguments"}
			}
			cmd := exec.Command(os.Args[0], args...)
			cmd.Env = append(os.Environ(), mainVariable+"="+c.deed)
			path := filepath.Join(t.TempDir(), "output")
			file, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			cmd.Stdout, cmd.Stderr = file, file
			output := func() string {
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				return string(text)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if c.signal != nil {
				until(t, "it waits", func() error {
					if !strings.Contains(output(), "it waits") {
						return errors.New(output())
					}
					return nil
				})
				if err := cmd.Process.Signal(c.signal); err != nil {
					t.Fatal(err)
				}
			}
			_ = cmd.Wait() // its state says it all
			if got := cmd.ProcessState.ExitCode(); got != c.status {
				t.Errorf("it ends with %d, wanted %d", got, c.status)
			}
			for _, want := range says {
				if !strings.Contains(output(), want) {
					t.Errorf("it does not say %q", want)
				}
			}
			if c.saysNot != "" && strings.Contains(output(), c.saysNot) {
				t.Errorf("it says %q", c.saysNot)
			}
			if t.Failed() {
				t.Log(output())
			}
		})
	}
}

// TestArguments: what makes sense on the host only does not come along, and directories that results go to do.
func TestArguments(t *testing.T) {
	args, writable := arguments([]string{"-test.v", "-test.testlogfile=/tmp/x/log", "-test.outputdir=/tmp/out", "--test.gocoverdir=/tmp/cover"})
	if got := strings.Join(args, " "); got != "-test.v -test.outputdir=/tmp/out --test.gocoverdir=/tmp/cover" {
		t.Errorf("the arguments are %s", got)
	}
	if len(writable) != 2 || writable[0].Source != "/tmp/out" || writable[1].Source != "/tmp/cover" {
		t.Errorf("writable are %v", writable)
	}
}
