#!/bin/sh
# Installs what building, running and testing need and this machine does not have: Debian 12 or Ubuntu, as root.
# With everything in place it does nothing and needs neither root nor a network.
#
#   packaging/deps.sh run     a JDK, Maven, a D-Bus daemon; for root, who can boot disposable machines, what is in them
#   packaging/deps.sh test    besides, busctl, gdbus and Python as independent D-Bus clients; for root, what makes images and looks at them
#   packaging/deps.sh lint    besides, protoc and shellcheck
set -eu

missing=""
need() { # need COMMAND PACKAGE
	case "$missing " in *" $2 "*) return ;; esac
	command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || missing="$missing $2"
}

# need_machine is for those who can boot a machine with systemd, portable services and containers.
need_machine() {
	[ "$(id -u)" = 0 ] || return 0
	need systemd-nspawn systemd-container # with portabled
	need /lib/systemd/system/dbus.socket dbus
	need lxc-execute lxc
	need losetup mount
	need busybox busybox-static
	need mksquashfs squashfs-tools
}

need java default-jdk-headless
need javac default-jdk-headless
need mvn maven
need dbus-daemon dbus-daemon
case "${1:-run}" in
run) need_machine ;;
test)
	need_machine
	if [ "$(id -u)" = 0 ]; then
		need mkfs.ext4 e2fsprogs
		need skopeo skopeo
		need umoci umoci
		need newuidmap uidmap
		need ps procps
	fi
	need busctl systemd
	need gdbus libglib2.0-bin
	need /usr/lib/python3/dist-packages/gi/__init__.py python3-gi # with python3
	need gcc gcc # for the race detector, with the headers of the C library
	[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"
	;;
lint)
	need protoc protobuf-compiler
	need shellcheck shellcheck
	;;
*)
	echo "usage: $0 [run|test|lint]" >&2
	exit 2
	;;
esac
if ! command -v go >/dev/null 2>&1; then
	echo "$0: Go is missing: install Go 1.26 or newer" >&2
	exit 1
fi
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "$0: please install:$missing" >&2
	exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
