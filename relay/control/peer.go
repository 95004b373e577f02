package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// withDescriptor calls do with the descriptor of a unix socket.
func withDescriptor(conn net.Conn, do func(fd int) error) error {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("no unix socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = do(int(fd)) })
	return errors.Join(err, failed)
}

// peer names the user of the process at the other end of a unix socket.
func peer(conn net.Conn) string {
	uid, known := peerUser(conn)
	if !known {
		return "unknown"
	}
	return userName(uid)
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(uid)
}

// notOurs is what to do about a socket that another user serves. file is that of the outbox, or empty.
func notOurs(me int, file string) string {
	advice := "name a socket in a folder that only you can write to with MATCHRELAY_SOCKET"
	if me != 0 {
		return "if it is their outbox that you want, run this as that user; otherwise " + advice
	}
	if _, err := os.Stat(file); err != nil {
		return "if it is their outbox that you want, set MATCHRELAY_DB to its file, or run this as that user; otherwise " + advice
	}
	return advice
}

// checkServer refuses a socket that neither this user serves, nor root, nor, for root, the owner of the outbox file: in a folder that
// others can write to, anybody may have taken its name (and that of the file, so that its owner counts only for root, who can
// use the socket of any user). Where the system does not tell who serves it, nobody is refused.
func checkServer(conn net.Conn, file string) error {
	uid, known := peerUser(conn)
	if !known || uid == 0 || uid == os.Geteuid() {
		return nil
	}
	if info, err := os.Stat(file); err == nil && os.Geteuid() == 0 && int(info.Sys().(*syscall.Stat_t).Uid) == uid {
		return nil
	}
	return fmt.Errorf("%w: the user %s serves it; nothing was sent: %s", ErrOtherUser, userName(uid), notOurs(os.Geteuid(), file))
}
