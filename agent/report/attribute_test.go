package report

import (
	"testing"

	"github.com/smmd-project/smmd/agent/model"
)

// The attributes of a row that is gone are not kept, those of everything else are, also of what is no row.
func TestGone(t *testing.T) {
	d := (&model.Draft{Snapshot: *model.NewSnapshot(
		[]*model.ExecEnv{{ID: "osgi", Instance: 1}, {ID: "lxc", Instance: 2}},
		[]*model.DeploymentUnit{{ID: 5, Settings: model.UnitSettings{Variables: []model.Variable{{Number: 3, Key: "A"}}}}},
		[]*model.ExecutionUnit{{ID: 7, DU: 5}}, nil)}).Copy()
	d.PutVolume(&model.Volume{ID: 4, Env: "osgi"})
	s := d.Freeze()
	for path, want := range map[string]bool{
		"Device.ManagementServer.DUStateChangeComplPolicy.Enable":         false,
		"Device.SoftwareModules.ExecEnvNumberOfEntries":                   false,
		"Device.SoftwareModules.ExecEnv.1.Status":                         false,
		"Device.SoftwareModules.ExecEnv.3.Status":                         true,
		"Device.SoftwareModules.DeploymentUnit.5.Status":                  false,
		"Device.SoftwareModules.DeploymentUnit.7.Status":                  true,
		"Device.SoftwareModules.ExecutionUnit.7.AutoRestart.Enable":       false,
		"Device.SoftwareModules.ExecutionUnit.5.Status":                   true,
		"Device.SoftwareModules.ExecEnv.1.ApplicationDataNumberOfEntries": false,
		"Device.SoftwareModules.ExecEnv.1.ApplicationData.4.Utilization":  false,
		"Device.SoftwareModules.ExecEnv.1.ApplicationData.5.Utilization":  true,
		"Device.SoftwareModules.ExecEnv.2.ApplicationData.4.Utilization":  true,
		"Device.SoftwareModules.ExecEnv.3.ApplicationData.4.Utilization":  true,
		"Device.SoftwareModules.ExecutionUnit.7.EnvVariable.3.Value":      false,
		"Device.SoftwareModules.ExecutionUnit.7.EnvVariable.4.Value":      true,
		"Device.SoftwareModules.ExecutionUnit.8.EnvVariable.3.Value":      true,
		"Device.SoftwareModules.ExecEnv.many.Status":                      false,
	} {
		if got := gone(s, path); got != want {
			t.Errorf("%s is said to be gone: %t, want %t", path, got, want)
		}
	}
}
