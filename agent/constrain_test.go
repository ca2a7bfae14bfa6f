package agent_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// TestConstrain is about the limits of an environment.
func TestConstrain(t *testing.T) {
	d := start(t, able(levels))
	w := d.worlds["fake"]
	constrain := func(l model.LimitsRequest, force bool) (uint32, error) {
		return d.agent.Constrain(t.Context(), model.ConstrainRequest{
			Instance: d.ee("e").Instance, Limits: l, Force: force, Originator: model.Origin{Name: "test"},
		})
	}
	shows := func(what string, disk, memory int64, cpu int) {
		t.Helper()
		d.until(what, func(s *model.Snapshot) error {
			if e := s.ExecEnvByID("e"); e.AllocatedDisk != disk || e.AllocatedMemory != memory || e.AllocatedCPU != cpu {
				return fmt.Errorf("disk %d, memory %d, CPU %d", e.AllocatedDisk, e.AllocatedMemory, e.AllocatedCPU)
			}
			return nil
		})
	}
	shows("nothing is limited", -1, -1, 0)
	kib, percent := int64(4000), 30
	j := d.done(constrain(model.LimitsRequest{Disk: &kib, Memory: &kib, CPU: &percent}, false))
	if j.Operation != "constrain" || j.Originator.Name != "test" || len(j.Objects) != 1 || j.Objects[0] != ref(model.KindExecEnv, d.ee("e").Instance) {
		t.Errorf("the job is %+v", *j)
	}
	shows("all is limited", 4000, 4000, 30)
	d.done(constrain(memory(3000), false))
	shows("what is not given stays", 4000, 3000, 30)
	d.done(constrain(memory(3000), false))
	d.done(constrain(cpu(0), false))
	shows("a limit is taken away", 4000, 3000, 0)
	d.done(constrain(memory(0), false))
	shows("another limit is taken away", 4000, -1, 0)

	du := d.installed(fake.Spec{Name: "a", SizeKiB: 100, Modules: []fake.ModuleSpec{{ID: "main", MemoryKiB: 200}}})
	d.rest(du.ID, model.EUActive)
	for _, l := range []model.LimitsRequest{disk(99), memory(199)} {
		d.failed(fault.LimitInUse)(constrain(l, false))
	}
	shows("what is in use is not limited", 4000, -1, 0)
	d.done(constrain(memory(199), true))
	shows("it is forced", 4000, 199, 0)

	w.FailCall("Constrain", 1, adapter.Errorf(adapter.NotSupported, "cannot: a test"))
	d.failed(fault.UnsupportedArgument)(constrain(memory(500), false))
	w.FailCall("Constrain", 1, adapter.Errorf(adapter.InvalidArgument, "cannot: a test"))
	d.failed(fault.InvalidArguments)(constrain(memory(500), false))

	for _, l := range []model.LimitsRequest{disk(-1), memory(-1), memory(1 << 53), cpu(-1), cpu(101)} {
		_, err := constrain(l, true)
		wantReason(t, fault.InvalidArguments, err)
	}
	_, err := d.agent.Constrain(t.Context(), model.ConstrainRequest{Instance: 99})
	wantReason(t, fault.UnknownExecEnv, err)

	// It needs no environment that runs.
	d.enable("e", false)
	d.done(constrain(memory(6000), false))
	d.enable("e", true)
	shows("it is up again", 4000, 6000, 0)
}

func TestConstrainNothing(t *testing.T) {
	d := start(t, levels)
	w := d.worlds["fake"]
	entered, release := w.Block("Install")
	defer release()
	job, err := d.install(fake.Spec{Name: "a"})
	d.ok(err)
	<-entered
	d.done(d.agent.Constrain(t.Context(), model.ConstrainRequest{Instance: 1, Force: true})) // it does not wait for its turn
	release()
	d.done(job, nil)
	if n := w.Count("Constrain", ""); n != 0 {
		t.Errorf("Constrain was called %d times", n)
	}
}

func TestConstrainUnsupported(t *testing.T) {
	d := start(t, levels)
	_, err := d.agent.Constrain(t.Context(), model.ConstrainRequest{Instance: 1, Limits: memory(0)})
	wantReason(t, fault.UnsupportedArgument, err)
	d.kill()
	d.held = true
	d.start() // its adapter is not known yet
	job, err := d.agent.Constrain(t.Context(), model.ConstrainRequest{Instance: 1, Limits: memory(1000)})
	d.ok(err)
	d.doubles["fake"].resume()
	d.failed(fault.UnsupportedArgument)(job, nil)
	if n := d.worlds["fake"].Count("Constrain", ""); n != 0 {
		t.Errorf("Constrain was called %d times", n)
	}
}

// TestConstrainIsShown wants that whoever waits for the job finds the row as it is. The news may be late: then the job waits for it a moment.
func TestConstrainIsShown(t *testing.T) {
	d := start(t, able(levels))
	d.doubles["fake"].delay()
	open := sync.OnceFunc(func() { d.doubles["fake"].tell(1 << 30) })
	defer open()
	began := time.Now()
	job, err := d.agent.Constrain(t.Context(), model.ConstrainRequest{Instance: 1, Limits: memory(1000)})
	d.ok(err)
	d.eventually("it is constrained", func() error {
		if s, err := d.worlds["fake"].State(); err != nil || s.Envs["e"].Constraints.Memory == nil {
			return errors.Join(err, errors.New("it is not"))
		}
		return nil
	})
	feed, quick := d.agent.Feed(t.Context()), time.After(100*time.Millisecond)
	for waiting := true; waiting; {
		select {
		case c := <-feed:
			if j := c.Snapshot.Job(job); j.State.Final() && time.Since(began) < time.Second {
				t.Errorf("it ends before the news: %+v", *j)
				waiting = false
			}
		case <-quick:
			waiting = false
		}
	}
	open()
	d.done(job, nil)
	d.until("it is shown", func(s *model.Snapshot) error {
		if kib := s.ExecEnvByID("e").AllocatedMemory; kib != 1000 {
			return fmt.Errorf("it is %d", kib)
		}
		return nil
	})
}

func TestConstrainAgentKilled(t *testing.T) {
	for _, p := range []fake.Point{fake.Before, fake.After} {
		t.Run(string(p), func(t *testing.T) {
			d := start(t, able(levels))
			w := d.worlds["fake"]
			hit := make(chan struct{})
			w.Hook("Constrain", p, func(fake.Call) error {
				w.Hook("Constrain", p, nil)
				d.cancel()
				close(hit)
				return errors.New("the agent is killed")
			})
			job, err := d.agent.Constrain(t.Context(), model.ConstrainRequest{Instance: 1, Limits: memory(1000)})
			d.ok(err)
			<-hit
			d.restart()
			d.done(job, nil)
			d.up()
			d.until("it is shown", func(s *model.Snapshot) error {
				if kib := s.ExecEnvByID("e").AllocatedMemory; kib != 1000 {
					return fmt.Errorf("it is %d", kib)
				}
				return nil
			})
			ops := map[adapter.OpID]bool{}
			for _, c := range w.Calls() {
				if c.Method == "Constrain" {
					ops[c.OpID] = true
				}
			}
			if n := w.Count("Constrain", ""); n != 2 || len(ops) != 1 {
				t.Errorf("Constrain was called %d times, with the keys %v", n, slices.Collect(maps.Keys(ops)))
			}
		})
	}
}
