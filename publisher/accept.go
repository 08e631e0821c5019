package publisher

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/denylist"
	"github.com/rescind/rescind/publisher/ledger"
)

// request is an order in flight.
type request struct {
	txn      events.EventID
	key      string
	cause    string
	accepted time.Duration
	tally    *tally
	record   Record

	// mu guards what a retry may still change: an event that nobody has been sent
	// can be stamped anew.
	mu    sync.Mutex
	items []*item
	// lifted tells that a lift took it away: no retry joins it.
	lifted bool
	// acked is closed once the stream has acknowledged all of the events.
	acked   chan struct{}
	missing int
	// until is when a retry no longer joins.
	until time.Duration
}

// item is one event of a request.
type item struct {
	r   events.Revocation
	raw []byte
	// sentAt and ackedAt are when it was last sent and first acknowledged; 0 for
	// never. Guarded by the request's mu.
	sentAt, ackedAt time.Duration
	seq             uint64
}

// joinFor is how long a retry joins an order whose caller was told "not yet".
const joinFor = 5 * time.Minute

// keyFor is how long an idempotency key is remembered.
const keyFor = 24 * time.Hour

// Revoke carries out an order. It returns once the events are on the ledger's
// disk, in the stream, and the wait is over; or with ErrQueued once they are on
// the ledger's disk and the bus did not acknowledge them in time. A Result comes
// with nil and with ErrQueued only.
//
// An order for the same target joins one that was queued, and gets its counts; an
// order with the same Key gets the first one's result, without counts if that was
// another publisher's. It blocks for at most
// AckTimeout and the order's Timeout; when ctx ends earlier, what was accepted
// stays accepted, and ErrQueued comes with the context's error.
func (p *Publisher) Revoke(ctx context.Context, o Order) (*Result, error) {
	if p.ctx.Err() != nil {
		return nil, ErrClosed
	}
	drafts, err := p.plan(&o)
	if err != nil {
		return nil, err
	}
	if res, known, err := p.doneElsewhere(&o, drafts); known {
		return res, err
	}
	req, replayed, err := p.joinOrAccept(&o, drafts)
	if err != nil {
		return nil, err
	}
	if !replayed {
		p.publish(ctx, req)
	}
	return p.await(ctx, &o, req, replayed)
}

// joinOrAccept finds the order in flight that this one repeats, or accepts it.
func (p *Publisher) joinOrAccept(o *Order, drafts []draft) (*request, bool, error) {
	key, cause := orderKey(drafts, o.NotBefore), o.cause()
	if cause != "" {
		defer p.enter(cause)()
	}
	p.mu.Lock()
	old, replayed := p.causes[cause]
	if !replayed {
		old = p.joinable[key]
	}
	p.mu.Unlock()
	switch {
	case replayed && old.key != key:
		return nil, false, ErrConflict
	case replayed:
		return old, true, nil
	}
	if old != nil && p.mono() < old.until && o.NotBefore == 0 {
		joined, err := p.restamp(old, drafts)
		if joined {
			p.input(func(l *loop) { l.restamped(old) })
		}
		if joined || err != nil {
			return old, false, err
		}
	}
	req, err := p.accept(o, drafts, key, cause)
	return req, false, err
}

// enter waits until no other order with the cause is being accepted, so that the
// later of two at once finds the earlier. leave lets the next one in.
func (p *Publisher) enter(cause string) (leave func()) {
	mine := make(chan struct{})
	for {
		p.mu.Lock()
		busy, ok := p.entering[cause]
		if !ok {
			p.entering[cause] = mine
		}
		p.mu.Unlock()
		if !ok {
			break
		}
		<-busy
	}
	return func() {
		p.mu.Lock()
		delete(p.entering, cause)
		p.mu.Unlock()
		close(mine)
	}
}

// orderKey names what an order is aimed at, an explicit cutoff included.
func orderKey(drafts []draft, notBefore int64) string {
	keys := make([]string, len(drafts), len(drafts)+1)
	for i := range drafts {
		keys[i] = drafts[i].key()
	}
	if notBefore != 0 {
		keys = append(keys, strconv.FormatInt(notBefore, 10))
	}
	return strings.Join(keys, "")
}

