package e2e

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/support"
)

// await waits until a job has come to a state.
func (k *crash) await(job dbus.ObjectPath, state string) {
	k.t.Helper()
	support.Until(k.t, string(job)+" is "+state, func() error {
		switch j, err := k.Client.Job(k.t.Context(), job); {
		case err != nil:
			return err
		case j.Final():
			k.t.Fatalf("%s ended too early: %s", j, j.State)
			return nil
		case j.State != state:
			return fmt.Errorf("it is %s", j.State)
		}
		return nil
	})
}

// one returns the one job that the device has beyond those of before, once it has ended.
func (k *crash) one(before *client.Tree, path dbus.ObjectPath) *client.Job {
	k.t.Helper()
	j := k.Job(path, nil)
	for _, other := range k.Tree().Jobs {
		if other.Object != path && before.Job(other.Object) == nil {
			k.t.Errorf("besides %s there is %s, %s %s", j, other, other.Operation, other.State)
		}
	}
	return j
}

// begun is the error of a call that began a job which the test waits for by itself.
func (k *crash) begun(job dbus.ObjectPath, err error) dbus.ObjectPath {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
	return job
}

// hanging lets a call into the environment hang, kills one process in it, and lets it go on. begin begins the job, which is in state
// when it makes the call.
func (k *crash) hanging(v victim, state string, begin func() (dbus.ObjectPath, error)) *client.Job {
	k.t.Helper()
	k.fresh()
	before, jvm := k.Tree(), k.JVM(k.env)
	jvm.Signal(k.t, syscall.SIGSTOP)
	job := k.begun(begin())
	k.await(job, state)
	if v == theAgent {
		k.Kill() // the next one finds a framework that goes on
		jvm.Signal(k.t, syscall.SIGCONT)
		k.Start()
		k.kills = 0
	} else {
		k.die(v)
		if v != theJVM {
			jvm.Signal(k.t, syscall.SIGCONT)
		}
	}
	j := k.one(before, job)
	k.whole(v)
	return j
}

// during kills one process while a job is in a state, in which it stays for a while by itself.
func (k *crash) during(v victim, state string, begin func() (dbus.ObjectPath, error)) *client.Job {
	k.t.Helper()
	k.fresh()
	before := k.Tree()
	job := k.begun(begin())
	k.await(job, state)
	k.die(v)
	j := k.one(before, job)
	k.whole(v)
	return j
}

func wantDone(t *testing.T, j *client.Job) {
	t.Helper()
	if err := j.Err(); err != nil {
		t.Fatalf("%s %s: %v", j, j.Operation, err)
	}
}

