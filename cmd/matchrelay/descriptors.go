package main

import "syscall"

// enoughDescriptors is how many open files a process may need: those of the clients of control socket and port (192 at most, and no
// more than half of what is allowed), of Redis, also of a large Cluster, and of the outbox.
const enoughDescriptors = 512

const raiseDescriptors = "raise the limit of open files: ulimit -n 4096, LimitNOFILE=4096 (systemd), --ulimit nofile=4096 (docker)"

// descriptors is how many open files this process may have, and whether that is enough.
func descriptors() (limit uint64, enough bool) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, true // it cannot be told
	}
	limit = uint64(r.Cur)
	return limit, limit >= enoughDescriptors
}

func checkDescriptors(_ *patient, c *check) {
	if limit, enough := descriptors(); !enough {
		c.warn(raiseDescriptors, "this process may have %d open files; %d may be needed", limit, enoughDescriptors)
		return
	}
	c.ok("enough open files are allowed")
}
