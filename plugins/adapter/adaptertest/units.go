package adaptertest

import (
	"os"
	"slices"

	"github.com/smmd-project/smmd/plugins/adapter"
)

var installCases = []Case{
	{"Install/makes the unit present and stopped", func(r *rig) {
		r.up()
		p := r.h.Packages.V1.load(r, "V1")
		key := r.key()
		u, err := r.tryInstall(r.op(), r.env, key, p)
		if err != nil {
			r.t.Fatalf("Install: %v", err)
		}
		if u.Key != key {
			r.t.Errorf("the unit's key is %q, not %q as in InstallSpec", u.Key, key)
		}
		r.wantStopped("Install", u, p)
		r.first(u)
		told := r.waitUnit(r.env, key, "there", func(adapter.Unit) bool { return true })
		r.wantSame("the unit by Watch", told, u)
		r.wantStopped("Watch after Install", told, p)
		r.wantStopped("a second Watch after Install", r.look(r.env)[key], p) // the news of a start may have been later than the first
	}},
	{"Install/same OpID again returns the same unit", func(r *rig) {
		r.up()
		p, op, key := r.h.Packages.V1.load(r, "V1"), r.op(), r.key()
		before := r.look(r.env)
		u, err := r.tryInstall(op, r.env, key, p)
		if err != nil {
			r.t.Fatalf("Install: %v", err)
		}
		again, err := r.tryInstall(op, r.env, key, p)
		if err != nil {
			r.t.Fatalf("Install with the same OpID: want success, got %s: %v", adapter.ReasonOf(err), err)
		}
		r.wantSame("Install with the same OpID", again, u)
		before[key] = u
		r.wantUnits("after both", r.look(r.env), before)
	}},
	{"Install/same OpID after a restart of the adapter returns the same unit", func(r *rig) {
		r.up()
		p, op, key := r.h.Packages.V1.load(r, "V1"), r.op(), r.key()
		u, err := r.tryInstall(op, r.env, key, p)
		if err != nil {
			r.t.Fatalf("Install: %v", err)
		}
		r.restart()
		again, err := r.tryInstall(op, r.env, key, p)
		if err != nil {
			r.t.Fatalf("Install with the same OpID: want success, got %s: %v", adapter.ReasonOf(err), err)
		}
		r.wantSame("Install with the same OpID after a restart", again, u)
	}},
	{"Install/key that is taken is Exists for another OpID", func(r *rig) {
		r.up()
		p := r.h.Packages.V1.load(r, "V1")
		u := r.install(p)
		before := r.look(r.env)
		_, err := r.tryInstall(r.op(), r.env, u.Key, p)
		r.want("Install of the same package at the same key", err, adapter.Exists)
		_, err = r.tryInstall(r.op(), r.env, u.Key, r.h.Packages.V2.load(r, "V2"))
		r.want("Install of another package at the same key", err, adapter.Exists)
		after := r.look(r.env)
		r.wantUnits("after the failed Install", after, before)
		r.wantSame("the unit that was there", after[u.Key], u)
		r.restart()
		_, err = r.tryInstall(r.op(), r.env, u.Key, p)
		r.want("Install after a restart", err, adapter.Exists)
	}},
	{"Install/same package at another key is installed or Exists", func(r *rig) {
		r.up()
		p := r.h.Packages.V1.load(r, "V1")
		want := r.look(r.env)
		u := r.install(p)
		want[u.Key] = u
		key := r.key()
		other, err := r.tryInstall(r.op(), r.env, key, p)
		if err != nil {
			r.want("Install at another key", err, adapter.Exists)
		} else {
			want[key] = other
		}
		r.wantUnits("after both", r.look(r.env), want)
	}},
	{"Install/damaged package leaves nothing", func(r *rig) { r.installFails(r.h.Packages.Corrupt.load(r, "Corrupt"), adapter.Corrupt) }},
	{"Install/package of another kind leaves nothing", func(r *rig) { r.installFails(r.h.Packages.Foreign.load(r, "Foreign"), adapter.Mismatch) }},
	{"Install/failure in the environment leaves nothing", func(r *rig) { r.installFails(r.h.Packages.FailsInstall.load(r, "FailsInstall")) }},
	{"Install/package file is read and left alone", func(r *rig) {
		r.up()
		p := r.h.Packages.V1.load(r, "V1")
		var u adapter.Unit
		r.leavesFileAlone(p, func() { u = r.install(p) })
		if err := os.Remove(p.Path); err != nil {
			r.t.Fatalf("cannot remove the package: %v", err)
		}
		r.run(r.first(u)) // what it needs later it copied
	}},
	{"Install/unknown environment is NotFound", func(r *rig) {
		r.up()
		_, err := r.tryInstall(r.op(), "no-such-env", r.key(), r.h.Packages.V1.load(r, "V1"))
		r.want("Install", err, adapter.NotFound)
	}},
	{"Install/environment that is not up takes it or is Unavailable", func(r *rig) {
		r.start()
		if _, err := r.tryInstall(r.op(), r.env, r.key(), r.h.Packages.V1.load(r, "V1")); err != nil {
			r.want("Install", err, adapter.Unavailable)
		}
	}},
	{"Install/inert module says so", func(r *rig) {
		r.up()
		u := r.install(r.h.Packages.Inert.load(r, "Inert"))
		if r.first(u); !u.Modules[0].Inert {
			r.t.Errorf("module %s is not Inert", u.Modules[0].ID)
		}
	}},
	{"Install/unit stays over a restart of the environment", func(r *rig) {
		r.up()
		u := r.install(r.h.Packages.V1.load(r, "V1"))
		r.setEnabled(r.env, false)
		r.launch(r.env)
		r.wantSame("the unit after a new launch", r.look(r.env)[u.Key], u)
	}},
}

