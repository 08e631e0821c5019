package transmit

import (
	"context"
	"errors"
	"time"

	"github.com/rescind/rescind/internal/bus"
)

// The bounds of a poll.
const (
	defaultEvents = 100
	maxEvents     = pollPending
	// pollFor is how long a receiver waits for an event when there is none.
	pollFor = 30 * time.Second
)

// PollRequest is what a receiver says when it polls (RFC 8936 section 2.2).
type PollRequest struct {
	// Ack are the events that it has, Errors those that it could not read.
	Ack    []string
	Errors map[string]Refusal
	// MaxEvents is how many it wants at most; 0 means none, below 0 that it does not
	// say.
	MaxEvents int
	// AtOnce tells that it does not wait.
	AtOnce bool
}

// Refusal is why a receiver could not take an event.
type Refusal struct{ Code, Description string }

// PollAnswer are the events by their jti, and whether there are more.
type PollAnswer struct {
	Sets map[string]string
	More bool
}

// Poll acknowledges events of a stream that Stream has found, and gives the next ones.
// What is not acknowledged is given again after AckWait, to this or another publisher.
// When there is nothing it waits for up to 30 s, unless told otherwise. The error is
// ErrUnavailable, or the context's.
func (t *Transmitter) Poll(ctx context.Context, s *Stream, q PollRequest) (*PollAnswer, error) {
	if err := t.settle(s, q); err != nil {
		return nil, err
	}
	a := &PollAnswer{Sets: map[string]string{}}
	if q.MaxEvents == 0 {
		return a, nil
	}
	if q.MaxEvents < 0 {
		q.MaxEvents = defaultEvents
	}
	waiting, cancel := context.WithTimeout(ctx, pollFor)
	defer cancel()
	if s.Status != Enabled {
		if !q.AtOnce {
			<-waiting.Done()
		}
		return a, ctx.Err()
	}
	for len(a.Sets) == 0 {
		msgs, err := fetch(waiting, s.feed, min(q.MaxEvents, maxEvents), q.AtOnce)
		if waiting.Err() != nil && ctx.Err() == nil || q.AtOnce && err == nil && len(msgs) == 0 {
			return a, nil
		}
		if err != nil {
			return nil, errors.Join(ctx.Err(), unavailable(err))
		}
		t.give(s, msgs, a)
	}
	n, err := s.feed.Pending(ctx)
	a.More = err == nil && n > 0 // it is optional, and false when it is not known
	return a, nil
}

func fetch(ctx context.Context, f *bus.Feed, max int, atOnce bool) ([]*bus.FeedMessage, error) {
	if atOnce {
		return f.FetchNow(max)
	}
	return f.Fetch(ctx, max)
}

// give puts into the answer what of msgs is for the receiver, and does away with the
// rest.
func (t *Transmitter) give(s *Stream, msgs []*bus.FeedMessage, a *PollAnswer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.polled[s.ID] == nil {
		t.polled[s.ID] = map[string]*bus.FeedMessage{}
	}
	for _, m := range msgs {
		if out := t.outgoing(s, m); out != nil {
			a.Sets[out.jti] = out.raw
			t.polled[s.ID][out.jti] = m
		}
	}
}

// outgoing is what a message is to the receiver. What is nothing to it is done with.
func (t *Transmitter) outgoing(s *Stream, m *bus.FeedMessage) *outgoing {
	var out *outgoing
	var err error
	if m.Own {
		out = t.own(s, string(m.Data))
	} else if out, err = t.translate(s, m.Data); err != nil {
		t.log.Warn("an event is not passed on", "stream", s.ID, "seq", m.Seq, "err", err)
	}
	if out == nil {
		t.acknowledge(s, m)
	}
	return out
}

func (t *Transmitter) acknowledge(s *Stream, m *bus.FeedMessage) {
	if err := m.Ack(); err != nil {
		t.log.Warn("an acknowledgement was not sent: the event comes again", "stream", s.ID, "seq", m.Seq, "err", err)
	}
}

// settle takes the receiver's word on events that it was given. One that it could not
// read is done with too (RFC 8936 section 2.6). Those that are not known here were
// given by another publisher, or are acknowledged already.
func (t *Transmitter) settle(s *Stream, q PollRequest) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.polled[s.ID]
	for _, jti := range q.Ack {
		if m := known[jti]; m != nil {
			if err := m.Ack(); err != nil {
				return unavailable(err)
			}
			delete(known, jti)
			t.sent.WithLabelValues("poll", "delivered").Inc()
		}
	}
	for jti, why := range q.Errors {
		if m := known[jti]; m != nil {
			if err := m.Ack(); err != nil {
				return unavailable(err)
			}
			delete(known, jti)
			t.sent.WithLabelValues("poll", "refused").Inc()
			t.log.Warn("a receiver refuses an event", "stream", s.ID, "owner", s.Owner, "jti", jti, "code", why.Code, "description", why.Description)
		}
	}
	return nil
}
