package changes

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

// Cycle runs one processing cycle around the caller's fetch:
//
//   - a processing_status "started" is committed before fetch is called;
//   - then, as with Record, one transaction holds what changed and the status "completed",
//     which comes also when nothing changed; a list that was recorded meanwhile,
//     unless by a cycle that had begun earlier, is not undone, whatever clocks
//     say (ErrStale);
//   - when fetch or Record fails, or fetch panics, or ctx is cancelled, a status
//     "failed" and a processing_error alert are committed instead, with the
//     error's text (severity error, but info for a cancelled ctx). The error is
//     returned; the panic goes on.
//
// The text of fetch's error goes out to subscribers: of URLs in it, credentials
// and queries are left out, the rest is the caller's duty. A panic's value is
// never told. In Summary, Sequences has every event of the cycle.
func (r *Recorder) Cycle(ctx context.Context, fetch func(context.Context) ([]schema.Match, error)) (Summary, error) {
	start := r.opts.Now()
	var number, turn uint64
	var started []uint64
	err := r.outbox.Update(ctx, func(tx *bbolt.Tx) error {
		n, err := nextCycle(tx)
		if err != nil {
			return err
		}
		if turn, err = nextTurn(tx); err != nil {
			return err
		}
		sequences, err := r.appendStatus(tx, schema.Status{State: schema.StatusStarted, Cycle: n})
		number, started = n, sequences
		return err
	})
	if err != nil {
		return Summary{}, fmt.Errorf("start cycle: %w", err)
	}

	failure := errors.New("the function that fetches the matches panicked or ended its goroutine")
	defer func() {
		if failure != nil {
			r.fail(ctx, number, r.since(start), failure)
		}
	}()
	s, err := r.finish(ctx, number, turn, start, fetch)
	if failure = err; err != nil {
		return Summary{}, fmt.Errorf("cycle %d: %w", number, err)
	}
	s.Sequences = append(started, s.Sequences...)
	r.log(s)
	return s, nil
}

func (r *Recorder) since(start time.Time) time.Duration { return max(0, r.opts.Now().Sub(start)) }

// finish fetches, records and completes.
func (r *Recorder) finish(ctx context.Context, number, turn uint64, start time.Time, fetch func(context.Context) ([]schema.Match, error)) (Summary, error) {
	asked := r.opts.Now()
	matches, err := fetch(ctx)
	if err != nil {
		return Summary{}, fmt.Errorf("fetch: %w", err)
	}
	var s Summary
	job := r.recording(newList(matches), Metadata{FetchedAt: asked, turn: turn})
	err = ahead(ctx, r.outbox, job, func(tx *bbolt.Tx, finish func() (Summary, error)) error {
		summary, err := finish()
		if err != nil {
			return err
		}
		sequences, err := r.appendStatus(tx, schema.Status{
			State: schema.StatusCompleted, Cycle: number, Duration: r.since(start), Matches: summary.Matches,
			Details: map[string]any{
				"changes_detected": summary.Changed(), "new_matches": len(summary.New), "updated_matches": len(summary.Updated),
				"cancelled_matches": len(summary.Cancelled), "removed_matches": len(summary.Removed), "changes": len(summary.Changes),
			},
		})
		summary.Sequences = append(summary.Sequences, sequences...)
		s = summary
		return err
	})
	if err != nil {
		return Summary{}, fmt.Errorf("record %d matches: %w", len(matches), err)
	}
	return s, nil
}

// fail tells of a failed cycle, also when ctx is what made it fail. A full
// outbox still takes the alert.
func (r *Recorder) fail(ctx context.Context, number uint64, took time.Duration, cause error) {
	severity := schema.SeverityError
	if ctx.Err() != nil { // a processor that is told to stop: nobody needs to get up
		severity = schema.SeverityInfo
	}
	ctx = context.WithoutCancel(ctx)
	text := redact(cause.Error())
	alert := schema.Alert{
		Type: schema.AlertProcessingError, Severity: severity,
		Message: fmt.Sprintf("processing cycle %d failed: %s", number, text),
		Details: map[string]any{"cycle_number": number},
	}
	err := r.outbox.Update(ctx, func(tx *bbolt.Tx) error {
		_, err := r.appendStatus(tx, schema.Status{State: schema.StatusFailed, Cycle: number, Duration: took, Errors: []string{text}})
		if err != nil {
			return err
		}
		_, err = r.appendAlert(tx, alert)
		return err
	})
	if errors.Is(err, outbox.ErrFull) {
		err = r.Alert(ctx, alert)
	}
	if err != nil {
		r.opts.Logger.Warn("the failed cycle could not be recorded", "cycle", number, "error", err)
	}
}

const maxErrorText = 500 // bytes

var (
	urlLogin = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^\s"]*@`)
	urlQuery = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s?"]*)\?[^\s"]*`)
)

// redact takes logins and queries out of the URLs in an error's text, and cuts it.
func redact(text string) string {
	text = urlQuery.ReplaceAllString(urlLogin.ReplaceAllString(text, "${1}…@"), "${1}?…")
	if len(text) > maxErrorText {
		text = text[:maxErrorText] + "…"
	}
	return strings.ToValidUTF8(text, "")
}
