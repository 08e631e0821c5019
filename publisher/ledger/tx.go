package ledger

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/rescind/rescind/events"
	bolt "go.etcd.io/bbolt"
)

// Tx is a transaction on the ledger. It is valid until the function it was given
// to returns, and only in that goroutine.
type Tx struct{ tx *bolt.Tx }

// Entry is one event as the ledger keeps it.
type Entry struct {
	ID     events.EventID `json:"-"`
	Stream events.Stream  `json:"stream"`
	// Seq is where the stream has it, 0 when it has it no more or not yet.
	Seq uint64 `json:"seq,omitempty"`
	// Expires is the event's, in Unix seconds.
	Expires int64 `json:"expires"`
	// Own marks an event that was accepted here.
	Own bool `json:"own,omitempty"`
	// Acked marks one that the stream has had at some time.
	Acked bool `json:"acked,omitempty"`
	// Raw is the signed event.
	Raw []byte `json:"-"`
}

// Counter gives the next number of the publisher's messages to the stream, from 1.
func (t *Tx) Counter(s events.Stream) (uint64, error) {
	n := t.NextCounter(s)
	return n, t.tx.Bucket(bucketMeta).Put(counterKey(s), u64(n))
}

// NextCounter is what Counter will give next, if no other transaction asks first.
func (t *Tx) NextCounter(s events.Stream) uint64 {
	if v := t.tx.Bucket(bucketMeta).Get(counterKey(s)); len(v) == 8 {
		return binary.BigEndian.Uint64(v) + 1
	}
	return 1
}

func counterKey(s events.Stream) []byte { return []byte("counter/" + string(s)) }

// SetCursor stores the position of the publisher's own follower in the stream.
func (t *Tx) SetCursor(s events.Stream, cursor any) error {
	b, err := json.Marshal(cursor)
	if err != nil {
		return err
	}
	return t.tx.Bucket(bucketMeta).Put([]byte("cursor/"+string(s)), b)
}

// Cursor reads what SetCursor stored into cursor, and leaves it alone when
// nothing was.
func (t *Tx) Cursor(s events.Stream, cursor any) error {
	b := t.tx.Bucket(bucketMeta).Get([]byte("cursor/" + string(s)))
	if b == nil {
		return nil
	}
	return json.Unmarshal(b, cursor)
}

// PutEvent stores an event, or what is known of it now. Its bytes are written
// only when they are not there already: a list's are 60 KB, and all that changes
// afterwards is where the stream has it.
//
// An own event that no stream has had is not in the order of expiry: that would be
// two more pages to write while a caller waits. It comes there when it is acked, by
// PutExpiry, or by Open, which finds it in the outbox.
func (t *Tx) PutEvent(e *Entry) error {
	// What is damaged is written anew.
	known, err := t.Known(e.ID)
	if indexed := err == nil && known != nil && known.Acked && known.Expires == e.Expires; !indexed && (e.Acked || !e.Own) {
		if err := t.PutExpiry(e.ID, e.Expires); err != nil {
			return err
		}
	}
	v, err := encode(e)
	if err != nil {
		return err
	}
	if stored := getPieces(t.tx.Bucket(bucketRaw), e.ID); stored.holdsBehindHead(frame(nil, e.Raw)) {
		return t.tx.Bucket(bucketEvents).Put(e.ID[:], v)
	}
	if err := t.tx.Bucket(bucketEvents).Delete(e.ID[:]); err != nil {
		return err
	}
	return putPieces(t.tx.Bucket(bucketRaw), e.ID, v, frame(nil, e.Raw))
}

// PutExpiry makes Expire look at an event or a request after expires.
func (t *Tx) PutExpiry(id events.EventID, expires int64) error {
	return t.tx.Bucket(bucketExpiry).Put(append(u64(uint64(expires)), id[:]...), nil)
}

// Known gives an event without its bytes, nil when the ledger does not have it.
func (t *Tx) Known(id events.EventID) (*Entry, error) {
	v := t.tx.Bucket(bucketEvents).Get(id[:])
	if v == nil {
		v = getPieces(t.tx.Bucket(bucketRaw), id).head() // as it was accepted
	}
	if v == nil {
		return nil, nil
	}
	e := &Entry{ID: id}
	if err := decode(v, e); err != nil {
		return nil, fmt.Errorf("event %s: %w", id, err)
	}
	return e, nil
}

