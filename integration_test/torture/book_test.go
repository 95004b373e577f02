package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// fact is one event of the outbox.
type fact struct {
	topic, id string
	state     outbox.State // as it was last seen, "" never
	replayOf  uint64
	by        string // who says so first
}

// book is what is known of the events of the outbox, also of those that it has pruned: from those who appended them and were
// answered, from looking into the outbox, and in the end from the streams.
type book struct {
	r  *rig
	mu sync.Mutex
	// facts by sequence; guarded by mu, like what follows
	facts    map[uint64]fact
	acked    map[uint64]string // what was acknowledged: who was answered
	refused  map[string]bool   // message IDs that are too large for Redis
	givenUp  map[string]bool   // message IDs of what was discarded
	posted   int
	repeated atomic.Int64 // posts that needed another try
}

func newBook(r *rig) *book {
	return &book{r: r, facts: map[uint64]fact{}, acked: map[uint64]string{}, refused: map[string]bool{}, givenUp: map[string]bool{}}
}

// learn takes down an event. All that is known of one must agree.
func (b *book) learn(sequence uint64, f fact) {
	b.mu.Lock()
	known, ok := b.facts[sequence]
	if !ok {
		b.facts[sequence] = f
	} else if f.state != "" && (known.state != outbox.Discarded && known.state != outbox.Parked || f.state != outbox.Pending) {
		// Two looks at once may come out of order.
		known.state, known.replayOf = f.state, f.replayOf
		b.facts[sequence] = known
	}
	b.mu.Unlock()
	if ok && (known.topic != f.topic || known.id != f.id && f.id != "" && known.id != "") {
		b.r.find("#%d is %s %s to %s, and %s %s to %s", sequence, known.topic, known.id, known.by, f.topic, f.id, f.by)
	}
}

func (b *book) discarded(sequence uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.facts[sequence]
	f.state = outbox.Discarded
	b.facts[sequence] = f
	b.givenUp[f.id] = true
}

func (b *book) isGivenUp(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.givenUp[id]
}

func (b *book) acknowledged(sequence uint64, topic, id, to string) {
	b.learn(sequence, fact{topic: topic, id: id, by: to})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.acked[sequence] = to
}

// look reads all events that the outbox has now, if a process tells.
func (b *book) look() (last uint64, err error) {
	client, err := control.Dial(b.r.db() + ".sock")
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err = client.Each(ctx, outbox.Filter{}, func(info outbox.Info) error {
		b.learn(info.Sequence, fact{info.Topic, info.MessageID, info.State, info.ReplayOf, "the outbox"})
		last = info.Sequence
		return nil
	})
	return last, err
}

// watch looks again and again.
func (b *book) watch(ctx context.Context) {
	for ctx.Err() == nil {
		_, _ = b.look() // at times no process answers
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// post is a processor in another language: it posts events until it is stopped, each until it is answered.
func (b *book) post(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		topic, size := statuses, 100+random.IntN(600)
		if random.IntN(4) == 0 {
			topic = alerts
		}
		b.postOne(topic, strings.Repeat("p", size))
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(10+random.IntN(40)) * time.Millisecond):
		}
	}
}

// payload is a valid one, with a text.
func payload(topic, text string) string {
	if topic == alerts {
		return fmt.Sprintf(`{"alert_type":"torture","severity":"info","message":%q,"details":{}}`, text)
	}
	return fmt.Sprintf(`{"status":"started","cycle_number":1,"processing_duration_ms":0,"matches_processed":0,"errors":[],"details":{"text":%q}}`, text)
}

// postOne posts an event under a key of its own until it is answered, and returns its message ID.
func (b *book) postOne(topic, text string) string {
	body, key := fmt.Appendf(nil, `{"type":%q,"payload":%s}`, topic, payload(topic, text)), uuid.NewString()
	last := ""
	for try, until := 0, time.Now().Add(patience); time.Now().Before(until); try++ {
		status, answer, err := b.send(key, body)
		switch {
		case err != nil:
			last = err.Error()
		case status == http.StatusOK:
			var posted struct {
				Sequences []uint64 `json:"sequences"`
				MessageID string   `json:"message_id"`
			}
			if err := json.Unmarshal(answer, &posted); err != nil || len(posted.Sequences) != 1 {
				b.r.find("post: answered %s", answer)
				return ""
			}
			b.acknowledged(posted.Sequences[0], topic, posted.MessageID, "a poster")
			b.mu.Lock()
			b.posted++
			b.mu.Unlock()
			if try > 0 {
				b.repeated.Add(1)
			}
			return posted.MessageID
		case status < 500:
			b.r.find("post: refused with %d: %s", status, answer)
			return ""
		default:
			last = fmt.Sprint(status, " ", string(answer))
		}
		<-time.After(20 * time.Millisecond)
	}
	b.r.find("a post was not answered within %v: %s", patience, last)
	return ""
}

func (b *book) send(key string, body []byte) (status int, answer []byte, err error) {
	web := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", b.r.db()+".sock")
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/v1/events", bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Idempotency-Key", key)
	response, err := web.RoundTrip(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// postRefused posts an event that is too large for Redis, until the plan is over.
func (b *book) postRefused() {
	empty := len(fmt.Sprintf(`{"type":%q,"payload":%s}`, alerts, payload(alerts, "")))
	id := b.postOne(alerts, strings.Repeat("x", 1<<20-empty)) // its envelope makes it larger than a request may be
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused[id] = true
}

// readAcks takes down what the workers wrote down.
func (b *book) readAcks() {
	text, err := os.ReadFile(filepath.Join(b.r.logs, acksFile))
	if err != nil {
		if !os.IsNotExist(err) {
			b.r.find("%v", err)
		}
		return
	}
	for line := range strings.Lines(string(text)) {
		var sequence uint64
		var topic, id string
		if _, err := fmt.Sscan(line, &sequence, &topic, &id); err != nil {
			b.r.find("%s: %q: %v", acksFile, line, err)
			continue
		}
		b.acknowledged(sequence, topic, id, "a worker")
	}
}
