package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/support"
)

// older are other versions of the frameworks than the one that tests run with, in descending order.
var older = map[string][]string{
	"felix":   {"org.apache.felix.framework-7.0.3.jar", "org.apache.felix.framework-7.0.1.jar"},
	"equinox": {"org.eclipse.osgi-3.22.0.jar", "org.eclipse.osgi-3.18.600.jar"},
}

// versionOf is the version in the name of a jar of [older].
func versionOf(jar string) string {
	return strings.TrimSuffix(jar[strings.LastIndexByte(jar, '-')+1:], ".jar")
}

// edit changes agent.toml: a pattern that is there once becomes another text. The next start of the agent reads it.
func edit(t *testing.T, d *support.Device, pattern, text string) {
	t.Helper()
	content, err := os.ReadFile(d.Config)
	if err != nil {
		t.Fatal(err)
	}
	re := regexp.MustCompile(pattern)
	if n := len(re.FindAll(content, -1)); n != 1 {
		t.Fatalf("agent.toml has %q %d times:\n%s", pattern, n, content)
	}
	if err := os.WriteFile(d.Config, re.ReplaceAll(content, []byte(text)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// useFramework makes agent.toml name another jar as the framework of an environment, and returns the one that it named before.
func useFramework(t *testing.T, d *support.Device, env, jar string) (before string) {
	t.Helper()
	content, err := os.ReadFile(d.Config)
	if err != nil {
		t.Fatal(err)
	}
	pattern := `(\nname = "` + env + `"\n(?:[^\[][^\n]*\n)*\[exec_env\.osgi\]\nframework = )"([^"]*)"`
	found := regexp.MustCompile(pattern).FindSubmatch(content)
	if found == nil {
		t.Fatalf("agent.toml has no environment %s:\n%s", env, content)
	}
	edit(t, d, pattern, fmt.Sprintf("${1}%q", jar))
	return string(found[2])
}

// A gate is a java for agent.toml that lets nobody through while it is closed: a launch hangs.
type gate struct {
	t          *testing.T
	java, mark string
}

func newGate(t *testing.T) gate {
	t.Helper()
	dir := t.TempDir()
	g := gate{t, filepath.Join(dir, "java"), filepath.Join(dir, "closed")}
	script := fmt.Sprintf("#!/bin/sh\nwhile [ -e %q ]; do sleep 0.1; done\nexec %q \"$@\"\n", g.mark, support.Program(t, "java"))
	if err := os.WriteFile(g.java, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g gate) close() {
	g.t.Helper()
	if err := os.WriteFile(g.mark, nil, 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func (g gate) open() {
	g.t.Helper()
	if err := os.Remove(g.mark); err != nil {
		g.t.Fatal(err)
	}
}

// works does everything that can be asked of an environment, to the end of it.
func works(t *testing.T, d *support.Device, env string, c *support.Console) {
	t.Helper()
	u := d.Install("sample-1.0.0.jar", env)
	d.Done(d.Client.Stop(t.Context(), u.EU.Object))
	d.Done(d.Client.Start(t.Context(), u.EU.Object))
	d.Done(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: d.URL("sample-2.0.0.jar")}))
	set(t, d, u.EU.Path+".RunLevel", "4", u.EU.Path+".AutoStart", "true")
	for _, level := range []int32{4, 1} {
		if err := d.Client.SetRunLevel(t.Context(), u.ExecEnv, level); err != nil {
			t.Fatal(err)
		}
		wantStates(t, d, []support.Unit{u}, map[int32]string{1: "Idle", 4: "Active"}[level])
		c.Run("lb") // it answers
	}
	d.Done(d.Client.Uninstall(t.Context(), u.Object))
}

// Whatever one framework does and whatever becomes of it, two others on the same device, of another make and of another version, are not
// held up: all that is asked of them ends while it is still open in the first.
func TestParallelEnvironments(t *testing.T) {
	either(t, "felix", func(t *testing.T, framework string) {
		g, release := newGate(t), filepath.Join(t.TempDir(), "release")
		d := support.New(t, support.Options{Programs: programs, Envs: []support.Env{
			{
				Name: "one", Framework: framework, Properties: map[string]string{"smmd.test.release": release},
				Settings: fmt.Sprintf("java = %q\nstart_timeout = \"100s\"\ncall_timeout = \"100s\"\n", g.java),
			},
			{Name: "two", Framework: frameworks[1-slices.Index(frameworks, framework)]},
			{Name: "three", Framework: framework},
		}})
		useFramework(t, d, "three", support.BundlePath(t, "real/"+older[framework][0]))
		d.Start()
		tree := d.Up()
		if one, two, three := tree.ExecEnvs[0], tree.ExecEnvs[1], tree.ExecEnvs[2]; one.Vendor == two.Vendor || one.Vendor != three.Vendor ||
			!strings.HasPrefix(three.Version, versionOf(older[framework][0])) || one.Version == three.Version {
			t.Errorf("the environments are %s, %s, %s", support.Show(one), support.Show(two), support.Show(three))
		}
		no := false
		first := d.Install("sample2-1.0.0.jar", "one")
		start := d.InstallWith(d.URL("hangs-in-start-1.0.0.jar"), client.InstallOptions{ExecEnv: "one", AutoStart: &no})
		stop := d.InstallWith(d.URL("hangs-in-stop-1.0.0.jar"), client.InstallOptions{ExecEnv: "one", AutoStart: &no})
		exit := d.InstallWith(d.URL("exit-1.0.0.jar"), client.InstallOptions{ExecEnv: "one", AutoStart: &no})
		d.InstallConsole("one")
		others := map[string]*support.Console{"two": d.InstallConsole("two"), "three": d.InstallConsole("three")}
		pids := map[string]int{"two": d.JVM("two").PID, "three": d.JVM("three").PID}
		one, other := "two", "three"
		work := func(t *testing.T) {
			t.Helper()
			works(t, d, one, others[one])
			u := d.Install("sample-1.0.0.jar", other)
			d.Done(d.Client.Stop(t.Context(), u.EU.Object))
			d.Done(d.Client.Uninstall(t.Context(), u.Object))
			one, other = other, one // next time the other way round
		}
		begin := func(job dbus.ObjectPath, err error) dbus.ObjectPath {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			return job
		}
		// open checks that a job has not ended.
		open := func(t *testing.T, job dbus.ObjectPath) {
			t.Helper()
			if j, err := d.Client.Job(t.Context(), job); err != nil || j.Final() {
				t.Errorf("the job of the first environment ended before those of the others: %s, %v", show(j), err)
			}
		}
		in := func(t *testing.T, job dbus.ObjectPath, state string) {
			t.Helper()
			support.Until(t, "the job is "+state, func() error {
				j, err := d.Client.Job(t.Context(), job)
				if err == nil && j.State != state {
					err = fmt.Errorf("it is %s", show(j))
				}
				return err
			})
		}
		down := func(t *testing.T) {
			t.Helper()
			if e := d.Tree().ExecEnvs[0]; e.Status != "Error" || e.StatusDetail == "" {
				t.Errorf("the first environment is %s: %q", e.Status, e.StatusDetail)
			}
		}
		released := func(t *testing.T, f func()) {
			t.Helper()
			if err := os.WriteFile(release, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			f()
			if err := os.Remove(release); err != nil {
				t.Fatal(err)
			}
		}

		t.Run("a start hangs", func(t *testing.T) {
			job := begin(d.Client.Start(t.Context(), start.EU.Object))
			in(t, job, "starting")
			work(t)
			open(t, job)
			released(t, func() { d.Done(job, nil) })
		})
		t.Run("a stop hangs", func(t *testing.T) {
			d.Done(d.Client.Start(t.Context(), stop.EU.Object))
			job := begin(d.Client.Stop(t.Context(), stop.EU.Object))
			in(t, job, "stopping")
			work(t)
			open(t, job)
			released(t, func() { d.Done(job, nil) })
		})
		t.Run("a transfer stalls", func(t *testing.T) {
			more := make(chan struct{})
			url := d.Serve("/stalls.jar", fileserver.File{Content: d.Content("sample-1.0.0.jar"), Hang: fileserver.Bytes(100), Release: more})
			job := begin(d.Client.Install(t.Context(), url, client.InstallOptions{ExecEnv: "one"}))
			in(t, job, "fetching")
			work(t)
			open(t, job)
			close(more)
			u := d.InstallWith(d.URL("lazy-1.0.0.jar"), client.InstallOptions{ExecEnv: "one"})
			d.Done(job, nil)
			d.Done(d.Client.Uninstall(t.Context(), u.Object))
		})
		t.Run("the JVM hangs in an install", func(t *testing.T) {
			url := d.Serve("/large.jar", fileserver.File{Content: inflated(t, d.Content("provider-1.0.0.jar"), 24<<20)})
			jvm := d.JVM("one")
			jvm.Signal(t, syscall.SIGSTOP)
			job := begin(d.Client.Install(t.Context(), url, client.InstallOptions{ExecEnv: "one"}))
			in(t, job, "installing")
			work(t)
			open(t, job)
			jvm.Signal(t, syscall.SIGCONT)
			d.Done(job, nil)
		})
		t.Run("the JVM is killed and its launch hangs", func(t *testing.T) {
			g.close()
			d.JVM("one").Kill(t)
			d.Until("the loss is told", func(tree *client.Tree) error {
				if e := tree.ExecEnvs[0]; e.Status != "Error" {
					return errors.New(e.Status)
				}
				return nil
			})
			job := begin(d.Client.Start(t.Context(), first.EU.Object))
			work(t)
			open(t, job)
			down(t)
			g.open()
			d.Done(job, nil)
			d.Up()
		})
		t.Run("a bundle ends the JVM", func(t *testing.T) {
			g.close()
			job := begin(d.Client.Start(t.Context(), exit.EU.Object))
			d.Until("the loss is told", func(tree *client.Tree) error {
				if e := tree.ExecEnvs[0]; e.Status != "Error" {
					return errors.New(e.Status)
				}
				return nil
			})
			work(t)
			open(t, job)
			down(t)
			g.open()
			if j := d.Job(job, nil); j.State != client.JobFailed {
				t.Error(show(j))
			}
			d.Up()
		})
		t.Run("its launch hangs when the agent starts", func(t *testing.T) {
			g.close()
			d.Stop()
			d.JVM("one").Kill(t)
			d.Start()
			d.Until("the others are up", func(tree *client.Tree) error {
				if tree.ExecEnvs[1].Status != "Up" || tree.ExecEnvs[2].Status != "Up" {
					return fmt.Errorf("they are %s and %s", tree.ExecEnvs[1].Status, tree.ExecEnvs[2].Status)
				}
				return nil
			})
			work(t)
			down(t)
			g.open()
			d.Up()
		})
		for _, wrong := range []struct{ name, jar, detail string }{
			{"its framework is not there", filepath.Join(d.Dir, "nothing.jar"), filepath.Join(d.Dir, "nothing.jar") + ": no such file"},
			{"its framework is none", support.BundlePath(t, "plain.jar"), "cannot launch it: "},
		} {
			t.Run(wrong.name, func(t *testing.T) {
				d.Stop()
				right := useFramework(t, d, "one", wrong.jar)
				d.JVM("one").Kill(t)
				d.Start()
				d.Until("the others are up, and what is wrong with the first is told", func(tree *client.Tree) error {
					if tree.ExecEnvs[1].Status != "Up" || tree.ExecEnvs[2].Status != "Up" {
						return fmt.Errorf("they are %s %s, %s %s", tree.ExecEnvs[1].Status, tree.ExecEnvs[1].StatusDetail, tree.ExecEnvs[2].Status, tree.ExecEnvs[2].StatusDetail)
					}
					if e := tree.ExecEnvs[0]; e.Status != "Error" || !strings.Contains(e.StatusDetail, wrong.detail) {
						return fmt.Errorf("it is %s: %q", e.Status, e.StatusDetail)
					}
					return nil
				})
				t.Log(d.Tree().ExecEnvs[0].StatusDetail)
				work(t)
				down(t)
				d.Stop()
				useFramework(t, d, "one", right)
				d.Start()
				d.Up()
			})
		}
		others["one"] = d.Console("one")
		for env, c := range others {
			agree(t, d, env, c)
		}
		wantUnit(t, d, first, "1.0.0", "Active", true)
		for env, pid := range pids {
			if now := d.JVM(env).PID; now != pid {
				t.Errorf("the JVM of %s was process %d and is %d", env, pid, now)
			}
		}
	})
}
