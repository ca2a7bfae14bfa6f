package operation

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
)

// concluded makes a device that keeps the conclusions of committed transactions.
func concluded(t *testing.T, w *world, refuse *error) (*device, *[]Conclusion) {
	def := w.install()
	def.Results = func(_ *inventory.Tx, r *Run[toy], err error) []model.Result {
		return []model.Result{{Performed: model.PerformedInstall, DU: r.State.Row, Fault: fault.ReasonOf(err), Start: r.Began()}}
	}
	d := newDevice(t, w, def)
	var told []Conclusion
	d.opts.Concluded = func(tx *inventory.Tx, c Conclusion) error {
		if *refuse != nil {
			return *refuse
		}
		tx.AfterCommit(func() { told = append(told, c) })
		return nil
	}
	return d, &told
}

func TestConclusion(t *testing.T) {
	origin := model.Origin{Name: "a controller", Command: "Device.X()", CommandKey: "k"}
	cases := map[string]struct {
		scenario string
		refuse   error
		told     []string
		state    model.JobState
	}{
		"done":           {"done", nil, []string{"install, row 1, fault "}, model.JobDone},
		"failed":         {"fetch refused", nil, []string{"install, row 0, fault package-corrupt"}, model.JobFailed},
		"finish refuses": {"finish fails", nil, []string{"install, row 1, fault internal"}, model.JobFailed},
		"cannot be told": {"done", errors.New("a test"), nil, model.JobDone},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				for call, f := range scenarios[c.scenario] {
					w.fail[call] = f
				}
				d, told := concluded(t, w, &c.refuse)
				d.start()
				id, err := d.submit(d.defs[0].(*Definition[toy]), Request{Originator: origin})
				if err != nil {
					t.Fatal(err)
				}
				j := d.await(id)
				d.eng.waitIdle()
				if j.State != c.state {
					t.Errorf("the job is %+v", *j)
				}
				var got []string
				for _, c := range *told {
					if c.Job != id || c.Origin != origin || c.Rebooted || c.Fault != c.Results[0].Fault || c.Fault != fault.None && c.Message == "" {
						t.Errorf("it is told as %+v", c)
					}
					got = append(got, fmt.Sprintf("%s, row %d, fault %s", c.Kind, c.Results[0].DU, c.Fault))
				}
				if !slices.Equal(got, c.told) {
					t.Errorf("told is %q, not %q", got, c.told)
				}
			})
		})
	}
}

// However often the agent dies, the end of an operation is concluded in exactly one transaction that is committed.
func TestConcludedOnce(t *testing.T) {
	for n := 2; n < 12; n++ {
		synctest.Test(t, func(t *testing.T) {
			var never error
			d, told := concluded(t, newWorld(), &never)
			d.load()
			id := d.mustSubmit(Request{})
			seen := 1
			d.commits = func() error {
				if seen++; seen == n {
					d.kill()
					return errKilled
				}
				return nil
			}
			d.run()
			d.await(id)
			d.eng.waitIdle()
			if !d.gone {
				return
			}
			d.commits = nil
			d.restart()
			d.await(id)
			d.eng.waitIdle()
			if len(*told) != 1 {
				t.Errorf("killed at commit %d it is told %d times: %+v", n, len(*told), *told)
			}
		})
	}
}

// A command of USP that the device restarts under counts as failed: what has not got over its first step ends, the rest is carried on and its end
// tells so. Without a command everything goes on.
func TestCommandAcrossAReboot(t *testing.T) {
	for _, c := range []struct {
		at      string
		command string
		reboot  bool
		state   model.JobState
	}{
		{"do fetch", "Device.X()", true, model.JobFailed},
		{"do fetch", "Device.X()", false, model.JobDone},
		{"do fetch", "", true, model.JobDone},
		{"do install", "Device.X()", true, model.JobDone},
	} {
		t.Run(fmt.Sprint(c.at, c.command, c.reboot), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				var never error
				d, told := concluded(t, w, &never)
				w.at = func(call string, acted bool) {
					if call == c.at && !acted {
						d.kill()
					}
				}
				d.load()
				id, err := d.submit(d.defs[0].(*Definition[toy]), Request{Originator: model.Origin{Command: c.command}})
				if err != nil {
					t.Fatal(err)
				}
				d.run()
				d.await(id)
				d.eng.waitIdle()
				w.at = nil
				if c.reboot {
					d.clock.reboot()
				}
				d.restart()
				j := d.await(id)
				d.eng.waitIdle()
				if j.State != c.state {
					t.Errorf("the job is %+v", *j)
				}
				if len(*told) != 1 || (*told)[0].Rebooted != c.reboot {
					t.Errorf("it is told as %+v", *told)
				}
			})
		})
	}
}

// wallClock is a clock that is set.
type wallClock struct{ *clock }

func (wallClock) Wall() time.Time { return time.Now() }

// An operation begins when it has its turn.
func TestBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var never error
		d, told := concluded(t, w, &never)
		d.load()
		d.eng.opts.Clock = wallClock{d.clock}
		d.run()
		at := time.Now()
		id := d.mustSubmit(Request{})
		d.await(id)
		d.eng.waitIdle()
		if got := (*told)[0].Results[0].Start; !got.Equal(at) {
			t.Errorf("it began %s and not %s", got, at)
		}
	})
}
