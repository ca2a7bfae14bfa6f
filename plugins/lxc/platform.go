package lxc

import (
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// platform is an architecture, in the words of Go and of the OCI image specification.
type platform struct{ architecture, variant string }

// machines are what kernels call their architectures, and what runs there, the best first. The adapter may be built for less than the
// kernel offers.
var machines = map[string][]platform{
	"x86_64":  {{"amd64", ""}, {"386", ""}},
	"i686":    {{"386", ""}},
	"i586":    {{"386", ""}},
	"aarch64": {{"arm64", ""}, {"arm", "v7"}, {"arm", "v6"}, {"arm", "v5"}},
	"armv8l":  {{"arm", "v7"}, {"arm", "v6"}, {"arm", "v5"}},
	"armv7l":  {{"arm", "v7"}, {"arm", "v6"}, {"arm", "v5"}},
	"armv6l":  {{"arm", "v6"}, {"arm", "v5"}},
	"armv5":   {{"arm", "v5"}},
	"ppc64le": {{"ppc64le", ""}},
	"s390x":   {{"s390x", ""}},
	"riscv64": {{"riscv64", ""}},
}

// platforms are those whose programs run on this device.
func platforms() []platform {
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		machine := unix.ByteSliceToString(u.Machine[:])
		if p, ok := machines[machine]; ok {
			return p
		}
		if strings.HasPrefix(machine, "armv5") {
			return machines["armv5"]
		}
	}
	return []platform{{runtime.GOARCH, ""}}
}

// runs reports whether an image of that architecture and variant runs here. An image without a variant is taken at its word, and so is a
// variant of an architecture whose variants are not told apart: arm64 has v8 only, and the levels of amd64 are seldom marked.
func (p platform) runs(architecture, variant string) bool {
	return p.architecture == architecture && (variant == "" || p.variant == "" || p.variant == variant)
}
