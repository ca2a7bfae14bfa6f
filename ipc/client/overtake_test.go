package client_test

import (
	"errors"
	"sync"
	"testing"

	godbus "github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/bus"
	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/ipctest"
)

// late is an agent with one job. Its first answer about it is overtaken by the signals of what happened since: the job has ended.
type late struct {
	t    *testing.T
	conn *godbus.Conn
	once sync.Once
}

var lateJob = client.ObjectPath(client.KindJob, 1)

const jobInterface = "org.smmd.Job1"

// answer returns the state that the job is told to have, and sends the signals of its end before that of the first time.
func (l *late) answer() map[string]godbus.Variant {
	state := "done"
	l.once.Do(func() {
		state = "installing"
		changed := map[string]godbus.Variant{"State": godbus.MakeVariant("done"), "Progress": godbus.MakeVariant(1.0)}
		for _, err := range []error{
			l.conn.Emit(lateJob, "org.freedesktop.DBus.Properties.PropertiesChanged", jobInterface, changed, []string{}),
			l.conn.Emit(lateJob, jobInterface+".Completed", true, ""),
		} {
			if err != nil {
				l.t.Error(err)
			}
		}
	})
	return map[string]godbus.Variant{"State": godbus.MakeVariant(state)}
}

func (l *late) GetAll(string) (map[string]godbus.Variant, *godbus.Error) { return l.answer(), nil }

func (l *late) GetManagedObjects() (map[godbus.ObjectPath]map[string]map[string]godbus.Variant, *godbus.Error) {
	return map[godbus.ObjectPath]map[string]map[string]godbus.Variant{lateJob: {jobInterface: l.answer()}}, nil
}

func startLate(t *testing.T) *client.Client {
	t.Helper()
	needBus(t)
	address := ipctest.Bus(t)
	conn, err := bus.Connect(limited(t), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	l := &late{t: t, conn: conn}
	for path, iface := range map[godbus.ObjectPath]string{
		lateJob: "org.freedesktop.DBus.Properties", client.Root: "org.freedesktop.DBus.ObjectManager",
	} {
		if err := conn.Export(l, path, iface); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.RequestName(client.BusName, godbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	return dial(t, address)
}

func TestWaitJobOvertaken(t *testing.T) {
	c := startLate(t)
	if j, err := c.WaitJob(limited(t), lateJob, nil); err != nil || j.State != client.JobDone {
		t.Errorf("WaitJob() = %+v, %v", j, err)
	}
}

func TestWatchOvertaken(t *testing.T) {
	c := startLate(t)
	var states []string
	err := c.Watch(limited(t), func(e client.Event) error {
		if j, ok := e.Object.(*client.Job); ok {
			states = append(states, string(e.Kind)+" "+j.State)
		}
		if e.Kind == client.Completed {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("Watch() saw %q and ended with %v", states, err)
	}
}
