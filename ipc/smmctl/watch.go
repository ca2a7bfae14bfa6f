package smmctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/ipc/client"
)

func newWatch(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "watch",
		Short: "Follow what happens",
		Long: `Follow what happens, one line for each event, until an interrupt (Ctrl-C). It begins with what is there, and it goes on when the agent
is restarted.

The events are added, changed, removed, completed (a job has ended), synced (all that was there has been told), agent-gone and
agent-back.`,
		Example: "  smmctl watch\n  smmctl watch --json | jq 'select(.event == \"completed\")'",
		Args:    cobra.NoArgs,
		RunE: a.action(func(ctx context.Context, c *client.Client, _ []string) error {
			names := make(map[dbus.ObjectPath]string)
			err := c.Watch(ctx, func(e client.Event) error {
				if a.json {
					return a.printEvent(e)
				}
				return a.printf("%s\n", clean(eventLine(names, e)))
			})
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}),
	}
}

// event is the JSON of an event.
type event struct {
	Event   client.EventKind `json:"event"`
	Time    time.Time        `json:"time"`
	Initial bool             `json:"initial"`
	Kind    client.Kind      `json:"kind,omitempty"`
	Changed []string         `json:"changed,omitempty"` // names of D-Bus properties
	Value   client.Object    `json:"value,omitempty"`
}

func (a *app) printEvent(e client.Event) error {
	out := event{Event: e.Kind, Time: e.Time, Initial: e.Initial, Changed: e.Changed, Value: e.Object}
	if e.Object != nil {
		out.Kind = e.Object.Reference().Kind()
	}
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(out)
}

// eventLine returns an event for a person. names holds what the environments are called.
func eventLine(names map[dbus.ObjectPath]string, e client.Event) string {
	line := e.Time.Local().Format("15:04:05") + " "
	switch e.Kind {
	case client.Synced:
		return line + "-- all of the above is there; what happens from now on follows --"
	case client.AgentGone:
		return line + "-- the agent is gone --"
	case client.AgentBack:
		return line + "-- the agent is back --"
	}
	line += fmt.Sprintf("%-9s ", e.Kind)
	env := func(path dbus.ObjectPath) string {
		if name := names[path]; name != "" {
			return " on " + name
		}
		return ""
	}
	switch o := e.Object.(type) {
	case *client.ExecEnv:
		names[o.Object] = execEnvName(o)
		line += fmt.Sprintf("%s %s: %s", o, execEnvName(o), o.Status)
		if o.CurrentRunLevel >= 0 {
			line += fmt.Sprintf(", run level %d", o.CurrentRunLevel)
		}
		if o.StatusDetail != "" && o.Status != "Up" {
			line += ", " + o.StatusDetail
		}
	case *client.DeploymentUnit:
		line += fmt.Sprintf("%s %s %s%s: %s", o, o.Name, o.Version, env(o.ExecEnv), o.Status)
		if o.Missing {
			line += ", missing in its environment"
		}
		if !o.Resolved {
			line += ", not resolved"
		}
	case *client.ExecutionUnit:
		line += fmt.Sprintf("%s %s%s: %s", o, o.Name, env(o.ExecEnv), o.Status)
		if f := faultOf(o); f != "" {
			line += ", " + f
		}
	case *client.Job:
		line += fmt.Sprintf("%s %s: %s", o, o.Operation, o.State)
		if !o.Final() {
			line += fmt.Sprintf(" %d%%", int(o.Progress*100))
		} else if m := outcome(o); m != "" {
			line += ", " + m
		}
	}
	if other := unshown(e); len(other) > 0 {
		line += " (" + strings.Join(other, ", ") + ")"
	}
	return line
}

// shown are the properties whose values stand in a line.
var shown = map[string]bool{
	"Status": true, "CurrentRunLevel": true, "StatusDetail": true, "Missing": true, "Resolved": true, "ExecutionFaultCode": true,
	"ExecutionFaultMessage": true, "State": true, "Progress": true, "Message": true, "FaultName": true, "FaultCWMP": true,
	"FaultUSP": true, "FaultUSPComplete": true, "FaultString": true, "Version": true, "Name": true, "BytesDone": true, "BytesTotal": true,
}

// unshown returns the names of those changed properties whose values do not stand in the line.
func unshown(e client.Event) []string {
	var names []string
	for _, name := range e.Changed {
		if !shown[name] {
			names = append(names, name)
		}
	}
	return names
}
