package e2e

import (
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// nameUUID is RFC 4122, 4.3, in the DNS namespace.
func nameUUID(version byte, name string) string {
	h := map[byte]func() hash.Hash{3: md5.New, 5: sha1.New}[version]()
	namespace, _ := hex.DecodeString("6ba7b8109dad11d180b400c04fd430c8") // RFC 4122, appendix C
	h.Write(namespace)
	h.Write([]byte(name))
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|version<<4, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// unitUUID is TR-181, Annex C: over name and vendor of the unit.
func unitUUID(version byte, u support.Unit) string {
	name := strings.ReplaceAll(u.Name, ".", "%2e") // there is nothing else to be escaped in the names of the test bundles
	return nameUUID(version, name+"."+u.Vendor+".")
}

// With uuid_version = 3 new units get UUIDs of the old kind; those that are there keep theirs.
func TestUUIDVersion(t *testing.T) {
	// The values that the Python manual prints for uuid3 and uuid5 of python.org.
	if three, five := nameUUID(3, "python.org"), nameUUID(5, "python.org"); three != "6fa459ea-ee8a-3ca4-894e-db77e160355e" || five != "886313e1-3b8a-5372-9b90-0c9aee199e5d" {
		t.Fatalf("the test itself is wrong: %s, %s", three, five)
	}
	either(t, "felix", func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework})
		c := d.InstallConsole(framework)
		was := d.Install("sample-1.0.0.jar", framework)
		if want := unitUUID(5, was); was.UUID != want {
			t.Errorf("the UUID is %s, want %s", was.UUID, want)
		}
		d.Stop()
		d.Configure("[data_model]\nuuid_version = 3\n")
		d.Start()
		d.Up()
		agree(t, d, framework, c)
		if now := d.Unit(was.Object); now.UUID != was.UUID || now.EU.EUID != was.EU.EUID {
			t.Errorf("the UUID was %s and is %s", was.UUID, now.UUID)
		}
		d.Done(d.Client.Update(t.Context(), was.Object, client.UpdateOptions{URL: d.URL("sample-1.5.0.jar")}))
		if now := d.Unit(was.Object); now.UUID != was.UUID {
			t.Errorf("the update made the UUID %s of %s", now.UUID, was.UUID)
		}

		// wantOld checks that a unit has a UUID of version 3 and is found under it by its framework.
		wantOld := func(u support.Unit) {
			t.Helper()
			if want := unitUUID(3, u); u.UUID != want || u.EU.EUID != framework+"/"+want || !slices.ContainsFunc(c.Bundles(), func(b support.Bundle) bool { return b.Location == want }) {
				t.Errorf("%s has UUID %s and EUID %s, want %s", u.Name, u.UUID, u.EU.EUID, want)
			}
		}
		other := d.Install("sample2-1.0.0.jar", framework)
		wantOld(other)
		wantOld(d.Install("no-vendor-1.0.0.jar", framework))
		lazy := unitUUID(3, support.Unit{DeploymentUnit: &client.DeploymentUnit{Name: "org.smmd.lazy", Vendor: "smmd.example"}})
		given := d.InstallWith(d.URL("lazy-1.0.0.jar"), client.InstallOptions{ExecEnv: framework, UUID: strings.ToUpper(lazy)})
		wantOld(given)
		agree(t, d, framework, c)

		// A UUID is of one unit, and none that is no UUID is taken.
		wantFault(t, d.Job(d.Client.Install(t.Context(), d.URL("sample2-1.0.0.jar"), client.InstallOptions{ExecEnv: framework, UUID: other.UUID})), "DuplicateDU", 9026, 7226)
		wantFault(t, d.Job(d.Client.Install(t.Context(), d.URL("sample2-1.0.0.jar"), client.InstallOptions{ExecEnv: framework, UUID: lazy})), "DuplicateDU", 9026, 7226)
		wantFault(t, d.Job(d.Client.Install(t.Context(), d.URL("sample2-1.0.0.jar"), client.InstallOptions{ExecEnv: framework, UUID: unitUUID(5, other)})), "DuplicateDU", 9026, 7226)
		_, err := d.Client.Install(t.Context(), d.URL("provider-1.0.0.jar"), client.InstallOptions{ExecEnv: framework, UUID: lazy[1:]})
		wantRefusal(t, err, "InvalidUUID", 9022, 7004)
		agree(t, d, framework, c)

		// One that is found is new as well, and an uninstall and install gives the same UUID.
		c.Run("install file:" + support.BundlePath(t, "provider-1.0.0.jar"))
		d.Until("the unit is found", func(tree *client.Tree) error {
			for _, du := range tree.DeploymentUnits {
				if du.Name == "org.smmd.provider" {
					if want := unitUUID(3, support.Unit{DeploymentUnit: du}); du.UUID != want {
						t.Errorf("it has UUID %s, want %s", du.UUID, want)
					}
					return nil
				}
			}
			return fmt.Errorf("it is not")
		})
		d.Done(d.Client.Uninstall(t.Context(), other.Object))
		wantOld(d.Install("sample2-1.0.0.jar", framework))
		d.Done(d.Client.Uninstall(t.Context(), was.Object))
		wantOld(d.Install("sample-1.0.0.jar", framework))

		d.Stop()
		d.Configure("[data_model]\nuuid_version = 4\n")
		_, stderr, status := d.Run(programs.Smmd, "check-config", d.Config)
		if status == 0 || !strings.Contains(stderr, "data_model.uuid_version: 4 is not 3 or 5") {
			t.Errorf("version 4 is answered with %d and %q", status, stderr)
		}
		d.Configure("")
		d.Start()
		d.Up()
		if now := d.Unit(given.Object); now.UUID != lazy {
			t.Errorf("the UUID was %s and is %s", lazy, now.UUID)
		}
	})
}
