package denylist

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// room gives the segments of a table their slots. Since hashes spread evenly, all
// of them need about the same at about the same time: once they are many, it comes
// in slabs with a piece for each. Slabs are large enough for huge pages, with which
// a random read finds its address sooner, and fresh memory costs a hundredth of
// the page faults.
type room[V any] struct {
	mu   sync.Mutex
	slab slots[V]
	size int // of a piece
	free [numSegments]bool
}

// slabFrom is from which number of slots on there are slabs.
const slabFrom = 1 << 16

// take gives a segment size empty slots, or a few more. Several goroutines may
// take at once.
func (r *room[V]) take(segment, size int) *slots[V] {
	size = wholeGroups(size)
	if size*numSegments < slabFrom {
		s := newSlots[V](size)
		return &s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.free[segment] || r.size < size || r.size > size+size/4 {
		r.size = wholeGroups(size + size/16) // the next segment may need some more
		r.slab = newSlots[V](r.size * numSegments)
		for i := range r.free {
			r.free[i] = true
		}
	}
	r.free[segment] = false
	from, to := segment*r.size, (segment+1)*r.size
	return &slots[V]{pairs: r.slab.pairs[from/2 : to/2 : to/2], rest: r.slab.rest[from:to:to]}
}

// wholeGroups is room for n slots, one group at least.
func wholeGroups(n int) int { return max((n+groupSlots-1)/groupSlots, 1) * groupSlots }

func newSlots[V any](n int) slots[V] {
	s := slots[V]{pairs: make([]atomic.Uint64, n/2), rest: make([]rest[V], n)}
	if n >= slabFrom {
		useHugePages(bytesOf(s.pairs))
		useHugePages(bytesOf(s.rest))
	}
	return s
}

// bytesOf is the memory of a slice that is not empty.
func bytesOf[T any](s []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(s[0])))
}
