package denylist

import (
	"fmt"
	"maps"

	"github.com/rescind/rescind/events"
)

// Change is a piece of news. What is in one Change, or was staged before it,
// becomes durable together.
type Change struct {
	Records []Record
	// Cursors are the positions that the records lead to, and replace what the
	// set has of those streams, also backwards.
	Cursors map[events.Stream]Cursor
	// Park are events to keep unread, Unpark those that need no keeping any more.
	// Unpark comes first.
	Park   []Parked
	Unpark []ParkedKey
	// Observed are refresh tokens to remember on disk.
	Observed []Observed
	// Synced says that the set is complete now. It stays so.
	Synced bool
}

// Stage takes a Change. When it returns, Check goes by it; the next Commit makes
// it durable. A record of an event that is known changes nothing, under whatever
// sequence it comes.
//
// An event to park that finds no room is not kept, though the position moves on:
// ParkedRefused then rises, and the caller must not call the set complete.
//
// Stage panics on a record, parked event or cursor whose stream or kind is none
// of those in package events: the file has no number for it.
func (s *Set) Stage(c Change) {
	c.check()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range c.Records {
		s.stageLocked(&c.Records[i])
	}
	maps.Copy(s.cursors, c.Cursors)
	s.parkLocked(c.Park, c.Unpark)
	if s.store != nil {
		s.staged.observed = append(s.staged.observed, c.Observed...)
	}
	s.synced = s.synced || c.Synced
	s.staged.changed = s.staged.changed || c.Synced || len(c.Cursors) > 0 || len(c.Park) > 0
}

func (c *Change) check() {
	known := func(stream events.Stream) {
		if streamCode(stream) == 0 {
			panic(fmt.Sprintf("denylist: staging something of stream %q", string(stream)))
		}
	}
	for i := range c.Records {
		known(c.Records[i].Stream)
		if _, err := events.ParseKind(string(c.Records[i].Target.Kind)); err != nil {
			panic("denylist: staging a record: " + err.Error())
		}
	}
	for i := range c.Park {
		known(c.Park[i].Stream)
	}
	for stream := range c.Cursors {
		known(stream)
	}
}

func (s *Set) stageLocked(r *Record) {
	if _, ok := s.known[r.ID]; ok {
		return
	}
	content := appendRecord(nil, r)
	s.staged.records[r.ID] = unwritten{placeOf(r), content}
	s.addLocked(r, accountOf(r.ID[:], content), true)
	if r.isLift() {
		s.settleLocked(r.Target.Lifted)
		s.index.compact()
	}
}

// addLocked makes an event known that was not, and tells whether it is to have
// its effect: it does not while it is lifted. apply gives it that; a caller who
// says no does so itself. Staging and loading both end here.
func (s *Set) addLocked(r *Record, a account, apply bool) (applied bool) {
	p := placeOf(r)
	if p.lift {
		s.lifts[r.Target.Lifted]++
	} else if s.lifts[r.ID] == 0 {
		p.applied = true
		if apply {
			s.index.apply(r)
		}
	}
	s.known[r.ID] = p
	total := s.hours[p.hour]
	total.add(a)
	s.hours[p.hour] = total
	return p.applied
}

// settleLocked makes the index agree with whether the event stands. When the
// record cannot be read, the index stays as it is until it can.
func (s *Set) settleLocked(id events.EventID) {
	p, ok := s.known[id]
	stands := s.lifts[id] == 0
	if !ok || p.lift || p.applied == stands {
		delete(s.unsettled, id)
		return
	}
	r, err := s.recordLocked(id, p)
	if err != nil {
		s.unsettled[id] = struct{}{}
		s.log.Warn("a lifted event cannot be read and goes on being enforced", "event", id.String(), "error", err)
		return
	}
	if stands {
		s.index.apply(&r)
	} else {
		s.index.unapply(&r)
	}
	p.applied = stands
	s.known[id] = p
	delete(s.unsettled, id)
}

func (s *Set) settleAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.unsettled {
		s.settleLocked(id)
	}
}

// recordLocked finds a known event's record where it is now.
func (s *Set) recordLocked(id events.EventID, p place) (Record, error) {
	if u, ok := s.staged.records[id]; ok {
		return u.record(id), nil
	}
	if s.inflight != nil {
		if u, ok := s.inflight.records[id]; ok {
			return u.record(id), nil
		}
	}
	if s.store == nil {
		return Record{}, errClosed
	}
	return s.store.record(id, p)
}

// forgetLocked removes a known event whose record is r, with its effect. What
// it lifted stands again.
func (s *Set) forgetLocked(r *Record) {
	p, ok := s.known[r.ID]
	if !ok {
		return
	}
	if p.applied {
		s.index.unapply(r)
	}
	delete(s.known, r.ID)
	delete(s.unsettled, r.ID)
	delete(s.staged.records, r.ID)
	total := s.hours[p.hour]
	if total.subtract(r.account()); total.count == 0 {
		delete(s.hours, p.hour)
	} else {
		s.hours[p.hour] = total
	}
	if !p.lift {
		return
	}
	if s.lifts[r.Target.Lifted]--; s.lifts[r.Target.Lifted] == 0 {
		delete(s.lifts, r.Target.Lifted)
	}
	s.settleLocked(r.Target.Lifted)
}

func (s *Set) parkLocked(park []Parked, unpark []ParkedKey) {
	for _, key := range unpark {
		for _, id := range s.parking.remove(key) {
			s.staged.parked[id] = nil
		}
	}
	for i := range park {
		id, isNew, fits := s.parking.add(park[i])
		if isNew {
			s.staged.parked[id] = &park[i]
		}
		if !fits {
			s.log.Error("no room to park an event that cannot be read", "stream", string(park[i].Stream), "seq", park[i].Seq)
		}
	}
}
