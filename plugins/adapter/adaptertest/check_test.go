package adaptertest_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/adaptertest"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The kit itself is tried out in package fake, against the fake and against adapters that are wrong on purpose. Here is what
// it makes of a harness.

func harness(t *testing.T) adaptertest.Harness {
	p := adaptertest.Package{Path: fake.Package(t, fake.Spec{Name: "a", Version: "1"}).Path}
	return adaptertest.Harness{
		Open: func(t adaptertest.TB, _ string) (adapter.Adapter, func()) {
			a := fake.New(fake.NewWorld(fake.Options{}))
			return a, a.Kill
		},
		Environments: func(adaptertest.TB, string) []adapter.EnvConfig { return []adapter.EnvConfig{{ID: "e"}} },
		Packages:     adaptertest.Packages{V1: p, V2: p, Corrupt: adaptertest.Package{Skip: "there is none"}},
		Skip:         map[string]string{},
	}
}

// only leaves one case.
func only(h adaptertest.Harness, name string) adaptertest.Harness {
	for _, c := range adaptertest.Cases() {
		if c.Name != name {
			h.Skip[c.Name] = "another case"
		}
	}
	return h
}

func check(t *testing.T, h adaptertest.Harness, name string) adaptertest.Result {
	t.Helper()
	results, err := adaptertest.Check(t.Context(), only(h, name), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no result of case %q", name)
	return adaptertest.Result{}
}

func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		name, run, log  string
		failed, skipped bool
		change          func(*adaptertest.Harness)
	}{
		{name: "good", run: "Describe/says kind and version"},
		{name: "wrong kind", run: "Describe/says kind and version", failed: true, log: `"osgi"`, change: func(h *adaptertest.Harness) { h.Kind = "osgi" }},
		{name: "no package, a reason", run: "Inspect/damaged package is Corrupt", skipped: true, log: "there is none"},
		{name: "no package, no reason", run: "Inspect/package of another kind is Mismatch", failed: true, log: "no reason"},
		{name: "one version", run: "Inspect/reads name and version without a running environment", failed: true, log: "two versions"},
		{name: "no Lose, no reason", run: "Watch/lost environment is Env down, the others go on", failed: true, log: "no Lose"},
		{name: "one environment", run: "SetEnabled/leaves the other environments alone", skipped: true, log: "one environment"},
		{
			name: "no environment", run: "Describe/says kind and version", failed: true, log: "no environment",
			change: func(h *adaptertest.Harness) {
				h.Environments = func(adaptertest.TB, string) []adapter.EnvConfig { return nil }
			},
		},
		{
			name: "panic", run: "Describe/says kind and version", failed: true, log: "panic: broken",
			change: func(h *adaptertest.Harness) {
				h.Open = func(adaptertest.TB, string) (adapter.Adapter, func()) { panic("broken") }
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := harness(t)
			if tc.change != nil {
				tc.change(&h)
			}
			r := check(t, h, tc.run)
			if r.Failed != tc.failed || r.Skipped != tc.skipped || !strings.Contains(strings.Join(r.Log, "\n"), tc.log) {
				t.Errorf("want failed %v, skipped %v and %q in the log, got %+v", tc.failed, tc.skipped, tc.log, r)
			}
		})
	}
}

func TestCheckUnknownSkip(t *testing.T) {
	h := only(harness(t), "Describe/says kind and version")
	h.Skip["Describe/no such case"] = "a typing error"
	if _, err := adaptertest.Check(t.Context(), h, nil); err == nil || !strings.Contains(err.Error(), "no such case") {
		t.Errorf("got %v", err)
	}
}

func TestCheckCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	results, err := adaptertest.Check(ctx, harness(t), nil)
	if !errors.Is(err, context.Canceled) || len(results) != 0 {
		t.Errorf("got %d results and %v", len(results), err)
	}
}

func TestCaseNames(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range adaptertest.Cases() {
		method, sentence, ok := strings.Cut(c.Name, "/")
		if !ok || method == "" || sentence == "" || strings.Contains(sentence, "/") || seen[c.Name] {
			t.Errorf("case name %q is not Method/sentence, or is there twice", c.Name)
		}
		seen[c.Name] = true
	}
}