func (r *rig) installFails(p adapter.Package, want ...adapter.Reason) {
	r.t.Helper()
	r.up()
	before, key := r.look(r.env), r.key()
	_, err := r.tryInstall(r.op(), r.env, key, p)
	switch {
	case err == nil:
		r.t.Fatalf("Install: want an error, got none")
	case len(want) > 0:
		r.want("Install", err, want...)
	}
	r.wantUnits("after the failed Install", r.look(r.env), before)
	r.restart()
	r.wantUnits("after the failed Install and a restart", r.look(r.env), before)
	if _, err := r.tryInstall(r.op(), r.env, key, r.h.Packages.V1.load(r, "V1")); err != nil {
		r.t.Errorf("Install of a good package at the key of the failed one: %s: %v", adapter.ReasonOf(err), err)
	}
}

// updated installs V1, runs it, and updates it to V2.
func (r *rig) updated() (before, after adapter.Unit, v1, v2 adapter.Package) {
	r.t.Helper()
	r.up()
	v1, v2 = r.h.Packages.V1.load(r, "V1"), r.h.Packages.V2.load(r, "V2")
	before = r.install(v1)
	r.run(r.first(before))
	return before, r.update(before, v1, v2), v1, v2
}

var updateCases = []Case{
	{"Update/makes the next generation present and stopped, the key stays", func(r *rig) {
		before, after, _, v2 := r.updated()
		r.wantStopped("Update", after, v2)
		if after.Key != before.Key || after.Env != before.Env {
			r.t.Errorf("the key was %q and is %q", before.Key, after.Key)
		}
		told := r.look(r.env)[before.Key]
		r.wantSame("the unit by Watch", told, after)
		r.wantStopped("Watch after Update", told, v2)
		r.run(r.first(after))
	}},
	{"Update/same module keeps its ID", func(r *rig) {
		before, after, _, _ := r.updated()
		if !slices.Contains(ids(after), before.Modules[0].ID) {
			r.t.Errorf("module %s of V1 is not among %v of V2", before.Modules[0].ID, ids(after))
		}
	}},
	{"Update/same OpID again returns the same unit", func(r *rig) {
		r.up()
		v1, v2, op := r.h.Packages.V1.load(r, "V1"), r.h.Packages.V2.load(r, "V2"), r.op()
		u := r.install(v1)
		var last adapter.Unit
		for _, when := range []string{"first", "again", "after a restart"} {
			if when == "after a restart" {
				r.restart()
			}
			got, err := r.tryUpdate(op, ref(u), v1, v2)
			if err != nil {
				r.t.Fatalf("Update %s: want success, got %s: %v", when, adapter.ReasonOf(err), err)
			}
			if when != "first" {
				r.wantSame("Update "+when, got, last)
			}
			last = got
		}
		if got := r.revert(r.op(), ref(last), v1); got.Manifest != u.Manifest {
			r.t.Errorf("one Revert does not undo the repeated Update: %+v", got.Manifest)
		}
	}},
	{"Update/handle of before is valid until Discard", func(r *rig) {
		before, after, _, _ := r.updated()
		m := adapter.ModuleRef{UnitRef: ref(before), Module: r.first(after).Module}
		r.mustStop(m)
		r.restart()
		r.mustStop(m)
		r.discard(r.op(), ref(before))
		r.mustStop(r.first(after))
	}},
	{"Update/failure leaves the unit as before", func(r *rig) {
		bad, what := r.h.Packages.FailsInstall, "FailsInstall"
		if bad.Path == "" {
			bad, what = r.h.Packages.Corrupt, "Corrupt"
		}
		next := bad.load(r, what)
		r.up()
		v1 := r.h.Packages.V1.load(r, "V1")
		u := r.install(v1)
		want := r.look(r.env)
		if _, err := r.tryUpdate(r.op(), ref(u), v1, next); err == nil {
			r.t.Fatalf("Update to package %s: want an error, got none", what)
		}
		got := r.look(r.env)
		r.wantUnits("after the failed Update", got, want)
		r.wantSame("the unit after the failed Update", got[u.Key], u)
		r.run(r.first(u))
	}},
	{"Update/damaged package is Corrupt, one of another kind Mismatch", func(r *rig) {
		corrupt, foreign := r.h.Packages.Corrupt.load(r, "Corrupt"), r.h.Packages.Foreign.load(r, "Foreign")
		r.up()
		v1 := r.h.Packages.V1.load(r, "V1")
		u := r.install(v1)
		_, err := r.tryUpdate(r.op(), ref(u), v1, corrupt)
		r.want("Update to Corrupt", err, adapter.Corrupt)
		_, err = r.tryUpdate(r.op(), ref(u), v1, foreign)
		r.want("Update to Foreign", err, adapter.Mismatch)
	}},
	{"Update/unknown unit is NotFound", func(r *rig) {
		r.up()
		_, err := r.tryUpdate(r.op(), adapter.UnitRef{Env: r.env, Key: r.key()}, r.h.Packages.V1.load(r, "V1"), r.h.Packages.V2.load(r, "V2"))
		r.want("Update", err, adapter.NotFound)
	}},
	{"Update/again after Discard", func(r *rig) {
		before, after, v1, v2 := r.updated()
		r.discard(r.op(), ref(after))
		back := r.update(after, v2, v1)
		r.wantStopped("the second Update", back, v1)
		r.wantSame("module IDs and key", adapter.Unit{Env: back.Env, Key: back.Key, Modules: back.Modules},
			adapter.Unit{Env: before.Env, Key: before.Key, Modules: before.Modules})
	}},
}

