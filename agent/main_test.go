package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/agent"
	"github.com/smmd-project/smmd/agent/config"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/supervisor"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to come.
const patience = time.Minute

// device is an agent whose adapters are fakes. The Worlds and the state directory outlive the agent.
type device struct {
	t       *testing.T
	cfg     config.Config
	worlds  map[string]*fake.World // by adapter
	log     *slog.Logger
	agent   *agent.Agent
	doubles map[string]*double
	cancel  context.CancelFunc
	ended   chan error
	held    bool // adapters do not start before [double.resume]
}

// levels is a World whose environments are as those of OSGi.
var levels = fake.Options{RunLevels: true, AutoStart: true}

// plain is a World whose environments keep neither run levels nor AutoStart.
var plain = fake.Options{}

// prepare makes a device with one environment e of a World that is not started yet. change may edit its configuration.
func prepare(t *testing.T, o fake.Options, change ...func(*device)) *device {
	t.Helper()
	dir := t.TempDir()
	d := &device{t: t, cfg: config.Default(), worlds: map[string]*fake.World{}, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if os.Getenv("SMMD_TEST_LOG") != "" {
		d.log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	d.cfg.Agent.StateDir, d.cfg.Agent.RuntimeDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
	d.cfg.Packages.Reserve = 0
	d.cfg.Operations.CallDeadline = 10 * time.Second
	d.world("fake", o)
	d.env("e", "fake")
	for _, f := range change {
		f(d)
	}
	t.Cleanup(d.kill)
	return d
}

// start is prepare and a running agent whose enabled environments are up and brought up.
func start(t *testing.T, o fake.Options, change ...func(*device)) *device {
	t.Helper()
	d := prepare(t, o, change...)
	d.start()
	d.up()
	return d
}

func (d *device) world(name string, o fake.Options) {
	w := fake.NewWorld(o)
	d.worlds[name] = w
	d.t.Cleanup(func() {
		if err := w.Close(); err != nil {
			d.t.Error(err)
		}
	})
}

func (d *device) env(name, adapter string) *config.ExecEnv {
	d.cfg.ExecEnvs = append(d.cfg.ExecEnvs, config.ExecEnv{
		Name: name, Adapter: adapter, Enable: true, InitialRunLevel: 1, AutoStart: true, Settings: []byte(`{"time_limit":"200ms"}`),
	})
	return &d.cfg.ExecEnvs[len(d.cfg.ExecEnvs)-1]
}

// start runs an agent.
func (d *device) start() {
	d.t.Helper()
	d.doubles = map[string]*double{}
	a, err := agent.New(d.cfg, agent.Options{Log: d.log, Supervise: func(o supervisor.Options) agent.Adapter {
		d.doubles[o.Name] = newDouble(o, d.worlds[o.Name])
		d.doubles[o.Name].held = d.held
		return d.doubles[o.Name]
	}})
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.agent, d.cancel, d.ended = a, cancel, make(chan error, 1)
	ready := make(chan struct{})
	go func() { d.ended <- a.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-d.ended:
		d.t.Fatalf("the agent ended: %v", err)
	}
}

// kill ends the agent wherever it is.
func (d *device) kill() {
	if d.cancel == nil {
		return
	}
	d.cancel()
	if err := <-d.ended; err != nil {
		d.t.Error(err)
	}
	d.cancel = nil
}

func (d *device) restart() {
	d.t.Helper()
	d.kill()
	d.start()
}

// until waits until check returns nil for the present snapshot.
func (d *device) until(what string, check func(*model.Snapshot) error) *model.Snapshot {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	var err error
	for c := range d.agent.Feed(ctx) {
		if err = check(c.Snapshot); err == nil {
			return c.Snapshot
		}
	}
	d.t.Fatalf("waited in vain until %s: %v\n%s", what, err, dump(d.agent.Snapshot()))
	return nil
}

// up waits until all enabled environments are up and have been brought up.
func (d *device) up() *model.Snapshot {
	d.t.Helper()
	return d.until("the environments are up", func(s *model.Snapshot) error {
		for e := range s.ExecEnvs() {
			if e.Enable && !strings.HasPrefix(e.StatusDetail, "parent") && (e.Status != model.EEUp || e.Launch == "" || !e.Seen) {
				return fmt.Errorf("%s is %s, launch %q: %s", e.ID, e.Status, e.Launch, e.StatusDetail)
			}
		}
		return nil
	})
}

// pkg writes a package and returns its URL.
func (d *device) pkg(s fake.Spec) string {
	d.t.Helper()
	if s.Version == "" {
		s.Version = "1"
	}
	return "file://" + fake.Package(d.t, s).Path
}

func (d *device) console(env string) fake.Console {
	d.t.Helper()
	for _, e := range d.cfg.ExecEnvs {
		if e.Name == env {
			c, err := d.worlds[e.Adapter].Console(env)
			d.ok(err)
			return c
		}
	}
	d.t.Fatalf("no environment %s", env)
	return fake.Console{}
}

func (d *device) ok(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// done waits for the end of a job and wants it to be a success.
func (d *device) done(job uint32, err error) *model.Job {
	d.t.Helper()
	d.ok(err)
	j := d.end(job)
	if j.State != model.JobDone {
		d.t.Fatalf("job %d, %s, is %s: %s: %s", job, j.Operation, j.State, j.Fault, j.Message)
	}
	return j
}

// failed waits for the end of a job and wants it to have failed with a reason.
func (d *device) failed(reason fault.Reason) func(uint32, error) *model.Job {
	return func(job uint32, err error) *model.Job {
		d.t.Helper()
		d.ok(err)
		j := d.end(job)
		if j.State != model.JobFailed || j.Fault != reason {
			d.t.Fatalf("job %d, %s, is %s: %q, not %q: %s", job, j.Operation, j.State, j.Fault, reason, j.Message)
		}
		return j
	}
}

func (d *device) end(job uint32) *model.Job {
	d.t.Helper()
	s := d.until(fmt.Sprintf("job %d has ended", job), func(s *model.Snapshot) error {
		if j := s.Job(job); j == nil || !j.State.Final() {
			return fmt.Errorf("it is %+v", j)
		}
		return nil
	})
	return s.Job(job)
}

// state waits until a job shows a state.
func (d *device) state(job uint32, want model.JobState) {
	d.t.Helper()
	d.until(fmt.Sprintf("job %d is %s", job, want), func(s *model.Snapshot) error {
		if j := s.Job(job); j.State != want {
			return fmt.Errorf("it is %+v", j)
		}
		return nil
	})
}

func (d *device) install(s fake.Spec) (uint32, error) {
	d.t.Helper()
	return d.agent.Install(d.t.Context(), model.InstallRequest{URL: d.pkg(s), ExecEnv: "e"})
}

// installed installs a package on e and returns the row.
func (d *device) installed(s fake.Spec) *model.DeploymentUnit {
	d.t.Helper()
	j := d.done(d.install(s))
	return d.agent.Snapshot().DeploymentUnit(j.Objects[0].Instance)
}

func (d *device) update(id model.RowID, s fake.Spec) (uint32, error) {
	d.t.Helper()
	return d.agent.Update(d.t.Context(), model.UpdateRequest{DU: id, URL: d.pkg(s)})
}

func (d *device) uninstall(id model.RowID) (uint32, error) {
	return d.agent.Uninstall(d.t.Context(), model.UninstallRequest{DU: id, Originator: model.Origin{Name: "test"}})
}

// set sets one attribute and waits for the jobs of that.
func (d *device) set(row model.Ref, a model.Attribute, v any) {
	d.t.Helper()
	jobs, err := d.agent.Set(d.t.Context(), []model.Assignment{{Row: row, Attribute: a, Value: v}}, model.Origin{Name: "test"})
	d.ok(err)
	for _, j := range jobs {
		d.done(j, nil)
	}
}

func (d *device) request(eu model.RowID, r model.Request) (uint32, error) {
	return d.agent.Request(d.t.Context(), eu, r, model.Origin{Name: "test"})
}

// eu returns the only execution unit of a deployment unit.
func (d *device) eu(du model.RowID) *model.ExecutionUnit {
	d.t.Helper()
	eus := slices.Collect(d.agent.Snapshot().ExecutionUnitsOf(du))
	if len(eus) != 1 {
		d.t.Fatalf("deployment unit %d has %d execution units", du, len(eus))
	}
	return eus[0]
}

// rest waits until the only execution unit of a deployment unit has a status.
func (d *device) rest(du model.RowID, want model.EUStatus) *model.ExecutionUnit {
	d.t.Helper()
	d.until("the execution unit is "+string(want), func(s *model.Snapshot) error {
		for u := range s.ExecutionUnitsOf(du) {
			if u.Status == want {
				return nil
			}
			return fmt.Errorf("it is %s: %s: %s", u.Status, u.FaultCode, u.FaultMessage)
		}
		return errors.New("there is none")
	})
	return d.eu(du)
}

func (d *device) ee(id string) *model.ExecEnv { return d.agent.Snapshot().ExecEnvByID(id) }

func ref(k model.Kind, id uint32) model.Ref { return model.Ref{Kind: k, Instance: id} }

func (d *device) enable(env string, on bool) {
	d.t.Helper()
	d.set(ref(model.KindExecEnv, d.ee(env).Instance), model.Enable, on)
}

// units returns what is in the World: key and version of each unit of an environment, with the status of its modules.
func (d *device) units(env string) map[string]string {
	d.t.Helper()
	out := map[string]string{}
	for _, e := range d.cfg.ExecEnvs {
		if e.Name != env {
			continue
		}
		s, err := d.worlds[e.Adapter].State()
		d.ok(err)
		for key, u := range s.Envs[env].Units {
			text := u.Present.Spec.Name + " " + u.Present.Spec.Version
			if len(u.Kept) > 0 {
				text += " (old generation kept)"
			}
			for _, m := range u.Modules {
				text += " " + m.ID + "=" + string(m.Status)
			}
			out[key] = text
		}
	}
	return out
}

// files returns the packages and the files in the spool.
func (d *device) files() (files []string) {
	root := filepath.Join(d.cfg.Agent.StateDir, "packages")
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(root, path)
			files = append(files, rel)
		}
		return err
	})
	d.ok(err)
	return files
}

