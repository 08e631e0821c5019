package audit

import (
	"crypto/sha256"

	"github.com/rescind/rescind/internal/bus"
)

// cursor is how far a reader of the audit stream has got, and what it has seen.
type cursor struct {
	// pos is the sequence up to which everything was taken.
	pos uint64
	// anchor is the newest message taken, at pos or before it, and what it was: a
	// stream that has something else there is not the one that was read.
	anchor uint64
	is     digest
	// seen are all messages that were taken. A publisher publishes an event again
	// that a stream has lost, and the consumer may deliver anything again.
	seen map[digest]struct{}
}

func newCursor() cursor { return cursor{seen: map[digest]struct{}{}} }

// take notes a message as taken.
func (c *cursor) take(seq uint64, d digest) {
	c.pos, c.anchor, c.is = seq, seq, d
	c.seen[d] = struct{}{}
}

// unseen gives those of msgs that were not taken yet, each once.
func (c *cursor) unseen(msgs []message) (fresh []message) {
	within := map[digest]bool{}
	for _, m := range msgs {
		if _, ok := c.seen[m.digest]; !ok && !within[m.digest] {
			within[m.digest] = true
			fresh = append(fresh, m)
		}
	}
	return fresh
}

// message is one of the audit stream's.
type message struct {
	bus.Message
	digest digest
}

func newMessage(m bus.Message) message {
	sum := sha256.Sum256(m.Data)
	return message{m, digest(sum[:16])}
}
