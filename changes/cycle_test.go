package changes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

// story is what the messages tell, one word each.
func story(t testing.TB, list []schema.Message) string {
	t.Helper()
	words := []string{}
	for _, m := range list {
		switch m.Type {
		case schema.TypeProcessingStatus:
			s, err := m.Status()
			require.NoError(t, err)
			words = append(words, s.State)
		case schema.TypeSystemAlert:
			words = append(words, "alert")
		default:
			words = append(words, "update")
		}
	}
	return strings.Join(words, " ")
}

func TestACycleTellsOfItsStartAndItsEnd(t *testing.T) {
	clock := noon
	o, r := open(t, outbox.Options{}, changes.Options{Now: func() time.Time { return clock }})
	list := parse(t, `[{"matchid":1},{"matchid":2}]`)
	slow := func(context.Context) ([]schema.Match, error) {
		require.Equal(t, "started", story(t, messages(t, o)), "the start is committed before the fetch")
		clock = clock.Add(1500 * time.Millisecond)
		return list, nil
	}
	s, err := r.Cycle(ctx, slow)
	require.NoError(t, err)
	require.Equal(t, []uint64{1, 2, 3}, s.Sequences)
	require.EqualValues(t, 1, s.Cycle)

	s, err = r.Cycle(ctx, fetch(list))
	require.NoError(t, err)
	require.False(t, s.Changed())
	require.Equal(t, []uint64{4, 5}, s.Sequences)

	all := messages(t, o)
	require.Equal(t, "started update completed started completed", story(t, all))
	update, err := all[1].MatchUpdate()
	require.NoError(t, err)
	require.EqualValues(t, 1, update.Cycle)
	first, err := all[2].Status()
	require.NoError(t, err)
	require.Equal(t, 1500*time.Millisecond, first.Duration)
	require.Equal(t, 2, first.Matches)
	require.Equal(t, "true", string(first.Details["changes_detected"].(json.RawMessage)))
	second, err := all[4].Status()
	require.NoError(t, err)
	require.EqualValues(t, 2, second.Cycle)
	require.Equal(t, "false", string(second.Details["changes_detected"].(json.RawMessage)))
}

func TestACycleThatFailsSaysSoWithoutSecrets(t *testing.T) {
	cancelled, cancel := context.WithCancel(ctx)
	for name, c := range map[string]struct {
		fetch func(context.Context) ([]schema.Match, error)
		want  string
		is    error
	}{
		"the fetch fails": {
			func(context.Context) ([]schema.Match, error) {
				return nil, errors.New(`Get "https://me:s3cr@t@fogis.example.com/matches?token=s3cret": EOF`)
			},
			`fetch: Get "https://…@fogis.example.com/matches?…": EOF`, nil,
		},
		"the password has a slash": {
			func(context.Context) ([]schema.Match, error) {
				return nil, errors.New(`parse "https://me:s3/cr@t@fogis.example.com/matches": invalid port`)
			},
			`fetch: parse "https://…@fogis.example.com/matches": invalid port`, nil,
		},
		"the error is endless": {
			func(context.Context) ([]schema.Match, error) { return nil, errors.New(strings.Repeat("å", 400)) },
			"fetch: " + strings.Repeat("å", 246) + "…", nil,
		},
		"the list is empty": {fetch(nil), "record 0 matches: " + changes.ErrEmptyList.Error(), changes.ErrEmptyList},
		"the context ends": {
			func(ctx context.Context) ([]schema.Match, error) { cancel(); return nil, ctx.Err() },
			"fetch: context canceled", context.Canceled,
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, r := open(t, outbox.Options{}, changes.Options{})
			_, err := r.Record(ctx, parse(t, `[{"matchid":1}]`), changes.Metadata{})
			require.NoError(t, err)
			use := ctx
			if errors.Is(c.is, context.Canceled) {
				use = cancelled
			}
			s, err := r.Cycle(use, c.fetch)
			require.ErrorContains(t, err, "cycle 1: ")
			require.Empty(t, s)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			all := messages(t, o)
			require.Equal(t, "update started failed alert", story(t, all))
			status, err := all[2].Status()
			require.NoError(t, err)
			require.Equal(t, []string{c.want}, status.Errors)
			require.EqualValues(t, 1, status.Cycle)
			alert, err := all[3].Alert()
			require.NoError(t, err)
			require.Equal(t, schema.AlertProcessingError, alert.Type)
			severity := schema.SeverityError
			if c.is == context.Canceled {
				severity = schema.SeverityInfo
			}
			require.Equal(t, severity, alert.Severity)
			require.Equal(t, "processing cycle 1 failed: "+c.want, alert.Message)
			state, err := r.State(ctx)
			require.NoError(t, err)
			require.Len(t, state, 1)
		})
	}
}

func TestAPanicInTheFetchIsToldAndGoesOn(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	require.PanicsWithValue(t, "secret", func() {
		_, _ = r.Cycle(ctx, func(context.Context) ([]schema.Match, error) { panic("secret") })
	})
	all := messages(t, o)
	require.Equal(t, "started failed alert", story(t, all))
	require.NotContains(t, string(all[1].Bytes())+string(all[2].Bytes()), "secret")
}

func TestACycleOnAClosedOutboxDoesNotFetch(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	require.NoError(t, o.Close())
	_, err := r.Cycle(ctx, func(context.Context) ([]schema.Match, error) { panic("not to be called") })
	require.ErrorIs(t, err, outbox.ErrClosed)
	require.ErrorContains(t, err, "start cycle: ")
}

func TestAFailureThatCannotBeRecordedIsLogged(t *testing.T) {
	var log bytes.Buffer
	o, r := open(t, outbox.Options{}, changes.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	broken := errors.New("broken")
	_, err := r.Cycle(ctx, func(context.Context) ([]schema.Match, error) {
		require.NoError(t, o.Close())
		return nil, broken
	})
	require.ErrorIs(t, err, broken)
	require.Contains(t, log.String(), "the failed cycle could not be recorded")
}

func TestAFullOutboxStillTakesTheAlert(t *testing.T) {
	o, r := open(t, outbox.Options{MaxBytes: 64 << 10}, changes.Options{})
	fill := func(context.Context) ([]schema.Match, error) {
		for i := 0; ; i++ {
			m, err := schema.NewStatus(schema.Status{State: schema.StatusStarted})
			require.NoError(t, err)
			if _, err := o.Add(ctx, changes.Event(m)); err != nil {
				require.ErrorIs(t, err, outbox.ErrFull)
				return parse(t, `[{"matchid":1}]`), nil
			}
		}
	}
	_, err := r.Cycle(ctx, fill)
	require.ErrorIs(t, err, outbox.ErrFull)
	require.True(t, strings.HasSuffix(story(t, messages(t, o)), "started alert"))
	state, err := r.State(ctx)
	require.NoError(t, err)
	require.Empty(t, state)
}
