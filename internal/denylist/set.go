package denylist

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rescind/rescind/events"
)

var (
	// ErrLocked is returned by Open when another process, or another Set of this
	// one, holds the file.
	ErrLocked = errors.New("the file is in use by another process")
	// ErrDamaged is returned by Commit, Reevaluate, Explain and Records when the
	// file was found damaged, moved or removed while it was open. What is in
	// memory stands; Open makes a new file.
	ErrDamaged = errors.New("the denylist's file is damaged")
	// ErrClosed is returned by all that needs the disk after Close.
	ErrClosed = errors.New("the denylist is closed")
)

// Options say what to open.
type Options struct {
	// Path is the file; its directory is made when it is missing. "" keeps the
	// set in memory only.
	Path string
	// Fleet is whose events the set holds; required. A file of another fleet is
	// put aside.
	Fleet events.Fleet
	// Now is the clock for names of files and for what Digest and Observed leave
	// out as expired; nil means time.Now.
	Now func() time.Time
	// Logger takes what no return value says; nil means none.
	Logger *slog.Logger
	// MaxBytes is the largest size that the file may grow to; 0 means no limit.
	// Beyond it Commit fails as on a full disk.
	MaxBytes int
	// MaxParked and MaxParkedBytes bound what is parked; 0 means 10,000 events
	// and 64 MiB.
	MaxParked, MaxParkedBytes int
}

func (o *Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

func (o *Options) logger() *slog.Logger {
	if o.Logger != nil {
		return o.Logger.With("component", "denylist")
	}
	return slog.New(slog.DiscardHandler)
}

func (o *Options) maxParked() int {
	if o.MaxParked > 0 {
		return o.MaxParked
	}
	return 10_000
}

func (o *Options) maxParkedBytes() int {
	if o.MaxParkedBytes > 0 {
		return o.MaxParkedBytes
	}
	return 64 << 20
}

func (o *Options) validate() error {
	if o.MaxBytes < 0 || o.MaxParked < 0 || o.MaxParkedBytes < 0 {
		return errors.New("MaxBytes, MaxParked and MaxParkedBytes must not be negative")
	}
	if err := o.Fleet.Validate(); err != nil {
		return fmt.Errorf("options: Fleet: %w", err)
	}
	return nil
}

// Set is the denylist. All its methods are safe for concurrent use.
type Set struct {
	o         Options
	log       *slog.Logger
	store     *store // nil when in memory only
	identity  string
	created   int64
	recovered string

	// io is held by whoever reads or changes the file as a whole, and is taken
	// before mu. It guards the next fields.
	io        sync.Mutex
	observed  account // what the file holds of observed tokens
	committed account // the records that the file is known to hold
	attempted account // the records it holds if the last commit took effect
	suspect   bool    // a write failed: open the file anew before the next
	broken    error   // the file is of no use any more
	closed    bool    // Close was called

	// onWrite is called within each transaction; tests only.
	onWrite func()

	// index is read without a lock and written under mu.
	index index

	// mu guards all below. It is never held while anything is written.
	mu    sync.Mutex
	known map[events.EventID]place
	// lifts counts the known lifts that name an event, known or not.
	lifts map[events.EventID]int
	// unsettled are events whose record could not be read when their effect had
	// to change.
	unsettled map[events.EventID]struct{}
	hours     map[hour]account
	parking   parking
	synced    bool
	cursors   map[events.Stream]Cursor
	durable   map[events.Stream]Cursor
	staged    *batch
	inflight  *batch // what Commit is writing
}

// Open loads the set from its file, or makes one. It reads and verifies all of
// the file, and puts a damaged one aside (see Recovered). The error is
// ErrLocked, a fault of the options, or why the file cannot be read or written.
// It blocks on the disk, and for at most a second on another process.
func Open(o Options) (*Set, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("opening denylist: %w", err)
	}
	s := newSet(o)
	if o.Path == "" {
		s.identity = rand.Text()
		return s, nil
	}
	err := s.openFile()
	var d *damage
	if errors.As(err, &d) {
		s, err = recoverFrom(o, d)
	}
	if err != nil {
		return nil, fmt.Errorf("opening denylist %s: %w", o.Path, err)
	}
	return s, nil
}

// recoverFrom puts the file aside and makes a new one under the old identity,
// where that can still be read.
func recoverFrom(o Options, d *damage) (*Set, error) {
	s := newSet(o)
	s.recovered = d.reason
	s.identity = salvage(o.Path, o.Fleet)
	if err := putAside(o.Path, o.now()); err != nil {
		return nil, fmt.Errorf("putting a damaged file aside (%s): %w", d.reason, err)
	}
	s.log.Warn("denylist file was damaged and put aside", "path", o.Path, "reason", d.reason)
	err := s.openFile()
	return s, err
}

func newSet(o Options) *Set {
	s := &Set{o: o, log: o.logger(), created: o.now().Unix(),
		known: map[events.EventID]place{}, lifts: map[events.EventID]int{},
		unsettled: map[events.EventID]struct{}{}, hours: map[hour]account{},
		cursors: map[events.Stream]Cursor{}, durable: map[events.Stream]Cursor{}, staged: newBatch()}
	s.index.seed = maphash.MakeSeed()
	s.parking = newParking(o.maxParked(), o.maxParkedBytes())
	return s
}

// Identity is a random name that was made with the file, or with the set when
// it is in memory only. It outlives restarts, and damage where it can.
func (s *Set) Identity() string { return s.identity }

// Recovered says what was wrong with the file that Open put aside, "" when
// nothing was. The set then began empty.
func (s *Set) Recovered() string { return s.recovered }

// Synced tells whether a Change said that the set was complete once.
func (s *Set) Synced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced
}

// Cursors gives the positions that are durable, in memory only those staged
// before the last Commit.
func (s *Set) Cursors() map[events.Stream]Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.durable)
}

// Has tells whether the event is known: it stands, was lifted, or is a lift.
func (s *Set) Has(id events.EventID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.known[id]
	return ok
}

// Check tells whether an event that stands hits the token. It takes no lock,
// does no I/O, allocates nothing and does not look at a clock.
func (s *Set) Check(t *events.Token) bool { return s.index.hits(t) }

// Len is how many identities and rules stand.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.len()
}

// Known is how many events are known, lifts and lifted ones included.
func (s *Set) Known() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.known)
}

// Lifted gives the events that known lifts name, known or not.
func (s *Set) Lifted() []events.EventID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.lifts))
}

// Digest is 32 hex digits over the known events, less those whose hour has
// passed by Options.Now. Sets that know the same events have the same digest.
func (s *Set) Digest() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, total := s.o.now().Unix(), account{}
	for h, a := range s.hours {
		if !h.passed(now) {
			total.add(a)
		}
	}
	return total.String()
}

// Close commits what is staged and lets go of the file. Check goes on working.
// Only the first call does anything.
func (s *Set) Close() error {
	_, err := s.Commit()
	s.io.Lock()
	defer s.io.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.broken = fmt.Errorf("committing denylist: %w", ErrClosed)
	if s.store != nil {
		err = errors.Join(err, s.store.close())
	}
	return err
}
