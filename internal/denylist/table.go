package denylist

import (
	"math/bits"
	"sync/atomic"
)

// The tags that are no hash.
const (
	tagFree = iota
	tagGone // removed; probing goes on past it
	firstTag
)

// hashed is a key as tables know it: a keyed hash by which it is found, and 64
// bits more to be sure.
type hashed struct{ tag, check uint64 }

// table is an open-addressed hash table with one writer and any number of
// readers, which take no lock. A slot is never used twice: removing leaves a
// mark, and marks go when the slots are copied. So a reader that has found a
// tag may read what lies behind it, and an entry that stands is on the probe
// path in every copy that a reader can hold. The zero table is empty and
// costs nothing.
type table[V any] struct{ slots atomic.Pointer[slots[V]] }

// slots keeps tags apart from the rest: a reader that finds nothing has read
// tags only, eight to a cache line.
type slots[V any] struct {
	tags   []atomic.Uint64
	checks []uint64
	values []V
	// live are the entries, used the slots that are not free.
	live, used int
}

// find gives the value of a key, or nil. Readers must not touch a value that
// the writer changes.
func (t *table[V]) find(k hashed) *V {
	s := t.slots.Load()
	if s == nil {
		return nil
	}
	if i := s.index(k); i >= 0 {
		return &s.values[i]
	}
	return nil
}

// len is the number of entries.
func (t *table[V]) len() int {
	if s := t.slots.Load(); s != nil {
		return s.live
	}
	return 0
}

// insert adds a key that the table does not have.
func (t *table[V]) insert(k hashed, v V) {
	s := t.slots.Load()
	if s == nil || (s.used+1)*10 > len(s.tags)*7 {
		s = s.copyFor(t.len() + 1)
		s.put(k, v)
		t.slots.Store(s)
		return
	}
	s.put(k, v)
}

// remove takes a key away that the table has.
func (t *table[V]) remove(k hashed) {
	s := t.slots.Load()
	s.tags[s.index(k)].Store(tagGone)
	s.live--
}

// compact gives back the room of what was removed.
func (t *table[V]) compact() {
	switch s := t.slots.Load(); {
	case s == nil:
	case s.live == 0:
		t.slots.Store(nil)
	case s.live*4 < len(s.tags):
		t.slots.Store(s.copyFor(s.live))
	}
}

// home spreads tags over the slots by their high bits. Copying in the order of
// slots is then copying in the order of the new ones.
func (s *slots[V]) home(tag uint64) int {
	hi, _ := bits.Mul64(tag, uint64(len(s.tags)))
	return int(hi)
}

func (s *slots[V]) index(k hashed) int {
	for i := s.home(k.tag); ; i++ {
		if i == len(s.tags) {
			i = 0
		}
		switch s.tags[i].Load() {
		case k.tag:
			if s.checks[i] == k.check {
				return i
			}
		case tagFree:
			return -1
		}
	}
}

// put fills a free slot, its tag last: a reader that sees the tag sees the rest.
func (s *slots[V]) put(k hashed, v V) {
	i := s.home(k.tag)
	for s.tags[i].Load() != tagFree {
		if i++; i == len(s.tags) {
			i = 0
		}
	}
	s.checks[i], s.values[i] = k.check, v
	s.tags[i].Store(k.tag)
	s.live++
	s.used++
}

// copyFor copies the entries to new slots of which n entries fill half.
func (s *slots[V]) copyFor(n int) *slots[V] {
	size := max(2*n, 16)
	c := &slots[V]{tags: make([]atomic.Uint64, size), checks: make([]uint64, size), values: make([]V, size)}
	if s == nil {
		return c
	}
	for i := range s.tags {
		if tag := s.tags[i].Load(); tag >= firstTag {
			c.put(hashed{tag, s.checks[i]}, s.values[i])
		}
	}
	return c
}