// restamp lets a retry join: as it is when its cutoffs still cover this moment,
// with new cutoffs when nobody has been sent the events, and not at all
// otherwise.
func (p *Publisher) restamp(req *request, drafts []draft) (joined bool, err error) {
	req.mu.Lock()
	defer req.mu.Unlock()
	now := p.now()
	covered, sent := !req.lifted, req.lifted
	for i, it := range req.items {
		covered = covered && it.covers(&drafts[i], now)
		sent = sent || it.sentAt != 0
	}
	if covered || sent {
		return covered, nil
	}
	items := make([]*item, len(req.items))
	for i, it := range req.items {
		fresh := *it
		stamped := drafts[i].revocation(now, 0)
		fresh.r.IssuedAt, fresh.r.NotBefore, fresh.r.Expires = stamped.IssuedAt, stamped.NotBefore, stamped.Expires
		if fresh.raw, err = p.cfg.Signer.Sign(&fresh.r); err != nil {
			return false, fmt.Errorf("signing: %w", err)
		}
		items[i] = &fresh
	}
	rec := req.record
	rec.Events = slices.Clone(rec.Events)
	for i, it := range items {
		rec.Events[i].NotBefore = it.r.NotBefore
	}
	err = p.ledger.Update(func(tx *ledger.Tx) error {
		for _, it := range items {
			if err := tx.PutEvent(it.entry()); err != nil {
				return err
			}
		}
		return tx.PutOpenRequest(req.txn, expiresOf(&rec, items), rec)
	})
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	req.items = items
	return true, nil
}

// joinSlack is how much earlier than a retry's own the end of what it joins may
// be, in seconds: half the leeway that every end has.
const joinSlack = 30

// covers tells whether the event as it stands does what a retry asks for now.
func (it *item) covers(d *draft, now time.Time) bool {
	if it.r.Target.Kind.HasCutoff() {
		return it.r.NotBefore >= now.Unix()
	}
	asked := d.revocation(now, 0)
	return it.r.Expires+joinSlack >= asked.Expires
}

// unjoin keeps later orders from joining those that a lift takes away.
func (p *Publisher) unjoin(lifted events.EventID) {
	p.mu.Lock()
	var hit []*request
	for key, req := range p.joinable {
		if slices.ContainsFunc(req.record.Events, func(e events.ReceiptEvent) bool { return e.ID == lifted }) {
			hit = append(hit, req)
			delete(p.joinable, key)
		}
	}
	p.mu.Unlock()
	for _, req := range hit {
		req.mu.Lock()
		req.lifted = true
		req.mu.Unlock()
	}
}

// restamped makes the loop keep the events for as long as they now stand.
func (l *loop) restamped(req *request) {
	req.mu.Lock()
	defer req.mu.Unlock()
	for _, it := range req.items {
		if e := l.entries[it.r.ID]; e != nil {
			e.expires = max(e.expires, it.r.Expires)
		}
	}
}

func (it *item) entry() *ledger.Entry {
	return &ledger.Entry{ID: it.r.ID, Stream: it.r.Target.Kind.Stream(), Expires: it.r.Expires, Own: true, Raw: it.raw}
}

