package main

import (
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/schema"
)

func openOutbox(cfg *config.Config, log *slog.Logger, mustExist bool) (*outbox.Outbox, error) {
	return outbox.Open(cfg.Outbox.Path, outboxOptions(cfg, log, mustExist))
}

// outboxOptions are those of the configuration.
func outboxOptions(cfg *config.Config, log *slog.Logger, mustExist bool) outbox.Options {
	return outbox.Options{
		Retention:     cfg.Outbox.Retention,
		MaxBytes:      int64(cfg.Outbox.MaxBytes),
		MaxEventBytes: int(cfg.Outbox.MaxEventBytes),
		MustExist:     mustExist,
		Logger:        log,
		Now:           clock,
	}
}

func newRecorder(o *outbox.Outbox, cfg *config.Config, log *slog.Logger) (*changes.Recorder, error) {
	return changes.NewRecorder(o, changes.Options{
		Location:  cfg.Processor.Location,
		EventsOff: !cfg.Redis.Enabled,
		Now:       clock,
		Logger:    log,
	})
}

// newClient makes a client of the Redis that the configuration names; the caller closes it.
func newClient(cfg *config.Config) redis.UniversalClient { return relay.NewClient(clientOptions(cfg)) }

// clientOptions are those of the configuration.
func clientOptions(cfg *config.Config) relay.ClientOptions {
	server := cfg.Redis.Server
	return relay.ClientOptions{
		Addrs:            server.Addrs,
		DB:               server.DB,
		Username:         server.Username,
		Password:         string(server.Password),
		SentinelMaster:   server.SentinelMaster,
		SentinelUsername: server.SentinelUsername,
		SentinelPassword: string(server.SentinelPassword),
		TLS:              server.TLS,
		DialTimeout:      cfg.Redis.ConnTimeout,
	}
}

// relayOptions are those of the configuration.
func relayOptions(cfg *config.Config, log *slog.Logger) relay.Options {
	rejoin := cfg.Relay.RejoinWait
	if rejoin == 0 {
		rejoin = -time.Second // not at all
	}
	schemas := map[string]string{}
	for _, topic := range config.Topics {
		schemas[topic] = schema.URL(topic)
	}
	return relay.Options{
		Channels:       cfg.Redis.Channels(),
		MinReceivers:   cfg.Relay.MinReceivers,
		HoldMax:        cfg.Relay.HoldMax,
		RejoinWait:     rejoin,
		RetryDelay:     cfg.Redis.RetryDelay,
		RetryMaxDelay:  cfg.Redis.RetryMaxDelay,
		MaxRetries:     cfg.Redis.MaxRetries,
		BlockOnPoison:  cfg.Relay.OnPoison == config.Block,
		HealthInterval: cfg.Redis.HealthCheck,
		Streams:        cfg.Relay.Streams,
		StreamMaxLen:   cfg.Relay.StreamMaxLen, StreamMaxUnread: cfg.Relay.StreamMaxUnread,
		Source:         schema.DefaultSource,
		Schemas:        schemas,
		WaitReplicas:   cfg.Relay.WaitReplicas,
		WaitTimeout:    cfg.Relay.WaitTimeout,
		BytesPerSecond: int(cfg.Relay.MaxBytesPerSecond),
		Alert:          alertEvent,
		Logger:         log,
	}
}

// alertEvent turns an alert of the relay into an event, which it publishes like any other.
func alertEvent(a relay.Alert) (outbox.Event, error) {
	severity := schema.SeverityError
	if a.Critical {
		severity = schema.SeverityCritical
	}
	m, err := schema.NewAlert(schema.Alert{
		Time: a.Time, Type: a.Kind, Severity: severity, Message: a.Message, Details: map[string]any{"topic": a.Topic},
	})
	if err != nil {
		return outbox.Event{}, err
	}
	return changes.Event(m), nil
}
