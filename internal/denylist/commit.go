package denylist

import (
	"errors"
	"fmt"
	"maps"

	bolt "go.etcd.io/bbolt"

	"github.com/rescind/rescind/events"
)

// Commit makes everything durable that was staged before it was called, in one
// transaction, and gives the positions that are durable then. It blocks on the
// disk; Stage and Check go on meanwhile. With nothing staged it does not touch
// the disk. In memory only, it gives the positions staged.
//
// When it fails, nothing is lost: all of it stays staged for the next Commit.
// The error is ErrClosed, ErrDamaged, or what the disk says.
func (s *Set) Commit() (map[events.Stream]Cursor, error) {
	s.io.Lock()
	defer s.io.Unlock()
	if s.broken != nil {
		return s.Cursors(), s.broken
	}
	if s.store == nil {
		return s.commitMemory(), nil
	}
	if err := s.commit(); err != nil {
		return s.Cursors(), fmt.Errorf("committing denylist: %w", err)
	}
	s.settleAll()
	return s.Cursors(), nil
}

func (s *Set) commitMemory() map[events.Stream]Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable = maps.Clone(s.cursors)
	records := s.staged.records
	s.staged = newBatch()
	s.staged.records = records
	return maps.Clone(s.durable)
}

// commit writes what is staged. io is held.
func (s *Set) commit() error {
	if s.suspect {
		if err := s.reopen(); err != nil {
			return err
		}
	}
	st := s.begin()
	if st == nil {
		return nil
	}
	err := s.write(st)
	s.finish(st, err)
	if err != nil {
		return s.judge(err)
	}
	s.committed, s.observed = st.records, st.observed
	return nil
}

// begin takes what is staged for writing, and gives the state of a file that
// holds it; nil when there is nothing to write.
func (s *Set) begin() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.staged.empty() {
		return nil
	}
	s.inflight, s.staged = s.staged, newBatch()
	return s.stateLocked()
}

// write runs the transaction. A crash before it ends leaves the file as it was;
// the events are then read again from the older positions.
func (s *Set) write(st *state) error {
	if err := s.store.inPlace(); err != nil {
		return err
	}
	b, refused := s.inflight, 0
	s.attempted = st.records
	st.observed = s.observed
	err := s.store.update(func(tx *bolt.Tx) (err error) {
		if s.onWrite != nil {
			s.onWrite()
		}
		if err := b.write(tx); err != nil {
			return err
		}
		if err := dropObserved(tx, b.expired, &st.observed); err != nil {
			return err
		}
		if refused, err = writeObserved(tx, b.observed, &st.observed); err != nil {
			return err
		}
		return tx.Bucket(bucketMeta).Put(keyState, st.encode())
	})
	if err == nil && refused > 0 {
		s.log.Warn("no room to remember observed tokens", "count", refused)
	}
	return err
}

// finish moves the positions on, or puts everything back.
func (s *Set) finish(st *state, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.durable = st.cursors
	} else {
		s.inflight.merge(s.staged)
		s.staged = s.inflight
	}
	s.inflight = nil
}

// judge decides what a failed write means for the next: a full disk nothing, a
// damaged or missing file that there is none, and all else that what the disk
// holds is unknown.
func (s *Set) judge(err error) error {
	var d *damage
	switch {
	case errors.As(err, &d), errors.Is(err, errMoved):
		s.store.drop()
		s.broken = fmt.Errorf("%w: %w", ErrDamaged, err)
		return s.broken
	case !isFull(err):
		s.suspect = true
	}
	return err
}

// reopen opens the file anew after a write whose outcome is unknown. It must
// hold what it held before that write, or what it was to hold after it.
func (s *Set) reopen() error {
	_ = s.store.close()
	if err := s.store.open(); err != nil {
		return s.judge(err)
	}
	nobody := reader{func(*Record, account) {}, func() {}}
	st, err := s.store.verify(func(*state) {}, func() reader { return nobody }, func(Parked) {})
	if err != nil {
		return s.judge(err)
	}
	if st.identity != s.identity || st.records != s.committed && st.records != s.attempted {
		return s.judge(damaged("it is not the file it was"))
	}
	s.observed, s.committed, s.suspect = st.observed, st.records, false
	return nil
}
