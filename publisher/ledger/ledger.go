// Package ledger is a publisher's memory on disk: the outbox of what it has
// accepted and the bus has not, a copy of every unexpired event of the fleet,
// whoever published it, and the requests with their receipts.
//
// What [Ledger.Update] has written when it returns nil survives a power cut:
// bbolt commits with fsync, and many callers share one commit. A publisher
// answers a caller only after that. [Ledger.UpdateLater] is for what no caller
// waits for: it rides along, so that a disk that can flush some thousand times a
// second does so for callers. The streams can be lost and made again from the
// ledgers; a ledger can be lost and filled again from the streams, except for
// what its own outbox held.
//
// A Ledger is safe for concurrent use. The file is locked: a second Open of the
// same directory fails with [ErrLocked].
package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/rescind/rescind/events"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

var (
	// ErrLocked is returned by Open when another process has the ledger open.
	ErrLocked = errors.New("ledger is in use by another process")
	// ErrForeign is returned by Open for the ledger of another fleet, another
	// publisher or another format.
	ErrForeign = errors.New("ledger belongs to something else")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("ledger is closed")
)

const format = "rescind-ledger/3"

// The buckets.
var (
	bucketMeta     = []byte("meta")     // format, fleet, publisher, counters, cursors
	bucketRaw      = []byte("raw")      // event id, piece -> the signed event, with what was known of it then
	bucketEvents   = []byte("events")   // event id -> what is known of it since
	bucketOutbox   = []byte("outbox")   // order -> event or receipt id
	bucketAudit    = []byte("audit")    // receipt id -> signed receipt not yet in the audit stream
	bucketExpiry   = []byte("expiry")   // expires, id -> nothing
	bucketRequests = []byte("requests") // txn -> request
	buckets        = [][]byte{bucketMeta, bucketEvents, bucketRaw, bucketOutbox, bucketAudit, bucketExpiry, bucketRequests}
)

// Ledger is an open ledger.
type Ledger struct {
	db *bolt.DB

	// wake tells that something was queued; stop that nothing more will be.
	wake, stop chan struct{}
	done       chan struct{}
	// committing is full while someone commits.
	committing chan struct{}

	// mu guards the next fields. late is what has no hurry; patience runs while it
	// is not empty.
	mu       sync.Mutex
	queue    []*update
	late     []*update
	patience *time.Timer
	due      bool // patience has run out
	closed   bool
}

// lateAfter is how long an UpdateLater waits for others to share its commit.
const lateAfter = 50 * time.Millisecond

type update struct {
	fn   func(*Tx) error
	done chan error
}

// Open opens the ledger in dir, making dir (mode 0700) and the file (0600) when
// they do not exist. It waits at most a second for another process's lock.
func Open(dir string, fleet events.Fleet, publisher string) (*Ledger, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the ledger's directory: %w", err)
	}
	db, err := bolt.Open(filepath.Join(dir, "ledger.db"), 0o600,
		&bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the ledger in %s: %w", dir, err)
	}
	if err := prepare(db, fleet, publisher); err != nil {
		return nil, errors.Join(fmt.Errorf("ledger in %s: %w", dir, err), db.Close())
	}
	l := &Ledger{db: db, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		committing: make(chan struct{}, 1)}
	go l.commitLoop()
	return l, nil
}

func prepare(db *bolt.DB, fleet events.Fleet, publisher string) error {
	return db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		for _, p := range [][2]string{{"format", format}, {"fleet", string(fleet)}, {"publisher", publisher}} {
			switch have := meta.Get([]byte(p[0])); {
			case have == nil:
				if err := meta.Put([]byte(p[0]), []byte(p[1])); err != nil {
					return err
				}
			case string(have) != p[1]:
				return fmt.Errorf("%w: its %s is %q, not %q", ErrForeign, p[0], have, p[1])
			}
		}
		return indexOutbox(&Tx{tx})
	})
}

// indexOutbox puts the events of the outbox into the order of expiry. It leaves what
// is damaged to whoever reads it.
func indexOutbox(tx *Tx) error {
	return tx.tx.Bucket(bucketOutbox).ForEach(func(k, v []byte) error {
		p, err := readPost(k, v)
		if err != nil || p.Stream == events.Audit {
			return err
		}
		if e, err := tx.Known(p.ID); err == nil && e != nil {
			return tx.PutExpiry(p.ID, e.Expires)
		}
		return nil
	})
}

