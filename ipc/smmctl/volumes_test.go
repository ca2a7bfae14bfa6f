package smmctl

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/client"
)

const (
	aVolume = "name=db,path=/var/lib/app,capacity=64MiB,retain=forever"
	tmp     = "name=tmp,path=/tmp/x,capacity=1GiB,retain=until-stopped"
)

func TestVolumesAreAskedFor(t *testing.T) {
	s := newShell(t)
	s.ok("install", "http://files/app.jar", "--volume", aVolume+",encrypted", "--volume", tmp)
	s.ok("update", "app", "--volume", tmp)
	s.ok("update", "app", "--retain-data")
	s.ok("update", "app", "--retain-data=false", "--volume", tmp)
	s.ok("uninstall", "app", "--retain-data=false")
	s.ok("install", "http://files/app.jar")
	s.ok("uninstall", "app", "--retain-data")
	s.ok("install", "http://files/app.jar")
	s.ok("uninstall", "app")
	yes, no := true, false
	cache := model.VolumeRequest{Name: "tmp", Capacity: 1024, Retain: model.UntilStopped, AccessPath: "/tmp/x"}
	want := []any{
		model.InstallRequest{URL: "http://files/app.jar", Volumes: []model.VolumeRequest{
			{Name: "db", Capacity: 64, Encrypted: true, Retain: model.Forever, AccessPath: "/var/lib/app"}, cache,
		}},
		model.UpdateRequest{DU: 1, Volumes: []model.VolumeRequest{cache}},
		model.UpdateRequest{DU: 1, RetainData: &yes},
		model.UpdateRequest{DU: 1, RetainData: &no, Volumes: []model.VolumeRequest{cache}},
		model.UninstallRequest{DU: 1},
		model.InstallRequest{URL: "http://files/app.jar"},
		model.UninstallRequest{DU: 3, RetainData: true},
		model.InstallRequest{URL: "http://files/app.jar"},
		model.UninstallRequest{DU: 5},
	}
	if diff := cmp.Diff(want, s.agent.Asked(), cmpopts.IgnoreTypes(model.Origin{})); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestVolumesThatAreNone(t *testing.T) {
	s := newShell(t)
	s.ok("install", "http://files/app.jar")
	for value, want := range map[string]string{
		"":                                     `cannot take "" for --volume: it is empty; give name=NAME,path=PATH,capacity=SIZE,retain=forever|until-stopped[,encrypted]`,
		"db":                                   `cannot take "db" for --volume: "db" is unknown; give name=NAME`,
		aVolume + ",":                          `: "" is unknown; give`,
		aVolume + ",x=y":                       `: "x" is unknown; give`,
		aVolume + ",name=":                     `: name is there twice; give`,
		aVolume + ",encrypted=false":           `: encrypted has no value; give`,
		aVolume + "\n" + tmp:                   `: it has several lines; give`,
		`name="db`:                             `: it cannot be taken apart at its commas: parse error`,
		"path=/x,capacity=1MiB,retain=forever": `: name is missing; give`,
		"name=x,capacity=1MiB,retain=forever":  `: path is missing; give`,
		"name=x,path=/x,retain=forever":        `: capacity is missing; give`,
		"name=x,path=/x,capacity=1MiB":         `: retain is missing; give`,
		"name=x,path=/x,capacity=1MiB,retain=Forever":    `: retain is forever or until-stopped, not "Forever"; give`,
		"name=x,path=/x,capacity=1,retain=forever":       `: the capacity "1" is no size in whole MiB from 1MiB to 4294967295MiB, such as 64MiB; give`,
		"name=x,path=/x,capacity=512KiB":                 `: the capacity "512KiB" is no`,
		"name=x,path=/x,capacity=0MiB":                   `: the capacity "0MiB" is no`,
		"name=x,path=/x,capacity=-1MiB":                  `: the capacity "-1MiB" is no`,
		"name=x,path=/x,capacity=4294967296MiB":          `: the capacity "4294967296MiB" is no`,
		"name=x,path=/x,capacity=9223372036854775807TiB": `: the capacity "9223372036854775807TiB" is no`,
	} {
		s.fails(statusUsage, want, "install", "http://files/app.jar", "--volume", value)
		s.fails(statusUsage, want, "update", "app", "--volume", value)
	}
	s.fails(statusUsage, "cannot take --volume db twice", "install", "http://files/app.jar", "--volume", aVolume, "--volume", aVolume)
	s.fails(statusUsage, "unknown flag: --retain-data", "install", "http://files/app.jar", "--retain-data")
	s.fails(statusUsage, "unknown flag: --volume", "uninstall", "app", "--volume", aVolume)
	if asked := s.agent.Asked(); len(asked) != 1 {
		t.Errorf("asked %+v", asked)
	}
}

func TestReadVolume(t *testing.T) {
	for in, want := range map[string]client.VolumeOptions{
		`"name=a, b","path=/x,y",capacity=1024KiB,retain=forever`: {Name: "a, b", AccessPath: "/x,y", Capacity: 1, Retain: "Forever"},
		`encrypted,retain=until-stopped,capacity=4294967295MiB,path=/a=b,name=ä`: {
			Name: "ä", AccessPath: "/a=b", Capacity: 1<<32 - 1, Retain: "UntilStopped", Encrypted: true,
		},
		`name=,path=,capacity=2TiB,retain=forever`: {Capacity: 2 << 20, Retain: "Forever"}, // the agent judges
	} {
		if got, err := readVolume(in); err != nil || got != want {
			t.Errorf("readVolume(%q) = %+v, %v; want %+v", in, got, err, want)
		}
	}
}

// FuzzReadVolume takes any text for --volume: what is taken can be asked for.
func FuzzReadVolume(f *testing.F) {
	for _, s := range []string{aVolume, tmp + ",encrypted", `"name=a,b",path=/x`, "capacity=9223372036854775807KiB", "name=\n", `"`, ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := readVolume(s)
		if err != nil {
			return
		}
		if v.Capacity < 1 || v.Capacity > model.MaxCapacity || v.Retain != "Forever" && v.Retain != "UntilStopped" {
			t.Errorf("%q is %+v", s, v)
		}
		if strings.Contains(s, ",encrypted") && strings.Count(s, "encrypted") == 1 && !strings.Contains(s, `"`) && !v.Encrypted {
			t.Errorf("%q is not encrypted: %+v", s, v)
		}
	})
}

