package subscriber

import (
	"sync"

	"github.com/rescind/rescind/events"
)

// watchers hands revocations to those who watch. A watcher that does not keep up
// loses events and is told so; enforcement never waits for one.
type watchers struct {
	mu  sync.Mutex
	all map[*Watch]struct{}
	// ended tells that the agent was closed.
	ended bool
}

// Watch is a subscription to revocations as they come into force.
type Watch struct {
	// C gives each revocation once, after Check refuses what it hits. It is
	// closed when the watch or the agent is closed.
	C <-chan *events.Revocation

	c       chan *events.Revocation
	owner   *watchers
	dropped bool
	closed  bool
}

// watchBuffer is how far a watcher may fall behind.
const watchBuffer = 1024

func (w *watchers) add() *Watch {
	c := make(chan *events.Revocation, watchBuffer)
	watch := &Watch{C: c, c: c, owner: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[*Watch]struct{}{}
	}
	if w.ended {
		watch.closeLocked()
		return watch
	}
	w.all[watch] = struct{}{}
	return watch
}

func (w *watchers) send(r *events.Revocation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for watch := range w.all {
		select {
		case watch.c <- r:
		default:
			watch.dropped = true
		}
	}
}

func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for watch := range w.all {
		watch.closeLocked()
	}
}

// Dropped tells, once, whether events were lost since it was last asked: the
// watcher must then check everything that it holds open.
func (w *Watch) Dropped() bool {
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	d := w.dropped
	w.dropped = false
	return d
}

// Close ends the watch. It may be called more than once.
func (w *Watch) Close() {
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	w.closeLocked()
}

func (w *Watch) closeLocked() {
	if !w.closed {
		w.closed = true
		delete(w.owner.all, w)
		close(w.c)
	}
}
