// Package outbox is a durable, ordered log of events in one bbolt file, written in the same transaction as the state that
// the events follow from.
//
// A processor that saves its state first and publishes afterwards loses the events of every crash and every outage in
// between. With an outbox it writes both together:
//
//	o, err := outbox.Open("data/matchrelay.db", outbox.Options{})
//	...
//	err = o.Update(ctx, func(tx *bbolt.Tx) error {
//		if err := tx.Bucket([]byte("my state")).Put(key, value); err != nil {
//			return err
//		}
//		_, err := o.Append(tx, outbox.Event{Topic: "match_updates", MessageID: id, Payload: message})
//		return err
//	})
//
// and a relay (package relay) reads the log and publishes it, for as long as that takes.
//
// # What it promises
//
//   - Atomic: the events of a transaction are there if, and only if, its other changes are.
//   - Durable: when Update has returned nil, the events survive SIGKILL and a power cut, until they are delivered and older
//     than the retention period, or an operator discards them.
//   - Ordered: every event gets a sequence, dense over the whole outbox, that never changes and is never used again.
//   - Bounded: memory does not grow with the backlog. The bytes on disk are capped; when only undelivered events are left,
//     Append fails with ErrFull and the transaction of the caller rolls back whole.
//   - Checked: every record has a checksum. Verify compares everything that is counted with what is there.
//
// # What a crash leaves behind
//
//	it stops...                                      after restart
//	before the transaction commits                   neither state nor events; the processor's next cycle finds the same
//	                                                 changes
//	after commit, before publish                     published once
//	after Redis ran the script, before the reply     sent again; Redis refuses it by its high-water mark; the cursor catches
//	or before the cursor is stored                   up; subscribers saw it once
//	the power is cut                                 as after a SIGKILL. What Open, Update, Restore, Compact or a backup has
//	                                                 acknowledged is there, as far as the disk keeps what it has synced; a
//	                                                 file that was not yet in place leaves the one before
//	Redis dies before running the script             sent again when it is back
//	Redis dies after running it, its answer          noticed by the new run_id: what may still have been in the buffers of
//	received, its subscribers not yet served         its subscribers (about the last half second) is published again with
//	                                                 the same message IDs
//	Redis dies after running it and forgets          the high-water mark is found behind and restored; unsettled events are
//	(no or late persistence, failover)               sent again
//	the relay, during an outage, and another one     it waits for as many subscribers as were there before the outage, and
//	begins                                           publishes what may not have reached them again if Redis has died
//	Redis dies, and not all subscribers come back    waited for, for a while; then the others get what is published again, and
//	                                                 what no one hears is unheard, and can be replayed
//	the outbox file is replaced by an older copy     the high-water mark disagrees: fresh origin, alert; pending events go
//	                                                 out under it (those between the copy and the fork may come twice, with
//	                                                 the same message IDs, and when Redis has died since, those sent just
//	                                                 before the copy was made). What was parked or discarded since then
//	                                                 is pending again, or counts as delivered where Redis already has a later
//	                                                 event of its topic that the copy knows
//	the disk is full                                 ErrDiskFull before the meta page is written: the transaction rolls back,
//	                                                 the outbox stays usable; draining goes on
//	fsync fails, or the meta page cannot be written  the commit may or may not have happened: every later write returns
//	                                                 ErrFailed; on reopening, the truth is read from the file
//
// # Group commit
//
// A commit waits for the disk. Callers of Update that arrive while one is in flight share the next one, so that many
// callers together are much faster than one, and a lone one waits for nobody. See Update for what that asks of closures.
//
// # Topics, cursor, receipts
//
// Each topic has a cursor, the highest settled sequence. The relay reads on from there (Read), and says with Settle what
// Redis has taken; that rides on the next commit, or is written within a second: if it is lost in a crash, the events are
// sent once more and Redis refuses them. Park sets an event aside that cannot be published. Replay appends parked and
// unheard events again, under new sequences. Discard sets parked and pending events aside for good. Audit tells who did
// either, and why.
//
// # Copies
//
// Backup and BackupFile copy the file while others write, as of one commit; SaveBackup makes a file of a copy that comes
// from another process. VerifyFile reads a copy and writes nothing. Restore puts such a copy in the place of a
// file that nobody has open, and Compact rewrites one without its free pages: both verify the new file before they rename
// it, so that on any error the old one is still there.
//
// # What it does not do
//
// It knows nothing of matches, messages or Redis: payloads are bytes. It keeps no goroutine running: there is a timer
// while receipts wait to be written, and a goroutine while more than one caller commits. One process at a time has the file open: bbolt locks it, and Open says who holds it.
// A transaction that the processor runs by itself on its own database (db.Update, see New) can append too, but shares no
// commit and is on its own when a commit fails.
package outbox
