package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/changes/api"
	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// patient is what the doctor has found out; the checks judge it. Nothing was changed to get it.
type patient struct {
	cfg *config.Config
	now time.Time

	nodes     []relay.Node
	down      error  // why Redis cannot be used
	speaks    string // with down: what the port talks, if that is not what REDIS_URL says
	sentinels []relay.Sentinel
	marks     []markView // of each topic, if Redis and the file can be asked
	streams   []streamView

	path     string      // of the file, absolute
	file     fs.FileInfo // nil when there is none
	fileErr  error       // why the file cannot be looked at
	unopened string      // why stats is nil, when that is no error
	stats    *outbox.Stats
	newest   time.Time // when the newest event was appended
	list     *bool     // whether a match list was recorded; nil when it cannot be told

	folder    string // the file's, or the first one above that exists
	folderNow fs.FileInfo
	writable  bool   // the folder, by this user
	free      uint64 // bytes of its disk
}

// markView is what file and Redis know of a topic's last accepted event.
type markView struct {
	topic         string
	accepted      outbox.Mark // says the file
	found         outbox.Mark // says Redis
	of            string      // the topic that the event belongs to in the file, "" when it has no such event
	known, pruned bool        // the file has the event that Redis has; it may have had it
	added         outbox.Mark // says Redis of the topic's stream, with RELAY_STREAMS=on
	gone          bool        // the stream is not there any more
	err           error
	stream        relay.StreamHealth // zero where Redis does not tell
}

// streamView is what the name of a topic's stream holds.
type streamView struct {
	topic, kind string
	err         error
}

// examinePatient looks at everything.
func examinePatient(ctx context.Context, cfg *config.Config) *patient {
	p := &patient{cfg: cfg, now: time.Now()}
	client := newClient(cfg)
	defer client.Close()
	target := relay.NewRedis(client, cfg.Redis.SocketTimeout)
	p.lookAtFile()
	if cfg.Redis.Enabled {
		p.lookAtRedis(ctx, target)
	}
	p.lookIntoFile(ctx, target)
	return p
}

func (p *patient) lookAtRedis(ctx context.Context, target *relay.Redis) {
	p.nodes, p.down = target.Examine(ctx, p.question(false))
	server := p.cfg.Redis.Server
	if server.SentinelMaster != "" {
		p.sentinels = relay.Sentinels(ctx, clientOptions(p.cfg), p.cfg.Redis.SocketTimeout)
	}
	if p.down != nil {
		if reply := redis.Error(nil); !errors.As(p.down, &reply) { // else it has understood
			p.speaks = speaks(ctx, server.Addrs[0], server.TLS == nil, p.cfg.Redis.ConnTimeout)
		}
		return
	}
	for _, topic := range config.Topics {
		if !p.cfg.Relay.Streams {
			break
		}
		kind, err := target.StreamType(ctx, p.cfg.Redis.Channels()[topic])
		p.streams = append(p.streams, streamView{topic, kind, err})
	}
}

// question is what the relay would want of Redis with these settings.
func (p *patient) question(cluster bool) relay.Question {
	q := relay.Question{Channels: p.channels(), Origin: "doctor"}
	if p.cfg.Relay.Streams {
		q.Features = append(q.Features, relay.Streams)
	}
	if p.cfg.Relay.WaitReplicas > 0 {
		q.Features = append(q.Features, relay.Replicas)
	}
	if cluster {
		q.Features = append(q.Features, relay.Cluster)
	}
	return q
}

// channels are those of the topics, in the topics' order.
func (p *patient) channels() (list []string) {
	for _, topic := range config.Topics {
		list = append(list, p.cfg.Redis.Channels()[topic])
	}
	return list
}

// lookAtFile looks from outside.
func (p *patient) lookAtFile() {
	p.path, p.fileErr = filepath.Abs(p.cfg.Outbox.Path)
	if p.fileErr != nil {
		return
	}
	info, err := os.Stat(p.path)
	if err == nil {
		p.file = info
	} else if !errors.Is(err, fs.ErrNotExist) {
		p.fileErr = err
	}
	for p.folder = filepath.Dir(p.path); ; p.folder = filepath.Dir(p.folder) {
		if p.folderNow, err = os.Stat(p.folder); err == nil || p.folder == filepath.Dir(p.folder) {
			break
		}
	}
	const write, search = 2, 1
	p.writable = syscall.Access(p.folder, write|search) == nil
	p.free, _ = freeBytes(p.folder) // what cannot be told counts as none
}

