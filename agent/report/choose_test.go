package report

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
)

// units draws rows of few units, versions, environments and URLs, each version of a unit once on an environment.
func units(t *rapid.T) (*model.Snapshot, []*model.DeploymentUnit) {
	var rows []*model.DeploymentUnit
	for _, uuid := range []string{"a", "b"} {
		for _, version := range []string{"1", "2"} {
			for _, env := range []string{"e", "f"} {
				if !rapid.Bool().Draw(t, "there") {
					continue
				}
				rows = append(rows, &model.DeploymentUnit{
					ID: uint32(len(rows) + 1), UUID: uuid, Version: version, Env: env, URL: rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "URL"),
					Status: rapid.SampledFrom([]model.DUStatus{model.DUInstalled, model.DUInstalled, model.DUInstalling}).Draw(t, "status"),
				})
			}
		}
	}
	return model.NewSnapshot(nil, rows, nil, nil), rows
}

func asked(t *rapid.T) model.UnitOperation {
	return model.UnitOperation{
		UUID: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "asked UUID"), URL: rapid.SampledFrom([]string{"", "x", "z"}).Draw(t, "asked URL"),
		Version: rapid.SampledFrom([]string{"", "1", "2", "9"}).Draw(t, "asked version"), ExecEnv: rapid.SampledFrom([]string{"", "e"}).Draw(t, "asked environment"),
	}
}

func ids(rows []*model.DeploymentUnit) string {
	var all []string
	for _, r := range rows {
		all = append(all, fmt.Sprint(r.ID))
	}
	return strings.Join(all, " ")
}

// law says the rules of TR-069 Table 72 once more, as questions to one row and to two.
func law(rows []*model.DeploymentUnit, op model.UnitOperation, fixed func(*model.DeploymentUnit) bool) string {
	if op.UUID+op.URL == "" && op.Version != "" {
		return string(fault.InvalidArguments)
	}
	meant := func(r *model.DeploymentUnit) bool {
		if op.Version != "" && op.Version != r.Version {
			return false
		}
		switch {
		case op.UUID != "": // a URL with it is the new one
			return r.UUID == op.UUID
		case op.URL != "":
			return r.URL == op.URL
		}
		return r.Status != model.DUInstalling && !fixed(r)
	}
	together := func(a, b *model.DeploymentUnit) bool {
		return a.UUID == b.UUID && (op.UUID+op.URL != "" || a.Version == b.Version)
	}
	var groups []string
	seen := map[uint32]bool{}
	for _, r := range rows {
		if !meant(r) || seen[r.ID] {
			continue
		}
		var group []*model.DeploymentUnit
		one := true
		for _, other := range rows {
			if meant(other) && together(r, other) {
				group, seen[other.ID] = append(group, other), true
				one = one && other.Version == r.Version
			}
		}
		if one {
			groups = append(groups, ids(group))
		} else {
			groups = append(groups, r.UUID+" "+string(fault.VersionNotSpecified))
		}
	}
	if groups == nil {
		return string(fault.UnknownDU)
	}
	return strings.Join(groups, ", ")
}

func TestChooseUpdateAgainstTheLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, rows := units(t)
		op := asked(t)
		fixed := func(du *model.DeploymentUnit) bool { return du.ID == 1 }
		chosen, err := ChooseUpdate(s, op, fixed)
		got := string(fault.ReasonOf(err))
		for i, c := range chosen {
			if i > 0 {
				got += ", "
			}
			if c.Refused != nil {
				got += c.UUID + " " + string(fault.ReasonOf(c.Refused))
			}
			got += ids(c.Rows)
		}
		if want := law(rows, op, fixed); got != want {
			t.Fatalf("%+v chooses %q, not %q", op, got, want)
		}
	})
}

func TestChooseUninstall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, rows := units(t)
		op := asked(t)
		op.UUID = rapid.SampledFrom([]string{"a", "c"}).Draw(t, "unit")
		var want []*model.DeploymentUnit
		for _, r := range rows {
			if r.UUID == op.UUID && slices.Contains([]string{"", r.Version}, op.Version) && slices.Contains([]string{"", r.Env}, op.ExecEnv) {
				want = append(want, r)
			}
		}
		got, err := ChooseUninstall(s, op)
		if ids(got) != ids(want) || (fault.ReasonOf(err) == fault.UnknownDU) != (len(want) == 0) {
			t.Fatalf("%+v chooses %s and %v, not %s", op, ids(got), err, ids(want))
		}
	})
}
