package relay

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// follow gives a guard the bytes in pieces of a size, or of sizes drawn when that is 0.
func follow(stream []byte, size int, asked int32, r *rand.Rand) error {
	replies := replies{most: replyBytes}
	for len(stream) > 0 {
		n := size
		if n == 0 {
			n = 1 + r.IntN(20)
		}
		n = min(n, len(stream))
		if err := replies.check(stream[:n], asked); err != nil {
			return err
		}
		stream = stream[n:]
	}
	return nil
}

func TestGuard_TakesWhatARedisAnswers(t *testing.T) {
	for _, stream := range []string{
		"+OK\r\n:1\r\n-ERR no\r\n$-1\r\n*-1\r\n$0\r\n\r\n*0\r\n$5\r\na\r\nbc\r\n",
		"*2\r\n*2\r\n$1\r\na\r\n:-1\r\n*1\r\n*0\r\n+PONG\r\n",
		"%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n#t\r\n_\r\n,1.5\r\n(12345678901234567890\r\n=7\r\ntxt:abc\r\n>1\r\n+invalidate\r\n!3\r\nERR\r\n",
		"-" + strings.Repeat("x", replyLine-3) + "\r\n",
		strings.Repeat("*1\r\n", replyDepth) + ":1\r\n",
		strings.Repeat(strings.Repeat("*1\r\n", replyDepth)+":1\r\n", 100),
		fmt.Sprintf("$%d\r\n%s\r\n+OK\r\n", 1<<20, strings.Repeat("x", 1<<20)),
	} {
		for _, size := range []int{1, 7, len(stream)} {
			require.NoError(t, follow([]byte(stream), size, anything, nil), "%.40q in pieces of %d", stream, size)
		}
	}
}

// malformed is what go-redis would end the process for, or take all memory, or what is not RESP at all.
func malformed() map[string]string {
	return map[string]string{
		"a length beyond all numbers":            "$99999999999999999999\r\n",
		"a length beyond all memory":             "$999999999999999999\r\n",
		"a string that is too long":              fmt.Sprintf("$%d\r\n", replyBulk+1),
		"a length below zero":                    "$-2\r\n",
		"a length that is no number":             "*x\r\n",
		"no length":                              "$\r\n",
		"an array that is too long":              "*999999999\r\n",
		"a map that is too long":                 fmt.Sprintf("%%%d\r\n", replyBytes/replyElement),
		"arrays that are too long together":      "*2\r\n*1500000\r\n" + strings.Repeat(":1\r\n", 1500000) + "*1500000\r\n",
		"arrays within arrays":                   strings.Repeat("*1\r\n", replyDepth+1),
		"a line without an end":                  "+" + strings.Repeat("x", replyLine),
		"a line that ends otherwise":             "+OK\n",
		"an empty line":                          "\r\n",
		"an attribute, which may hold another":   "|1\r\n+a\r\n:1\r\n",
		"HTTP":                                   "HTTP/1.1 400 Bad Request\r\n",
		"TLS":                                    "\x15\x03\x01\x00\x02\x02\n",
		"too many strings that are not too long": "*3\r\n" + strings.Repeat(fmt.Sprintf("$%d\r\n%s\r\n", replyBulk, make([]byte, replyBulk)), 2),
	}
}

func TestGuard_RefusesWhatNoRedisAnswers(t *testing.T) {
	for name, stream := range malformed() {
		sizes := []int{7, len(stream)}
		if len(stream) < 1<<20 {
			sizes = append(sizes, 1)
		}
		for _, size := range sizes {
			err := follow([]byte("+OK\r\n"+stream), size, entries, nil)
			require.Error(t, err, "%s in pieces of %d", name, size)
			f := classify(err)
			require.Equal(t, Outage, f.class, name)
			require.Equal(t, mendStrange, f.mend, name)
			require.False(t, f.suspect, "no event is at fault")
		}
	}
}

// A relay reads several replies at once, none of which has an event in it.
func TestGuard_TakesLargeRepliesWithEventsOnly(t *testing.T) {
	ping, xread := "*1\r\n$4\r\nping\r\n", "*4\r\n$5\r\nxread\r\n$7\r\nstreams\r\n$1\r\ns\r\n$1\r\n0\r\n"
	for command, most := range map[string]int{
		ping:                                     answerBytes,
		"*3\r\n$7\r\nevalsha\r\n$5\r\nxread\r\n": answerBytes,
		"*3\r\n$6\r\nclient\r\n$4\r\nlist\r\n":   answerBytes,
		"*3\r\n$5\r\nxinfo\r\n$6\r\ngroups\r\n":  answerBytes,
		ping + xread:                             answerBytes,
		xread:                                    replyBytes,
		"*1\r\n$6\r\nasking\r\n" + xread:         replyBytes,
		"*4\r\n$10\r\nXREADGROUP\r\n":            replyBytes,
		"*4\r\n$6\r\nxrange\r\n":                 replyBytes,
		"*2\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n":   replyBytes,
	} {
		asked := answersTo([]byte(command))
		half := most/2 - 100
		fits, tooLarge := fmt.Sprintf("*2\r\n$%d\r\n", half), fmt.Sprintf("*2\r\n$%d\r\n", min(most, replyBulk)+1)
		require.NoError(t, follow([]byte(fits), len(fits), asked, nil), "%q", command)
		require.ErrorContains(t, follow([]byte(tooLarge), 1, asked, nil), "does not behave like Redis", "%q", command)
		long := fmt.Sprintf("*%d\r\n", most/replyElement+1)
		require.ErrorContains(t, follow([]byte(long), 1, asked, nil), "does not behave like Redis", "%q", command)
	}
	sentinel := replies{most: sentinelBytes}
	require.Error(t, sentinel.check(fmt.Appendf(nil, "$%d\r\n", sentinelBytes), entries))
}

