package bus

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
)

// Message is one message of a stream. Data is the caller's own.
type Message struct {
	Stream events.Stream
	// Seq is the stream's sequence; 0 from Live when the message does not say it
	// properly.
	Seq  uint64
	Data []byte
	// Time is when the stream stored it; zero when the message does not say it
	// properly.
	Time time.Time
}

// Batch is what one Read gave, in stream order.
type Batch struct {
	Messages []Message
	// Complete says that nothing followed at the server that answered.
	Complete bool
	// Broken says that replies were lost or unreadable. Messages is what came
	// before: read on from there.
	Broken bool
	// Pending is how many messages the server had after these.
	Pending uint64
}

// The server's headers on a Direct Get reply (ADR-31). nats-server 2.15.2
// answers a batch with one reply a message, each with all of these, and ends it
// with an empty reply of status "204 EOB" that has Num-Pending and
// Last-Sequence. Last-Sequence is the previous reply's sequence, 0 on the first.
// When there is nothing at or after the first sequence the only reply is "404
// Message Not Found", also beyond the end. At least one message comes, however
// small max_bytes is.
const (
	headerStatus   = "Status"
	headerStream   = "Nats-Stream"
	headerSequence = "Nats-Sequence"
	headerTime     = "Nats-Time-Stamp"
	headerPending  = "Nats-Num-Pending"
	headerLast     = "Nats-Last-Sequence"

	statusEOB         = "204"
	statusNotFound    = "404"
	statusUnavailable = "503"
)

type replyKind int

const (
	replyUnreadable replyKind = iota
	replyMessage
	replyEnd
	replyNothing
	replyError
)

// reply is one answer to a batch request.
type reply struct {
	kind    replyKind
	status  string
	message Message
	last    uint64
	pending uint64
}

// parseReply reads a reply of the named stream. The server appends its headers to
// those stored with the message, so the last value of each is the server's; but a
// stored blank line hides them, which is why chain does not rely on them alone.
func parseReply(name string, s events.Stream, m *nats.Msg) reply {
	r := reply{message: Message{Stream: s, Data: m.Data}}
	if len(m.Header[headerSequence]) == 0 {
		return parseStatus(r, m)
	}
	var ok [4]bool
	r.message.Seq, ok[0] = parseUint(lastValue(m.Header, headerSequence))
	r.last, ok[1] = parseUint(lastValue(m.Header, headerLast))
	r.pending, ok[2] = parseUint(lastValue(m.Header, headerPending))
	r.message.Time, ok[3] = parseTime(lastValue(m.Header, headerTime))
	if ok == [4]bool{true, true, true, true} && lastValue(m.Header, headerStream) == name {
		r.kind = replyMessage
	}
	return r
}

func parseStatus(r reply, m *nats.Msg) reply {
	r.status = lastValue(m.Header, headerStatus)
	var okLast, okPending bool
	r.last, okLast = parseUint(lastValue(m.Header, headerLast))
	r.pending, okPending = parseUint(lastValue(m.Header, headerPending))
	switch {
	case r.status == "":
	case r.status == statusEOB && okLast && okPending:
		r.kind = replyEnd
	case r.status == statusEOB:
	case r.status == statusNotFound:
		r.kind = replyNothing
	default:
		r.kind = replyError
	}
	return r
}

func lastValue(h nats.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

func parseUint(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	// One spelling a number: no sign, no leading zeros.
	return n, err == nil && strconv.FormatUint(n, 10) == s
}

func parseTime(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, s)
	return t, err == nil
}

// chain puts the replies to one batch request together. A message counts once the
// next reply has named its sequence as the previous one: so a lost reply is told
// from a message that the stream no longer has, and headers forged by a sender
// end the batch instead of moving the reader.
type chain struct {
	from uint64
	// single is set when one message was asked for. No reply can be missing
	// between it and the end, so the end's word is taken for its sequence,
	// whatever its own headers say: a message with bad headers can be read past.
	single bool
	held   *Message
	batch  Batch
	// each is called with what the batch takes, if it is not nil.
	each func(Message)
}

// add takes the next reply and tells whether it was the last.
func (c *chain) add(r reply) (done bool, err error) {
	switch {
	case r.kind == replyError && c.held == nil:
		if r.status == statusUnavailable {
			return true, fmt.Errorf("%w: no server answers for the stream, or it does not allow_direct", ErrUnavailable)
		}
		return true, fmt.Errorf("%w: status %s", ErrRefused, r.status)
	case r.kind == replyNothing && c.held == nil:
		c.batch.Complete = true
		return true, nil
	case r.kind == replyMessage:
		return c.addMessage(r), nil
	case r.kind == replyEnd && c.held != nil:
		return c.addEnd(r), nil
	case c.single && c.held == nil:
		c.held = &r.message
		return false, nil
	default:
		return c.broken(), nil
	}
}

func (c *chain) addMessage(r reply) (done bool) {
	if c.held == nil {
		if !c.single && (r.last != 0 || r.message.Seq < c.from) {
			return c.broken()
		}
	} else if !c.confirm(r.last) || r.message.Seq <= r.last {
		return c.broken()
	}
	c.held, c.batch.Pending = &r.message, r.pending
	return false
}

func (c *chain) addEnd(r reply) (done bool) {
	if c.single && r.last >= c.from && r.last != c.held.Seq {
		c.held.Seq, c.held.Time = r.last, time.Time{}
	}
	if !c.confirm(r.last) {
		return c.broken()
	}
	c.batch.Pending, c.batch.Complete = r.pending, r.pending == 0
	return true
}

// confirm moves the held message to the batch if the server says that it was the
// previous one.
func (c *chain) confirm(last uint64) bool {
	if last != c.held.Seq {
		return false
	}
	c.batch.Messages = append(c.batch.Messages, *c.held)
	if c.each != nil {
		c.each(*c.held)
	}
	c.held = nil
	return true
}

func (c *chain) broken() (done bool) {
	c.held, c.batch.Broken = nil, true
	return true
}
