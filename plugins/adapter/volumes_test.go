package adapter_test

import (
	"strings"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func TestCheckVolumes(t *testing.T) {
	const there = "/var/lib/smmd/data/home/1"
	at := func(paths ...string) (vs []adapter.Volume) {
		for _, p := range paths {
			vs = append(vs, adapter.Volume{Source: there, Path: p})
		}
		return vs
	}
	from := func(source string) []adapter.Volume { return []adapter.Volume{{Source: source, Path: "/data"}} }
	for _, c := range []struct {
		volumes []adapter.Volume
		named   string // empty: they are well formed
	}{
		{nil, ""}, {at("/data"), ""}, {at("/a", "/b", "/c/d", "/c/e"), ""}, {at("/data", "/data2", "/dat"), ""}, {at("/a b:c\\d%e\"f'g", "/日本語"), ""},
		{at("/device", "/process", "/system", "/run/systemd2", "/srv/dev", "/run/app"), ""},
		{from("/x:y %i"), ""},
		{at(""), `""`}, {at("data"), `"data"`}, {at("./data"), `"./data"`}, {at("/"), `"/"`}, {at("/data/"), `"/data/"`}, {at("//data"), `"//data"`},
		{at("/a/../b"), `"/a/../b"`}, {at("/a/./b"), `"/a/./b"`}, {at("/a//b"), `"/a//b"`}, {at("/.."), `"/.."`},
		{at("/a\x00b"), `"/a\x00b"`}, {at("/a\nb"), `"/a\nb"`}, {at("/a\tb"), `"/a\tb"`}, {at("/a\x7fb"), `"/a\x7fb"`}, {at("/a\u0085b"), `"/a\u0085b"`}, {at("/a\xffb"), `"/a\xffb"`},
		{at("/dev"), `"/dev"`}, {at("/dev/shm"), `"/dev/shm"`}, {at("/proc"), `"/proc"`}, {at("/proc/1"), `"/proc/1"`}, {at("/sys"), `"/sys"`},
		{at("/sys/fs/cgroup"), `"/sys/fs/cgroup"`}, {at("/run/systemd"), `"/run/systemd"`}, {at("/run/systemd/x"), `"/run/systemd/x"`},
		{at("/good", "/dev/x"), `"/dev/x"`}, {at("/" + strings.Repeat("x", 255)), ""}, {at("/" + strings.Repeat("日", 86)), "255"},
		{at("/a", "/b", "/a"), `"/a"`}, {at("/a", "/a/b"), `"/a/b"`}, {at("/a/b/c", "/x", "/a"), `"/a"`},
		{from(""), `""`}, {from("data"), `"data"`}, {from("/data/"), `"/data/"`}, {from("/a\nb"), `"/a\nb"`}, {from("/"), `"/"`},
	} {
		err := adapter.CheckVolumes("try it", c.volumes)
		if c.named == "" {
			if err != nil {
				t.Errorf("%q: want them to be well formed, got %v", c.volumes, err)
			}
			continue
		}
		if adapter.ReasonOf(err) != adapter.InvalidArgument || !strings.HasPrefix(err.Error(), "cannot try it: ") || !strings.Contains(err.Error(), c.named) {
			t.Errorf("%q: want an error of reason %s that begins with %q and names %s, got %q: %v", c.volumes, adapter.InvalidArgument, "cannot try it: ", c.named, adapter.ReasonOf(err), err)
		}
	}
}
