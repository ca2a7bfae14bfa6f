package agent_test

import (
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
)

// The URL of an image is taken by default, and the image comes as a package: the fake cannot read it, so it has come.
func TestImagesOfRegistries(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	img, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/shop/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	hash, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	install := func(d *device, url string) (uint32, error) {
		return d.agent.Install(t.Context(), model.InstallRequest{URL: url, ExecEnv: "e"})
	}
	d := start(t, plain)
	for url, want := range map[string]fault.Reason{
		"docker://" + host + "/shop/app:1":                fault.PackageCorrupt,
		"docker://" + host + "/shop/app@" + hash.String(): fault.PackageCorrupt,
		"docker://" + host + "/shop/app:2":                fault.TransferFileUnavailable,
		"docker://127.0.0.1:1/shop/app:1":                 fault.TransferServerUnreachable,
		"docker://" + host + "/shop/app@sha256:1":         fault.InvalidArguments,
		"docker://joe:secret@" + host + "/shop/app:1":     fault.InvalidArguments,
	} {
		job, err := install(d, url)
		if want == fault.InvalidArguments && err != nil {
			if got := fault.ReasonOf(err); got != want {
				t.Errorf("%s: %v", url, err)
			}
			continue
		}
		d.failed(want)(job, err)
	}
	off := start(t, plain, func(d *device) { d.cfg.Packages.Schemes = []string{"http", "https", "file"} })
	off.failed(fault.TransferProtocolUnsupported)(install(off, "docker://"+host+"/shop/app:1"))
}
