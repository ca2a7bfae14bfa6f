package support

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Programs are the executables under test.
type Programs struct {
	Smmd, Smmctl string // absolute paths
}

// Build builds the program into dir, unless SMMD_TEST_SMMD names one. smmctl is a link to it, as it is when installed.
func Build(ctx context.Context, dir string) (Programs, error) {
	p := Programs{Smmd: os.Getenv("SMMD_TEST_SMMD"), Smmctl: filepath.Join(dir, "smmctl")}
	if p.Smmd == "" {
		root, err := moduleRoot()
		if err != nil {
			return p, err
		}
		p.Smmd = filepath.Join(dir, "smmd")
		build := exec.CommandContext(ctx, "go", "build", "-tags", "grpcnotrace", "-trimpath", "-o", p.Smmd, "./cmd/smmd")
		build.Dir = root
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return p, fmt.Errorf("cannot build smmd: %w\n%s", err, out)
		}
	}
	var err error
	if p.Smmd, err = filepath.Abs(p.Smmd); err != nil {
		return p, err
	}
	return p, os.Symlink(p.Smmd, p.Smmctl)
}

// moduleRoot returns the directory of go.mod: the working directory of a test is its package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		switch _, err := os.Stat(filepath.Join(dir, "go.mod")); {
		case err == nil:
			return dir, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		case dir == filepath.Dir(dir):
			return "", errors.New("cannot find go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}

// A part is a file or directory that another build makes.
type part struct {
	variable string // names it, if set
	path     string // below the module's root, if not
}

// What devices are made of.
var (
	hostJar     = part{"SMMD_TEST_HOST_JAR", "build/osgi/osgi-host.jar"}
	felixJar    = part{"SMMD_TEST_FELIX_JAR", "build/osgi/felix.jar"}
	equinoxJar  = part{"SMMD_TEST_EQUINOX_JAR", "build/osgi/equinox.jar"}
	testBundles = part{"SMMD_TEST_BUNDLES", "test/bundles/target/bundles"}
	realBundles = part{"SMMD_TEST_REAL_BUNDLES", "test/bundles/target/real"}

	storageReader = part{"SMMD_TEST_STORAGE_READER", "test/bundles/target/test-bundles-1.0.0.jar"}
)

// find returns the absolute path of a part. Without it the test is skipped.
func (p part) find(t testing.TB) string {
	t.Helper()
	path := os.Getenv(p.variable)
	if path == "" {
		root, err := moduleRoot()
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(root, p.path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		Missing(t, fmt.Sprintf("%s (%s)", path, p.variable))
	}
	return path
}

// FrameworkJar returns the path of a framework's jar: felix or equinox.
func FrameworkJar(t testing.TB, framework string) string {
	t.Helper()
	e := Env{Framework: framework}
	return e.framework().find(t)
}

// HostJar returns the path of the jar of smmd that launches frameworks.
func HostJar(t testing.TB) string {
	t.Helper()
	return hostJar.find(t)
}

// ModuleFile returns the path of a file of this module.
func ModuleFile(t testing.TB, path string) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, path)
}

// Program returns the path of a program of this machine. Without it the test is skipped.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name)
	}
	return path
}

// Missing skips a test that lacks something, or fails it where everything has to be there (CI=true).
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing", what)
	}
	t.Skipf("%s is missing", what)
}

// BundlePath returns the path of a bundle: the file of a test bundle, or that of a real one behind "real/".
func BundlePath(t testing.TB, name string) string {
	t.Helper()
	dir := testBundles
	if d, base := filepath.Split(name); d == "real/" {
		dir, name = realBundles, base
	}
	path := filepath.Join(dir.find(t), name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("there is no bundle %s: %v", name, err)
	}
	return path
}
