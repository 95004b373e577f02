package control

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// backup streams a consistent copy of the outbox file. An answer that ends early is cut off, so that it cannot be taken for
// a whole one.
func (s *server) backup(w http.ResponseWriter, r *http.Request) error {
	s.giveTime(w)
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &givingWriter{ResponseWriter: w, s: s}
	_, err := s.opts.Outbox.Backup(r.Context(), out)
	if err != nil && out.began {
		panic(http.ErrAbortHandler)
	}
	return err
}

// givingWriter gives the client time for every piece that it is sent.
type givingWriter struct {
	http.ResponseWriter
	s     *server
	began bool
}

func (w *givingWriter) Write(b []byte) (int, error) {
	w.began = true
	w.s.giveTime(w.ResponseWriter)
	return w.ResponseWriter.Write(b)
}

// Backup writes a copy of the outbox file to w, as outbox.Backup does. After an error, what was written is not a copy.
func (c *Client) Backup(ctx context.Context, w io.Writer) (n int64, err error) {
	body, err := c.Send(ctx, Request{Method: http.MethodGet, Path: "/v1/backup"})
	if err != nil {
		return 0, err
	}
	defer body.Close()
	n, err = io.Copy(w, body)
	if hungUp(err) {
		err = fmt.Errorf("control socket %s: the copy ends early: %w any more", c.path, ErrNotRunning)
	}
	return n, err
}
