package publisher

import (
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/follow"
	"github.com/rescind/rescind/publisher/ledger"
)

// persist is what the follower wants on disk: events with where they stand, the
// posts that they make unnecessary, and the position.
type persist struct {
	entries []ledger.Entry
	posts   []ledger.Post
	cursors map[events.Stream]follow.Cursor
}

// persistQueue joins what the follower wants on disk while a write is under way.
// Putting never waits: a disk that fails must not stop the loop, which answers
// callers and tells the agents. While it fails, what is queued grows by what comes
// in from the streams.
type persistQueue struct {
	mu   sync.Mutex
	next persist
	wake chan struct{}
}

func (q *persistQueue) put(job persist) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next.entries = append(q.next.entries, job.entries...)
	q.next.posts = append(q.next.posts, job.posts...)
	if q.next.cursors == nil {
		q.next.cursors = map[events.Stream]follow.Cursor{}
	}
	maps.Copy(q.next.cursors, job.cursors)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *persistQueue) take() persist {
	q.mu.Lock()
	defer q.mu.Unlock()
	job := q.next
	q.next = persist{}
	return job
}

// persistLoop writes what the follower has seen, in its order. A position is
// never written before the events that it stands for.
func (p *Publisher) persistLoop() {
	for {
		select {
		case <-p.persists.wake:
			p.persist(p.persists.take())
		case <-p.ctx.Done():
			return
		}
	}
}

// persist writes until it succeeds or the publisher is closed; meanwhile the
// publisher is not ready.
func (p *Publisher) persist(job persist) {
	for {
		err := p.ledger.Update(job.write)
		if err == nil || errors.Is(err, ledger.ErrClosed) {
			p.ledgerFault.Store(nil)
			return
		}
		fault := "ledger: " + err.Error()
		p.ledgerFault.Store(&fault)
		p.notReady(fault)
		select {
		case <-time.After(time.Second):
		case <-p.ctx.Done():
			return
		}
	}
}

func (job *persist) write(tx *ledger.Tx) error {
	for i := range job.entries {
		if err := tx.PutEvent(&job.entries[i]); err != nil {
			return err
		}
	}
	for i := range job.posts {
		if err := tx.DropPost(&job.posts[i]); err != nil {
			return err
		}
	}
	for s, c := range job.cursors {
		if err := tx.SetCursor(s, c); err != nil {
			return err
		}
	}
	return nil
}
