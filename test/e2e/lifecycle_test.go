package e2e

import (
	"fmt"
	"testing"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// A unit is installed, started, updated, stopped and removed; after each step framework and tree agree.
func TestLifeCycle(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework})
		c := d.InstallConsole(framework)
		agree(t, d, framework, c)

		u := d.Install("sample-1.0.0.jar", framework)
		agree(t, d, framework, c)
		wantUnit(t, d, u, "1.0.0", "Active", true)

		d.Done(d.Client.Stop(t.Context(), u.EU.Object))
		agree(t, d, framework, c)
		wantUnit(t, d, u, "1.0.0", "Idle", true) // Idle for now: AutoStart stays

		d.Done(d.Client.Start(t.Context(), u.EU.Object))
		agree(t, d, framework, c)
		wantUnit(t, d, u, "1.0.0", "Active", true)

		d.Done(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: d.URL("sample-2.0.0.jar")}))
		agree(t, d, framework, c)
		after := wantUnit(t, d, u, "2.0.0", "Active", true)
		if after.EU.Object != u.EU.Object || after.EU.EUID != u.EU.EUID || after.Alias != u.Alias || after.UUID != u.UUID || !after.Installed.Equal(u.Installed) {
			t.Errorf("the update changed more than the version: %s was %s", support.Show(after.DeploymentUnit), support.Show(u.DeploymentUnit))
		}

		d.Done(d.Client.Restart(t.Context(), u.EU.Object))
		agree(t, d, framework, c)

		d.Done(d.Client.Uninstall(t.Context(), u.Object))
		agree(t, d, framework, c)
		if tree := d.Tree(); tree.DeploymentUnit(u.Object) != nil || tree.ExecutionUnit(u.EU.Object) != nil {
			t.Error("the rows are still there after the uninstall")
		}
		if again := d.Install("sample-1.0.0.jar", framework); again.Instance <= u.Instance || again.EU.Instance <= u.EU.Instance {
			t.Errorf("the instance numbers %d and %d were used before", again.Instance, again.EU.Instance)
		} else if again.UUID != u.UUID {
			t.Errorf("the generated UUID of the same unit was %s and is %s", u.UUID, again.UUID)
		}
		agree(t, d, framework, c)
	})
}

// wantUnit waits until a unit is installed in a version and as it should be, without a fault, and returns it.
func wantUnit(t *testing.T, d control, u support.Unit, version, status string, autoStart bool) support.Unit {
	t.Helper()
	what := fmt.Sprintf("%s is there in version %s, %s, AutoStart %v, without a fault", u.Name, version, status, autoStart)
	return untilUnit(t, d, u, what, func(u support.Unit) bool {
		return u.Status == "Installed" && u.Version == version && u.EU.Version == version && u.EU.Status == status && u.EU.AutoStart == autoStart &&
			u.EU.FaultCode == "NoFault" && u.EU.FaultMessage == ""
	})
}

// control is what every device has.
type control interface {
	Until(what string, check func(*client.Tree) error) *client.Tree
}

// untilUnit waits until a unit is as it should be, and returns it. What a job has led to is told by the environment: its news may come
// after the end of the job.
func untilUnit(t *testing.T, d control, u support.Unit, what string, is func(support.Unit) bool) (now support.Unit) {
	t.Helper()
	d.Until(what, func(tree *client.Tree) (err error) {
		if now, err = support.UnitOf(tree, u.Object); err == nil && !is(now) {
			err = fmt.Errorf("it is %s", now)
		}
		return err
	})
	return now
}

// Declarative services from Maven Central, installed before what they need: unresolved, with the reason in the row, until the last
// missing bundle is there.
func TestRealBundlesResolveOneAnother(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework})
		c := d.InstallConsole(framework)

		scr := d.Install("real/org.apache.felix.scr.jar", framework)
		agree(t, d, framework, c)
		wantUnresolved(t, d, scr)
		for _, missing := range []string{"org.osgi.service.component", "org.osgi.util.promise"} {
			d.Install("real/"+missing+".jar", framework)
			agree(t, d, framework, c)
		}
		wantUnresolved(t, d, scr)
		d.Install("real/org.osgi.util.function.jar", framework)
		d.Done(d.Client.Start(t.Context(), scr.EU.Object))
		agree(t, d, framework, c)
		wantUnit(t, d, scr, scr.Version, "Active", true)

		// A fragment of what is not there, and then is; and one that has nothing to do with anything.
		api := d.Install("real/slf4j-api.jar", framework)
		agree(t, d, framework, c)
		wantUnresolved(t, d, api)
		d.Install("real/slf4j-simple.jar", framework)
		d.Done(d.Client.Start(t.Context(), api.EU.Object))
		agree(t, d, framework, c)
		wantUnit(t, d, api, api.Version, "Active", true)
		lang := d.Install("real/commons-lang3.jar", framework)
		agree(t, d, framework, c)
		wantUnit(t, d, lang, lang.Version, "Active", true)
		if lang.Name == "" || lang.Vendor == "" || lang.Description == "" {
			t.Errorf("name, vendor and description of commons-lang3 are %q, %q, %q", lang.Name, lang.Vendor, lang.Description)
		}

		// The last one away again: who needs it is told unresolved as soon as the framework says so.
		for _, u := range []support.Unit{scr, api} {
			d.Done(d.Client.Uninstall(t.Context(), u.Object))
			agree(t, d, framework, c)
		}
	})
}

