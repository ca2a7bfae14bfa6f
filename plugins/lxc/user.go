package lxc

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/smmd-project/smmd/plugins/rootfs"
)

// maxAccounts bounds the passwd and group file of an image, in bytes.
const maxAccounts = 1 << 20

// resolveUser turns the User of an image's configuration, "user", "uid", "user:group" and so on, into ids by the accounts of its root file
// system (OCI image specification, config.User). The home directory is empty when nobody tells.
func resolveUser(root, spec string) (uid, gid uint32, home string, err error) {
	user, group, hasGroup := strings.Cut(spec, ":")
	if user == "" {
		user = "0"
	}
	n, numeric := number(user)
	account, err := findAccount(root, "etc/passwd", func(f []string) bool {
		return len(f) >= 6 && (f[0] == user || numeric && f[2] == user)
	})
	switch {
	case err != nil:
		return 0, 0, "", err
	case account != nil:
		var ok, ok2 bool
		if uid, ok = number(account[2]); ok {
			gid, ok2 = number(account[3])
		}
		if !ok || !ok2 {
			return 0, 0, "", fmt.Errorf("its /etc/passwd is malformed at user %q", user)
		}
		home = account[5]
	case numeric:
		uid = n
	default:
		return 0, 0, "", fmt.Errorf("it wants to be user %q, whom its /etc/passwd does not know", user)
	}
	if !hasGroup || group == "" {
		return uid, gid, home, nil
	}
	if n, ok := number(group); ok {
		return uid, n, home, nil
	}
	entry, err := findAccount(root, "etc/group", func(f []string) bool { return len(f) >= 3 && f[0] == group })
	if err != nil {
		return 0, 0, "", err
	}
	if entry == nil {
		return 0, 0, "", fmt.Errorf("it wants to be in group %q, which its /etc/group does not know", group)
	}
	gid, ok := number(entry[2])
	if !ok {
		return 0, 0, "", fmt.Errorf("its /etc/group is malformed at group %q", group)
	}
	return uid, gid, home, nil
}

// number reads an id; the largest number of 32 bits means none.
func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != 1<<32-1
}

// findAccount returns the fields of the first line that is the one, nil without.
func findAccount(root, name string, is func([]string) bool) ([]string, error) {
	data, err := rootfs.ReadFile(root, name, maxAccounts)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Split(strings.TrimSpace(line), ":"); is(fields) {
			return fields, nil
		}
	}
	return nil, nil
}
