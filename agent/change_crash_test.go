package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

var errDead = errors.New("the agent is dead")

// dieAt makes the agent die at its n-th commit from now: that one and all later ones fail. The channel is closed then. seen counts them.
func (d *device) dieAt(n int) (dead chan struct{}, seen func() int) {
	dead = make(chan struct{})
	var mu sync.Mutex
	count := 0
	cancel := d.cancel
	d.agent.FailCommits(func() error {
		mu.Lock()
		defer mu.Unlock()
		count++
		if n == 0 || count < n {
			return nil
		}
		if count == n {
			close(dead)
			cancel()
		}
		return errDead
	})
	return dead, func() int {
		mu.Lock()
		defer mu.Unlock()
		return count
	}
}

// dies waits until the agent is dead, or has told everything before it came to that.
func (d *device) dies(dead <-chan struct{}) bool {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	feed := d.agent.Feed(ctx)
	for {
		select {
		case <-dead:
			return true
		case c, open := <-feed:
			if !open {
				d.t.Fatalf("the agent neither dies nor tells\n%s", dump(d.agent.Snapshot()))
			}
			if len(c.Snapshot.Reports) > 0 {
				return false
			}
		}
	}
}

// mixed are the elements of the request of the crash test: what succeeds, what fails, and what waits for another.
func mixed(d *device, url string) []model.UnitOperation {
	return []model.UnitOperation{
		{Performed: model.PerformedInstall, UUID: uuidA, ExecEnv: "e", URL: url},
		uninstallOp("not a UUID"),
		{Performed: model.PerformedUpdate, UUID: uuidB, URL: url + "2"},
		{Performed: model.PerformedInstall, URL: "file:///nothing/here", ExecEnv: "e"},
		uninstallOp(uuidA),
	}
}

// outcomes are results without the numbers of rows, which differ when elements that run in parallel come in another order.
func outcomes(results []model.Result) (all []string) {
	for _, r := range results {
		all = append(all, strings.TrimSpace(fmt.Sprint(r.Performed, " ", r.State, " ", r.UUID, " ", r.Version, " ", len(r.EUs), " ", r.Resolved, " ", r.Fault)))
	}
	return all
}

// The agent dies at each commit of a ChangeDUState. The next one ends it with one report, the same as without that, and nothing is told twice.
func TestChangeKilledAtEveryCommit(t *testing.T) {
	want := []string{
		"Install Installed " + uuidA + " 1 1 true", "Uninstall Installed not a UUID  0 false invalid-uuid", "Update Installed " + uuidB + " 1 1 true internal",
		"Install Failed   0 false transfer-file-unavailable", "Uninstall Uninstalled " + uuidA + " 1 1 true",
	}
	// run carries the request out, and dies at commit n of it; 0: it does not. It returns how many commits there were.
	run := func(t *testing.T, n int) int {
		d := start(t, plain)
		d.report(d.change(d.installOp(uuidB, "e", fake.Spec{Name: "b", Modules: []fake.ModuleSpec{{ID: "m"}}})))
		d.ok(d.agent.AcknowledgeReport(t.Context(), d.agent.Snapshot().Reports[0].ID))
		d.ok(d.agent.AcknowledgeNotifications(t.Context(), 1<<60))
		url := d.pkg(fake.Spec{Name: "a"})
		update := d.pkg(fake.Spec{Name: "b", Version: "2", UpdateFails: "boom"})
		ops := mixed(d, url)
		ops[2].URL = update
		r := model.ChangeRequest{Operations: ops, CommandKey: "key", Token: "token"}
		dead, seen := d.dieAt(n)
		_, err := d.agent.ChangeDUState(t.Context(), r)
		if n > 0 && d.dies(dead) {
			d.restart()
			_, err = d.agent.ChangeDUState(t.Context(), r) // the same request again, or what did not get through
		}
		d.ok(err)
		s := d.until("the report waits", func(s *model.Snapshot) error {
			if len(s.Reports) == 0 {
				return errors.New("there is none")
			}
			return nil
		})
		if got := outcomes(s.Reports[0].Results); !slices.Equal(got, want) || len(s.Reports) != 1 || s.Reports[0].CommandKey != "key" {
			t.Errorf("killed at commit %d, %d reports, the first is\n\t%s\nnot\n\t%s", n, len(s.Reports), strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
		var changes []string
		for _, x := range s.Notifications {
			changes = append(changes, outcomes([]model.Result{*x.Result})...)
		}
		slices.Sort(changes)
		if all := slices.Sorted(slices.Values(want)); !slices.Equal(changes, all) {
			t.Errorf("killed at commit %d, USP is told\n\t%s\nnot\n\t%s", n, strings.Join(changes, "\n\t"), strings.Join(all, "\n\t"))
		}
		return seen()
	}
	commits := 0
	t.Run("undisturbed", func(t *testing.T) { commits = run(t, 0) })
	if commits < 15 {
		t.Fatalf("there were %d commits", commits)
	}
	for n := 1; n < commits-4; n++ { // how many there are differs a little with what runs in parallel
		t.Run(fmt.Sprint("commit ", n), func(t *testing.T) {
			t.Parallel()
			run(t, n)
		})
	}
}
