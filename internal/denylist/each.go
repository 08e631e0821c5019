package denylist

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/rescind/rescind/events"
)

// errStop ends an iteration early.
var errStop = errors.New("stop")

// each calls yield with each known event until it returns false. What is not in
// the file yet comes first, so that nothing is missed that a Commit moves there
// meanwhile; it is not given twice.
func (s *Set) each(yield func(r Record, stands bool) bool) error {
	seen := map[events.EventID]struct{}{}
	visit := func(r Record) error {
		if _, ok := seen[r.ID]; ok {
			return nil
		}
		if p, ok := s.placeOf(r.ID); ok && !yield(r, !p.lift && p.applied) {
			return errStop
		}
		return nil
	}
	for _, r := range s.volatile(func(*Record) bool { return true }) {
		if err := visit(r); err != nil {
			return nil
		}
		seen[r.ID] = struct{}{}
	}
	if s.store == nil {
		return nil
	}
	err := s.store.view(func(tx *bolt.Tx) error { return eachRecord(tx, visit) })
	var d *damage
	switch {
	case errors.Is(err, errStop):
		return nil
	case errors.As(err, &d):
		return fmt.Errorf("reading denylist: %w: %w", ErrDamaged, err)
	case err != nil:
		return fmt.Errorf("reading denylist: %w", err)
	}
	return nil
}

func (s *Set) placeOf(id events.EventID) (place, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.known[id]
	return p, ok
}