// Update runs fn in a transaction that it may share with other callers, and
// returns once the transaction is on disk. When fn fails, nothing that it did is
// written and its error is returned; fn may be run again, so it must not act
// outside the transaction.
func (l *Ledger) Update(fn func(*Tx) error) error { return l.update(fn, &l.queue) }

// UpdateLater is Update for what no caller waits for: after 50 ms it joins the next
// transaction, or has one of its own with all that came up meanwhile. Until it
// returns, a crash loses it; what is written by it must be found again from
// elsewhere.
func (l *Ledger) UpdateLater(fn func(*Tx) error) error { return l.update(fn, &l.late) }

func (l *Ledger) update(fn func(*Tx) error, queue *[]*update) error {
	u := &update{fn, make(chan error, 1)}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	*queue = append(*queue, u)
	hurried := queue == &l.queue
	if !hurried && l.patience == nil {
		l.patience = time.AfterFunc(lateAfter, l.hurryUp)
	}
	l.mu.Unlock()
	if hurried {
		l.commitHere()
	}
	return <-u.done
}

// commitHere commits in the caller's goroutine what has queued up, unless a commit
// is under way, after which the loop goes on: one caller alone waits for no other
// goroutine to wake up.
func (l *Ledger) commitHere() {
	select {
	case l.committing <- struct{}{}:
	default:
		l.wakeUp()
		return
	}
	defer endProcess()
	l.commitQueue()
	<-l.committing
}

// endProcess lets no caller recover from a panic in a commit, as an HTTP server
// would: bbolt panics when its file is damaged, and others wait for this commit.
func endProcess() {
	if r := recover(); r != nil {
		go panic(fmt.Sprintf("%v\n\n%s", r, debug.Stack()))
		select {}
	}
}

func (l *Ledger) hurryUp() {
	l.mu.Lock()
	l.due = true
	l.mu.Unlock()
	l.wakeUp()
}

func (l *Ledger) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// View runs fn in a read-only transaction.
func (l *Ledger) View(fn func(*Tx) error) error {
	err := l.db.View(func(tx *bolt.Tx) error { return fn(&Tx{tx}) })
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

// Close finishes what was accepted and closes the file. Closing again waits for
// the same.
func (l *Ledger) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.stop)
	}
	l.mu.Unlock()
	<-l.done
	return l.db.Close()
}

// commitLoop commits all that has queued up while the last commit was under way.
func (l *Ledger) commitLoop() {
	defer close(l.done)
	for {
		select {
		case <-l.wake:
			l.commitNext()
		case <-l.stop:
			l.commitNext()
			return
		}
	}
}

func (l *Ledger) commitNext() {
	l.committing <- struct{}{}
	l.commitQueue()
	<-l.committing
}

func (l *Ledger) commitQueue() {
	for queue := l.takeQueue(); len(queue) > 0; {
		failed, err := l.commit(queue)
		switch {
		case err == nil || len(queue) == 1:
			for _, u := range queue {
				u.done <- err
			}
			return
		case failed >= 0:
			// It fails alone; the others do again what was undone with it.
			queue[failed].done <- err
			queue = slices.Delete(queue, failed, failed+1)
		default:
			// The disk failed. A smaller transaction may still find room.
			for _, u := range queue {
				_, err := l.commit([]*update{u})
				u.done <- err
			}
			return
		}
	}
}

// takeQueue takes all that waits, and behind it, when it is due, what has no hurry.
func (l *Ledger) takeQueue() []*update {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.queue
	l.queue = nil
	if l.due || l.closed {
		queue = append(queue, l.late...)
		l.late, l.patience, l.due = nil, nil, false
	}
	return queue
}

// commit gives the index of the update that failed, -1 when none did.
func (l *Ledger) commit(queue []*update) (failed int, err error) {
	failed = -1
	err = l.db.Update(func(tx *bolt.Tx) error {
		for i, u := range queue {
			if err := u.fn(&Tx{tx}); err != nil {
				failed = i
				return err
			}
		}
		return nil
	})
	return failed, err
}

func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
