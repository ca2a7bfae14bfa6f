package client_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/dbus"
	"github.com/smmd-project/smmd/ipc/ipctest"
)

var errEnough = errors.New("enough")

// tell is an event in a line.
func tell(e client.Event) string {
	if e.Object == nil {
		return string(e.Kind)
	}
	s := fmt.Sprintf("%s %s", e.Kind, e.Object.Reference())
	switch o := e.Object.(type) {
	case *client.Job:
		s += " " + o.State
	case *client.DeploymentUnit:
		s += " " + o.Status
	case *client.ExecEnv:
		s += " " + o.Alias
	}
	return s
}

func TestWatch(t *testing.T) {
	agent, c := start(t)
	var job uint32
	var got []string
	err := c.Watch(limited(t), func(e client.Event) error {
		got = append(got, tell(e))
		if e.Initial != (job == 0) {
			t.Errorf("%s is initial: %v", tell(e), e.Initial)
		}
		if e.Time.IsZero() {
			t.Errorf("%s has no time", tell(e))
		}
		if e.Kind == client.Synced {
			path, err := c.Install(t.Context(), "http://files/sample.jar", client.InstallOptions{})
			if err != nil {
				return err
			}
			job = mustRef(path).Instance
			agent.Finish(job)
		}
		if e.Kind == client.Completed {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("Watch() = %v after %v", err, got)
	}
	want := []string{"added ExecEnv.1 cpe-osgi", "added ExecEnv.2 cpe-lxc", "synced"}
	if len(got) < 6 || !cmp.Equal(got[:3], want) {
		t.Fatalf("events = %q, want %q first", got, want)
	}
	seen := map[string]int{}
	for i, s := range got {
		seen[s] = i + 1
	}
	// Values are those of the moment at which the agent tells of them, so others than these may come and be skipped: a job that has ended by then is
	// done when it is added.
	if seen["added job 1 done"]+seen["changed job 1 done"] == 0 {
		t.Errorf("the job is nowhere done in %q", got)
	}
	for _, s := range []string{"added ExecutionUnit.2", "completed job 1 done"} {
		if seen[s] == 0 {
			t.Errorf("no event %q in %q", s, got)
		}
	}
	if seen["completed job 1 done"] != len(got) {
		t.Errorf("events after the end: %q", got)
	}
}

// TestWatchSeesRemovals looks at what changed and what went.
func TestWatchSeesRemovals(t *testing.T) {
	agent, c := start(t)
	tree := installed(t, agent, c)
	agent.Auto(true)
	du := tree.DeploymentUnits[0]
	var changed []string
	gone := map[string]bool{}
	err := c.Watch(limited(t), func(e client.Event) error {
		switch {
		case e.Kind == client.Completed && e.Initial:
			t.Error("what had ended before is completed again")
		case e.Kind == client.Synced:
			if err := c.SetProperty(t.Context(), du.Object, "Alias", "mine"); err != nil {
				return err
			}
		case e.Kind == client.Changed && e.Object.Reference() == du.Ref && changed == nil:
			changed = e.Changed
			_, err := c.Uninstall(t.Context(), du.Object)
			return err
		case e.Kind == client.Removed:
			gone[e.Object.Reference().String()] = true
			if len(gone) == 2 {
				return errEnough
			}
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("Watch() = %v", err)
	}
	if !cmp.Equal(changed, []string{"Alias"}) {
		t.Errorf("changed = %v, want Alias", changed)
	}
	if !gone["DeploymentUnit.1"] || !gone["ExecutionUnit.2"] {
		t.Errorf("gone = %v", gone)
	}
}

// TestWatchConverges changes one thing over and over from the time before the watch begins: the last value must be told.
func TestWatchConverges(t *testing.T) {
	agent, c := start(t)
	const last = 400
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range last + 1 {
			agent.Commit(func(d *model.Draft) {
				e := *d.ExecEnv(1)
				e.Alias = fmt.Sprint("a", i)
				d.PutExecEnv(&e)
			})
		}
	}()
	err := c.Watch(limited(t), func(e client.Event) error {
		if env, ok := e.Object.(*client.ExecEnv); ok && env.Alias == fmt.Sprint("a", last) {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("Watch() = %v", err)
	}
	<-done
}

func TestWatchOverRestart(t *testing.T) {
	needBus(t)
	address := ipctest.Bus(t)
	agent := ipctest.New()
	c := dial(t, address)
	stop := ipctest.Serve(t, address, agent, dbus.Options{})
	var got []string
	syncs := 0
	err := c.Watch(limited(t), func(e client.Event) error {
		got = append(got, tell(e))
		switch e.Kind {
		case client.Synced:
			if syncs++; syncs == 2 {
				return errEnough
			}
			stop()
			agent.Commit(func(d *model.Draft) {
				env := *d.ExecEnv(1)
				env.Alias = "changed"
				d.PutExecEnv(&env)
				d.Delete(model.Ref{Kind: model.KindExecEnv, Instance: 2})
				d.PutJob(&model.Job{ID: 1, Operation: "install", State: model.JobDone, Progress: 1})
			})
		case client.AgentGone:
			stop = ipctest.Serve(t, address, agent, dbus.Options{})
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("Watch() = %v", err)
	}
	want := []string{
		"added ExecEnv.1 cpe-osgi", "added ExecEnv.2 cpe-lxc", "synced", "agent-gone", "agent-back",
		"removed ExecEnv.2 cpe-lxc", "changed ExecEnv.1 changed", "added job 1 done", "completed job 1 done", "synced",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestWatchEndsWithTheBus closes the connection under a watch.
func TestWatchEndsWithTheBus(t *testing.T) {
	_, c := start(t)
	err := c.Watch(limited(t), func(e client.Event) error {
		if e.Kind == client.Synced {
			c.Close()
		}
		return nil
	})
	if !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("Watch() = %v", err)
	}
}
