package packages

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/test/fileserver"
)

// begin fetches until the server cuts the body, and returns the store as another run of the agent opens it.
func begin(t testing.TB, dir, url string, atLeast int64) *Store {
	t.Helper()
	s := openStore(t, dir, roomy)
	_, err := newFetcher(t, s, FetchOptions{}).Fetch(context.Background(), Request{Key: "op", URL: url}, nil)
	wantReason(t, err, fault.TransferIncomplete)
	if info, err := os.Stat(s.SpoolPath("op")); err != nil || info.Size() < atLeast {
		t.Fatalf("what came did not stay: %v, %v", info, err)
	}
	return openStore(t, dir, roomy)
}

func TestResume(t *testing.T) {
	content, changed := random(200_000, 1), random(200_000, 2)
	shorter := random(60_000, 3)
	old := time.Now().Add(-time.Hour)
	cut := fileserver.Bytes(100_000)
	const whole = 200_000
	for name, tc := range map[string]struct {
		first, second fileserver.File
		requests      []string // Range of each request after the first; "-" is none
	}{
		"strong tag":          {fileserver.File{Cut: cut}, fileserver.File{}, []string{"range"}},
		"old date":            {fileserver.File{Cut: cut, ETag: "-", ModTime: old}, fileserver.File{ETag: "-", ModTime: old}, []string{"range"}},
		"young date":          {fileserver.File{Cut: cut, ETag: "-", ModTime: time.Now()}, fileserver.File{}, []string{"-"}},
		"weak tag":            {fileserver.File{Cut: cut, ETag: `W/"1"`, ModTime: old}, fileserver.File{ETag: `W/"1"`}, []string{"-"}},
		"no validator":        {fileserver.File{Cut: cut, ETag: "-"}, fileserver.File{ETag: "-"}, []string{"-"}},
		"size not told":       {fileserver.File{Cut: cut, Length: fileserver.Bytes(-1)}, fileserver.File{}, []string{"range"}},
		"chunked rest":        {fileserver.File{Cut: cut}, fileserver.File{Length: fileserver.Bytes(-1)}, []string{"range"}},
		"nearly nothing came": {fileserver.File{Cut: fileserver.Bytes(overlap)}, fileserver.File{}, []string{"-"}},
		"all but the end":     {fileserver.File{Cut: fileserver.Bytes(whole - 1)}, fileserver.File{}, []string{"range"}},
		"all came":            {fileserver.File{Length: fileserver.Bytes(-1), Cut: fileserver.Bytes(whole)}, fileserver.File{}, []string{"range"}},
		"another file":        {fileserver.File{Cut: cut}, fileserver.File{Content: changed}, []string{"range"}},
		"shorter file":        {fileserver.File{Cut: cut}, fileserver.File{Content: shorter}, []string{"range"}},
		"range ignored":       {fileserver.File{Cut: cut}, fileserver.File{Range: fileserver.RangeIgnored}, []string{"range"}},
		"range refused":       {fileserver.File{Cut: cut}, fileserver.File{Range: fileserver.RangeRefused}, []string{"range", "-"}},
		"wrong start":         {fileserver.File{Cut: cut}, fileserver.File{Range: fileserver.RangeWrongStart}, []string{"range", "-"}},
		"wrong bytes":         {fileserver.File{Cut: cut}, fileserver.File{Range: fileserver.RangeWrongBytes}, []string{"range", "-"}},
		"wrong total":         {fileserver.File{Cut: cut}, fileserver.File{Range: fileserver.RangeWrongTotal}, []string{"range", "-"}},
		"wrong tag":           {fileserver.File{Cut: cut}, fileserver.File{Range: fileserver.RangeWrongTag}, []string{"range", "-"}},
		"no Content-Range":    {fileserver.File{Cut: cut}, fileserver.File{Range: fileserver.RangeNoHeader}, []string{"range", "-"}},
		"stale, other tag":    {fileserver.File{Cut: cut}, fileserver.File{Content: changed, Range: fileserver.RangeStale}, []string{"range", "-"}},
		"stale, same tag":     {fileserver.File{Cut: cut, ETag: `"x"`}, fileserver.File{Content: changed, ETag: `"x"`, Range: fileserver.RangeStale}, []string{"range", "-"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, fileserver.Options{})
			for _, f := range []*fileserver.File{&tc.first, &tc.second} {
				if f.Content == nil {
					f.Content = content
				}
			}
			server.Set("/p", tc.first, tc.second)
			url := server.URL + "/p?hush"
			s := begin(t, t.TempDir(), url, *tc.first.Cut)
			if state, err := os.ReadFile(s.statePath("op")); err != nil || strings.Contains(string(state), "hush") {
				t.Errorf("state: %s, %v", state, err)
			}
			var done, total []int64
			f, err := newFetcher(t, s, FetchOptions{}).Fetch(context.Background(), Request{Key: "op", URL: url}, func(d, n int64) {
				done, total = append(done, d), append(total, n)
			})
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, s, f, tc.second.Content)
			if total[0] != int64(len(tc.second.Content)) && tc.second.Length == nil {
				t.Errorf("progress tells a total of %d", total[0])
			}
			log := server.Log()[1:]
			if len(log) != len(tc.requests) {
				t.Fatalf("the server was asked %d times, want %v", len(log), tc.requests)
			}
			for i, want := range tc.requests {
				got := log[i].Header.Get("Range")
				if (want == "-") != (got == "") || (got == "") != (log[i].Header.Get("If-Range") == "") {
					t.Errorf("request %d has Range %q and If-Range %q, want %s", i, got, log[i].Header.Get("If-Range"), want)
				}
			}
			if continued := log[len(log)-1].Status == http.StatusPartialContent; continued && done[0] != min(*tc.first.Cut, whole) {
				t.Errorf("progress goes on at %d, want %d", done[0], *tc.first.Cut)
			}
		})
	}
}

