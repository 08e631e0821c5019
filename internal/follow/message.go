package follow

import (
	"crypto/sha256"
	"time"

	"github.com/rescind/rescind/events"
)

// Cursor is a position in one life of a stream.
type Cursor struct {
	// Epoch is the stream's; "" until a watermark named it.
	Epoch string
	// Seq is the last sequence of the contiguous prefix, 0 for none.
	Seq uint64
	// Hash is that of the raw event at Seq; zero when the position was not
	// reached by reading an event.
	Hash [sha256.Size]byte
}

func (c Cursor) anchored() bool { return c.Hash != [sha256.Size]byte{} }

// Message is one message of a stream, decoded.
type Message struct {
	Seq  uint64
	Raw  []byte
	Hash [sha256.Size]byte
	// Event and KeyID are set when Err is nil.
	Event *events.Revocation
	KeyID string
	// Err is what KeySet.Open said.
	Err error
}

// Decode verifies a raw message. It may take some ten microseconds and may run
// in any goroutine.
func Decode(keys *events.KeySet, fleet events.Fleet, seq uint64, raw []byte) Message {
	m := Message{Seq: seq, Raw: raw, Hash: sha256.Sum256(raw)}
	m.Event, m.KeyID, m.Err = keys.Open(fleet, raw)
	return m
}

// Heard gives a message of the live subject of s as Live may take it at now: one
// that no publisher would send there at that time loses its sequence. The events
// of the other stream and those that have expired are genuine, and not known, for
// anyone who kept one: with a sequence of their own choice they would move the
// position over an event that never came.
func (m Message) Heard(s events.Stream, now time.Time) Message {
	if m.Err == nil && (m.Event.Target.Kind.Stream() != s || m.Event.Expires <= now.Unix()) {
		m.Seq = 0
	}
	return m
}

// Batch is the outcome of a Fetch: the messages of the stream from the fetch's
// sequence on, without holes other than those the stream itself has.
type Batch struct {
	Messages []Message
	// Complete tells that the stream had nothing behind them at that time.
	Complete bool
	// Keys is what the messages were opened with. A Stream does not look at it.
	Keys *events.KeySet
}

// Fetch asks for the stream's messages from From on.
type Fetch struct {
	From uint64
	// Anew says that only a read that begins after now will do. Without it, one
	// that began when the read before it had ended will do too.
	Anew bool
}
