package support

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Launcher is somebody else who launches a framework: Felix by Felix's own launcher, Equinox by the one in its jar. The framework has
// our host in it as a bundle of its own.
type Launcher struct {
	Framework  string            // felix or equinox
	Dir        string            // everything of it lies below, and nothing of a device
	Socket     string            // where the host listens
	Bundles    []string          // paths of what the launcher installs and starts besides the host, in this order
	Properties map[string]string // of the framework
	StartLevel int               // to which the launcher brings the framework
	User       uint32            // as whom it runs, 0: as the test

	t           testing.TB
	consolePort int
	running     *process
}

// NewLauncher returns a launcher that brings up a framework with its console at start level 3. What it launched ends with the test.
func NewLauncher(t testing.TB, framework string) *Launcher {
	t.Helper()
	dir, err := os.MkdirTemp("", "smmd-launcher-") // not t.TempDir(): sockets must have short names
	if err != nil {
		t.Fatal(err)
	}
	l := &Launcher{
		Framework: framework, Dir: dir, Socket: filepath.Join(dir, "run", "smmd.sock"), StartLevel: 3,
		t: t, consolePort: freePort(t),
	}
	for _, b := range ConsoleBundles {
		l.Bundles = append(l.Bundles, BundlePath(t, b))
	}
	t.Cleanup(l.end)
	if err := os.Mkdir(filepath.Dir(l.Socket), 0o700); err != nil {
		t.Fatal(err)
	}
	return l
}

