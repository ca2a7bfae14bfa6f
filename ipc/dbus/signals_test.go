package dbus_test

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	godbus "github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/ipctest"
	contract "github.com/smmd-project/smmd/ipc/xml"
)

// short writes a signal as one line: what, where, which properties.
func short(s *godbus.Signal) string {
	name := s.Name[strings.LastIndex(s.Name, ".")+1:]
	path := strings.TrimPrefix(string(s.Path), contract.Root)
	switch name {
	case "PropertiesChanged":
		return fmt.Sprintf("%s %s %s", name, path, strings.Join(slices.Sorted(maps.Keys(s.Body[1].(options))), " "))
	case "InterfacesAdded", "InterfacesRemoved":
		return fmt.Sprintf("%s %s", name, strings.TrimPrefix(string(s.Body[0].(godbus.ObjectPath)), contract.Root))
	}
	return fmt.Sprintf("%s %s %v", name, path, s.Body)
}

func (c *client) expect(want ...string) {
	c.Helper()
	var got []string
	for _, s := range c.heard() {
		got = append(got, short(s))
	}
	if !slices.Equal(got, want) {
		c.Errorf("the signals are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSignalsOfAnInstallation(t *testing.T) {
	c := newClient(t)
	c.listen()
	c.call(contract.Root, contract.Agent+".Install", "http://example.com/one.jar", options{})
	c.expect("InterfacesAdded /Job/1")
	c.agent.Step(1)
	c.expect("PropertiesChanged /Job/1 BytesDone BytesTotal Progress State")
	c.agent.Step(1) // verifying
	c.agent.Step(1) // inspecting
	c.heard()
	c.agent.Step(1) // installing
	c.expect("InterfacesAdded /DeploymentUnit/1",
		"PropertiesChanged  DeploymentUnitNumberOfEntries",
		"PropertiesChanged /Job/1 Objects Progress State")
	c.agent.Step(1) // recording
	c.expect("InterfacesAdded /ExecutionUnit/2",
		"PropertiesChanged  ExecutionUnitNumberOfEntries",
		"PropertiesChanged /ExecEnv/1 ActiveExecutionUnits",
		"PropertiesChanged /DeploymentUnit/1 ExecutionUnitList Installed Resolved Status",
		"PropertiesChanged /Job/1 Objects Progress State")
	c.agent.Step(1)
	c.expect("PropertiesChanged /Job/1 Progress State", "Completed /Job/1 [true ]")

	c.call(row("DeploymentUnit", "1"), contract.DeploymentUnit+".Uninstall", options{})
	c.agent.Step(2)
	c.heard()
	c.agent.Step(2)
	c.expect("PropertiesChanged  DeploymentUnitNumberOfEntries ExecutionUnitNumberOfEntries",
		"PropertiesChanged /ExecEnv/1 ActiveExecutionUnits",
		"PropertiesChanged /Job/2 Progress State",
		"InterfacesRemoved /ExecutionUnit/2", "InterfacesRemoved /DeploymentUnit/1")
	c.agent.Fail(2, fault.DeadlineExceeded, "too \xff late")
	c.expect("PropertiesChanged /Job/2 FaultCWMP FaultName FaultString FaultUSP FaultUSPComplete Message Progress State",
		"Completed /Job/2 [false too \uFFFD late]")
}

func TestSignalsOfJobsThatHaveEndedAtOnce(t *testing.T) {
	c := newClient(t)
	c.install()
	c.listen()
	c.call(row("ExecutionUnit", "2"), contract.ExecutionUnit+".Start", options{}) // it is active
	c.expect("InterfacesAdded /Job/2", "Completed /Job/2 [true ]")
}

func TestValuesOfSignals(t *testing.T) {
	c := newClient(t)
	c.install()
	c.listen()
	c.call(row("ExecutionUnit", "2"), contract.Properties+".Set", contract.ExecutionUnit, "RunLevel", v(uint32(5)))
	got := c.heard()
	want := []any{contract.ExecutionUnit, options{"RunLevel": v(uint32(5))}, []string{}}
	if len(got) != 1 || !reflect.DeepEqual(got[0].Body, want) {
		t.Errorf("the signals are %v, want one with %v", got, want)
	}
	// A commit that changes nothing that is told is silent.
	c.agent.Commit(func(d *model.Draft) {
		u := *d.DeploymentUnit(1)
		u.Key = "another"
		d.PutDeploymentUnit(&u)
	})
	c.expect()
	c.agent.Commit(func(d *model.Draft) { d.PutExecEnv(&model.ExecEnv{ID: "new", Instance: 3}) })
	added := c.heard()
	if len(added) != 2 || short(added[0]) != "InterfacesAdded /ExecEnv/3" {
		t.Fatalf("the signals are %v", added)
	}
	all := c.call(row("ExecEnv", "3"), contract.Properties+".GetAll", contract.ExecEnv)[0]
	if got := added[0].Body[1].(map[string]options)[contract.ExecEnv]; !reflect.DeepEqual(got, all) {
		t.Errorf("InterfacesAdded tells %v, GetAll %v", got, all)
	}
	// The parent of an environment goes: what refers to it changes.
	c.agent.Commit(func(d *model.Draft) { d.Delete(model.Ref{Kind: model.KindExecEnv, Instance: 1}) })
	c.expect("PropertiesChanged  ExecEnvNumberOfEntries",
		"PropertiesChanged /ExecEnv/2 ParentExecEnv", "PropertiesChanged /DeploymentUnit/1 ExecutionEnvRef",
		"PropertiesChanged /ExecutionUnit/2 ExecutionEnvRef", "InterfacesRemoved /ExecEnv/1")
}

// TestAClientThatFollowsTheSignalsKnowsTheState lets the agent commit faster than anybody reads, with losses, and compares what a
// client has put together with what the agent says.
func TestAClientThatFollowsTheSignalsKnowsTheState(t *testing.T) {
	c := newClient(t)
	c.listen()
	var model1 map[godbus.ObjectPath]map[string]options
	read := func() (m map[godbus.ObjectPath]map[string]options) {
		if err := godbus.Store(c.call(contract.Root, contract.ObjectManager+".GetManagedObjects"), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	model1 = read()
	c.agent.Auto(true)
	for i := range 60 {
		if _, err := c.agent.Install(t.Context(), model.InstallRequest{URL: fmt.Sprintf("file:///%d.jar", i)}); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			if _, err := c.agent.Uninstall(t.Context(), model.UninstallRequest{DU: uint32(2*i + 1), Originator: model.Origin{Name: "test"}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The first mark may come with changes that were lost before it, and before the signals of those.
	for _, s := range append(c.heard(), c.heard()...) {
		switch s.Name {
		case contract.ObjectManager + ".InterfacesAdded":
			model1[s.Body[0].(godbus.ObjectPath)] = s.Body[1].(map[string]options)
		case contract.ObjectManager + ".InterfacesRemoved":
			delete(model1, s.Body[0].(godbus.ObjectPath))
		case contract.Properties + ".PropertiesChanged":
			if s.Path != contract.Root {
				maps.Copy(model1[s.Path][s.Body[0].(string)], s.Body[1].(options))
			}
		}
	}
	if now := read(); !reflect.DeepEqual(model1, now) {
		for p := range now {
			if !reflect.DeepEqual(model1[p], now[p]) {
				t.Errorf("%s is %v, the client has %v", p, now[p], model1[p])
			}
		}
		t.Errorf("the client has %d objects, the agent %d", len(model1), len(now))
	}
}

// lossy is an agent whose feed tells nothing but losses.
type lossy struct{ *ipctest.Agent }

func (l lossy) Feed(ctx context.Context) <-chan model.Commit {
	out := make(chan model.Commit)
	go func() {
		defer close(out)
		for c := range l.Agent.Feed(ctx) {
			select {
			case out <- model.Commit{Snapshot: c.Snapshot, Lost: true}:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

func TestLostCommits(t *testing.T) {
	a := ipctest.New()
	address := ipctest.Run(t, lossy{a})
	c := &client{T: t, agent: a, address: address, conn: ipctest.Connect(t, address)}
	c.listen()
	c.install()
	c.agent.Commit(func(d *model.Draft) { d.Delete(model.Ref{Kind: model.KindJob, Instance: 1}) })
	got := map[string]int{}
	for _, s := range c.heard() {
		got[short(s)]++
	}
	for _, want := range []string{
		"InterfacesAdded /Job/1", "InterfacesAdded /DeploymentUnit/1", "InterfacesAdded /ExecutionUnit/2",
		"Completed /Job/1 [true ]", "InterfacesRemoved /Job/1", "PropertiesChanged /ExecEnv/1 ActiveExecutionUnits",
	} {
		if got[want] != 1 {
			t.Errorf("%q comes %d times", want, got[want])
		}
	}
}
