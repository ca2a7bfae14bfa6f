package osgi

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzArchive restores whatever comes: it ends in an error, or in exactly the files that the index names.
func FuzzArchive(f *testing.F) {
	var saved bytes.Buffer
	dir := f.TempDir()
	var files []string
	for _, name := range []string{"framework", "lib"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("the content of "+name), 0o600); err != nil {
			f.Fatal(err)
		}
		files = append(files, file)
	}
	sums, err := digestsOf(f.Context(), files)
	if err != nil {
		f.Fatal(err)
	}
	if err := writeArchive(f.Context(), &saved, files, sums); err != nil {
		f.Fatal(err)
	}
	f.Add(saved.Bytes())
	f.Add(saved.Bytes()[:saved.Len()/2])
	f.Add([]byte("PK\x05\x06" + string(make([]byte, 18))))
	f.Fuzz(func(t *testing.T, data []byte) {
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		a, err := parseArchive(z)
		if err != nil {
			return
		}
		outside := t.TempDir()
		inside := filepath.Join(outside, "in")
		if err := os.Mkdir(inside, 0o700); err != nil {
			t.Fatal(err)
		}
		err = a.extract(t.Context(), inside)
		if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
			t.Fatalf("it wrote elsewhere: %v %v", entries, err)
		}
		if err != nil {
			return
		}
		var written []string
		for i := range a.sums {
			written = append(written, filepath.Join(inside, memberName(i)))
		}
		if got, err := digestsOf(t.Context(), written); err != nil || !slices.Equal(got, a.sums) {
			t.Errorf("the files are %v, the index says %v: %v", got, a.sums, err)
		}
	})
}
