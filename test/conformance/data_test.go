package conformance

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// dataPaths are where a program stores how often it was started, as far as it has them: /NAME for application data of that name.
const dataPaths = "/kept /cache /extra"

// storesStart is what a program does for that.
const storesStart = "for d in " + dataPaths + "; do [ ! -d $d ] || echo started >>$d/starts; done\n"

// withData adds application data to arguments, each as its name and its Retain.
func withData(input map[string]string, all ...string) map[string]string {
	for i, text := range all {
		row := fmt.Sprintf("ApplicationData.%d.", 2*i+1) // the numbers are those of the arguments alone
		name, retain, _ := strings.Cut(text, " ")
		input[row+"Name"], input[row+"Retain"], input[row+"AccessPath"], input[row+"Capacity"], input[row+"Encrypted"] = name, retain, "/"+name, "1", "false"
	}
	return input
}

// applicationData tries what becomes of the data of a unit, from its first start to the end of what it has left behind.
func applicationData(b *bench) {
	url := func(version string) string { return b.serve(program{name: "stored", version: version, does: stores}) }
	first := url("1")
	input := func(all ...string) map[string]string {
		return withData(map[string]string{"URL": first, "ExecutionEnvRef": b.env(b.k.env)}, all...)
	}
	refused := func(what string, input map[string]string) {
		b.t.Helper()
		before := support.Show(b.rows())
		r := b.operate(modules+"InstallDU()", "U-14", input)[0]
		equal(b.t, what, fmt.Sprintf("%d %q", r.Code, r.Job), `7004 ""`)
		equal(b.t, "the rows", support.Show(b.rows()), before)
	}
	if b.k.adapter == "osgi" {
		refused("the result", input("kept Forever"))
		return
	}
	encrypted := input("kept Forever")
	delete(encrypted, "ApplicationData.1.Encrypted") // true, and the device has no such medium
	refused("the result for an encrypted medium", encrypted)

	do := func(command, key string, input map[string]string) client.USPNotification {
		b.t.Helper()
		event, done := b.ended(b.begin(command, key, input))
		if done.Code != 0 {
			b.t.Fatalf("%s: %s", command, support.Show(done))
		}
		return event
	}
	var u unit
	install := func(key string, all ...string) {
		b.t.Helper()
		a := do(modules+"InstallDU()", key, input(all...)).Arguments
		u = unit{uuid: a["UUID"], du: a["DeploymentUnitRef"] + ".", eu: a["ExecutionUnitRefList"] + "."}
	}
	remove := func(row string, want uint32) {
		b.t.Helper()
		r := b.operate(row+"Remove()", "U-14 remove", nil)
		if len(r) != 1 || r[0].Code != want || r[0].Job != "" {
			b.t.Errorf("Remove() of %s: %s, wanted the code %d", row, support.Show(r), want)
		}
	}

	install("U-14", "kept Forever", "cache UntilStopped")
	rows := b.hasData(u, "cache", "kept")
	for name, want := range map[string]string{"Capacity": "1", "Encrypted": "false", "Retain": "UntilStopped", "AccessPath": "/cache"} {
		equal(b.t, name, b.value(rows["cache"]+name), want)
	}
	b.started(u, map[string]int{"/kept": 1, "/cache": 1})
	remove(fmt.Sprintf("%sApplicationData.[ApplicationUUID==%q&&Name==%q].", b.env(b.k.env), u.uuid, "kept"), 7229)
	b.hasData(u, "cache", "kept")

	// A restart is no stop.
	equal(b.t, "the code of Restart()", b.operate(u.eu+"Restart()", "U-14 restart", nil)[0].Code, 0)
	b.started(u, map[string]int{"/kept": 2, "/cache": 2})
	b.becomes(u.eu+"Status", "Active")
	b.set(u.eu+"RequestedState", "Idle")
	b.becomes(u.eu+"Status", "Idle")
	b.set(u.eu+"RequestedState", "Active")
	b.started(u, map[string]int{"/kept": 3, "/cache": 1})

	do(u.du+"Update()", "U-14 update", withData(map[string]string{"URL": url("2"), "RetainData": "true"}, "extra Forever"))
	b.hasData(u, "cache", "extra", "kept")
	b.started(u, map[string]int{"/kept": 4, "/extra": 1})
	if _, done := b.ended(b.begin(u.du+"Update()", "U-14 failed", map[string]string{"URL": b.Files.URL + "/nothing"})); done.Code == 0 {
		b.t.Errorf("the update with nothing: %s", support.Show(done))
	}
	b.hasData(u, "cache", "extra", "kept")
	b.started(u, map[string]int{"/kept": 4, "/extra": 1})
	do(u.du+"Update()", "U-14 update without", withData(map[string]string{"URL": url("3")}, "kept Forever", "cache UntilStopped"))
	rows = b.hasData(u, "cache", "kept")
	b.started(u, map[string]int{"/kept": 1, "/cache": 1})

	do(u.du+"Uninstall()", "U-14 retain", map[string]string{"RetainData": "true"})
	left := b.hasData(unit{uuid: u.uuid}, "kept")
	equal(b.t, "the row that is left", left["kept"], rows["kept"])
	install("U-14 again", "kept Forever")
	equal(b.t, "the row that is there again", b.hasData(u, "kept")["kept"], rows["kept"])
	b.started(u, map[string]int{"/kept": 2})
	do(u.du+"Uninstall()", "U-14 retain again", map[string]string{"RetainData": "true"})
	remove(b.hasData(unit{uuid: u.uuid}, "kept")["kept"], 0)
	b.hasData(unit{uuid: u.uuid})
	remove(rows["kept"], 7016)

	install("U-14 last", "kept Forever")
	b.hasData(u, "kept")
	b.started(u, map[string]int{"/kept": 1})
	do(u.du+"Uninstall()", "U-14 without", nil)
	b.hasData(unit{uuid: u.uuid})
}

