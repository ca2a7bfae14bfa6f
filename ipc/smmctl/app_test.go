package smmctl

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/ipctest"
)

// terminalOf opens a terminal with that many columns.
func terminalOf(t *testing.T, columns uint16) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		ipctest.Missing(t, "there are no terminals here: "+err.Error())
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		ipctest.Missing(t, "there are no terminals here: "+err.Error())
	}
	t.Cleanup(func() { tty.Close() })
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	return tty
}

func TestTerminal(t *testing.T) {
	for _, name := range []string{"NO_COLOR", "LC_ALL", "LC_CTYPE", "LANG"} {
		t.Setenv(name, "")
	}
	t.Setenv("TERM", "xterm")
	tty := terminalOf(t, 123)
	var pipe bytes.Buffer
	if a := newApp(nil, tty, tty); !a.color || !a.boxes || !a.progress || a.width != 123 || a.errWidth != 123 {
		t.Errorf("on a terminal: %+v", a)
	}
	if a := newApp(nil, terminalOf(t, 0), &pipe); a.width != 80 || a.progress {
		t.Errorf("on a terminal of unknown width: %+v", a)
	}
	if a := newApp(nil, &pipe, tty); a.color || a.width != 0 || !a.progress {
		t.Errorf("in a pipe: %+v", a)
	}
	t.Setenv("LANG", "C")
	if a := newApp(nil, tty, tty); a.boxes {
		t.Error("boxes are drawn in the locale C")
	}
	t.Setenv("LC_ALL", "de_DE.utf8")
	if a := newApp(nil, tty, tty); !a.boxes {
		t.Error("boxes are not drawn in a locale of UTF-8")
	}
	t.Setenv("NO_COLOR", "1")
	if a := newApp(nil, tty, tty); a.color {
		t.Error("NO_COLOR is not heeded")
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	if a := newApp(nil, tty, tty); a.color {
		t.Error("a dumb terminal gets colors")
	}
}

func TestProgressLine(t *testing.T) {
	p := progressLine{width: 20}
	j := &client.Job{State: "fetching", Progress: 0.5, BytesDone: 1536, BytesTotal: 3 << 20}
	equal(t, "a narrow terminal", p.draw(j), "\rfetching     [#####")
	equal(t, "the same again", p.draw(j), "")
	equal(t, "cleared", p.clear(), "\r"+strings.Repeat(" ", 19)+"\r")
	equal(t, "cleared again", p.clear(), "")

	p = progressLine{}
	equal(t, "a wide terminal", p.draw(j), "\rfetching     [############............]  50%  1.5 KiB of 3.0 MiB")
	j.BytesTotal = 0
	equal(t, "an unknown length", p.draw(j), "\rfetching     [############............]  50%  1.5 KiB           ")
	j.Progress = 7
	if got := p.draw(j); strings.Count(got, "#") != barWidth {
		t.Errorf("more than everything: %q", got)
	}
}
