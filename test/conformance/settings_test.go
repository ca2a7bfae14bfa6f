package conformance

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/smmd-project/smmd/test/support"
)

// constrain tries limits of an environment with a unit that runs in it.
func constrain(b *bench) {
	b.on()
	u := b.aside()
	env := b.env(b.k.spare)
	memory, cpu := env+"AllocatedMemory", env+"AllocatedCPUPercent"
	if b.k.adapter != "systemd" {
		before := support.Show(b.values(memory, cpu))
		r := b.operate(env+"ModifyConstraints()", "U-13", map[string]string{"AllocatedMemory": "1"})[0]
		equal(b.t, "the result", fmt.Sprintf("%d %q", r.Code, r.Job), `7004 ""`)
		equal(b.t, "the limits", support.Show(b.values(memory, cpu)), before)
		return
	}
	modify := func(key string, input map[string]string) uint32 {
		b.t.Helper()
		_, done := b.ended(b.begin(env+"ModifyConstraints()", key, input))
		return done.Code
	}
	// what the service manager has
	slice := func() string {
		b.t.Helper()
		show := b.d.Machine.Run(b.t, "systemctl", "show", "--property=MemoryMax,CPUQuotaPerSecUSec", "smmd-"+b.k.spare+".slice")
		return strings.Join(strings.Fields(show), " ")
	}
	b.becomes(memory, "-1", cpu, "-1")
	unlimited := slice()
	equal(b.t, "the code without Force", modify("U-13", map[string]string{"AllocatedMemory": "1", "AllocatedCPUPercent": "50"}), 7022)
	b.becomes(memory, "-1", cpu, "-1")
	equal(b.t, "the slice", slice(), unlimited)

	equal(b.t, "the code with Force", modify("U-13 forced", map[string]string{"AllocatedMemory": "1", "Force": "true"}), 0)
	b.becomes(memory, "1", cpu, "-1")
	if now := slice(); !strings.Contains(now, "MemoryMax=1024") {
		b.t.Errorf("the slice has %s", now)
	}
	// Whether the kernel has ended the unit or not: it is as it was afterwards.
	b.set(u.eu+"RequestedState", "Idle")
	b.becomes(u.eu+"Status", "Idle")
	equal(b.t, "the code without limits", modify("U-13 none", map[string]string{"AllocatedMemory": "-1", "AllocatedCPUPercent": "-1"}), 0)
	b.becomes(memory, "-1", cpu, "-1")
	equal(b.t, "the slice", slice(), unlimited)
	b.aside()
}

// variables tries what an install and updates give to the processes of a unit.
func variables(b *bench) {
	given := func(input map[string]string, pairs ...string) map[string]string {
		for i := 0; i < len(pairs); i += 2 {
			row := fmt.Sprintf("EnvVariable.%d.", 9-i) // the numbers are those of the arguments alone
			input[row+"Key"], input[row+"Value"] = pairs[i], pairs[i+1]
		}
		return input
	}
	url := func(version string) string { return b.serve(program{name: "varied", version: version}) }
	first := given(map[string]string{"URL": url("1"), "ExecutionEnvRef": b.env(b.k.env)}, "MODE", "first", "GREETING", "a b=c")
	if b.k.adapter == "osgi" {
		before := support.Show(b.rows())
		r := b.operate(modules+"InstallDU()", "U-17", first)[0]
		equal(b.t, "the result", fmt.Sprintf("%d %q", r.Code, r.Job), `7004 ""`)
		equal(b.t, "the rows", support.Show(b.rows()), before)
		return
	}
	event, done := b.ended(b.begin(modules+"InstallDU()", "U-17", first))
	if done.Code != 0 {
		b.t.Fatalf("the install: %s", support.Show(done))
	}
	u := unit{du: event.Arguments["DeploymentUnitRef"] + ".", eu: event.Arguments["ExecutionUnitRefList"] + "."}
	update := func(input map[string]string) {
		b.t.Helper()
		if _, done := b.ended(b.begin(u.du+"Update()", "U-17 update", input)); done.Code != 0 {
			b.t.Fatalf("the update: %s", support.Show(done))
		}
	}
	b.varies(u, map[string]string{"MODE": "first", "GREETING": "a b=c"}, "ADDED")
	update(map[string]string{"URL": url("2")})
	b.varies(u, map[string]string{"MODE": "first", "GREETING": "a b=c"}, "ADDED")
	update(given(map[string]string{"URL": url("3")}, "ADDED", "x", "MODE", "second"))
	b.varies(u, map[string]string{"MODE": "second", "ADDED": "x"}, "GREETING")
	b.done(uninstall(event.Arguments["UUID"]))
}

// varies waits until the rows of EnvVariable of a unit, and the variables of its program, are those wanted, and the program has none of others.
func (b *bench) varies(u unit, want map[string]string, others ...string) {
	b.t.Helper()
	b.becomes(u.eu+"Status", "Active", u.eu+"EnvVariableNumberOfEntries", fmt.Sprint(len(want)))
	support.Until(b.t, "it has its variables", func() error {
		rows := map[string]string{}
		values, err := b.Client.GetParameterValues(b.t.Context(), u.eu+"EnvVariable.")
		if err != nil {
			return err
		}
		all := map[string]string{}
		for _, p := range values {
			all[p.Path] = p.Value
		}
		for path, value := range all {
			if row, ok := strings.CutSuffix(path, "Key"); ok {
				rows[value] = all[row+"Value"]
			}
		}
		if !maps.Equal(rows, want) {
			return fmt.Errorf("the rows are %v, not %v", rows, want)
		}
		environ, err := b.environ(u)
		if err != nil {
			return err
		}
		for k, v := range want {
			if got, ok := environ[k]; !ok || got != v {
				return fmt.Errorf("the program has %v, not %s=%s", environ, k, v)
			}
		}
		for _, k := range others {
			if v, ok := environ[k]; ok {
				return fmt.Errorf("the program has %s=%s", k, v)
			}
		}
		return nil
	})
}

// environOf prints the variables of a process, or, after "child", of its child.
const environOf = `pid=$1
if [ "$2" = child ]; then
	pid=
	for d in /proc/[0-9]*; do
		while read -r k v; do
			[ "$k" = PPid: ] && [ "$v" = "$1" ] && pid=${d#/proc/}
		done 2>/dev/null <$d/status
	done
	[ "$pid" ] || { echo "process $1 has no child" >&2; exit 1; }
fi
exec tr '\0' '\n' <"/proc/$pid/environ"`

// environ are the variables of the program of a unit, as the kernel tells them. The first process of a container is the init of LXC.
func (b *bench) environ(u unit) (map[string]string, error) {
	which := "itself"
	if b.k.adapter == "lxc" {
		which = "child"
	}
	out, err := b.d.Machine.Try(b.t.Context(), "sh", "-c", environOf, "sh", b.pid(u), which)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for line := range strings.Lines(out) {
		if k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			all[k] = v
		}
	}
	if len(all) == 0 {
		return nil, errors.New("its process is another by now")
	}
	return all, nil
}
