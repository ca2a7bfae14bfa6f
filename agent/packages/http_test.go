package packages

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/test/fileserver"
)

func TestAuthentication(t *testing.T) {
	content := random(10_000, 1)
	for name, auth := range map[string]fileserver.Auth{
		"basic":             {Schemes: []string{"basic"}},
		"digest":            {Schemes: []string{"digest"}},
		"digest SHA-256":    {Schemes: []string{"digest-sha256"}},
		"stale nonce":       {Schemes: []string{"digest"}, StaleOnce: true},
		"both":              {Schemes: []string{"basic", "digest"}},
		"both in one field": {Schemes: []string{"basic", "digest"}, OneLine: true},
		"all in one field":  {Schemes: []string{"digest", "digest-sha256", "basic"}, OneLine: true},
	} {
		t.Run(name, func(t *testing.T) {
			auth.Username, auth.Password = "joe", `s3cret:"\`
			server := serve(t, fileserver.Options{})
			server.Set("/p", fileserver.File{Content: content, Auth: auth})
			url := server.URL + "/p?hush=1"
			s := openStore(t, t.TempDir(), roomy)
			f, err := newFetcher(t, s, FetchOptions{}).Fetch(context.Background(), Request{Key: "op", URL: url, Username: auth.Username, Password: auth.Password}, nil)
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, s, f, content)
			log := server.Log()
			if log[0].Header.Get("Authorization") != "" {
				t.Error("credentials were sent before the server asked")
			}
			if got := log[len(log)-1].Header.Get("Authorization"); (name != "basic") != strings.HasPrefix(got, "Digest ") {
				t.Errorf("credentials were sent as %q", got)
			}
			asked := len(log)
			s = openStore(t, t.TempDir(), roomy)
			failing(t, s, FetchOptions{}, Request{URL: url}, fault.TransferAuthentication)
			failing(t, s, FetchOptions{}, Request{URL: url, Username: "joe", Password: "wrong hush"}, fault.TransferAuthentication)
			if got := len(server.Log()) - asked; got > 4 {
				t.Errorf("%d requests for a refusal of none and of wrong credentials", got)
			}
		})
	}
}

func TestForbiddenWithCredentials(t *testing.T) {
	server := serve(t, fileserver.Options{})
	auth := fileserver.Auth{Schemes: []string{"basic"}, Username: "joe", Password: "s3cret"}
	server.Set("/p", fileserver.File{Status: 403, Auth: auth})
	failing(t, openStore(t, t.TempDir(), roomy), FetchOptions{}, Request{URL: server.URL + "/p", Username: "joe", Password: "s3cret"}, fault.TransferAuthentication)
	server.Set("/p", fileserver.File{Status: 401, Header: http.Header{"Www-Authenticate": {"Negotiate"}}})
	failing(t, openStore(t, t.TempDir(), roomy), FetchOptions{}, Request{URL: server.URL + "/p", Username: "joe", Password: "s3cret"}, fault.TransferAuthentication)
}

func TestRedirects(t *testing.T) {
	content := random(10_000, 1)
	auth := fileserver.Auth{Schemes: []string{"basic"}, Username: "joe", Password: "s3cret"}
	secure := serve(t, fileserver.Options{TLS: fileserver.Good})
	server, other := serve(t, fileserver.Options{}), serve(t, fileserver.Options{})
	server.Set("/p", fileserver.File{Content: content})
	other.Set("/p", fileserver.File{Content: content})
	other.Set("/locked", fileserver.File{Content: content, Auth: auth})
	server.Set("/locked", fileserver.File{Content: content, Auth: auth})
	secure.Set("/p", fileserver.File{Content: content})
	opts := trusting(t, secure)
	for i := range 7 {
		server.Set(fmt.Sprintf("/%d", i), fileserver.File{Status: 302, Location: fmt.Sprintf("%d?hush", i-1)})
	}
	server.Set("/0", fileserver.File{Content: content})
	server.Set("/loop", fileserver.File{Location: "/loop"})
	for name, tc := range map[string]struct {
		location string
		status   int
		want     fault.Reason
	}{
		"301":             {"/p", 301, fault.None},
		"303":             {"/p", 303, fault.None},
		"307":             {"p", 307, fault.None},
		"308":             {server.URL + "/p", 308, fault.None},
		"other host":      {other.URL + "/p", 0, fault.None},
		"same host asks":  {"/locked", 0, fault.None},
		"other host asks": {other.URL + "/locked?hush", 0, fault.TransferAuthentication},
		"to https":        {secure.URL + "/p", 0, fault.None},
		"fifth":           {"/4", 0, fault.None},
		"sixth":           {"/5", 0, fault.TransferFileUnavailable},
		"loop":            {"/loop", 0, fault.TransferFileUnavailable},
		"to a file":       {"file:///etc/passwd", 0, fault.TransferProtocolUnsupported},
		"to ftp":          {"ftp://h/hush", 0, fault.TransferProtocolUnsupported},
		"to userinfo":     {"http://u:s3cret@127.0.0.1/", 0, fault.TransferFileUnavailable},
		"to nowhere":      {"", 302, fault.TransferFileUnavailable},
		"malformed":       {"http://h:s3cret x/", 0, fault.TransferFileUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			server.Set("/start", fileserver.File{Status: tc.status, Location: tc.location})
			s := openStore(t, t.TempDir(), roomy)
			req := Request{Key: "op", URL: server.URL + "/start?hush", Username: "joe", Password: "s3cret"}
			if tc.want != fault.None {
				failing(t, s, opts, req, tc.want)
				return
			}
			f, err := newFetcher(t, s, opts).Fetch(context.Background(), req, nil)
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, s, f, content)
		})
	}
	for _, r := range other.Log() {
		if r.Header.Get("Authorization") != "" {
			t.Errorf("credentials went to another host: %+v", r)
		}
	}
	secure.Set("/down", fileserver.File{Location: server.URL + "/p?hush"})
	failing(t, openStore(t, t.TempDir(), roomy), opts, Request{URL: secure.URL + "/down"}, fault.TransferInsecure)
	opts.Schemes = []string{"http"}
	server.Set("/up", fileserver.File{Location: secure.URL + "/p"})
	failing(t, openStore(t, t.TempDir(), roomy), opts, Request{URL: server.URL + "/up"}, fault.TransferProtocolUnsupported)
}

func TestSameServer(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"http://h/", "http://H:80/x", true},
		{"https://h:443/", "https://h/", true},
		{"http://h/", "https://h/", true},
		{"https://h/", "http://h/", false},
		{"http://h/", "https://h:8443/", false},
		{"http://h:8080/", "https://h/", false},
		{"http://h/", "http://h:81/", false},
		{"http://h/", "http://sub.h/", false},
		{"http://h/", "http://other/", false},
	} {
		a, errA := parseURL(tc.a, allSchemes)
		b, errB := parseURL(tc.b, allSchemes)
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if got := sameServer(a, b); got != tc.want {
			t.Errorf("sameServer(%s, %s) = %t", tc.a, tc.b, got)
		}
	}
}
