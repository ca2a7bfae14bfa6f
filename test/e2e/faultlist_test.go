package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// trouble tells the bundle of that name what to do: see the README of the test bundles.
type trouble struct {
	t   *testing.T
	dir string
}

func newTrouble(t *testing.T) trouble { return trouble{t, t.TempDir()} }

// properties are what the framework has to know of it.
func (x trouble) properties() map[string]string { return map[string]string{"smmd.test.trouble": x.dir} }

// on makes the bundle do something when it starts or stops, or later, while it is active: until it is off again.
func (x trouble) on(when string, words ...string) {
	x.t.Helper()
	fresh := filepath.Join(x.dir, "fresh")
	err := os.WriteFile(fresh, []byte(strings.Join(words, "\n")), 0o600)
	if err := errors.Join(err, os.Rename(fresh, filepath.Join(x.dir, when))); err != nil {
		x.t.Fatal(err)
	}
}

func (x trouble) off(when string) {
	x.t.Helper()
	if err := os.Remove(filepath.Join(x.dir, when)); err != nil {
		x.t.Fatal(err)
	}
}

// message are the words for an exception with this message.
func message(text string) []string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(text)) {
		fmt.Fprintf(&b, "\\u%04x", unit)
	}
	return []string{"do=throw", "message=" + b.String()}
}

// wantRest waits until an execution unit is as it should be in the end: idle with a fault, or as it is without one.
func wantRest(t *testing.T, d *support.Device, u support.Unit, status, code, message string) {
	t.Helper()
	d.Until(fmt.Sprintf("%s is %s with %s %q", u.Name, status, code, message), func(tree *client.Tree) error {
		eu := tree.ExecutionUnit(u.EU.Object)
		if eu == nil {
			return errors.New("it is gone")
		}
		if eu.Status != status || eu.FaultCode != code || eu.FaultMessage != message {
			return fmt.Errorf("it is %s with %s %q", eu.Status, eu.FaultCode, eu.FaultMessage)
		}
		return nil
	})
}

const firstEnv = "Device.SoftwareModules.ExecEnv.1."

// level moves the environment of a device to a run level and waits until it is there.
func level(t *testing.T, d *support.Device, n int32) {
	t.Helper()
	env := client.ObjectPath(client.KindExecEnv, 1)
	if err := d.Client.SetRunLevel(t.Context(), env, n); err != nil {
		t.Fatal(err)
	}
	d.Until("the level is reached", func(tree *client.Tree) error {
		if e := tree.ExecEnv(env); e.CurrentRunLevel != int64(n) {
			return fmt.Errorf("it is %d", e.CurrentRunLevel)
		}
		return nil
	})
}

