package dbus

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/xml"
	"github.com/smmd-project/smmd/mapping/usp"
)

// uspCall returns a call of a method of USP1 as it comes in.
func uspCall(t *testing.T, a *noticeAgent, method string, body ...any) *call {
	face := usp.New(a, "")
	s := &session{Server: &Server{agent: a, usp: face, board: newBoard(face, a, true)}, origins: newOrigins(), ctx: t.Context()}
	return &call{session: s, method: bind()[xml.USP].methods[method], sender: ":1.1", body: body}
}

// FuzzUSP calls the methods that read, and those that judge what they are given, with any path and text: the answer fits the wire and has the
// types of the contract, and what is refused is refused in a way that does.
func FuzzUSP(f *testing.F) {
	f.Add("Device.SoftwareModules.", "Name", "x", uint32(0))
	f.Add(`Device.SoftwareModules.ExecEnv.[Name=="osgi"].`, "Enable", "1", uint32(2))
	f.Add("Device.SoftwareModules.ExecEnv.{i}.Restart()", "Reason", "\x00", uint32(1))
	f.Add(strings.Repeat("Device.", maxText), "", "", uint32(7))
	f.Add("Device.SoftwareModules.ExecEnv.1.", "Alias\xff", strings.Repeat("v", maxText+1), uint32(0))
	f.Add("\xff\x00[", "{i}", "\uFFFE", uint32(1<<31))
	f.Fuzz(func(t *testing.T, path, name, value string, depth uint32) {
		a := newNoticeAgent()
		objects := [][]any{{path, [][]any{{name, value, depth%2 == 0}}}}
		for method, body := range map[string][]any{
			"Get":            {[]string{path, path}, depth},
			"GetInstances":   {[]string{path}, depth%2 == 0},
			"GetSupportedDM": {[]string{path}, map[string]dbus.Variant{"return_params": dbus.MakeVariant(true), "return_commands": dbus.MakeVariant(depth%2 == 0)}},
			"Add":            {objects, depth%3 == 0},
			"Set":            {objects, depth%3 == 0},
			"Delete":         {[]string{path}, depth%3 == 0},
			"Requests":       nil,
			"Notifications":  {uint64(depth)},
		} {
			c := uspCall(t, a, method, body...)
			answer, err := c.method.serve(c)
			if err != nil {
				e, ok := err.(*dbus.Error)
				if !ok {
					t.Fatalf("%s: the error is %T", method, err)
				}
				if m := e.Error(); !utf8.ValidString(m) || strings.Contains(m, "\x00") || len(m) > maxMessage+3 {
					t.Errorf("%s: the message is %q", method, m)
				}
				continue
			}
			if got, want := dbus.SignatureOf(answer...).String(), xml.Lookup(xml.USP).Method(method).Out(); got != want {
				t.Fatalf("%s answers (%s), not (%s)", method, got, want)
			}
			check(t, method, answer[0])
		}
	})
}

// check looks at the texts of an answer.
func check(t *testing.T, method string, answer any) {
	fits := func(texts ...string) {
		for _, s := range texts {
			if !utf8.ValidString(s) || strings.Contains(s, "\x00") {
				t.Errorf("%s answers %.80q", method, s)
			}
		}
	}
	switch list := answer.(type) {
	case []uspGet:
		for _, r := range list {
			fits(r.Requested, r.Text)
			for _, o := range r.Objects {
				fits(o.Path)
				for k, v := range o.Parameters {
					fits(k, v)
				}
			}
			if r.Code >= 8000 || (r.Code == 0) != (r.Text == "") {
				t.Errorf("%s answers %d %q", method, r.Code, r.Text)
			}
		}
	case []uspSupported:
		for _, r := range list {
			fits(r.Requested, r.Text)
		}
	case []uspSet:
		for _, r := range list {
			fits(r.Requested, r.Text)
			for _, o := range r.Objects {
				fits(o.Path)
				for k, v := range o.Parameters {
					fits(k, v)
				}
				for _, e := range o.Errors {
					fits(e.Name, e.Message)
				}
			}
		}
	case []uspAdd:
		for _, r := range list {
			fits(r.Requested, r.Text)
			if r.Code == 0 {
				t.Errorf("%s has added %q", method, r.Path)
			}
		}
	case []uspDelete:
		for _, r := range list {
			fits(r.Requested, r.Text)
			if len(r.Affected) > 0 {
				t.Errorf("%s has deleted %q", method, r.Affected)
			}
		}
	}
}

// What an environment tells may hold anything: it is made fit on its way out.
func TestUSPTextsFitTheWire(t *testing.T) {
	a := newNoticeAgent()
	a.commit(func(d *model.Draft) {
		d.PutExecEnv(&model.ExecEnv{ID: "osgi", Instance: 1, Synced: true, Name: "a\x00b", Vendor: "\xff", Alias: "\uFFFE"})
	})
	c := uspCall(t, a, "Get", []string{"Device.SoftwareModules.ExecEnv."}, uint32(0))
	answer, err := c.method.serve(c)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "Get", answer[0])
	c = uspCall(t, a, "GetInstances", []string{"Device.SoftwareModules.ExecEnv."}, true)
	if answer, err = c.method.serve(c); err != nil {
		t.Fatal(err)
	}
	check(t, "GetInstances", answer[0])
	c.board.commit(model.Commit{Snapshot: newNoticeAgent().snap})
	c.board.commit(model.Commit{Snapshot: a.snap})
	seen := 0
	posts, err := c.board.after(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range posts {
		for _, v := range uspFields(p.Notification) {
			if s, ok := v.Value().(string); ok {
				seen++
				if text(s) != s {
					t.Errorf("a notification has %q", s)
				}
			}
		}
	}
	if seen == 0 {
		t.Error("there is no notification")
	}
}
