package datamodel_test

import (
	"iter"
	"slices"
	"strings"
	"testing"

	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

func text(string) string { return "" }

// forms is a schema with something that only one protocol has, something that came later, and something that became another.
func forms() *dm.Object[string] {
	none := &dm.Table[string]{
		Rows: func(string) iter.Seq2[uint32, string] { return func(func(uint32, string) bool) {} },
		Row:  func(string, uint32) (string, bool) { return "", false },
	}
	return &dm.Object[string]{
		Parameters: []*dm.Parameter[string]{
			{Name: "Name", Type: dm.String, Length: 32, Since: "2.1", Text: text},
			{Name: "Name", Type: dm.String, Length: 256, Since: "2.1", From: "2.16", Text: text},
			{Name: "Status", Type: dm.String, Enum: []string{"Up"}, Since: "2.1", Text: text},
			{Name: "Status", Type: dm.String, Enum: []string{"Up", "Restarting"}, Since: "2.1", From: "2.16", Protocol: dm.USPOnly, Text: text},
			{Name: "Reset", Type: dm.Boolean, Since: "2.1", Protocol: dm.CWMPOnly, Command: true, Attribute: "Reset"},
			{Name: "Role", Type: dm.String, Since: "2.9", Protocol: dm.USPOnly, Text: text},
		},
		Commands: []*dm.Command{
			{Name: "Reset()", Since: "2.12"},
			{Name: "Reset()", Async: true, Since: "2.12", From: "2.16", Inputs: []*dm.Argument{
				{Name: "Level", Type: dm.Int, Since: "2.12", Mandatory: true},
				{Name: "Later", Type: dm.Int, Since: "2.20", Default: "3"},
			}},
			{Name: "Restart()", Since: "2.16"},
		},
		Events: []*dm.Event{{Name: "Gone!", Since: "2.16", Arguments: []*dm.Argument{{Name: "Why.Code", Type: dm.String, Since: "2.16"}}}},
		Objects: []*dm.Object[string]{{Name: "Class", Since: "2.17", Table: none, UniqueKeys: [][]string{{"Key"}}, Parameters: []*dm.Parameter[string]{
			{Name: "Key", Type: dm.String, Since: "2.17", Text: text},
		}}},
	}
}

// told names what a view has, each with what tells its forms apart.
func told(v *dm.Object[string]) string {
	var all []string
	for _, p := range v.Parameters {
		all = append(all, p.Name+strings.Repeat("+", len(p.Enum))+strings.Repeat("#", p.Length/32))
	}
	for _, c := range v.Commands {
		s := c.Name
		if c.Async {
			s += "async"
		}
		for _, a := range c.Inputs {
			s += "," + a.Name
		}
		all = append(all, s)
	}
	for _, e := range v.Events {
		all = append(all, e.Name)
	}
	for _, o := range v.Objects {
		all = append(all, o.Name+".")
	}
	return strings.Join(all, " ")
}

func TestView(t *testing.T) {
	if err := forms().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		protocol      dm.Protocol
		version, want string
	}{
		{dm.CWMPOnly, "2.15", "Name# Status+ Reset"},
		{dm.CWMPOnly, "2.19", "Name######## Status+ Reset Class."},
		{dm.USPOnly, "2.15", "Name# Status+ Role Reset()"},
		{dm.USPOnly, "2.16", "Name######## Status++ Role Reset()async,Level Restart() Gone!"},
		{dm.USPOnly, "2.20", "Name######## Status++ Role Reset()async,Level,Later Restart() Gone! Class."},
	} {
		if got := told(forms().View(tc.protocol, tc.version)); got != tc.want {
			t.Errorf("%s in %s sees %s, want %s", tc.protocol, tc.version, got, tc.want)
		}
	}
}

func TestValidateForms(t *testing.T) {
	for name, breakIt := range map[string]func(*dm.Object[string]){
		"apart":          func(o *dm.Object[string]) { o.Parameters = append(o.Parameters, o.Parameters[1]) },
		"the same form":  func(o *dm.Object[string]) { o.Parameters = slices.Insert(o.Parameters, 1, o.Parameters[0]) },
		"key":            func(o *dm.Object[string]) { o.Objects[0].UniqueKeys = [][]string{{"Nobody"}} },
		"command's name": func(o *dm.Object[string]) { o.Commands[2].Name = "Restart" },
		"event's name":   func(o *dm.Object[string]) { o.Events[0].Name = "Gone()" },
		"no version":     func(o *dm.Object[string]) { o.Commands[2].Since = "" },
		"argument":       func(o *dm.Object[string]) { o.Events[0].Arguments[0].Name = "Why..Code" },
		"default":        func(o *dm.Object[string]) { o.Commands[1].Inputs[1].Default = "x" },
		"mandatory":      func(o *dm.Object[string]) { o.Commands[1].Inputs[0].Default = "1" },
		"twice": func(o *dm.Object[string]) {
			o.Commands[1].Inputs = append(o.Commands[1].Inputs, o.Commands[1].Inputs[0])
		},
	} {
		o := forms()
		breakIt(o)
		if o.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestItems(t *testing.T) {
	p := &dm.Parameter[string]{Name: "Filter", Type: dm.String, List: true, Length: 9, Enum: []string{"Install", "Update"}, Attribute: "Filter", Text: text}
	for list, want := range map[string][]string{
		"": nil, "  ": nil, "Install": {"Install"}, "Install,Update": {"Install", "Update"}, " Install , Update ": {"Install", "Update"},
	} {
		if got := dm.Items(list); !slices.Equal(got, want) {
			t.Errorf("items of %q: %q, want %q", list, got, want)
		}
		if _, err := p.Parse(list); err != nil {
			t.Errorf("%q: %v", list, err)
		}
	}
	for _, list := range []string{",", "Install,", "Install,Remove", "install", "Install;Update"} {
		if v, err := p.Parse(list); err == nil {
			t.Errorf("%q is taken for %v", list, v)
		}
	}
}
