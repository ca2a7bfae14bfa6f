package agent_test

import (
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// A unit whose operation is lost, because its record cannot be read any more, does not stay in a transitory state.
func TestLostOperation(t *testing.T) {
	for name, begin := range map[string]func(*device, *model.DeploymentUnit) (uint32, error){
		"Install": func(d *device, _ *model.DeploymentUnit) (uint32, error) {
			return d.install(fake.Spec{Name: "other", Version: "1"})
		},
		"Update": func(d *device, u *model.DeploymentUnit) (uint32, error) {
			return d.update(u.ID, fake.Spec{Name: "unit", Version: "2"})
		},
		"Uninstall": func(d *device, u *model.DeploymentUnit) (uint32, error) { return d.uninstall(u.ID) },
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, levels)
			u := d.installed(fake.Spec{Name: "unit", Version: "1"})
			entered, release := d.worlds["fake"].Block(name)
			if _, err := begin(d, u); err != nil {
				t.Fatal(err)
			}
			<-entered
			d.kill()
			release()
			db, err := bolt.Open(filepath.Join(d.cfg.Agent.StateDir, "state.db"), 0o600, &bolt.Options{Timeout: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bolt.Tx) error {
				b, spoilt := tx.Bucket([]byte("operation")), map[string]bool{}
				if err := b.ForEach(func(k, _ []byte) error { spoilt[string(k)] = true; return nil }); err != nil {
					return err
				}
				for k := range spoilt {
					if err := b.Put([]byte(k), []byte("spoilt")); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			d.start()
			for row := range d.up().DeploymentUnits() {
				if row.Status != model.DUInstalled {
					t.Errorf("%s is %s", row.Name, row.Status)
				}
			}
			d.done(d.uninstall(u.ID))
		})
	}
}
