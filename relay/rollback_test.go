package relay_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestWhatAnotherFileHasAddedIsNoReasonToSkipAnEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(streaming())
	r.add("news", 5)
	r.waitDelivered("news")
	r.halt()
	require.NoError(t, r.box.Close())
	copyFile(t, r.path, r.path+".copy")
	r.open()
	r.add("alerts", 1) // so that the next event of news is not the one after the last
	r.do("ACL", "SETUSER", "default", "-publish")
	r.start(streaming())
	original := r.addEvent(message("news", "added, but not published"))
	eventually(t, "it is in the stream", func() bool { return len(r.entries()) == 6 })
	r.halt()
	require.NoError(t, r.box.Close())

	copyFile(t, r.path+".copy", r.path)
	r.open()
	lost := r.appended[len(r.appended)-1]
	r.appended = r.appended[:5]
	r.do("ACL", "SETUSER", "default", "+publish")
	require.Less(t, r.add("news", 1)[0], original, "of this event the mark of the stream seems to know")
	r.start(streaming())
	r.add("news", 5)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
	r.requireStream(append([]string{r.appended[0].MessageID, r.appended[1].MessageID, r.appended[2].MessageID, r.appended[3].MessageID,
		r.appended[4].MessageID, lost.MessageID}, r.news()[5:]...))
	require.Contains(t, r.alertKinds(), "outbox_rolled_back")
}

func TestAFileThatIsPutBackNeitherLosesNorRepeatsInTheStream(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(r *rig){
		"Redis knows everything":                         func(*rig) {},
		"Redis has forgotten the mark, the stream tells": func(r *rig) { r.do("DEL", r.markKey()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{})
			r.server.Start()
			r.start(streaming())
			r.addMany("news", 300)
			r.waitDelivered("news")
			r.halt()
			r.addMany("news", 300) // pending in the copy
			require.NoError(t, r.box.Close())
			copyFile(t, r.path, r.path+".copy")
			r.open()
			r.start(streaming())
			r.addMany("news", 200)
			r.waitDelivered("news")
			r.halt()
			original := r.news()
			require.NoError(t, r.box.Close())
			copyFile(t, r.path+".copy", r.path)
			r.open()
			forget(r)
			r.appended = nil
			r.addMany("news", 400)
			r.start(streaming())
			r.waitDelivered("news")
			r.requireStream(append(original, r.news()...), "nothing again, nothing swallowed")
			require.Equal(t, []string{"outbox_rolled_back"}, r.alertKinds())
			r.halt()
			r.start(streaming())
			r.add("news", 3)
			r.waitDelivered("news")
			r.requireStream(append(original, r.news()...))
		})
	}
}

func TestAFreshOriginDoesNotForgetWhatTheStreamHasOfFormerOnes(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.start(streaming())
	r.addMany("news", 50)
	r.waitDelivered("news")
	r.halt()
	r.addMany("news", 50) // pending in the copy
	require.NoError(t, r.box.Close())
	copyFile(t, r.path, r.path+".copy")
	r.open()
	r.start(streaming())
	r.waitDelivered("news")
	r.halt()
	first := r.origin()
	r.foreignMark("news") // the file goes on elsewhere

	require.NoError(t, r.box.Close())
	copyFile(t, r.path+".copy", r.path)
	r.open()
	opts := streaming()
	opts.MinReceivers = map[string]int{"news": 1}
	r.start(opts)
	eventually(t, "it is held under a fresh origin", func() bool {
		return r.origin() != first && r.relay.Health().Topics["news"].State == relay.Held
	})
	r.halt()
	_, err := r.box.NewOrigin(context.Background(), r.origin()) // another copy, which was taken meanwhile
	require.NoError(t, err)
	for _, forget := range []func(){func() {}, func() { r.do("DEL", r.markKey()) }} {
		r.start(streaming())
		r.waitDelivered("news")
		r.requireStream(r.news())
		r.halt()
		forget()
	}
	r.do("DEL", r.markKey())
	r.start(streaming())
	r.add("news", 5)
	r.waitDelivered("news")
	r.requireStream(r.news())
}