func TestResumeIsRefused(t *testing.T) {
	content := random(200_000, 1)
	server := serve(t, fileserver.Options{})
	cut := fileserver.File{Content: content, Cut: fileserver.Bytes(100_000)}
	for name, tamper := range map[string]func(s *Store, url *string) error{
		"another URL":    func(_ *Store, url *string) error { *url += "2"; return nil },
		"no state":       func(s *Store, _ *string) error { return os.Remove(s.statePath("op")) },
		"damaged state":  func(s *Store, _ *string) error { return os.WriteFile(s.statePath("op"), []byte(`{"version"`), 0o600) },
		"another boot":   func(s *Store, _ *string) error { return editState(s, bootID(), "another") },
		"newer state":    func(s *Store, _ *string) error { return editState(s, `"version":1`, `"version":2`) },
		"too long part":  func(s *Store, _ *string) error { return os.Truncate(s.SpoolPath("op"), 200_001) },
		"no part":        func(s *Store, _ *string) error { return os.Remove(s.SpoolPath("op")) },
		"part truncated": func(s *Store, _ *string) error { return os.Truncate(s.SpoolPath("op"), 0) },
	} {
		t.Run(name, func(t *testing.T) {
			server.Set("/p", cut, fileserver.File{Content: content})
			server.Set("/p2", fileserver.File{Content: content})
			url := server.URL + "/p"
			s := begin(t, t.TempDir(), url, 100_000)
			if err := tamper(s, &url); err != nil {
				t.Fatal(err)
			}
			f, err := newFetcher(t, s, FetchOptions{}).Fetch(context.Background(), Request{Key: "op", URL: url}, nil)
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, s, f, content)
			log := server.Log()
			if got := log[len(log)-1].Header.Get("Range"); got != "" {
				t.Errorf("the transfer went on with Range %s", got)
			}
		})
	}
	t.Run("damaged part", func(t *testing.T) {
		server.Set("/p", cut, fileserver.File{Content: content})
		s := begin(t, t.TempDir(), server.URL+"/p", 100_000)
		file, err := os.OpenFile(s.SpoolPath("op"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = file.WriteAt([]byte("damaged"), 99_000)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		f, err := newFetcher(t, s, FetchOptions{}).Fetch(context.Background(), Request{Key: "op", URL: server.URL + "/p"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, s, f, content)
	})
}

func editState(s *Store, old, new string) error {
	data, err := os.ReadFile(s.statePath("op"))
	if err != nil {
		return err
	}
	edited := strings.Replace(string(data), old, new, 1)
	if edited == string(data) {
		return errors.New("the state does not contain " + old)
	}
	return os.WriteFile(s.statePath("op"), []byte(edited), 0o600)
}

// What is left of a transfer stays when the server is away for a while, and goes when it says that the file is gone.
func TestFailedResume(t *testing.T) {
	content := random(200_000, 1)
	server := serve(t, fileserver.Options{})
	server.Set("/p", fileserver.File{Content: content, Cut: fileserver.Bytes(100_000)}, fileserver.File{Content: content, Cut: fileserver.Bytes(0)},
		fileserver.File{Content: content, Cut: fileserver.Bytes(overlap + 1000)}, fileserver.File{Status: 404})
	url := server.URL + "/p"
	s := begin(t, t.TempDir(), url, 100_000)
	for _, want := range []int64{100_000, 101_000} {
		_, err := newFetcher(t, s, FetchOptions{}).Fetch(context.Background(), Request{Key: "op", URL: url}, nil)
		wantReason(t, err, fault.TransferIncomplete)
		if info, err := os.Stat(s.SpoolPath("op")); err != nil || info.Size() != want {
			t.Errorf("the part file: %v, %v; want %d bytes", info, err, want)
		}
	}
	failing(t, s, FetchOptions{}, Request{URL: url}, fault.TransferFileUnavailable)

	server.Set("/p", fileserver.File{Content: content, Cut: fileserver.Bytes(100_000)})
	s = begin(t, t.TempDir(), url, 100_000)
	server.Close()
	_, err := newFetcher(t, s, FetchOptions{}).Fetch(context.Background(), Request{Key: "op", URL: url}, nil)
	wantReason(t, err, fault.TransferServerUnreachable)
	if info, err := os.Stat(s.SpoolPath("op")); err != nil || info.Size() != 100_000 {
		t.Errorf("the part file: %v, %v", info, err)
	}
}

// Whatever sequence of cuts, restarts and lies: what a Fetch calls complete is the content of the server.
func TestAnySequenceEndsWithTheContent(t *testing.T) {
	server := serve(t, fileserver.Options{})
	modes := []fileserver.RangeMode{
		fileserver.RangeHonest, fileserver.RangeHonest, fileserver.RangeHonest, fileserver.RangeIgnored, fileserver.RangeWrongStart,
		fileserver.RangeWrongBytes, fileserver.RangeWrongTotal, fileserver.RangeWrongTag, fileserver.RangeNoHeader, fileserver.RangeRefused, fileserver.RangeStale,
	}
	rapid.Check(t, func(r *rapid.T) {
		dir := t.TempDir()
		contents := [][]byte{random(60_000, 1), random(60_000, 2), random(45_000, 3)}
		content := contents[0]
		for range rapid.IntRange(1, 6).Draw(r, "runs") {
			if rapid.IntRange(0, 4).Draw(r, "changes") == 0 {
				content = rapid.SampledFrom(contents).Draw(r, "content")
			}
			file := fileserver.File{Content: content, Range: rapid.SampledFrom(modes).Draw(r, "range")}
			if rapid.Bool().Draw(r, "chunked") {
				file.Length = fileserver.Bytes(-1)
			}
			if rapid.IntRange(0, 3).Draw(r, "cuts") > 0 {
				file.Cut = fileserver.Bytes(rapid.Int64Range(0, 60_000).Draw(r, "cut"))
			}
			server.Set("/p", file)
			s := openStore(t, dir, roomy)
			ctx, cancel := context.WithCancel(context.Background())
			stop := rapid.Int64Range(0, 200_000).Draw(r, "stop")
			f, err := newFetcher(t, s, FetchOptions{}).Fetch(ctx, Request{Key: "op", URL: server.URL + "/p"}, func(done, _ int64) {
				if done >= stop {
					cancel()
				}
			})
			cancel()
			if err == nil {
				wantContent(t, s, f, content)
				continue // a Fetch of what is complete asks the server again
			}
			if reason := fault.ReasonOf(err); reason != fault.TransferIncomplete && reason != fault.Canceled {
				r.Fatalf("an interrupted transfer ended with %v", err)
			}
		}
		server.Set("/p", fileserver.File{Content: content})
		s := openStore(t, dir, roomy)
		f, err := newFetcher(t, s, FetchOptions{}).Fetch(context.Background(), Request{Key: "op", URL: server.URL + "/p"}, nil)
		if err != nil {
			r.Fatal(err)
		}
		wantContent(t, s, f, content)
		if t.Failed() {
			r.FailNow()
		}
	})
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes 5-9/*", "Bytes 1-1/2", "bytes */10", "bytes -1-2/3", "bytes 9-1/10", "bytes 0-10/10", "", "bytes 0-9223372036854775807/9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if start, end, total, ok := contentRange(s); ok && (start < 0 || start > end || end >= total) {
			t.Errorf("%q is %d-%d/%d", s, start, end, total)
		}
	})
}

