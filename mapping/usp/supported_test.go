package usp_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/mapping/softwaremodules"
	"github.com/smmd-project/smmd/mapping/usp"
)

func TestGetSupportedDM(t *testing.T) {
	all := usp.Supported{Commands: true, Events: true, Parameters: true, UniqueKeySets: true}
	face := usp.New(newAgentWithData(), softwaremodules.Version)
	one := func(path string, o usp.Supported) usp.SupportedResult {
		return face.GetSupportedDM([]string{path}, o)[0]
	}
	for _, tc := range []struct {
		path string
		code uint32
		want string // the objects
	}{
		{sm + "DeploymentUnit.", 0, "DeploymentUnit.{i}."},
		{sm + "DeploymentUnit.{i}.", 0, "DeploymentUnit.{i}."},
		{sm + "DeploymentUnit.5.", 0, "DeploymentUnit.{i}."},
		{sm + `DeploymentUnit.[Alias=="cpe-5"].`, 0, "DeploymentUnit.{i}."},
		{sm + "DeploymentUnit.{i}.Update()", 0, "DeploymentUnit.{i}."},
		{sm + "DUStateChange!", 0, ""},
		{sm + "DeploymentUnit.{i}.UUID", 0, "DeploymentUnit.{i}."},
		{sm + "DeploymentUnit.9.", 7016, ""},
		{sm + "X.", 7026, ""},
		{sm + "DeploymentUnit.{i}.X()", 7026, ""},
		{sm + "{i}.", 7026, ""},
		{sm + "ExecutionUnit.{i}.HostObject.3.", 7008, ""},
		{sm + "ExecEnv.1.ApplicationData.2.", 0, "ExecEnv.{i}.ApplicationData.{i}."},
		{sm + "ExecEnv.1.ApplicationData.9.", 7016, ""},
		{sm + "ExecEnv.{i}.ApplicationData.{i}.Remove()", 0, "ExecEnv.{i}.ApplicationData.{i}."},
	} {
		r := one(tc.path, all)
		var paths []string
		for _, o := range r.Objects {
			paths = append(paths, strings.TrimPrefix(o.Path, sm))
		}
		if r.Requested != tc.path || r.Code != tc.code || strings.Join(paths, " ") != tc.want || (r.DataModelURI == "") != (tc.code != 0) {
			t.Errorf("GetSupportedDM(%s) = %+v, want code %d and %s", tc.path, r, tc.code, tc.want)
		}
	}
	r := one(sm+"DeploymentUnit.{i}.Uninstall()", all)
	want := []usp.SupportedObject{{
		Path: sm + "DeploymentUnit.{i}.", MultiInstance: true, Access: "OBJ_READ_ONLY",
		Commands: []usp.SupportedCommand{{Name: "Uninstall()", Kind: "CMD_ASYNC", Inputs: []string{"RetainData"}}},
	}}
	if r.DataModelURI != "urn:broadband-forum-org:tr-181-2-19-0" || !cmp.Equal(r.Objects, want) {
		t.Errorf("of Uninstall() is told %s", cmp.Diff(r.Objects, want))
	}
	tree := one("Device.", all)
	table := map[string]usp.SupportedObject{}
	for _, o := range tree.Objects {
		table[strings.TrimPrefix(o.Path, sm)] = o
	}
	eu := table["ExecutionUnit.{i}."]
	if i := slices.IndexFunc(eu.Parameters, func(p usp.SupportedParameter) bool { return p.Name == "RunLevel" }); i < 0 ||
		eu.Parameters[i] != (usp.SupportedParameter{Name: "RunLevel", Access: "PARAM_READ_WRITE", Type: "PARAM_UNSIGNED_INT", ValueChange: "VALUE_CHANGE_ALLOWED"}) {
		t.Errorf("execution units have %+v", eu)
	}
	kinds := map[string]string{}
	for path, o := range table {
		for _, c := range o.Commands {
			kinds[path+c.Name] = c.Kind
		}
	}
	for name, kind := range map[string]string{ // U-11
		"ExecutionUnit.{i}.SetRequestedState()": "CMD_SYNC", "ExecEnv.{i}.SetRunLevel()": "CMD_SYNC", "ExecEnv.{i}.Reset()": "CMD_ASYNC", "InstallDU()": "CMD_ASYNC",
		"ExecutionUnit.{i}.Restart()": "CMD_SYNC", "ExecEnv.{i}.Restart()": "CMD_ASYNC",
		"ExecEnv.{i}.ApplicationData.{i}.Remove()": "CMD_SYNC",
	} {
		if kinds[name] != kind {
			t.Errorf("%s is %q, want %s", name, kinds[name], kind)
		}
	}
	if e := table[""].Events; len(e) != 1 || e[0].Name != "DUStateChange!" || !slices.Contains(e[0].Arguments, "Fault.FaultCode") {
		t.Errorf("the events are %+v", e)
	}
	if !cmp.Equal(table["DeploymentUnit.{i}."].UniqueKeySets, [][]string{{"UUID", "Version", "ExecutionEnvRef"}, {"Alias"}}) {
		t.Errorf("the unique keys are %q", table["DeploymentUnit.{i}."].UniqueKeySets)
	}
	for _, o := range one(sm, usp.Supported{}).Objects {
		if o.Parameters != nil || o.Commands != nil || o.Events != nil || o.UniqueKeySets != nil {
			t.Errorf("nothing was asked of %+v", o)
		}
	}
	first := one(sm, usp.Supported{FirstLevelOnly: true, Parameters: true})
	if len(first.Objects) != 5 || first.Objects[0].Parameters == nil || first.Objects[1].Parameters != nil || !first.Objects[1].MultiInstance {
		t.Errorf("of the first level is told %+v", first)
	}
	if old := usp.New(newAgent(), softwaremodules.OlderVersion).GetSupportedDM([]string{sm + "ExecEnv.{i}.Restart()", sm}, all); old[0].Code != 7026 || old[1].DataModelURI != "urn:broadband-forum-org:tr-181-2-15-0" {
		t.Errorf("of the older version is told %+v", old)
	}
}
