package outbox

import (
	"context"

	bolt "go.etcd.io/bbolt"
)

// Add appends events in a transaction of their own; see Append.
func (o *Outbox) Add(ctx context.Context, events ...Event) (sequences []uint64, err error) {
	err = o.Update(ctx, func(tx *bolt.Tx) error {
		sequences, err = o.Append(tx, events...)
		return err
	})
	return sequences, err
}
