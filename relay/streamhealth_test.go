package relay_test

import "testing"

func TestStreamHealth_TellsWhoIsBehind(t *testing.T) {
	t.Parallel()
	r := withGroups(t)
	r.addMany("news", 9)
	r.waitDelivered("news")
	r.take("prompt", 9, 0)
	r.take("slow", 4, 1)
	eventually(t, "it is told", func() bool {
		h := r.relay.Health().Topics["news"].Stream
		return h != nil && h.Slowest == "slow" && h.Entries == 10 && h.MaxUnread == 1000 && h.Lag == 6+1
	})
	r.do("ACL", "SETUSER", "default", "-xinfo")
	eventually(t, "it is not told any more", func() bool { return r.relay.Health().Topics["news"].Stream == nil })
}
