package relay

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// slotsTimeout bounds the question to one node of a Cluster who has which slots.
const slotsTimeout = time.Second

// ClientOptions say where Redis is and who we are. Only Addrs is needed. (Package config makes them of REDIS_URL.)
type ClientOptions struct {
	// Addrs are host:port: one node, several of a Cluster, or the sentinels when SentinelMaster is set.
	Addrs []string
	// DB is the database number; a Cluster has only 0.
	DB                 int
	Username, Password string
	// SentinelMaster is the name of the master that the sentinels watch; they may ask for credentials of their own.
	SentinelMaster                     string
	SentinelUsername, SentinelPassword string
	// TLS is nil for plain connections.
	TLS *tls.Config
	// DialTimeout bounds a connection attempt; 0 means 5 s.
	DialTimeout time.Duration
}

// NewClient makes a client for NewRedis, Consume, and what reads streams otherwise: a reply with entries may have 128 MiB, any other
// 16 MiB. It never retries a command by itself: the relay knows when that is right. No connection is made yet. The caller closes it.
func NewClient(o ClientOptions) redis.UniversalClient {
	timeout := cmp.Or(o.DialTimeout, defaultTimeout)
	dial := guarded(o.dialer(timeout), replyBytes)
	if o.SentinelMaster != "" {
		dial = lookupDialer(dial, guarded(o.dialer(timeout), sentinelBytes), timeout)
	}
	client := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs:                    o.Addrs,
		DB:                       o.DB,
		Username:                 o.Username,
		Password:                 o.Password,
		MasterName:               o.SentinelMaster,
		SentinelUsername:         o.SentinelUsername,
		SentinelPassword:         o.SentinelPassword,
		TLSConfig:                o.TLS,
		DialTimeout:              timeout,
		Dialer:                   dial,
		PipelinePoolSize:         -1, // what is asked outside of pipelines must not go to another server, where a name was given away
		MaxRetries:               -1,
		DialerRetries:            1,
		ReadTimeout:              -1, // every call has a deadline by its size
		WriteTimeout:             -1,
		ContextTimeoutEnabled:    true,
		Protocol:                 2,
		DisableIdentity:          true, // CLIENT SETINFO is not among the rights that the relay asks for
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	discretion := discreetAbout([]string{o.Password, o.SentinelPassword}, []string{o.Username, o.SentinelUsername})
	if cluster, ok := client.(*redis.ClusterClient); ok {
		cluster.OnNewNode(func(node *redis.Client) {
			node.AddHook(impatience{})
			node.AddHook(fewNodes{})
			node.AddHook(discretion)
		})
	}
	client.AddHook(discretion)
	if o.SentinelMaster != "" {
		client.AddHook(lookup{o.SentinelMaster})
	}
	return client
}

// dialer makes plain connections, or those with TLS.
func (o ClientOptions) dialer(timeout time.Duration) dialFunc {
	plain := &net.Dialer{Timeout: timeout}
	dial := plain.DialContext
	if o.TLS != nil { // that of go-redis does not heed ctx
		dial = (&tls.Dialer{NetDialer: plain, Config: o.TLS}).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, &DialError{Addr: addr, TLS: o.TLS != nil, Err: err}
		}
		return conn, nil
	}
}

// impatience bounds a command that has no deadline. That is only the client's own question who has which slots: a node that
// hangs would keep it from asking another one, and so from finding out who has taken over, for as long as it hangs.
type impatience struct{}

// DialHook changes nothing.
func (impatience) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook changes nothing.
func (impatience) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook sets the deadline.
func (impatience) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if _, ok := ctx.Deadline(); !ok && cmd.Name() == "cluster" {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, slotsTimeout)
			defer cancel()
		}
		return next(ctx, cmd)
	}
}

// DialError says that no connection came about.
type DialError struct {
	Addr string // host:port, "" when not known
	TLS  bool
	Err  error
}

func (e *DialError) Error() string {
	var dial *net.OpError
	switch {
	case errors.As(e.Err, &dial) && dial.Op == "dial": // it says so itself
		return e.Err.Error()
	case e.Addr == "":
		return "connect: " + e.Err.Error()
	}
	return fmt.Sprintf("connect to %s: %v", e.Addr, e.Err)
}

func (e *DialError) Unwrap() error { return e.Err }

// QuietClientLog keeps go-redis from writing lines of its own to standard error: the relay reports every failure itself, and
// without what a server repeats of a command, which may be the password.
func QuietClientLog() { redis.SetLogger(silent{}) }

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
