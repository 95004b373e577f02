package outbox

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestEveryFlippedBitOfARecordIsFound(t *testing.T) {
	e := Event{Topic: "a", MessageID: "id", Key: "key", Payload: []byte("payload"), TraceParent: "trace"}
	whole := encodeRecord(7, e, 3, time.Unix(1, 2), nil)
	_, err := decodeRecord(7, whole)
	require.NoError(t, err)
	_, err = decodeRecord(8, whole)
	require.ErrorIs(t, err, errCRC, "a record belongs to its sequence")
	for bit := range len(whole) * 8 {
		damaged := bytes.Clone(whole)
		damaged[bit/8] ^= 1 << (bit % 8)
		_, err := decodeRecord(7, damaged)
		require.Error(t, err, "bit %d", bit)
	}
	for size := range whole {
		_, err := decodeRecord(7, whole[:size])
		require.Error(t, err, "cut to %d bytes", size)
	}
}

// resign gives a damaged record a right checksum, to get at what lies behind it.
func resign(sequence uint64, b []byte) []byte {
	if len(b) >= recordHeaderSize {
		binary.BigEndian.PutUint32(b[2:], recordCRC(sequence, b))
	}
	return b
}

func TestARecordWithARightChecksumIsStillChecked(t *testing.T) {
	packed := encodeRecord(1, Event{MessageID: "id", Payload: []byte(strings.Repeat("a", compressFrom))}, 0, time.Time{}, nil)
	t.Run("a payload that is no zstd", func(t *testing.T) {
		b := encodeRecord(1, event("a", "id"), 0, time.Time{}, nil)
		b[1] |= flagZstd
		_, err := decodeRecord(1, resign(1, b))
		require.ErrorContains(t, err, "decompress")
	})
	t.Run("a payload of another size", func(t *testing.T) {
		b := bytes.Clone(packed)
		binary.BigEndian.PutUint32(b[22:], 17)
		_, err := decodeRecord(1, resign(1, b))
		require.ErrorContains(t, err, "expected 17")
	})
}

func TestARecordKeepsEveryFieldOfItsEvent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := Event{
			MessageID:   rapid.StringN(0, 255, 255).Draw(t, "message ID"),
			Key:         rapid.StringN(0, 255, 255).Draw(t, "key"),
			TraceParent: rapid.StringN(0, 255, 255).Draw(t, "trace"),
			Payload:     bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 1, 500).Draw(t, "payload"), rapid.IntRange(1, 50).Draw(t, "times")),
			Snapshot:    rapid.Bool().Draw(t, "snapshot"),
			Urgent:      rapid.Bool().Draw(t, "urgent"),
		}
		sequence, replayOf := rapid.Uint64().Draw(t, "sequence"), rapid.Uint64().Draw(t, "replay of")
		now := time.Unix(0, rapid.Int64Min(0).Draw(t, "now")).UTC()
		r, err := decodeRecord(sequence, encodeRecord(sequence, e, replayOf, now, nil))
		require.NoError(t, err)
		require.Equal(t, e, Event{MessageID: r.messageID, Key: r.key, TraceParent: r.trace, Payload: r.payload,
			Snapshot: r.snapshot(), Urgent: r.flags&flagUrgent != 0})
		require.Equal(t, replayOf, r.replayOf)
		require.Equal(t, now, r.appended)
	})
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(encodeRecord(1, event("a", "id"), 0, time.Unix(1, 0), nil), false)
	f.Add(encodeRecord(1, Event{MessageID: "id", Key: "k", Payload: []byte(strings.Repeat("a", compressFrom))}, 9, time.Unix(1, 0), nil), true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, b []byte, sign bool) {
		if sign {
			b = resign(1, bytes.Clone(b))
		}
		r, err := decodeRecord(1, b)
		if err == nil && (len(r.payload) != r.size || r.storedSize != len(b)) {
			t.Errorf("accepted a record of %d bytes with %d of %d bytes of payload", r.storedSize, len(r.payload), r.size)
		}
	})
}

func FuzzDecodeTopicState(f *testing.F) {
	f.Add((&topicState{}).encode())
	f.Add((&topicState{last: 9, Progress: Progress{Run: "run", Receivers: 3, Accepted: Mark{8, "id"}}}).encode())
	f.Add([]byte("too short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s topicState
		if err := s.decode(b); err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			return
		}
		require.Equal(t, b, s.encode(), "whatever is accepted is written back as it was")
	})
}

func TestCountersThatAreCutOrTooLongAreDamaged(t *testing.T) {
	whole := (&topicState{Progress: Progress{Run: "run", Accepted: Mark{8, "id"}}}).encode()
	for size := range whole {
		require.ErrorIs(t, new(topicState).decode(whole[:size]), ErrDamaged, "cut to %d bytes", size)
	}
	require.ErrorIs(t, new(topicState).decode(append(whole, 0)), ErrDamaged)
}
