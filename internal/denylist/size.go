package denylist

import "reflect"

// TableBytes is what the tables take that Check reads, in bytes, without the
// cutoffs of rules behind them.
func (s *Set) TableBytes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.index.identities.bytes() + s.index.issuers.bytes()
	if names := s.index.claims.Load(); names != nil {
		for _, c := range *names {
			n += c.bound.bytes() + c.any.bytes()
		}
	}
	return n
}

// bytes is what the table takes: a tag, a check and a value for each slot.
func (t *table[V]) bytes() int {
	s := t.slots.Load()
	if s == nil {
		return 0
	}
	return len(s.tags) * (16 + int(reflect.TypeFor[V]().Size()))
}
