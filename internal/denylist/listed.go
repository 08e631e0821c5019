package denylist

import "sync"

// listed are the identities that events list.
type listed struct {
	once table[struct{}]
	// again counts, for an identity that several events list, those beyond the
	// first.
	again table[uint32]
}

// together is how many identities are best looked up at a time.
const together = 64

// add counts one more event that lists each of some identities.
func (l *listed) add(some []hashed) {
	once, again := l.once.own(), l.again.own()
	added, more := countIn(once, again, some)
	once.live += added
	again.live += more
}

// countIn counts one more event for each of some identities, and gives how many
// entries that adds to each table. Different segments may be counted in at once.
func countIn(once *segments[struct{}], again *segments[uint32], some []hashed) (added, more int) {
	near(once, some)
	for _, k := range some {
		if once.find(k) == nil {
			once.insert(k, struct{}{})
			added++
		} else if n := again.find(k); n != nil {
			*n++
		} else {
			again.insert(k, 1)
			more++
		}
	}
	return added, more
}

// near has the processor bring what belongs to the keys from memory, for all of
// them at once: looked up one by one, each would wait for its own, as nothing
// foretells where the search for the one before ends. Storing the sum keeps the
// compiler from leaving the reading out.
func near(all *segments[struct{}], some []hashed) {
	var sum uint32
	for _, k := range some {
		if s := all.each[k.segment()].Load(); s != nil {
			i := s.home(k.tag())
			sum += s.tag(i) + uint32(s.rest[i].check)
		}
	}
	all.sink.Store(sum)
}

// remove takes one event away that lists the identity.
func (l *listed) remove(k hashed) {
	switch n := l.again.find(k); {
	case n == nil:
		l.once.remove(k)
	case *n == 1:
		l.again.remove(k)
	default:
		*n--
	}
}

func (l *listed) compact() {
	l.once.compact()
	l.again.compact()
}

// filler fills the empty tables from several goroutines at once, before anyone
// reads them: a lock for each segment.
type filler struct {
	once  *segments[struct{}]
	again *segments[uint32]
	locks [numSegments]sync.Mutex
	done  func()
}

// fill begins to fill with some n identities. A wrong n costs room or time, and
// nothing else. done ends it.
func (l *listed) fill(n int) *filler {
	f := &filler{once: l.once.own(), again: l.again.own()}
	if each := n / numSegments; each > 0 {
		for i := range f.once.each {
			// Room for an uneven spread, and not yet full.
			f.once.each[i].Store(f.once.copyFor(i, nil, each*5/6))
		}
	}
	f.done = func() {
		f.once.live, f.again.live = f.once.entries(), f.again.entries()
		l.compact()
	}
	return f
}

// gatherer is one goroutine's part in filling: it sorts identities by segment, so
// that a lock is taken once for many of them.
type gatherer struct {
	*filler
	some [numSegments][]hashed
}

func (f *filler) gatherer() *gatherer {
	g := &gatherer{filler: f}
	room := make([]hashed, numSegments*together)
	for i := range g.some {
		g.some[i] = room[i*together : i*together : (i+1)*together]
	}
	return g
}

func (g *gatherer) add(some []hashed) {
	for _, k := range some {
		n := k.segment()
		if g.some[n] = append(g.some[n], k); len(g.some[n]) == together {
			g.put(n)
		}
	}
}

// put puts what was gathered for a segment into it.
func (g *gatherer) put(n int) {
	g.locks[n].Lock()
	defer g.locks[n].Unlock()
	countIn(g.once, g.again, g.some[n])
	g.some[n] = g.some[n][:0]
}

// end puts what is left.
func (g *gatherer) end() {
	for n := range g.some {
		if len(g.some[n]) > 0 {
			g.put(n)
		}
	}
}
