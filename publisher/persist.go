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
// posts that they make unnecessary, and the position. Nobody waits for it, and a
// crash before it is written costs nothing but work: the follower starts from the
// older position, reads the same events again and takes their posts off the outbox
// then. What the outbox sends meanwhile has its id, so the stream knows it.
type persist struct {
	entries []ledger.Entry
	posts   []ledger.Post
	cursors map[events.Stream]follow.Cursor
	bytes   int
}

// maxUnwritten is how many bytes may wait for the disk before the follower stands
// still.
const maxUnwritten = 64 << 20

// persistQueue joins what the follower wants on disk while a write is under way.
// Putting never waits: a disk that fails must not stop the loop, which answers
// callers and tells the agents. The loop stops following when it is full.
type persistQueue struct {
	mu   sync.Mutex
	next persist
	// unwritten counts the bytes of next and of what is being written.
	unwritten int
	wake      chan struct{}
}

func (q *persistQueue) put(job persist) {
	for i := range job.entries {
		job.bytes += len(job.entries[i].Raw) + entryBytes
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next.entries = append(q.next.entries, job.entries...)
	q.next.posts = append(q.next.posts, job.posts...)
	if q.next.cursors == nil {
		q.next.cursors = map[events.Stream]follow.Cursor{}
	}
	maps.Copy(q.next.cursors, job.cursors)
	q.next.bytes += job.bytes
	q.unwritten += job.bytes
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// entryBytes is about what an entry takes beside its event's bytes.
const entryBytes = 200

func (q *persistQueue) take() persist {
	q.mu.Lock()
	defer q.mu.Unlock()
	job := q.next
	q.next = persist{}
	return job
}

func (q *persistQueue) written(job *persist) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unwritten -= job.bytes
}

func (q *persistQueue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.unwritten > maxUnwritten
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
		err := p.ledger.UpdateLater(job.write)
		if err == nil || errors.Is(err, ledger.ErrClosed) {
			p.persists.written(&job)
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