// hasData waits until the application data of a unit has these names, in their alphabetical order, and its execution unit, if it has one, refers to all of
// it. It returns the rows by name.
func (b *bench) hasData(u unit, names ...string) map[string]string {
	b.t.Helper()
	rows := map[string]string{}
	support.Until(b.t, fmt.Sprintf("the data of %s is %q", u.uuid, names), func() error {
		paths := []string{b.env(b.k.env) + "ApplicationData."}
		if u.eu != "" {
			paths = append(paths, u.eu+"ApplicationDataList")
		}
		parameters, err := b.Client.GetParameterValues(b.t.Context(), paths...)
		if err != nil {
			return err
		}
		all := map[string]string{}
		for _, p := range parameters {
			all[p.Path] = p.Value
		}
		clear(rows)
		for path, value := range all {
			if row, ok := strings.CutSuffix(path, "ApplicationUUID"); ok && value == u.uuid {
				rows[all[row+"Name"]] = row
			}
		}
		if got := slices.Sorted(maps.Keys(rows)); !slices.Equal(got, names) {
			return fmt.Errorf("it is %q", got)
		}
		if u.eu == "" {
			return nil
		}
		list := all[u.eu+"ApplicationDataList"]
		for _, row := range rows {
			if !slices.Contains(strings.Split(list, ","), strings.TrimSuffix(row, ".")) {
				return fmt.Errorf("%s is not in the list %q", row, list)
			}
		}
		if n := strings.Count(list, "ApplicationData"); n != len(rows) {
			return fmt.Errorf("the list %q has %d rows, not %d", list, n, len(rows))
		}
		return nil
	})
	return rows
}

// started waits until each place of a unit holds that number of starts, as its processes see it.
func (b *bench) started(u unit, want map[string]int) {
	b.t.Helper()
	support.Until(b.t, fmt.Sprintf("the starts are %v", want), func() error {
		root := "/proc/" + b.pid(u) + "/root"
		var errs []error
		for path, n := range want {
			out, err := b.d.Machine.Try(b.t.Context(), "cat", root+path+"/starts")
			if err != nil {
				errs = append(errs, err)
			} else if got := strings.Count(out, "\n"); got != n {
				errs = append(errs, fmt.Errorf("%s has %d, not %d", path, got, n))
			}
		}
		return errors.Join(errs...)
	})
}