func FuzzSplitChallenges(f *testing.F) {
	f.Add(`Basic realm="a, b", Digest realm="x\"y", nonce=1 , Negotiate`)
	f.Add(`,, NTLM abc==, "`)
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range splitChallenges([]string{s, s}) {
			if strings.Trim(c, " \t") != c || c == "" {
				t.Errorf("%q has the challenge %q", s, c)
			}
		}
		got, err := authorize(http.Header{"Www-Authenticate": {s}}, &url.URL{Path: "/"}, "joe", "secret", false)
		if (err == nil) != (got != "") || strings.Contains(got, "secret") && !strings.Contains(s, "secret") {
			t.Errorf("%q is answered %q, %v", s, got, err)
		}
	})
}

func TestSplitChallenges(t *testing.T) {
	for field, want := range map[string]string{
		`Basic realm="a, b"`:                        `Basic realm="a, b"`,
		`Basic realm="a", Digest realm="b",nonce=1`: `Basic realm="a"|Digest realm="b", nonce=1`,
		`Negotiate, Basic realm="x \", Digest y=1"`: `Negotiate|Basic realm="x \", Digest y=1"`,
		`NTLM TlRM==, Basic charset="UTF-8"`:        `NTLM TlRM==|Basic charset="UTF-8"`,
		`Digest realm = "a", nonce = "b", Basic`:    `Digest realm = "a", nonce = "b"|Basic`,
	} {
		if got := strings.Join(splitChallenges([]string{field}), "|"); got != want {
			t.Errorf("%s\n got %s\nwant %s", field, got, want)
		}
	}
}

