package relay

import (
	"cmp"
	"context"
	_ "embed"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed examine.lua
var examineSource string

var examineScript = redis.NewScript(examineSource)

// examinedSettings of Redis matter to the relay.
var examinedSettings = []string{"appendfsync", "client-output-buffer-limit", "client-query-buffer-limit", "min-replicas-to-write",
	"proto-max-bulk-len", "save", "tcp-keepalive"}

func (r *Redis) examine(ctx context.Context, c *redis.Client, q Question) Node {
	e := examiner{ctx: ctx, timeout: r.timeout, client: c, Node: Node{Addr: c.Options().Addr, Unseen: map[string]error{}}}
	e.hello()
	e.rights(q)
	e.info(q)
	e.settings()
	e.receivers(q.Channels)
	return e.Node
}

// examiner asks one node. After an error that everything else would meet with, too, nothing more is asked.
type examiner struct {
	ctx     context.Context
	timeout time.Duration
	client  *redis.Client
	Node
}

// ask runs a command with a time limit of its own and says whether there is an answer. right is what it takes.
func (e *examiner) ask(right string, command func(ctx context.Context) error) bool {
	if e.Err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(e.ctx, e.timeout)
	defer cancel()
	err := command(ctx)
	if err == nil {
		return true
	}
	// What Redis says about this one command leaves the others to be tried. It may also forbid one that the client gives
	// by itself when it connects.
	name, _, _ := strings.Cut(right[1:], "|")
	if Forbidden(err) && strings.Contains(err.Error(), "'"+name) || classify(err).mend == mendCommands {
		e.Unseen[right] = err
	} else {
		e.Err = err
	}
	return false
}

func (e *examiner) hello() {
	e.ask("+hello", func(ctx context.Context) error {
		pairs, err := e.client.Do(ctx, "HELLO", 2).Slice()
		for i := 0; i+1 < len(pairs); i += 2 {
			text, _ := pairs[i+1].(string)
			text = brief(text, shownOfReply)
			switch pairs[i] {
			case "version":
				e.Version = text
			case "mode":
				e.Mode = text
			case "role":
				e.Role = text
			}
		}
		return err
	})
}

func (e *examiner) rights(q Question) {
	var asked []Right
	var args []any
	for _, n := range q.Needs() {
		words := strings.Fields(n.call)
		args = append(args, len(words))
		for _, w := range words {
			args = append(args, w)
		}
		asked = append(asked, Right{Need: n})
	}
	if !e.ask("+script|load", func(ctx context.Context) error { return examineScript.Load(ctx, e.client).Err() }) {
		return
	}
	e.ask("+evalsha", func(ctx context.Context) error {
		answers, err := examineScript.EvalSha(ctx, e.client, nil, args...).Int64Slice()
		if len(answers) > 0 && len(answers) != len(asked) {
			return strange("a script answered %d values; expected %d", len(answers), len(asked))
		}
		for i, answer := range answers {
			asked[i].Permitted, asked[i].Unknown = answer > 0, answer < 0
		}
		if len(answers) > 0 {
			e.Rights = asked
		}
		return err
	})
}

func (e *examiner) info(q Question) {
	e.ask("+info", func(ctx context.Context) error {
		before := time.Now()
		text, err := e.client.Info(ctx).Result()
		e.At = before.Add(time.Since(before) / 2)
		if err == nil {
			e.Info = infoFields(text)
			e.Version, e.Mode = cmp.Or(e.Version, e.Info["redis_version"]), cmp.Or(e.Mode, e.Info["redis_mode"])
			e.Role = cmp.Or(e.Role, strings.Replace(e.Info["role"], "slave", "replica", 1))
		}
		return err
	})
	if slices.Contains(q.Features, Cluster) {
		e.ask("+cluster|info", func(ctx context.Context) error {
			text, err := e.client.ClusterInfo(ctx).Result()
			if err == nil {
				e.Cluster = infoFields(text)
			}
			return err
		})
	}
}

// infoFields parses lines of name:value. Values are such as may be shown.
func infoFields(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && len(m) < infoLines {
			m[name] = brief(value, shownOfReply)
		}
	}
	return m
}

func (e *examiner) settings() {
	e.Settings = map[string]string{}
	for _, name := range examinedSettings { // several names in one command came with Redis 7.0
		e.ask("+config|get", func(ctx context.Context) error {
			answer, err := e.client.ConfigGet(ctx, name).Result()
			for setting, value := range answer {
				e.Settings[setting] = brief(value, shownOfReply)
			}
			return err
		})
	}
}

func (e *examiner) receivers(channels []string) {
	e.ask("+pubsub|numsub", func(ctx context.Context) (err error) {
		e.Receivers, err = e.client.PubSubNumSub(ctx, channels...).Result()
		return err
	})
}
