package device

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/smmd-project/smmd/test/support"
)

// content is one entry of packaging/nfpm.yaml.
type content struct {
	Src      string
	Dst      string
	Type     string
	Packager string
	FileInfo struct {
		Mode uint32
	} `yaml:"file_info"`
}

// contents returns what the Debian package has in it. Everything that is said of a file there has to be understood here.
func contents(t testing.TB) []content {
	t.Helper()
	text, err := os.ReadFile(support.ModuleFile(t, "packaging/nfpm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Contents []yaml.Node
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatalf("packaging/nfpm.yaml: %v", err)
	}
	var all []content
	for _, node := range file.Contents {
		var c content
		var keys map[string]any
		if err := errors.Join(node.Decode(&c), node.Decode(&keys)); err != nil {
			t.Fatalf("packaging/nfpm.yaml: %v", err)
		}
		for key := range keys {
			if !slices.Contains([]string{"src", "dst", "type", "packager", "file_info"}, key) {
				t.Fatalf("packaging/nfpm.yaml: %s has a key that is unknown here: %s", c.Dst, key)
			}
		}
		if c.Packager == "" || c.Packager == "deb" {
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		t.Fatal("packaging/nfpm.yaml has no contents")
	}
	return all
}

// unpack puts the files of the package onto a disk, as the package manager would. What other builds make is where p says and where
// package support finds it.
func unpack(t testing.TB, disk *os.Root, p support.Programs) error {
	t.Helper()
	built := map[string]string{"build/package/smmd": p.Smmd, "build/osgi/osgi-host.jar": support.HostJar(t)}
	for _, c := range contents(t) {
		path := strings.TrimPrefix(c.Dst, "/")
		if err := disk.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		source := built[c.Src]
		if source == "" {
			source = support.ModuleFile(t, c.Src)
		}
		var err error
		switch c.Type {
		case "dir":
			if err = disk.MkdirAll(path, 0o755); err == nil {
				err = disk.Chmod(path, fs.FileMode(c.FileInfo.Mode))
			}
		case "symlink":
			err = disk.Symlink(c.Src, path)
		case "", "config|noreplace":
			err = copyFile(disk, source, path, fs.FileMode(c.FileInfo.Mode))
		default:
			err = fmt.Errorf("its type is unknown here: %s", c.Type)
		}
		if err != nil {
			return fmt.Errorf("cannot install %s: %w", c.Dst, err)
		}
	}
	return nil
}

// copyFile copies a file of the host onto a disk.
func copyFile(disk *os.Root, source, path string, mode fs.FileMode) error {
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	path = strings.TrimPrefix(path, "/")
	if err := disk.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := disk.WriteFile(path, text, mode); err != nil {
		return err
	}
	return disk.Chmod(path, mode) // whatever the umask
}

// configFile is the configuration of the agent on the disk.
const configFile = "etc/smmd/agent.toml"

// configure edits the shipped configuration as a person would: it removes the # in front of a key and changes its value, and adds tables at
// the end.
func configure(disk *os.Root, settings map[string]any, tables string) error {
	text, err := disk.ReadFile(configFile)
	if err != nil {
		return err
	}
	lines := strings.Split(string(text), "\n")
	for key, value := range settings {
		i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(strings.TrimPrefix(line, "#"), key+" = ") })
		if i < 0 {
			return fmt.Errorf("the shipped agent.toml has no key %s", key)
		}
		switch v := value.(type) {
		case string:
			value = strconv.Quote(v)
		case []string:
			quoted := make([]string, len(v))
			for i, s := range v {
				quoted[i] = strconv.Quote(s)
			}
			value = "[" + strings.Join(quoted, ", ") + "]"
		}
		lines[i] = fmt.Sprintf("%s = %v", key, value)
	}
	return disk.WriteFile(configFile, []byte(strings.Join(lines, "\n")+"\n"+tables+"\n"), 0o600)
}
