package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strconv"

	bolt "go.etcd.io/bbolt"

	"github.com/rescind/rescind/events"
)

var bucketIdentities, bucketUsers = []byte("identities"), []byte("users")

// boltDB keeps the identities and the users' cutoffs as keys of a bbolt file.
func boltDB(path string, s stock) (contestant, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		return contestant{}, err
	}
	if err := fillBolt(db, s); err != nil {
		return contestant{}, errors.Join(err, db.Close())
	}
	check := func(q *query) (revoked bool) {
		_ = db.View(func(tx *bolt.Tx) error {
			if revoked = tx.Bucket(bucketIdentities).Get(q.tok.Identity[:]) != nil; revoked {
				return nil
			}
			if v := tx.Bucket(bucketUsers).Get([]byte(q.sub)); v != nil {
				notBefore, err := strconv.ParseInt(string(v), 10, 64)
				revoked = err == nil && q.tok.IssuedAt <= notBefore
			}
			return nil
		})
		return revoked
	}
	c := judge("bbolt", check)
	c.slow, c.close = true, db.Close
	return c, nil
}

// fillBolt writes the keys in their order, which is bbolt's fastest.
func fillBolt(db *bolt.DB, s stock) error {
	ids := make([]events.Identity, s.identities)
	for i := range ids {
		ids[i] = identity(i)
	}
	slices.SortFunc(ids, func(a, b events.Identity) int { return bytes.Compare(a[:], b[:]) })
	const perTx = 200_000
	put := func(bucket []byte, n int, key func(i int) []byte, value []byte) error {
		for first := 0; first < n || first == 0; first += perTx {
			err := db.Update(func(tx *bolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists(bucket)
				if err != nil {
					return err
				}
				b.FillPercent = 0.9
				for i := first; i < min(first+perTx, n); i++ {
					if err := b.Put(key(i), value); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	return errors.Join(
		put(bucketIdentities, len(ids), func(i int) []byte { return ids[i][:] }, nil),
		put(bucketUsers, s.users, func(i int) []byte { return []byte(user(i)) }, strconv.AppendInt(nil, cutoff, 10)))
}

func boltPath(dir string, s stock) string {
	return filepath.Join(dir, "bolt-"+strconv.Itoa(s.identities)+".db")
}