// accept signs an order's events and writes them to the ledger. When it returns
// nil, nothing short of losing the disk keeps them from being published.
func (p *Publisher) accept(o *Order, drafts []draft, key, cause string) (*request, error) {
	now := p.now()
	req := &request{txn: events.NewEventID(), key: key, cause: cause, accepted: p.mono(), acked: make(chan struct{}),
		missing: len(drafts), until: p.mono() + joinFor}
	req.tally = newTally(req.txn, req.accepted)
	for i := range drafts {
		d := &drafts[i]
		if d.target.Kind == events.KindLift {
			p.unjoin(d.target.Lifted)
		}
		r := d.revocation(now, o.NotBefore)
		r.ID, r.Txn, r.Issuer, r.Fleet = events.NewEventID(), req.txn, p.cfg.Issuer, p.fleet
		r.Reason, r.Initiator, r.Cause = o.Reason, o.Initiator, cause
		req.items = append(req.items, &item{r: r})
		req.tally.expect(r.ID, &tallied{stream: r.Target.Kind.Stream(), kind: r.Target.Kind, tokens: d.tokens})
	}
	req.record = newRecord(o, req, now)
	posts := make([]ledger.Post, len(req.items))
	if err := p.ledger.Update(func(tx *ledger.Tx) error { return p.writeAccepted(tx, req, posts) }); err != nil {
		switch {
		case errors.Is(err, ledger.ErrClosed):
			return nil, ErrClosed
		case errors.Is(err, events.ErrKeyBounds):
			return nil, fmt.Errorf("%w: the publisher's key may not sign this kind: %w", ErrInvalid, err)
		case errors.Is(err, ErrInvalid):
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	sums := make([][sha256.Size]byte, len(req.items))
	for i, it := range req.items {
		sums[i] = sha256.Sum256(it.raw)
	}
	p.mu.Lock()
	p.joinable[key] = req
	for i, it := range req.items {
		p.inflight[it.r.ID] = flight{req, i, sums[i]}
		p.signed[sums[i]] = it
	}
	if cause != "" {
		p.causes[cause] = req
	}
	p.mu.Unlock()
	// It is in the loop's queue before anything that publishing can bring there. The
	// outbox sends what the loop expects only. A publisher that closes just now sends
	// it after its next start.
	p.input(func(l *loop) { l.accepted(req, posts) })
	return req, nil
}

// writeAccepted numbers, signs and stores. It may run twice, so all that it sets
// is set anew.
func (p *Publisher) writeAccepted(tx *ledger.Tx, req *request, posts []ledger.Post) error {
	for _, it := range req.items {
		n, err := tx.Counter(it.r.Target.Kind.Stream())
		if err != nil {
			return err
		}
		it.r.Origin = events.Origin{Publisher: p.id, Incarnation: *p.incarnation.Load(), Counter: n}
	}
	if err := p.signAll(req.items); err != nil {
		return err
	}
	for i, it := range req.items {
		if err := tx.PutEvent(it.entry()); err != nil {
			return err
		}
		posts[i] = ledger.Post{Stream: it.r.Target.Kind.Stream(), ID: it.r.ID}
		if err := tx.PutPost(&posts[i]); err != nil {
			return err
		}
	}
	return tx.PutOpenRequest(req.txn, expiresOf(&req.record, req.items), req.record)
}

// signAll signs on all cores: other orders wait for the transaction, and a full
// list takes a tenth of a millisecond.
func (p *Publisher) signAll(items []*item) error {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, it := range items {
		group.Go(func() (err error) {
			if it.raw, err = p.cfg.Signer.Sign(&it.r); err != nil {
				return fmt.Errorf("%w: %w", ErrInvalid, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// expiresOf is when a request can be forgotten: with its last event, and not before
// its key.
func expiresOf(rec *Record, items []*item) int64 {
	at := rec.AcceptedAt/1000 + int64(keyFor/time.Second)
	for _, it := range items {
		at = max(at, it.r.Expires)
	}
	return at
}

// accepted makes the loop expect the events.
func (l *loop) accepted(req *request, posts []ledger.Post) {
	req.mu.Lock()
	defer req.mu.Unlock()
	for i, it := range req.items {
		l.entries[it.r.ID] = &entry{stream: posts[i].Stream, expires: it.r.Expires, own: true, order: posts[i].Order,
			keyID: l.cfg.Signer.Public().ID}
	}
	l.tallies.add(req.tally)
}

// publish sends the events of an order that were not sent yet. What fails stays
// in the outbox.
func (p *Publisher) publish(ctx context.Context, req *request) {
	if !p.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.ackTimeout())
	defer cancel()
	var wg sync.WaitGroup
	slots := make(chan struct{}, sendAtOnce)
	for i := range req.record.Events {
		slots <- struct{}{}
		wg.Go(func() {
			p.sendItem(ctx, req, i, 0)
			<-slots
		})
	}
	wg.Wait()
}

// await waits for the stream and for the agents, and makes the result.
func (p *Publisher) await(ctx context.Context, o *Order, req *request, replayed bool) (*Result, error) {
	if req.record.Receipt != nil {
		return p.result(req, req.record.Receipt.Outcome, replayed), nil
	}
	if err := p.awaitAck(ctx, req); err != nil {
		res := p.result(req, events.Outcome{Applied: []events.Application{}}, replayed)
		return res, err
	}
	var w *waiter
	if !p.ask(func(l *loop) {
		if o.Wait == WaitNone {
			l.applyOwn(req)
		}
		w = l.wait(req.tally, o.Wait, o.Wait == WaitNone && !replayed)
	}) {
		// It stays accepted; the next start goes on with it.
		return p.result(req, events.Outcome{Applied: []events.Application{}}, replayed), ErrQueued
	}
	var out events.Outcome
	timeout := time.NewTimer(o.Timeout)
	defer timeout.Stop()
	select {
	case out = <-w.done:
	case <-timeout.C:
		p.ask(func(l *loop) { out = l.giveUp(w) })
	case <-ctx.Done():
		p.ask(func(l *loop) { out = l.giveUp(w) })
	}
	p.mu.Lock()
	if p.joinable[req.key] == req {
		delete(p.joinable, req.key)
	}
	p.mu.Unlock()
	if o.Wait == WaitNone && !replayed {
		out.Errors = slices.DeleteFunc(out.Errors, notYet)
	}
	if n := len(out.Applied); o.Wait > 0 && n < int(o.Wait) {
		out.Errors = append(out.Errors, events.OutcomeError{Type: events.AgentMissing,
			Reason: fmt.Sprintf("%d agents were asked for, %d have applied it", o.Wait, n)})
	}
	return p.result(req, out, replayed), nil
}

// notYet tells whether an error says only that an agent has not answered: it is
// none to a caller who did not wait.
func notYet(e events.OutcomeError) bool { return e.Type == events.AgentSilent }

func (p *Publisher) awaitAck(ctx context.Context, req *request) error {
	select {
	case <-req.acked:
		return nil
	default:
	}
	if !p.nc.IsConnected() {
		return ErrQueued
	}
	timeout := time.NewTimer(p.cfg.ackTimeout())
	defer timeout.Stop()
	select {
	case <-req.acked:
		return nil
	case <-timeout.C:
		return ErrQueued
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrQueued, context.Cause(ctx))
	case <-p.ctx.Done():
		return ErrQueued
	}
}

// applyOwn puts the events into the publisher's own denylist before its follower
// has reached them, for an answer that does not wait for it.
func (l *loop) applyOwn(req *request) {
	req.mu.Lock()
	defer req.mu.Unlock()
	for _, it := range req.items {
		l.countTokens(req.tally, req.tally.events[it.r.ID])
		l.set.Stage(denylist.Change{Records: []denylist.Record{
			denylist.RecordOf(&it.r, l.cfg.Signer.Public().ID, it.r.Target.Kind.Stream(), it.seq)}})
	}
}

func (p *Publisher) result(req *request, out events.Outcome, replayed bool) *Result {
	req.mu.Lock()
	defer req.mu.Unlock()
	res := &Result{ID: req.txn, Outcome: out, Replayed: replayed, Elapsed: p.mono() - req.accepted}
	for _, it := range req.items {
		res.NotBefore = max(res.NotBefore, it.r.NotBefore)
		res.Events = append(res.Events, events.ReceiptEvent{ID: it.r.ID, Stream: it.r.Target.Kind.Stream(),
			Seq: it.seq, Target: it.r.Target.String(), NotBefore: it.r.NotBefore})
	}
	return res
}

// sweepOrders forgets the orders that no retry can join any more.
func (p *Publisher) sweepOrders() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.mono()
	for k, req := range p.joinable {
		if now > req.until {
			delete(p.joinable, k)
		}
	}
	for k, req := range p.causes {
		if now > req.accepted+keyFor {
			delete(p.causes, k)
		}
	}
	for k, e := range p.elsewhere {
		if now > e.accepted+keyFor {
			delete(p.elsewhere, k)
		}
	}
}
