// Package changes finds what changed from one match list to the next, and
// records it.
//
// Diff is the pure part: two lists in, a Summary out. Every change has a
// category, a priority and the people whom it concerns. What is told apart from
// mere formatting, and how referees are paired, is written there.
//
// A Recorder keeps the current list in an outbox file and appends the events
// that follow from its changes in the same transaction: either both are there
// after a crash, or neither, and then the next list finds the same changes
// again. There are three ways to integrate it:
//
//	// automatic: the recorder runs the whole cycle, and tells of start, end and failure
//	summary, err := recorder.Cycle(ctx, fetch)
//
//	// manual: one list, without status messages
//	summary, err := recorder.Record(ctx, matches, changes.Metadata{})
//
//	// manual: together with state of your own, in one transaction
//	err := recorder.RecordWith(ctx, matches, changes.Metadata{}, func(tx *bbolt.Tx, record func() (changes.Summary, error)) error {
//		if err := saveMine(tx); err != nil {
//			return err
//		}
//		_, err := record()
//		return err
//	})
//
//	// selective: a switch decides whether events follow from what is recorded
//	recorder, err := changes.NewRecorder(box, changes.Options{EventsOff: !settings.Redis.Enabled})
//
// The examples Automatic, Manual and Selective (example_automatic_test.go and so
// on) show each from beginning to end, first with the relay as a goroutine of the
// processor, then in a process of its own; Manual does so in a database that the
// processor has already.
//
// # What is stored
//
// The bucket "matchrelay/state" holds the list of the newest match_updates
// event, one record per match with the SHA-256 of its bytes; it is written only
// together with such an event, but for two cases. Recorder.Import: a list that
// another processor recorded becomes the first state without an event, because
// subscribers have been told of it. And Options.EventsOff: the state goes on
// without events. When they are on again, the first event brings the whole list,
// as each does, but names only what changed from then on; until then, or a
// resync, subscribers do not hear of what changed meanwhile. A list that has not
// changed is hashed and compared, and no match of it is decoded; of a changed
// list, only the matches whose bytes differ are. Lists are compared before the
// transaction that records them, and other writers do not wait meanwhile; when
// another list is recorded in between they are compared again, up to three times,
// then within the transaction. Comparing takes time in proportion to the size of
// the list, and ends when the context does. Matches and Recorder.State read
// it back, sorted by id. A record that does not have its hash is ErrState, never
// "all matches are new".
//
// At rebuilds the list of an earlier moment from the match updates that the log
// still holds, and History lists what they tell of one match.
//
// The bucket "matchrelay/recorder" holds the number of the newest cycle, and when
// the newest list was fetched, which is written with every list that is
// recorded, also with one that changes nothing. A list that was fetched earlier
// (Metadata.FetchedAt) is ErrStale: several sources, or a request that is
// repeated late, never set the state back. A list without a time is the newest
// by definition. The list of a cycle counts as fetched when the cycle began: it
// is ErrStale when another list was recorded since, unless by a cycle that had
// begun earlier. Counters decide that, not the clock, which may be set back. A time that is ahead of the recorder's clock by more than
// MaxSkew is refused, and no longer counts should one be stored: a wrong clock
// locks out nobody.
//
// The recorder notes which event the list equals, so that VerifyState can compare
// it with the log.
//
// Recorder.Resync sends the whole list again to subscribers who have lost it.
//
// # What it does not do
//
// It does not publish: that is the relay's work. It does not judge whether a
// list is plausible, but for one case: an empty list after one with matches is
// ErrEmptyList, since a source that fails often answers so.
package changes
