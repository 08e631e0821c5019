package bus

import (
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
)

// How much may wait for a live handler before the client drops messages.
const (
	livePendingMsgs  = 1 << 18
	livePendingBytes = 256 << 20
)

// Subscription is a running Live.
type Subscription struct {
	sub  *nats.Subscription
	stop sync.Once
	done chan struct{}
}

// Live calls handler with each message that the server republishes on the
// fleet's live subjects, one at a time, in the order in which they arrive. It may
// miss messages: while disconnected, when the server is under pressure, or when
// the handler falls behind by 262,144 messages or 256 MiB; only then onDrop, if
// not nil, is called before the next message, so that the owner reads again.
//
// Anyone who may publish there can send anything. Seq is 0 unless the message
// names its subject's stream and one sequence in the server's form.
//
// A Read that begins after Live returned sees every message that Live missed.
func (b *Bus) Live(handler func(Message), onDrop func()) (*Subscription, error) {
	s := &Subscription{done: make(chan struct{})}
	l := &liveHandler{b.fleet, handler, onDrop, 0}
	sub, err := b.nc.Subscribe(b.fleet.LiveSubject("*"), l.handle)
	if err != nil {
		return nil, fmt.Errorf("subscribing to live events: %w: %w", ErrUnavailable, err)
	}
	sub.SetClosedHandler(func(string) { close(s.done) })
	if !sub.IsValid() {
		// It ended before the handler was set, so nothing would close done.
		return nil, fmt.Errorf("subscribing to live events: %w: connection closed", ErrUnavailable)
	}
	if err := sub.SetPendingLimits(livePendingMsgs, livePendingBytes); err != nil {
		_ = sub.Unsubscribe()
		return nil, fmt.Errorf("subscribing to live events: %w", err)
	}
	s.sub = sub
	return s, nil
}

// Close ends the subscription and waits until the handler is not running and will
// not be called again. It must not be called from the handler. Closing again, or
// after the connection was closed, is fine.
func (s *Subscription) Close() {
	// An error means that the subscription has ended already.
	s.stop.Do(func() { _ = s.sub.Unsubscribe() })
	<-s.done
}

type liveHandler struct {
	fleet   events.Fleet
	handler func(Message)
	onDrop  func()
	dropped int
}

func (l *liveHandler) handle(m *nats.Msg) {
	// A drop means that messages were waiting, so it is noticed at one of them.
	if n, err := m.Sub.Dropped(); err == nil && n != l.dropped {
		l.dropped = n
		if l.onDrop != nil {
			l.onDrop()
		}
	}
	if s, ok := l.fleet.LiveStream(m.Subject); ok {
		l.handler(parseLive(l.fleet.StreamName(s), s, m))
	}
}

// parseLive reads the headers of a republished message. Two values of one header
// are a sender's and the server's; as anyone can send on a live subject, neither
// is believed.
func parseLive(name string, s events.Stream, m *nats.Msg) Message {
	msg := Message{Stream: s, Data: m.Data}
	h := m.Header
	if len(h[headerStream]) != 1 || len(h[headerSequence]) != 1 || len(h[headerTime]) != 1 ||
		h[headerStream][0] != name {
		return msg
	}
	seq, okSeq := parseUint(h[headerSequence][0])
	at, okTime := parseTime(h[headerTime][0])
	if okSeq && okTime {
		msg.Seq, msg.Time = seq, at
	}
	return msg
}
