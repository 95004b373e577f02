package outbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
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

// openDamaged opens an outbox with the events #1 to #200 of topic a, all delivered, #201 and on of b, and a bucket of the
// processor's. Then one byte of the first page of a bucket is not what it was.
func openDamaged(t *testing.T, bucket string, offset int64) *Outbox {
	t.Helper()
	o := openAt(t, filepath.Join(t.TempDir(), "outbox.db"), Options{})
	for n := range 200 {
		add(t, o, event("a", fmt.Sprint(n)))
	}
	settle(t, o, "a", 200)
	for n := range 200 {
		add(t, o, event("b", fmt.Sprint(201+n)))
	}
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

// secondPage is the first key of the second page of a bucket.
func secondPage(t *testing.T, o *Outbox, bucket string) []byte {
	t.Helper()
	var root int64
	require.NoError(t, o.View(func(tx *bolt.Tx) error {
		root = int64(tx.Bucket([]byte(bucket)).Root())
		return nil
	}))
	page := make([]byte, o.db.Info().PageSize)
	_, err := o.file.ReadAt(page, root*int64(len(page)))
	require.NoError(t, err)
	second := page[pageHeader+pageElement:]
	at, size := binary.LittleEndian.Uint32(second), binary.LittleEndian.Uint32(second[4:])
	return second[at : at+size]
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
			stats, err := o.Stats(ctx)
			require.NoError(t, err, "no event of a is pending")
			require.EqualValues(t, 200, stats.Topics[1].Pending)
		})
	}
}

func TestDamage_OfWhatIsSettledWhenTheOutboxIsClosedEndsNothing(t *testing.T) {
	o := openDamaged(t, logPrefix+"b", firstKey)
	position, err := o.Position(ctx, "b")
	require.NoError(t, err)
	require.NoError(t, o.Settle(ctx, Receipt{Topic: "b", Through: 400, Origin: position.Origin}))
	require.ErrorIs(t, o.Close(), ErrDamaged)
	o = openAt(t, o.Path(), Options{LockTimeout: 1})
	add(t, o, event("a", "another"))
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

func TestDamage_ThatACommitMeetsWithFailsThoseWhoTouchIt(t *testing.T) {
	o := openDamaged(t, "own", pageFlags)
	entered, goOn := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- o.Update(ctx, func(*bolt.Tx) error {
			close(entered)
			<-goOn
			return nil
		})
	}()
	<-entered
	deleted, added := make(chan error, 1), make(chan error, 1)
	second := secondPage(t, o, "own")
	go func() {
		deleted <- o.Update(ctx, func(tx *bolt.Tx) error { // too little is left of the second page: it is merged with the first
			c := tx.Bucket([]byte("own")).Cursor()
			for k, _ := c.Seek(second); k != nil && string(k) < "key 199"; k, _ = c.Seek(second) {
				if err := c.Delete(); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	requireQueued(t, o, 1)
	go func() {
		_, err := o.Add(ctx, event("a", "another"))
		added <- err
	}()
	requireQueued(t, o, 2) // both share the next commit
	close(goOn)
	require.NoError(t, <-first)
	err := <-deleted
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "nothing was written")
	require.NoError(t, <-added)
	require.NoError(t, o.Err())
}

func TestDamage_IsNotWhatAClosureItselfPanicsWith(t *testing.T) {
	o := openTemp(t, Options{})
	var kept *bolt.Cursor
	require.NoError(t, o.Update(ctx, func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("own"))
		kept = b.Cursor()
		return err
	}))
	for name, mistake := range map[string]func(tx *bolt.Tx) error{
		"a panic":                    func(*bolt.Tx) error { panic("mine") },
		"a bucket that is not there": func(tx *bolt.Tx) error { return tx.Bucket([]byte("none")).Put([]byte("k"), nil) },
		"a cursor that was kept":     func(*bolt.Tx) error { kept.First(); return nil },
		"a commit":                   func(tx *bolt.Tx) error { return tx.Commit() },
	} {
		require.Panics(t, func() { _ = o.Update(ctx, mistake) }, name)
		require.Panics(t, func() { _ = o.View(mistake) }, name)
	}
	require.NoError(t, o.Err())
}

// A flipped byte is found, or does no harm, wherever it is: whoever reads the file gets what is there, or an error.
const flips = 150

func TestDamage_OfAnyByteEndsNothing(t *testing.T) {
	o := openSample(t)
	require.NoError(t, o.Close())
	whole, err := os.ReadFile(o.Path())
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	path := filepath.Join(t.TempDir(), "damaged.db")
	found := 0
	for range flips {
		damaged := bytes.Clone(whole)
		at := random.IntN(len(damaged))
		damaged[at] ^= 1 << random.IntN(8)
		require.NoError(t, os.WriteFile(path, damaged, 0o600))
		o, err := Open(path, Options{})
		if err != nil {
			found++
			continue
		}
		name := fmt.Sprintf("byte %d: %#x instead of %#x", at, damaged[at], whole[at])
		for _, use := range []func() error{
			func() error { _, err := o.List(ctx, Filter{}); return err },
			func() error { _, err := o.Read(ctx, Range{Topic: "a", Events: 100, Bytes: 1 << 20}); return err },
			func() error { _, _, err := o.Get(ctx, 2); return err },
			func() error { _, err := o.Back(ctx, "a", 5, 3); return err },
			func() error { _, err := o.Stats(ctx); return err },
			func() error { _, err := o.Add(ctx, event("a", "new"), event("b", "new-too")); return err },
			func() error { _, err := o.Replay(ctx, []uint64{2, 3}, ReplayOptions{AllowStale: true}); return err },
			func() error {
				_, err := o.Discard(ctx, []uint64{2, 5}, DiscardOptions{Actor: "a", Reason: "r"})
				return err
			},
			func() error { _, err := o.Prune(ctx); return err },
		} {
			if err := use(); err != nil && !errors.Is(err, ErrNotFound) {
				require.True(t, errors.Is(err, ErrDamaged) || errors.Is(err, ErrForeign) || errors.Is(err, ErrFailed) || errors.Is(err, ErrNewerFormat), "%s: %v", name, err)
				found++
				break
			}
		}
		_, err = o.Verify(ctx)
		require.NoError(t, err, name)
		_ = o.Close()
	}
	require.NotZero(t, found)
}
