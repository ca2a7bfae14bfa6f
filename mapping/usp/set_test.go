package usp_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/usp"
)

// became writes the answer to an update as one line.
func became(r usp.SetResult) string {
	s := fmt.Sprint(r.Code)
	for _, o := range r.Objects {
		s += " " + strings.TrimPrefix(o.Path, sm)
		for _, k := range slices.Sorted(maps.Keys(o.Parameters)) {
			s += fmt.Sprintf(" %s=%s", k, o.Parameters[k])
		}
		for _, e := range o.Errors {
			s += fmt.Sprintf(" %s:%d", e.Path, e.Code)
		}
	}
	return s
}

func TestSet(t *testing.T) {
	// An update is its path and settings name=value, with a star for those that are not required.
	update := func(text string) usp.Update {
		words := strings.Split(text, " ")
		u := usp.Update{Path: sm + words[0]}
		for _, w := range words[1:] {
			name, value, _ := strings.Cut(w, "=")
			free := strings.HasPrefix(name, "*")
			u.Settings = append(u.Settings, usp.Setting{Parameter: strings.TrimPrefix(name, "*"), Value: value, Required: !free})
		}
		return u
	}
	for _, tc := range []struct {
		name    string
		partial string // one answer for each update, separated by |
		whole   string // the same, or the failure
		sets    int    // assignments that reach the agent with allow_partial=true
		all     int    // and with false
		updates []string
	}{
		{"one", "0 ExecEnv.1. Enable=true", "0 ExecEnv.1. Enable=true", 1, 1, []string{"ExecEnv.1. Enable=false"}},
		{"spelling", "0 ExecEnv.1. Enable=true", "0 ExecEnv.1. Enable=true", 1, 1, []string{"ExecEnv.1. Enable=1"}},
		{"search", "0 ExecutionUnit.3. AutoStart=false ExecutionUnit.4. AutoStart=false", "0 ExecutionUnit.3. AutoStart=false ExecutionUnit.4. AutoStart=false", 2, 2, []string{"ExecutionUnit.*. AutoStart=true"}},
		{"nothing found", "0", "0", 0, 0, []string{"ExecutionUnit.[RunLevel>9]. AutoStart=true"}},
		{"nothing set", "0 ExecEnv.1.", "0 ExecEnv.1.", 0, 0, []string{"ExecEnv.1."}},
		{"key", "0 ExecEnv.2. InitialRunLevel=0", "0 ExecEnv.2. InitialRunLevel=0", 1, 1, []string{`ExecEnv.[Alias=="cpe-lxc"]. InitialRunLevel=7`}},
		{"reference", "0 ExecEnv.1. InitialRunLevel=0", "0 ExecEnv.1. InitialRunLevel=0", 1, 1, []string{"DeploymentUnit.*.ExecutionEnvRef+. InitialRunLevel=7"}},

		{"unsupported", "7021 ExecEnv.1. Bogus:7010", "7004 ExecEnv.1.Bogus:7010", 0, 0, []string{"ExecEnv.1. Bogus=1"}},
		{"of CWMP", "7021 ExecutionUnit.3. RequestedState:7010", "7004 ExecutionUnit.3.RequestedState:7010", 0, 0, []string{"ExecutionUnit.3. RequestedState=Idle"}},
		{"name", "7021 ExecEnv.1. a b:7008", "", 0, 0, nil},
		{"type", "7021 ExecEnv.1. Enable:7011", "7004 ExecEnv.1.Enable:7011", 0, 0, []string{"ExecEnv.1. Enable=perhaps"}},
		{"number", "7021 ExecEnv.1. InitialRunLevel:7011", "7004 ExecEnv.1.InitialRunLevel:7011", 0, 0, []string{"ExecEnv.1. InitialRunLevel=high"}},
		{"unsigned", "7021 ExecEnv.1. InitialRunLevel:7011", "7004 ExecEnv.1.InitialRunLevel:7011", 0, 0, []string{"ExecEnv.1. InitialRunLevel=-1"}},
		{"range", "7021 ExecEnv.1. InitialRunLevel:7012", "7004 ExecEnv.1.InitialRunLevel:7012", 0, 0, []string{"ExecEnv.1. InitialRunLevel=65536"}},
		{"read-only", "7021 ExecEnv.1. Name:7013", "7004 ExecEnv.1.Name:7013", 0, 0, []string{"ExecEnv.1. Name=x"}},
		{"twice", "7021 ExecEnv.1. Enable:7014", "7004 ExecEnv.1.Enable:7014", 0, 0, []string{"ExecEnv.1. Enable=true Enable=false"}},
		{"no row", "7016", "7004 ExecEnv.9.:7016", 0, 0, []string{"ExecEnv.9. Enable=true"}},
		{"no object", "7026", "7004 Nothing.:7026", 0, 0, []string{"Nothing. Enable=true"}},
		{"no path", "7008", "7004 ..:7008", 0, 0, []string{".. Enable=true"}},
		{"a parameter", "7026", "7004 ExecEnv.1.Enable:7026", 0, 0, []string{"ExecEnv.1.Enable Enable=true"}},
		{"a table", "7020", "7004 ExecEnv.:7020", 0, 0, []string{"ExecEnv. Enable=true"}},

		{"not required", "0 ExecEnv.1. InitialRunLevel=0 Name:7013", "0 ExecEnv.1. InitialRunLevel=0 Name:7013", 1, 1, []string{"ExecEnv.1. InitialRunLevel=2 *Name=x"}},
		{"only not required", "0 ExecEnv.1. Name:7013", "0 ExecEnv.1. Name:7013", 0, 0, []string{"ExecEnv.1. *Name=x"}},
		{"required among others", "7021 ExecEnv.1. Name:7013", "7004 ExecEnv.1.Name:7013", 0, 0, []string{"ExecEnv.1. *InitialRunLevel=2 Name=x"}},
		{"one of two", "0 ExecEnv.1. Enable=true|7016", "7004 ExecEnv.9.:7016", 1, 0, []string{"ExecEnv.1. Enable=true", "ExecEnv.9. Enable=true"}},
		{"two of three", "7021 ExecEnv.1. Name:7013|0 ExecEnv.2. Enable=false|7020", "7004 ExecEnv.1.Name:7013 DeploymentUnit.:7020", 1, 0, []string{"ExecEnv.1. Name=x", "ExecEnv.2. Enable=true", "DeploymentUnit. Alias=x"}},
		{"the same in two", "0 ExecEnv.1. Enable=true|0 ExecEnv.1. Enable=true", "7004 ExecEnv.1.Enable:7014", 2, 0, []string{"ExecEnv.1. Enable=true", "ExecEnv.1. Enable=false"}},

		// The agent refuses run level 13 anywhere, and anything of unit 4.
		{"refused", "7021 ExecEnv.1. InitialRunLevel:7012", "7004 ExecEnv.1.InitialRunLevel:7012", 0, 0, []string{"ExecEnv.1. InitialRunLevel=13 *Enable=true"}},
		{"refused, not required", "0 ExecEnv.1. Enable=true InitialRunLevel:7012", "0 ExecEnv.1. Enable=true InitialRunLevel:7012", 1, 1, []string{"ExecEnv.1. *InitialRunLevel=13 Enable=true"}},
		{"refused for one row of a search", "7021 ExecutionUnit.4. AutoStart:7016", "7004 ExecutionUnit.4.AutoStart:7016", 0, 0, []string{"ExecutionUnit.*. AutoStart=true"}},
		{"refused in one of two", "7021 ExecutionUnit.4. AutoStart:7016|0 ExecutionUnit.3. AutoStart=false", "7004 ExecutionUnit.4.AutoStart:7016", 1, 0, []string{"ExecutionUnit.4. AutoStart=true", "ExecutionUnit.3. AutoStart=true"}},
	} {
		var updates []usp.Update
		for _, u := range tc.updates {
			updates = append(updates, update(u))
		}
		if tc.name == "name" {
			updates = []usp.Update{{Path: sm + "ExecEnv.1.", Settings: []usp.Setting{{Parameter: "a b", Required: true}}}}
			tc.whole = "7004 ExecEnv.1.a b:7008"
		}
		for _, partial := range []bool{true, false} {
			a := newAgent()
			a.refuse = func(s model.Assignment) error {
				switch {
				case s.Value == 13:
					return fault.Errorf(fault.InvalidArguments, "cannot set 13")
				case s.Row.Instance == 4 && strings.HasPrefix(tc.name, "refused"):
					return fault.Errorf(fault.UnknownDU, "cannot find unit 4")
				}
				return nil
			}
			results, err := usp.New(a, "").Set(t.Context(), updates, partial, model.Origin{Name: "me"})
			var got []string
			for i, r := range results {
				got = append(got, became(r))
				if r.Requested != updates[i].Path || (r.Code != 0) != (r.Text != "") {
					t.Errorf("%s: the answer is %+v", tc.name, r)
				}
			}
			text := strings.Join(got, "|")
			if err != nil {
				text = failed(err)
			}
			want, n := tc.whole, tc.all
			if partial {
				want, n = tc.partial, tc.sets
			}
			set := 0
			for _, x := range a.asked {
				set += len(x.([]model.Assignment))
			}
			if len(a.asked) > 1 {
				t.Errorf("%s, allow_partial %t: the agent is asked for %d changes", tc.name, partial, len(a.asked))
			}
			if text != want || set != n || set > 0 && a.origin != (model.Origin{Name: "me"}) {
				t.Errorf("%s, allow_partial %t: %s with %d assignments, want %s with %d", tc.name, partial, text, set, want, n)
			}
		}
	}
}

