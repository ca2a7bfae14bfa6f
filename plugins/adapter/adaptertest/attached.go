package adaptertest

import (
	"context"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// refusesEnabled checks that the adapter refuses to launch and to end an environment.
func (r *rig) refusesEnabled(when string) {
	r.t.Helper()
	for _, on := range []bool{true, false} {
		err := r.call("SetEnabled", func(ctx context.Context) error { return r.a.SetEnabled(ctx, r.op(), r.env, on, nil) })
		what := "off"
		if on {
			what = "on"
		}
		r.want("SetEnabled "+what+" while the environment is "+when, err, adapter.NotSupported)
	}
}

// attachedCases are those of an environment that somebody else launches and ends. That Attached is right the view checks at each event.
var attachedCases = []Case{
	{"Watch/Attached is told also while the environment is not up and never changes", func(r *rig) {
		down := func() {
			r.t.Helper()
			r.waitEnv(r.env, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
		}
		r.start()
		down()
		r.launch(r.env)
		r.restart()
		r.waitEnv(r.env, "up and synced", func(s *seenEnv) bool { return s.env.Up && s.synced })
		r.setEnabled(r.env, false)
		down()
		r.kill()
		r.start()
		down()
	}},
	{"SetEnabled/attached environment is NotSupported, up or down, and stays as it is", func(r *rig) {
		r.attached()
		r.start()
		r.refusesEnabled("down")
		r.watch()
		r.waitEnv(r.env, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
		r.launch(r.env)
		m := r.first(r.install(r.h.Packages.V1.load(r, "V1")))
		r.run(m)
		launch := r.v.launch(r.env)
		r.refusesEnabled("up")
		r.wantRunning(m, launch)
	}},
	{"RestoreVersion/attached environment is NotSupported, up or down", func(r *rig) {
		r.attached()
		r.start()
		r.needVersions()
		// What cannot be saved cannot be put back either, so that any file will do.
		path, p := r.newPath(), r.h.Packages.V1.load(r, "V1")
		if err := r.trySave(r.env, path); err == nil {
			p, _ = r.written(path)
		} else {
			r.want("SaveVersion", err, adapter.NotSupported)
		}
		r.want("RestoreVersion while the environment is down", r.tryRestore(r.op(), r.env, p), adapter.NotSupported)
		r.launch(r.env)
		launch := r.v.launch(r.env)
		r.want("RestoreVersion while the environment is up", r.tryRestore(r.op(), r.env, p), adapter.NotSupported)
		r.look(r.env)
		if got := r.v.launch(r.env); got != launch {
			r.t.Errorf("RestoreVersion disturbed the running environment: Launch was %q and is %q", launch, got)
		}
	}},
}
