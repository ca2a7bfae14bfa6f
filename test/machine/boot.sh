#!/bin/sh
# Boots a machine that a warden holds, in its namespaces. Its console is the standard output; it ends with the machine: 0 power off, 133
# reboot, anything else is an accident.
#
#   boot.sh NAME ROOT CONTROLLERS [OPTION of systemd-nspawn]...
#
# CONTROLLERS is true if the controllers of cgroup v1 are to be writable inside.
set -eu
name=$1 root=$2 controllers=$3
shift 3

# Into the control groups of the machine before systemd-nspawn looks at where it is: machines that are booted from the same group see
# the units of each other. Groups that an earlier life of this machine left go first.
for h in /sys/fs/cgroup "/sys/fs/cgroup"/*; do
	if [ ! -d "$h/$name" ] || [ -L "$h" ]; then continue; fi
	find "$h/$name" -mindepth 1 -depth -type d -exec rmdir {} +
	echo 0 >"$h/$name/cgroup.procs"
done
# systemd-nspawn mounts them read-only. They have to be writable before systemd looks at them, so this comes before it. What they hold is
# below the machine's own groups. A system with cgroup v2 alone has none of them.
# shellcheck disable=SC2016 # expanded inside
init='
if "$1"; then
	for c in /sys/fs/cgroup/*; do
		[ -L "$c" ] || [ -e /sys/fs/cgroup/cgroup.procs ] || [ ! -e "$c/cgroup.procs" ] || mount -o remount,rw,bind "$c"
	done
fi
exec /lib/systemd/systemd'
exec systemd-nspawn --quiet --directory="$root" --machine="$name" --register=no --keep-unit --private-network --capability=all \
	--system-call-filter='@mount @keyring bpf' --console=read-only --kill-signal=SIGRTMIN+3 "$@" /bin/sh -c "$init" init "$controllers"
