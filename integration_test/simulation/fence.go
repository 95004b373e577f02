package simulation

import (
	"bytes"
	"strconv"
	"time"
)

// fence watches what passes one end of a connection to the control socket: once another relay has the lease, whatever one with
// an older number sends must be refused, however late it arrives.
type fence struct {
	line  []byte // the beginning of the request that is being answered
	lease uint64 // that it names, 0: none
	late  bool   // another relay had the lease when it arrived
}

// lineBytes are enough of a request to see the number of a lease.
const lineBytes = 64

var (
	callPath  = []byte("POST /v1/relay/")
	granted   = []byte(`{"lease":`)
	statusOK  = []byte("HTTP/1.1 200")
	anyAnswer = []byte("HTTP/1.1")
)

// number64 is the number that a text begins with.
func number64(text []byte) uint64 {
	digits := 0
	for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
		digits++
	}
	n, _ := strconv.ParseUint(string(text[:digits]), 10, 64)
	return n
}

// arrives looks at what an end has got.
func (e *end) arrives(b []byte) {
	if e.process == nil {
		if _, number, ok := bytes.Cut(b, granted); ok {
			e.leased = number64(number)
		}
		return
	}
	if len(e.line) >= lineBytes {
		return
	}
	e.line = append(e.line, b[:min(len(b), lineBytes-len(e.line))]...)
	if number, ok := bytes.CutPrefix(e.line, callPath); ok {
		e.lease = number64(number)
		e.late = e.lease != e.process.lease && time.Now().After(e.process.leasedAt)
	}
}

// answers looks at what a process says.
func (e *end) answers(b []byte) {
	p := e.process
	if e.lease == 0 {
		if _, number, ok := bytes.Cut(b, granted); ok {
			p.lease, p.leasedAt = number64(number), time.Now()
		}
	}
	if !bytes.HasPrefix(b, anyAnswer) {
		return
	}
	if e.late && bytes.HasPrefix(b, statusOK) {
		e.w.violate("fenced: what came with lease %d was taken, and a relay had lease %d since %v: %q", e.lease, p.lease,
			p.leasedAt.Sub(e.w.began), e.line)
	}
	e.line, e.lease, e.late = nil, 0, false
}
