package api

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/PitchConnect/matchrelay/relay/control"
)

// query is that of a request, whose parameters are known and given once.
type query struct {
	values url.Values
	err    error // the first that was wrong
}

func parseQuery(r *http.Request, known ...string) query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return query{err: invalid("query: expected name=value pairs, escaped as in URLs")}
	}
	for name, given := range values {
		switch {
		case !slices.Contains(known, name):
			expected := "this request takes none"
			if len(known) > 0 {
				expected = "expected " + strings.Join(known, ", ")
			}
			return query{err: &control.Error{Code: "unknown_parameter", Message: fmt.Sprintf("%.40q is not a parameter of this request: %s", name, expected)}}
		case len(given) > 1:
			return query{err: invalid("%s is given more than once", name)}
		}
	}
	return query{values: values}
}

// flag is a parameter that is 1 or 0, or not given.
func (q *query) flag(name string) bool {
	switch value := q.values.Get(name); {
	case q.values.Has(name) && value != "0" && value != "1" && q.err == nil:
		q.err = invalid("%s: expected 1 or 0", name)
	case value == "1":
		return true
	}
	return false
}

// time is a parameter that is a time; the zero time if it is not given.
func (q *query) time(name string) time.Time {
	if !q.values.Has(name) {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, q.values.Get(name))
	if err != nil && q.err == nil {
		q.err = invalid("%s: expected a time such as 2025-09-21T10:30:00Z (a + in the offset is written %%2B)", name)
	}
	return t
}

const maxKey = 255 // characters

// key is the Idempotency-Key, "" if there is none.
func key(r *http.Request) (string, error) {
	given := r.Header.Values("Idempotency-Key")
	odd := func(r rune) bool { return r < ' ' || r > '~' }
	switch {
	case len(given) == 0:
		return "", nil
	case len(given) > 1 || given[0] == "" || len(given[0]) > maxKey || strings.ContainsFunc(given[0], odd):
		return "", invalid("header Idempotency-Key: expected one, of 1 to %d printable ASCII characters", maxKey)
	}
	return given[0], nil
}

// readBody reads a request to its end. One that breaks off is never taken for a shorter one.
func readBody(w http.ResponseWriter, r *http.Request, tooLarge error) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, fmt.Errorf("%w: a request may have %d bytes", tooLarge, large.Limit)
	case err != nil:
		return nil, invalid("body: it broke off after %d bytes", len(body))
	}
	giveTime(w)
	return body, nil
}

type hash = [sha256.Size]byte

// hashOf is the same for the same request: endpoint, parameters in any order, and body.
func hashOf(r *http.Request, q query, body []byte) (sum hash) {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s?%s\n", r.Method, r.URL.Path, q.values.Encode())
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// line is v as JSON, with a line break.
func line(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(b, '\n'), err
}

// reply answers with JSON that is made already.
func reply(w http.ResponseWriter, answer []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // the client has gone
}
