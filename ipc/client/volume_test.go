package client_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/client"
)

func TestApplicationData(t *testing.T) {
	agent, c := start(t)
	agent.Auto(true)
	ctx := t.Context()
	env, du := client.ObjectPath(client.KindExecEnv, 1), client.ObjectPath(client.KindDeploymentUnit, 1)
	if _, err := c.Install(ctx, "http://files/a.jar", client.InstallOptions{Volumes: []client.VolumeOptions{
		{Name: "db", Capacity: 1 << 31, Encrypted: true, Retain: client.RetainForever, AccessPath: "/db"},
		{Name: "tmp", Capacity: 1, Retain: client.RetainUntilStopped, AccessPath: "/tmp/x"},
	}}); err != nil {
		t.Fatal(err)
	}
	told := func(want ...client.Volume) {
		t.Helper()
		tree, err := c.Tree(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, tree.ExecEnv(env).ApplicationData); diff != "" {
			t.Errorf("application data (-want +got):\n%s", diff)
		}
	}
	agent.Commit(func(d *model.Draft) {
		v := *d.Volume(1)
		v.Utilization = 5
		d.PutVolume(&v)
	})
	const uuid = "00000000-0000-5000-8000-000000000001"
	db := client.Volume{Number: 1, Alias: "cpe-1", UUID: uuid, Name: "db", Capacity: 1 << 31, Encrypted: true, Retain: "Forever", AccessPath: "/db", Utilization: 5}
	tmp := client.Volume{Number: 2, Alias: "cpe-2", UUID: uuid, Name: "tmp", Capacity: 1, Retain: "UntilStopped", AccessPath: "/tmp/x"}
	told(db, tmp)
	if err := c.RemoveApplicationData(ctx, env, 1); !client.IsName(err, "VolumeInUse") {
		t.Errorf("removing what is in use is %v", err)
	}
	if _, err := c.UninstallRetainingData(ctx, du); err != nil {
		t.Fatal(err)
	}
	told(db)
	if err := c.RemoveApplicationData(ctx, env, 2); !client.IsName(err, "InvalidArguments") {
		t.Errorf("removing what is not there is %v", err)
	}
	if err := c.RemoveApplicationData(ctx, env, 1); err != nil {
		t.Error(err)
	}
	told([]client.Volume{}...)

	// Without a word it goes with its unit.
	if _, err := c.Install(ctx, "http://files/b.jar", client.InstallOptions{Volumes: []client.VolumeOptions{
		{Name: "db", Capacity: 1, Retain: client.RetainForever, AccessPath: "/db"},
	}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Uninstall(ctx, client.ObjectPath(client.KindDeploymentUnit, 3)); err != nil {
		t.Fatal(err)
	}
	told([]client.Volume{}...)
}
