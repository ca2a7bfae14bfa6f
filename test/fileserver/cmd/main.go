// Command cmd serves the files of a directory over HTTP, for trying the agent out by hand. It prints its URL and runs until
// it is interrupted.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/smmd-project/smmd/test/fileserver"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on; port 0 is a free one")
	dir := flag.String("dir", ".", "directory to serve")
	auth := flag.String("auth", "", "ask for credentials: basic, digest or digest-sha256")
	user := flag.String("user", "", "name that -auth accepts")
	password := flag.String("password", "", "password that -auth accepts")
	flag.Parse()
	opts := fileserver.Options{Address: *listen, Dir: *dir}
	switch *auth {
	case "":
	case "basic", "digest", "digest-sha256":
		opts.DirAuth = fileserver.Auth{Username: *user, Password: *password, Schemes: []string{*auth}}
	default:
		fmt.Fprintf(os.Stderr, "cannot ask for credentials: %q is not basic, digest or digest-sha256\n", *auth)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := fileserver.Start(opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(server.URL)
	<-ctx.Done()
	server.Close()
}
