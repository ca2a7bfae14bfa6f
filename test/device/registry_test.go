package device

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/images"
)

// TestRegistry: a container comes from a registry that asks for credentials, by a tag and by a digest. An update without a URL asks for the
// tag again, with the credentials of before.
func TestRegistry(t *testing.T) {
	d := boot(t, Options{Config: containers.tables(1)})
	d.Up()
	const user, password = "user", "open, sesame"
	content := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	inside, err := d.Machine.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		content.ServeHTTP(w, r)
	})}
	go server.Serve(inside)
	t.Cleanup(func() { server.Close() })
	outside := httptest.NewServer(content)
	t.Cleanup(outside.Close)
	push := func(version string) string {
		t.Helper()
		p := program{name: "pulled", version: version}
		img, err := images.Container{Version: version, // its name is that of the repository
			Vendor: "Example", Files: p.files(),
			Config: v1.Config{Entrypoint: []string{"/bin/sh", p.file()}}}.Image()
		if err != nil {
			t.Fatal(err)
		}
		tag, err := name.NewTag(strings.TrimPrefix(outside.URL, "http://")+"/a/pulled:stable", name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(tag, img); err != nil {
			t.Fatal(err)
		}
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return digest.String()
	}
	first := push("1.0")
	repository := "docker://127.0.0.1:" + port(t, inside) + "/a/pulled"

	for what, o := range map[string]client.InstallOptions{
		"no credentials":    {ExecEnv: containers.env},
		"wrong credentials": {ExecEnv: containers.env, Username: user, Password: "guessed"},
	} {
		job := d.Job(d.Client.Install(t.Context(), repository+":stable", o))
		if job.FaultName != "TransferAuthentication" || job.FaultCWMP != 9012 {
			t.Errorf("an install with %s ended with %v", what, job.Err())
		}
	}
	u := d.InstallWith(repository+":stable", client.InstallOptions{ExecEnv: containers.env, Username: user, Password: password})
	u = d.becomes(u.Object, "Active")
	if u.Name != "pulled" || u.Version != "1.0" || containers.state(d, u) != "active" {
		t.Errorf("what was pulled by a tag is %+v, and LXC says %q", u, containers.state(d, u))
	}

	push("2.0")
	d.Done(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{}))
	if now := d.becomes(u.Object, "Active"); now.Version != "2.0" || now.URL != repository+":stable" || containers.state(d, now) != "active" {
		t.Errorf("after an update without a URL it is %+v, and LXC says %q", now, containers.state(d, now))
	}
	d.Done(d.Client.Uninstall(t.Context(), u.Object))

	u = d.InstallWith(repository+"@"+first, client.InstallOptions{ExecEnv: containers.env, Username: user, Password: password})
	if u = d.becomes(u.Object, "Active"); u.Version != "1.0" || containers.state(d, u) != "active" {
		t.Errorf("what was pulled by a digest is %+v, and LXC says %q", u, containers.state(d, u))
	}
}

func port(t *testing.T, l net.Listener) string {
	t.Helper()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
