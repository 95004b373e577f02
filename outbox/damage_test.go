package outbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// What one flipped byte does to an element of a page: with its flags bbolt does not know the page, with the offset of its
// first key it looks far behind the end of the file, which the system answers with SIGBUS.
const (
	pageFlags = 8
	firstKey  = 16 + 4 + 3
)

// openDamaged opens an outbox with the events #1 to #200 of topic a, #201 of b, and a bucket of the processor's. Then one byte
// of the first page of a bucket is not what it was.
func openDamaged(t *testing.T, bucket string, offset int64) *Outbox {
	t.Helper()
	o := openAt(t, filepath.Join(t.TempDir(), "outbox.db"), Options{})
	for n := range 200 {
		add(t, o, event("a", fmt.Sprint(n)))
	}
	add(t, o, event("b", "201"))
	require.NoError(t, o.Update(ctx, func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("own"))
		for n := range 200 {
			if err == nil {
				err = b.Put(fmt.Appendf(nil, "key %03d", n), make([]byte, 100))
			}
		}
		return err
	}))
	var root int64
	require.NoError(t, o.View(func(tx *bolt.Tx) error {
		root = int64(tx.Bucket([]byte(bucket)).Root())
		page, err := tx.Page(int(root))
		require.NoError(t, err)
		require.Equal(t, "branch", page.Type)
		return nil
	}))
	f, err := os.OpenFile(o.Path(), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	pageSize := int64(o.db.Info().PageSize)
	first := make([]byte, 8) // the page that the first element of the branch points to
	_, err = f.ReadAt(first, root*pageSize+16+8)
	require.NoError(t, err)
	at := int64(binary.LittleEndian.Uint64(first))*pageSize + offset
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	b[0] ^= 0x04
	_, err = f.WriteAt(b, at)
	require.NoError(t, err)
	return o
}

func TestDamage_OfTheLogIsAnErrorOfEveryRead(t *testing.T) {
	for name, offset := range map[string]int64{"an unknown page": pageFlags, "a page that points out of the file": firstKey} {
		t.Run(name, func(t *testing.T) {
			o := openDamaged(t, logPrefix+"a", offset)
			for what, read := range map[string]func() error{
				"list": func() error { _, err := o.List(ctx, Filter{}); return err },
				"read": func() error { _, err := o.Read(ctx, Range{Topic: "a", Events: 1}); return err },
				"back": func() error { _, err := o.Back(ctx, "a", 200, 300); return err },
				"get":  func() error { _, _, err := o.Get(ctx, 1); return err },
				"id":   func() error { _, err := o.MessageID(ctx, "a", 1); return err },
			} {
				require.ErrorIs(t, read(), ErrDamaged, what)
			}
			report, err := o.Verify(ctx)
			require.NoError(t, err)
			require.NotEmpty(t, report.Problems)
			_, err = o.Read(ctx, Range{Topic: "b", Events: 1})
			require.NoError(t, err, "another topic is read")
		})
	}
}

func TestDamage_OfTheProcessorsPagesIsAnErrorOfItsOwnClosures(t *testing.T) {
	for name, offset := range map[string]int64{"an unknown page": pageFlags, "a page that points out of the file": firstKey} {
		t.Run(name, func(t *testing.T) {
			o := openDamaged(t, "own", offset)
			read := func(tx *bolt.Tx) error {
				k, _ := tx.Bucket([]byte("own")).Cursor().First()
				return fmt.Errorf("read %s", k)
			}
			require.ErrorIs(t, o.View(read), ErrDamaged)
			require.ErrorIs(t, o.Update(ctx, read), ErrDamaged)
			require.ErrorIs(t, o.Update(ctx, func(tx *bolt.Tx) error {
				return tx.Bucket([]byte("own")).Put([]byte("key 000"), nil)
			}), ErrDamaged)
			require.NoError(t, o.Err())
			add(t, o, event("a", "another"))
		})
	}
}
