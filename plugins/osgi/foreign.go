package osgi

import (
	"bytes"
	"io"
)

// foreignMagic are the beginnings of packages of other kinds of environments, by where they are in the file: archives and file systems.
var foreignMagic = []struct {
	at    int
	bytes string
}{
	{257, "ustar"},          // tar
	{0, "\x1f\x8b"},         // gzip
	{0, "\xfd7zXZ\x00"},     // xz
	{0, "\x28\xb5\x2f\xfd"}, // zstd
	{0, "BZh"},              // bzip2
	{0, "hsqs"},             // squashfs
	{0x438, "\x53\xef"},     // ext4: its superblock begins at 1024
}

// foreign reports whether a file that is no zip is a package of another kind, as far as that can be seen: it may also be a damaged bundle.
func foreign(file io.ReaderAt) bool {
	head := make([]byte, 2048)
	n, _ := file.ReadAt(head, 0) // what cannot be read is not seen
	for _, m := range foreignMagic {
		if n > m.at && bytes.HasPrefix(head[m.at:n], []byte(m.bytes)) {
			return true
		}
	}
	return false
}
