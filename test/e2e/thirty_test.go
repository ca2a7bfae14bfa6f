package e2e

import (
	"archive/zip"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// A library is a real bundle.
type library struct {
	jar   string   // in its last version, below real/
	first string   // an earlier version, which is installed before it and updated later
	needs []string // without these it is not resolved; "a b": one of them is enough
}

// consoleUses are libraries that export what the console imports too. A restart may have wired it to them, and with them it would be refreshed.
var consoleUses = []string{"org.osgi.util.tracker", "org.osgi.service.event", "org.apache.felix.eventadmin", "org.osgi.service.log", "org.apache.felix.log"}

// libraries are what a device of some size has: services, a logger with its mediator, and plain libraries.
var libraries = []library{
	{jar: "org.osgi.util.function"},
	{jar: "org.osgi.util.promise", needs: []string{"org.osgi.util.function"}},
	{jar: "org.osgi.util.pushstream", needs: []string{"org.osgi.util.promise"}},
	{jar: "org.osgi.util.tracker"},
	{jar: "org.osgi.service.cm"},
	{jar: "org.osgi.service.component", needs: []string{"org.osgi.util.promise"}},
	{jar: "org.osgi.service.event"},
	{jar: "org.osgi.service.log"},
	{jar: "org.apache.felix.scr", needs: []string{"org.osgi.service.component", "org.osgi.util.promise"}},
	{jar: "org.apache.felix.configadmin"},
	{jar: "org.apache.felix.eventadmin"},
	{jar: "org.apache.felix.log"},
	{jar: "org.apache.felix.metatype", needs: []string{"org.osgi.service.log org.apache.felix.log"}},
	{jar: "org.apache.felix.http.servlet-api"},
	{jar: "org.apache.felix.http.bridge", needs: []string{"org.apache.felix.http.servlet-api", "slf4j-api-2"}},
	{jar: "asm"},
	{jar: "asm-tree", needs: []string{"asm"}},
	{jar: "asm-analysis", needs: []string{"asm-tree"}},
	{jar: "asm-commons", needs: []string{"asm-tree"}},
	{jar: "asm-util", needs: []string{"asm-analysis"}},
	{jar: "org.apache.aries.spifly.dynamic.bundle", needs: []string{"asm-commons", "asm-util"}},
	{jar: "slf4j-api-2", needs: []string{"org.apache.aries.spifly.dynamic.bundle", "slf4j-simple-2"}}, // each other
	{jar: "slf4j-simple-2", needs: []string{"slf4j-api-2"}},
	{jar: "commons-cli"},
	{jar: "commons-codec"},
	{jar: "commons-collections4"},
	{jar: "commons-compress"},
	{jar: "commons-io", first: "commons-io-2.16.1"},
	{jar: "commons-csv", needs: []string{"commons-codec", "commons-io"}},
	{jar: "commons-lang3"},
	{jar: "commons-text", needs: []string{"commons-lang3"}},
	{jar: "failureaccess"},
	{jar: "guava", needs: []string{"failureaccess"}},
	{jar: "gson", first: "gson-2.11.0"},
	{jar: "jackson-core"},
	{jar: "jackson-annotations"},
	{jar: "jackson-databind", needs: []string{"jackson-annotations", "jackson-core"}},
	{jar: "snakeyaml"},
}

// Real bundles in any order, several at once, with removals and updates in between: what lacks something says so and harms nobody, and
// every order ends in the same tree once the operator has started what came too early, or the environment has been restarted.
func TestThirtyBundles(t *testing.T) {
	either(t, "felix", func(t *testing.T, framework string) {
		n, random := rounds(t)
		for i := range max(n/10, 1) { // an order takes as long as ten rounds elsewhere
			t.Run(fmt.Sprintf("order-%d", i), func(t *testing.T) {
				o := newOrder(t, framework, random)
				o.play()
				o.settle()
				o.remove()
			})
		}
	})
}

// An order is one way to the same end.
type order struct {
	*support.Device
	t       *testing.T
	env     string
	c       *support.Console
	random  *rand.Rand
	console int // units of the console

	libraries map[string]library
	there     map[string]support.Unit // by jar, as they were when they were installed
	current   map[string]bool         // of those: in its last version
	ran       map[string]bool         // of those: active when last looked
}

func newOrder(t *testing.T, framework string, random *rand.Rand) *order {
	t.Helper()
	o := &order{
		t: t, env: framework, random: random, libraries: map[string]library{},
		there: map[string]support.Unit{}, current: map[string]bool{}, ran: map[string]bool{},
	}
	for _, l := range libraries {
		if framework == "equinox" && l.jar == "org.apache.felix.metatype" {
			l.needs = nil // Equinox has a log service itself
		}
		o.libraries[l.jar] = l
	}
	o.Device = boot(t, support.Env{Framework: framework})
	o.c = o.InstallConsole(framework)
	o.console = len(support.ConsoleBundles)
	agree(t, o.Device, framework, o.c)
	return o
}

// A move is one operation on one library.
type move struct{ what, jar string }

const (
	install   = "install"
	update    = "update"
	uninstall = "uninstall"
)

// moves draws an order: every library is installed, some are removed and installed again, those with an earlier version are updated.
func (o *order) moves() []move {
	jars := slices.Sorted(maps.Keys(o.libraries))
	o.random.Shuffle(len(jars), func(i, j int) { jars[i], jars[j] = jars[j], jars[i] })
	var all []move
	for _, jar := range jars {
		all = append(all, move{install, jar})
	}
	later := func(what, jar string) { // somewhere after what is done with it so far
		last := len(all) - 1
		for all[last].jar != jar {
			last--
		}
		all = slices.Insert(all, last+1+o.random.IntN(len(all)-last), move{what, jar})
	}
	again := 6
	for _, i := range o.random.Perm(len(jars)) {
		switch jar := jars[i]; {
		case o.libraries[jar].first != "":
			later(update, jar)
		case again > 0:
			again--
			later(uninstall, jar)
			later(install, jar)
		}
	}
	return all
}

// burst takes the next few moves, at most one for each library.
func (o *order) burst(moves []move) (now, rest []move) {
	n := min(1+o.random.IntN(8), len(moves))
	seen := map[string]bool{}
	for i, m := range moves[:n] {
		if seen[m.jar] {
			n = i
			break
		}
		seen[m.jar] = true
	}
	return moves[:n], moves[n:]
}

// play makes all moves of an order, in bursts.
func (o *order) play() {
	o.t.Helper()
	for rest := o.moves(); len(rest) > 0; {
		var now []move
		now, rest = o.burst(rest)
		o.together(now)
	}
}

// together begins some moves before any of them has ended, and checks what has become of everything.
func (o *order) together(moves []move) {
	o.t.Helper()
	o.t.Log(moves)
	lasting := maps.Clone(o.current) // what is there all the time
	jobs := make([]dbus.ObjectPath, len(moves))
	for i, m := range moves {
		l := o.libraries[m.jar]
		var err error
		switch m.what {
		case install:
			jobs[i], err = o.Client.Install(o.t.Context(), o.jarURL(cmp.Or(l.first, l.jar)), client.InstallOptions{ExecEnv: o.env})
		case update:
			jobs[i], err = o.Client.Update(o.t.Context(), o.there[m.jar].Object, client.UpdateOptions{URL: o.jarURL(l.jar)})
		case uninstall:
			jobs[i], err = o.Client.Uninstall(o.t.Context(), o.there[m.jar].Object)
		}
		if err != nil {
			o.t.Fatalf("%v: %v", m, err)
		}
	}
	fresh := map[string]bool{}
	for i, m := range moves {
		j := o.Done(jobs[i], nil)
		switch m.what {
		case install:
			du := slices.IndexFunc(j.Objects, func(p dbus.ObjectPath) bool {
				r, ok := client.ParseRef(string(p))
				return ok && r.Kind() == client.KindDeploymentUnit
			})
			if du < 0 {
				o.t.Fatalf("%v is done and names no deployment unit: %v", m, j.Objects)
			}
			o.there[m.jar], fresh[m.jar] = o.Unit(j.Objects[du]), true
			o.current[m.jar] = o.libraries[m.jar].first == ""
		case update:
			o.current[m.jar] = true
		case uninstall:
			delete(o.there, m.jar)
			delete(o.current, m.jar)
			delete(o.ran, m.jar)
			delete(lasting, m.jar)
		}
	}
	agree(o.t, o.Device, o.env, o.c)
	o.Until(fmt.Sprintf("everything is as what is there says after %v", moves), func(tree *client.Tree) error {
		if got, want := len(tree.DeploymentUnits), len(o.there)+o.console; got != want {
			return fmt.Errorf("there are %d units, not %d", got, want)
		}
		ran := map[string]bool{}
		for jar := range o.there {
			du, eu := o.row(tree, jar)
			if du == nil || eu == nil {
				return fmt.Errorf("%s is not there", jar)
			}
			ran[jar] = eu.Status == "Active"
			complete := o.complete(jar, o.current)
			must := complete && o.complete(jar, lasting) && (fresh[jar] || o.ran[jar])
			switch {
			case ran[jar] && complete && du.Resolved && eu.FaultCode == "NoFault" && eu.FaultMessage == "":
			case must:
				return fmt.Errorf("%s has what it needs and is %s, resolved=%v, with %s %q", jar, eu.Status, du.Resolved, eu.FaultCode, eu.FaultMessage)
			case eu.Status == "Idle" && eu.FaultCode == "DependencyFailure" && eu.FaultMessage != "" && (complete || !du.Resolved):
				// It lacks something, or came too early.
			default:
				return fmt.Errorf("%s (complete: %v) is %s, resolved=%v, with %s %q", jar, complete, eu.Status, du.Resolved, eu.FaultCode, eu.FaultMessage)
			}
			if !eu.AutoStart {
				return fmt.Errorf("%s is not to be started", jar)
			}
		}
		o.ran = ran
		return nil
	})
}

// settle brings every unit up that came too early: some as an operator does it one by one, the others by a restart of the environment.
func (o *order) settle() {
	o.t.Helper()
	var late []string
	for jar, ran := range o.ran {
		if !ran {
			late = append(late, jar)
		}
	}
	slices.Sort(late)
	o.t.Logf("%d units came too early: %v", len(late), late)
	o.random.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
	some := late[:(len(late)+1)/2]
	var values []string
	for _, jar := range some {
		values = append(values, o.there[jar].EU.Path+".RequestedState", "Active")
	}
	if len(values) > 0 {
		set(o.t, o.Device, values...)
	}
	agree(o.t, o.Device, o.env, o.c)
	tree := o.Tree()
	for jar := range o.there {
		_, eu := o.row(tree, jar)
		if started := o.ran[jar] || slices.Contains(some, jar); started != (eu.Status == "Active") || started != (eu.FaultCode == "NoFault") {
			o.t.Errorf("after a start of %v %s is %s with %s %q", some, jar, eu.Status, eu.FaultCode, eu.FaultMessage)
		}
	}

	o.Done(o.Client.RestartExecEnv(o.t.Context(), tree.ExecEnvs[0].Object, "to settle"))
	o.Up()
	o.c = o.Console(o.env)
	agree(o.t, o.Device, o.env, o.c)
	tree = o.Tree()
	var got, want []string
	for _, du := range tree.DeploymentUnits {
		if eu := tree.ExecutionUnit(du.ExecutionUnits[0]); !isConsole(du.Name) {
			got = append(got, fmt.Sprintf("%s %s %q %s %s resolved=%v auto=%v level=%d %s%s", du.Name, du.Version, du.Vendor, du.Status, eu.Status, du.Resolved, eu.AutoStart, eu.RunLevel, eu.FaultCode, eu.FaultMessage))
		}
	}
	for _, l := range libraries {
		name, version, vendor := manifest(o.t, o.Content("real/"+l.jar+".jar"))
		want = append(want, fmt.Sprintf("%s %s %q Installed Active resolved=true auto=true level=1 NoFault", name, version, vendor))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		o.t.Errorf("the tree ends as\n%s\nand not as the packages say:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for jar, was := range o.there {
		du, eu := o.row(tree, jar)
		if du.UUID != was.UUID || du.Alias != was.Alias || du.DUID != was.DUID || eu.EUID != was.EU.EUID || eu.Alias != was.EU.Alias {
			o.t.Errorf("%s was %s, %s and is %s, %s", jar, support.Show(was.DeploymentUnit), support.Show(was.EU), support.Show(du), support.Show(eu))
		}
		o.ran[jar] = true
	}
}

// remove takes everything away again, in another order, but what the console uses.
func (o *order) remove() {
	o.t.Helper()
	var all []move
	for _, jar := range slices.Sorted(maps.Keys(o.there)) {
		if !slices.Contains(consoleUses, jar) {
			all = append(all, move{uninstall, jar})
		}
	}
	o.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for len(all) > 0 {
		var now []move
		now, all = o.burst(all)
		o.together(now)
	}
	if files := o.Packages(); len(files) != o.console+len(consoleUses) {
		o.t.Errorf("the packages %v are left", files)
	}
}

// row returns the present rows of a library.
func (o *order) row(tree *client.Tree, jar string) (*client.DeploymentUnit, *client.ExecutionUnit) {
	u := o.there[jar]
	return tree.DeploymentUnit(u.Object), tree.ExecutionUnit(u.EU.Object)
}

// complete reports whether everything that a library needs, directly or not, is there in its last version.
func (o *order) complete(jar string, there map[string]bool) bool {
	seen := map[string]bool{jar: true}
	var visit func(jar string) bool
	visit = func(jar string) bool {
		for _, need := range o.libraries[jar].needs {
			if !slices.ContainsFunc(strings.Fields(need), func(n string) bool {
				if seen[n] {
					return true
				}
				seen[n] = there[n]
				return there[n] && visit(n)
			}) {
				return false
			}
		}
		return true
	}
	return visit(jar)
}

func (o *order) jarURL(jar string) string { return o.URL("real/" + jar + ".jar") }

// isConsole reports whether the bundle of that symbolic name belongs to the console.
func isConsole(name string) bool { return strings.HasPrefix(name, "org.apache.felix.gogo.") }

// manifest returns symbolic name, version and vendor of a bundle as its jar has them, without our code.
func manifest(t *testing.T, jar []byte) (name, version, vendor string) {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(jar), int64(len(jar)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := r.Open("META-INF/MANIFEST.MF")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	unfolded := strings.ReplaceAll(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n ", "")
	main, _, _ := strings.Cut(unfolded, "\n\n")
	headers := map[string]string{}
	for line := range strings.Lines(main) {
		header, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		headers[header] = value
	}
	name, _, _ = strings.Cut(headers["Bundle-SymbolicName"], ";")
	version = headers["Bundle-Version"]
	for strings.Count(version, ".") < 2 { // a version has at least three numbers
		version += ".0"
	}
	return name, version, headers["Bundle-Vendor"]
}
