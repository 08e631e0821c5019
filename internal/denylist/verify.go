package denylist

import (
	"errors"
	"runtime"
	"sync"

	bolt "go.etcd.io/bbolt"

	"github.com/rescind/rescind/events"
)

// reader takes records that one goroutine has read, and ends when there are no
// more of them. A record and its slices are valid during the call only.
type reader struct {
	record func(*Record, account)
	end    func()
}

// verify reads all of the file and compares it with its state. The readers, one
// for each goroutine that newReader is called in, and park are given what it
// holds before it is known to be right; begin is called before them.
func (s *store) verify(begin func(*state), newReader func() reader, park func(Parked)) (st *state, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		w, err := newPageWalk(tx, s.file)
		if err != nil {
			return err
		}
		records, err := w.checkOthers(tx)
		if err != nil {
			return damaged("%v", err)
		}
		if st, err = readState(tx); err != nil {
			return err
		}
		if records == nil {
			return damaged("a bucket is missing")
		}
		begin(st)
		total, err := w.readRecords(*records, newReader)
		if err != nil {
			return err
		}
		if err := checkStructure(tx); err != nil {
			return err
		}
		var parked, observed account
		if err := eachParked(tx, func(p Parked, a account) { parked.add(a); park(p) }); err != nil {
			return err
		}
		if err := eachObserved(tx, func(_ Observed, a account) { observed.add(a) }); err != nil {
			return err
		}
		if total != st.records || parked != st.parked || observed != st.observed {
			return damaged("it does not hold what its state says")
		}
		return nil
	})
	return st, err
}

// checkOthers walks through everything but the events, so that reading it
// through bbolt ends, and gives the events; nil when there are none.
func (w *pageWalk) checkOthers(tx *bolt.Tx) (records *subtree, err error) {
	all, err := w.buckets(tx)
	if err != nil {
		return nil, err
	}
	for name, t := range all {
		if name == string(bucketEvents) {
			records = &t
		} else if err := w.check(t); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// checkStructure makes sure that bbolt finds what it looks for, and will not
// write over what is in use.
func checkStructure(tx *bolt.Tx) error {
	var first error
	for err := range tx.Check() {
		if first == nil {
			first = damaged("%v", err)
		}
	}
	return first
}

// hourPage is a leaf of an hour's bucket.
type hourPage struct {
	name []byte
	page page
}

var errReaderStopped = errors.New("a reader stopped")

// reading is the reading of all records on all cores.
type reading struct {
	work    chan hourPage
	stopped chan struct{}
	stop    sync.Once
	pages   sync.Pool

	mu     sync.Mutex // guards the next fields
	total  account
	failed error
}

// readRecords reads every record and accounts for them.
func (w *pageWalk) readRecords(records subtree, newReader func() reader) (account, error) {
	r := &reading{work: make(chan hourPage, 64), stopped: make(chan struct{})}
	r.pages.New = func() any { return new(page) }
	var readers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		readers.Go(func() {
			var sum account
			err := guarded(func() (err error) { sum, err = r.readAll(newReader()); return err })
			r.done(sum, err)
		})
	}
	err := w.handOut(records, r)
	close(r.work)
	readers.Wait()
	if err != nil && !errors.Is(err, errReaderStopped) {
		return r.total, err
	}
	return r.total, r.failed
}

// handOut gives the readers all records, in the order of hours.
func (w *pageWalk) handOut(records subtree, r *reading) error {
	err := w.each(records, func(name []byte, hour *subtree) error {
		if hour == nil {
			return errors.New("a value lies among the hours")
		}
		return w.leaves(*hour, func() page { return *r.pages.Get().(*page) }, func(p page) error {
			select {
			case r.work <- hourPage{name, p}:
				return nil
			case <-r.stopped:
				return errReaderStopped
			}
		})
	})
	if err != nil && !errors.Is(err, errReaderStopped) {
		return damaged("%v", err)
	}
	return err
}

// readAll is one reader's part.
func (r *reading) readAll(to reader) (sum account, err error) {
	var rec Record
	for p := range r.work {
		for i := range p.page.count() {
			key, sealed, isBucket, err := p.page.leaf(i)
			if err != nil || isBucket {
				return sum, damaged("what lies in an hour is no record: %v", err)
			}
			// The room for identities is used again.
			rec = Record{Target: events.Target{Identities: rec.Target.Identities[:0]}}
			content, err := readRecord(p.name, key, sealed, &rec)
			if err != nil {
				return sum, err
			}
			a := accountOf(rec.ID[:], content)
			sum.add(a)
			to.record(&rec, a)
		}
		r.pages.Put(&p.page)
	}
	to.end()
	return sum, nil
}

func (r *reading) done(sum account, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total.add(sum)
	if err != nil {
		r.failed = err
		r.stop.Do(func() { close(r.stopped) })
	}
}
