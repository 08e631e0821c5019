package denylist

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/rescind/rescind/events"
)

// batch is what the file lacks. In a set that is in memory only, its records are
// all there are.
type batch struct {
	// drop and remove are done before records is written: what came again after
	// it was dropped stays.
	drop    map[hour]struct{}
	remove  map[location]struct{}
	records map[events.EventID]unwritten
	// parked has nil for what is to be unparked.
	parked   map[parkedID]*Parked
	observed []Observed
	// expired is up to when observed tokens are to be dropped, in Unix seconds.
	expired int64
	// changed says that the state changed otherwise.
	changed bool
}

// location is one record of the file. An event that is removed and comes again
// may have several before the next Commit.
type location struct {
	place
	id events.EventID
}

// unwritten is a record that the file does not have yet, encoded. Behind its
// content is room for the checksum.
type unwritten struct {
	place   place
	content []byte
}

// record decodes it. What appendRecord wrote is always read.
func (u unwritten) record(id events.EventID) Record {
	r := Record{ID: id, Stream: streamCodes[u.place.stream], Seq: u.place.seq}
	if err := decodeRecord(u.content, &r); err != nil {
		panic("denylist: a staged record cannot be read: " + err.Error())
	}
	return r
}

func newBatch() *batch {
	return &batch{drop: map[hour]struct{}{}, remove: map[location]struct{}{},
		records: map[events.EventID]unwritten{}, parked: map[parkedID]*Parked{}}
}

func (b *batch) empty() bool {
	return !b.changed && len(b.drop)+len(b.remove)+len(b.records)+len(b.parked)+len(b.observed) == 0 && b.expired == 0
}

// merge puts what was staged later on top of b.
func (b *batch) merge(later *batch) {
	maps.Copy(b.drop, later.drop)
	maps.Copy(b.remove, later.remove)
	maps.Copy(b.records, later.records)
	maps.Copy(b.parked, later.parked)
	b.observed = append(b.observed, later.observed...)
	b.expired = max(b.expired, later.expired)
	b.changed = b.changed || later.changed
}

// write brings the file up to date. Writing a batch again does no harm, so one
// whose fate is unknown is written again.
func (b *batch) write(tx *bolt.Tx) error {
	root := tx.Bucket(bucketEvents)
	for h := range b.drop {
		for code := range streamCodes {
			err := root.DeleteBucket(place{hour: h, stream: byte(code)}.bucketName())
			if err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
				return err
			}
		}
	}
	for at := range b.remove {
		if hours := root.Bucket(at.bucketName()); hours != nil {
			if err := hours.Delete(at.key(at.id)); err != nil {
				return err
			}
		}
	}
	if err := b.writeRecords(root); err != nil {
		return err
	}
	return b.writeParked(tx.Bucket(bucketParked))
}

// writeRecords writes in the order of keys, so that pages fill from the left.
func (b *batch) writeRecords(root *bolt.Bucket) error {
	type entry struct {
		at      location
		content []byte
	}
	entries := make([]entry, 0, len(b.records))
	for id, r := range b.records {
		entries = append(entries, entry{location{r.place, id}, r.content})
	}
	slices.SortFunc(entries, func(x, y entry) int { return x.at.compare(&y.at) })
	var bucket *bolt.Bucket
	for i := range entries {
		e := &entries[i]
		if i == 0 || !e.at.inBucketOf(&entries[i-1].at) {
			var err error
			if bucket, err = root.CreateBucketIfNotExists(e.at.bucketName()); err != nil {
				return err
			}
			bucket.FillPercent = 0.95
		}
		key := e.at.key(e.at.id)
		if err := bucket.Put(key, seal(key, e.content)); err != nil {
			return err
		}
	}
	return nil
}

func (l *location) inBucketOf(o *location) bool { return l.hour == o.hour && l.stream == o.stream }

// compare gives the order of locations in the file.
func (l *location) compare(o *location) int {
	return cmp.Or(cmp.Compare(l.hour, o.hour), cmp.Compare(l.stream, o.stream), cmp.Compare(l.seq, o.seq),
		bytes.Compare(l.id[:], o.id[:]))
}

func (b *batch) writeParked(bucket *bolt.Bucket) error {
	for id, p := range b.parked {
		key := id.key()
		var err error
		if p == nil {
			err = bucket.Delete(key)
		} else {
			err = bucket.Put(key, seal(key, p.encode()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
