package lxc

import (
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func TestSettings(t *testing.T) {
	s, err := parseSettings("home", []byte(`{"memory": "64MiB", "cpu": "150%", "processes": 9, "bridge": "br-lan.1", "sub_ids": "100000:65536",
		"capabilities": [], "seccomp": "/p", "max_unpacked": "2GiB", "settle": "1s", "start_timeout": "2s", "stop_timeout": "3s"}`))
	if err != nil {
		t.Fatal(err)
	}
	if s.memory != 64<<10 || s.cpu != 150 || s.processes != 9 || s.bridge != "br-lan.1" || s.subIDs != (idRange{100000, 65536}) || len(s.capabilities) != 0 ||
		s.seccomp != "/p" || !s.seccompSet || s.maxUnpacked != 2<<30 || s.settle.Seconds() != 1 || s.startTimeout.Seconds() != 2 || s.stopTimeout.Seconds() != 3 {
		t.Errorf("%+v", s)
	}
	if d, err := parseSettings("home", nil); err != nil || !slices.Equal(d.capabilities, keptCapabilities) || slices.Contains(d.capabilities, "mknod") || d.bridge != "" {
		t.Errorf("%+v, %v", d, err)
	}
	for raw, key := range map[string]string{
		`{"memroy": "1MiB"}`: "memroy", `{"memory": 5}`: "memory", `{"memory": "5"}`: "memory", `{"memory": "0MiB"}`: "memory", `{"memory": "16KiB"}`: "memory",
		`{"memory": "99999999999TiB"}`: "memory", `{"cpu": "50"}`: "cpu", `{"cpu": "0%"}`: "cpu", `{"processes": 1}`: "processes", `{"processes": "9"}`: "processes",
		`{"bridge": "a b"}`: "bridge", `{"bridge": ""}`: "bridge", `{"bridge": "averyverylongname"}`: "bridge", `{"sub_ids": "0:5"}`: "sub_ids",
		`{"sub_ids": "5"}`: "sub_ids", `{"sub_ids": "4294967290:10"}`: "sub_ids", `{"capabilities": ["CAP_KILL"]}`: "capabilities",
		`{"capabilities": ["kill\nlxc.x = y"]}`: "capabilities", `{"capabilities": null}`: "capabilities", `{"seccomp": "p"}`: "seccomp",
		`{"seccomp": "/p\nlxc.x = y"}`: "seccomp", `{"settle": "1"}`: "settle", `{"stop_timeout": "25h"}`: "stop_timeout", `{"start_timeout": "-1s"}`: "start_timeout",
	} {
		_, err := parseSettings("home", []byte(raw))
		reasonIs(t, err, adapter.InvalidArgument)
		if err != nil && (!strings.Contains(err.Error(), `"home"`) || !strings.Contains(err.Error(), "lxc."+key)) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}
