package denylist

import "unsafe"

// TableBytes is what the tables take that Check reads, in bytes, without the
// cutoffs of rules behind them.
func (s *Set) TableBytes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &s.index
	n := x.identities.once.bytes() + x.identities.again.bytes() + x.issuers.bytes()
	if names := x.claims.Load(); names != nil {
		for _, c := range *names {
			n += c.bound.bytes() + c.any.bytes()
		}
	}
	return n
}

// bytes is what the slots take: a tag, a check and a value each.
func (t *table[V]) bytes() (n int) {
	all := t.segments.Load()
	if all == nil {
		return 0
	}
	var v V
	for i := range all.each {
		if s := all.each[i].Load(); s != nil {
			n += s.size() * (12 + int(unsafe.Sizeof(v)))
		}
	}
	return n
}
