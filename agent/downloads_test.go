package agent_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// Downloads that stall hold up those for the same environment only.
func TestStalledDownloads(t *testing.T) {
	t.Parallel()
	d := start(t, plain, func(d *device) {
		d.env("other", "fake")
		d.cfg.Operations.Parallel = 2
		d.cfg.Packages.Schemes = []string{"http", "file"}
	})
	asked := make(chan struct{}, 3)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	var stalled []uint32
	for range 3 {
		job, err := d.agent.Install(t.Context(), model.InstallRequest{URL: server.URL, ExecEnv: "other"})
		d.ok(err)
		stalled = append(stalled, job)
	}
	<-asked
	<-asked
	d.installed(fake.Spec{Name: "a"})
	if len(asked) != 0 {
		t.Error("a third download has begun")
	}
	for _, job := range stalled {
		d.ok(d.agent.Cancel(t.Context(), job))
		d.end(job)
	}
}

// What is open for an environment that is taken out of the configuration ends at once.
func TestDownloadForAnEnvironmentThatIsGone(t *testing.T) {
	t.Parallel()
	d := start(t, plain, func(d *device) {
		d.env("other", "fake")
		d.cfg.Packages.Schemes = []string{"http"}
	})
	asked := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	job, err := d.agent.Install(t.Context(), model.InstallRequest{URL: server.URL, ExecEnv: "other"})
	d.ok(err)
	<-asked
	d.kill()
	d.cfg.ExecEnvs = d.cfg.ExecEnvs[:1]
	d.start()
	d.failed(fault.UnknownExecEnv)(job, nil)
}
