package support

import "os"

// Long reports whether the tests run in their long form, as make test-all has it: everything for each framework, and what takes minutes. The
// short form, that of make test, shows the same things once where it makes no difference with which framework.
func Long() bool { return os.Getenv("SMMD_TEST_LONG") != "" }
