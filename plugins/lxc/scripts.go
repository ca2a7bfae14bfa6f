package lxc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// scriptsName is the directory in the store with what runs outside of the adapter, because that may be gone by then. LXC takes it for no container,
// and who sees nothing else of the environment sees it. They are files because systemd does not write down, and so forgets when it starts
// anew, the command line of a transient unit with all that shells write.
const scriptsName = ".smmd"

// The names of the scripts.
const (
	noteEnd     = "note-end"
	inSession   = "in-session"
	openStore   = "open-store"
	tameVolumes = "tame-volumes"
	askPayload  = "ask-payload"
)

// scripts are all scripts, for sh(1) as POSIX and busybox have it.
var scripts = map[string]string{
	// It is told directory, token, code and status; systemd has the last two in the environment. The name is that of [endedName].
	noteEnd: `printf '%s %s %s\n' "$2" "${3:-$EXIT_CODE}" "${4:-$EXIT_STATUS}" >"$1/.ended" && mv "$1/.ended" "$1/ended"
`,
	// It is told directory, token and command, and returns at once.
	inSession: `(
	dir=$1 token=$2
	shift 2
	"$@"
	status=$?
	exec sh "${0%/*}/note-end" "$dir" "$token" exited "$status"
) &
`,
	// It is told a directory that is of no use meanwhile, a closed one, the directories to keep in that, --, and a command. A file system with only what is kept
	// is put together in the one and moved to the other.
	openStore: `umask 022
at=$1 closed=$2
shift 2
mkdir -p "$at" && mount -t tmpfs -o mode=0755 tmpfs "$at" || exit 1
while [ "$1" != -- ]; do
	mkdir -p "$at/${1#"$closed"/}" && mount --rbind "$1" "$at/${1#"$closed"/}" || exit 1
	shift
done
shift
mount --move "$at" "$closed" && exec "$@"
`,
	// It is told directories, --, and a command, for which they have neither set-user-ID programs nor devices. A bind mount has the options of what it is made of.
	tameVolumes: `while [ "$1" != -- ]; do
	mount --bind "$1" "$1" && mount -o remount,bind,nosuid,nodev "$1" "$1" || exit 1
	shift
done
shift
exec "$@"
`,
	// It is told store, container, signal, and how many tenths of a second to wait. To the init of LXC a signal is an order to end
	// everything within a second, so it goes to the process behind that, the oldest child; when that has ended and left others behind, the order follows. The
	// adapter does the same itself; this is for a stop by the service manager.
	askPayload: `init=$(lxc-info -P "$1" -n "$2" -pH) && [ -n "$init" ] || exit 0
read -r payload others <"/proc/$init/task/$init/children"
[ -n "$payload" ] && kill -s "$3" "$payload" || exit 0
tries=0
while [ "$tries" -lt "$4" ] && kill -0 "$init" 2>/dev/null; do
	kill -0 "$payload" 2>/dev/null || kill -s TERM "$init" 2>/dev/null
	sleep 0.1 2>/dev/null || sleep 1
	tries=$((tries + 1))
done
if kill -0 "$init" 2>/dev/null; then lxc-stop -P "$1" -n "$2" -k; fi
# Systemd ends at once what is there when this returns, and so would spoil the exit status.
tries=0
while [ -n "$MAINPID" ] && [ "$tries" -lt 50 ] && kill -0 "$MAINPID" 2>/dev/null; do
	sleep 0.1 2>/dev/null || sleep 1
	tries=$((tries + 1))
done
exit 0
`,
}

// writeScripts sees to it that the scripts are there, as this adapter has them.
func (s store) writeScripts() error {
	dir := filepath.Join(s.lxcPath(), scriptsName)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make the directory of scripts: %w", err)
	}
	for name, text := range scripts {
		path := filepath.Join(dir, name)
		if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, []byte(text)) {
			continue
		}
		if err := writeFile(path, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// script is the path of a script.
func (o order) script(name string) string { return filepath.Join(o.store, scriptsName, name) }

// commandName is the script that runs a container.
const commandName = "command"

// commandText is the script that runs a command, whatever is in its arguments.
func commandText(argv []string) string {
	quoted := make([]string, len(argv))
	for i, a := range argv {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return "exec " + strings.Join(quoted, " ") + "\n"
}
