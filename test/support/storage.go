package support

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A StoredBundle is one as its framework keeps it on disk.
type StoredBundle struct {
	ID           int
	Location     string
	SymbolicName string `json:"symbolic_name"`
	Version      string
	Level        int  // start level
	AutoStart    bool `json:"auto_start"` // the framework starts it, once its start level is reached
}

// Stored returns the bundles of an environment as they are on disk, in the order of their ids. The framework of the environment may
// run or not: another one of the same make is initialized on a copy of its storage, and says what it finds.
func (d *Device) Stored(env string) []StoredBundle {
	d.t.Helper()
	jar := d.env(env).framework()
	reader := d.readers[jar]
	if reader == nil {
		reader = startReader(d.t, jar)
		d.readers[jar] = reader
	}
	dir := filepath.Join(d.State, "env", env, "storage", "framework")
	if l := d.env(env).Launcher; l != nil {
		dir = l.Storage()
	}
	bundles, err := reader.read(dir)
	if err != nil {
		d.t.Fatalf("cannot read the storage of %s: %v", env, err)
	}
	slices.SortFunc(bundles, func(a, b StoredBundle) int { return a.ID - b.ID })
	return bundles
}

// Stored returns the bundles of a framework (felix or equinox) whose storage is a directory, as [Device.Stored] does.
func Stored(t testing.TB, framework, dir string) []StoredBundle {
	t.Helper()
	e := Env{Framework: framework}
	r := startReader(t, e.framework())
	bundles, err := r.read(dir)
	if err := errors.Join(err, r.stop()); err != nil {
		t.Fatalf("cannot read the storage %s: %v", dir, err)
	}
	slices.SortFunc(bundles, func(a, b StoredBundle) int { return a.ID - b.ID })
	return bundles
}

// reader is a JVM that reads storages of one framework, one after the other: org.smmd.bundles.storage.Main of the test bundles.
type reader struct {
	cmd      *exec.Cmd
	requests io.WriteCloser
	answers  *bufio.Reader
	messages bytes.Buffer // what the framework wrote; complete when the JVM has ended
}

func startReader(t testing.TB, framework part) *reader {
	t.Helper()
	path := strings.Join([]string{storageReader.find(t), framework.find(t)}, ":")
	r := &reader{cmd: exec.Command(Program(t, "java"), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m", "-cp", path, "org.smmd.bundles.storage.Main")}
	r.cmd.Stderr = &r.messages
	answers, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.answers = bufio.NewReader(answers)
	if r.requests, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *reader) read(storage string) ([]StoredBundle, error) {
	if _, err := fmt.Fprintln(r.requests, storage); err != nil {
		return nil, err
	}
	line, err := r.answers.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	var answer struct {
		Bundles []StoredBundle
		Error   string
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return nil, fmt.Errorf("%w: %s", err, line)
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("the framework says %s", answer.Error)
	}
	return answer.Bundles, nil
}

// stop ends the JVM: it does so by itself when there is nothing to be read any more.
func (r *reader) stop() error {
	err := r.requests.Close()
	if wait := r.cmd.Wait(); wait != nil {
		return fmt.Errorf("the reader of storages ended with %w: %s", wait, &r.messages)
	}
	return err
}
