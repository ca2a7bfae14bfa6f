package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/smmd-project/smmd/ipc/usp/usppb"
	"github.com/smmd-project/smmd/ipc/usp/usptest"
)

// brokers begins the reason of what a USP Service cannot do.
const brokers = "duty of the Broker, which knows the controllers and their permissions: "

// genericChecks are the cases of TP-469 that can be tried with software modules. Their numbers are those of the plan.
var genericChecks = []check{
	{id: "TP-469 1.52", what: "ValueChange: a subscription is made, and told the new value", when: bridged, f: toldValue},
	{id: "TP-469 1.57", what: "ObjectCreation: the path and the unique keys of the row", when: bridged, f: toldCreation},
	{id: "TP-469 1.58", what: "ObjectDeletion: the path of the row", when: bridged, f: toldDeletion},
	{id: "TP-469 1.64", what: "an asynchronous command with send_resp: one result with its Request, then OperationComplete with its key", when: bridged, f: asynchronous},
	{id: "TP-469 1.65", what: "an asynchronous command without send_resp: no OperateResp, OperationComplete with its key", when: bridged, f: withoutResponse},
	{id: "TP-469 1.79", what: "a command takes its arguments", when: bridged, f: withArguments},
	{id: "TP-469 1.91", what: "arguments that are unknown are ignored", when: bridged, f: unknownArguments},
	{id: "TP-469 1.92", what: "arguments that are left out have the defaults of the data model", when: bridged, f: defaultArguments},
	{id: "TP-469 1.97", what: "GetSupportedDM of Device., commands only: arguments and kinds", when: bridged, f: supportedCommands},
	{id: "TP-469 1.98", what: "GetSupportedDM of Device., events only: arguments", when: bridged, f: supportedEvents},
	{id: "TP-469 1.100", what: "a mandatory argument is missing: 7027, no OperationComplete", when: bridged, f: missingArguments},
	{id: "TP-469 1.105", what: "GetSupportedDM of one command", when: bridged, f: func(b *bench) {
		equal(b.t, "the data model of one command", names(b.supports(modules+"InstallDU()", true, true)), modules+": InstallDU()")
		equal(b.t, "the data model of one command of a table", names(b.supports(modules+"ExecEnv.{i}.Reset()", true, true)), modules+"ExecEnv.{i}.: Reset()")
	}},
	{id: "TP-469 1.106", what: "GetSupportedDM of one event", when: bridged, f: func(b *bench) {
		equal(b.t, "the data model of one event", names(b.supports(modules+"DUStateChange!", true, true)), modules+": DUStateChange!")
		equal(b.t, "the data model of one event of a table", names(b.supports(modules+"ExecEnv.{i}.Restarted!", true, true)), modules+"ExecEnv.{i}.: Restarted!")
	}},
	{id: "TP-469 2.17", what: "a command that a controller may execute", when: bridged, not: always(brokers + "the cases above are what it lets through")},
	{id: "TP-469 2.18", what: "a command that a controller may not execute", when: bridged, not: always(brokers + "it refuses the command and asks nobody")},
	{id: "TP-469 9.8", what: "Request.{i}.Cancel(): the Request is gone, the command has ended with 7023", when: bridged, f: cancelRequest},
}

// ends makes a subscription for the ends of InstallDU().
func (b *bench) ends() (subscription string) {
	b.t.Helper()
	return b.subscribes("OperationComplete", modules+"InstallDU()")
}

// arguments are those of an InstallDU() in the kind's first environment; names and values by turns are more of them.
func (b *bench) arguments(url string, more ...string) map[string]string {
	b.t.Helper()
	input := map[string]string{"URL": url, "ExecutionEnvRef": strings.TrimSuffix(b.env(b.k.env), ".")}
	for i := 0; i < len(more); i += 2 {
		input[more[i]] = more[i+1]
	}
	return input
}

// installed waits until the InstallDU() with a key has succeeded, and returns its unit.
func (b *bench) installed(subscription, key string) (du string, outputs map[string]string) {
	b.t.Helper()
	done := b.completes(subscription, key)
	equal(b.t, "the command that has ended", done.GetObjPath()+done.GetCommandName(), modules+"InstallDU()")
	if f := done.GetCmdFailure(); f != nil {
		b.t.Fatalf("%s has failed: %v", key, f)
	}
	outputs = done.GetReqOutputArgs().GetOutputArgs()
	r := b.asks(usptest.GetInstances(b.id(), modules+"DeploymentUnit.")).GetGetInstancesResp().GetReqPathResults()
	if len(r) != 1 {
		b.t.Fatalf("the units are %v", r)
	}
	for _, row := range r[0].GetCurrInsts() {
		if row.GetUniqueKeys()["UUID"] == outputs["UUID"] {
			return row.GetInstantiatedObjPath(), outputs
		}
	}
	b.t.Fatalf("no unit has the UUID of %v: %v", outputs, r)
	return "", nil
}

