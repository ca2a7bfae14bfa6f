package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/support"
)

const (
	secretUser     = "field-user-4711"
	secretPassword = "p:ss wörd-4711"
)

// Files are fetched with the credentials that were given, an update without a URL takes those of the last time, also after a
// restart; and nobody can read the password anywhere. No framework sees any of that: one is enough.
func TestCredentials(t *testing.T) {
	for _, scheme := range []string{"basic", "digest", "digest-sha256"} {
		t.Run(scheme, func(t *testing.T) {
			parallel(t)
			d := boot(t, support.Env{})
			auth := fileserver.Auth{Username: secretUser, Password: secretPassword, Schemes: []string{scheme}}
			url := d.Serve("/unit.jar?token=query-4711", fileserver.File{})
			d.Serve("/unit.jar", fileserver.File{Content: d.Content("sample-1.0.0.jar"), Auth: auth})
			u := d.InstallWith(url, client.InstallOptions{ExecEnv: "felix", Username: secretUser, Password: secretPassword})
			answers := everything(t, d)

			d.Serve("/unit.jar", fileserver.File{Content: d.Content("sample-1.5.0.jar"), Auth: auth})
			d.Done(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{}))
			wantUnit(t, d, u, "1.5.0", "Active", true)
			answers = append(answers, everything(t, d)...)

			d.Restart()
			d.Up()
			d.Serve("/unit.jar", fileserver.File{Content: d.Content("sample-2.0.0.jar"), Auth: auth})
			d.Done(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{}))
			wantUnit(t, d, u, "2.0.0", "Active", true)

			// The server wants others now; the failure tells nothing of them.
			auth.Password = "another"
			d.Serve("/unit.jar", fileserver.File{Content: d.Content("sample-1.0.0.jar"), Auth: auth})
			wantFault(t, d.Job(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{})), "TransferAuthentication", 9012, 7002)
			answers = append(answers, everything(t, d)...)

			for _, r := range d.Files.Log() {
				if r.Query != "token=query-4711" {
					t.Errorf("a request came with the query %q", r.Query)
				}
			}
			d.Stop()
			if bytes.Contains(answers, []byte(secretPassword)) {
				t.Error("an answer on D-Bus has the password")
			}
			for path, text := range files(t, d) {
				if bytes.Contains(text, []byte(secretPassword)) {
					t.Errorf("%s has the password", path)
				}
			}
			if log := []byte(d.Log()); bytes.Contains(log, []byte("query-4711")) || bytes.Contains(log, []byte(secretUser)) {
				t.Error("the log has the query of the URL or the user name")
			}
			d.Start()
		})
	}
}

// everything returns all that the agent tells on D-Bus.
func everything(t *testing.T, d *support.Device) []byte {
	t.Helper()
	values, err := d.Client.GetParameterValues(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Append(nil, managed(t, d), values)
}

// files returns every file of the device but those of the environments' own.
func files(t *testing.T, d *support.Device) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(d.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		all[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if all[d.LogPath] == nil || all[filepath.Join(d.State, "state.db")] == nil {
		t.Fatalf("the files of the device are not where they were looked for: %d files", len(all))
	}
	return all
}
