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

// Probes is how many tags Check reads to find that an identity is not listed.
func (s *Set) Probes(id events.Identity) (n int) {
	table := s.index.identities.slots.Load()
	if table == nil {
		return 0
	}
	for i := table.home(s.index.hash((*[32]byte)(&id)).tag); ; i = (i + 1) % len(table.tags) {
		if n++; table.tags[i].Load() == tagFree {
			return n
		}
	}
}
