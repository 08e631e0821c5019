package ledger

import (
	"bytes"
	"encoding/binary"

	"github.com/rescind/rescind/events"
	bolt "go.etcd.io/bbolt"
)

// Signed messages are stored in pieces of which two fit into a page. bbolt keeps two
// to four values together however large they are, and writes all of them again for
// each that is added: with the 60 KB of a list whole, an order wrote 280 KB.
//
// The first piece begins with a head, what was known of the message when it was
// stored, which is read without the rest.
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

// putPieces stores a head of less than a piece, and v, under id in place of what is
// there.
func putPieces(b *bolt.Bucket, id events.EventID, head, v []byte) error {
	b.FillPercent = pieceFill
	first := min(len(v), pieceBytes-headLen-len(head))
	piece := binary.BigEndian.AppendUint16(make([]byte, 0, headLen+len(head)+first), uint16(len(head)))
	piece = append(append(piece, head...), v[:first]...)
	n := 0
	for v = v[first:]; ; n++ {
		if err := b.Put(pieceKey(id, n), piece); err != nil {
			return err
		}
		if len(v) == 0 {
			return deletePieces(b, id, n+1)
		}
		piece = v[:min(len(v), pieceBytes)]
		v = v[len(piece):]
	}
}

// headLen is how many bytes say how long the head is.
const headLen = 2

// pieces is what is stored under an id. It is valid for as long as the transaction.
type pieces struct {
	id     events.EventID
	cursor *bolt.Cursor
	first  []byte
}

// getPieces finds what is stored under id. Where nothing is, or the first piece is
// damaged, there is no head and nothing behind it.
func getPieces(b *bolt.Bucket, id events.EventID) pieces {
	p := pieces{id: id, cursor: b.Cursor()}
	if k, v := p.cursor.Seek(id[:]); bytes.Equal(k, id[:]) {
		p.first = v
	}
	return p
}

func (p pieces) headEnd() int {
	if len(p.first) < headLen {
		return 0
	}
	return min(headLen+int(binary.BigEndian.Uint16(p.first)), len(p.first))
}

// head is the head, nil when there is nothing.
func (p pieces) head() []byte {
	if p.headEnd() == 0 {
		return nil
	}
	return p.first[headLen:p.headEnd()]
}

// behindHead puts the pieces together, nil when there are none. That one is missing,
// the checksum of the whole shows.
func (p pieces) behindHead() []byte {
	if p.headEnd() == 0 {
		return nil
	}
	v := p.first[p.headEnd():]
	k, piece := p.cursor.Next()
	if !bytes.HasPrefix(k, p.id[:]) {
		return v
	}
	v = append(make([]byte, 0, 64<<10), v...)
	for ; bytes.HasPrefix(k, p.id[:]); k, piece = p.cursor.Next() {
		v = append(v, piece...)
	}
	return v
}

// holdsBehindHead tells whether v is what stands behind the head.
func (p pieces) holdsBehindHead(v []byte) bool {
	if p.headEnd() == 0 {
		return false
	}
	for piece, k := p.first[p.headEnd():], p.id[:]; bytes.HasPrefix(k, p.id[:]); k, piece = p.cursor.Next() {
		if !bytes.HasPrefix(v, piece) {
			return false
		}
		v = v[len(piece):]
	}
	return len(v) == 0
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
