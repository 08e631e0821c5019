package denylist

import (
	"sync/atomic"
)

// Slots come in groups, whose tags are looked at together: a search ends at the end
// of a group, mostly the first, so that the processor can foretell where, and begins
// the next search while it waits for this one's memory.
const (
	groupSlots = 8
	groupWords = groupSlots / 2
)

// pair holds the tags of two slots, the first in its low half.
type pair = uint64

const (
	low  pair = 1<<32 + 1
	high pair = low << 31
)

// hasZero is not zero if a half of p is.
func hasZero(p pair) pair { return (p - low) & ^p & high }

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
// tags only, sixteen to a cache line. There are whole groups of them.
type slots[V any] struct {
	pairs []atomic.Uint64
	rest  []rest[V]
	// live are the entries, used the slots that are not free.
	live, used int
}

// rest is what of a slot is read once its tag was found. An empty value takes no
// room at the beginning, and some at the end.
type rest[V any] struct {
	value V
	check uint64
}

// empty tells whether there is nothing to find.
func (t *table[V]) empty() bool { return t.segments.Load() == nil }

// find gives the value of a key, or nil. A value that is changed in its place is
// read and changed by atomic operations; a reader may see the copy from before the
// last growth.
func (t *table[V]) find(k hashed) *V { return t.segments.Load().find(k) }

func (all *segments[V]) find(k hashed) *V {
	if all == nil {
		return nil
	}
	s := all.each[k.segment()].Load()
	if s == nil {
		return nil
	}
	if i := s.index(k); i >= 0 {
		return &s.rest[i].value
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
	if s == nil || (s.used+1)*8 > s.size()*5 {
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
	s.setTag(s.index(k), tagGone)
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
		case s.live*4 < s.size() && s.size() > groupSlots:
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

// size is the number of slots.
func (s *slots[V]) size() int { return len(s.rest) }

func (s *slots[V]) tag(i int) uint32 { return uint32(s.pairs[i/2].Load() >> (i % 2 * 32)) }

// setTag is for the one writer.
func (s *slots[V]) setTag(i int, tag uint32) {
	at, shift := &s.pairs[i/2], i%2*32
	at.Store(at.Load()&^(pair(^uint32(0))<<shift) | pair(tag)<<shift)
}

// home spreads tags over the slots by their high bits. Copying in the order of
// slots is then copying in the order of the new ones.
func (s *slots[V]) home(tag uint32) int { return int(uint64(tag) * uint64(len(s.rest)) >> 32) }

// index gives the slot of a key, -1 when it is in none.
func (s *slots[V]) index(k hashed) int {
	// Most entries are at home. That they will be is a guess that lets the processor
	// read tag and check at the same time.
	tag := k.tag()
	i := s.home(tag)
	if s.tag(i) == tag && s.rest[i].check == k.check {
		return i
	}
	both := pair(tag) * low
	for g := i / groupSlots * groupWords; ; g += groupWords {
		if g >= len(s.pairs) {
			g = 0
		}
		group := s.pairs[g : g+groupWords : g+groupWords]
		p, q, r, t := group[0].Load(), group[1].Load(), group[2].Load(), group[3].Load()
		if hasZero(p^both)|hasZero(q^both)|hasZero(r^both)|hasZero(t^both) != 0 {
			for i := 2 * g; i < 2*g+groupSlots; i++ {
				if s.tag(i) == tag && s.rest[i].check == k.check {
					return i
				}
			}
		}
		if hasZero(p)|hasZero(q)|hasZero(r)|hasZero(t) != 0 {
			return -1
		}
	}
}

// put fills a free slot, its tag last: a reader that sees the tag sees the rest.
func (s *slots[V]) put(tag uint32, check uint64, v V) {
	i := s.home(tag)
	if s.tag(i) != tagFree {
		i = s.freeFrom(i / groupSlots * groupSlots)
	}
	s.rest[i] = rest[V]{v, check}
	s.setTag(i, tag)
	s.live++
	s.used++
}

// freeFrom gives the next slot that is free.
func (s *slots[V]) freeFrom(i int) int {
	for s.tag(i) != tagFree {
		if i++; i == len(s.rest) {
			i = 0
		}
	}
	return i
}

// copyFor copies the entries of a segment to new slots of which n entries fill
// five in twelve: in tables between that and five in eight, a group in sixteen is
// full.
func (all *segments[V]) copyFor(segment int, s *slots[V], n int) *slots[V] {
	c := all.room.take(segment, n*12/5)
	if s == nil {
		return c
	}
	for i := range s.size() {
		if tag := s.tag(i); tag >= firstTag {
			c.put(tag, s.rest[i].check, s.rest[i].value)
		}
	}
	return c
}
