package agent_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// places is a server that has a package at each path, for a user of that name only.
type places struct {
	t *testing.T
	*httptest.Server

	mu    sync.Mutex
	files map[string][]byte        // by path
	asked map[string]int           // how often a package was given, by path
	hold  map[string]chan struct{} // requests for the path wait; closed by the first one
}

func newPlaces(t *testing.T) *places {
	p := &places{t: t, files: map[string][]byte{}, asked: map[string]int{}, hold: map[string]chan struct{}{}}
	p.Server = httptest.NewServer(http.HandlerFunc(p.answer))
	t.Cleanup(p.Close)
	return p
}

func (p *places) answer(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); "/"+user != r.URL.Path || password != "secret" {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	p.mu.Lock()
	file, held := p.files[r.URL.Path], p.hold[r.URL.Path]
	p.asked[r.URL.Path]++
	delete(p.hold, r.URL.Path)
	p.mu.Unlock()
	if held != nil {
		close(held)
		<-r.Context().Done()
		return
	}
	if file == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_, _ = w.Write(file)
}

// put makes a package what there is at a path.
func (p *places) put(path string, s fake.Spec) {
	p.t.Helper()
	file, err := os.ReadFile(fake.Package(p.t, s).Path)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files[path] = file
}

// stall makes the next request for a path wait, and returns what is closed when it does.
func (p *places) stall(path string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold[path] = make(chan struct{})
	return p.hold[path]
}

// requests returns how often packages were given since it was called last.
func (p *places) requests() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := fmt.Sprint("one ", p.asked["/one"], ", two ", p.asked["/two"])
	clear(p.asked)
	return text
}

// An update without a URL takes each row's package from where that came, with the credentials of that (TR-069 Table 72), and all rows or none.
func TestUpdateFromSeveralPlaces(t *testing.T) {
	server := newPlaces(t)
	d := start(t, plain, two, func(d *device) { d.cfg.Packages.Schemes = []string{"http"} })
	at := func(path, version, fails string) {
		server.put(path, fake.Spec{Name: "a", Version: version, Description: path, UpdateFails: fails})
	}
	both := func(version, fails string) {
		at("/one", version, "")
		at("/two", version, fails)
	}
	both("1", "")
	var ops []model.UnitOperation
	for env, user := range map[string]string{"e": "one", "f": "two"} {
		ops = append(ops, model.UnitOperation{
			Performed: model.PerformedInstall, UUID: uuidA, ExecEnv: env, URL: server.URL + "/" + user, Username: user, Password: "secret",
		})
	}
	d.report(d.change(ops...))
	server.requests()
	update := model.UnitOperation{Performed: model.PerformedUpdate, UUID: uuidA}
	check := func(what, version string, reason fault.Reason, results []model.Result) {
		t.Helper()
		if len(results) != 2 {
			t.Fatalf("%s: the results are %q", what, told(results))
		}
		for _, r := range results {
			if r.Version != version || r.Fault != reason || r.State != model.ResultInstalled || r.UUID != uuidA {
				t.Errorf("%s: a result is %+v", what, r)
			}
		}
		for du := range d.agent.Snapshot().DeploymentUnits() {
			path := map[string]string{"e": "/one", "f": "/two"}[du.Env]
			if du.Version != version || du.URL != server.URL+path || du.Description != path || du.Status != model.DUInstalled {
				t.Errorf("%s: a row is %+v", what, *du)
			}
			if units := d.units(du.Env); len(units) != 1 || !strings.HasPrefix(units[du.Key], "a "+version+" main") {
				t.Errorf("%s: %s has %q", what, du.Env, units)
			}
		}
		d.stored(2)
	}
	both("2", "")
	check("an update", "2", "", d.report(d.change(update)).Results)
	if got := server.requests(); got != "one 1, two 1" {
		t.Errorf("asked for were %s", got)
	}
	both("3", "boom")
	check("an update that the second environment refuses", "2", fault.Internal, d.report(d.change(update)).Results)
	server.mu.Lock()
	delete(server.files, "/two")
	server.mu.Unlock()
	check("an update of which a package is missing", "2", fault.TransferFileUnavailable, d.report(d.change(update)).Results)

	// The agent ends while the second package is being brought.
	both("4", "")
	stalled := server.stall("/two")
	id := d.change(update)
	<-stalled
	d.restart()
	d.up()
	check("an update by the next agent", "4", "", d.report(id).Results)
	server.requests()

	// Rows that come from one place share one download.
	for i, op := range []model.UnitOperation{
		{Performed: model.PerformedUpdate, UUID: uuidA, URL: server.URL + "/one", Username: "one", Password: "secret"}, update,
	} {
		version := fmt.Sprint(5 + i)
		at("/one", version, "")
		results := d.report(d.change(op)).Results
		other := func(r model.Result) bool { return r.Version != version || r.Fault != "" }
		if got := server.requests(); got != "one 1, two 0" || len(results) != 2 || slices.ContainsFunc(results, other) {
			t.Errorf("an update from one place asks for %s: %q", got, told(results))
		}
		d.stored(1)
	}
}
