package publisher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/publisher/ledger"
)

const (
	outboxEvery = time.Second
	outboxPause = 200 * time.Millisecond
	outboxBatch = 256
	// togetherFrom is how many messages are worth the files that the server makes to
	// store them together.
	togetherFrom = 12
	// sendAtOnce is how many messages of one order, or of the outbox, are on
	// their way at a time.
	sendAtOnce = 16
	// seenWithin is how soon an acknowledged event must be seen in its stream
	// before the acknowledgement is no longer believed.
	seenWithin = 10 * time.Second
)

// flight is an event on its way: which of which request's.
type flight struct {
	req *request
	i   int
	// sum is the hash of what was signed, by which the event is known again when it
	// comes live.
	sum [sha256.Size]byte
}

// outboxLoop publishes what the outbox holds and what nobody else is publishing:
// receipts, refusals, and events after a restart and after the bus was away.
func (p *Publisher) outboxLoop() {
	tick := time.NewTicker(outboxEvery)
	defer tick.Stop()
	for {
		if p.nc.IsConnected() {
			p.drain()
		}
		// Who kicks often is served together.
		select {
		case <-time.After(outboxPause):
		case <-p.ctx.Done():
			return
		}
		select {
		case <-tick.C:
		case <-p.kick:
		case <-p.ctx.Done():
			return
		}
	}
}

func (p *Publisher) kickOutbox() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// drain sends the outbox in its order, as far as the bus takes it.
func (p *Publisher) drain() {
	for from := uint64(0); p.ctx.Err() == nil; {
		var posts []ledger.Post
		err := p.ledger.View(func(tx *ledger.Tx) (err error) {
			posts, err = tx.Posts(from, outboxBatch, p.unattended)
			return err
		})
		if err != nil {
			p.log.Error("reading the outbox", "err", err)
			return
		}
		if len(posts) == 0 || !p.sendPosts(posts) {
			return
		}
		from = posts[len(posts)-1].Order + 1
	}
}

// unattended tells whether a post is the outbox's to send now: not an event that
// its order is sending, or that is about to be seen in its stream.
func (p *Publisher) unattended(post *ledger.Post) bool {
	p.mu.Lock()
	f, ok := p.inflight[post.ID]
	p.mu.Unlock()
	if !ok {
		return true
	}
	f.req.mu.Lock()
	defer f.req.mu.Unlock()
	return f.req.items[f.i].due(p.mono(), p.cfg.ackTimeout())
}

// sendPosts tells whether the bus is still there. It leaves out the events that
// the loop does not expect yet, or no more: seeing one of them in its stream would
// not take it off the outbox.
func (p *Publisher) sendPosts(posts []ledger.Post) bool {
	expected := make([]bool, len(posts))
	p.ask(func(l *loop) {
		for i := range posts {
			e := l.entries[posts[i].ID]
			expected[i] = posts[i].Raw == nil || posts[i].Stream == events.Audit || e != nil && e.order != 0
		}
	})
	ctx, cancel := context.WithTimeout(p.ctx, 5*p.cfg.ackTimeout())
	defer cancel()
	var wg sync.WaitGroup
	slots := make(chan struct{}, sendAtOnce)
	settled := make([]bool, len(posts))
	together := p.sendTogether(ctx, posts, settled)
	for i := range posts {
		if !expected[i] || together && isReceipt(&posts[i]) {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			settled[i] = p.sendPost(ctx, &posts[i])
			<-slots
		})
	}
	wg.Wait()
	p.dropPosts(posts, settled)
	return p.nc.IsConnected()
}

func isReceipt(post *ledger.Post) bool { return post.Stream == events.Audit && post.Raw != nil }

// sendTogether sends receipts with one flush of the stream's disk when there are
// enough of them. It tells whether it has dealt with them: those that are settled are
// in the stream, of the others nobody knows, and they are sent again under their ids.
// Otherwise each is to be sent alone: the stream has one of them already, say.
func (p *Publisher) sendTogether(ctx context.Context, posts []ledger.Post, settled []bool) bool {
	var all []bus.Identified
	for i := range posts {
		if isReceipt(&posts[i]) {
			all = append(all, bus.Identified{ID: posts[i].ID.String(), Data: posts[i].Raw})
		}
	}
	if len(all) < togetherFrom {
		return false
	}
	_, err := p.bus.PublishTogether(ctx, events.Audit, all)
	if err != nil && ctx.Err() == nil {
		p.log.Warn("publishing receipts together", "first", all[0].ID, "err", err)
	}
	for i := range posts {
		settled[i] = err == nil && isReceipt(&posts[i])
	}
	return err == nil || errors.Is(err, bus.ErrUnknownOutcome) || errors.Is(err, bus.ErrUnavailable)
}

