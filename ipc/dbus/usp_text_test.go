package dbus

import (
	"testing"

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
	fits(t, "Get", answer)
	c = uspCall(t, a, "GetInstances", []string{"Device.SoftwareModules.ExecEnv."}, true)
	if answer, err = c.method.serve(c); err != nil {
		t.Fatal(err)
	}
	fits(t, "GetInstances", answer)
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