// Lines that are almost empty take more memory when they are parsed than they have bytes.
func TestInfo_HasNoMoreFieldsThanARedisHas(t *testing.T) {
	var text strings.Builder
	for i := range 2 * infoLines {
		fmt.Fprintf(&text, "%d:\r\n", i)
	}
	require.Len(t, infoFields(text.String()), infoLines)
}

func TestGuard_RefusesBeforeAnythingIsAllocated(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, head := range []string{"$400000000\r\n", "*100000000\r\n", "%100000000\r\n"} {
		require.Error(t, follow([]byte(head), 1, anything, nil))
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

func TestGuard_KnowsTheFormsThatGoRedisTakesForGranted(t *testing.T) {
	require.Equal(t, address, answersTo([]byte("*3\r\n$8\r\nsentinel\r\n$23\r\nget-master-addr-by-name\r\n$1\r\nm\r\n")))
	require.Equal(t, pushes, answersTo([]byte("*2\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n")))
	require.Equal(t, pushes, answersTo([]byte("*2\r\n$10\r\npsubscribe\r\n$1\r\nc\r\n")))
	require.Equal(t, anything, answersTo([]byte("*3\r\n$7\r\npublish\r\n$1\r\nc\r\n$25\r\n*2\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n\r\n")))

	array := func(items ...string) string {
		return fmt.Sprintf("*%d\r\n%s", len(items), strings.Join(items, ""))
	}
	bulk := func(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }
	for _, c := range []struct {
		asked  int32
		reply  string
		refuse bool
	}{
		{address, array(bulk("10.0.0.1"), bulk("6379")), false},
		{address, "*-1\r\n", false},
		{address, "-NOAUTH no\r\n", false},
		{address, array(), true},
		{address, array(bulk("10.0.0.1")), true},
		{address, array(bulk("10.0.0.1"), ":6379\r\n"), true},
		{address, array(bulk("a"), bulk("b"), bulk("c"), bulk("d"), bulk("e"), bulk("f")), true},
		{pushes, array(bulk("subscribe"), bulk("c"), ":1\r\n"), false},
		{pushes, array(bulk("unsubscribe"), "$-1\r\n", ":0\r\n"), false},
		{pushes, strings.Replace(array(bulk("subscribe"), bulk("c"), ":1\r\n"), "*", ">", 1), false},
		{pushes, array(bulk("message"), bulk("c"), bulk(strings.Repeat("x", 100000))), false},
		{pushes, array(bulk("message"), bulk("+switch-master"), bulk("main 10.0.0.1 6379 10.0.0.2 6379")), false},
		{pushes, array(bulk("pmessage"), bulk("*"), bulk("c"), bulk("x")), false},
		{pushes, array(bulk("pong"), bulk("")), false},
		{pushes, "+PONG\r\n", false},
		{pushes, array(), true},
		{pushes, array(":1\r\n"), true},
		{pushes, array(bulk("subscribe"), bulk("c")), true},
		{pushes, array(bulk("subscribe"), bulk("c"), bulk("1")), true},
		{pushes, array(bulk("message"), bulk("c"), ":1\r\n"), true},
		{pushes, array(bulk("message"), bulk("c"), array(bulk("x"), ":1\r\n")), true},
		{pushes, array(bulk("message"), bulk("+switch-master"), bulk("main 10.0.0.1")), true},
		{pushes, array(bulk("pmessage"), bulk("*"), bulk("c")), true},
		{pushes, array(bulk("pong")), true},
		{pushes, array(array(bulk("message"))), true},
		{pushes, array(bulk("whatever")), true},
	} {
		for _, size := range []int{1, len(c.reply)} {
			err := follow([]byte("+OK\r\n"+c.reply+"+OK\r\n"), size, c.asked, nil)
			require.Equal(t, c.refuse, err != nil, "%.60q: %v", c.reply, err)
		}
	}
}

// What a guard makes of a stream does not depend on the pieces in which it comes, and what it keeps of it is bounded.
func FuzzGuard(f *testing.F) {
	for _, stream := range malformed() {
		f.Add([]byte(stream[:min(len(stream), 1000)]), uint64(1), uint8(anything))
	}
	f.Add([]byte("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n"), uint64(2), uint8(pushes))
	f.Add([]byte("*2\r\n$1\r\na\r\n$1\r\nb\r\n+OK\r\n"), uint64(3), uint8(address))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64, asked uint8) {
		a := int32(asked % 4)
		whole := follow(bytes.Clone(stream), max(1, len(stream)), a, nil)
		require.Equal(t, whole, follow(bytes.Clone(stream), 1, a, nil))
		require.Equal(t, whole, follow(bytes.Clone(stream), 0, a, rand.New(rand.NewPCG(seed, 0))))
		r := replies{most: replyBytes}
		_ = r.check(stream, a)
		require.LessOrEqual(t, len(r.open), replyDepth)
		require.LessOrEqual(t, len(r.line), replyLine)
		require.LessOrEqual(t, len(r.form.kinds), len(r.form.texts)+1)
	})
}
