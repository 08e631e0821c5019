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
	meta, key := t.tx.Bucket(bucketMeta), []byte("counter/"+string(s))
	var n uint64
	if v := meta.Get(key); len(v) == 8 {
		n = binary.BigEndian.Uint64(v)
	}
	n++
	return n, meta.Put(key, u64(n))
}

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

// PutEvent stores an event, or what is known of it now.
func (t *Tx) PutEvent(e *Entry) error {
	v, err := encode(e, e.Raw)
	if err != nil {
		return err
	}
	if err := t.tx.Bucket(bucketExpiry).Put(append(u64(uint64(e.Expires)), e.ID[:]...), nil); err != nil {
		return err
	}
	return t.tx.Bucket(bucketEvents).Put(e.ID[:], v)
}

// Event gives an event, nil when the ledger does not have it.
func (t *Tx) Event(id events.EventID) (*Entry, error) {
	v := t.tx.Bucket(bucketEvents).Get(id[:])
	if v == nil {
		return nil, nil
	}
	return decodeEntry(id, v)
}

// Events calls fn for every event.
func (t *Tx) Events(fn func(*Entry) error) error {
	return t.tx.Bucket(bucketEvents).ForEach(func(k, v []byte) error {
		e, err := decodeEntry(events.EventID(k), v)
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
	e, err := t.Event(id)
	if err != nil {
		return err
	}
	if e != nil && e.Expires < now.Unix() {
		err = t.tx.Bucket(bucketEvents).Delete(id[:])
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

// Post is one message of the outbox: an event, or a receipt for the audit stream.
type Post struct {
	Order  uint64
	Stream events.Stream
	ID     events.EventID
	Raw    []byte
}

// PutPost puts an event that was stored with PutEvent, or a receipt, at the end
// of the outbox.
func (t *Tx) PutPost(p *Post) error {
	box := t.tx.Bucket(bucketOutbox)
	n, err := box.NextSequence()
	if err != nil {
		return err
	}
	p.Order = n
	if p.Stream == events.Audit {
		v, err := encode(struct{}{}, p.Raw)
		if err != nil {
			return err
		}
		if err := t.tx.Bucket(bucketAudit).Put(p.ID[:], v); err != nil {
			return err
		}
	}
	return box.Put(u64(n), append([]byte(p.Stream+"\x00"), p.ID[:]...))
}

// Posts gives the outbox in its order, at most limit of it, from order on.
func (t *Tx) Posts(from uint64, limit int) ([]Post, error) {
	var posts []Post
	c := t.tx.Bucket(bucketOutbox).Cursor()
	for k, v := c.Seek(u64(from)); k != nil && len(posts) < limit; k, v = c.Next() {
		p, err := t.post(k, v)
		if err != nil {
			return nil, err
		}
		posts = append(posts, p)
	}
	return posts, nil
}

func (t *Tx) post(k, v []byte) (Post, error) {
	stream, id, ok := bytes.Cut(v, []byte{0})
	if !ok || len(id) != len(events.EventID{}) {
		return Post{}, fmt.Errorf("outbox entry %x is damaged", k)
	}
	p := Post{Order: binary.BigEndian.Uint64(k), Stream: events.Stream(stream), ID: events.EventID(id)}
	bucket := bucketEvents
	if p.Stream == events.Audit {
		bucket = bucketAudit
	}
	stored := t.tx.Bucket(bucket).Get(id)
	if stored == nil {
		return p, nil // expired meanwhile: nothing left to send
	}
	_, raw, err := split(stored)
	p.Raw = bytes.Clone(raw)
	return p, err
}

// DropPost takes a message off the outbox.
func (t *Tx) DropPost(p *Post) error {
	if p.Stream == events.Audit {
		if err := t.tx.Bucket(bucketAudit).Delete(p.ID[:]); err != nil {
			return err
		}
	}
	return t.tx.Bucket(bucketOutbox).Delete(u64(p.Order))
}

// PutRequest stores what is known of a request, as JSON, until expires.
func (t *Tx) PutRequest(txn events.EventID, expires int64, request any) error {
	v, err := encode(request, u64(uint64(expires)))
	if err != nil {
		return err
	}
	if err := t.tx.Bucket(bucketExpiry).Put(append(u64(uint64(expires)), txn[:]...), nil); err != nil {
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

// Stored values are a CRC-32C, the length of a JSON part, that part, and the raw
// message: bbolt checks its meta pages only, so a flipped bit in a value would
// otherwise go unseen. In a request, its expiry takes the message's place.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("a stored value is damaged")

func encode(meta any, raw []byte) ([]byte, error) {
	m, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 8, 8+len(m)+len(raw))
	binary.BigEndian.PutUint32(b[4:], uint32(len(m)))
	b = append(append(b, m...), raw...)
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b, nil
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

func decodeEntry(id events.EventID, v []byte) (*Entry, error) {
	meta, raw, err := split(v)
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", id, err)
	}
	e := &Entry{ID: id, Raw: bytes.Clone(raw)}
	return e, json.Unmarshal(meta, e)
}
