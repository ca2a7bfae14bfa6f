package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/support"
)

// maxRead is how long a read of everything may take, whatever else goes on.
const maxRead = time.Second

// reading reads everything, again and again, on two connections of its own, until the returned function is called; that checks how long each
// read took.
func reading(t *testing.T, d *support.Device) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for name, read := range map[string]func(*client.Client) error{
		"GetParameterValues": func(c *client.Client) error {
			_, err := c.GetParameterValues(ctx, "Device.SoftwareModules.")
			return err
		},
		"GetManagedObjects": func(c *client.Client) error {
			_, err := c.Tree(ctx)
			return err
		},
	} {
		c, err := client.Dial(ctx, d.Bus)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer func() { _ = c.Close() }() // nothing is under way
			n, longest := 0, time.Duration(0)
			for ctx.Err() == nil {
				began := time.Now()
				if err := read(c); err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", name, err)
					return
				}
				longest = max(longest, time.Since(began))
				n++
			}
			if longest > maxRead || n < 10 {
				t.Errorf("%d calls of %s, the longest took %v", n, name, longest)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// show returns every property of a job.
func show(j *client.Job) string {
	text, err := json.Marshal(j)
	return fmt.Sprint("the job is ", string(text), err)
}

// While a package comes slowly, reads are answered at once, other units are installed, and the job tells how far it is.
func TestReadsGoOnDuringADownload(t *testing.T) {
	parallel(t)
	d := boot(t, support.Env{})
	release := make(chan struct{})
	content := d.Content("real/commons-lang3.jar")
	url := d.Serve("/slow.jar", fileserver.File{Content: content, Hang: fileserver.Bytes(300_000), Release: release})

	end := reading(t, d)
	job, err := d.Client.Install(t.Context(), url, client.InstallOptions{ExecEnv: "felix"})
	if err != nil {
		t.Fatal(err)
	}
	d.Until("the download hangs", func(tree *client.Tree) error {
		j := tree.Job(job)
		if j == nil || j.State != "fetching" || j.BytesDone != 300_000 || j.BytesTotal != uint64(len(content)) || j.Progress <= 0 || j.Progress >= 1 {
			return fmt.Errorf("%s", show(j))
		}
		return nil
	})
	if tree := d.Tree(); len(tree.DeploymentUnits) != 0 {
		t.Errorf("there is a row before the package is known: %s", support.Show(tree.DeploymentUnits[0]))
	}
	u := d.Install("sample-1.0.0.jar", "felix")
	d.Done(d.Client.Stop(t.Context(), u.EU.Object))
	close(release)
	if j := d.Done(job, nil); j.Progress != 1 || j.BytesDone != uint64(len(content)) {
		t.Errorf("the job has ended: %s", show(j))
	}
	end()
}

// A download can be canceled, and nothing is left of it.
func TestCancelADownload(t *testing.T) {
	parallel(t)
	d := boot(t, support.Env{})
	url := d.Serve("/slow.jar", fileserver.File{Content: d.Content("real/commons-lang3.jar"), Hang: fileserver.Bytes(1000)})
	before := rows(t, d)
	job, err := d.Client.Install(t.Context(), url, client.InstallOptions{ExecEnv: "felix"})
	if err != nil {
		t.Fatal(err)
	}
	d.Until("the download hangs", func(tree *client.Tree) error {
		if j := tree.Job(job); j == nil || j.BytesDone != 1000 {
			return fmt.Errorf("%s", show(j))
		}
		return nil
	})
	if err := d.Client.Cancel(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	j := d.Job(job, nil)
	if j.State != client.JobCancelled || j.FaultName != "Canceled" || j.FaultCWMP != 9001 || j.FaultUSP != 7002 || j.FaultUSPComplete != 7023 {
		t.Error(show(j))
	}
	if err := d.Client.Cancel(t.Context(), job); !client.IsName(err, "InvalidDUState") {
		t.Errorf("a second cancel ended with %v", err)
	}
	support.Until(t, "nothing is left", func() error {
		if files := d.Packages(); len(files) > 0 {
			return fmt.Errorf("there are %v", files)
		}
		return nil
	})
	if after := rows(t, d); len(after) != len(before) {
		t.Errorf("there were %d rows and are %d", len(before), len(after))
	}
}

// As many operations as are configured are taken at once, however long they take; what comes on top is refused, and once they are gone there is
// room again.
func TestTooManyOperations(t *testing.T) {
	parallel(t)
	const most = 8
	d := support.Boot(t, support.Options{Programs: programs, Config: fmt.Sprintf("[operations]\nmax_open = %d\n", most)})
	url := d.Serve("/hangs.jar", fileserver.File{Content: d.Content("sample-1.0.0.jar"), Hang: fileserver.Bytes(-1)})
	before := rows(t, d)
	var jobs []dbus.ObjectPath
	for range most {
		job, err := d.Client.Install(t.Context(), url, client.InstallOptions{ExecEnv: "felix"})
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, job)
	}
	_, err := d.Client.Install(t.Context(), url, client.InstallOptions{ExecEnv: "felix"})
	wantRefusal(t, err, "TooManyOperations", 9001, 7002)
	for _, job := range jobs {
		if err := d.Client.Cancel(t.Context(), job); err != nil {
			t.Error(err)
		}
	}
	for _, job := range jobs {
		if j := d.Job(job, nil); j.State != client.JobCancelled {
			t.Error(show(j))
		}
	}
	if after := rows(t, d); fmt.Sprint(plain(before)) != fmt.Sprint(plain(after)) {
		t.Errorf("the tree was %v and is %v", plain(before), plain(after))
	}
	d.Install("sample-1.0.0.jar", "felix")
}
