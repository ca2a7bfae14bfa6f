#!/bin/sh
# The warden of a machine: it holds what the machine is made of, and all of it goes with it. It is the first process of a PID
# namespace and the only owner of a mount namespace: when it ends, for whatever reason, the kernel ends everything in the machine and
# takes its mounts away.
#
#   warden.sh hold NAME DIR     sets up the machine NAME, whose files are below DIR, says "ready" and holds it until the standard input ends
#   warden.sh sweep NAME DIR    removes what is left of one whose warden was killed: its control groups and DIR
set -eu
task=$1 name=$2 dir=$3

# hierarchies prints the directory of each cgroup hierarchy: one in a pure v2 system, several in a hybrid one.
hierarchies() {
	if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
		echo /sys/fs/cgroup
		return
	fi
	for h in /sys/fs/cgroup/*; do
		[ -L "$h" ] || [ ! -e "$h/cgroup.procs" ] || echo "$h" # cpu and cpuacct may be two names of one
	done
}

# remove_groups removes the control groups of the machine, which hold no process any more once the kernel is done with the dead.
remove_groups() {
	for _ in $(seq 200); do
		left=
		for h in $(hierarchies); do
			[ ! -d "$h/$name" ] || find "$h/$name" -depth -type d -exec rmdir {} + 2>/dev/null || left="$left $h/$name"
		done
		[ -n "$left" ] || return 0
		sleep 0.05
	done
	echo "cannot remove the control groups$left" >&2
	return 1
}

# remove_files removes the directory of the machine by name: nothing else is ever in it.
remove_files() {
	rm -f "$dir/lock" "$dir/console"
	rmdir "$dir/disk" "$dir"
}

# device prints the number of the file system that a file says it is on, as losetup writes it. In an overlay that is neither the number of
# the overlay nor that of its upper directory.
device() {
	number=$(stat -c %d "$1")
	echo "$((number >> 8 & 0xfff)):$((number & 0xff | number >> 12 & 0xfff00))"
}

# detach_loops detaches the loop devices whose files lie on the disk of the machine. When the warden is killed that cannot be told any
# more: those that detach themselves with their last mount have gone then, and no others.
detach_loops() {
	touch "$dir/disk/root/loops" "$dir/disk/loops"
	disks="$(device "$dir/disk/loops") $(device "$dir/disk/root/loops")"
	losetup --list --noheadings --output NAME,BACK-MAJ:MIN | while read -r loop disk; do
		case " $disks " in
		*" $disk "*) losetup --detach "$loop" ;;
		esac
	done
}

if [ "$task" = sweep ]; then
	remove_groups
	remove_files
	exit
fi

mount --make-rprivate /
mount -t proc proc /proc
# systemd-nspawn leaves files in /run; these go with the machine.
mount -t tmpfs -o mode=0755 smmd-machine /run
mount -t tmpfs -o mode=0755 smmd-machine "$dir/disk"
mkdir "$dir/disk/upper" "$dir/disk/work" "$dir/disk/root" "$dir/disk/beside"
mount -t overlay -o "lowerdir=/,upperdir=$dir/disk/upper,workdir=$dir/disk/work" smmd-machine "$dir/disk/root"
for h in $(hierarchies); do
	mkdir "$h/$name"
	[ ! -e "$h/$name/cpuset.cpus" ] || [ ! -w "$h/$name/cpuset.cpus" ] || [ -e "$h/cgroup.controllers" ] || {
		cat "$h/cpuset.cpus" >"$h/$name/cpuset.cpus"
		cat "$h/cpuset.mems" >"$h/$name/cpuset.mems"
	}
done
echo ready
while read -r _; do :; done

kill -KILL -1 2>/dev/null || true # all of the namespace but this process
wait
detach_loops
umount --lazy "$dir/disk/root"
umount --lazy --recursive "$dir/disk"
remove_groups
remove_files