var revertCases = []Case{
	{"Revert/old package is present again and stopped", func(r *rig) {
		before, after, v1, _ := r.updated()
		r.run(r.first(after))
		got := r.revert(r.op(), ref(after), v1)
		r.wantStopped("Revert", got, v1)
		told := r.look(r.env)[before.Key]
		r.wantSame("the unit by Watch", told, got)
		r.wantStopped("Watch after Revert", told, v1)
		r.run(r.first(got))
	}},
	{"Revert/takes the handle of before", func(r *rig) {
		before, _, v1, _ := r.updated()
		r.wantStopped("Revert", r.revert(r.op(), ref(before), v1), v1)
	}},
	{"Revert/same OpID again returns the same unit", func(r *rig) {
		_, after, v1, _ := r.updated()
		op := r.op()
		got := r.revert(op, ref(after), v1)
		r.wantSame("Revert again", r.revert(op, ref(after), v1), got)
		r.restart()
		r.wantSame("Revert again after a restart", r.revert(op, ref(after), v1), got)
	}},
	{"Revert/succeeds when the Update never happened", func(r *rig) {
		r.up()
		v1 := r.h.Packages.V1.load(r, "V1")
		u := r.install(v1)
		r.run(r.first(u))
		got := r.revert(r.op(), ref(u), v1)
		r.wantStopped("Revert", got, v1)
		r.run(r.first(got))
	}},
	{"Revert/succeeds when the Update failed", func(r *rig) {
		next := r.h.Packages.Corrupt.load(r, "Corrupt")
		r.up()
		v1 := r.h.Packages.V1.load(r, "V1")
		u := r.install(v1)
		if _, err := r.tryUpdate(r.op(), ref(u), v1, next); err == nil {
			r.t.Fatalf("Update to Corrupt: want an error, got none")
		}
		r.wantStopped("Revert", r.revert(r.op(), ref(u), v1), v1)
	}},
	{"Revert/after a restart of the adapter", func(r *rig) {
		_, after, v1, _ := r.updated()
		r.restart()
		r.wantStopped("Revert", r.revert(r.op(), ref(after), v1), v1)
	}},
	{"Revert/unit can be updated again", func(r *rig) {
		_, after, v1, v2 := r.updated()
		got := r.revert(r.op(), ref(after), v1)
		r.wantStopped("Update after Revert", r.update(got, v1, v2), v2)
	}},
}

