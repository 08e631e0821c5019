package guard

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/subscriber"
)

// Watched is an agent that tells of revocations as they come into force. A
// *subscriber.Agent is one.
type Watched interface {
	Agent
	Watch() *subscriber.Watch
}

var _ Watched = (*subscriber.Agent)(nil)

// Live ends what is open for a token when the token is revoked: websockets, streams
// of server-sent events, gRPC streams, long polls. A guard looks at a request when it
// begins; these go on for hours.
//
// It is safe for concurrent use. A service has one for all that it holds open.
type Live struct {
	agent Watched
	watch *subscriber.Watch
	done  chan struct{}

	mu    sync.Mutex
	open  map[*opened]struct{}
	ended bool // nothing can be held open any more
}

// opened is what is open for a token.
type opened struct {
	token *events.Token
	end   context.CancelCauseFunc
}

// NewLive starts to watch. The caller must Close.
func NewLive(agent Watched) *Live {
	l := &Live{agent: agent, watch: agent.Watch(), done: make(chan struct{}), open: map[*opened]struct{}{}}
	go l.run()
	return l
}

// Close ends the contexts of all that is open, with the cause subscriber.ErrClosed.
// Closing again is fine.
func (l *Live) Close() {
	l.watch.Close()
	<-l.done
}

// Open gives a context that ends with ctx, when the token is revoked (then
// context.Cause is subscriber.ErrRevoked), and when the agent or l is closed
// (subscriber.ErrClosed). A token that was revoked since it was checked has a context
// that has ended. The caller must call the function when the connection ends by
// itself. A nil token, of an anonymous request, is never revoked.
//
// What the agent does not hear of, since the network is gone, ends nothing: a route
// with MaxStaleness refuses new requests then, and its open connections are the
// service's to end.
func (l *Live) Open(ctx context.Context, t *events.Token) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	o := &opened{t, end}
	l.mu.Lock()
	ended := l.ended
	if !ended {
		l.open[o] = struct{}{}
	}
	l.mu.Unlock()
	switch {
	case ended:
		end(subscriber.ErrClosed)
	case t != nil:
		// Whatever comes into force from here on is seen by run.
		l.check(o)
	}
	return ctx, func() {
		l.forget(o)
		end(nil)
	}
}

// Handler has the context of each request end when its token is revoked: a handler
// that ends with its context needs nothing else. It goes behind Middleware, which
// finds the token:
//
//	h = guard.Middleware(agent, verify)(live.Handler(h))
func (l *Live) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := l.Open(r.Context(), Token(r.Context()))
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (l *Live) forget(o *opened) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, o)
}

// check ends what is open for a token that is revoked.
func (l *Live) check(o *opened) {
	if err := l.agent.CheckWithin(o.token, 0); errors.Is(err, subscriber.ErrRevoked) {
		o.end(err)
		l.forget(o)
	}
}

func (l *Live) run() {
	defer close(l.done)
	for r := range l.watch.C {
		hits := func(t *events.Token) bool { return events.Match(r, t) }
		if l.watch.Dropped() { // more than could be kept for us
			hits = func(*events.Token) bool { return true }
		}
		for _, o := range l.hit(hits) {
			l.check(o)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for o := range l.open {
		o.end(subscriber.ErrClosed)
	}
	clear(l.open)
}

// hit are those that are open for a token that may be revoked.
func (l *Live) hit(hits func(*events.Token) bool) (out []*opened) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for o := range l.open {
		if o.token != nil && hits(o.token) {
			out = append(out, o)
		}
	}
	return out
}
