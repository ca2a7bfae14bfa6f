package client

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/godbus/dbus/v5"
)

// A Tree is everything that exists at one moment, each table in ascending order of instance numbers.
type Tree struct {
	ExecEnvs        []*ExecEnv        `json:"exec_envs"`
	DeploymentUnits []*DeploymentUnit `json:"deployment_units"`
	ExecutionUnits  []*ExecutionUnit  `json:"execution_units"`
	Jobs            []*Job            `json:"jobs"`
}

// Tree reads everything in one call.
func (c *Client) Tree(ctx context.Context) (*Tree, error) {
	objects, _, err := c.objects(ctx, BusName)
	if err != nil {
		return nil, err
	}
	return newTree(objects), nil
}

// ExecEnv returns the environment at path, nil when there is none.
func (t *Tree) ExecEnv(path dbus.ObjectPath) *ExecEnv { return find(t.ExecEnvs, path) }

// DeploymentUnit returns the deployment unit at path, nil when there is none.
func (t *Tree) DeploymentUnit(path dbus.ObjectPath) *DeploymentUnit {
	return find(t.DeploymentUnits, path)
}

// ExecutionUnit returns the execution unit at path, nil when there is none.
func (t *Tree) ExecutionUnit(path dbus.ObjectPath) *ExecutionUnit {
	return find(t.ExecutionUnits, path)
}

// Job returns the job at path, nil when there is none.
func (t *Tree) Job(path dbus.ObjectPath) *Job { return find(t.Jobs, path) }

func find[O Object](rows []O, path dbus.ObjectPath) (none O) {
	for _, o := range rows {
		if o.Reference().Object == path {
			return o
		}
	}
	return none
}

type objectMap map[dbus.ObjectPath]Object

// objects reads everything from the owner of a bus name. The sequence is the place of the answer among the signals.
func (c *Client) objects(ctx context.Context, owner string) (objectMap, dbus.Sequence, error) {
	const what = "cannot read the objects of the agent"
	var managed map[dbus.ObjectPath]map[string]map[string]dbus.Variant
	seq, err := c.callTo(ctx, what, owner, Root, ifaceManager+".GetManagedObjects", nil, &managed)
	if err != nil {
		return nil, 0, err
	}
	objects := make(objectMap, len(managed))
	for path, ifaces := range managed {
		o := newObject(path)
		if o == nil {
			continue
		}
		if _, err := decode(o, ifaces[o.Reference().Kind().iface()]); err != nil {
			return nil, 0, fmt.Errorf("%s: %w", what, err)
		}
		objects[path] = o
	}
	return objects, seq, nil
}

// read reads one object. The sequence is the place of the answer among the signals.
func (c *Client) read(ctx context.Context, path dbus.ObjectPath) (Object, dbus.Sequence, error) {
	o := newObject(path)
	if o == nil {
		return nil, 0, fmt.Errorf("cannot read %s: no object of the agent has such a path", path)
	}
	what := "cannot read " + o.Reference().String()
	var props map[string]dbus.Variant
	seq, err := c.call(ctx, what, path, ifaceProperties+".GetAll", []any{o.Reference().Kind().iface()}, &props)
	if err != nil {
		return nil, 0, err
	}
	if _, err := decode(o, props); err != nil {
		return nil, 0, err
	}
	return o, seq, nil
}

func newTree(objects objectMap) *Tree {
	t := &Tree{ExecEnvs: []*ExecEnv{}, DeploymentUnits: []*DeploymentUnit{}, ExecutionUnits: []*ExecutionUnit{}, Jobs: []*Job{}}
	for _, path := range objects.sorted() {
		switch o := objects[path].(type) {
		case *ExecEnv:
			t.ExecEnvs = append(t.ExecEnvs, o)
		case *DeploymentUnit:
			t.DeploymentUnits = append(t.DeploymentUnits, o)
		case *ExecutionUnit:
			t.ExecutionUnits = append(t.ExecutionUnits, o)
		case *Job:
			t.Jobs = append(t.Jobs, o)
		}
	}
	return t
}

// sorted returns the paths by table, then by instance number.
func (m objectMap) sorted() []dbus.ObjectPath {
	return slices.SortedFunc(maps.Keys(m), func(a, b dbus.ObjectPath) int {
		ra, rb := m[a].Reference(), m[b].Reference()
		return cmp.Or(
			cmp.Compare(slices.Index(kinds, ra.Kind()), slices.Index(kinds, rb.Kind())),
			cmp.Compare(ra.Instance, rb.Instance))
	})
}
