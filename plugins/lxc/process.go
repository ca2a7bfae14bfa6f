package lxc

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/rootfs"
)

// defaultPath is PATH where an image names none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// process is what runs in a container: the configuration of its image, resolved in its root file system.
type process struct {
	Args       []string `json:"args"` // Args[0] is an absolute path
	Env        []string `json:"env"`
	UID        uint32   `json:"uid"`
	GID        uint32   `json:"gid"`
	Dir        string   `json:"dir"`
	StopSignal int      `json:"stopSignal"`
}

// resolveProcess resolves the configuration of an image in its root file system. An error says why the container cannot be
// started, in words that follow on "the image".
func resolveProcess(root string, c v1.Config) (process, error) {
	var p process
	args := slices.Concat(c.Entrypoint, c.Cmd)
	if len(args) == 0 {
		return p, errors.New("has neither an entrypoint nor a command")
	}
	for _, text := range slices.Concat(args, c.Env, []string{c.WorkingDir}) {
		if strings.ContainsAny(text, "\x00") {
			return p, errors.New("has a NUL in its configuration")
		}
	}
	uid, gid, home, err := resolveUser(root, c.User)
	if err != nil {
		return p, fmt.Errorf("cannot be run: %w", err)
	}
	signal, err := parseSignal(c.StopSignal)
	if err != nil {
		return p, err
	}
	p = process{UID: uid, GID: gid, Dir: path.Join("/", c.WorkingDir), StopSignal: signal}
	p.Env = environment(c.Env, home)
	if err := provideDir(root, p.Dir); err != nil {
		return p, err
	}
	found, err := findProgram(root, args[0], p.Dir, lookup(p.Env, "PATH"))
	if err != nil {
		return p, err
	}
	p.Args = append([]string{found}, args[1:]...)
	return p, nil
}

// environment completes the variables of an image.
func environment(vars []string, home string) []string {
	var env []string
	for _, v := range vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			continue // runtimes leave them out
		}
		env = slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		env = append(env, name+"="+value)
	}
	if home == "" {
		home = "/"
	}
	for _, d := range []string{"PATH=" + defaultPath, "HOME=" + home} {
		name, _, _ := strings.Cut(d, "=")
		if lookup(env, name) == "" {
			env = append(env, d)
		}
	}
	return env
}

func lookup(env []string, name string) string {
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// parseSignal reads a stop signal, "SIGTERM", "TERM", "SIGRTMIN+3" or a number; none is SIGTERM (OCI image specification, config.StopSignal).
func parseSignal(s string) (int, error) {
	// The first of the real-time signals that programs may use, as the C libraries of Linux count them.
	const rtmin = 34
	name := strings.ToUpper(strings.TrimSpace(s))
	if name == "" {
		return int(unix.SIGTERM), nil
	}
	n, err := strconv.Atoi(name)
	if err != nil {
		if !strings.HasPrefix(name, "SIG") {
			name = "SIG" + name
		}
		n = int(unix.SignalNum(name))
		if offset, ok := strings.CutPrefix(name, "SIGRTMIN"); ok {
			plus, err := strconv.Atoi("0" + strings.TrimPrefix(offset, "+"))
			if err == nil {
				n = rtmin + plus
			}
		}
	}
	if n < 1 || n > 64 {
		return 0, fmt.Errorf("wants to be stopped with %q, which is no signal", s)
	}
	return n, nil
}

// provideDir makes the working directory if it is missing, as runtimes do; LXC does not.
func provideDir(root, dir string) error {
	if strings.ContainsAny(dir, "\n\r") {
		return errors.New("has a line break in the name of its working directory")
	}
	f, err := rootfs.Open(root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDirs(root, dir); err != nil {
			return fmt.Errorf("has no working directory %q, and none can be made: %w", dir, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("has the working directory %q, which cannot be used: %w", dir, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.IsDir() {
		return fmt.Errorf("has the working directory %q, which is none", dir)
	}
	return nil
}

// makeDirs makes directories of the tree in root that belong to the tree's owner. What is there already stays.
func makeDirs(root string, names ...string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer r.Close()
	top, err := r.Stat(".")
	if err != nil {
		return err
	}
	owner := top.Sys().(*syscall.Stat_t)
	for _, name := range names {
		at := "."
		for part := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
			at = path.Join(at, part)
			err := r.Mkdir(at, 0o755)
			if errors.Is(err, fs.ErrExist) {
				continue
			}
			if err == nil {
				err = r.Lchown(at, int(owner.Uid), int(owner.Gid))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// findProgram returns the absolute path of the program in the root file system, as execvp(3) would find it there, and checks that the device
// can run it: LXC says nothing of use when it cannot.
func findProgram(root, name, dir, search string) (string, error) {
	candidates := []string{path.Join("/", name)}
	switch {
	case path.IsAbs(name):
	case strings.Contains(name, "/"):
		candidates = []string{path.Join(dir, name)}
	default:
		candidates = nil
		for _, d := range strings.Split(search, ":") {
			candidates = append(candidates, path.Join(dir, d, name))
			if path.IsAbs(d) {
				candidates[len(candidates)-1] = path.Join(d, name)
			}
		}
	}
	var seen error
	for _, c := range candidates {
		err := checkProgram(root, c)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && seen == nil {
			seen = err
		}
	}
	if seen != nil {
		return "", seen
	}
	return "", fmt.Errorf("does not have its program %q", name)
}

// checkProgram checks that a file of the root file system can be executed. An error that wraps [fs.ErrNotExist] says that the file is not
// there; that the interpreter of one that is there is missing does not wrap it.
func checkProgram(root, name string) error {
	f, err := rootfs.Open(root, name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			return fs.ErrNotExist
		}
		return fmt.Errorf("has the program %q, which cannot be read: %w", name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("has the program %q, which cannot be read: %w", name, err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("has the program %q, which is no executable file", name)
	}
	head := make([]byte, 256)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("has the program %q, which cannot be read: %w", name, err)
	}
	head = head[:n]
	interpreter := ""
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		line, _, _ := bytes.Cut(head[2:], []byte("\n"))
		if fields := bytes.Fields(line); len(fields) > 0 {
			interpreter = string(fields[0])
		}
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		interpreter = elfInterpreter(f)
	}
	if interpreter == "" {
		return nil
	}
	in, err := rootfs.Open(root, interpreter)
	if err != nil {
		return fmt.Errorf("has the program %q but not %q, which runs it", name, interpreter)
	}
	in.Close()
	return nil
}

// elfInterpreter returns the dynamic linker that a program asks for, empty without one or when the file is not understood.
func elfInterpreter(r io.ReaderAt) string {
	f, err := elf.NewFile(r)
	if err != nil {
		return ""
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > 4096 {
			continue
		}
		data, err := io.ReadAll(p.Open())
		if err != nil {
			return ""
		}
		return strings.TrimRight(string(data), "\x00")
	}
	return ""
}
