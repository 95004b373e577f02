package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/relay/control"
	"github.com/PitchConnect/matchrelay/schema"
)

// Client asks the process that serves a control socket with Routes; its methods are those of API. Errors are those of API
// as well (errors.Is finds changes.ErrStale and so on), beside those of control.Client.
type Client struct{ control *control.Client }

// NewClient makes a client of a control socket, which stays the caller's to close.
func NewClient(c *control.Client) *Client { return &Client{c} }

// Record is API.Record. Metadata.Extra is not sent. While other large lists are worked on, it waits.
func (c *Client) Record(ctx context.Context, matches []schema.Match, meta changes.Metadata) (changes.Counts, error) {
	return c.post(ctx, matches, meta, url.Values{})
}

// Preview is API.Preview.
func (c *Client) Preview(ctx context.Context, matches []schema.Match, meta changes.Metadata) (changes.Counts, error) {
	return c.post(ctx, matches, meta, url.Values{"dry_run": {"1"}})
}

func (c *Client) post(ctx context.Context, matches []schema.Match, meta changes.Metadata, q url.Values) (changes.Counts, error) {
	if meta.AllowEmpty {
		q.Set("allow_empty", "1")
	}
	if !meta.FetchedAt.IsZero() {
		q.Set("fetched_at", meta.FetchedAt.Format(time.RFC3339Nano))
	}
	list := []byte{'['}
	for i, m := range matches {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, m.Raw()...)
	}
	list = append(list, ']')
	for {
		var counts changes.Counts
		err := c.call(ctx, "POST", "/v1/matches", q, bytes.NewReader(list), &counts)
		if !errors.Is(err, control.ErrBusy) {
			return counts, err
		}
		select {
		case <-ctx.Done():
			return counts, err
		case <-time.After(time.Second): // as Retry-After says
		}
	}
}

// Resync is API.Resync. The audit log names the user that the system tells, not by.Actor.
func (c *Client) Resync(ctx context.Context, by changes.Operator) (changes.Resynced, error) {
	body, err := json.Marshal(resyncRequest{by.Reason})
	if err != nil {
		return changes.Resynced{}, err
	}
	var done changes.Resynced
	err = c.call(ctx, "POST", "/v1/resync", nil, bytes.NewReader(body), &done)
	return done, err
}

// PreviewResync is API.PreviewResync.
func (c *Client) PreviewResync(ctx context.Context) (changes.Resynced, error) {
	var plan changes.Resynced
	err := c.call(ctx, "POST", "/v1/resync", url.Values{"dry_run": {"1"}}, nil, &plan)
	return plan, err
}

// Matches is API.Matches.
func (c *Client) Matches(ctx context.Context, at time.Time) ([]schema.Match, error) {
	body, err := c.send(ctx, "GET", "/v1/matches", when(at, true), nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var matches []schema.Match
	list, err := io.ReadAll(io.LimitReader(body, schema.MaxListBytes+1))
	if err == nil {
		matches, err = schema.ParseStored(list)
	}
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return matches, nil
}

// Outlines is API.Outlines.
func (c *Client) Outlines(ctx context.Context, at time.Time) ([]schema.Outline, error) {
	var outlines []schema.Outline
	err := c.call(ctx, "GET", "/v1/matches", when(at, false), nil, &outlines)
	return outlines, err
}

// Match is API.Match.
func (c *Client) Match(ctx context.Context, id string, at time.Time) (schema.Match, error) {
	var raw json.RawMessage
	if err := c.one(ctx, id, when(at, true), &raw); err != nil {
		return schema.Match{}, err
	}
	matches, err := schema.ParseStored(append(append([]byte{'['}, raw...), ']'))
	if err != nil || len(matches) != 1 {
		return schema.Match{}, fmt.Errorf("read the answer: %w", errors.Join(schema.ErrMatchList, err))
	}
	return matches[0], nil
}

// Outline is API.Outline.
func (c *Client) Outline(ctx context.Context, id string, at time.Time) (schema.Outline, error) {
	var o schema.Outline
	err := c.one(ctx, id, when(at, false), &o)
	return o, err
}

func (c *Client) one(ctx context.Context, id string, q url.Values, into any) error {
	if strings.Trim(id, ".") == "" { // a path ends otherwise with these
		return notFound(id)
	}
	return c.call(ctx, "GET", "/v1/matches/"+url.PathEscape(id), q, nil, into)
}

// History is API.History.
func (c *Client) History(ctx context.Context, id string, raw bool) ([]Change, error) {
	if strings.Trim(id, ".") == "" {
		return nil, notFound(id)
	}
	body, err := c.send(ctx, "GET", "/v1/matches/"+url.PathEscape(id)+"/history", when(time.Time{}, raw), nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	list := []Change{}
	for d := json.NewDecoder(body); ; {
		var l struct {
			Change
			lastLine
		}
		switch err := d.Decode(&l); {
		case errors.Is(err, io.EOF):
			return list, nil
		case err != nil:
			return list, fmt.Errorf("the list ends early: %w", err)
		case l.Error != nil:
			return list, recognised(l.Error)
		}
		list = append(list, l.Change)
	}
}

func when(at time.Time, raw bool) url.Values {
	q := url.Values{}
	if !at.IsZero() {
		q.Set("at", at.Format(time.RFC3339Nano))
	}
	if raw {
		q.Set("raw", "1")
	}
	return q
}

func (c *Client) call(ctx context.Context, method, path string, q url.Values, body io.Reader, into any) error {
	return recognised(c.control.Call(ctx, control.Request{Method: method, Path: path + "?" + q.Encode(), Body: body}, into))
}

func (c *Client) send(ctx context.Context, method, path string, q url.Values, body io.Reader) (io.ReadCloser, error) {
	answer, err := c.control.Send(ctx, control.Request{Method: method, Path: path + "?" + q.Encode(), Body: body})
	return answer, recognised(err)
}
