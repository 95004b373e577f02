package relay_test

import (
	"testing"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

func TestStreamHealth_TellsWhoIsBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.start(trimming())
	r.add("news", 1)
	r.waitDelivered("news")
	r.do("XGROUP", "CREATE", newsStream, "slow", 0)
	r.do("XGROUP", "CREATE", newsStream, "prompt", "$")
	r.addMany("news", 9)
	r.take("prompt", 9, 0)
	r.take("slow", 4, 1)
	eventually(t, "it is told", func() bool {
		h := r.relay.Health().Topics["news"].Stream
		return h != nil && h.Slowest == "slow" && h.Entries == 10 && h.MaxUnread == 1000 && h.Lag == 6+1
	})
	r.do("ACL", "SETUSER", "default", "-xinfo")
	eventually(t, "it is not told any more", func() bool { return r.relay.Health().Topics["news"].Stream == nil })
}
