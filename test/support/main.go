package support

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main is the TestMain of a package whose tests need the programs: they are built once, in a directory that goes with the tests. name is in that of
// the directory. It fails when the tests leave goroutines behind, and does not return.
func Main(m *testing.M, name string, programs *Programs) {
	goleak.VerifyTestMain(built{m, name, programs})
}

// built runs tests with the programs built before.
type built struct {
	m        *testing.M
	name     string
	programs *Programs
}

func (b built) Run() int {
	dir, err := os.MkdirTemp("", "smmd-"+b.name+"-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if *b.programs, err = Build(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return b.m.Run()
}
