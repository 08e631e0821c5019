package denylist

import (
	"bytes"
	"encoding/binary"

	bolt "go.etcd.io/bbolt"

	"github.com/rescind/rescind/events"
)

// maxObserved is how many observed tokens a file holds; later ones are not kept.
const maxObserved = 1 << 20

// Observed is a refresh token that was seen alive and is to be counted after a
// restart too.
type Observed struct {
	Identity    events.Identity
	Realm, User string
	Issuer      events.Key
	Claims      []events.Key
	// Expires, IssuedAt and AuthTime are Unix seconds, 0 when not known.
	Expires, IssuedAt, AuthTime int64
}

// key puts what expires first first.
func (o *Observed) key() []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(hourOf(o.Expires))), o.Identity[:]...)
}

func (o *Observed) encode() []byte {
	b := appendString(nil, o.Realm)
	b = appendString(b, o.User)
	b = append(b, o.Issuer[:]...)
	b = binary.AppendVarint(b, o.Expires)
	b = binary.AppendVarint(b, o.IssuedAt)
	b = binary.AppendVarint(b, o.AuthTime)
	b = binary.AppendUvarint(b, uint64(len(o.Claims)))
	for _, c := range o.Claims {
		b = append(b, c[:]...)
	}
	return b
}

func decodeObserved(key, value []byte) (Observed, error) {
	var o Observed
	copy(o.Identity[:], key[4:])
	d := decoder{b: value}
	o.Realm, o.User = d.string(), d.string()
	copy(o.Issuer[:], d.bytes(len(o.Issuer)))
	o.Expires, o.IssuedAt, o.AuthTime = d.varint(), d.varint(), d.varint()
	for range d.count(len(events.Key{})) {
		o.Claims = append(o.Claims, events.Key(d.bytes(len(events.Key{}))))
	}
	return o, d.end()
}

func eachObserved(tx *bolt.Tx, fn func(Observed, account)) error {
	b := tx.Bucket(bucketObserved)
	if b == nil {
		return damaged("a bucket is missing")
	}
	return b.ForEach(func(key, sealed []byte) error {
		value, err := unseal(key, sealed)
		if err != nil || len(key) != 4+len(events.Identity{}) {
			return damaged("observed token: %v", err)
		}
		o, err := decodeObserved(key, value)
		if err != nil {
			return damaged("observed token: %v", err)
		}
		fn(o, accountOf(key, value))
		return nil
	})
}

// writeObserved keeps tokens, replacing what was kept of them under the same
// hour, and accounts for it in a. It tells how many found no room.
func writeObserved(tx *bolt.Tx, tokens []Observed, a *account) (refused int, err error) {
	b := tx.Bucket(bucketObserved)
	for i := range tokens {
		key, value := tokens[i].key(), tokens[i].encode()
		if old, err := unseal(key, b.Get(key)); err == nil {
			a.subtract(accountOf(key, old))
		} else if a.count >= maxObserved {
			refused++
			continue
		}
		a.add(accountOf(key, value))
		if err := b.Put(key, seal(key, value)); err != nil {
			return refused, err
		}
	}
	return refused, nil
}

// dropObserved removes the tokens whose hour has passed.
func dropObserved(tx *bolt.Tx, now int64, a *account) error {
	b := tx.Bucket(bucketObserved)
	var passed [][]byte
	c := b.Cursor()
	for key, sealed := c.First(); key != nil && hour(binary.BigEndian.Uint32(key)).passed(now); key, sealed = c.Next() {
		value, err := unseal(key, sealed)
		if err != nil {
			return damaged("observed token: %v", err)
		}
		a.subtract(accountOf(key, value))
		passed = append(passed, bytes.Clone(key))
	}
	for _, key := range passed {
		if err := b.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// Observed reads the tokens that are kept on disk and have not expired by
// Options.Now. A set in memory only keeps none. It blocks on the disk; when the
// file cannot be read it gives what it could read and logs why.
func (s *Set) Observed() []Observed {
	if s.store == nil {
		return nil
	}
	var out []Observed
	now := s.o.now().Unix()
	err := s.store.view(func(tx *bolt.Tx) error {
		return eachObserved(tx, func(o Observed, _ account) {
			if o.Expires > now {
				out = append(out, o)
			}
		})
	})
	if err != nil {
		s.log.Warn("observed tokens cannot be read", "error", err)
	}
	return out
}
