package dbus

import (
	"context"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/xml"
)

// The limits of texts, for the tests from outside.
const (
	MaxText    = maxText
	MaxMessage = maxMessage
)

// Caller makes calls as they come in, without a bus between.
type Caller struct{ session *session }

// NewCaller returns a caller of a server of the agent, whose present state the faces know.
func NewCaller(a Agent) *Caller {
	c := &Caller{&session{
		Server: New(a, Options{Version: "1.2.3", DataModel: "Device:2.19", Log: slog.New(slog.DiscardHandler)}), leaving: context.Background(),
		ctx: context.Background(), origins: newOrigins(),
	}}
	c.Learn()
	return c
}

// Learn makes the faces hear of the agent's present state, as its feed would.
func (c *Caller) Learn() {
	commit := model.Commit{Snapshot: c.session.agent.Snapshot()}
	c.session.acs.commit(commit)
	c.session.board.commit(commit)
}

// Call calls a method of the root with the arguments as the bus library has read them, and returns the message that answers.
func (c *Caller) Call(iface, method string, body ...any) *dbus.Message {
	x := &call{
		session: c.session, method: c.session.interfaces[iface].methods[method], sender: ":1.1", body: body,
		object: object{session: c.session, path: xml.Root, ifaces: rootInterfaces}, msg: &dbus.Message{Type: dbus.TypeMethodCall},
	}
	return x.answer(x.serve())
}

// Fits says whether every text in a value may go over the bus.
func Fits(v any) bool { return fitting(reflect.ValueOf(v)) }

func fitting(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		s := v.String()
		return utf8.ValidString(s) && !strings.Contains(s, "\x00") && text(s) == s
	case reflect.Interface:
		return v.IsNil() || fitting(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			if !fitting(v.Index(i)) {
				return false
			}
		}
	case reflect.Map:
		for k, x := range v.Seq2() {
			if !fitting(k) || !fitting(x) {
				return false
			}
		}
	case reflect.Struct:
		if variant, ok := v.Interface().(dbus.Variant); ok {
			return fitting(reflect.ValueOf(variant.Value()))
		}
		for i := range v.NumField() {
			if !fitting(v.Field(i)) {
				return false
			}
		}
	}
	return true
}

// Numbers calls do for each number of type u in the body of a message as it comes over the bus.
func Numbers(v any, do func(uint32)) { numbersIn(reflect.ValueOf(v), do) }

func numbersIn(v reflect.Value, do func(uint32)) {
	switch v.Kind() {
	case reflect.Uint32:
		do(uint32(v.Uint()))
	case reflect.Interface:
		numbersIn(v.Elem(), do)
	case reflect.Slice:
		for i := range v.Len() {
			numbersIn(v.Index(i), do)
		}
	case reflect.Map:
		for _, x := range v.Seq2() {
			numbersIn(x, do)
		}
	case reflect.Struct:
		if variant, ok := v.Interface().(dbus.Variant); ok {
			numbersIn(reflect.ValueOf(variant.Value()), do)
		}
	}
}

func fits(t *testing.T, method string, answer any) {
	t.Helper()
	if !Fits(answer) {
		t.Errorf("%s answers %.300q", method, answer)
	}
}
