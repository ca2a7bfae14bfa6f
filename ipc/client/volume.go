package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// The values of Retain in [Volume] and [VolumeOptions].
const (
	RetainForever      = "Forever"
	RetainUntilStopped = "UntilStopped"
)

// A Volume is application data of an environment: an element of the property ApplicationData of org.smmd.ExecEnv1. It is there as long as its deployment unit
// is, or longer when it was retained.
type Volume struct {
	Number      uint32 `dbus:"Number" json:"number"` // never reused; for [Client.RemoveApplicationData]
	Alias       string `dbus:"Alias" json:"alias"`
	UUID        string `dbus:"ApplicationUUID" json:"application_uuid"` // of the deployment unit
	Name        string `dbus:"Name" json:"name"`
	Capacity    int64  `dbus:"Capacity" json:"capacity_mib"`
	Encrypted   bool   `dbus:"Encrypted" json:"encrypted"`
	Retain      string `dbus:"Retain" json:"retain"`
	AccessPath  string `dbus:"AccessPath" json:"access_path"`
	Utilization int64  `dbus:"Utilization" json:"utilization_mib"` // rounded up, as it was measured last
}

// VolumeOptions are application data that is asked for. All but Encrypted must be given.
type VolumeOptions struct {
	Name       string // 1 to 64 characters, different from those of the unit's others
	Capacity   int64  // MiB, from 1
	Encrypted  bool   // it must be on an encrypted medium; false: it may be
	Retain     string // RetainForever or RetainUntilStopped
	AccessPath string // where the execution units find it
}

// putVolumes adds the option that asks for application data, unless there is none.
func (o options) putVolumes(volumes []VolumeOptions) {
	list := make([]options, 0, len(volumes))
	for _, v := range volumes {
		list = append(list, options{
			"Name": dbus.MakeVariant(v.Name), "Capacity": dbus.MakeVariant(v.Capacity), "Encrypted": dbus.MakeVariant(v.Encrypted),
			"Retain": dbus.MakeVariant(v.Retain), "AccessPath": dbus.MakeVariant(v.AccessPath),
		})
	}
	if len(list) > 0 {
		o.put("application_data", list)
	}
}

// asVolumes reads a list of dictionaries. Keys without a field are ignored, so that a newer agent can have more of them.
func asVolumes(value any) ([]Volume, error) {
	list, ok := value.([]map[string]dbus.Variant)
	if !ok {
		return nil, typeError(value, "a list of dictionaries")
	}
	volumes := make([]Volume, len(list))
	for i, fields := range list {
		if _, err := decodeInto(&volumes[i], fmt.Sprintf("element %d", i+1), fields); err != nil {
			return nil, err
		}
	}
	return volumes, nil
}

// RemoveApplicationData removes application data with its content, by its number. While its deployment unit is on the environment that is refused with
// VolumeInUse; a number that the environment does not have with InvalidArguments.
func (c *Client) RemoveApplicationData(ctx context.Context, env dbus.ObjectPath, number uint32) error {
	what := fmt.Sprintf("cannot remove application data %d of %s", number, nameOf(env))
	_, err := c.call(ctx, what, env, KindExecEnv.iface()+".RemoveApplicationData", []any{number, options{}})
	return err
}
