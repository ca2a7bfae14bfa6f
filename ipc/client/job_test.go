package client_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/dbus"
	"github.com/smmd-project/smmd/ipc/ipctest"
)

func TestWaitJob(t *testing.T) {
	agent, c := start(t)
	ctx := limited(t)
	path, err := c.Install(ctx, "http://files/sample.jar", client.InstallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	j, err := c.WaitJob(ctx, path, func(j *client.Job) {
		states = append(states, j.State)
		agent.Step(j.Instance) // the next change comes only after this one was told
	})
	if err != nil || j.State != client.JobDone || len(j.Objects) != 2 {
		t.Fatalf("WaitJob() = %+v, %v", j, err)
	}
	want := []string{"queued", "fetching", "verifying", "inspecting", "installing", "recording", "done"}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	// A job that has ended is told at once.
	if j, err = c.WaitJob(ctx, path, nil); err != nil || j.State != client.JobDone {
		t.Errorf("WaitJob() of an ended job = %+v, %v", j, err)
	}
	if _, err := c.WaitJob(ctx, client.ObjectPath(client.KindJob, 99), nil); !client.IsName(err, "UnknownObject") {
		t.Errorf("WaitJob() of no job: %v", err)
	}
}

func TestWaitJobFails(t *testing.T) {
	agent, c := start(t)
	ctx := limited(t)
	path, err := c.Install(ctx, "http://files/sample.jar", client.InstallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	j, err := c.WaitJob(ctx, path, func(j *client.Job) {
		if !j.Final() {
			agent.Fail(j.Instance, fault.TransferFileUnavailable, "cannot install http://files/sample.jar: the server says 404")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var e *client.Error
	if !errors.As(j.Err(), &e) || e.Name != "TransferFileUnavailable" || e.CWMP == 0 || e.USP == 0 || !strings.HasSuffix(e.Message, "404") {
		t.Errorf("the fault is %+v", j.Err())
	}
}

func TestCancel(t *testing.T) {
	agent, c := start(t)
	ctx := limited(t)
	path, err := c.Install(ctx, "http://files/sample.jar", client.InstallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Who waits no longer does not end the job.
	short, cancel := context.WithCancel(ctx)
	_, err = c.WaitJob(short, path, func(*client.Job) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted WaitJob: %v", err)
	}
	if j, err := c.Job(ctx, path); err != nil || j.Final() {
		t.Errorf("the job is %+v, %v", j, err)
	}
	if err := c.Cancel(ctx, path); err != nil {
		t.Fatal(err)
	}
	if j, err := c.WaitJob(ctx, path, nil); err != nil || j.State != client.JobCancelled || !client.IsName(j.Err(), "Canceled") {
		t.Errorf("a canceled job is %+v, %v", j, err)
	}
	if err := c.Cancel(ctx, path); !client.IsName(err, "InvalidDUState") {
		t.Errorf("canceling it again: %v", err)
	}
	if agent.Step(1) {
		t.Error("the job goes on")
	}
}

// TestWaitersDoNotDisturbEachOther: one that is done leaves the others theirs.
func TestWaitersDoNotDisturbEachOther(t *testing.T) {
	agent, c := start(t)
	ctx := limited(t)
	var done [2]chan error
	for i := range done {
		path, err := c.Install(ctx, "http://files/sample.jar", client.InstallOptions{})
		if err != nil {
			t.Fatal(err)
		}
		listening := make(chan struct{})
		done[i] = make(chan error, 1)
		go func() {
			var once sync.Once
			_, err := c.WaitJob(ctx, path, func(*client.Job) { once.Do(func() { close(listening) }) })
			done[i] <- err
		}()
		select {
		case <-listening:
		case err := <-done[i]:
			t.Fatalf("waiting for job %d ended with %v", i+1, err)
		}
	}
	for i := range done {
		agent.Finish(uint32(i + 1))
		if err := <-done[i]; err != nil {
			t.Fatalf("waiting for job %d ended with %v", i+1, err)
		}
	}
}

// TestWaitManyJobs lets many wait while all jobs move at once: nobody may miss an end.
func TestWaitManyJobs(t *testing.T) {
	agent, c := start(t)
	ctx := limited(t)
	const n = 24
	var wg sync.WaitGroup
	for range n {
		path, err := c.Install(ctx, "http://files/sample.jar", client.InstallOptions{})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			progress := -1.0
			j, err := c.WaitJob(ctx, path, func(j *client.Job) {
				if j.Progress < progress && j.Progress > 0.9 {
					t.Errorf("%s went from %v to %v", j, progress, j.Progress)
				}
				progress = j.Progress
			})
			if err != nil || j.State != client.JobDone {
				t.Errorf("WaitJob() = %+v, %v", j, err)
			}
		})
		wg.Go(func() { agent.Finish(mustRef(path).Instance) })
	}
	wg.Wait()
}

func mustRef[P ~string](path P) client.Ref {
	r, ok := client.ParseRef(string(path))
	if !ok {
		panic("no reference: " + string(path))
	}
	return r
}

func TestWaitJobOverRestart(t *testing.T) {
	needBus(t)
	address := ipctest.Bus(t)
	agent := ipctest.New()
	c := dial(t, address)
	ctx := limited(t)
	stop := ipctest.Serve(t, address, agent, dbus.Options{})
	path, err := c.Install(ctx, "http://files/sample.jar", client.InstallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	j, err := c.WaitJob(ctx, path, func(j *client.Job) {
		states = append(states, j.State)
		switch j.State {
		case "queued":
			stop()
			agent.Step(j.Instance) // nobody is told of it
			stop = ipctest.Serve(t, address, agent, dbus.Options{})
		case "fetching":
			agent.Finish(j.Instance)
		}
	})
	if err != nil || j.State != client.JobDone {
		t.Errorf("WaitJob() = %+v, %v", j, err)
	}
	if len(states) < 3 || states[1] != "fetching" || states[len(states)-1] != client.JobDone {
		t.Errorf("states = %v", states)
	}

	// The job is forgotten meanwhile.
	path, err = c.Install(ctx, "http://files/other.jar", client.InstallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.WaitJob(ctx, path, func(j *client.Job) {
		stop()
		agent.Commit(func(d *model.Draft) { d.Delete(model.Ref{Kind: model.KindJob, Instance: j.Instance}) })
		stop = ipctest.Serve(t, address, agent, dbus.Options{})
	})
	if err == nil || !strings.Contains(err.Error(), "was restarted and does not know it any more") {
		t.Errorf("WaitJob() of a forgotten job: %v", err)
	}

	// The agent does not come back.
	client.SetRestartGrace(c, 50*time.Millisecond)
	path, err = c.Install(ctx, "http://files/third.jar", client.InstallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.WaitJob(ctx, path, func(*client.Job) { stop() })
	if !errors.Is(err, client.ErrUnreachable) || ctx.Err() != nil {
		t.Errorf("WaitJob() without an agent: %v", err)
	}
}
