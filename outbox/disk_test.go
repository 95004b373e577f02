package outbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/integration_test/disktest"
)

// onSmallDisk runs fn with a folder on a file system of a few megabytes. It needs the right to mount: where the tests do
// not run as root, it runs the test once more in a user and mount namespace.
func onSmallDisk(t *testing.T, fn func(dir string)) {
	const inNamespace = "OUTBOX_TEST_IN_NAMESPACE"
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m")
	if errors.Is(err, syscall.EPERM) && os.Getenv(inNamespace) == "" {
		cmd := exec.Command("unshare", "-rm", os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), inNamespace+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "this test mounts a tmpfs: run it as root, or where `unshare -rm` works\n%s", out)
		return
	}
	require.NoError(t, err, "mount a tmpfs")
	defer func() { require.NoError(t, syscall.Unmount(dir, 0)) }()
	fn(dir)
}

// fillDisk takes what is left of the disk, to the last page, and returns the file that does.
func fillDisk(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	require.NoError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
	return path
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func TestAFullDiskRollsBackAndDrainingGoesOn(t *testing.T) {
	for name, size := range map[string]int{"small events": 1000, "events of a page, every fourth of which is parked": 3000, "events of some pages": 8000, "large events": 100_000} {
		t.Run(name, func(t *testing.T) {
			onSmallDisk(t, func(dir string) {
				clock := newClock()
				o, err := Open(filepath.Join(dir, "outbox.db"), Options{Now: clock.Now})
				require.NoError(t, err)
				defer o.Close()
				n := uint64(0)
				add := func(o *Outbox) error {
					return o.Update(ctx, func(tx *bolt.Tx) error {
						if err := putState(tx, "newest"); err != nil {
							return err
						}
						_, err := o.Append(tx, Event{Topic: "a", MessageID: fmt.Sprint(n), Payload: noise(size)})
						return err
					})
				}
				most := uint64(1500) // far more than Prune takes at once
				if size == 3000 {
					most = 600 // parking needs room, too
				}
				for n < most && add(o) == nil {
					n++
				}
				parked := uint64(0)
				for sequence := uint64(4); sequence <= n && size == 3000; sequence += 4 {
					// Pruning the others will have to rewrite the pages that they share with these: too much for one transaction.
					settle(t, o, "a", sequence-1)
					require.NoError(t, o.Park(ctx, "a", sequence, Failure{}))
					parked++
				}
				ballast := fillDisk(t, dir)
				for err = nil; err == nil; n++ {
					err = add(o)
				}
				n--
				require.ErrorIs(t, err, ErrDiskFull)
				require.ErrorIs(t, err, syscall.ENOSPC)
				require.NoError(t, o.Err(), "the outbox stays usable")
				require.ErrorIs(t, add(o), ErrDiskFull)
				require.Len(t, ids(t, o), int(n), "nothing of the failed ones is there")

				settle(t, o, "a", n)
				require.EqualValues(t, n-parked, topicStats(t, o, "a").Delivered)
				clock.advance(DefaultRetention + time.Second)
				pruned, err := o.Prune(ctx)
				if parked > 0 && errors.Is(err, ErrDiskFull) {
					// Not a page was left to rewrite one that holds a parked event, too: it goes on when there is.
					require.NoError(t, o.Err(), "the outbox stays usable")
					require.NoError(t, os.Remove(ballast))
					more, again := o.Prune(ctx)
					pruned, err = pruned+more, again
				}
				require.NoError(t, err)
				require.EqualValues(t, n-parked, pruned)
				require.NoError(t, add(o), "there is room again")
				requireClean(t, o)
				require.NoError(t, o.Close())
				requireSound(t, o.Path())
			})
		})
	}
}

func TestAFailingSystemCallOfACommit(t *testing.T) {
	for name, tc := range map[string]struct {
		inject string
		want   []string // lines that the child prints
		after  []string
	}{
		"the sync of the data pages": {
			"fdatasync:error=EIO:when=1", []string{"failed", "failed", "closed"}, []string{"1 pending before"},
		},
		"the sync of the meta page, after which the commit may have happened": {
			"fdatasync:error=EIO:when=2", []string{"failed", "failed", "closed"}, []string{"1 pending before", "2 pending large"},
		},
		"growing the file on a full disk": {
			"ftruncate:error=ENOSPC:when=1", []string{"disk full", "ok", "closed"}, []string{"1 pending before", "2 pending small"},
		},
		"writing a page on a full disk": {
			"pwrite64:error=ENOSPC", []string{"disk full", "disk full", "closed"}, []string{"1 pending before"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := openTemp(t, Options{})
			add(t, o, event("a", "before"))
			require.NoError(t, o.Close())
			run := child("commit", o.Path())
			require.NoError(t, disktest.Strace(run, "-o", os.DevNull, "-e", "trace=fdatasync,ftruncate,pwrite64", "-e", "inject="+tc.inject))
			out, err := run.Output()
			require.NoError(t, err)
			require.Equal(t, tc.want, strings.Split(strings.TrimSpace(string(out)), "\n"))
			require.Equal(t, tc.after, states(t, openAt(t, o.Path(), Options{})), "the truth is in the file")
		})
	}
}

func init() {
	// commit appends a large event and a small one, and says how each went.
	children["commit"] = func(args []string) error {
		o, err := Open(args[0], Options{})
		if err != nil {
			return err
		}
		for id, size := range []int{20 << 20, 10} {
			err := o.Update(ctx, func(tx *bolt.Tx) error {
				runtime.LockOSThread() // strace counts the system calls of each thread
				_, err := o.Append(tx, Event{Topic: "a", MessageID: []string{"large", "small"}[id], Payload: noise(size)})
				return err
			})
			switch {
			case err == nil:
				fmt.Println("ok")
			case errors.Is(err, ErrDiskFull) && o.Err() == nil:
				fmt.Println("disk full")
			case errors.Is(err, ErrFailed) && errors.Is(o.Err(), ErrFailed):
				fmt.Println("failed")
			default:
				fmt.Println(strconv.Quote(err.Error()))
			}
		}
		if err := o.Close(); err != nil {
			return err
		}
		fmt.Println("closed")
		return nil
	}
}
