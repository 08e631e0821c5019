package subscriber

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/follow"
)

const (
	// keysAtMost is how often the key set is read anew at most, because of a message.
	keysAtMost  = time.Second
	keysTimeout = 10 * time.Second
)

// refreshKeys reads the key set anew when err says that a key is missing, at
// most once a second.
func (l *loop) refreshKeys(err error) {
	now := l.instant()
	if !events.Parkable(err) || l.refreshing || l.keysAt != 0 && now.mono < l.keysAt+keysAtMost {
		return
	}
	l.refreshing, l.keysAt = true, now.mono
	l.done.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, keysTimeout)
		defer cancel()
		keys, err := l.cfg.Keys.Keys(ctx)
		l.input(func(l *loop) { l.refreshed(keys, err) })
	})
}

func (l *loop) refreshed(keys *events.KeySet, err error) {
	if err != nil {
		l.refreshing = false
		l.log.Warn("refreshing publishers' keys; the old ones stay", "err", err)
		return
	}
	old := l.keys.Swap(keys)
	l.retryParked()
	if slices.ContainsFunc(old.All(), func(k *events.PublicKey) bool { return !keys.Has(k.ID) }) {
		l.reevaluate(keys)
		return
	}
	l.adopted(keys)
}

// adopted ends a refresh of the keys: what was dropped with a key that is back is
// read again.
func (l *loop) adopted(keys *events.KeySet) {
	l.refreshing = false
	before := len(l.gone)
	maps.DeleteFunc(l.gone, func(id string, _ bool) bool { return keys.Has(id) })
	if len(l.gone) < before {
		l.perform(l.core.again("a key came back whose events were dropped"))
	}
}

func (l *loop) retryParked() {
	keys := l.keys.Load()
	l.perform(l.core.retryParked(func(seq uint64, raw []byte) follow.Message {
		return follow.Decode(keys, l.cfg.fleet(), seq, raw)
	}, l.set.Has))
}

// reevaluate drops the events whose key is trusted no more. It reads the whole
// file, so it runs beside the loop; no other refresh begins meanwhile, and change
// leaves out what was verified before the keys changed.
func (l *loop) reevaluate(keys *events.KeySet) {
	l.done.Go(func() {
		gone := map[string]bool{}
		dropped, err := l.set.Reevaluate(func(id string) bool {
			if !keys.Has(id) {
				gone[id] = true
			}
			return keys.Has(id)
		})
		if dropped > 0 || err != nil {
			l.log.Warn("events of removed keys no longer count", "events", dropped, "err", err)
		}
		l.input(func(l *loop) {
			maps.Copy(l.gone, gone)
			l.adopted(keys)
		})
	})
}
