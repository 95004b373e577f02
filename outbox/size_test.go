package outbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

func TestLargestFile_IsWhatTheSystemCanMap(t *testing.T) {
	for bits, want := range map[int]struct{ file, maxBytes int64 }{
		32: {1 << 30, 768 << 20},
		64: {0, 0}, // no limit
	} {
		require.Equal(t, want.file, largestFile(bits))
		require.Equal(t, want.maxBytes, largestMaxBytes(largestFile(bits)))
	}
}

// limitFile lets the system be one that cannot hold larger files.
func limitFile(t *testing.T, bytes int64) {
	was := fileLimit
	fileLimit = bytes
	t.Cleanup(func() { fileLimit = was })
}

func TestOpen_RefusesMoreBytesThanTheSystemCanHold(t *testing.T) {
	limitFile(t, largestFile(32))
	path := filepath.Join(t.TempDir(), "outbox.db")
	_, err := Open(path, Options{MaxBytes: 768<<20 + 1})
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "(OUTBOX_MAX_BYTES) is 805306369: on a "+strconv.Itoa(strconv.IntSize)+"-bit system, expected at most 805306368")
	require.NoFileExists(t, path)
	for _, fine := range []int64{0, 768 << 20} {
		o, err := Open(path, Options{MaxBytes: fine})
		require.NoError(t, err)
		require.EqualValues(t, 768<<20, o.opts.MaxBytes)
		require.NoError(t, o.Close())
	}
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	defer db.Close()
	_, err = New(db, Options{MaxBytes: 1 << 40})
	require.ErrorIs(t, err, ErrInvalid)
}

func TestAFileGrowsNoFurtherThanTheSystemCanOpenItAgain(t *testing.T) {
	limitFile(t, 40<<20)
	for name, own := range map[string]bool{"its own file": false, "a database of the caller's": true} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "outbox.db")
			var o *Outbox
			var db *bolt.DB
			var err error
			if own {
				db, err = bolt.Open(path, 0o600, nil)
				require.NoError(t, err)
				o, err = New(db, Options{})
			} else {
				o, err = Open(path, Options{})
			}
			require.NoError(t, err)
			add(t, o, events("a", "1", "2")...)
			var full error
			for i := 0; full == nil; i++ {
				full = o.Update(ctx, func(tx *bolt.Tx) error { // what MaxBytes does not count
					b, err := tx.CreateBucketIfNotExists([]byte("state"))
					if err != nil {
						return err
					}
					return b.Put(fmt.Append(nil, i), noise(4<<20))
				})
			}
			require.ErrorIs(t, full, ErrFull)
			require.ErrorIs(t, full, ErrDiskFull, "who settles tries again")
			require.ErrorContains(t, full, "matchrelay compact")
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.LessOrEqual(t, info.Size(), fileLimit)
			require.NoError(t, o.Err(), "it stays usable")
			settle(t, o, "a", 2)
			require.NoError(t, o.Close())
			if own {
				require.NoError(t, db.Close())
			}
			requireSound(t, path)
		})
	}
}
