package denylist

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"

	"github.com/rescind/rescind/events"
)

// Record is one event in the form that the set keeps.
type Record struct {
	ID events.EventID
	// KeyID is the kid of the key that signed it.
	KeyID string
	// Stream and Seq are where it was first read. They are no part of its
	// meaning, nor of the digest.
	Stream events.Stream
	Seq    uint64
	// Target is what it hits. Issuer and JTI are not kept.
	Target events.Target
	// NotBefore is the cutoff and Expires the end, in Unix seconds.
	NotBefore, Expires int64
}

// RecordOf is the record of an event signed by keyID and read from stream s at
// seq. It shares the event's slices.
func RecordOf(r *events.Revocation, keyID string, s events.Stream, seq uint64) Record {
	t := r.Target
	t.Issuer, t.JTI = "", ""
	return Record{ID: r.ID, KeyID: keyID, Stream: s, Seq: seq, Target: t,
		NotBefore: r.NotBefore, Expires: r.Expires}
}

// Match tells whether the record hits the token; it is events.Match.
func (r *Record) Match(t *events.Token) bool {
	return events.Match(&events.Revocation{Target: r.Target, NotBefore: r.NotBefore, Expires: r.Expires}, t)
}

func (r *Record) isLift() bool { return r.Target.Kind.Mechanism() == events.ByEvent }

// hour is the hour since 1970 in which something expires. What expires later
// than an int32 can say never does.
type hour int32

func hourOf(unix int64) hour { return hour(min(max(unix/3600, 0), math.MaxInt32)) }

// passed tells whether the whole hour lies before now.
func (h hour) passed(now int64) bool { return (int64(h)+1)*3600 <= now && h != math.MaxInt32 }

// place is where a known event is kept, and what is known of it without
// reading it.
type place struct {
	seq    uint64
	hour   hour
	stream byte
	lift   bool
	// applied tells whether the index holds the event's effect.
	applied bool
}

func placeOf(r *Record) place {
	return place{seq: r.Seq, hour: hourOf(r.Expires), stream: streamCode(r.Stream), lift: r.isLift()}
}

// account counts things and adds up their hashes, so that sets with the same
// content have the same account however they came by it.
type account struct {
	count uint64
	sum   [2]uint64
}

func (a *account) add(b account) {
	a.count += b.count
	a.sum[0] += b.sum[0]
	a.sum[1] += b.sum[1]
}

func (a *account) subtract(b account) {
	a.count -= b.count
	a.sum[0] -= b.sum[0]
	a.sum[1] -= b.sum[1]
}

func (a account) String() string {
	b := binary.BigEndian.AppendUint64(nil, a.sum[0])
	return hex.EncodeToString(binary.BigEndian.AppendUint64(b, a.sum[1]))
}

// accountOf is the account of one thing that is kept under key as value.
func accountOf(key, value []byte) account {
	var b [512]byte
	binary.BigEndian.PutUint64(b[:], uint64(len(key)))
	d := [sha256.Size]byte{}
	if n := 8 + len(key) + len(value); n <= len(b) {
		d = sha256.Sum256(append(append(b[:8], key...), value...))
	} else {
		h := sha256.New()
		h.Write(b[:8])
		h.Write(key)
		h.Write(value)
		h.Sum(d[:0])
	}
	return account{1, [2]uint64{binary.BigEndian.Uint64(d[:]), binary.BigEndian.Uint64(d[8:])}}
}

// account is the record's contribution to the digest: its id and content, not
// where it was read.
func (r *Record) account() account { return accountOf(r.ID[:], appendRecord(nil, r)) }