// inflated returns a bundle with so many more bytes in it that a framework has to work on it.
func inflated(t *testing.T, content []byte, more int) []byte {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range r.File {
		if err := w.Copy(f); err != nil {
			t.Fatal(err)
		}
	}
	noise, err := w.CreateHeader(&zip.FileHeader{Name: "noise.bin", Method: zip.Store})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(noise, rand.NewChaCha8([32]byte{1}), int64(more)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// resumed serves a bundle that comes only in part until the agent has been killed, and checks that the next agent asked for the rest.
func (k *crash) resumed(path string, content []byte, begin func(url string) (dbus.ObjectPath, error)) *client.Job {
	k.t.Helper()
	half := int64(len(content) / 2)
	url := k.Serve(path, fileserver.File{Content: content, Hang: fileserver.Bytes(half)})
	before := k.Tree()
	job := k.begun(begin(url))
	support.Until(k.t, "half of the file is there", func() error {
		parts, err := filepath.Glob(filepath.Join(k.State, "packages", "spool", "*.part"))
		if err != nil || len(parts) != 1 {
			return fmt.Errorf("the spool has %v, %w", parts, err)
		}
		if info, err := os.Stat(parts[0]); err != nil || info.Size() < half {
			return fmt.Errorf("there is less: %w", err)
		}
		return nil
	})
	k.await(job, "fetching")
	k.Kill()
	k.Serve(path, fileserver.File{Content: content})
	k.Start()
	k.kills = 0
	j := k.one(before, job)
	var asked []string
	for _, r := range k.Files.Log() {
		if r.Path == path {
			asked = append(asked, r.Header.Get("Range"))
		}
	}
	var from int64
	if len(asked) == 2 && asked[0] == "" {
		_, _ = fmt.Sscanf(asked[1], "bytes=%d-", &from) // 0 is wrong
	}
	if from < half-64<<10 || from > half { // a little of what is there may be compared
		k.t.Errorf("the file server was asked for the ranges %q, when %d bytes were there", asked, half)
	}
	k.whole(theAgent)
	return j
}

// unitOf returns the unit that a job of an install names.
func (k *crash) unitOf(j *client.Job) support.Unit {
	k.t.Helper()
	wantDone(k.t, j)
	for _, path := range j.Objects {
		if r, ok := client.ParseRef(string(path)); ok && r.Kind() == client.KindDeploymentUnit {
			return k.Unit(path)
		}
	}
	k.t.Fatalf("%s names no deployment unit", j)
	return support.Unit{}
}

// clean removes a unit and checks that it leaves nothing.
func (k *crash) clean(u support.Unit, before traces) {
	k.t.Helper()
	k.Done(k.Client.Uninstall(k.t.Context(), u.Object))
	k.nothing(before)
	agree(k.t, k.Device, k.env, k.c)
}

// nothing checks that nothing is left but what was there before, whatever launch of the framework it is in now.
func (k *crash) nothing(before traces) {
	k.t.Helper()
	strip := func(all objects) map[string]any {
		out := plain(all)
		for name := range out {
			if strings.HasSuffix(name, " Name") && strings.Contains(name, "/ExecEnv/") {
				delete(out, name)
			}
		}
		return out
	}
	support.Until(k.t, "nothing is left", func() error {
		after := tracesOf(k.t, k.Device, k.c)
		if diff := cmp.Diff(before.Packages, after.Packages) + cmp.Diff(before.Bundles, after.Bundles) + cmp.Diff(before.Stored, after.Stored) +
			cmp.Diff(strip(before.Rows), strip(after.Rows)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// An install goes on where it was, whoever dies in it, and ends done.
func TestKillInstall(t *testing.T) {
	either(t, "felix", func(t *testing.T, framework string) {
		k := newCrash(t, support.Env{Framework: framework, InitialRunLevel: 2})
		agree(t, k.Device, k.env, k.c)
		before := tracesOf(t, k.Device, k.c)
		install := func(bundle string) func() (dbus.ObjectPath, error) {
			return func() (dbus.ObjectPath, error) {
				return k.Client.Install(t.Context(), k.URL(bundle), client.InstallOptions{ExecEnv: k.env})
			}
		}

		t.Run("agent in the transfer", func(t *testing.T) {
			j := k.resumed("/resumed.jar", k.Content("large-1.0.0.jar"), func(url string) (dbus.ObjectPath, error) {
				return k.Client.Install(t.Context(), url, client.InstallOptions{ExecEnv: k.env})
			})
			u := k.unitOf(j)
			wantUnit(t, k, u, "1.0.0", "Active", true)
			k.clean(u, before)
		})
		t.Run("adapter and JVM in the transfer", func(t *testing.T) {
			release := make(chan struct{})
			content := k.Content("sample-1.0.0.jar")
			url := k.Serve("/held.jar", fileserver.File{Content: content, Hang: fileserver.Bytes(100), Release: release})
			tree := k.Tree()
			job := k.begun(k.Client.Install(t.Context(), url, client.InstallOptions{ExecEnv: k.env}))
			k.await(job, "fetching")
			k.die(theAdapter)
			k.die(theJVM)
			close(release)
			u := k.unitOf(k.one(tree, job))
			k.whole(theJVM)
			wantUnit(t, k, u, "1.0.0", "Active", true)
			k.clean(u, before)
		})
		for _, v := range victims {
			t.Run(string(v)+" in the adapter's install", func(t *testing.T) {
				u := k.unitOf(k.hanging(v, "installing", install("sample-1.0.0.jar")))
				wantUnit(t, k, u, "1.0.0", "Active", true)
				k.clean(u, before)
			})
			t.Run(string(v)+" in the first start", func(t *testing.T) {
				u := k.unitOf(k.during(v, "starting", install("slow-start-1.0.0.jar")))
				wantUnit(t, k, u, "1.0.0", "Active", true)
				k.clean(u, before)
			})
		}
		t.Run("adapter that hangs in inspect", func(t *testing.T) {
			k.fresh()
			tree := k.Tree()
			k.Adapter("osgi").Signal(t, syscall.SIGSTOP)
			job := k.begun(install("sample-1.0.0.jar")())
			k.await(job, "inspecting")
			k.die(theAdapter)
			u := k.unitOf(k.one(tree, job))
			k.whole(theAdapter)
			k.clean(u, before)
		})
	})
}

// An update ends at the new version, everywhere, with what ran running.
func TestKillUpdate(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		k := newCrash(t, support.Env{Framework: framework, InitialRunLevel: 2})
		u := k.Install("sample-1.0.0.jar", k.env)
		if err := k.Client.SetProperty(t.Context(), u.Object, "Alias", "ours"); err != nil {
			t.Fatal(err)
		}
		agree(t, k.Device, k.env, k.c)
		u = k.Unit(u.Object)
		versions := []string{"2.0.0", "1.0.0"}
		// next checks that the unit is now at the version, and changed in nothing else.
		next := func(t *testing.T, j *client.Job, url string) {
			t.Helper()
			wantDone(t, j)
			now := wantUnit(t, k, u, versions[0], "Active", true)
			want := *u.DeploymentUnit
			want.Version, want.URL, want.Description, want.LastUpdate = versions[0], url, now.Description, now.LastUpdate
			if diff := cmp.Diff(&want, now.DeploymentUnit); diff != "" || now.EU.EUID != u.EU.EUID || now.EU.Alias != u.EU.Alias || now.EU.Object != u.EU.Object {
				t.Errorf("the update changed more than the version: %s%s", diff, cmp.Diff(u.EU, now.EU))
			}
			if n := len(k.Packages()); n != 1+len(support.ConsoleBundles) {
				support.Until(t, "old packages are removed", func() error {
					if p := k.Packages(); len(p) != 1+len(support.ConsoleBundles) {
						return fmt.Errorf("there are %v", p)
					}
					return nil
				})
			}
			versions[0], versions[1] = versions[1], versions[0]
		}
		update := func() (dbus.ObjectPath, error) {
			return k.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: k.URL("sample-" + versions[0] + ".jar")})
		}
		t.Run("agent in the transfer", func(t *testing.T) {
			content := inflated(t, k.Content("sample-2.0.0.jar"), 1<<20)
			j := k.resumed("/resumed.jar", content, func(url string) (dbus.ObjectPath, error) {
				return k.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: url})
			})
			next(t, j, k.Files.URL+"/resumed.jar")
		})
		for _, v := range victims {
			t.Run(string(v)+" in the adapter's update", func(t *testing.T) {
				url := k.Files.URL + "/sample-" + versions[0] + ".jar"
				next(t, k.hanging(v, "updating", update), url)
			})
		}
		t.Run("JVM while it writes the new content", func(t *testing.T) {
			for attempt, hit := 0, false; !hit; attempt++ {
				if attempt == 10 {
					t.Fatal("it was never killed in time")
				}
				k.fresh()
				url := k.Serve("/written.jar", fileserver.File{Content: inflated(t, k.Content("sample-"+versions[0]+".jar"), 48<<20)})
				before := k.Tree()
				k.launch = before.ExecEnvs[0].Name
				jvm := k.JVM(k.env)
				job := k.begun(k.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: url}))
				for end := time.Now().Add(support.Patience); len(k.halfway(u)) == 0 && time.Now().Before(end); {
					runtime.Gosched() // it takes a few milliseconds only
				}
				jvm.Kill(t)
				k.kills++
				hit = len(k.halfway(u)) > 0
				j := k.one(before, job)
				k.whole(theJVM)
				next(t, j, url)
				if left := k.halfway(u); len(left) > 0 {
					t.Errorf("of the content that was not written to its end there is still %v", left)
				}
			}
		})
		t.Run("agent while a stopped unit is updated", func(t *testing.T) {
			k.Done(k.Client.Stop(t.Context(), u.EU.Object))
			url := k.Files.URL + "/sample-" + versions[0] + ".jar"
			wantDone(t, k.hanging(theAgent, "updating", update))
			untilUnit(t, k, u, "the unit is stopped as before", func(now support.Unit) bool { return now.EU.Status == "Idle" && now.EU.AutoStart })
			j := k.Done(k.Client.Start(t.Context(), u.EU.Object))
			agree(t, k.Device, k.env, k.c)
			next(t, j, url)
		})
	})
}

// halfway returns the content of a bundle that the framework has begun to write and has not taken over, as it lies on disk.
func (k *crash) halfway(u support.Unit) []string {
	k.t.Helper()
	storage := filepath.Join(k.State, "env", k.env, "storage", "framework")
	pattern := filepath.Join(storage, "org.eclipse.osgi", "bundleFile*.tmp") // Equinox: renamed when it is whole
	if k.env == "felix" {
		pattern = filepath.Join(storage, "bundle"+u.DUID, "version*") // where it came from is written last
	}
	all, err := filepath.Glob(pattern)
	if err != nil {
		k.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(path string) bool {
		_, err := os.Stat(filepath.Join(path, "revision.location"))
		return err == nil
	})
}
