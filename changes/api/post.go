package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
	"github.com/PitchConnect/matchrelay/schema"
)

// postMatches records a match list.
func (a *API) postMatches(w http.ResponseWriter, r *http.Request) error {
	q := parseQuery(r, "allow_empty", "fetched_at", "dry_run")
	meta := changes.Metadata{AllowEmpty: q.flag("allow_empty"), FetchedAt: q.time("fetched_at")}
	dryRun := q.flag("dry_run")
	key, err := key(r)
	if err = errors.Join(q.err, err); err != nil {
		return err
	}
	body, err := readBody(w, r, schema.ErrTooLarge)
	if err != nil {
		return described(err)
	}
	if dryRun {
		matches, err := schema.ParseMatches(body)
		if err != nil {
			return described(err)
		}
		counts, err := a.Preview(r.Context(), matches, meta)
		return answerWith(w, counts, err)
	}
	var summary changes.Summary
	return a.answerOnce(w, key, hashOf(r, q, body), func(once keyed) error {
		matches, err := schema.ParseMatches(body)
		if err == nil {
			err = a.prepare(r.Context())
		}
		if err != nil {
			return err
		}
		return a.recorder.RecordWith(r.Context(), matches, meta, func(tx *bbolt.Tx, record func() (changes.Summary, error)) error {
			return once(tx, func() ([]byte, error) {
				recorded, err := record()
				if err != nil {
					return nil, err
				}
				summary = recorded
				return line(recorded)
			})
		})
	}, func() {
		if summary.Changed() {
			a.opts.Logger.Info("match list posted", "matches", summary.Matches, "new", len(summary.New), "updated", len(summary.Updated),
				"cancelled", len(summary.Cancelled), "removed", len(summary.Removed), "changes", len(summary.Changes), "sequences", summary.Sequences)
		}
	})
}

// Posted is the answer to an event.
type Posted struct {
	Sequences []uint64 `json:"sequences"` // of the event in the outbox; none where events are turned off
	MessageID string   `json:"message_id"`
}

// postEvent appends an event.
func (a *API) postEvent(w http.ResponseWriter, r *http.Request) error {
	q := parseQuery(r)
	key, err := key(r)
	if err == nil && key == "" {
		err = invalid("header Idempotency-Key: expected one, for a request that is repeated must not send the event twice")
	}
	if err = errors.Join(q.err, err); err != nil {
		return err
	}
	body, err := readBody(w, r, outbox.ErrTooLarge)
	if err != nil {
		return described(err)
	}
	return a.answerOnce(w, key, hashOf(r, q, body), func(once keyed) error {
		m, err := a.decodeEvent(body)
		if err != nil {
			return err
		}
		return a.recorder.Outbox().Update(r.Context(), func(tx *bbolt.Tx) error {
			return once(tx, func() ([]byte, error) {
				sequences, err := a.recorder.AppendTx(tx, m)
				if err != nil {
					return nil, err
				}
				return line(Posted{Sequences: append([]uint64{}, sequences...), MessageID: m.ID})
			})
		})
	}, func() { a.opts.Logger.Debug("event posted") })
}

// keyed does something in a transaction and keeps the answer that it returns, unless the request was answered before. The
// transaction fails when it does.
type keyed func(tx *bbolt.Tx, do func() ([]byte, error)) error

// answerOnce answers with what was answered under the key before. If there is none, act makes a transaction, in which it
// calls once, and then done is called.
func (a *API) answerOnce(w http.ResponseWriter, key string, sum hash, act func(once keyed) error, done func()) error {
	answer, replayed, err := a.answered(key, sum)
	if err == nil && !replayed {
		err = act(func(tx *bbolt.Tx, do func() ([]byte, error)) (err error) {
			answer, replayed, err = a.once(tx, key, sum, do)
			return err
		})
	}
	if err != nil {
		return described(err)
	}
	if replayed {
		w.Header().Set("Idempotency-Replayed", "true")
		if state := a.givenUp(answer); state != "" {
			w.Header().Set("Event-State", string(state))
		}
	} else {
		done()
	}
	giveTime(w)
	reply(w, answer)
	return nil
}

// givenUp is parked or discarded when an event that was appended with an answer is: a request that is repeated sends nothing then.
func (a *API) givenUp(answer []byte) outbox.State {
	var appended struct {
		Sequences []uint64 `json:"sequences"`
	}
	_ = json.Unmarshal(answer, &appended) // it is our own
	for _, sequence := range appended.Sequences {
		_, info, err := a.recorder.Outbox().Get(context.Background(), sequence)
		if err == nil && (info.State == outbox.Parked || info.State == outbox.Discarded) {
			return info.State
		}
	}
	return ""
}

// resyncRequest is the body of a resync; it may be left out.
type resyncRequest struct {
	Reason string `json:"reason"`
}

// postResync appends a match update with the whole list.
func (a *API) postResync(w http.ResponseWriter, r *http.Request) error {
	q := parseQuery(r, "dry_run")
	dryRun := q.flag("dry_run")
	if q.err != nil {
		return q.err
	}
	body, err := readBody(w, r, outbox.ErrTooLarge)
	if err != nil {
		return err
	}
	var request resyncRequest
	if len(body) > 0 {
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		err := d.Decode(&request)
		if _, end := d.Token(); err != nil || end != io.EOF {
			return invalid(`body: expected {"reason":"…"} or nothing`)
		}
	}
	var done changes.Resynced
	if dryRun {
		done, err = a.PreviewResync(r.Context())
	} else {
		done, err = a.Resync(r.Context(), changes.Operator{Actor: control.Actor(r.Context()), Reason: request.Reason})
	}
	return answerWith(w, done, err)
}

func answerWith(w http.ResponseWriter, v any, err error) error {
	if err != nil {
		return described(err)
	}
	answer, err := line(v)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	giveTime(w)
	reply(w, answer)
	return nil
}
