package agent_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// journal is a log that can be read.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// lines returns what was logged with these words.
func (j *journal) lines(words string) (found []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.text.String()) {
		if strings.Contains(line, words) {
			found = append(found, line)
		}
	}
	return found
}

// To whoever manages the device the units of an environment that is taken out of the configuration are removed.
func TestForgottenEnvironmentIsTold(t *testing.T) {
	d := start(t, plain, two)
	d.installed(fake.Spec{Name: "stays"})
	on := func(s fake.Spec) *model.DeploymentUnit {
		j := d.done(d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(s), ExecEnv: "f"}))
		return d.agent.Snapshot().DeploymentUnit(j.Objects[0].Instance)
	}
	there, lost, busy := on(fake.Spec{Name: "there"}), on(fake.Spec{Name: "lost"}), on(fake.Spec{Name: "busy"})
	d.ok(d.agent.RecordBaseline(t.Context(), "cwmp", ""))
	d.ok(d.console("f").Remove(lost.Key))
	d.row("lost", gone)
	d.policy()
	before := d.agent.Snapshot().LastNotification
	entered, release := d.worlds["fake"].Block("Update")
	_, err := d.update(busy.ID, fake.Spec{Name: "busy", Version: "2"})
	d.ok(err)
	<-entered
	d.kill()
	release()
	d.cfg.ExecEnvs = d.cfg.ExecEnvs[:1]
	log := &journal{}
	d.log = slog.New(slog.NewTextHandler(log, nil))
	d.start()
	d.up()
	want := func(du *model.DeploymentUnit, what string) string {
		return fmt.Sprintf("%s du=%d %s@f", what, du.ID, du.UUID)
	}
	check := func() {
		t.Helper()
		results := d.autonomously(2).Results // that of the update comes when its operation ends
		var events []string
		for _, n := range d.agent.Snapshot().Notifications {
			if n.ID > before {
				events = append(events, told([]model.Result{*n.Result})...)
			}
		}
		if text := told(results); !slices.Equal(text, events) || !strings.HasPrefix(text[0], want(there, "Uninstall Uninstalled")) {
			t.Errorf("the ACS is told\n\t%s\na USP controller\n\t%s", strings.Join(text, "\n\t"), strings.Join(events, "\n\t"))
		}
		if r := results[1]; r.Performed != model.PerformedUpdate || r.DU != busy.ID || r.UUID != busy.UUID || r.Fault == "" {
			t.Errorf("of the update is told %+v", r)
		}
		if s := d.agent.Snapshot(); s.Count(model.KindDeploymentUnit) != 1 || s.ExecEnvByID("f") != nil {
			t.Errorf("there is\n%s", dump(s))
		}
	}
	check()
	d.stored(1) // its baseline needs nothing any more
	d.restart()
	d.up()
	check()
	if lines := log.lines("baselines of an environment"); len(lines) != 1 {
		t.Errorf("logged is %q", lines)
	}
}

// That a baseline cannot be completed is logged once for an environment, which has one for each protocol.
func TestIncompleteBaselinesAreLoggedOnce(t *testing.T) {
	k := keep(t, func(k keeping) {
		k.ok(k.console("e").Install("a", fake.Spec{Name: "a", Version: "1"}))
		k.world().Hook("SaveVersion", fake.Before, func(fake.Call) error { return errors.New("a test") })
	})
	k.kill()
	log := &journal{}
	k.log, k.held, k.cfg.Operations.CallDeadline = slog.New(slog.NewTextHandler(log, nil)), true, 100*time.Millisecond
	k.start()
	k.eventually("it is logged", func() error {
		if len(log.lines("baselines could not be completed")) == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	if line := log.lines("baselines could not be completed")[0]; strings.Count(line, "of e:") != 1 {
		t.Error(line)
	}
}
