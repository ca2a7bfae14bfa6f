// Command smmd is the agent, its adapters and its client in one executable. It takes its role from a sub-command or from the
// name it is called by: smmctl is the client.
//
// This package only dispatches roles, reads flags and turns signals into an orderly end.
package main

import (
	"os"
	"path/filepath"

	"github.com/smmd-project/smmd/ipc/smmctl"
)

// version is set when a release is linked.
var version = "0.1.0-dev"

func main() {
	if filepath.Base(os.Args[0]) == "smmctl" {
		os.Exit(smmctl.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}
