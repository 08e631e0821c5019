package denylist

import (
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/rescind/rescind/events"
)

// Expire drops what expired in hours that lie wholly before now, from memory at
// once and from the file with the next Commit, and gives the number of events
// dropped. Nothing is dropped before its Expires. A caller that is not sure of
// its clock passes an earlier time. It waits for a running Commit, and blocks on
// the disk; what cannot be read is kept for the next time.
//
// A lift that expires before what it lifts lifts it no more.
func (s *Set) Expire(now time.Time) int {
	s.io.Lock()
	defer s.io.Unlock()
	if s.broken != nil {
		return 0
	}
	dropped := 0
	for _, h := range s.passedHours(now.Unix()) {
		dropped += s.expireHour(h)
	}
	s.settleAll()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.observed.count > 0 {
		s.staged.expired = now.Unix()
	}
	s.index.compact()
	return dropped
}

func (s *Set) passedHours(now int64) []hour {
	s.mu.Lock()
	defer s.mu.Unlock()
	var passed []hour
	for h := range s.hours {
		if h.passed(now) {
			passed = append(passed, h)
		}
	}
	slices.Sort(passed)
	return passed
}

// expireHour forgets one event at a time, so that Stage waits for one only.
// Nothing is being committed meanwhile: io is held.
func (s *Set) expireHour(h hour) int {
	records, err := s.recordsOf(h)
	if err != nil {
		s.log.Warn("an expired hour cannot be read and is kept", "error", err)
		return 0
	}
	// Lifts go last: what they lift need not be put back for a moment.
	slices.SortStableFunc(records, func(a, b Record) int { return int(flag(a.isLift())) - int(flag(b.isLift())) })
	for i := range records {
		s.forget(&records[i])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.staged.drop[h] = struct{}{}
	return len(records)
}

func (s *Set) forget(r *Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLocked(r)
}

// recordsOf gives the known events of one hour. What the file holds of an event
// that is to be written is from a former life of it.
func (s *Set) recordsOf(h hour) (out []Record, err error) {
	unwritten := map[events.EventID]struct{}{}
	out = s.volatile(func(r *Record) bool {
		unwritten[r.ID] = struct{}{}
		return hourOf(r.Expires) == h
	})
	if s.store == nil {
		return out, nil
	}
	err = s.store.view(func(tx *bolt.Tx) error {
		for code := range streamCodes {
			name := place{hour: h, stream: byte(code)}.bucketName()
			err := eachRecordIn(tx.Bucket(bucketEvents), name, func(r Record) error {
				if _, ok := unwritten[r.ID]; !ok && s.Has(r.ID) {
					out = append(out, r)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// volatile gives the records that are not in the file yet and for which keep
// says so.
func (s *Set) volatile(keep func(*Record) bool) (out []Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range []*batch{s.staged, s.inflight} {
		if b == nil {
			continue
		}
		for id, u := range b.records {
			if r := u.record(id); keep(&r) {
				out = append(out, r)
			}
		}
	}
	return out
}

// Reevaluate removes the events signed with keys that are trusted no more, and
// gives their number. They are not known any more: should they come again, they
// are new, so whoever follows the streams must not apply them then. What they
// lifted stands again. It waits for a running Commit and reads the whole file.
// On an error nothing was removed.
func (s *Set) Reevaluate(trusted func(keyID string) bool) (int, error) {
	s.io.Lock()
	defer s.io.Unlock()
	var gone []Record
	err := s.each(func(r Record, _ bool) bool {
		if !trusted(r.KeyID) {
			gone = append(gone, r)
		}
		return true
	})
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range gone {
		s.staged.remove[location{placeOf(&gone[i]), gone[i].ID}] = struct{}{}
		s.forgetLocked(&gone[i])
	}
	s.index.compact()
	return len(gone), nil
}

// Explain gives the ids of the standing events that hit the token, in order. It
// reads everything there is, from the disk where there is one: it is for people,
// not for requests.
func (s *Set) Explain(t *events.Token) ([]events.EventID, error) {
	var hits []events.EventID
	err := s.Records(func(r Record, stands bool) bool {
		if stands && r.Match(t) {
			hits = append(hits, r.ID)
		}
		return true
	})
	slices.SortFunc(hits, func(a, b events.EventID) int { return slices.Compare(a[:], b[:]) })
	return hits, err
}

// Records calls yield with each known event and whether it stands, until yield
// returns false. The order is none. Events that become known meanwhile may be
// left out. yield must not call methods of the set.
func (s *Set) Records(yield func(r Record, stands bool) bool) error { return s.each(yield) }
