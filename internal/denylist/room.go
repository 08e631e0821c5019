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
	if size*numSegments < slabFrom {
		s := newSlots[V](size)
		return &s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.free[segment] || r.size < size || r.size > size+size/4 {
		r.size = size + size/16 // the next segment may need some more
		r.slab = newSlots[V](r.size * numSegments)
		for i := range r.free {
			r.free[i] = true
		}
	}
	r.free[segment] = false
	from, to := segment*r.size, (segment+1)*r.size
	return &slots[V]{tags: r.slab.tags[from:to:to], checks: r.slab.checks[from:to:to], values: r.slab.values[from:to:to]}
}

func newSlots[V any](n int) slots[V] {
	s := slots[V]{tags: make([]atomic.Uint32, n), checks: make([]uint64, n), values: make([]V, n)}
	if n >= slabFrom {
		useHugePages(bytesOf(s.tags))
		useHugePages(bytesOf(s.checks))
		useHugePages(bytesOf(s.values))
	}
	return s
}

// bytesOf is the memory of a slice that is not empty.
func bytesOf[T any](s []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(s[0])))
}
