package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func sealer(t testing.TB, path string) *Sealer {
	t.Helper()
	s, err := OpenSealer(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials.key")
	s := sealer(t, path)
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o600 || fi.Size() != 32 {
		t.Errorf("the key has mode %v and %d bytes", fi.Mode().Perm(), fi.Size())
	}
	if _, err := os.Stat(path + ".new"); !os.IsNotExist(err) {
		t.Errorf("the temporary key is left: %v", err)
	}
	c := Credentials{"joe", "s3cret-päss"}
	sealed, err := s.Seal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{c.Username, c.Password} {
		if bytes.Contains(sealed, []byte(secret)) {
			t.Errorf("%q can be read in what is stored", secret)
		}
	}
	if again, _ := s.Seal(c); bytes.Equal(sealed, again) {
		t.Error("the same credentials are sealed to the same bytes")
	}
	if got, err := sealer(t, path).Open(sealed); err != nil || got != c {
		t.Errorf("opened with the same key: %+v, %v", got, err)
	}
	if got, err := sealer(t, path+"2").Open(sealed); err == nil {
		t.Errorf("opened with another key: %+v", got)
	}
}

func TestSealNothing(t *testing.T) {
	s := sealer(t, filepath.Join(t.TempDir(), "credentials.key"))
	sealed, err := s.Seal(Credentials{})
	if sealed != nil || err != nil {
		t.Errorf("empty credentials: %x, %v", sealed, err)
	}
	for _, b := range [][]byte{nil, {}} {
		if c, err := s.Open(b); c != (Credentials{}) || err != nil {
			t.Errorf("opened nothing: %+v, %v", c, err)
		}
	}
}

func TestSealTampering(t *testing.T) {
	s := sealer(t, filepath.Join(t.TempDir(), "credentials.key"))
	sealed, err := s.Seal(Credentials{"joe", "secret"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		b := bytes.Clone(sealed)
		b[i] ^= 0x80
		if c, err := s.Open(b); err == nil || c != (Credentials{}) {
			t.Errorf("byte %d changed: %+v, %v", i, c, err)
		}
		if c, err := s.Open(sealed[:i]); i > 0 && err == nil {
			t.Errorf("cut to %d bytes: %+v", i, c)
		}
	}
}

func TestSealRoundTrip(t *testing.T) {
	s := sealer(t, filepath.Join(t.TempDir(), "credentials.key"))
	rapid.Check(t, func(t *rapid.T) {
		c := Credentials{rapid.String().Draw(t, "username"), rapid.String().Draw(t, "password")}
		sealed, err := s.Seal(c)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Open(sealed); err != nil || got != c {
			t.Fatalf("opened %+v, %v", got, err)
		}
	})
}

func TestBadKey(t *testing.T) {
	dir := t.TempDir()
	for name, key := range map[string][]byte{"empty": {}, "short": make([]byte, 31), "long": make([]byte, 33)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, key, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenSealer(path); err == nil {
			t.Errorf("a key that is %s is used", name)
		}
	}
	if _, err := OpenSealer(dir); err == nil {
		t.Error("a directory is used as a key")
	}
	if _, err := OpenSealer(filepath.Join(dir, "missing", "key")); err == nil {
		t.Error("a key is made in a directory that is not there")
	}
}
