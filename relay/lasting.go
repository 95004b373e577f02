package relay

import (
	"context"
	"time"
)

// lastWords is how long a relay that is to end waits for the source to write what it has to say: a transaction of the processor's
// own may be open.
const lastWords = 5 * time.Second

// lasting returns a context that outlives the end of ctx by lastWords.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-lasting.Done():
		case <-time.After(lastWords):
			cancel()
		}
	})
	return lasting, func() {
		stop()
		cancel()
	}
}

// flush has the source write what was settled, and says whether it did. What it could not write when the relay had to end goes
// with the next commit, or when the outbox is closed: that is no error.
func (r *Relay) flush(ctx context.Context) (stored bool, err error) {
	lasting, cancel := lasting(ctx)
	defer cancel()
	err = r.source.Flush(lasting)
	if err != nil && lasting.Err() != nil {
		r.opts.Logger.Warn("what was delivered is settled later: another transaction is open in the outbox", "error", err)
		return false, nil
	}
	return err == nil, err
}
