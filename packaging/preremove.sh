#!/bin/sh
# Before removal, not before an upgrade: the agent is stopped. Frameworks that run go on until somebody ends them.
set -e
case "${1:-remove}" in
upgrade | 1) exit 0 ;; # of deb, of rpm
esac
if [ -d /run/systemd/system ]; then
	systemctl disable --now smmd-usp.service smmd.service
elif [ -x /etc/init.d/smmd ]; then
	/etc/init.d/smmd stop
	/etc/init.d/smmd disable
fi
