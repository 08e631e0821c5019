package ledger

import (
	"bytes"
	"encoding/binary"

	"github.com/rescind/rescind/events"
	bolt "go.etcd.io/bbolt"
)

// Signed messages are stored in pieces of which two fit into a page. bbolt keeps two
// to four values together however large they are, and writes all of them again for
// each that is added: with the 60 KB of a list whole, an order wrote 200 KB.
const (
	pieceBytes = 2000
	// pieceFill is for keys that come in order, as event ids do.
	pieceFill = 0.95
)

// pieceKey gives the key of the n-th piece; the first has the id alone.
func pieceKey(id events.EventID, n int) []byte {
	if n == 0 {
		return id[:]
	}
	return binary.BigEndian.AppendUint16(id[:], uint16(n))
}

// putPieces stores v under id in place of what is there.
func putPieces(b *bolt.Bucket, id events.EventID, v []byte) error {
	b.FillPercent = pieceFill
	n := 0
	for ; n == 0 || len(v) > 0; n++ {
		piece := v[:min(len(v), pieceBytes)]
		if err := b.Put(pieceKey(id, n), piece); err != nil {
			return err
		}
		v = v[len(piece):]
	}
	return deletePieces(b, id, n)
}

// getPieces gives what is stored under id, nil when nothing is. It is valid for as
// long as the transaction.
func getPieces(b *bolt.Bucket, id events.EventID) []byte {
	c := b.Cursor()
	k, v := c.Seek(id[:])
	if !bytes.Equal(k, id[:]) {
		return nil
	}
	if len(v) < pieceBytes {
		return v
	}
	// What lacks a piece, its checksum shows.
	v = bytes.Clone(v)
	for k, piece := c.Next(); bytes.HasPrefix(k, id[:]); k, piece = c.Next() {
		v = append(v, piece...)
	}
	return v
}

// deletePieces removes what is stored under id, from the n-th piece on.
func deletePieces(b *bolt.Bucket, id events.EventID, n int) error {
	for ; ; n++ {
		key := pieceKey(id, n)
		if k, _ := b.Cursor().Seek(key); !bytes.Equal(k, key) {
			return nil
		}
		if err := b.Delete(key); err != nil {
			return err
		}
	}
}
