package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// byHand installs a bundle at the console, see [support.BundlePath], starts it, and returns the unit that the agent makes of it.
func byHand(t *testing.T, d *support.Device, c *support.Console, bundle, name string) support.Unit {
	t.Helper()
	location := "file:" + support.BundlePath(t, bundle)
	c.Run("install " + location)
	id := bundleAt(t, c, location)
	c.Run(fmt.Sprintf("start %d", id))
	d.Until(name+" is found", func(tree *client.Tree) error {
		for _, u := range tree.ExecutionUnits {
			if u.Name == name && u.Status == "Active" {
				return nil
			}
		}
		return errors.New("it is not")
	})
	return unitNamed(t, d, name)
}

// bundleAt returns the id of the bundle at a location.
func bundleAt(t *testing.T, c *support.Console, location string) int {
	t.Helper()
	all := c.Bundles()
	i := slices.IndexFunc(all, func(b support.Bundle) bool { return b.Location == location })
	if i < 0 {
		t.Fatalf("no bundle is at %s: %v", location, all)
	}
	return all[i].ID
}

// keeps wants the framework's storage to have content as the newest of the bundle.
func keeps(t *testing.T, d *support.Device, env string, id int, content []byte) {
	t.Helper()
	root := filepath.Join(d.State, "env", env, "storage", "framework")
	var newest string
	var when int64
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		felix := strings.HasPrefix(path, filepath.Join(root, fmt.Sprintf("bundle%d", id))+"/") && e.Name() == "bundle.jar"
		equinox := strings.Contains(path, fmt.Sprintf("/%d/", id)) && e.Name() == "bundleFile"
		if !felix && !equinox {
			return nil
		}
		info, err := e.Info()
		if err == nil && info.ModTime().UnixNano() >= when {
			newest, when = path, info.ModTime().UnixNano()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(newest)
	if err != nil {
		t.Fatalf("bundle %d has no jar below %s: %v", id, root, err)
	}
	if !bytes.Equal(got, content) {
		t.Errorf("%s has %d bytes that are not the %d expected ones", newest, len(got), len(content))
	}
}

// What is installed at the framework's console is updated by the agent; an update that fails leaves what was found, byte for byte; and
// a Reset to the baseline that had it brings it back.
func TestFoundUnit(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework, InitialRunLevel: 5})
		c := d.InstallConsole(framework)
		u := byHand(t, d, c, "sample-1.0.0.jar", "org.smmd.sample")
		wantUnit(t, d, u, "1.0.0", "Active", true)
		location := "file:" + support.BundlePath(t, "sample-1.0.0.jar")
		id := bundleAt(t, c, location)
		if u.URL != "" {
			t.Errorf("its URL is %q", u.URL)
		}
		if _, err := d.Client.Update(t.Context(), u.Object, client.UpdateOptions{}); err == nil {
			t.Error("an update without a URL is accepted")
		}

		// The framework itself refuses the new content: there is a bundle of that name and version, which is another unit to the agent.
		other := d.InstallWith(d.URL("sample-2.0.0.jar"), client.InstallOptions{ExecEnv: framework, UUID: "0f9d3c7e-5d4b-5a63-9c4e-2b8f1d6a7c51"})
		wantFault(t, d.Job(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: d.URL("sample-2.0.0.jar")})), "VersionExists", 9032, 7226)
		wantUnit(t, d, u, "1.0.0", "Active", true)
		keeps(t, d, framework, id, d.Content("sample-1.0.0.jar"))
		agree(t, d, framework, c)
		d.Done(d.Client.Uninstall(t.Context(), other.Object))

		record(t, d, "with it")
		d.Done(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: d.URL("sample-2.0.0.jar")}))
		now := wantUnit(t, d, u, "2.0.0", "Active", true)
		if now.UUID != u.UUID || now.Alias != u.Alias || now.URL == "" || bundleAt(t, c, location) != id {
			t.Errorf("after the update it is %s, was %s", support.Show(now.DeploymentUnit), support.Show(u.DeploymentUnit))
		}
		keeps(t, d, framework, id, d.Content("sample-2.0.0.jar"))
		agree(t, d, framework, c)

		d.Files.Close()
		d.Done(d.Client.ResetExecEnv(t.Context(), envRow(t, d, framework), "cwmp"))
		c = d.Console(framework)
		agree(t, d, framework, c)
		wantUnit(t, d, u, "1.0.0", "Active", true)
		if now := d.Unit(u.Object); now.URL != "" {
			t.Errorf("after the Reset its URL is %q", now.URL)
		}
		keeps(t, d, framework, bundleAt(t, c, location), d.Content("sample-1.0.0.jar"))
	})
}