// raw reads a signed message, nil when it is not there. It is valid for as long
// as the transaction.
func (t *Tx) raw(bucket []byte, id events.EventID) ([]byte, error) {
	v := getPieces(t.tx.Bucket(bucket), id).behindHead()
	if v == nil {
		return nil, nil
	}
	_, raw, err := split(v)
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	return raw, nil
}

// Event gives an event, nil when the ledger does not have it.
func (t *Tx) Event(id events.EventID) (*Entry, error) {
	e, err := t.Known(id)
	if e == nil || err != nil {
		return nil, err
	}
	raw, err := t.raw(bucketRaw, id)
	if err == nil && raw == nil {
		err = fmt.Errorf("event %s: %w: its bytes are gone", id, errDamaged)
	}
	e.Raw = bytes.Clone(raw)
	return e, err
}

// Events calls fn for every event.
func (t *Tx) Events(fn func(*Entry) error) error {
	return t.tx.Bucket(bucketRaw).ForEach(func(k, _ []byte) error {
		if len(k) != len(events.EventID{}) {
			return nil // a further piece
		}
		e, err := t.Event(events.EventID(k))
		if err != nil {
			return err
		}
		return fn(e)
	})
}

// Expire removes the events and requests whose time has passed and gives the
// number of events. At most limit go in one call.
func (t *Tx) Expire(now time.Time, limit int) (int, error) {
	var gone [][]byte
	c := t.tx.Bucket(bucketExpiry).Cursor()
	end := u64(uint64(now.Unix()))
	for k, _ := c.First(); k != nil && len(gone) < limit && bytes.Compare(k[:8], end) < 0; k, _ = c.Next() {
		gone = append(gone, bytes.Clone(k))
	}
	for _, k := range gone {
		if err := t.expire(k, now); err != nil {
			return 0, err
		}
	}
	return len(gone), nil
}

// expire removes what an expiry key names, unless it was stored anew with a
// later expiry.
func (t *Tx) expire(k []byte, now time.Time) error {
	id := events.EventID(k[8:])
	e, err := t.Known(id)
	if err != nil {
		return err
	}
	if e != nil && e.Expires < now.Unix() {
		err = errors.Join(t.tx.Bucket(bucketEvents).Delete(id[:]), deletePieces(t.tx.Bucket(bucketRaw), id, 0))
	}
	return errors.Join(err, t.expireRequest(id, now), t.tx.Bucket(bucketExpiry).Delete(k))
}

func (t *Tx) expireRequest(txn events.EventID, now time.Time) error {
	b := t.tx.Bucket(bucketRequests)
	v := b.Get(txn[:])
	if v == nil {
		return nil
	}
	_, expires, err := split(v)
	if err != nil || len(expires) != 8 {
		return fmt.Errorf("request %s: %w", txn, errors.Join(err, errDamaged))
	}
	if int64(binary.BigEndian.Uint64(expires)) >= now.Unix() {
		return nil
	}
	return b.Delete(txn[:])
}

// Post is one message of the outbox: an event, or a receipt or a refusal for the
// audit stream.
type Post struct {
	Order  uint64
	Stream events.Stream
	ID     events.EventID
	Raw    []byte
}

// PutPost puts an event that was stored with PutEvent, a receipt or a refusal at the
// end of the outbox.
func (t *Tx) PutPost(p *Post) error {
	box := t.tx.Bucket(bucketOutbox)
	n, err := box.NextSequence()
	if err != nil {
		return err
	}
	p.Order = n
	if p.Stream == events.Audit {
		if err := putPieces(t.tx.Bucket(bucketAudit), p.ID, nil, frame(nil, p.Raw)); err != nil {
			return err
		}
	}
	return box.Put(u64(n), append([]byte(p.Stream+"\x00"), p.ID[:]...))
}