// sendPost tells whether the post can be taken off the outbox.
func (p *Publisher) sendPost(ctx context.Context, post *ledger.Post) bool {
	if post.Raw == nil {
		return true // it expired before it could be sent
	}
	p.mu.Lock()
	f, ok := p.inflight[post.ID]
	p.mu.Unlock()
	if ok {
		p.sendItem(ctx, f.req, f.i, p.cfg.ackTimeout())
		return false
	}
	_, err := p.send(ctx, post.Stream, post.ID, post.Raw)
	if err != nil && ctx.Err() == nil {
		p.log.Warn("publishing from the outbox", "stream", post.Stream, "id", post.ID, "err", err)
	}
	return err == nil && post.Stream == events.Audit
}

// dropPosts takes messages off the outbox. What a crash leaves there is sent again
// under the same id.
func (p *Publisher) dropPosts(posts []ledger.Post, settled []bool) {
	if !slices.Contains(settled, true) {
		return
	}
	err := p.ledger.UpdateLater(func(tx *ledger.Tx) error {
		for i := range posts {
			if !settled[i] {
				continue
			}
			if err := tx.DropPost(&posts[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, ledger.ErrClosed) {
		p.log.Error("taking messages off the outbox", "first", posts[0].ID, "err", err)
	}
}

// due tells whether an event is to be sent: not when it was sent less than
// patience ago, or acknowledged and is about to be seen in the stream.
func (it *item) due(now, patience time.Duration) bool {
	switch {
	case it.ackedAt != 0 && now-it.ackedAt < seenWithin:
		return false
	case it.sentAt == 0:
		return true
	}
	return patience != 0 && now-it.sentAt >= patience
}

// sendItem sends one event of an order if it is due.
func (p *Publisher) sendItem(ctx context.Context, req *request, i int, patience time.Duration) {
	req.mu.Lock()
	it, now := req.items[i], max(p.mono(), 1)
	if !it.due(now, patience) {
		req.mu.Unlock()
		return
	}
	it.sentAt = now
	req.mu.Unlock()
	seq, err := p.sendEvent(ctx, it)
	if err != nil {
		p.log.Warn("publishing; it stays in the outbox", "event", it.r.ID, "err", err)
		return
	}
	p.acknowledged(req, i, seq)
}

// sendEvent sends an event by the way of its stream. Lists go each alone: what
// takes their time is their size.
func (p *Publisher) sendEvent(ctx context.Context, it *item) (uint64, error) {
	if s := it.r.Target.Kind.Stream(); s != p.convoy.stream {
		return p.send(ctx, s, it.r.ID, it.raw)
	}
	return p.sendAlong(ctx, it.r.ID, it.raw)
}

// acknowledged notes that the stream has an event.
func (p *Publisher) acknowledged(req *request, i int, seq uint64) {
	req.mu.Lock()
	defer req.mu.Unlock()
	it := req.items[i]
	if it.ackedAt != 0 {
		return
	}
	it.ackedAt, it.seq = max(p.mono(), 1), seq
	if req.missing--; req.missing == 0 {
		close(req.acked)
	}
}

// seenInStream ends an event's flight: the follower has read it.
func (p *Publisher) seenInStream(id events.EventID, seq uint64) {
	p.mu.Lock()
	f, ok := p.inflight[id]
	delete(p.inflight, id)
	delete(p.signed, f.sum)
	p.mu.Unlock()
	if ok {
		p.acknowledged(f.req, f.i, seq)
	}
}

// send publishes under the message's id. A stream that says it has the id already
// is not believed until it was read back: after a purge it says so for nothing.
func (p *Publisher) send(ctx context.Context, s events.Stream, id events.EventID, raw []byte) (uint64, error) {
	ack, err := p.bus.Publish(ctx, s, id.String(), raw)
	if err != nil || !ack.Duplicate {
		return ack.Seq, err
	}
	m, err := p.bus.Get(ctx, s, ack.Seq)
	switch {
	case err == nil && bytes.Equal(m.Data, raw):
		return ack.Seq, nil
	case err != nil && !errors.Is(err, bus.ErrNotFound):
		return 0, err
	}
	p.log.Warn("the stream acknowledged what it does not have; publishing again", "stream", s, "id", id)
	ack, err = p.bus.Publish(ctx, s, "", raw)
	return ack.Seq, err
}