func toldValue(b *bench) {
	u := b.unit()
	changes := b.subscribes("ValueChange", u.eu+"Status")
	for _, state := range []string{"Idle", "Active"} {
		if r := b.commands(u.eu+"SetRequestedState()", "test52", map[string]string{"RequestedState": state}); len(r) != 1 || r[0].GetReqOutputArgs() == nil {
			b.t.Fatalf("the request is answered with %v", r)
		}
		b.tells(changes, "the news that it is "+state, func(n *usppb.Notify) bool {
			return n.GetValueChange().GetParamPath() == u.eu+"Status" && n.GetValueChange().GetParamValue() == state
		})
	}
}

func toldCreation(b *bench) {
	ends, creations := b.ends(), b.subscribes("ObjectCreation", modules+"DeploymentUnit.")
	b.requests(modules+"InstallDU()", "test57", b.arguments(b.serve(program{name: "created", version: "1"})))
	du, outputs := b.installed(ends, "test57")
	keys := b.tells(creations, "the creation of "+du, func(n *usppb.Notify) bool { return n.GetObjCreation().GetObjPath() == du }).GetObjCreation().GetUniqueKeys()
	equal(b.t, "the unique keys", fmt.Sprint(keys), fmt.Sprint(map[string]string{
		"Alias": b.value(du + "Alias"), "UUID": outputs["UUID"], "Version": "1", "ExecutionEnvRef": strings.TrimSuffix(b.env(b.k.env), "."),
	}))
	b.done(uninstall(outputs["UUID"]))
}

func toldDeletion(b *bench) {
	u := b.install(program{name: "deleted", version: "1"}, b.k.env)
	deletions := b.subscribes("ObjectDeletion", modules+"DeploymentUnit.")
	ends := b.subscribes("OperationComplete", modules+"DeploymentUnit.*.Uninstall()")
	b.requests(u.du+"Uninstall()", "test58", nil)
	if done := b.completes(ends, "test58"); done.GetCmdFailure() != nil {
		b.t.Fatalf("the end is told as %v", done)
	}
	b.tells(deletions, "the deletion of "+u.du, func(n *usppb.Notify) bool { return n.GetObjDeletion().GetObjPath() == u.du })
	if _, code := b.reads(u.du + "UUID"); code == 0 {
		b.t.Errorf("%s is still there", u.du)
	}
}

func asynchronous(b *bench) {
	ends := b.ends()
	url, release := b.held(program{name: "asynchronous", version: "1"})
	row := b.requests(modules+"InstallDU()", "test64", b.arguments(url))
	for name, want := range map[string]string{"Command": modules + "InstallDU()", "CommandKey": "test64", "Originator": usptest.ID} {
		got, _ := b.reads(row + name)
		equal(b.t, name+" of the Request", got, want)
	}
	if early := b.heard(ends); slices.ContainsFunc(early, func(n *usppb.Notify) bool { return n.GetOperComplete().GetCommandKey() == "test64" }) {
		b.t.Errorf("before its end there is %v", early)
	}
	release()
	_, outputs := b.installed(ends, "test64")
	b.done(uninstall(outputs["UUID"]))
}

func withoutResponse(b *bench) {
	ends := b.subscribes("OperationComplete", modules+"InstallDU(),"+modules+"DeploymentUnit.*.Uninstall()")
	m := usptest.Operate(b.id(), modules+"InstallDU()", "test65", b.arguments(b.serve(program{name: "silent", version: "1"})))
	m.GetBody().GetRequest().GetOperate().SendResp = false
	b.s.bridge.Send(m)
	du, _ := b.installed(ends, "test65")
	// The Service answers in order: what is answered after an Operate would follow its answer.
	b.requests(du+"Uninstall()", "after test65", nil)
	b.s.bridge.Look(func() {
		if answer := b.s.bridge.Answers[m.GetHeader().GetMsgId()]; answer != nil {
			b.t.Errorf("it is answered with %v", answer)
		}
	})
	b.completes(ends, "after test65")
}

