package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/support"
)

// rounds is how many operations are hit at random in each framework, and seed what they are drawn from.
func rounds(t *testing.T) (n int, random *rand.Rand) {
	t.Helper()
	number := func(name string, otherwise uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return otherwise
		}
		v, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	seed := number("SMMD_TEST_SEED", uint64(time.Now().UnixNano()))
	t.Logf("SMMD_TEST_SEED=%d", seed)
	return int(number("SMMD_TEST_ROUNDS", map[bool]uint64{false: 9, true: 60}[support.Long()])), rand.New(rand.NewPCG(seed, 0))
}

// At whatever moment of an install, an update or an uninstall a process dies, the unit is wholly there or wholly not, at one version or the
// other, in the rows, in the framework and on its disk.
func TestKillAtRandom(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		n, random := rounds(t)
		k := newCrash(t, support.Env{Framework: framework, InitialRunLevel: 2})
		agree(t, k.Device, k.env, k.c)
		before := tracesOf(t, k.Device, k.c)
		urls := map[string]string{}
		for _, version := range []string{"1.0.0", "2.0.0"} {
			urls[version] = k.Serve("/big-"+version+".jar", fileserver.File{Content: inflated(t, k.Content("sample-"+version+".jar"), 12<<20)})
		}

		version := "" // of the unit; none: it is not there
		var unit support.Unit
		usual := map[string]pace{} // of an operation to a version on this machine
		for round := 0; round < n || version != ""; round++ {
			k.fresh()
			tree := k.Tree()
			next := map[string]string{"": "1.0.0", "1.0.0": "2.0.0", "2.0.0": ""}[version]
			var job dbus.ObjectPath
			var err error
			switch next {
			case "1.0.0":
				job, err = k.Client.Install(t.Context(), urls[next], client.InstallOptions{ExecEnv: k.env})
			case "2.0.0":
				job, err = k.Client.Update(t.Context(), unit.Object, client.UpdateOptions{URL: urls[next]})
			default:
				job, err = k.Client.Uninstall(t.Context(), unit.Object)
			}
			k.begun(job, err)
			v, what := victim(""), fmt.Sprintf("round %d, from version %q to %q", round, version, next)
			if p, known := usual[next]; !known {
				usual[next] = k.pace(job)
			} else {
				v = victims[random.IntN(len(victims))]
				delay := time.Duration(random.Int64N(int64(p.whole)))
				atWork := random.IntN(2) == 0 // half of the rounds are for the part that the environment takes
				if atWork {
					delay = time.Duration(random.Int64N(int64(p.work)))
					k.busy(job)
				}
				what += fmt.Sprintf(", the %s dies after %v (at work: %v)", v, delay, atWork)
				<-time.After(delay) // the moment is the point, not something to wait for
				if j, err := k.Client.Job(t.Context(), job); err == nil {
					what += " while it is " + j.State
				}
				k.die(v)
			}
			t.Log(what)
			j := k.one(tree, job)
			k.whole(v)
			if j.State != client.JobDone {
				t.Logf("%s: %s %s %s", what, j.State, j.FaultName, j.Message)
				next = version
			}
			switch {
			case next == "":
				k.nothing(before)
			case version == "" && j.State == client.JobDone:
				unit = k.unitOf(j)
			}
			if next != "" {
				k.wholly(what, unit, next)
			}
			if t.Failed() {
				t.Fatal(what)
			}
			version = next
		}
	})
}

// pace is how long an operation takes.
type pace struct{ whole, work time.Duration }

// pace follows a job to its end.
func (k *crash) pace(job dbus.ObjectPath) pace {
	k.t.Helper()
	begin := time.Now()
	k.busy(job)
	work := time.Now()
	k.Job(job, nil)
	return pace{time.Since(begin), time.Since(work)}
}

// busy waits until the environment is at work for a job, or the job has ended.
func (k *crash) busy(job dbus.ObjectPath) {
	k.t.Helper()
	ctx, cancel := context.WithCancel(k.t.Context())
	defer cancel()
	_, err := k.Client.WaitJob(ctx, job, func(j *client.Job) {
		if slices.Contains([]string{"installing", "updating", "uninstalling"}, j.State) {
			cancel()
		}
	})
	if err != nil && ctx.Err() == nil {
		k.t.Fatal(err)
	}
}

// wholly checks that the unit is at a version in rows, framework and storage, and active.
func (k *crash) wholly(what string, was support.Unit, version string) {
	k.t.Helper()
	support.Until(k.t, what+": the unit is wholly at "+version, func() error {
		u := k.Unit(was.Object)
		if u.Status != "Installed" || u.Version != version || u.EU.Version != version || u.EU.Status != "Active" || u.Missing {
			return fmt.Errorf("it is %s with %s", support.Show(u.DeploymentUnit), support.Show(u.EU))
		}
		if u.UUID != was.UUID || u.Alias != was.Alias || u.EU.EUID != was.EU.EUID || u.EU.Object != was.EU.Object {
			return fmt.Errorf("its identity was %s, %s", support.Show(was.DeploymentUnit), support.Show(was.EU))
		}
		if headers := k.c.Run("headers " + u.DUID); !strings.Contains(headers, "Bundle-Version = "+version) {
			return fmt.Errorf("the framework has it as %s", headers)
		}
		if p := k.Packages(); len(p) != 1+len(support.ConsoleBundles) {
			return fmt.Errorf("the packages are %v", p)
		}
		n := 0
		for _, b := range k.Stored(k.env) {
			if b.Location == u.UUID {
				n++
				if !b.AutoStart || b.Version != version {
					return fmt.Errorf("on disk it is %+v", b)
				}
			}
		}
		if n != 1 {
			return fmt.Errorf("on disk it is %d times", n)
		}
		return nil
	})
}
