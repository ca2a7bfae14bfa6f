package lxc

import (
	"context"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// TestCallDuringChange shows that a call about a container comes after the Update that still stops it, although nobody waits for that one any more.
func TestCallDuringChange(t *testing.T) {
	packages := map[string]adapter.Package{}
	for _, version := range []string{"1", "2", "3"} {
		spec := imageSpec{title: "c", version: version, layers: [][]entry{base(t)},
			config: v1Config("/bin/sh", "-c", "trap 'until [ -e /tmp/release ]; do sleep 0.05; done; exit 0' TERM; echo > /tmp/ready; while :; do sleep 0.05; done")}
		packages[version] = packageOf(t, archiveOf(t, spec))
	}
	d := newDevice(t, sessions{}, map[string]any{"stop_timeout": "60s"})
	update := func(ctx context.Context, key string, op adapter.OpID, next string) error {
		_, err := d.a.Update(ctx, op, d.ref(key), packages["1"], packages[next])
		return err
	}
	for key, c := range map[string]struct {
		call func(key string) error
		want record // nothing: the container is gone
	}{
		"the-same":  {func(key string) error { return update(t.Context(), key, "first", "2") }, record{Current: 2, Previous: 1, UpdateOp: "first"}},
		"another":   {func(key string) error { return update(t.Context(), key, "second", "3") }, record{Current: 3, Previous: 2, UpdateOp: "second"}},
		"discard":   {func(key string) error { return d.a.Discard(t.Context(), "discard", d.ref(key)) }, record{Current: 2, UpdateOp: "first"}},
		"uninstall": {func(key string) error { _, err := d.a.Uninstall(t.Context(), "uninstall", d.ref(key)); return err }, record{}},
		"revert": {func(key string) error {
			_, err := d.a.Revert(t.Context(), "revert", d.ref(key), packages["1"])
			return err
		}, record{Current: 1}},
	} {
		t.Run(key, func(t *testing.T) {
			defer func(outer *testing.T) { d.t = outer }(d.t)
			d.t = t
			_, err := d.a.Install(t.Context(), "install", adapter.InstallSpec{Env: "home", Key: key, Package: packages["1"], RunLevel: -1})
			must(t, err)
			d.start(key)
			d.file(key, "tmp/ready")
			release := d.rootfs(key, "tmp/release")
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			left := make(chan error, 1)
			go func() { left <- update(ctx, key, "first", "2") }()
			d.is(key, adapter.Stopping)
			leave()
			reasonIs(t, <-left, adapter.Canceled)

			called := make(chan error, 1)
			go func() { called <- c.call(key) }()
			turn := d.env.container(d.name(key)).turn
			d.eventually("the call", func() bool { return len(turn) == 0 })
			must(t, os.WriteFile(release, nil, 0o644))
			must(t, <-called)
			if c.want == (record{}) {
				d.wait("the end of the unit", func() bool { _, there := d.units[key]; return !there })
				return
			}
			got, err := d.env.store.record(d.name(key))
			must(t, err)
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(record{}, "Format", "Key", "Op")); diff != "" {
				t.Errorf("the record (-want +got):\n%s", diff)
			}
			if _, err := d.env.store.generation(d.name(key), got.Current); err != nil {
				t.Error(err)
			}
			d.is(key, adapter.Idle)
		})
	}
}