func withArguments(b *bench) {
	ends := b.ends()
	const given = "5f0cf5a1-9d0c-5b6b-8a3a-79797979795f"
	b.requests(modules+"InstallDU()", "test79", b.arguments(b.serve(program{name: "given", version: "1"}), "UUID", given))
	_, outputs := b.installed(ends, "test79")
	equal(b.t, "the outputs", fmt.Sprint(outputs), fmt.Sprint(map[string]string{"UUID": given, "Version": "1", "ExecEnvRef": strings.TrimSuffix(b.env(b.k.env), ".")}))
	b.done(uninstall(given))
}

func unknownArguments(b *bench) {
	ends := b.ends()
	b.requests(modules+"InstallDU()", "test91", b.arguments(b.serve(program{name: "unknowing", version: "1"}), "InvalidArgument", "x", "Invalid.1.Argument", "y"))
	_, outputs := b.installed(ends, "test91")
	b.done(uninstall(outputs["UUID"]))
}

func defaultArguments(b *bench) {
	ends := b.ends()
	b.requests(modules+"InstallDU()", "test92", b.arguments(b.serve(program{name: "default", version: "1"}),
		"AutoRestart.Enable", "false", "AutoRestart.RetryMinimumWaitInterval", "1", "AutoRestart.RetryMaximumWaitInterval", "2", "AutoRestart.RetryIntervalMultiplier", "3"))
	du, outputs := b.installed(ends, "test92")
	equal(b.t, "the UUID that was not given", outputs["UUID"], b.uuid("default"))
	eu, _ := b.reads(du + "ExecutionUnitList")
	for name, want := range map[string]string{"RetryIntervalMultiplier": "3", "MaximumRetryCount": "10", "ResetPeriod": "0"} {
		got, code := b.reads(eu + ".AutoRestart." + name)
		equal(b.t, name, fmt.Sprint(got, code), want+"0")
	}
	b.done(uninstall(outputs["UUID"]))
}

// kindsOfCommands are the commands with their kinds and some of their arguments, > before an output.
var kindsOfCommands = map[string]string{
	"SoftwareModules.InstallDU()":                              "CMD_ASYNC URL UUID ExecutionEnvRef AutoRestart.Enable >UUID >Version >ExecEnvRef",
	"SoftwareModules.DeploymentUnit.{i}.Update()":              "CMD_ASYNC URL Username Password ApplicationData.{i}.Name RetainData",
	"SoftwareModules.DeploymentUnit.{i}.Uninstall()":           "CMD_ASYNC RetainData",
	"SoftwareModules.ExecEnv.{i}.SetRunLevel()":                "CMD_SYNC RequestedRunLevel",
	"SoftwareModules.ExecEnv.{i}.ModifyConstraints()":          "CMD_ASYNC AllocatedMemory",
	"SoftwareModules.ExecEnv.{i}.Restart()":                    "CMD_ASYNC Reason",
	"SoftwareModules.ExecEnv.{i}.Reset()":                      "CMD_ASYNC",
	"SoftwareModules.ExecEnv.{i}.ApplicationData.{i}.Remove()": "CMD_SYNC",
	"SoftwareModules.ExecutionUnit.{i}.SetRequestedState()":    "CMD_SYNC RequestedState",
	"SoftwareModules.ExecutionUnit.{i}.Restart()":              "CMD_SYNC",
	"LocalAgent.Request.{i}.Cancel()":                          "CMD_SYNC",
}

func supportedCommands(b *bench) {
	got := map[string]string{}
	for _, o := range b.supports("Device.", true, false) {
		if len(o.GetSupportedEvents()) > 0 || len(o.GetSupportedParams()) > 0 {
			b.t.Errorf("%s has more than commands: %v", o.GetSupportedObjPath(), o)
		}
		for _, c := range o.GetSupportedCommands() {
			words := []string{c.GetCommandType().String()}
			words = append(words, c.GetInputArgNames()...)
			for _, name := range c.GetOutputArgNames() {
				words = append(words, ">"+name)
			}
			b.relative(c.GetCommandName(), append(c.GetInputArgNames(), c.GetOutputArgNames()...))
			got[strings.TrimPrefix(o.GetSupportedObjPath(), "Device.")+c.GetCommandName()] = strings.Join(words, " ")
		}
	}
	for command, want := range kindsOfCommands {
		have := strings.Fields(got[command])
		for i, word := range strings.Fields(want) {
			if at := slices.Index(have, word); at < 0 || i == 0 && at != 0 {
				b.t.Errorf("%s is told as %q, without %s", command, got[command], word)
			}
		}
	}
	for command, told := range got {
		if kindsOfCommands[command] == "" {
			b.t.Errorf("%s is told as %q, and nobody knows it here", command, told)
		}
	}
}