func TestSetThatTheAgentRefuses(t *testing.T) {
	enable := []usp.Update{{Path: sm + "ExecEnv.1.", Settings: []usp.Setting{{Parameter: "Enable", Value: "true", Required: true}}}}
	for reason, code := range map[fault.Reason]uint32{
		fault.Internal: 7003, fault.RequestDenied: 7002, fault.TooManyOperations: 7005, fault.DisabledExecEnv: 7012, fault.NotSupported: 7009,
	} {
		a := newAgent()
		a.err = fault.Errorf(reason, "cannot")
		if _, err := usp.New(a, "").Set(t.Context(), enable, false, model.Origin{}); failed(err) != fmt.Sprint(code) {
			t.Errorf("%s: %s, want %d", reason, failed(err), code)
		}
		results, err := usp.New(a, "").Set(t.Context(), enable, true, model.Origin{})
		if err != nil || len(results) != 1 || results[0].Code != code {
			t.Errorf("%s: %+v, %v, want code %d", reason, results, err, code)
		}
	}
	a := newAgent()
	a.err = &model.SetError{Faults: map[int]error{7: errors.New("of nobody's")}}
	if _, err := usp.New(a, "").Set(t.Context(), enable, false, model.Origin{}); failed(err) != "7003" {
		t.Errorf("a refusal of something else: %v", err)
	}
}

