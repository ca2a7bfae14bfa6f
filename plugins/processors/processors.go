// Package processors counts the processors of the device. What a limit in percent is a share of does not depend on which of them
// the adapter's own process may use, as [runtime.NumCPU] does.
package processors

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Online returns how many processors are there for processes now.
func Online() int {
	data, err := os.ReadFile("/sys/devices/system/cpu/online")
	if n, ok := count(string(data)); err == nil && ok {
		return n
	}
	return runtime.NumCPU() // a system without sysfs
}

// count counts a list of the kernel such as 0-3,6.
func count(text string) (n int, ok bool) {
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if errA != nil || errB != nil || a < 0 || b < a || b > 1<<20 {
			return 0, false
		}
		n += b - a + 1
	}
	return n, true
}
