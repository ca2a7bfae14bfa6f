package lxc

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// units starts containers as transient units of systemd, in the slice of their environment: what they print goes to the journal, and the
// device is shut down in order.
type units struct{}

// unitName is the unit of a container.
func unitName(name string) string { return "smmd-lxc-" + name + ".service" }

// sliceName is the slice of an environment. A dash in the name of a slice makes it one within another (systemd.slice(5)).
func sliceName(env string) string { return "smmd-" + strings.ReplaceAll(env, "-", `\x2d`) + ".slice" }

// slack is how much longer than the grace a unit may take to stop: until what the adapter or the unit does by force has had its effect.
const slack = 30 * time.Second

// unitGone is how long the unit of the run before may take to be forgotten. It is about to go when the end of the run was noted.
const unitGone = 10 * time.Second

func (u units) start(ctx context.Context, o order) error {
	// The connection ends with this call and not with the context: go-systemd ties it to that of its making.
	conn, err := dbus.NewSystemdConnectionContext(context.WithoutCancel(ctx))
	if err != nil {
		return fmt.Errorf("cannot reach systemd: %w", err)
	}
	defer conn.Close()
	deadline := time.Now().Add(unitGone)
	for {
		done := make(chan string, 1)
		_, err = conn.StartTransientUnitContext(ctx, unitName(o.name), "fail", u.properties(o), done)
		if err == nil {
			return u.await(ctx, conn, o, done)
		}
		if !refusedAs(err, "UnitExists") || time.Now().After(deadline) {
			return fmt.Errorf("cannot start unit %s: %w", unitName(o.name), err)
		}
		if o.daemon { // its unit stays when its program has returned, also when the container has ended
			if _, err := conn.StopUnitContext(ctx, unitName(o.name), "replace", nil); err != nil && !refusedAs(err, "NoSuchUnit") {
				return fmt.Errorf("cannot stop unit %s: %w", unitName(o.name), err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
}

// refusedAs reports whether systemd answered with an error of its own of that name.
func refusedAs(err error, name string) bool {
	var refused godbus.Error
	return errors.As(err, &refused) && refused.Name == "org.freedesktop.systemd1."+name
}

// await waits for the end of the job. A program that ends soon after its start is no failed job.
func (units) await(ctx context.Context, conn *dbus.Conn, o order, done <-chan string) error {
	// The manager ends the job by itself after the grace and the slack; what it does then by force takes its time, too.
	ctx, cancel := context.WithTimeoutCause(ctx, o.grace+2*slack, fmt.Errorf("the job of systemd for %s has not ended within %v", unitName(o.name), o.grace+2*slack))
	defer cancel()
	tick := time.NewTicker(ask)
	defer tick.Stop()
	for {
		select {
		case result := <-done:
			if result != "done" && result != "failed" {
				return fmt.Errorf("the job of systemd ended as %q", result)
			}
			return nil // how the program fared says the note of its end
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C: // go-systemd does not tell when its connection ends, and the job does not come to an end for it then
			if !conn.Connected() {
				return resume(ctx, unitName(o.name), tick.C)
			}
		}
	}
}

// resume waits for the end of a job whose connection was lost. When the service manager executes itself anew (daemon-reexec) its connections end, and its
// jobs go on.
func resume(ctx context.Context, unit string, tick <-chan time.Time) error {
	for {
		out, err := exec.CommandContext(ctx, "systemctl", "show", "--property=Job", unit).CombinedOutput()
		if err == nil && strings.TrimSpace(strings.TrimPrefix(string(out), "Job=")) == "" {
			return nil // what became of it is seen by the container
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("the connection to systemd was lost, and it does not answer: %w: %w: %s", context.Cause(ctx), err, oneLine(string(out)))
			}
			return fmt.Errorf("the connection to systemd was lost: %w", context.Cause(ctx))
		case <-tick:
		}
	}
}

// properties are those of the unit (org.freedesktop.systemd1(5), systemd.service(5)).
func (units) properties(o order) []dbus.Property {
	tries := strconv.Itoa(int(o.grace/(100*time.Millisecond)) + 1)
	props := []dbus.Property{
		dbus.PropDescription(o.description),
		dbus.PropSlice(sliceName(o.env)),
		command("ExecStart", o.command()...),
		command("ExecStop", "sh", o.script(askPayload), o.store, o.name, strconv.Itoa(o.signal), tries),
		property("KillMode", "mixed"),
		property("CollectMode", "inactive-or-failed"),
		property("TimeoutStopUSec", uint64((o.grace+slack)/time.Microsecond)),
		property("TimeoutStartUSec", uint64((o.grace+slack)/time.Microsecond)),
		property("StandardInput", "null"),
		property("StandardOutput", "journal"),
		property("StandardError", "journal"),
		property("SyslogIdentifier", o.name),
		property("Environment", []string{"LC_ALL=C"}),
		property("OOMPolicy", "continue"),
	}
	if o.daemon {
		props = append(props, dbus.PropType("oneshot"), dbus.PropRemainAfterExit(true))
	} else {
		post := command("ExecStopPost", "sh", o.script(noteEnd), o.dir, o.token)
		props = append(props, dbus.PropType("exec"), post)
	}
	return props
}

func property(name string, value any) dbus.Property {
	return dbus.Property{Name: name, Value: godbus.MakeVariant(value)}
}

// command is a property with a command line, whose program systemd wants to be an absolute path.
func command(name string, argv ...string) dbus.Property {
	if at, err := exec.LookPath(argv[0]); err == nil {
		argv = append([]string{at}, argv[1:]...)
	}
	p := dbus.PropExecStart(argv, false)
	p.Name = name
	return p
}

func (units) logPath(string) string { return "" }

// journalTime bounds a look into the journal.
const journalTime = 5 * time.Second

func (units) output(ctx context.Context, name, _ string, began time.Time, n int) []string {
	ctx, cancel := context.WithTimeout(ctx, journalTime)
	defer cancel()
	// What was written a moment ago may not have been read yet. Without an answer what is there has to do.
	_ = exec.CommandContext(ctx, "journalctl", "--sync").Run()
	since := fmt.Sprintf("--since=@%d.%06d", began.Unix(), began.Nanosecond()/1000)
	// The processes of a container are in no control group of the unit, and so their lines are not those of the unit.
	// Backwards: -n with a beginning counts from there.
	out, err := exec.CommandContext(ctx, "journalctl", "-q", "-r", "-o", "cat", "-n", strconv.Itoa(4*n), since, "-t", name).Output()
	if err != nil {
		return nil
	}
	lines := strings.Split(string(out), "\n")
	slices.Reverse(lines)
	return lastLines(strings.Join(lines, "\n"), n)
}