func TestAddAndDelete(t *testing.T) {
	face := usp.New(newAgentWithData(), "")
	for path, code := range map[string]uint32{
		sm + "DeploymentUnit.": 7019, sm + "ExecutionUnit.3.EnvVariable.": 7019, sm + "ExecEnv.1.ApplicationData.": 7019, sm + "ExecEnv.1.": 7018, sm: 7018, sm + "X.": 7026, "[": 7008,
	} {
		r, err := face.Add([]usp.Update{{Path: path}}, true)
		if err != nil || len(r) != 1 || r[0].Requested != path || r[0].Code != code || r[0].Text == "" {
			t.Errorf("Add(%s) = %+v, %v, want %d", path, r, err, code)
		}
		if r, err := face.Add([]usp.Update{{Path: path}}, false); r != nil || failed(err) != fmt.Sprintf("%d %s:%d", code, strings.TrimPrefix(path, sm), code) {
			t.Errorf("Add(%s), all or nothing = %+v, %s, want %d", path, r, failed(err), code)
		}
	}
	for _, tc := range []struct {
		path   string
		code   uint32
		rows   string // that could not be deleted
		wholly string // the failure when all or nothing
	}{
		{"DeploymentUnit.5.", 0, "DeploymentUnit.5.", "7024 DeploymentUnit.5.:7024"},
		{"DeploymentUnit.*.", 0, "DeploymentUnit.5. DeploymentUnit.6.", "7024 DeploymentUnit.5.:7024 DeploymentUnit.6.:7024"},
		{"ExecEnv.*.ApplicationData.[Name==\"db\"].", 0, "ExecEnv.1.ApplicationData.2. ExecEnv.1.ApplicationData.3.",
			"7024 ExecEnv.1.ApplicationData.2.:7024 ExecEnv.1.ApplicationData.3.:7024"},
		{"DeploymentUnit.9.", 0, "", "7016 DeploymentUnit.9.:7016"},
		{`DeploymentUnit.[Status=="Updating"].`, 0, "", "<nil>"},
		{"DeploymentUnit.", 7024, "", "7024 DeploymentUnit.:7024"},
		{"DeploymentUnit.5.Name", 7024, "", "7024 DeploymentUnit.5.Name:7024"},
		{"ExecutionUnit.3.Extensions.", 7024, "", "7024 ExecutionUnit.3.Extensions.:7024"},
		{"X.5.", 7026, "", "7026 X.5.:7026"},
		{"..", 7008, "", "7008 ..:7008"},
	} {
		r, err := face.Delete([]string{sm + tc.path}, true)
		if err != nil || len(r) != 1 || r[0].Requested != sm+tc.path || r[0].Code != tc.code {
			t.Errorf("Delete(%s) = %+v, %v, want %d", tc.path, r, err, tc.code)
			continue
		}
		var rows []string
		for _, u := range r[0].Unaffected {
			rows = append(rows, strings.TrimPrefix(u.Path, sm))
			if u.Code != 7024 {
				t.Errorf("Delete(%s) = %+v", tc.path, r)
			}
		}
		if strings.Join(rows, " ") != tc.rows {
			t.Errorf("Delete(%s) cannot delete %q, want %q", tc.path, rows, tc.rows)
		}
		if _, err := face.Delete([]string{sm + tc.path}, false); failed(err) != tc.wholly {
			t.Errorf("Delete(%s), all or nothing: %s, want %s", tc.path, failed(err), tc.wholly)
		}
	}
}
