package fault_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
)

func TestReasonOf(t *testing.T) {
	base := errors.New("disk on fire")
	classified := fault.Errorf(fault.PackageCorrupt, "cannot read the package: %w", base)
	for _, tc := range []struct {
		name string
		err  error
		want fault.Reason
	}{
		{"nil", nil, fault.None},
		{"unclassified", base, fault.Internal},
		{"classified", classified, fault.PackageCorrupt},
		{"wrapped", fmt.Errorf("cannot install: %w", classified), fault.PackageCorrupt},
		{"reclassified", fault.As(fault.DUExecEnvMismatch, classified), fault.DUExecEnvMismatch},
		{"canceled", fmt.Errorf("cannot wait: %w", context.Canceled), fault.Canceled},
		{"deadline", context.DeadlineExceeded, fault.DeadlineExceeded},
	} {
		if got := fault.ReasonOf(tc.err); got != tc.want {
			t.Errorf("%s: ReasonOf = %q, want %q", tc.name, got, tc.want)
		}
	}
	if !errors.Is(classified, base) {
		t.Error("the cause is not in the chain of a classified error")
	}
	if fault.As(fault.Internal, nil) != nil {
		t.Error("As made an error of nil")
	}
}

func TestNamesAreUniqueAndReversible(t *testing.T) {
	seen := map[string]fault.Reason{}
	for _, r := range fault.Reasons() {
		name := r.Name()
		if other, dup := seen[name]; dup {
			t.Errorf("%q and %q are both named %s", r, other, name)
		}
		seen[name] = r
		if got := fault.ByName(name); got != r {
			t.Errorf("ByName(%s) = %q, want %q", name, got, r)
		}
	}
	for r, want := range map[fault.Reason]string{
		fault.DisabledExecEnv: "DisabledExecEnv", fault.DuplicateDU: "DuplicateDU",
		fault.InvalidUUID: "InvalidUUID", fault.DUExecEnvMismatch: "DUExecEnvMismatch",
	} {
		if got := r.Name(); got != want {
			t.Errorf("Name of %q = %s, want %s", r, got, want)
		}
	}
}

// TestReasonsIsWhole reads the constants off fault.go: what Reasons leaves out no test of a number table sees.
func TestReasonsIsWhole(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "fault.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var defined []fault.Reason
	for _, d := range file.Decls {
		group, ok := d.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			c := spec.(*ast.ValueSpec)
			if typ, ok := c.Type.(*ast.Ident); !ok || typ.Name != "Reason" || len(c.Values) != 1 {
				t.Fatalf("%s: a constant that this test cannot read", c.Names[0].Name)
			}
			text, err := strconv.Unquote(c.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			if r := fault.Reason(text); r != fault.None {
				defined = append(defined, r)
			}
		}
	}
	if got := fault.Reasons(); !slices.Equal(got, defined) {
		t.Errorf("Reasons() = %q, want what is defined, in that order: %q", got, defined)
	}
}
