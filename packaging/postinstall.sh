#!/bin/sh
# After installation: the groups of the bus policy, and the bus and the service manager read what is new. An agent that runs
# is replaced by the new one; frameworks go on.
set -e

for group in smmd smmd-read; do
	grep -q "^$group:" /etc/group && continue
	if command -v groupadd >/dev/null 2>&1; then
		groupadd --system "$group"
	elif command -v addgroup >/dev/null 2>&1; then
		addgroup -S "$group"
	else # OpenWrt
		# shellcheck disable=SC1091 # of the device
		. /lib/functions.sh
		group_add_next "$group"
	fi
done

if command -v dbus-send >/dev/null 2>&1; then
	dbus-send --system --type=method_call --dest=org.freedesktop.DBus / org.freedesktop.DBus.ReloadConfig >/dev/null 2>&1 ||
		echo "smmd: the bus does not run; it reads its new policy when it starts" >&2
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart smmd.service smmd-usp.service
fi