func TestContinues(t *testing.T) {
	st := partState{ETag: `"1"`, LastModified: "then", Total: 100}
	for name, tc := range map[string]struct {
		header http.Header
		length int64
		want   bool
	}{
		"the rest":       {http.Header{"Content-Range": {"bytes 10-99/100"}, "Etag": {`"1"`}, "Last-Modified": {"then"}}, 90, true},
		"without tags":   {http.Header{"Content-Range": {"bytes 10-99/100"}}, -1, true},
		"another start":  {http.Header{"Content-Range": {"bytes 9-99/100"}}, 91, false},
		"not to the end": {http.Header{"Content-Range": {"bytes 10-98/100"}}, 89, false},
		"another total":  {http.Header{"Content-Range": {"bytes 10-100/101"}}, 91, false},
		"another length": {http.Header{"Content-Range": {"bytes 10-99/100"}}, 89, false},
		"another tag":    {http.Header{"Content-Range": {"bytes 10-99/100"}, "Etag": {`"2"`}}, 90, false},
		"another date":   {http.Header{"Content-Range": {"bytes 10-99/100"}, "Last-Modified": {"now"}}, 90, false},
		"unknown total":  {http.Header{"Content-Range": {"bytes 10-99/*"}}, 90, false},
		"other unit":     {http.Header{"Content-Range": {"rows 10-99/100"}}, 90, false},
		"no range":       {http.Header{}, 90, false},
	} {
		total, ok := continues(&http.Response{Header: tc.header, ContentLength: tc.length}, st, 10)
		if ok != tc.want || ok && total != 100 {
			t.Errorf("%s: %d, %t", name, total, ok)
		}
	}
}

func TestValidator(t *testing.T) {
	const date, minuteAgo, justNow = "Mon, 02 Jan 2006 15:04:05 GMT", "Mon, 02 Jan 2006 15:03:05 GMT", "Mon, 02 Jan 2006 15:03:06 GMT"
	for want, h := range map[string]http.Header{
		`"1"`:     {"Etag": {`"1"`}, "Last-Modified": {minuteAgo}, "Date": {date}},
		minuteAgo: {"Last-Modified": {minuteAgo}, "Date": {date}},
	} {
		if got := validator(h); got != want {
			t.Errorf("validator(%v) = %q, want %q", h, got, want)
		}
	}
	for _, h := range []http.Header{
		{}, {"Etag": {`W/"1"`}, "Last-Modified": {minuteAgo}, "Date": {date}}, {"Etag": {"bare"}},
		{"Last-Modified": {justNow}, "Date": {date}}, {"Last-Modified": {minuteAgo}}, {"Last-Modified": {"x"}, "Date": {date}},
	} {
		if got := validator(h); got != "" {
			t.Errorf("validator(%v) = %q, want none", h, got)
		}
	}
}
