package denylist

import (
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/rescind/rescind/events"
)

// format is the version of everything that is kept in a file.
const format = 2

// stateMagic begins the state, so that it can be found in a damaged file.
const stateMagic = "rescind denylist state\x00"

// Cursor is a position in a stream: everything up to Seq of Epoch is in the
// set. Hash is that of the raw event at Seq, zero when there is none.
type Cursor struct {
	Epoch string
	Seq   uint64
	Hash  [32]byte
}

// state is the one record that says what the file is and what must be in it.
// It is written in each transaction, so it is true of what the file holds
// whichever transaction a crash leaves.
type state struct {
	format   uint64
	fleet    events.Fleet
	identity string
	// created is when the file was made, in Unix seconds.
	created int64
	synced  bool
	// refused is how many unreadable events did not fit.
	refused uint64
	// identities is about how many stand: what is taken on loading is as large.
	identities uint64
	cursors    map[events.Stream]Cursor
	// records, parked and observed account for the file's content.
	records, parked, observed account
}

func (s *state) encode() []byte {
	b := []byte(stateMagic)
	b = binary.AppendUvarint(b, s.format)
	b = appendString(b, s.fleet)
	b = appendString(b, s.identity)
	b = binary.AppendVarint(b, s.created)
	b = append(b, flag(s.synced))
	b = binary.AppendUvarint(b, s.refused)
	b = binary.AppendUvarint(b, s.identities)
	b = binary.AppendUvarint(b, uint64(len(s.cursors)))
	for _, stream := range slices.Sorted(maps.Keys(s.cursors)) {
		c := s.cursors[stream]
		b = append(b, streamCode(stream))
		b = appendString(b, c.Epoch)
		b = binary.AppendUvarint(b, c.Seq)
		b = append(b, c.Hash[:]...)
	}
	for _, a := range []account{s.records, s.parked, s.observed} {
		b = binary.BigEndian.AppendUint64(b, a.count)
		b = binary.BigEndian.AppendUint64(b, a.sum[0])
		b = binary.BigEndian.AppendUint64(b, a.sum[1])
	}
	return seal(nil, b)
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func decodeState(sealed []byte) (*state, error) {
	b, err := unseal(nil, sealed)
	if err != nil {
		return nil, err
	}
	d := decoder{b: b}
	if string(d.bytes(len(stateMagic))) != stateMagic {
		return nil, errEncoding
	}
	s := &state{format: d.uvarint(), cursors: map[events.Stream]Cursor{}}
	if s.format != format {
		// The rest may mean anything.
		return s, nil
	}
	s.fleet, s.identity = events.Fleet(d.string()), d.string()
	s.created, s.synced, s.refused, s.identities = d.varint(), d.byte() != 0, d.uvarint(), d.uvarint()
	for range d.count(1) {
		stream, err := streamOf(d.byte())
		if err != nil {
			return nil, err
		}
		c := Cursor{Epoch: d.string(), Seq: d.uvarint()}
		copy(c.Hash[:], d.bytes(len(c.Hash)))
		s.cursors[stream] = c
	}
	for _, a := range []*account{&s.records, &s.parked, &s.observed} {
		*a = account{d.uint64(), [2]uint64{d.uint64(), d.uint64()}}
	}
	return s, d.end()
}

// salvage looks for the fleet's identity in the bytes of a damaged file. ""
// means that no intact state was found.
func salvage(path string, fleet events.Fleet) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const window, longest = 1 << 20, 4096
	b := make([]byte, window)
	for off := int64(0); ; off += window - longest {
		n, err := f.ReadAt(b, off)
		if id := salvageFrom(b[:n], fleet, longest); id != "" {
			return id
		}
		if err == io.EOF || err != nil {
			return ""
		}
	}
}

func salvageFrom(b []byte, fleet events.Fleet, longest int) string {
	for {
		i := bytes.Index(b, []byte(stateMagic))
		if i < 0 {
			return ""
		}
		b = b[i:]
		for n := len(stateMagic); n <= min(longest, len(b)); n++ {
			if s, err := decodeState(b[:n]); err == nil && s.fleet == fleet {
				return s.identity
			}
		}
		b = b[len(stateMagic):]
	}
}
