package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

var errProtocol = errors.New("not a reply that is expected")

// status is a reply such as +OK.
type status string

// replyError is a reply such as -ERR.
type replyError string

func (e replyError) Error() string { return string(e) }

// command sends one command to a server, on a connection of its own, and gives
// up after a while. By hand: go-redis would log every refused connection, of
// which there are many while one waits for a server.
func command(addr string, within time.Duration, words ...string) (any, error) {
	conn, err := net.DialTimeout("tcp", addr, within)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(within)) // fails only on a closed connection
	writeCommand(conn, words...)
	reply, err := readValue(bufio.NewReader(conn))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(words, " "), err)
	}
	if refused, ok := reply.(replyError); ok {
		return nil, fmt.Errorf("%s: %w", strings.Join(words, " "), refused)
	}
	return reply, nil
}

// writeCommand leaves it to the reader of the reply to find the connection broken.
func writeCommand(conn net.Conn, words ...string) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	_, _ = io.WriteString(conn, b.String())
}

// readReply reads an array of bulk strings and integers, as text.
func readReply(in *bufio.Reader) ([]string, error) {
	reply, err := readValue(in)
	if err != nil {
		return nil, err
	}
	list, ok := reply.([]any)
	if !ok {
		return nil, errProtocol
	}
	items := make([]string, len(list))
	for i, item := range list {
		switch item := item.(type) {
		case string:
			items[i] = item
		case int:
			items[i] = strconv.Itoa(item)
		default:
			return nil, errProtocol
		}
	}
	return items, nil
}

// readValue reads any reply: a string, an int, a status, a replyError, nil, or
// an []any of them.
func readValue(in *bufio.Reader) (any, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	kind, rest := line[0], strings.TrimRight(line[1:], "\r\n")
	switch kind {
	case '+':
		return status(rest), nil
	case '-':
		return replyError(rest), nil
	}
	n, err := strconv.Atoi(rest)
	switch {
	case err != nil:
		return nil, err
	case kind == ':':
		return n, nil
	case n < 0 && (kind == '$' || kind == '*'):
		return nil, nil
	case kind == '$':
		bulk := make([]byte, n+len("\r\n"))
		if _, err := io.ReadFull(in, bulk); err != nil {
			return nil, err
		}
		return string(bulk[:n]), nil
	case kind == '*':
		list := make([]any, n)
		for i := range list {
			if list[i], err = readValue(in); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, errProtocol
}