// A bundle that the agent installed is updated at the console: an update that fails goes back to that, and not to what the agent
// installed. One that was installed by reference is not updated.
func TestChangedAtTheConsole(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework})
		c := d.InstallConsole(framework)
		u := d.Install("sample-1.0.0.jar", framework)
		id := bundleAt(t, c, u.UUID)
		c.Run(fmt.Sprintf("update %d file:%s", id, support.BundlePath(t, "sample-1.5.0.jar")))
		untilUnit(t, d, u, "the row follows", func(now support.Unit) bool { return now.Version == "1.5.0" && now.EU.Status == "Active" })
		d.InstallWith(d.URL("sample-2.0.0.jar"), client.InstallOptions{ExecEnv: framework, UUID: "0f9d3c7e-5d4b-5a63-9c4e-2b8f1d6a7c51"})
		wantFault(t, d.Job(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: d.URL("sample-2.0.0.jar")})), "VersionExists", 9032, 7226)
		untilUnit(t, d, u, "it runs again", func(now support.Unit) bool { return now.EU.Status == "Active" })
		untilUnit(t, d, u, "it is as it was before the update that failed", func(now support.Unit) bool { return now.Version == "1.5.0" && now.URL == u.URL })
		keeps(t, d, framework, id, d.Content("sample-1.5.0.jar"))
		agree(t, d, framework, c)

		location := "reference:file:" + support.BundlePath(t, "throws-in-start-1.0.1.jar")
		c.Run("install " + location)
		c.Run(fmt.Sprintf("start %d", bundleAt(t, c, location)))
		d.Until("it is found", func(tree *client.Tree) error {
			for _, eu := range tree.ExecutionUnits {
				if eu.Name == "org.smmd.throws-in-start" && eu.Status == "Active" {
					return nil
				}
			}
			return errors.New("it is not")
		})
		referenced := unitNamed(t, d, "org.smmd.throws-in-start")
		before := fmt.Sprint(c.Bundles())
		j := d.Job(d.Client.Update(t.Context(), referenced.Object, client.UpdateOptions{URL: d.URL("throws-in-start-1.0.0.jar")}))
		if j.FaultName != "NotSupported" || !strings.Contains(j.FaultString, "by reference") {
			t.Errorf("%s is %s with %s %q", j, j.State, j.FaultName, j.FaultString)
		}
		if after := fmt.Sprint(c.Bundles()); after != before {
			t.Errorf("the bundles were\n%s and are\n%s", before, after)
		}
	})
}

// The agent is killed while the framework is asked for the package of what was found: the next one asks again, and the update succeeds.
func TestKillInExport(t *testing.T) {
	either(t, "equinox", func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework})
		c := d.InstallConsole(framework)
		u := byHand(t, d, c, "sample-1.0.0.jar", "org.smmd.sample")
		id := bundleAt(t, c, "file:"+support.BundlePath(t, "sample-1.0.0.jar"))
		url := d.URL("sample-2.0.0.jar")
		exports := filepath.Join(d.State, "exports")
		jvm := d.JVM(framework)
		jvm.Signal(t, syscall.SIGSTOP)
		job, err := d.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: url})
		support.Until(t, "the export has begun", func() error {
			begun, err := os.ReadDir(exports)
			if err == nil && len(begun) == 0 {
				err = errors.New("it has not")
			}
			return err
		})
		d.Kill()
		jvm.Signal(t, syscall.SIGCONT)
		if left, err := os.ReadDir(exports); err != nil || len(left) != 1 {
			t.Errorf("the agent was killed at another time: %v, %v", left, err)
		}
		d.Start()
		d.Done(job, err)
		wantUnit(t, d, u, "2.0.0", "Active", true)
		keeps(t, d, framework, id, d.Content("sample-2.0.0.jar"))
		agree(t, d, framework, c)
		if left, err := os.ReadDir(exports); err != nil || len(left) > 0 {
			t.Errorf("there is left %v, %v", left, err)
		}
	})
}
