package ipctest

import (
	"context"
	"fmt"
	"slices"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
)

// keepVolumes makes the application data of a unit what an installation or an update asks for. Without retain all that was there goes.
func (a *Agent) keepVolumes(d *model.Draft, env, uuid string, volumes []model.VolumeRequest, retain bool) {
	if !retain {
		dropVolumes(d, env, uuid, false)
	}
	for _, r := range volumes {
		v := model.Volume{Env: env, UUID: uuid, Name: r.Name}
		for old := range d.VolumesOf(env, uuid) {
			if old.Name == r.Name {
				v = *old
			}
		}
		if v.ID == 0 {
			a.volume++
			v.ID, v.Alias = a.volume, fmt.Sprintf("cpe-%d", a.volume)
		}
		v.Capacity, v.Encrypted, v.Retain, v.AccessPath = r.Capacity, r.Encrypted, r.Retain, r.AccessPath
		d.PutVolume(&v)
	}
}

// dropVolumes removes the application data of a unit; with retain that which is to stay is left.
func dropVolumes(d *model.Draft, env, uuid string, retain bool) {
	for _, v := range slices.Collect(d.VolumesOf(env, uuid)) {
		if !retain || v.Retain != model.Forever {
			d.Delete(model.Ref{Kind: model.KindVolume, Instance: v.ID})
		}
	}
}

// unitOf returns the deployment unit that application data belongs to, nil when it is not there.
func unitOf(s *model.Snapshot, env, uuid string) *model.DeploymentUnit {
	for u := range s.DeploymentUnits() {
		if u.Env == env && u.UUID == uuid {
			return u
		}
	}
	return nil
}

// RemoveVolume removes application data, unless its unit is there.
func (a *Agent) RemoveVolume(_ context.Context, instance uint32, originator model.Origin) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.snap.Volume(instance)
	if v == nil {
		return fault.Errorf(fault.InvalidArguments, "cannot find application data %d", instance)
	}
	if u := unitOf(a.snap, v.Env, v.UUID); u != nil {
		return fault.Errorf(fault.VolumeInUse, "cannot remove application data %q: unit %d is there", v.Name, u.ID)
	}
	if err := a.ask(RemoveVolume{instance, originator}); err != nil {
		return err
	}
	a.commit(func(d *model.Draft) { d.Delete(model.Ref{Kind: model.KindVolume, Instance: instance}) })
	return nil
}
