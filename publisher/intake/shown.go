package intake

import (
	"crypto/sha256"
	"encoding/binary"

	lru "github.com/hashicorp/golang-lru/v2"
)

// maxShown is how many statements are remembered. Only those that were verified
// are, so nobody fills it but those whom we trust.
const maxShown = 1 << 16

// shown remembers the statements that may be shown once. They are short-lived, and
// what has expired is refused for that. It is safe for concurrent use.
type shown struct {
	seen *lru.Cache[[sha256.Size]byte, struct{}]
}

func newShown() *shown {
	seen, err := lru.New[[sha256.Size]byte, struct{}](maxShown)
	if err != nil {
		panic("intake: " + err.Error()) // only for a size below one
	}
	return &shown{seen}
}

// first tells whether the statement of that name is shown for the first time.
func (s *shown) first(name ...string) bool {
	before, _ := s.seen.ContainsOrAdd(shownKey(name), struct{}{})
	return !before
}

// drop forgets the statement of that name, and tells whether it was remembered.
func (s *shown) drop(name ...string) bool { return s.seen.Remove(shownKey(name)) }

// shownKey is of one length however long the name is, and has no two names alike.
func shownKey(name []string) [sha256.Size]byte {
	var text []byte
	for _, part := range name {
		text = binary.BigEndian.AppendUint32(text, uint32(len(part)))
		text = append(text, part...)
	}
	return sha256.Sum256(text)
}
