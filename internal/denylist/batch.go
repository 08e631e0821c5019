package denylist

import (
	"bytes"
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
	records map[events.EventID]Record
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

func newBatch() *batch {
	return &batch{drop: map[hour]struct{}{}, remove: map[location]struct{}{},
		records: map[events.EventID]Record{}, parked: map[parkedID]*Parked{}}
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
		name, key []byte
		place     place
		id        events.EventID
	}
	entries := make([]entry, 0, len(b.records))
	for id, r := range b.records {
		p := placeOf(&r)
		entries = append(entries, entry{p.bucketName(), p.key(id), p, id})
	}
	slices.SortFunc(entries, func(x, y entry) int {
		if c := bytes.Compare(x.name, y.name); c != 0 {
			return c
		}
		return bytes.Compare(x.key, y.key)
	})
	var bucket *bolt.Bucket
	for i, e := range entries {
		if i == 0 || !bytes.Equal(e.name, entries[i-1].name) {
			var err error
			if bucket, err = root.CreateBucketIfNotExists(e.name); err != nil {
				return err
			}
			bucket.FillPercent = 0.95
		}
		r := b.records[e.id]
		if err := putRecord(bucket, e.place, &r); err != nil {
			return err
		}
	}
	return nil
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
