// Package lxc is the adapter for LXC containers.
//
// An environment is one container store, a directory that the lxc-* tools are told with -P. A deployment unit is a container with its one
// execution unit "container"; its package is an OCI image in a file, or the tarball of a root file system with metadata. Containers are
// children of others: of the service manager where that is systemd, in a session of their own elsewhere. They outlive the adapter.
//
// All that the adapter has to find again lies in the directory of the container, and each file there is replaced as a whole:
//
//	store/NAME/smmd.json   which generations there are, which is the present one, and by which operations that came about
//	store/NAME/N/          generation N: rootfs, image.json, what the image asks for, and
//	                       points.json, the directories of rootfs that are there for volumes
//	store/NAME/given.json  what a controller gave to it: variables, limits and volumes
//	store/NAME/config      the configuration for LXC, made anew before each start
//	store/NAME/command     the script that runs the container, made with it
//	store/.smmd/           the scripts that run where the adapter may be gone
//	store/NAME/run.json    the present or last run, and how far it was
//	store/NAME/ended       how that run ended, written by whoever waits for it
//	staging/, trash/       what is not yet a container, and what is none any more
//	launch                 the launch of the environment; a reboot of the device makes it void
//
// smmd.json is the truth of what is installed: a directory in the store without one is a container that somebody else made. Such a container is shown,
// started, stopped and removed, with the tools of LXC.
//
// What a container is doing is asked anew, of LXC and of those files, whenever something may have changed: lxc-monitor only says when. How
// a run ended is judged by one function, [verdict].
package lxc
