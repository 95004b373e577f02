package control

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerUser is the user of the process at the other end of a unix socket: of the one that connected, or that listens.
func peerUser(conn net.Conn) (uid int, known bool) {
	err := withDescriptor(conn, func(fd int) error {
		cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		if err == nil {
			uid = int(cred.Uid)
		}
		return err
	})
	return uid, err == nil
}