// A bundle can fail at every occasion at which it is started or stopped. Each shows as the fault of that occasion, with the bundle's own
// words, and goes with the next thing that succeeds; its neighbors are not touched.
func TestFaultOfEachOccasion(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		x := newTrouble(t)
		d := boot(t, support.Env{Framework: framework, Properties: x.properties()})
		c := d.InstallConsole(framework)
		good, provider := d.Install("sample-1.0.0.jar", framework), d.Install("provider-1.0.0.jar", framework)
		x.on("start", message("not at the install")...)
		bad := d.Install("trouble-1.0.0.jar", framework)
		// after checks the bad unit and that everybody says the same of everything.
		after := func(t *testing.T, status, code, message string) {
			t.Helper()
			wantRest(t, d, bad, status, code, message)
			agree(t, d, framework, c)
			wantUnit(t, d, good, "1.0.0", "Active", true)
		}
		request := func(t *testing.T, start bool, fault string) {
			t.Helper()
			call := d.Client.Stop
			if start {
				call = d.Client.Start
			}
			path, err := call(t.Context(), bad.EU.Object)
			if fault == "" {
				d.Done(path, err)
				return
			}
			wantFault(t, d.Job(path, err), fault, 9001, 7002)
		}
		if !bad.EU.AutoStart {
			t.Error("a unit that could not be started has no AutoStart")
		}
		after(t, "Idle", "FailureOnAutoStart", "not at the install")

		t.Run("start", func(t *testing.T) {
			x.on("start", message("not at the start")...)
			request(t, true, "StartFailed")
			after(t, "Idle", "FailureOnStart", "not at the start")
			x.off("start")
			request(t, true, "")
			after(t, "Active", "NoFault", "")
		})
		t.Run("stop", func(t *testing.T) {
			x.on("stop", message("not at the stop")...)
			request(t, false, "StopFailed")
			after(t, "Idle", "FailureOnStop", "not at the stop")
			request(t, true, "")
			after(t, "Active", "NoFault", "")
			request(t, false, "StopFailed")
			x.off("stop")
			request(t, true, "")
			request(t, false, "")
			after(t, "Idle", "NoFault", "")
		})
		t.Run("setting AutoStart", func(t *testing.T) {
			x.on("start", message("not for the flag")...)
			set(t, d, bad.EU.Path+".AutoStart", "false")
			after(t, "Idle", "NoFault", "")
			before := d.Tree()
			if _, err := d.Client.SetParameterValues(t.Context(), client.Parameter{Path: bad.EU.Path + ".AutoStart", Value: "true"}); err != nil {
				t.Fatal(err)
			}
			for _, j := range d.Tree().Jobs {
				if before.Job(j.Object) == nil {
					wantFault(t, d.Job(j.Object, nil), "StartFailed", 9001, 7002)
				}
			}
			after(t, "Idle", "FailureOnStart", "not for the flag")
			untilUnit(t, d, bad, "its AutoStart is true", func(u support.Unit) bool { return u.EU.AutoStart })
			x.off("start")
			request(t, true, "")
			after(t, "Active", "NoFault", "")
		})
		t.Run("run level", func(t *testing.T) {
			set(t, d, bad.EU.Path+".RunLevel", "3")
			after(t, "Idle", "NoFault", "")
			x.on("start", message("not at level 3")...)
			level(t, d, 3)
			after(t, "Idle", "FailureOnAutoStart", "not at level 3")
			x.off("start")
			level(t, d, 1)
			level(t, d, 3)
			after(t, "Active", "NoFault", "")
			x.on("stop", message("not below level 3")...)
			level(t, d, 1)
			after(t, "Idle", "FailureOnStop", "not below level 3")
			x.off("stop")
			level(t, d, 3)
			after(t, "Active", "NoFault", "")
			set(t, d, bad.EU.Path+".RunLevel", "1")
			level(t, d, 1)
			after(t, "Active", "NoFault", "")
		})
		t.Run("launch", func(t *testing.T) {
			x.on("start", message("not at the launch")...)
			env := client.ObjectPath(client.KindExecEnv, 1)
			d.Done(d.Client.RestartExecEnv(t.Context(), env, ""))
			c = d.Console(framework)
			after(t, "Idle", "FailureOnAutoStart", "not at the launch")
			d.Restart() // the fault is the framework's to remember
			d.Up()
			after(t, "Idle", "FailureOnAutoStart", "not at the launch")
			x.off("start")
			d.Done(d.Client.RestartExecEnv(t.Context(), env, ""))
			c = d.Console(framework)
			after(t, "Active", "NoFault", "")
		})
		t.Run("refresh", func(t *testing.T) {
			x.on("start", message("not once more")...)
			d.Done(d.Client.Update(t.Context(), provider.Object, client.UpdateOptions{URL: d.URL("provider-2.0.0.jar")}))
			after(t, "Idle", "FailureWhileActive", "not once more")
			wantUnit(t, d, provider, "2.0.0", "Active", true)
			x.off("start")
			request(t, true, "")
			after(t, "Active", "NoFault", "")
		})
		t.Run("update", func(t *testing.T) {
			x.on("start", message("not the new version")...)
			d.Done(d.Client.Update(t.Context(), bad.Object, client.UpdateOptions{URL: d.URL("trouble-2.0.0.jar")}))
			after(t, "Idle", "FailureOnAutoStart", "not the new version")
			x.off("start")
			d.Done(d.Client.Update(t.Context(), bad.Object, client.UpdateOptions{URL: d.URL("trouble-1.0.0.jar")}))
			after(t, "Idle", "NoFault", "")
			request(t, true, "")
			after(t, "Active", "NoFault", "")
		})
		t.Run("lazy activation", func(t *testing.T) {
			lazy := d.Install("lazy-1.0.0.jar", framework)
			wantRest(t, d, lazy, "Starting", "NoFault", "")
			after(t, "Active", "NoFault", "")
			id := 0
			for _, b := range c.Bundles() {
				if strings.HasSuffix(lazy.EU.EUID, "/"+b.Location) {
					id = b.ID
				}
			}
			c.Run(fmt.Sprintf("which %d org.smmd.bundles.lazy.Activator", id))
			wantRest(t, d, lazy, "Active", "NoFault", "")
			after(t, "Active", "NoFault", "")
			d.Done(d.Client.Stop(t.Context(), lazy.EU.Object))
			wantRest(t, d, lazy, "Idle", "NoFault", "")
			after(t, "Active", "NoFault", "")
		})
	})
}

