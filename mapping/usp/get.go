package usp

import (
	"fmt"

	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

// An Object is an object with parameters by name: their values, or its unique keys.
type Object struct {
	Path       string // with a dot at its end
	Parameters map[string]string
}

// A GetResult is the answer to one path.
type GetResult struct {
	Requested string
	Objects   []Object
	Status
}

// maxAnswer is how many bytes one message is answered with. A bus takes 32 MiB in one message and ends the connection of whoever sends more, so
// whoever names a big tree many times is told instead.
const maxAnswer = 28 << 20

// maxPaths is how many paths one message may have: each costs a search.
const maxPaths = 4096

var tooMany = Status{ResourcesExceeded, fmt.Sprintf("cannot answer more than %d paths in one message", maxPaths)}

// overhead is how many bytes a name and its value take beside their characters.
const overhead = 16

// answer collects objects and counts their bytes.
type answer struct{ size int }

func (a *answer) add(list []Object, o Object) []Object {
	a.size += len(o.Path) + overhead
	for k, v := range o.Parameters {
		a.size += len(k) + len(v) + overhead
	}
	return append(list, o)
}

// full returns the status of what there is no room for.
func (a *answer) full() Status {
	return Status{ResourcesExceeded, fmt.Sprintf("cannot answer more than %d bytes in one message", maxAnswer)}
}

// Get answers the message of that name (TR-369, Get). maxDepth counts levels of objects, those that a path names being the first; 0 is all. A
// search that matches nothing is an empty success, any other path that names nothing 7026 (R-GET.0, R-GET.1a).
func (f *Face) Get(paths []string, maxDepth uint32) []GetResult {
	row := softwaremodules.NewRow(f.agent.Snapshot())
	var size answer
	results := make([]GetResult, len(paths))
	for i, path := range paths {
		results[i].Requested = path
		if i >= maxPaths {
			results[i].Status = tooMany
			continue
		}
		nodes, err := f.places(row, path)
		if err != nil {
			results[i].Status = status(err, InvalidPath)
			continue
		}
		for _, n := range nodes {
			if size.size > maxAnswer {
				results[i] = GetResult{Requested: path, Status: size.full()}
				break
			}
			results[i].Objects = f.values(results[i].Objects, &size, n, maxDepth, 1)
		}
	}
	return results
}

// places returns the parameters, objects and rows that a path stands for.
func (f *Face) places(row softwaremodules.Row, path string) ([]node, error) {
	p, at, err := f.locate(path, dm.USP)
	switch {
	case err != nil:
		return nil, err
	case at.Command != nil || at.Event != nil:
		return nil, fmt.Errorf("cannot read %s: %w: it has no value", p, dm.ErrUnknown)
	}
	return dm.Resolve(f.root, row, p, dm.ForGet)
}

// values appends n and what is below it, down to maxDepth. An object without parameters is left out.
func (f *Face) values(list []Object, size *answer, n node, maxDepth, depth uint32) []Object {
	if n.Parameter != nil {
		path := n.Path[:len(n.Path)-len(n.Parameter.Name)]
		return size.add(list, Object{path, map[string]string{n.Parameter.Name: n.Parameter.Value(n.Row)}})
	}
	if params := n.Object.Parameters; !n.Table && len(params) > 0 {
		o := Object{n.Path, make(map[string]string, len(params))}
		for _, p := range params {
			o.Parameters[p.Name] = p.Value(n.Row)
		}
		list = size.add(list, o)
	}
	for c := range n.Children() {
		switch {
		case c.Parameter != nil:
		case n.Table: // a table and its rows are one level
			list = f.values(list, size, c, maxDepth, depth)
		case maxDepth == 0 || depth < maxDepth:
			list = f.values(list, size, c, maxDepth, depth+1)
		}
	}
	return list
}

// GetInstances answers the message of that name (TR-369, GetInstances): the rows of tables with their unique keys. What is no table is 7018, a
// table below a row that is not there 7016.
func (f *Face) GetInstances(paths []string, firstLevelOnly bool) []GetResult {
	row := softwaremodules.NewRow(f.agent.Snapshot())
	var size answer
	results := make([]GetResult, len(paths))
	for i, path := range paths {
		results[i].Requested = path
		if i >= maxPaths {
			results[i].Status = tooMany
			continue
		}
		p, at, err := f.locate(path, dm.USP)
		if err == nil && !at.Table {
			results[i].Status = Status{NotATable, fmt.Sprintf("cannot list the instances of %s: it is not a table", p)}
			continue
		}
		var nodes []node
		if err == nil {
			nodes, err = dm.Resolve(f.root, row, p, dm.ForGet)
		}
		if err != nil {
			results[i].Status = status(err, ObjectDoesNotExist)
			continue
		}
		for _, n := range nodes {
			if size.size > maxAnswer {
				results[i] = GetResult{Requested: path, Status: size.full()}
				break
			}
			results[i].Objects = instances(results[i].Objects, &size, n, firstLevelOnly)
		}
	}
	return results
}

// instances appends the rows at n and below it.
func instances(list []Object, size *answer, n node, firstLevelOnly bool) []Object {
	for c := range n.Children() {
		if c.Parameter != nil {
			continue
		}
		if n.Table {
			list = size.add(list, Object{c.Path, uniqueKeys(c)})
		}
		if !n.Table || !firstLevelOnly {
			list = instances(list, size, c, firstLevelOnly)
		}
	}
	return list
}

// uniqueKeys returns the parameters of all unique keys of a row, with their values.
func uniqueKeys(n node) map[string]string {
	keys := map[string]string{}
	for _, set := range n.Object.UniqueKeys {
		for _, name := range set {
			for _, p := range n.Object.Parameters {
				if p.Name == name {
					keys[name] = p.Value(n.Row)
				}
			}
		}
	}
	return keys
}
