package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/smmd-project/smmd/test/device"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/images"
	"github.com/smmd-project/smmd/test/support"
)

// environments of the device: one of each kind.
const environments = `
[[exec_env]]
name = "services"
adapter = "systemd"
initial_run_level = 5

[[exec_env]]
name = "containers"
adapter = "lxc"
initial_run_level = 5
`

// showDevice shows all kinds of environments in a disposable machine, which is gone at the end. The address of its bus is in dir as long as it is there.
func showDevice(ctx context.Context, top, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	address := filepath.Join(dir, "bus-address")
	return perform(ctx, func(s *stage) error {
		say("Booting a disposable machine with smmd as its service")
		d := device.Boot(s, device.Options{
			Programs: support.Programs{Smmd: filepath.Join(top, "build", "smmd"), Smmctl: filepath.Join(top, "build", "smmctl")},
			Config:   device.Felix("felix", 5) + environments,
		})
		fmt.Printf("It has a root directory of its own, %s, a systemd, a system bus and no network.\n", d.Machine.Root())
		d.Up()
		ctl := client{filepath.Join(top, "build", "smmctl"), d.Machine.Bus()}
		if err := os.WriteFile(address, []byte(ctl.bus+"\n"), 0o600); err != nil {
			return err
		}
		defer os.Remove(address) // it is of no use to anybody
		if err := deviceStory(ctx, s, d, ctl); err != nil {
			return err
		}
		fmt.Printf(`
The machine stays up; Ctrl-C ends it and everything in it. In a second terminal:

  export SMMD_BUS='%[1]s'
  %[2]s update org.smmd.sample --url %[4]s
  %[2]s stop hello.service
  %[2]s uninstall box
  %[2]s watch
  %[2]s get Device.SoftwareModules.
  nsenter -t %[3]d -a systemctl status smmd.service

`, ctl.bus, ctl.program, d.Machine.Leader(), d.URL("sample-2.0.0.jar"))
		<-ctx.Done()
		fmt.Println("\nEnding the machine.")
		return nil
	})
}

func deviceStory(ctx context.Context, s *stage, d *device.Device, ctl client) error {
	slow := func(name string, content []byte) string { // slowly enough for a person to see it come
		return d.Serve("/"+name, fileserver.File{Content: content, ChunkSize: len(content)/12 + 1, ChunkDelay: 80 * time.Millisecond})
	}
	file := func(name string, write func(path string) error) (string, error) {
		path := filepath.Join(s.TempDir(), name)
		if err := write(path); err != nil {
			return "", err
		}
		content, err := os.ReadFile(path)
		return slow(name, content), err
	}
	service, err := file("hello.tar.gz", images.Portable{
		Name: "hello", Version: "1.0", Vendor: "Example", Units: map[string]string{
			"hello.service":      images.Service("echo hello; exec sleep 1000000"),
			"hello-tick.timer":   "[Unit]\nDescription=Ticks\n[Timer]\nOnActiveSec=1h\n",
			"hello-tick.service": images.Service("echo tick", "Type=oneshot"),
		},
	}.Tar)
	if err != nil {
		return err
	}
	box, err := file("box.tar", images.Container{Name: "box", Version: "1.0", Vendor: "Example"}.Archive)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		args []string
	}{
		{"An OSGi bundle", []string{"install", slow("sample-1.0.0.jar", d.Content("sample-1.0.0.jar")), "--ee", "felix"}},
		{"An image of portable services: a service, a timer, and the service that the timer starts", []string{"install", service, "--ee", "services", "--auto-start=false"}},
		{"An OCI image, made into a container", []string{"install", box, "--ee", "containers"}},
		{"Starting the service, and leaving the others of its image alone", []string{"start", "hello.service"}},
		{"What there is now", []string{"tree"}},
	} {
		say("%s", step.what)
		if err := ctl.show(ctx, step.args...); err != nil {
			return err
		}
	}
	say("What systemd and LXC say themselves")
	for _, args := range [][]string{
		{"systemctl", "--no-pager", "--plain", "--no-legend", "list-units", "hello*"},
		{"sh", "-c", "lxc-ls -f -P /var/lib/smmd/env/containers/store"},
	} {
		out, err := d.Machine.Try(ctx, args...)
		if err != nil {
			return err
		}
		fmt.Printf("# %s\n%s", args[len(args)-1], out)
	}
	return nil
}