// eventually polls for what no feed tells: files and the World.
func (d *device) eventually(what string, check func() error) {
	d.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			d.t.Fatalf("waited in vain until %s: %v", what, err)
		}
	}
}

// stored waits until the package store has n packages and nothing is in the spool.
func (d *device) stored(n int) {
	d.t.Helper()
	d.eventually(fmt.Sprintf("%d packages are kept", n), func() error {
		if files := d.files(); len(files) != n || slices.ContainsFunc(files, func(f string) bool { return strings.HasPrefix(f, "spool") }) {
			return fmt.Errorf("there are %q", files)
		}
		return nil
	})
}

// dump is a snapshot as text.
func dump(s *model.Snapshot) string {
	var b strings.Builder
	for e := range s.ExecEnvs() {
		fmt.Fprintf(&b, "EE %+v\n", *e)
	}
	for u := range s.DeploymentUnits() {
		fmt.Fprintf(&b, "DU %+v\n", *u)
	}
	for u := range s.ExecutionUnits() {
		fmt.Fprintf(&b, "EU %+v\n", *u)
	}
	for j := range s.Jobs() {
		fmt.Fprintf(&b, "job %+v\n", *j)
	}
	return b.String()
}

// wantReason wants an error of a class.
func wantReason(t *testing.T, want fault.Reason, err error) {
	t.Helper()
	if got := fault.ReasonOf(err); got != want {
		t.Errorf("the reason is %q, not %q: %v", got, want, err)
	}
}