func TestVolumesOfAnExecEnv(t *testing.T) {
	s := newShell(t)
	equal(t, "volumes", s.ok("ee", "volumes", "osgi"), "NO  NAME  UNIT  STATE  CAPACITY  USED  RETAIN  ENCRYPTED  PATH\n")
	s.ok("install", "http://files/app.jar", "--volume", aVolume+",encrypted", "--volume", tmp)
	s.ok("install", "http://files/other.jar", "--volume", aVolume)
	s.agent.Commit(func(d *model.Draft) {
		v := *d.Volume(1)
		v.Utilization = 3
		d.PutVolume(&v)
	})
	equal(t, "volumes", s.ok("ee", "volumes", "osgi"), strings.Join([]string{
		"NO  NAME  UNIT   STATE   CAPACITY  USED  RETAIN         ENCRYPTED  PATH",
		"1   db    app    in use  64MiB     3MiB  forever        yes        /var/lib/app",
		"2   tmp   app    in use  1GiB      0     until-stopped  no         /tmp/x",
		"3   db    other  in use  64MiB     0     forever        no         /var/lib/app", "",
	}, "\n"))
	s.fails(statusFailed, `smmctl: cannot remove application data "tmp": unit 1 is there (VolumeInUse, CWMP 9001, USP 7229)`, "ee", "remove-volume", "osgi", "tmp")
	s.fails(statusFailed, `"db" is ambiguous; give one of: cpe-1 (number 1, db of `+uuid1+`); cpe-3 (number 3, db of 00000000-0000-5000-8000-000000000003)`, "ee", "remove-volume", "osgi", "db")
	s.ok("uninstall", "app", "--retain-data")
	equal(t, "volumes", s.ok("ee", "volumes", "EE.1"), strings.Join([]string{
		"NO  NAME  UNIT                                  STATE   CAPACITY  USED  RETAIN   ENCRYPTED  PATH",
		"1   db    " + uuid1 + "  kept    64MiB     3MiB  forever  yes        /var/lib/app",
		"3   db    other                                 in use  64MiB     0     forever  no         /var/lib/app", "",
	}, "\n"))
	var list []any
	if err := json.Unmarshal([]byte(s.ok("ee", "volumes", "osgi", "--json")), &list); err != nil || len(list) != 2 {
		t.Fatalf("volumes --json: %v, %v", list, err)
	}
	want := map[string]any{
		"number": 1.0, "alias": "cpe-1", "application_uuid": uuid1, "name": "db", "capacity_mib": 64.0, "encrypted": true, "retain": "Forever",
		"access_path": "/var/lib/app", "utilization_mib": 3.0, "deployment_units": []any{},
	}
	if diff := cmp.Diff(want, list[0]); diff != "" {
		t.Errorf("volumes --json (-want +got):\n%s", diff)
	}
	if got := list[1].(map[string]any)["deployment_units"]; !cmp.Equal(got, []any{"/org/smmd/Agent1/DeploymentUnit/3"}) {
		t.Errorf("volumes --json: the units are %v", got)
	}
	if got := s.object("tree")["exec_envs"].([]any)[0].(map[string]any)["application_data"].([]any); len(got) != 2 {
		t.Errorf("tree --json: %v", got)
	}

	t.Setenv("SMMD_BUS", s.address)
	for want, args := range map[string][]string{
		"osgi\nlxc\n:4\n": {"ee", "volumes", ""},
		"db\n:4\n":        {"ee", "remove-volume", "osgi", ""},
		uuid1 + "\n:4\n":  {"ee", "remove-volume", "osgi", "db", "--uuid", ""},
		":4\n":            {"ee", "remove-volume", "nothing", ""},
	} {
		var out, err bytes.Buffer
		if run(t.Context(), newApp(s.stdin, &out, &err), append([]string{"__complete"}, args...)); out.String() != want {
			t.Errorf("completion of %q: %q, want %q; %s", args, out.String(), want, err.String())
		}
	}

	for want, args := range map[string][]string{
		`there is no application data "tmp" on osgi; see smmctl ee volumes osgi`:                     {"osgi", "tmp"},
		`there is no application data "db" of ` + uuid1[:8] + ` on osgi; see smmctl ee volumes osgi`: {"osgi", "db", "--uuid", uuid1[:8]},
		`there is no application data "" on osgi`:                                                    {"osgi", ""},
		`there is no application data "1" on lxc`:                                                    {"lxc", "1"},
		`there is no execution environment "nothing"; known: lxc, osgi`:                              {"nothing", "1"},
	} {
		s.fails(statusFailed, want, append([]string{"ee", "remove-volume"}, args...)...)
	}
	called := func(name string) {
		s.agent.Commit(func(d *model.Draft) {
			v := *d.Volume(3)
			v.Name = name
			d.PutVolume(&v)
		})
	}
	called("1") // what is called like the number of another is not taken for the one that was meant
	s.fails(statusFailed, `"1" is ambiguous; give one of: cpe-1 (number 1, db of `+uuid1+`); cpe-3 (number 3, 1 of 00000000-0000-5000-8000-000000000003)`, "ee", "remove-volume", "osgi", "1")
	called("db")
	equal(t, "remove-volume", s.ok("ee", "remove-volume", "osgi", "db", "--uuid", strings.ToUpper(uuid1)), "Removed the application data db (number 1) of "+uuid1+" from osgi\n")
	s.ok("uninstall", "other", "--retain-data")
	if got := s.object("ee", "remove-volume", "osgi", "3")["application_data"].(map[string]any); got["name"] != "db" || got["number"] != 3.0 {
		t.Errorf("remove-volume --json: %v", got)
	}
	equal(t, "volumes", s.ok("ee", "volumes", "osgi", "--json"), "[]\n")
}
