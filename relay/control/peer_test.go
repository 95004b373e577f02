package control

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/stranger"
)

const listenEnv = "CONTROL_TEST_LISTEN" // at the socket that it names, in a process of its own

func TestDial_SendsNothingToAnotherUser(t *testing.T) {
	if path := os.Getenv(listenEnv); path != "" {
		listenForTest(path)
		return
	}
	stranger.Need(t)
	dir := folder(t)
	require.NoError(t, os.Chmod(dir, os.ModeSticky|0o777))
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	path, file := filepath.Join(dir, "test.db.sock"), filepath.Join(dir, "test.db")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "program"), program, 0o755))
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	cmd := exec.Command(filepath.Join(dir, "program"), "-test.run=^"+t.Name()+"$")
	cmd.Env = []string{listenEnv + "=" + path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger.ID, Gid: stranger.ID}}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "listening", lines.Text())

	for advice, dial := range map[string]func() (*Client, error){
		"if it is their outbox that you want, set MATCHRELAY_DB to its file, or run this as that user; otherwise name a socket": func() (*Client, error) { return Dial(path) },
		"nothing was sent: name a socket": func() (*Client, error) { return DialFor(path, file) },
	} {
		_, err = dial()
		require.ErrorContains(t, err, advice)
		require.ErrorIs(t, err, ErrOtherUser)
		require.ErrorContains(t, err, "control socket "+path)
		require.ErrorContains(t, err, "the user "+userName(stranger.ID)+" serves it; nothing was sent")
		require.ErrorContains(t, err, "MATCHRELAY_SOCKET")
		require.True(t, lines.Scan())
		require.Equal(t, "connected, was sent 0 bytes", lines.Text())
	}

	require.NoError(t, os.Chown(file, stranger.ID, stranger.ID))
	client, err := DialFor(path, file)
	require.NoError(t, err, "root may use the socket of whoever owns the file")
	require.NoError(t, client.Close())
	require.True(t, lines.Scan())
	require.NoError(t, os.Chown(file, 0, 0))
	_, err = client.Status(t.Context())
	require.ErrorIs(t, err, ErrOtherUser, "each connection is looked at")
}

// listenForTest tells of each connection what came over it.
func listenForTest(path string) {
	l, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("listening")
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		n, _ := io.Copy(io.Discard, conn)
		fmt.Printf("connected, was sent %d bytes\n", n)
		_ = conn.Close()
	}
}
