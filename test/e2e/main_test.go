// Package e2e tests the whole of it: the real agent with a real framework, on a bus and in a directory of its own. What the agent
// says is compared with what others see: the framework's console, its storage, the file server, busctl and gdbus.
package e2e

import (
	"testing"

	"github.com/smmd-project/smmd/test/support"
)

// programs are what is tested, built once.
var programs support.Programs

func TestMain(m *testing.M) { support.Main(m, "e2e", &programs) }

// devices lets as many tests run at once as small machines bear: each has a JVM, and waits most of the time.
var devices = make(chan struct{}, 3)

// parallel makes the test one of those that run at once.
func parallel(t *testing.T) {
	t.Helper()
	t.Parallel()
	devices <- struct{}{}
	t.Cleanup(func() { <-devices })
}

// frameworks are those for which everything is shown.
var frameworks = []string{"felix", "equinox"}

// each runs a test once for each framework, as a parallel subtest of that name. The name is also that of the environment that
// [boot] makes of support.Env{Framework: framework}.
func each(t *testing.T, f func(t *testing.T, framework string)) {
	t.Helper()
	on(t, frameworks, f)
}

// either is [each] for a test that shows what has nothing to do with the framework: it runs for that one, and for all in the long form.
func either(t *testing.T, framework string, f func(t *testing.T, framework string)) {
	t.Helper()
	if support.Long() {
		each(t, f)
		return
	}
	on(t, []string{framework}, f)
}

func on(t *testing.T, frameworks []string, f func(t *testing.T, framework string)) {
	t.Helper()
	t.Parallel() // with other tests: the one framework need not wait for the other
	for _, framework := range frameworks {
		t.Run(framework, func(t *testing.T) {
			parallel(t)
			f(t, framework)
		})
	}
}

// boot makes a device with one framework and waits until it is up.
func boot(t *testing.T, env support.Env) *support.Device {
	t.Helper()
	return support.Boot(t, support.Options{Programs: programs, Envs: []support.Env{env}})
}
