package denylist

import (
	"crypto/rand"
	"maps"
	"os"

	bolt "go.etcd.io/bbolt"

	"github.com/rescind/rescind/events"
)

// openFile opens the set's file and loads it, or fills a new one. On failure
// nothing is left open.
func (s *Set) openFile() error {
	store, err := openStore(s.o.Path, s.o.MaxBytes)
	if err != nil {
		return err
	}
	s.store = store
	if store.created {
		err = s.initialise()
	} else {
		err = s.load()
	}
	if err != nil {
		_ = store.close()
		if store.created {
			// A half-made file would be taken for a damaged one.
			_ = os.Remove(store.path)
		}
	}
	return err
}

// initialise writes an empty set. A crash before it is done leaves a file
// without a state, which the next Open puts aside.
func (s *Set) initialise() error {
	if s.identity == "" {
		s.identity = rand.Text()
	}
	err := s.store.update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketEvents, bucketParked, bucketObserved} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keyState, s.stateLocked().encode())
	})
	if err != nil {
		return err
	}
	return syncDir(s.o.Path)
}

// load fills the empty set from its file, and finds all that is wrong with it.
func (s *Set) load() error {
	var fill *filler
	st, err := s.store.verify(func(st *state) {
		fill = s.index.identities.fill(int(min(st.identities, s.store.roomForIdentities())))
	}, func() reader { return s.reader(fill.gatherer()) }, s.parking.restore)
	if err != nil {
		return err
	}
	fill.done()
	if st.fleet != s.o.Fleet {
		return damaged("it belongs to fleet %q", string(st.fleet))
	}
	if uint64(len(s.known)) != st.records.count {
		return damaged("an event is in it twice")
	}
	s.identity, s.created, s.synced = st.identity, st.created, st.synced
	s.parking.refused = st.refused
	s.cursors, s.durable = maps.Clone(st.cursors), st.cursors
	s.observed, s.committed, s.attempted = st.observed, st.records, st.records
	s.settleLifted()
	return s.store.remap()
}

// reader restores records. Lifts take effect once all are known.
func (s *Set) reader(g *gatherer) reader {
	restore := func(r *Record, a account) (lists bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, ok := s.known[r.ID]; ok {
			return false
		}
		lists = r.Target.Kind.Mechanism() == events.ByIdentity
		return s.addLocked(r, a, !lists) && lists
	}
	return reader{func(r *Record, a account) {
		if restore(r, a) {
			s.index.eachHash(r.Target.Identities, g.add)
		}
	}, g.end}
}

// settleLifted takes away what was loaded before the lift that names it.
func (s *Set) settleLifted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.lifts {
		s.settleLocked(id)
	}
	s.index.compact()
}

// stateLocked is the state of a file that holds all that is staged. It leaves
// out what is observed, which only the file knows.
func (s *Set) stateLocked() *state {
	st := &state{format: format, fleet: s.o.Fleet, identity: s.identity, created: s.created,
		synced: s.synced, refused: s.parking.refused, identities: uint64(s.index.identities.once.len()),
		cursors: maps.Clone(s.cursors), parked: s.parking.account}
	for _, a := range s.hours {
		st.records.add(a)
	}
	return st
}

func readState(tx *bolt.Tx) (*state, error) {
	b := tx.Bucket(bucketMeta)
	if b == nil || b.Get(keyState) == nil {
		return nil, damaged("it is empty: it has no state")
	}
	st, err := decodeState(b.Get(keyState))
	if err != nil {
		return nil, damaged("state: %v", err)
	}
	if st.format != format {
		return nil, damaged("it has format %d, this program reads format %d", st.format, format)
	}
	return st, nil
}
