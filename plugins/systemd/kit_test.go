package systemd

import (
	"archive/zip"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/adaptertest"
)

// releaseDir is what the units that hang see of the device.
const releaseDir = "/run/smmd-kit"

const (
	// released hangs until the kit releases.
	released = "until [ -e " + releaseDir + "/release ]; do sleep 0.05; done"
	sees     = "BindReadOnlyPaths=" + releaseDir + "\n"
	forever  = "while :; do sleep 0.05; done"
	sleeps   = "exec sleep 100000"
)

// traps is a service that is active when its traps are set, and then runs rest.
func traps(i *image, name, trap, rest, more string) *image {
	return i.service(name, trap+"; touch $$RUNTIME_DIRECTORY/ready; "+rest,
		"RuntimeDirectory="+name+"\nExecStartPost=/bin/sh -c 'until [ -e $$RUNTIME_DIRECTORY/ready ]; do sleep 0.02; done'\n"+more)
}

// signal makes the end of a module by a signal to its main process.
func signal(name string) func(t adaptertest.TB, dir string, m adapter.ModuleRef) {
	return func(t adaptertest.TB, _ string, m adapter.ModuleRef) {
		systemctl(t, "kill", "--kill-whom=main", "--signal="+name, m.Module)
	}
}

// huge is a package with a sparse file of 10 GiB.
func huge(t *testing.T) []byte {
	t.Helper()
	dir := newImage("kit-huge", "1").service("kit-huge.service", sleeps, "").tree(t)
	if err := os.Truncate(filepath.Join(dir, "etc/machine-id"), 10<<30); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "huge.tar")
	if text, err := exec.Command("tar", "--sparse", "-C", dir, "-cf", out, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// jar is an OSGi bundle.
func jar(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	if _, err := w.Create("META-INF/MANIFEST.MF"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// kitPackages are the images that the conformance kit asks for.
func kitPackages(t *testing.T) adaptertest.Packages {
	t.Helper()
	of := func(i *image) adaptertest.Package { return adaptertest.Package{Path: i.pkg(t).Path} }
	says := func(message string, i *image) adaptertest.Package {
		return adaptertest.Package{Path: i.pkg(t).Path, Message: message}
	}
	ends := func(name string, i *image) adaptertest.Package {
		return adaptertest.Package{Path: i.pkg(t).Path, End: signal(name)}
	}
	hangs := func(i *image) adaptertest.Package {
		return adaptertest.Package{Path: i.pkg(t).Path, Release: func(t adaptertest.TB, _ string) {
			if err := os.WriteFile(filepath.Join(releaseDir, "release"), nil, 0o644); err != nil {
				t.Fatalf("cannot release: %v", err)
			}
		}}
	}
	// Active are they as soon as they are another program than systemd, with an environment of their own.
	const execs = "Type=exec\n"
	kit := func(version string) *image {
		return newImage("kit", version).service("kit.service", sleeps, execs+"StateDirectory=kit\n")
	}
	several := func(version string) *image {
		return newImage("kit-several", version).service("kit-several-a.service", sleeps, "").service("kit-several-b.service", sleeps, "")
	}
	exits := ends("USR1", traps(newImage("kit-exits", "1"), "kit-exits.service", `trap "echo famous last words; exit 7" USR1`, forever, ""))
	exits.ExitCode, exits.Message = 7, "famous last words"
	whole := newImage("kit-cut", "1").service("kit-cut.service", sleeps, "").tar(t)
	return adaptertest.Packages{
		V1: of(kit("1")), V2: of(kit("2")), Other: of(newImage("kit-other", "1").service("kit-other.service", sleeps, execs)),
		Corrupt: adaptertest.Package{Path: packageOf(t, whole[:len(whole)/2]).Path},
		Foreign: adaptertest.Package{Path: packageOf(t, jar(t)).Path},
		// The device has a unit of that name.
		FailsInstall:   of(newImage("systemd-journald", "1").service("systemd-journald.service", "exec sleep 1", "")),
		FailsUninstall: adaptertest.Package{Skip: "a unit that can be stopped can be removed"},
		FailsStart:     says("boom on purpose", newImage("kit-fails", "1").service("kit-fails.service", "echo boom on purpose >&2; exit 5", "Type=oneshot\n")),
		FailsStop:      says("stuck on purpose", traps(newImage("kit-stuck", "1"), "kit-stuck.service", `trap "echo stuck on purpose; exit 3" TERM`, forever, "")),
		HangsStart:     hangs(newImage("kit-hangs", "1").service("kit-hangs.service", released, "Type=oneshot\nRemainAfterExit=yes\n"+sees)),
		HangsStop:      hangs(traps(newImage("kit-stays", "1"), "kit-stays.service", `trap "" TERM`, released, "TimeoutStopSec=infinity\n"+sees)),
		Inert:          adaptertest.Package{Skip: "every unit of systemd can be started"},
		Unresolved:     of(newImage("kit-lacks", "1").unit("kit-lacks.service", "[Unit]\nRequires=no-such-unit.service\n[Service]\nExecStart=/bin/busybox sleep 100000\n")),
		Unstartable:    says("bad-setting", newImage("kit-wrong", "1").unit("kit-wrong.service", "[Service]\nType=simple\n")),
		IgnoresStop:    of(traps(newImage("kit-ignores", "1"), "kit-ignores.service", `trap "" TERM`, forever, "TimeoutStopSec=500ms\n")),
		TooLarge:       adaptertest.Package{Path: packageOf(t, huge(t)).Path},
		Several:        of(several("1").unit("kit-several-c.timer", "[Timer]\nUnit=kit-several-a.service\nOnActiveSec=1d\n")),
		SeveralNext:    of(several("2").unit("kit-several-d.socket", "[Socket]\nService=kit-several-a.service\nListenStream=/run/kit-several.sock\n")),
		FailsOne: says("boom on purpose", newImage("kit-one", "1").service("kit-one-a.service", "echo boom on purpose; exit 5", "Type=oneshot\n").
			service("kit-one-b.service", sleeps, "")),
		Ends:          ends("USR1", traps(newImage("kit-ends", "1"), "kit-ends.service", `trap "exit 0" USR1`, forever, "")),
		Exits:         exits,
		Dies:          ends("SEGV", newImage("kit-dies", "1").service("kit-dies.service", sleeps, "")),
		Restarts:      ends("KILL", newImage("kit-again", "1").service("kit-again.service", sleeps, "Restart=always\nRestartSec=100ms\n")),
		RestartsLater: ends("KILL", newImage("kit-later", "1").service("kit-later.service", sleeps, "Restart=always\nRestartSec=1h\n")),
		Completes:     of(newImage("kit-done", "1").service("kit-done.service", "true", "Type=oneshot\n")),
		Greedy: ends("USR1", traps(newImage("kit-greedy", "1"), "kit-greedy.service", `trap "exec dd if=/dev/zero of=/dev/null bs=400M count=1" USR1`,
			forever, "MemorySwapMax=0\n")),
	}
}
