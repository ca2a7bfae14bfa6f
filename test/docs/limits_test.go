package docs

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A limit is a number of the document, with the place in the code that has it.
type limit struct {
	name string // first column
	want string
}

// limits returns the limits in the order of the document.
func limits(t *testing.T) []limit {
	t.Helper()
	const (
		settings = "plugins/osgi/settings.go"
		env      = "plugins/osgi/env.go"
		bundle   = "plugins/osgi/bundle.go"
		manager  = "agent/environment/manager.go"
	)
	goTime := func(file, name string) string { return inTime(time.Duration(goNumber(t, file, name))) }
	goSize := func(file, name string) string { return inBytes(goNumber(t, file, name)) }
	javaTime := func(class, name string, unit time.Duration) string {
		return inTime(time.Duration(javaNumber(t, class, name)) * unit)
	}
	heap := regexp.MustCompile(`"-Xmx(\d+)m"`).FindStringSubmatch(read(t, settings))
	if heap == nil {
		t.Fatalf("%s has no default of the heap", settings)
	}
	return []limit{
		{"`call_timeout`", goTime(settings, "callTimeout")},
		{"`start_timeout`", goTime(settings, "startTimeout")},
		{"`stop_timeout`", goTime(settings, "stopTimeout")},
		{"SIGTERM to SIGKILL", goTime(env, "kill")},
		{"install, update, uninstall", goTime(env, "change")},
		{"refresh", javaTime("Refresher", "WAIT_MILLIS", time.Millisecond)},
		{"calls at once", strconv.FormatInt(goNumber(t, env, "maxRequests"), 10)},
		{"hanging calls", strconv.FormatInt(javaNumber(t, "Calls", "THREADS"), 10)},
		{"package, unpacked", goSize(bundle, "maxUnpacked")},
		{"manifest", goSize("plugins/osgi/manifest.go", "maxManifest")},
		{"localization", goSize(bundle, "maxLocalization")},
		{"log", goSize("plugins/osgi/host.go", "maxLog")},
		{"heap", heap[1] + " MiB"},
		{"silence", inTime(time.Duration(goNumber(t, env, "ping") + goNumber(t, env, "hello")))},
		{"console", javaTime("Heartbeat", "SECONDS", time.Second)},
		{"sizes", javaTime("Heartbeat", "SECONDS", 2*time.Second)}, // every second beat
		{"first pause", goTime(manager, "MinPause")},
		{"longest pause", goTime(manager, "MaxPause")},
		{"settled", goTime("agent/environment/keeper.go", "settled")},
	}
}

// TestLimits compares the limits of the document with the constants and defaults in the code.
func TestLimits(t *testing.T) {
	rows := table(t, section(t, read(t, osgiPage), "## Limits"), "limit")
	want := limits(t)
	for i := range max(len(rows), len(want)) {
		switch {
		case i >= len(rows):
			t.Fatalf("%s does not tell the limit %q", osgiPage, want[i].name)
		case i >= len(want) || rows[i][0] != want[i].name:
			t.Fatalf("%s has the limit %q, which this test does not compare with the code", osgiPage, rows[i][0])
		case rows[i][1] != want[i].want:
			t.Errorf("%s says that the limit %q is %s, it is %s", osgiPage, want[i].name, rows[i][1], want[i].want)
		}
	}
}

// inTime writes a time as the document does.
func inTime(d time.Duration) string {
	switch {
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d%time.Second == 0:
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return d.String()
}

// inBytes writes a size as the document does.
func inBytes(n int64) string {
	for _, unit := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= unit.size && n%unit.size == 0 {
			return fmt.Sprintf("%d %s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(top, file), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// goNumber returns the number that a Go file gives a constant, a field of a literal, or a field by an assignment. There has to be
// exactly one of that name.
func goNumber(t *testing.T, file, name string) int64 {
	t.Helper()
	var found []ast.Expr
	ast.Inspect(parse(t, file), func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for i, id := range n.Names {
				if id.Name == name && i < len(n.Values) {
					found = append(found, n.Values[i])
				}
			}
		case *ast.KeyValueExpr:
			if id, ok := n.Key.(*ast.Ident); ok && id.Name == name {
				found = append(found, n.Value)
			}
		case *ast.AssignStmt:
			if s, ok := n.Lhs[0].(*ast.SelectorExpr); ok && s.Sel.Name == name {
				found = append(found, n.Rhs[0])
			}
		}
		return true
	})
	if len(found) != 1 {
		t.Fatalf("%s has %d values of %s", file, len(found), name)
	}
	n, ok := constant.Int64Val(evaluate(t, file, found[0]))
	if !ok {
		t.Fatalf("%s: %s is no whole number", file, name)
	}
	return n
}

// evaluate computes an expression of numbers and of the units of package time.
func evaluate(t *testing.T, file string, e ast.Expr) constant.Value {
	t.Helper()
	units := map[string]time.Duration{"Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}
	switch e := e.(type) {
	case *ast.BasicLit:
		return constant.MakeFromLiteral(e.Value, e.Kind, 0)
	case *ast.ParenExpr:
		return evaluate(t, file, e.X)
	case *ast.SelectorExpr:
		if unit, ok := units[e.Sel.Name]; ok {
			return constant.MakeInt64(int64(unit))
		}
	case *ast.BinaryExpr:
		x, y := evaluate(t, file, e.X), evaluate(t, file, e.Y)
		if e.Op == token.SHL {
			n, _ := constant.Uint64Val(y)
			return constant.Shift(x, e.Op, uint(n))
		}
		return constant.BinaryOp(x, e.Op, y)
	}
	t.Fatalf("%s: this test cannot compute %s", file, types.ExprString(e))
	return nil
}

// selectors returns the names that a function of a Go file takes from a package, sorted.
func selectors(t *testing.T, file, function, pkg string) []string {
	t.Helper()
	var names []string
	for _, d := range parse(t, file).Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != function {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == pkg {
					names = append(names, s.Sel.Name)
				}
			}
			return true
		})
	}
	if len(names) == 0 {
		t.Fatalf("%s of %s takes nothing from package %s", function, file, pkg)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

const hostSources = "plugins/osgi/host/src/main/java/org/smmd/osgi/host"

// javaNumber returns the value of a constant of a class of the host.
func javaNumber(t *testing.T, class, name string) int64 {
	t.Helper()
	m := regexp.MustCompile(`static final (?:int|long) ` + name + ` = ([0-9_]+);`).FindStringSubmatch(read(t, hostSources+"/"+class+".java"))
	if m == nil {
		t.Fatalf("%s.java has no %s", class, name)
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(m[1], "_", ""), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// javaSources returns the text of all classes of the host.
func javaSources(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(top, hostSources, "*.java"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no classes of the host: %v", err)
	}
	var all strings.Builder
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}
