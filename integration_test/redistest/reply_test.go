package redistest

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReadReplyRefusesWhatASubscriberNeverGets(t *testing.T) {
	for _, in := range []string{"", "+OK\r\n", "*x\r\n", "*1\r\n", "*1\r\n$-1\r\n", "*1\r\n$5\r\nab\r\n", "*1\r\n+OK\r\n", "*1\r\n$x\r\n"} {
		_, err := readReply(bufio.NewReader(strings.NewReader(in)))
		require.Error(t, err, "%q", in)
	}
}

func TestReadValueReadsEveryKindOfReply(t *testing.T) {
	got, err := readValue(bufio.NewReader(strings.NewReader("*7\r\n$2\r\n\r\n\r\n:-3\r\n+OK\r\n-ERR no\r\n$-1\r\n*-1\r\n*1\r\n*0\r\n")))
	require.NoError(t, err)
	require.Equal(t, []any{"\r\n", -3, status("OK"), replyError("ERR no"), nil, nil, []any{[]any{}}}, got)
	for _, in := range []string{"", "?\r\n", "?1\r\n", "*2\r\n:1\r\n", "$3\r\nab"} {
		_, err := readValue(bufio.NewReader(strings.NewReader(in)))
		require.Error(t, err, "%q", in)
	}
}

func TestACommandSaysWhyThereIsNoReply(t *testing.T) {
	s := Start(t, Options{})
	reply, err := command(s.Addr(), Patience, "ECHO", "a b")
	require.NoError(t, err)
	require.Equal(t, "a b", reply)
	_, err = command(s.Addr(), Patience, "NO", "such")
	require.ErrorContains(t, err, "NO such: ERR unknown command")
	s.Freeze()
	_, err = command(s.Addr(), 50*time.Millisecond, "PING")
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout())
	s.Kill()
	_, err = command(s.Addr(), Patience, "PING")
	require.ErrorContains(t, err, "refused")
}