var discardCases = []Case{
	{"Discard/ends an Update, the unit goes on", func(r *rig) {
		_, after, _, v2 := r.updated()
		r.run(r.first(after))
		r.discard(r.op(), ref(after))
		u := r.look(r.env)[after.Key]
		if u.Manifest != r.inspect(v2) {
			r.t.Errorf("the unit after Discard is %+v", u.Manifest)
		}
		r.waitStatus(r.first(after), adapter.Active)
		r.mustStop(r.first(after))
	}},
	{"Discard/repeating it is no error", func(r *rig) {
		before, after, _, _ := r.updated()
		op := r.op()
		r.discard(op, ref(after))
		r.discard(op, ref(after))
		r.discard(r.op(), ref(before))
		r.restart()
		r.discard(op, ref(after))
	}},
}

var uninstallCases = []Case{
	{"Uninstall/stops and removes the unit", func(r *rig) {
		r.up()
		before := r.look(r.env)
		u := r.install(r.h.Packages.V1.load(r, "V1"))
		r.run(r.first(u))
		r.uninstall(r.op(), ref(u))
		r.waitGone(r.env, u.Key)
		r.wantUnits("after Uninstall", r.look(r.env), before)
		r.restart()
		r.wantUnits("after Uninstall and a restart", r.look(r.env), before)
		r.want("Start of what is gone", r.tryStart(r.op(), r.first(u), adapter.StartOptions{}), adapter.NotFound)
	}},
	{"Uninstall/same OpID again succeeds", func(r *rig) {
		r.up()
		u := r.install(r.h.Packages.V1.load(r, "V1"))
		op := r.op()
		r.uninstall(op, ref(u))
		r.uninstall(op, ref(u))
		r.restart()
		r.uninstall(op, ref(u))
	}},
	{"Uninstall/what is gone succeeds", func(r *rig) {
		r.up()
		u := r.install(r.h.Packages.V1.load(r, "V1"))
		r.uninstall(r.op(), ref(u))
		r.uninstall(r.op(), ref(u))
	}},
	{"Uninstall/what never was there succeeds", func(r *rig) {
		r.up()
		r.uninstall(r.op(), adapter.UnitRef{Env: r.env, Key: r.key()})
	}},
	{"Uninstall/leaves the others alone", func(r *rig) {
		r.up()
		u := r.install(r.h.Packages.V1.load(r, "V1"))
		other := r.install(r.h.Packages.Other.load(r, "Other"))
		r.run(r.first(other))
		want := r.look(r.env)
		delete(want, u.Key)
		r.uninstall(r.op(), ref(u))
		r.wantUnits("after Uninstall", r.look(r.env), want)
		r.waitStatus(r.first(other), adapter.Active)
	}},
	{"Uninstall/removes both generations of an Update", func(r *rig) {
		before, after, v1, _ := r.updated()
		r.uninstall(r.op(), ref(after))
		if _, there := r.look(r.env)[before.Key]; there {
			r.t.Errorf("unit %s is still there", before.Key)
		}
		if got, err := r.tryInstall(r.op(), r.env, before.Key, v1); err != nil {
			r.t.Errorf("the key cannot be used again: %s: %v", adapter.ReasonOf(err), err)
		} else {
			r.run(r.first(got))
		}
	}},
	{"Uninstall/failure removes nothing", func(r *rig) {
		p := r.h.Packages.FailsUninstall.load(r, "FailsUninstall")
		r.up()
		u := r.install(p)
		want := r.look(r.env)
		if err := r.tryUninstall(r.op(), ref(u)); err == nil {
			r.t.Fatalf("Uninstall of package FailsUninstall: want an error, got none")
		}
		r.wantUnits("after the failed Uninstall", r.look(r.env), want)
		r.run(r.first(u))
	}},
}
