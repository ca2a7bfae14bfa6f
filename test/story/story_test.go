// Package story plays whole days of a device as those live them for whom smmd is made: an adapter for CWMP, and a USP Broker. They are
// programs in another language that share no code with ours; what they know is in docs/dbus.md, docs/usp.md and the standards. The
// device is real: the agent with a real framework, on a bus of its own.
//
// A script says on its standard output what it has seen ("ok step …") and what is to be done to the device ("? kill"), and hears on
// its standard input that this is done, with a line of JSON on the device as it is then; the first such line comes by itself. It ends
// with a status other than 0, and says why, at the first thing that is not as it should be.
package story

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smmd-project/smmd/test/support"
)

// programs are what is tested, built once.
var programs support.Programs

func TestMain(m *testing.M) { support.Main(m, "story", &programs) }

// python is the interpreter that Debian's modules are for, wherever another one may come first.
const python = "/usr/bin/python3"

// length is how long a story may take. It is no measure of anything.
const length = 4 * time.Minute

// A CWMP client, from the bootstrap to autonomous changes, with an agent that ends and comes back.
func TestCWMPClient(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command(python, "-c", "from gi.repository import Gio").CombinedOutput(); err != nil {
		support.Missing(t, fmt.Sprintf("PyGObject (package python3-gi; %v, %s)", err, out))
	}
	play(t, "acs.py", "sample-1.0.0.jar", "sample2-1.0.0.jar", "provider-1.0.0.jar", "provider-2.0.0.jar")
}

// A USP Broker with a controller, behind which the agent is a Service.
func TestUSPController(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(python); err != nil {
		support.Missing(t, python)
	}
	play(t, "controller.py", "sample-1.0.0.jar", "sample2-1.0.0.jar")
}

// play lets a script play with a device whose file server has these bundles.
func play(t *testing.T, script string, bundles ...string) {
	t.Helper()
	d := support.Boot(t, support.Options{Programs: programs})
	for _, b := range bundles {
		d.URL(b)
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-B", script)
	var said, complaint bytes.Buffer
	cmd.Stderr = &complaint
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Not in the environment or the arguments: a process with a path of the device there is taken for a part of it.
	tell := func() {
		if err := json.NewEncoder(in).Encode(map[string]string{
			"bus": d.Bus, "files": d.Files.URL, "smmd": programs.Smmd, "smmctl": programs.Smmctl, "config": d.Config, "broker": filepath.Join(d.Dir, "broker"),
		}); err != nil {
			t.Fatalf("cannot tell %s of the device: %v", script, err)
		}
	}
	over := false
	defer func() { // also when the device ends the test
		if !over {
			cancel()
			_ = cmd.Wait() // it was killed
			t.Logf("%s had said:\n%s%s", script, &said, &complaint)
		}
	}()
	tell()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		fmt.Fprintf(&said, "%s\n", line)
		if wish, ok := strings.CutPrefix(line, "? "); ok {
			end(t, d, wish)
			d.Start()
			tell()
		}
	}
	err = cmd.Wait()
	over = true
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", script, err, &said, &complaint)
	}
	t.Logf("%s:\n%s", script, &said)
}

// end ends the agent in a way that a script wishes.
func end(t *testing.T, d *support.Device, wish string) {
	t.Helper()
	switch wish {
	case "restart":
		d.Stop()
	case "kill":
		d.Kill()
	case "reboot": // as far as a process can tell
		framework := d.JVM("felix")
		d.Kill()
		framework.Kill(t)
	default:
		t.Fatalf("the script wishes %q", wish)
	}
}
