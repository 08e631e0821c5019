package denylist

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/rescind/rescind/events"
)

// Parked is an event that could not be read and may be a revocation. It is kept
// until it can be.
type Parked struct {
	Stream events.Stream
	Seq    uint64
	// Reason says why it cannot be read.
	Reason string
	// Raw is the event as the stream holds it.
	Raw []byte
}

// ParkedKey names what is parked from one place of a stream.
type ParkedKey struct {
	Stream events.Stream
	Seq    uint64
}

// parkedID tells events apart that came from one place of a stream, which can
// be when the stream was lost.
type parkedID struct {
	ParkedKey
	hash [8]byte
}

func (p *Parked) id() parkedID {
	h := sha256.Sum256(p.Raw)
	return parkedID{ParkedKey{p.Stream, p.Seq}, [8]byte(h[:8])}
}

func (id parkedID) key() []byte {
	k := binary.BigEndian.AppendUint64([]byte{streamCode(id.Stream)}, id.Seq)
	return append(k, id.hash[:]...)
}

func (p *Parked) encode() []byte {
	b := appendString(nil, p.Reason)
	return appendString(b, string(p.Raw))
}

func eachParked(tx *bolt.Tx, fn func(Parked, account)) error {
	b := tx.Bucket(bucketParked)
	if b == nil {
		return damaged("a bucket is missing")
	}
	return b.ForEach(func(key, sealed []byte) error {
		value, err := unseal(key, sealed)
		if err != nil || len(key) != 17 {
			return damaged("parked event: %v", err)
		}
		stream, err := streamOf(key[0])
		d := decoder{b: value}
		p := Parked{Stream: stream, Seq: binary.BigEndian.Uint64(key[1:]), Reason: d.string(), Raw: []byte(d.string())}
		if err != nil || d.end() != nil {
			return damaged("parked event: %v", errEncoding)
		}
		fn(p, accountOf(key, value))
		return nil
	})
}

// parking is what is parked. It is bounded: what comes when it is full is
// refused and counted, for good.
type parking struct {
	max, maxBytes int
	events        map[parkedID]*Parked
	bytes         int
	account       account
	refused       uint64
}

func newParking(most, mostBytes int) parking {
	return parking{max: most, maxBytes: mostBytes, events: map[parkedID]*Parked{}}
}

func (k *parking) restore(p Parked) {
	id := p.id()
	k.events[id] = &p
	k.bytes += len(p.Raw)
	k.account.add(accountOf(id.key(), p.encode()))
}

// add parks an event, and tells whether there was room and whether it is new.
func (k *parking) add(p Parked) (id parkedID, isNew, fits bool) {
	id = p.id()
	if _, ok := k.events[id]; ok {
		return id, false, true
	}
	if len(k.events) >= k.max || k.bytes+len(p.Raw) > k.maxBytes {
		k.refused++
		return id, false, false
	}
	k.restore(p)
	return id, true, true
}

// remove gives the ids of what was parked under the key.
func (k *parking) remove(key ParkedKey) (gone []parkedID) {
	for id, p := range k.events {
		if id.ParkedKey != key {
			continue
		}
		gone = append(gone, id)
		k.bytes -= len(p.Raw)
		k.account.subtract(accountOf(id.key(), p.encode()))
		delete(k.events, id)
	}
	return gone
}

// Parked gives what is parked, in stream order. It includes what is staged.
func (s *Set) Parked() []Parked {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Parked, 0, len(s.parking.events))
	for p := range maps.Values(s.parking.events) {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Parked) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Seq, b.Seq), bytes.Compare(a.Raw, b.Raw))
	})
	return out
}

// ParkedCount is how many events are parked.
func (s *Set) ParkedCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.parking.events)
}

// ParkedRefused is how many events found no room to be parked since the file
// was made. While it is not 0 the set may lack a revocation, and only a new
// file can say otherwise.
func (s *Set) ParkedRefused() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parking.refused
}
