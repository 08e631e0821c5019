package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/rescind/rescind/events"
)

// keysEvery is how old the keys may become while messages come in: a key that was
// taken back must not be trusted for ever.
const keysEvery = time.Minute

// keysWithin is how long the source may take.
const keysWithin = 10 * time.Second

// KeySource gives the publishers' keys. A *events.KeySet is one that never
// changes; the subscriber package makes others. Keys may block until ctx ends and
// must be safe for concurrent use.
type KeySource interface {
	Keys(ctx context.Context) (*events.KeySet, error)
}

// keyring keeps the newest keys that the source gave.
type keyring struct {
	source KeySource
	newest atomic.Pointer[keysAt]
}

type keysAt struct {
	set *events.KeySet
	at  time.Time
}

// current gives keys that are at most keysEvery old, or the newest there are.
func (k *keyring) current(ctx context.Context, log *slog.Logger) *events.KeySet {
	have := k.newest.Load()
	if time.Since(have.at) < keysEvery {
		return have.set
	}
	set, err := k.refresh(ctx)
	if err != nil {
		log.Warn("refreshing keys; the former ones stay", "err", err)
		return have.set
	}
	return set
}

// refresh asks the source now.
func (k *keyring) refresh(ctx context.Context) (*events.KeySet, error) {
	ctx, cancel := context.WithTimeout(ctx, keysWithin)
	defer cancel()
	set, err := k.source.Keys(ctx)
	if err == nil && set == nil {
		err = errors.New("the source gave none")
	}
	if err != nil {
		return nil, fmt.Errorf("asking for keys: %w", err)
	}
	k.newest.Store(&keysAt{set, time.Now()})
	return set, nil
}