// Launch launches the framework and returns at once.
func (l *Launcher) Launch() {
	l.t.Helper()
	if l.running != nil {
		l.t.Fatal("the framework runs already")
	}
	args := []string{"-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}
	if l.Framework == "equinox" {
		l.write("configuration/config.ini", l.configIni())
		args = append(args, "-jar", equinoxJar.find(l.t), "-configuration", filepath.Join(l.Dir, "configuration"), "-data", "@none")
	} else {
		l.write("conf/config.properties", l.configProperties())
		args = append(args, "-Dfelix.config.properties=file:"+filepath.Join(l.Dir, "conf/config.properties"), "-jar", BundlePath(l.t, "real/org.apache.felix.main.jar"))
	}
	log, err := os.OpenFile(l.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command(Program(l.t, "java"), args...)
	cmd.Dir = l.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if l.User != 0 {
		l.give()
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: l.User, Gid: l.User}
	}
	err = cmd.Start()
	if err := errors.Join(err, log.Close()); err != nil {
		l.t.Fatal(err)
	}
	p := &process{cmd, make(chan struct{})}
	l.running = p
	go func() {
		_ = cmd.Wait() // the state says it all
		close(p.done)
	}()
}

// properties are those of the framework, whoever reads them.
func (l *Launcher) properties() map[string]string {
	all := map[string]string{
		"org.smmd.osgi.socket": l.Socket,
		"gosh.args":            fmt.Sprintf("--noshutdown -c telnetd --port=%d start", l.consolePort),
	}
	maps.Copy(all, l.Properties)
	return all
}

// configProperties is the configuration of Felix's launcher. It installs and starts the bundles in an order that it is given.
func (l *Launcher) configProperties() map[string]string {
	all := l.properties()
	all["org.osgi.framework.storage"] = l.Storage()
	all["org.osgi.framework.startlevel.beginning"] = fmt.Sprint(l.StartLevel)
	all["felix.auto.deploy.dir"] = l.deployed()
	all["felix.auto.deploy.action"] = "install,start"
	return all
}

// deployed is the folder with what Felix's launcher installs, which it does in the order of the names.
func (l *Launcher) deployed() string {
	dir := filepath.Join(l.Dir, "bundle")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	for i, path := range l.all() {
		link := filepath.Join(dir, fmt.Sprintf("%02d-%s", i, filepath.Base(path)))
		if err := os.Symlink(path, link); err != nil && !errors.Is(err, os.ErrExist) {
			l.t.Fatal(err)
		}
	}
	return dir
}

// configIni is the configuration of Equinox's launcher.
func (l *Launcher) configIni() map[string]string {
	all := l.properties()
	var bundles []string
	for _, path := range l.all() {
		bundles = append(bundles, "file:"+path+"@1:start")
	}
	maps.Copy(all, map[string]string{
		"osgi.bundles": strings.Join(bundles, ","), "osgi.startLevel": fmt.Sprint(l.StartLevel), "eclipse.ignoreApp": "true", "osgi.noShutdown": "true",
	})
	maps.Copy(all, equinoxProperties)
	return all
}

// equinoxProperties are what Equinox has to be told, whoever launches it.
var equinoxProperties = map[string]string{
	"eclipse.stateSaveDelayInterval": "0", "osgi.module.auto.start.on.resolve": "false", "osgi.compatibility.eagerStart.LazyActivation": "false",
}

// all are the bundles of the launcher, the host first: what fails before it is there has no fault.
func (l *Launcher) all() []string { return append([]string{hostJar.find(l.t)}, l.Bundles...) }

// write writes a file of Java properties.
func (l *Launcher) write(name string, properties map[string]string) {
	l.t.Helper()
	var b strings.Builder
	escape := strings.NewReplacer(`\`, `\\`, ":", `\:`, "=", `\=`)
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		fmt.Fprintf(&b, "%s=%s\n", escape.Replace(key), escape.Replace(properties[key]))
	}
	path := filepath.Join(l.Dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(b.String()), 0o644)); err != nil {
		l.t.Fatal(err)
	}
}

// give makes everything the user's but the directory itself: whoever owns one in /tmp could put another in its place.
func (l *Launcher) give() {
	l.t.Helper()
	if err := errors.Join(os.Chmod(l.Dir, 0o711), os.MkdirAll(l.Storage(), 0o700)); err != nil {
		l.t.Fatal(err)
	}
	err := filepath.WalkDir(l.Dir, func(path string, _ os.DirEntry, err error) error {
		if path == l.Dir {
			return err
		}
		return errors.Join(err, os.Lchown(path, int(l.User), int(l.User)))
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// Storage is the framework's own storage.
func (l *Launcher) Storage() string {
	if l.Framework == "equinox" {
		return filepath.Join(l.Dir, "configuration")
	}
	return filepath.Join(l.Dir, "cache")
}

func (l *Launcher) logPath() string { return filepath.Join(l.Dir, "log") }

// Log returns what the framework wrote, over all launches.
func (l *Launcher) Log() string {
	l.t.Helper()
	text, err := os.ReadFile(l.logPath())
	if err != nil {
		l.t.Fatal(err)
	}
	return string(text)
}

// PID is the framework's process, 0 when it does not run.
func (l *Launcher) PID() int {
	if l.running == nil || l.running.ended() {
		return 0
	}
	return l.running.cmd.Process.Pid
}

// Kill ends the framework as a power cut would.
func (l *Launcher) Kill() {
	l.t.Helper()
	if err := l.stop(syscall.SIGKILL); err != nil {
		l.t.Fatal(err)
	}
}

func (l *Launcher) stop(s syscall.Signal) error {
	p := l.running
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
	case <-time.After(Patience):
		return fmt.Errorf("process %d does not end", p.cmd.Process.Pid)
	}
	l.running = nil
	return nil
}

// end ends what is left of it.
func (l *Launcher) end() {
	if err := l.stop(syscall.SIGKILL); err != nil {
		l.t.Error(err)
	}
	if text, err := os.ReadFile(l.logPath()); err == nil && l.t.Failed() {
		l.t.Logf("the end of the log of the framework:\n%s", text[max(0, len(text)-maxDump):])
	}
	if os.Getenv("SMMD_TEST_KEEP") != "" {
		l.t.Logf("the framework is kept in %s", l.Dir)
		return
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		l.t.Errorf("cannot remove the framework: %v", err)
	}
}

// configure writes the table of its environment.
func (l *Launcher) configure(b *strings.Builder, settings string) {
	fmt.Fprintf(b, "[exec_env.osgi]\nattach = true\nsocket = %q\n%s\n", l.Socket, settings)
}

// Last sends a line to the console that ends it, and waits for no answer.
func (c *Console) Last(line string) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.conn, "%s\r\n", line); err != nil {
		c.t.Fatalf("cannot write to the console: %v", err)
	}
}