// lookIntoFile opens the file if that changes nothing, asks Redis for its side of the marks, and lets the file go at once:
// nobody else can open it meanwhile.
func (p *patient) lookIntoFile(ctx context.Context, target *relay.Redis) {
	switch {
	case p.fileErr != nil:
		p.unopened = "the file cannot be looked at"
		return
	case p.file == nil:
		p.unopened, p.list = "the file is not made yet", new(bool)
		return
	case p.file.Mode().Perm()&0o077 != 0:
		p.unopened = "the file is not opened, for that would change its mode"
		return
	}
	o, err := outbox.Open(p.path, outbox.Options{MustExist: true, LockTimeout: 200 * time.Millisecond})
	var held *outbox.LockedError
	switch {
	case errors.As(err, &held):
		live, err := dialOwner(ctx, p.cfg)
		if err != nil {
			p.unopened = "the file is held by " + holder(held)
			return
		}
		defer live.Close()
		_, err = api.NewClient(live.Client).PreviewResync(ctx)
		if none := errors.Is(err, changes.ErrNoState); none || err == nil {
			p.list = new(bool)
			*p.list = !none
		}
		p.lookThrough(ctx, live, live.status.Outbox, target)
		return
	case err != nil:
		p.fileErr, p.unopened = err, "the file cannot be opened"
		return
	}
	defer o.Close()
	stats, err := o.Stats(ctx)
	if err != nil {
		p.fileErr, p.unopened = err, "the file cannot be read"
		return
	}
	if recorder, err := newRecorder(o, p.cfg, nil); err == nil {
		if has, err := recorder.HasState(ctx); err == nil {
			p.list = &has
		}
	}
	p.lookThrough(ctx, o, stats, target)
}

// records are the events of an outbox: the file's, or those of the process that has it.
type records interface {
	List(ctx context.Context, f outbox.Filter) ([]outbox.Info, error)
	Get(ctx context.Context, sequence uint64) (outbox.Entry, outbox.Info, error)
}

func (p *patient) lookThrough(ctx context.Context, r records, stats outbox.Stats, target *relay.Redis) {
	p.stats = &stats
	if stats.LastSequence > 0 {
		if newest, err := r.List(ctx, outbox.Filter{After: stats.LastSequence - 1}); err == nil && len(newest) > 0 {
			p.newest = newest[0].AppendedAt
		}
	}
	if p.cfg.Redis.Enabled && p.down == nil {
		p.compareMarks(ctx, r, target)
	}
}

func (p *patient) compareMarks(ctx context.Context, r records, target *relay.Redis) {
	for _, topic := range config.Topics {
		view := markView{topic: topic}
		var counters outbox.TopicStats
		for _, t := range p.stats.Topics {
			if t.Topic == topic {
				counters = t
			}
		}
		view.accepted = counters.Progress.Accepted
		view.found, view.err = target.Mark(ctx, p.cfg.Redis.Channels()[topic], p.stats.Origin)
		if view.err == nil && view.found.Sequence > 0 {
			_, info, err := r.Get(ctx, view.found.Sequence)
			switch {
			case err == nil:
				if info.MessageID == view.found.MessageID {
					view.known = info.Topic == topic
					view.of = info.Topic
				}
			case errors.Is(err, outbox.ErrNotFound):
				view.pruned = view.found.Sequence <= counters.Cursor
			default:
				view.err = err
			}
		}
		if view.err == nil && p.cfg.Relay.Streams {
			var there bool
			view.added, there, view.err = target.StreamMark(ctx, p.cfg.Redis.Channels()[topic], p.stats.Origin)
			view.gone = !there && view.added.Sequence > 0
			view.stream, _ = target.Stream(ctx, p.cfg.Redis.Channels()[topic]) // where Redis does not tell, there is nothing to warn of
		}
		if p.marks = append(p.marks, view); view.err != nil {
			return
		}
	}
}