func wantUnresolved(t *testing.T, d control, u support.Unit) {
	t.Helper()
	untilUnit(t, d, u, u.Name+" is unresolved", func(u support.Unit) bool {
		return u.Status == "Installed" && !u.Resolved && u.EU.Status == "Idle" && u.EU.FaultCode == "DependencyFailure" && u.EU.FaultMessage != ""
	})
}

// An update or removal of what others need is felt by them, and by nobody else.
func TestDependents(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework})
		c := d.InstallConsole(framework)
		provider := d.Install("provider-1.0.0.jar", framework)
		wide, strict, once := d.Install("consumer-1.0.0.jar", framework), d.Install("consumer-strict-1.0.0.jar", framework), d.Install("rewire-1.0.0.jar", framework)
		agree(t, d, framework, c)
		for _, u := range []support.Unit{provider, wide, strict, once} {
			wantUnit(t, d, u, "1.0.0", "Active", true)
		}

		d.Done(d.Client.Update(t.Context(), provider.Object, client.UpdateOptions{URL: "file://" + support.BundlePath(t, "provider-2.0.0.jar")}))
		untilUnit(t, d, once, "the one that starts once is idle", func(u support.Unit) bool { return u.EU.Status == "Idle" && u.EU.FaultMessage == "once is enough" })
		untilUnit(t, d, wide, "the one that takes either version runs", func(u support.Unit) bool { return u.EU.Status == "Active" })
		agree(t, d, framework, c)
		wantUnresolved(t, d, strict)
		wantUnit(t, d, provider, "2.0.0", "Active", true)

		d.Done(d.Client.Uninstall(t.Context(), provider.Object))
		wantUnresolved(t, d, wide)
		agree(t, d, framework, c)
		d.Install("provider-1.0.0.jar", framework)
		for _, u := range []support.Unit{wide, strict} {
			d.Done(d.Client.Start(t.Context(), u.EU.Object))
			wantUnit(t, d, u, "1.0.0", "Active", true)
		}
		agree(t, d, framework, c)
	})
}

// Bundles that are special: lazy ones wait in Starting, fragments take starts and stops without effect, words come from the default
// localization.
func TestSpecialBundles(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework})
		c := d.InstallConsole(framework)
		wantUnit(t, d, d.Install("lazy-1.0.0.jar", framework), "1.0.0", "Starting", true)
		agree(t, d, framework, c)

		fragment := d.Install("fragment-1.0.0.jar", framework)
		d.Install("sample-1.0.0.jar", framework)
		agree(t, d, framework, c)
		d.Done(d.Client.Start(t.Context(), fragment.EU.Object))
		d.Done(d.Client.Stop(t.Context(), fragment.EU.Object))
		untilUnit(t, d, fragment, "the fragment is resolved and Idle without a fault", func(u support.Unit) bool {
			return u.EU.Status == "Idle" && u.EU.FaultCode == "NoFault" && u.Resolved
		})
		agree(t, d, framework, c)

		if u := d.Install("localized-1.0.0.jar", framework); u.Vendor != "localized.example" || u.Description != "Words of the default locale" {
			t.Errorf("vendor and description are %q and %q", u.Vendor, u.Description)
		}
		if u := wantUnit(t, d, d.Install("no-vendor-1.0.0.jar", framework), "1.0.0", "Active", true); u.Vendor != "" || u.Description != "" {
			t.Errorf("vendor and description are %q and %q", u.Vendor, u.Description)
		}
		agree(t, d, framework, c)
	})
}

// Two versions of one unit live side by side: one UUID, two rows, locations and EUIDs that tell them apart.
func TestTwoVersionsSideBySide(t *testing.T) {
	either(t, "felix", func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework})
		c := d.InstallConsole(framework)
		one, two := d.Install("sample-1.0.0.jar", framework), d.Install("sample-2.0.0.jar", framework)
		agree(t, d, framework, c)
		if one.UUID != two.UUID || one.EU.EUID != framework+"/"+one.UUID || two.EU.EUID != framework+"/"+one.UUID+"#2" {
			t.Errorf("UUIDs %s and %s, EUIDs %s and %s", one.UUID, two.UUID, one.EU.EUID, two.EU.EUID)
		}
		wantUnit(t, d, one, "1.0.0", "Active", true)
		wantUnit(t, d, two, "2.0.0", "Active", true)
		locations := map[string]bool{}
		for _, b := range c.Bundles() {
			locations[b.Location] = true
		}
		for _, l := range []string{one.UUID, one.UUID + "#2"} {
			if !locations[l] {
				t.Errorf("no bundle is at %s", l)
			}
		}

		// An update to the version that is there already is refused, and changes nothing.
		before := fmt.Sprint(c.Bundles())
		j := d.Job(d.Client.Update(t.Context(), one.Object, client.UpdateOptions{URL: d.URL("sample-2.0.0.jar")}))
		wantFault(t, j, "VersionExists", 9032, 7226)
		if after := fmt.Sprint(c.Bundles()); after != before {
			t.Errorf("the bundles were\n%s and are\n%s", before, after)
		}
		agree(t, d, framework, c)

		d.Done(d.Client.Uninstall(t.Context(), one.Object))
		agree(t, d, framework, c)
		wantUnit(t, d, two, "2.0.0", "Active", true)
		if u := d.Unit(two.Object); u.EU.EUID != two.EU.EUID {
			t.Errorf("the EUID was %s and is %s", two.EU.EUID, u.EU.EUID)
		}
	})
}