// consoleAgrees waits until the console of an environment and the tree say the same.
func consoleAgrees(t *testing.T, d *support.Device, c *support.Console) {
	t.Helper()
	d.Until("framework and tree agree", func(tree *client.Tree) error { return framework(tree, c.Env, c) })
}

// inXML is how a character is told in CWMP, which is written in XML 1.0.
func inXML(r rune) rune {
	if r < ' ' && !strings.ContainsRune("\t\n\r", r) || r == 0xFFFE || r == 0xFFFF {
		return utf8.RuneError
	}
	return r
}

// What a bundle says about its failure may be anything. It arrives whole as far as it may, and costs nothing.
func TestFaultMessages(t *testing.T) {
	either(t, "felix", func(t *testing.T, framework string) {
		x := newTrouble(t)
		d := boot(t, support.Env{Framework: framework, Properties: x.properties()})
		c := d.InstallConsole(framework)
		good, bad := d.Install("sample-1.0.0.jar", framework), d.Install("trouble-1.0.0.jar", framework)
		d.Done(d.Client.Stop(t.Context(), bad.EU.Object))
		million := []string{"do=throw", "message=x", "times=1000000"}
		for _, test := range []struct {
			name  string
			words []string
			want  string
		}{
			{"none", []string{"do=throw"}, "java.lang.IllegalStateException"},
			{"an empty one", []string{"do=throw", "message="}, "java.lang.IllegalStateException"},
			{"256 characters", message(strings.Repeat("ä", 256)), strings.Repeat("ä", 256)},
			{"257 characters", message(strings.Repeat("ä", 257)), strings.Repeat("ä", 255) + "…"},
			{"pairs of surrogates", message(strings.Repeat("😀", 300)), strings.Repeat("😀", 255) + "…"},
			{"a million characters", million, strings.Repeat("x", 255) + "…"},
			{"lines", message("first\nsecond\r\n\tthird"), "first\nsecond\r\n\tthird"},
			{"control characters", message("\x01\a\b\x1b[31m\x7f\u0085\u2028"), "\x01\a\b\x1b[31m\x7f\u0085\u2028"},
			{"what XML and JSON know", message(`"<a>&amp;</a>" \ ]]> 'b'`), `"<a>&amp;</a>" \ ]]> 'b'`},
			{"noncharacters", message("\ufffe\ufdd0\ufeff"), "\ufffd\ufffd\ufeff"},
			{"lone surrogates", []string{"do=throw", `message=a\ud800b\udc00\ud83dc`}, "a?b??c"},
			{"a zero", message("before\x00after"), "before\ufffdafter"},
		} {
			t.Run(test.name, func(t *testing.T) {
				x.on("start", test.words...)
				wantFault(t, d.Job(d.Client.Start(t.Context(), bad.EU.Object)), "StartFailed", 9001, 7002)
				wantRest(t, d, bad, "Idle", "FailureOnStart", test.want)
				values, err := d.Client.GetParameterValues(t.Context(), bad.EU.Path+".ExecutionFaultMessage")
				if err != nil || len(values) != 1 || values[0].Value != strings.Map(inXML, test.want) {
					t.Errorf("in CWMP it is %q: %v", values, err)
				}
				if stdout, stderr, status := d.Run("busctl", "--address="+d.Bus, "get-property", client.BusName, string(bad.EU.Object),
					"org.smmd.ExecutionUnit1", "ExecutionFaultMessage"); status != 0 || !strings.HasPrefix(stdout, "s ") {
					t.Errorf("busctl says %q, %s", stdout, stderr)
				}
				consoleAgrees(t, d, c)
			})
		}
		x.on("start", million...)
		memory := d.Memory()
		for range 20 {
			d.Job(d.Client.Start(t.Context(), bad.EU.Object))
		}
		if now := d.Memory(); now > memory+8<<20 {
			t.Errorf("the agent had %d bytes of memory and has %d", memory, now)
		}
		for name, v := range plain(managed(t, d)) {
			if n := len(fmt.Sprint(v)); n > 8<<10 {
				t.Errorf("%s has %d bytes", name, n)
			}
		}
		wantUnit(t, d, good, "1.0.0", "Active", true)
		x.off("start")
		d.Done(d.Client.Start(t.Context(), bad.EU.Object))
		wantUnit(t, d, bad, "1.0.0", "Active", true)
		agree(t, d, framework, c)
	})
}
