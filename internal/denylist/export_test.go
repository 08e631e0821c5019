package denylist

import "github.com/rescind/rescind/events"

// BreakFile makes every further write of the open file fail, as a disk does
// that is going away.
func (s *Set) BreakFile() { _ = s.store.file.Close() }

// OnWrite has fn called while a transaction is open.
func (s *Set) OnWrite(fn func()) { s.onWrite = fn }

// Abandon leaves the file as the end of the process would.
func (s *Set) Abandon() { s.store.drop() }

// DecodeRecord and EncodeRecord are the codec, for its fuzz test.
func DecodeRecord(b []byte) (Record, error) {
	var r Record
	err := decodeRecord(b, &r)
	return r, err
}

func EncodeRecord(r *Record) []byte { return appendRecord(nil, r) }

func DecodeState(b []byte) ([]byte, error) {
	s, err := decodeState(b)
	if err != nil || s.format != format {
		return nil, err
	}
	return s.encode(), nil
}

// Probes is how many groups of tags Check reads to find that an identity is not
// listed.
func (s *Set) Probes(id events.Identity) (n int) {
	all := s.index.identities.once.segments.Load()
	if all == nil {
		return 0
	}
	k := s.index.hash((*[32]byte)(&id))
	slots := all.each[k.segment()].Load()
	if slots == nil {
		return 0
	}
	for g := slots.home(k.tag()) / groupSlots * groupWords; ; g = (g + groupWords) % len(slots.pairs) {
		n++
		for i := 2 * g; i < 2*g+groupSlots; i++ {
			if slots.tag(i) == tagFree {
				return n
			}
		}
	}
}

// WithIdentities gives a state that says how many identities the set has.
func WithIdentities(state []byte, n uint64) ([]byte, error) {
	s, err := decodeState(state)
	if err != nil {
		return nil, err
	}
	s.identities = n
	return s.encode(), nil
}
