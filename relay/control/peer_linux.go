package control

import (
	"net"
	"os/user"
	"strconv"
	"syscall"
)

// peer names the user of the process at the other end of a unix socket.
func peer(conn net.Conn) string {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return "unknown"
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return "unknown"
	}
	var cred *syscall.Ucred
	if controlErr := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); controlErr != nil || err != nil {
		return "unknown"
	}
	uid := strconv.FormatUint(uint64(cred.Uid), 10)
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return "uid " + uid
}