func supportedEvents(b *bench) {
	got := map[string][]string{}
	for _, o := range b.supports("Device.", false, true) {
		if len(o.GetSupportedCommands()) > 0 || len(o.GetSupportedParams()) > 0 {
			b.t.Errorf("%s has more than events: %v", o.GetSupportedObjPath(), o)
		}
		for _, e := range o.GetSupportedEvents() {
			b.relative(e.GetEventName(), e.GetArgNames())
			got[strings.TrimPrefix(o.GetSupportedObjPath(), "Device.SoftwareModules.")+e.GetEventName()] = e.GetArgNames()
		}
	}
	for event, arguments := range map[string]string{
		"DUStateChange!":         "UUID DeploymentUnitRef Version CurrentState Resolved ExecutionUnitRefList StartTime CompleteTime OperationPerformed Fault.FaultCode Fault.FaultString",
		"ExecEnv.{i}.Restarted!": "RestartReason",
	} {
		for name := range strings.FieldsSeq(arguments) {
			if !slices.Contains(got[event], name) {
				b.t.Errorf("%s has the arguments %q, without %s", event, got[event], name)
			}
		}
	}
}

// relative says that the names of a command or an event and of its arguments are relative to their objects.
func (b *bench) relative(name string, arguments []string) {
	b.t.Helper()
	if strings.Contains(name, ".") || slices.ContainsFunc(arguments, func(a string) bool {
		return a == "" || strings.HasPrefix(a, "Device.") || strings.HasPrefix(a, ".") || strings.HasSuffix(a, ".")
	}) {
		b.t.Errorf("%s has the arguments %q", name, arguments)
	}
}

// names writes the commands and the events of objects that have some.
func names(objects []*usppb.GetSupportedDMResp_SupportedObjectResult) string {
	var lines []string
	for _, o := range objects {
		line := o.GetSupportedObjPath() + ":"
		for _, c := range o.GetSupportedCommands() {
			line += " " + c.GetCommandName()
		}
		for _, e := range o.GetSupportedEvents() {
			line += " " + e.GetEventName()
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, ", ")
}

func missingArguments(b *bench) {
	ends := b.ends()
	r := b.commands(modules+"InstallDU()", "test100", nil)
	if len(r) != 1 || r[0].GetExecutedCommand() != modules+"InstallDU()" || r[0].GetCmdFailure().GetErrCode() != 7027 {
		b.t.Errorf("it is answered with %v", r)
	}
	// News come in order: the end of a command that follows would come after its own.
	b.requests(modules+"InstallDU()", "after test100", b.arguments(b.Files.URL+"/nothing"))
	if done := b.completes(ends, "after test100"); done.GetCmdFailure().GetErrCode() == 0 {
		b.t.Errorf("the end of the one that follows is told as %v", done)
	}
	for _, n := range b.heard(ends) {
		if n.GetOperComplete().GetCommandKey() == "test100" {
			b.t.Errorf("its end is told as %v", n)
		}
	}
}

func cancelRequest(b *bench) {
	ends := b.ends()
	url, _ := b.held(program{name: "waiting", version: "1"})
	row := b.requests(modules+"InstallDU()", "test9.8", b.arguments(url))
	r := b.commands(row+"Cancel()", "cancel", nil)
	if len(r) != 1 || r[0].GetExecutedCommand() != row+"Cancel()" || r[0].GetReqOutputArgs() == nil {
		b.t.Fatalf("Cancel() is answered with %v", r)
	}
	if status, _ := b.reads(row + "Status"); status != "" && status != "Canceling" { // gone, or about to go
		b.t.Errorf("after Cancel() the Status is %s", status)
	}
	done := b.completes(ends, "test9.8")
	equal(b.t, "the code", done.GetCmdFailure().GetErrCode(), 7023)
	if status, code := b.reads(row + "Status"); code == 0 {
		b.t.Errorf("after its end the Status is %s", status)
	}
}
