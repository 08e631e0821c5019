package events

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
)

// sextets gives each character of base64url its six bits where the first to
// fourth of a group has them in a big-endian word whose lowest byte stays free.
// All other characters give badSextet.
var sextets = func() (tables [4][256]uint32) {
	for at := range tables {
		for c := range tables[at] {
			tables[at][c] = badSextet
		}
		for bits := range uint32(64) {
			c := base64.RawURLEncoding.EncodeToString([]byte{byte(bits << 2)})[0]
			tables[at][c] = bits << (26 - 6*at)
		}
	}
	return tables
}()

const badSextet = 1

// pairs gives the two characters of twelve bits, the first in the low byte.
var pairs = func() (table [1 << 12]uint16) {
	for bits := range table {
		text := base64.RawURLEncoding.EncodeToString([]byte{byte(bits >> 4), byte(bits << 4)})
		table[bits] = binary.LittleEndian.Uint16([]byte(text))
	}
	return table
}()

var errBase64 = errors.New("not base64url")

// appendEncoded appends src in base64url without padding.
func appendEncoded(dst, src []byte) []byte {
	n := base64.RawURLEncoding.EncodedLen(len(src))
	dst = slices.Grow(dst, n)[:len(dst)+n]
	text := dst[len(dst)-n:]
	for len(src) >= 6 && len(text) >= 8 {
		a, b := binary.BigEndian.Uint32(src), uint32(binary.BigEndian.Uint16(src[4:]))
		low := uint32(pairs[a>>20]) | uint32(pairs[a>>8&0xfff])<<16
		high := uint32(pairs[(a<<4|b>>12)&0xfff]) | uint32(pairs[b&0xfff])<<16
		binary.LittleEndian.PutUint64(text, uint64(high)<<32|uint64(low))
		src, text = src[6:], text[8:]
	}
	base64.RawURLEncoding.Encode(text, src)
	return dst
}

// appendDecoded appends what src encodes in strict base64url without padding:
// one text for each list of bytes. encoding/base64 skips CR and LF even when
// strict, and takes twice as long.
func appendDecoded[T ~string | ~[]byte](dst []byte, src T) ([]byte, error) {
	n := base64.RawURLEncoding.DecodedLen(len(src))
	dst = slices.Grow(dst, n)[:len(dst)+n]
	if !decodeInto(dst[len(dst)-n:], src) {
		return nil, errBase64
	}
	return dst, nil
}

// decodeInto is appendDecoded into the whole of dst; false if src encodes fewer
// or more bytes.
func decodeInto[T ~string | ~[]byte](dst []byte, src T) bool {
	if len(src)%4 == 1 || base64.RawURLEncoding.DecodedLen(len(src)) != len(dst) {
		return false
	}
	// Each group writes the free byte too, which the next one overwrites.
	for len(dst) >= 4 && len(src) >= 4 {
		group := sextets[0][src[0]] | sextets[1][src[1]] | sextets[2][src[2]] | sextets[3][src[3]]
		if group&badSextet != 0 {
			return false
		}
		binary.BigEndian.PutUint32(dst, group)
		dst, src = dst[3:], src[4:]
	}
	var group uint32
	for i := range len(src) {
		group |= sextets[i][src[i]]
	}
	var last [4]byte
	binary.BigEndian.PutUint32(last[:], group)
	copy(dst, last[:])
	// What is left of the group is its spare bits, which must be zero, and the
	// free byte, where a bad character shows.
	return group<<(8*len(dst)) == 0
}
