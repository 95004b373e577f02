package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// An event is stored under its sequence (8 bytes, big endian) as one record:
//
//	offset  bytes  field
//	     0      1  version (1)
//	     1      1  flags: 1 payload is zstd, 2 snapshot, 4 urgent
//	     2      4  CRC-32C of the sequence and of every other byte of the record, big endian
//	     6      8  append time, nanoseconds since 1970, UTC
//	    14      8  replay of: the sequence under which this event was appended first, or 0
//	    22      4  payload size before compression
//	    26    1+n  message ID, its length first
//	          1+n  idempotency key, its length first
//	          1+n  trace parent, its length first
//	               payload, to the end
const (
	recordVersion    = 1
	recordHeaderSize = 26
	flagZstd         = 1
	flagSnapshot     = 2
	flagUrgent       = 4
	compressFrom     = 4 << 10 // below this, compressing costs more than it saves
	maxPayload       = 512 << 20
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errCRC     = errors.New("checksum mismatch")

	// One encoder and one decoder for the whole process, made on first use: each keeps megabytes of tables.
	encoder = sync.OnceValue(func() *zstd.Encoder {
		// An error could only come of options out of their range.
		e, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		return e
	})
	decoder = sync.OnceValue(func() *zstd.Decoder {
		d, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxPayload))
		return d
	})
)

// record is the decoded form; its strings and payload are copies, valid after the transaction.
type record struct {
	flags      byte
	appended   time.Time
	replayOf   uint64
	size       int // payload size before compression
	messageID  string
	key        string
	trace      string
	payload    []byte
	storedSize int
}

func encodeRecord(sequence uint64, e Event, replayOf uint64, now time.Time, r *room) []byte {
	var flags byte
	if e.Snapshot {
		flags |= flagSnapshot
	}
	if e.Urgent {
		flags |= flagUrgent
	}
	payload := e.Payload
	if len(payload) >= compressFrom {
		if packed := encoder().EncodeAll(payload, make([]byte, 0, len(payload)/4)); len(packed) < len(payload) {
			payload, flags = packed, flags|flagZstd
		}
	}
	b := r.take(recordHeaderSize + 3 + len(e.MessageID) + len(e.Key) + len(e.TraceParent) + len(payload))[:recordHeaderSize]
	b[0], b[1] = recordVersion, flags
	binary.BigEndian.PutUint64(b[6:], uint64(now.UnixNano()))
	binary.BigEndian.PutUint64(b[14:], replayOf)
	binary.BigEndian.PutUint32(b[22:], uint32(len(e.Payload)))
	for _, s := range []string{e.MessageID, e.Key, e.TraceParent} {
		b = append(append(b, byte(len(s))), s...)
	}
	b = append(b, payload...)
	binary.BigEndian.PutUint32(b[2:], recordCRC(sequence, b))
	return b
}

// room is where the records of a commit are made; the next commit uses it again. A nil room is made for each record.
type room struct{ block []byte }

const roomSize = 256 << 10

// take makes room for n bytes, which are to be written.
func (r *room) take(n int) []byte {
	if r == nil || n > roomSize/8 {
		return make([]byte, n)
	}
	if len(r.block)+n > cap(r.block) {
		r.block = make([]byte, 0, roomSize)
	}
	from := len(r.block)
	r.block = r.block[:from+n]
	return r.block[from : from+n : from+n]
}

func recordCRC(sequence uint64, b []byte) uint32 {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], sequence)
	crc := crc32.Update(0, castagnoli, key[:])
	crc = crc32.Update(crc, castagnoli, b[:2])
	return crc32.Update(crc, castagnoli, b[6:])
}

// decodeHeader reads everything but the payload, without checking the CRC; the record's payload is left out.
func decodeHeader(b []byte) (r record, payload []byte, err error) {
	if len(b) < recordHeaderSize+3 {
		return r, nil, fmt.Errorf("record of %d bytes is too short", len(b))
	}
	if b[0] != recordVersion {
		return r, nil, fmt.Errorf("record version %d, expected %d", b[0], recordVersion)
	}
	r = record{
		flags:      b[1],
		appended:   time.Unix(0, int64(binary.BigEndian.Uint64(b[6:]))).UTC(),
		replayOf:   binary.BigEndian.Uint64(b[14:]),
		size:       payloadSize(b),
		storedSize: len(b),
	}
	rest := b[recordHeaderSize:]
	for _, field := range []*string{&r.messageID, &r.key, &r.trace} {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return r, nil, errors.New("record ends inside a field")
		}
		*field = string(rest[1 : 1+int(rest[0])])
		rest = rest[1+int(rest[0]):]
	}
	return r, rest, nil
}

// payloadSize is the size of a record's payload before compression, as its header says; 0 when that is no header.
func payloadSize(b []byte) int {
	if len(b) < recordHeaderSize || b[0] != recordVersion {
		return 0
	}
	return int(binary.BigEndian.Uint32(b[22:]))
}

// checkRecord reads everything but the payload, and checks the whole record.
func checkRecord(sequence uint64, b []byte) (r record, payload []byte, err error) {
	r, payload, err = decodeHeader(b)
	if err == nil && binary.BigEndian.Uint32(b[2:]) != recordCRC(sequence, b) {
		err = errCRC
	}
	return r, payload, err
}

// decodeRecord reads the whole record and checks it.
func decodeRecord(sequence uint64, b []byte) (record, error) {
	r, payload, err := checkRecord(sequence, b)
	if err != nil {
		return r, err
	}
	if r.flags&flagZstd == 0 {
		r.payload = append([]byte(nil), payload...)
	} else if r.payload, err = decoder().DecodeAll(payload, make([]byte, 0, min(r.size, maxPayload))); err != nil {
		return r, fmt.Errorf("decompress: %w", err)
	}
	if len(r.payload) != r.size {
		return r, fmt.Errorf("payload of %d bytes, expected %d", len(r.payload), r.size)
	}
	return r, nil
}

func (r record) snapshot() bool { return r.flags&flagSnapshot != 0 }

// key of a sequence in every bucket that is ordered by it.
func sequenceKey(sequence uint64) []byte { return binary.BigEndian.AppendUint64(nil, sequence) }

// keySequence reads a key made by sequenceKey; a key of another length reads as 0, which is no sequence.
func keySequence(key []byte) uint64 {
	if len(key) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(key)
}