// Posts gives the outbox in its order, at most limit of it, from order on. It
// leaves out those that wanted, which is asked before their bytes are read, says
// no to; nil wants all. Raw is nil in a post whose event has expired meanwhile:
// nothing is left to send.
func (t *Tx) Posts(from uint64, limit int, wanted func(*Post) bool) ([]Post, error) {
	var posts []Post
	c := t.tx.Bucket(bucketOutbox).Cursor()
	for k, v := c.Seek(u64(from)); k != nil && len(posts) < limit; k, v = c.Next() {
		p, err := readPost(k, v)
		if err != nil {
			return nil, err
		}
		if wanted != nil && !wanted(&p) {
			continue
		}
		bucket := bucketRaw
		if p.Stream == events.Audit {
			bucket = bucketAudit
		}
		raw, err := t.raw(bucket, p.ID)
		if err != nil {
			return nil, err
		}
		p.Raw = bytes.Clone(raw)
		posts = append(posts, p)
	}
	return posts, nil
}

func readPost(k, v []byte) (Post, error) {
	stream, id, ok := bytes.Cut(v, []byte{0})
	if !ok || len(id) != len(events.EventID{}) {
		return Post{}, fmt.Errorf("outbox entry %x is damaged", k)
	}
	return Post{Order: binary.BigEndian.Uint64(k), Stream: events.Stream(stream), ID: events.EventID(id)}, nil
}

// DropPost takes a message off the outbox.
func (t *Tx) DropPost(p *Post) error {
	if p.Stream == events.Audit {
		if err := deletePieces(t.tx.Bucket(bucketAudit), p.ID, 0); err != nil {
			return err
		}
	}
	return t.tx.Bucket(bucketOutbox).Delete(u64(p.Order))
}

// PutRequest stores what is known of a request, as JSON, until expires.
func (t *Tx) PutRequest(txn events.EventID, expires int64, request any) error {
	if err := t.PutExpiry(txn, expires); err != nil {
		return err
	}
	return t.PutOpenRequest(txn, expires, request)
}

// PutOpenRequest stores a request that is kept until PutRequest has closed it.
func (t *Tx) PutOpenRequest(txn events.EventID, expires int64, request any) error {
	v, err := encodeWith(request, u64(uint64(expires)))
	if err != nil {
		return err
	}
	return t.tx.Bucket(bucketRequests).Put(txn[:], v)
}

// Request reads a request into v and tells whether there is one.
func (t *Tx) Request(txn events.EventID, v any) (bool, error) {
	b := t.tx.Bucket(bucketRequests).Get(txn[:])
	if b == nil {
		return false, nil
	}
	return true, decode(b, v)
}

// Requests calls fn for requests from the newest to the oldest, beginning before
// the given one (the zero id: at the newest), until fn says stop.
func (t *Tx) Requests(before events.EventID, fn func(txn events.EventID, decode func(any) error) (more bool, err error)) error {
	c := t.tx.Bucket(bucketRequests).Cursor()
	k, v := c.Last()
	if !before.IsZero() {
		if k, v = c.Seek(before[:]); k == nil {
			k, v = c.Last()
		}
		for k != nil && bytes.Compare(k, before[:]) >= 0 {
			k, v = c.Prev()
		}
	}
	for ; k != nil; k, v = c.Prev() {
		more, err := fn(events.EventID(k), func(dst any) error { return decode(v, dst) })
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// Stored values are a CRC-32C, the length of a JSON part, that part, and bytes
// (a signed message, or a request's expiry): bbolt checks its meta pages only, so a
// flipped bit in a value would otherwise go unseen.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("a stored value is damaged")

func encode(meta any) ([]byte, error) { return encodeWith(meta, nil) }

func encodeWith(meta any, raw []byte) ([]byte, error) {
	m, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	return frame(m, raw), nil
}

func frame(meta, raw []byte) []byte {
	b := make([]byte, 8, 8+len(meta)+len(raw))
	binary.BigEndian.PutUint32(b[4:], uint32(len(meta)))
	b = append(append(b, meta...), raw...)
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

func split(v []byte) (meta, raw []byte, err error) {
	if len(v) < 8 || crc32.Checksum(v[4:], castagnoli) != binary.BigEndian.Uint32(v) {
		return nil, nil, errDamaged
	}
	n := int(binary.BigEndian.Uint32(v[4:]))
	if n > len(v)-8 {
		return nil, nil, errDamaged
	}
	return v[8 : 8+n], v[8+n:], nil
}

func decode(v []byte, dst any) error {
	meta, _, err := split(v)
	if err != nil {
		return err
	}
	return json.Unmarshal(meta, dst)
}
