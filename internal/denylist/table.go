package denylist

import (
	"sync/atomic"
)

// The tags that are no hash.
const (
	tagFree = iota
	tagGone // removed; probing goes on past it
	firstTag
)

// hashed is a key as tables know it: a keyed hash by which it is found, and 64
// bits more to be sure. The high bits of the keyed hash choose a segment, its low
// half is the tag: an entry is told from others by 101 bits.
type hashed struct{ sum, check uint64 }

func (k hashed) segment() int { return int(k.sum >> (64 - segmentBits)) }

func (k hashed) tag() uint32 { return max(uint32(k.sum), firstTag) }

// So few segments that what leads to each of them is always near.
const (
	segmentBits = 5
	numSegments = 1 << segmentBits
)

// table is an open-addressed hash table with one writer and any number of
// readers, which take no lock. A slot is never used twice: removing leaves a
// mark, and marks go when the slots are copied. So a reader that has found a
// tag may read what lies behind it, and an entry that stands is on the probe
// path in every copy that a reader can hold. The zero table is empty and
// costs nothing.
//
// Each segment grows by itself: a writer never copies more than a small part of
// the table at a time, and old copies that wait for the garbage collector are
// small too.
type table[V any] struct{ segments atomic.Pointer[segments[V]] }

type segments[V any] struct {
	each [numSegments]atomic.Pointer[slots[V]]
	// live are the entries of all segments; the writer's.
	live int
	room room[V]
	sink atomic.Uint32 // see near
}

// slots keeps tags apart from the rest: a reader that finds nothing has read
// tags only, sixteen to a cache line.
type slots[V any] struct {
	tags   []atomic.Uint32
	checks []uint64
	values []V
	// live are the entries, used the slots that are not free.
	live, used int
}

// empty tells whether there is nothing to find.
func (t *table[V]) empty() bool { return t.segments.Load() == nil }

// find gives the value of a key, or nil. A value that is changed in its place is
// read and changed by atomic operations; a reader may see the copy from before the
// last growth.
func (t *table[V]) find(k hashed) *V {
	if all := t.segments.Load(); all != nil {
		return all.find(k)
	}
	return nil
}

func (all *segments[V]) find(k hashed) *V {
	s := all.each[k.segment()].Load()
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
	if all := t.segments.Load(); all != nil {
		return all.live
	}
	return 0
}

// insert adds a key that the table does not have.
func (t *table[V]) insert(k hashed, v V) {
	all := t.own()
	all.insert(k, v)
	all.live++
}

// own gives the segments to its writer, and makes them when there are none.
func (t *table[V]) own() *segments[V] {
	all := t.segments.Load()
	if all == nil {
		all = &segments[V]{}
		t.segments.Store(all)
	}
	return all
}

// insert leaves live to the caller: different segments may be filled at once.
func (all *segments[V]) insert(k hashed, v V) {
	at := &all.each[k.segment()]
	s := at.Load()
	if s == nil || (s.used+1)*4 > len(s.tags)*3 {
		s = all.copyFor(k.segment(), s, s.entries()+1)
		s.put(k.tag(), k.check, v)
		at.Store(s)
		return
	}
	s.put(k.tag(), k.check, v)
}

// remove takes a key away that the table has.
func (t *table[V]) remove(k hashed) {
	all := t.segments.Load()
	s := all.each[k.segment()].Load()
	s.tags[s.index(k)].Store(tagGone)
	s.live--
	all.live--
}

// compact gives back the room of what was removed.
func (t *table[V]) compact() {
	all := t.segments.Load()
	switch {
	case all == nil:
		return
	case all.live == 0:
		t.segments.Store(nil)
		return
	}
	for i := range all.each {
		switch s := all.each[i].Load(); {
		case s == nil:
		case s.live == 0:
			all.each[i].Store(nil)
		case s.live*4 < len(s.tags):
			all.each[i].Store(all.copyFor(i, s, s.live))
		}
	}
}

// entries counts the entries of all segments.
func (all *segments[V]) entries() (n int) {
	for i := range all.each {
		n += all.each[i].Load().entries()
	}
	return n
}

func (s *slots[V]) entries() int {
	if s == nil {
		return 0
	}
	return s.live
}

// home spreads tags over the slots by their high bits. Copying in the order of
// slots is then copying in the order of the new ones.
func (s *slots[V]) home(tag uint32) int {
	return int(uint64(tag) * uint64(len(s.tags)) >> 32)
}

func (s *slots[V]) index(k hashed) int {
	tag, tags := k.tag(), s.tags
	for i := s.home(tag); ; i++ {
		if i >= len(tags) {
			i = 0
		}
		switch tags[i].Load() {
		case tag:
			if s.checks[i] == k.check {
				return i
			}
		case tagFree:
			return -1
		}
	}
}

// put fills a free slot, its tag last: a reader that sees the tag sees the rest.
func (s *slots[V]) put(tag uint32, check uint64, v V) {
	i := s.home(tag)
	for s.tags[i].Load() != tagFree {
		if i++; i == len(s.tags) {
			i = 0
		}
	}
	s.checks[i], s.values[i] = check, v
	s.tags[i].Store(tag)
	s.live++
	s.used++
}

// copyFor copies the entries of a segment to new slots of which n entries fill
// half.
func (all *segments[V]) copyFor(segment int, s *slots[V], n int) *slots[V] {
	c := all.room.take(segment, max(2*n, 4))
	if s == nil {
		return c
	}
	for i := range s.tags {
		if tag := s.tags[i].Load(); tag >= firstTag {
			c.put(tag, s.checks[i], s.values[i])
		}
	}
	return c
}
