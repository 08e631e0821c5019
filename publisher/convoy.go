package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
)

// convoy sends the events of many callers on. A synced stream flushes once for each
// message, so that callers in great number wait for each other's flushes; stored
// together, their events need one. While some are on their way, those that come up
// wait and go together when these have arrived. Who finds nobody on the way goes at
// once, so one caller alone is not held up.
//
// There is no goroutine of its own: one of those who wait leads, for as long as its
// own event is on the way, and hands over to the next.
type convoy struct {
	stream events.Stream

	mu      sync.Mutex
	busy    bool // somebody leads
	waiting []*parcel
}

// parcel is one event to send.
type parcel struct {
	id   events.EventID
	raw  []byte
	seq  uint64
	err  error
	done chan struct{}
	// lead is closed when it is this one's turn to lead.
	lead chan struct{}
}

// convoyMost is how many events go together at most.
const convoyMost = 256

// sendAlong sends an event in company, or alone when nobody else sends. It gives up
// waiting when ctx ends; the event may then be sent or not.
func (p *Publisher) sendAlong(ctx context.Context, id events.EventID, raw []byte) (uint64, error) {
	c := &p.convoy
	own := c.join(id, raw)
	select {
	case <-own.done:
		return own.seq, own.err
	case <-own.lead:
		p.travel()
		return own.seq, own.err
	case <-ctx.Done():
		c.leave(own)
		return 0, fmt.Errorf("%w: %w", bus.ErrUnknownOutcome, context.Cause(ctx))
	}
}

func (c *convoy) join(id events.EventID, raw []byte) *parcel {
	own := &parcel{id: id, raw: raw, done: make(chan struct{}), lead: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, own)
	if !c.busy {
		c.handOver()
	}
	return own
}

// leave takes back one that has not set out. It may have been chosen to lead.
func (c *convoy) leave(own *parcel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.waiting, own)
	if i < 0 {
		return
	}
	c.waiting = slices.Delete(c.waiting, i, i+1)
	select {
	case <-own.lead:
		c.handOver()
	default:
	}
}

// handOver lets the first of those who wait lead. The caller holds mu.
func (c *convoy) handOver() {
	if c.busy = len(c.waiting) > 0; c.busy {
		close(c.waiting[0].lead)
	}
}

// setOut takes those who wait, the leader among them.
func (c *convoy) setOut() []*parcel {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.waiting), convoyMost)
	all := slices.Clone(c.waiting[:n])
	c.waiting = slices.Delete(c.waiting, 0, n)
	return all
}

// travel sends all who wait, the leader among them, and hands over.
func (p *Publisher) travel() {
	defer func() {
		p.convoy.mu.Lock()
		defer p.convoy.mu.Unlock()
		p.convoy.handOver()
	}()
	all := p.convoy.setOut()
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.ackTimeout())
	defer cancel()
	if len(all) < togetherFrom || !p.sendAsOne(ctx, all) {
		p.sendEach(ctx, all)
	}
	for _, x := range all {
		close(x.done)
	}
}

// sendAsOne tells whether it has the outcome. When the server refuses, because it
// has one of them already, say, each is to be sent alone.
func (p *Publisher) sendAsOne(ctx context.Context, all []*parcel) bool {
	msgs := make([]bus.Identified, len(all))
	for i, x := range all {
		msgs[i] = bus.Identified{ID: x.id.String(), Data: x.raw}
	}
	last, err := p.bus.PublishTogether(ctx, p.convoy.stream, msgs)
	if err != nil && !errors.Is(err, bus.ErrUnknownOutcome) && !errors.Is(err, bus.ErrUnavailable) {
		p.log.Warn("publishing events together; each goes alone", "first", all[0].id, "err", err)
		return false
	}
	for i, x := range all {
		x.seq, x.err = last-uint64(len(all)-1-i), err
	}
	return true
}

func (p *Publisher) sendEach(ctx context.Context, all []*parcel) {
	var wg sync.WaitGroup
	for _, x := range all[1:] {
		wg.Go(func() { x.seq, x.err = p.send(ctx, p.convoy.stream, x.id, x.raw) })
	}
	all[0].seq, all[0].err = p.send(ctx, p.convoy.stream, all[0].id, all[0].raw)
	wg.Wait()
}
