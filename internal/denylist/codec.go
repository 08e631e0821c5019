package denylist

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"

	"github.com/rescind/rescind/events"
)

// The numbers under which streams and kinds are kept. They are part of the
// format: never change one.
var (
	streamCodes = []events.Stream{1: events.Control, 2: events.Tokens, 3: events.Audit}
	kindCodes   = []events.Kind{1: events.KindToken, 2: events.KindTokens, 3: events.KindSession,
		4: events.KindUser, 5: events.KindClient, 6: events.KindClaim, 7: events.KindRealm,
		8: events.KindAll, 9: events.KindLift}
)

var errEncoding = errors.New("bytes that no encoder wrote")

func streamCode(s events.Stream) byte { return byte(max(slices.Index(streamCodes, s), 0)) }

func streamOf(code byte) (events.Stream, error) {
	if code == 0 || int(code) >= len(streamCodes) {
		return "", errEncoding
	}
	return streamCodes[code], nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal puts a checksum over key and value behind the value.
func seal(key, value []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
	return binary.BigEndian.AppendUint32(value, sum)
}

// unseal gives the value without its checksum, or errEncoding.
func unseal(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - 4
	if n < 0 {
		return nil, errEncoding
	}
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, sealed[:n])
	if binary.BigEndian.Uint32(sealed[n:]) != sum {
		return nil, errors.New("checksum does not match")
	}
	return sealed[:n], nil
}

func appendString[S ~string](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendRecord encodes all of a record but its id, stream and sequence, which
// are its key. It leaves room for a checksum.
func appendRecord(b []byte, r *Record) []byte {
	t := &r.Target
	size := 64 + len(r.KeyID) + len(t.Realm) + len(t.Claim) + len(t.Value) + len(t.Identities)*len(events.Identity{})
	for _, iss := range t.Issuers {
		size += 2 + len(iss)
	}
	b = slices.Grow(b, size)
	b = append(b, byte(max(slices.Index(kindCodes, t.Kind), 0)))
	b = appendString(b, r.KeyID)
	b = binary.AppendVarint(b, r.NotBefore)
	b = binary.AppendVarint(b, r.Expires)
	b = appendString(b, t.Realm)
	b = binary.AppendUvarint(b, uint64(len(t.Issuers)))
	for _, iss := range t.Issuers {
		b = appendString(b, iss)
	}
	b = appendString(b, t.Claim)
	b = appendString(b, t.Value)
	b = append(b, t.Lifted[:]...)
	b = binary.AppendUvarint(b, uint64(len(t.Identities)))
	for i := range t.Identities {
		b = append(b, t.Identities[i][:]...)
	}
	return b
}

// decodeRecord is the inverse of appendRecord. It keeps no reference to b, and
// uses the room that r has for identities.
func decodeRecord(b []byte, r *Record) error {
	d := decoder{b: b}
	t := &r.Target
	code := d.byte()
	r.KeyID = d.string()
	r.NotBefore, r.Expires = d.varint(), d.varint()
	t.Realm = d.string()
	for range d.count(1) {
		t.Issuers = append(t.Issuers, d.string())
	}
	t.Claim, t.Value = d.string(), d.string()
	copy(t.Lifted[:], d.bytes(len(t.Lifted)))
	const size = len(events.Identity{})
	if n := d.count(size); n > 0 {
		ids := d.bytes(n * size)
		t.Identities = slices.Grow(t.Identities[:0], n)
		for i := range n {
			t.Identities = append(t.Identities, events.Identity(ids[i*size:]))
		}
	}
	if code == 0 || int(code) >= len(kindCodes) {
		return errEncoding
	}
	t.Kind = kindCodes[code]
	return d.end()
}

// decoder reads what the append functions wrote. After its first failure it
// gives zeros, and end gives the error.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) bytes(n int) []byte {
	if d.bad || n < 0 || n > len(d.b) {
		d.bad = true
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte {
	if b := d.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.bytes(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.bytes(n)
	return v
}

func (d *decoder) uint64() uint64 {
	if b := d.bytes(8); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// count reads a number of things of at least size bytes each, and refuses one
// that the remaining bytes cannot hold.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if d.bad || n > uint64(len(d.b)/size) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) string() string { return string(d.bytes(d.count(1))) }

func (d *decoder) end() error {
	if d.bad || len(d.b) > 0 {
		return errEncoding
	}
	return nil
}
