package publisher

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/denylist"
	"github.com/rescind/rescind/publisher/ledger"
)

// Publisher publishes for one fleet. Its methods are safe for concurrent use.
type Publisher struct {
	cfg         Config
	log         *slog.Logger
	fleet       events.Fleet
	id          string
	incarnation atomic.Pointer[events.EventID]
	begun       time.Time
	now         func() time.Time

	nc     *nats.Conn
	bus    *bus.Bus
	ledger *ledger.Ledger
	set    *denylist.Set
	keys   atomic.Pointer[events.KeySet]
	// selfTrust remembers what trustsItself found.
	selfTrust atomic.Pointer[selfTrust]

	ready atomic.Pointer[string] // why not; nil when it is
	// ledgerFault is why the ledger cannot be written; nil when it can.
	ledgerFault atomic.Pointer[string]
	inputs      chan func(*loop)
	messages    chan *nats.Msg
	hellos      chan struct{} // wakes beaconLoop
	persists    persistQueue
	receipts    receiptQueue
	refusals    refusalLog
	convoy      convoy
	kick        chan struct{}
	ctx         context.Context
	cancel      context.CancelCauseFunc
	work        sync.WaitGroup
	stopped     chan struct{}
	closing     sync.Once
	closeErr    error

	// mu guards the orders in flight: those that a retry joins, by what they are
	// aimed at; all of the last day with a key, by their cause; the events that were
	// not yet seen in their stream, by id and by the hash of what was signed; and the
	// causes of orders being accepted.
	mu       sync.Mutex
	joinable map[string]*request
	causes   map[string]*request
	// elsewhere are those of the last day that other publishers have carried out.
	elsewhere map[string]*elsewhere
	inflight  map[events.EventID]flight
	signed    map[[sha256.Size]byte]*item
	entering  map[string]chan struct{}
}

// Open opens the ledger and the streams' state and starts to follow, to send
// beacons and to publish what the outbox holds. NATS may be away: Revoke then
// queues. Ready tells when the publisher knows its agents and its streams.
//
// ctx governs Open only. It fails when the configuration is wrong, the ledger
// cannot be used, or the keys cannot be read.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Publisher, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("opening publisher: %w", err)
	}
	keys, err := cfg.keys().Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening publisher: %w", err)
	}
	b, err := bus.New(nc, cfg.fleet())
	if err != nil {
		return nil, fmt.Errorf("opening publisher: %w", err)
	}
	p := &Publisher{cfg: cfg, log: cfg.logger(), fleet: cfg.fleet(), id: cfg.Signer.Public().Publisher,
		now: cfg.clock, nc: nc, bus: b,
		inputs: make(chan func(*loop), 1024), messages: make(chan *nats.Msg, 1<<16),
		hellos: make(chan struct{}, 1), persists: persistQueue{wake: make(chan struct{}, 1)},
		receipts: receiptQueue{wake: make(chan struct{}, 1)}, refusals: newRefusalLog(),
		convoy: convoy{stream: events.Control}, kick: make(chan struct{}, 1), stopped: make(chan struct{}),
		joinable: map[string]*request{}, causes: map[string]*request{}, elsewhere: map[string]*elsewhere{}, inflight: map[events.EventID]flight{}, signed: map[[sha256.Size]byte]*item{},
		entering: map[string]chan struct{}{}}
	incarnation := events.NewEventID()
	p.incarnation.Store(&incarnation)
	if p.now == nil {
		p.now = time.Now
	}
	p.begun = p.now()
	p.keys.Store(keys)
	p.notReady(starting)
	if p.ledger, err = ledger.Open(cfg.Dir, p.fleet, p.id); err != nil {
		return nil, fmt.Errorf("opening publisher: %w", err)
	}
	p.set, err = denylist.Open(denylist.Options{Fleet: p.fleet, Now: p.now, Logger: p.log})
	if err == nil {
		err = p.start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening publisher: %w", err), p.ledger.Close())
	}
	return p, nil
}

func (p *Publisher) start() error {
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	l, err := p.load()
	if err != nil {
		return err
	}
	live, err := p.bus.Live(func(m bus.Message) {
		msg := p.decode(m.Seq, m.Data)
		p.input(func(l *loop) { l.live(m.Stream, msg) })
	}, func() { p.input((*loop).reconnected) })
	if err != nil {
		return err
	}
	// One channel for reports and statuses keeps their order: a status that shows
	// a position must not overtake the report with its counts.
	var subs []*nats.Subscription
	for _, subject := range []string{p.fleet.ReportSubject("*"), p.fleet.StatusSubject("*")} {
		s, err := p.nc.ChanSubscribe(subject, p.messages)
		if err != nil {
			live.Close()
			return err
		}
		subs = append(subs, s)
	}
	p.work.Go(p.persistLoop)
	p.work.Go(p.receiptLoop)
	p.work.Go(p.refusalLoop)
	p.work.Go(p.outboxLoop)
	p.work.Go(p.beaconLoop)
	p.work.Go(func() {
		l.run()
		close(p.stopped)
		live.Close()
		for _, s := range subs {
			_ = s.Unsubscribe() // fails only when the connection is closed
		}
	})
	return nil
}

// ID is the publisher's id, that of its key.
func (p *Publisher) ID() string { return p.id }

// Fleet is the fleet that it publishes to.
func (p *Publisher) Fleet() events.Fleet { return p.fleet }

// Issuer is the public URL under which it signs.
func (p *Publisher) Issuer() string { return p.cfg.Issuer }

// Keys is the key set that it trusts now.
func (p *Publisher) Keys() *events.KeySet { return p.keys.Load() }

func (p *Publisher) mono() time.Duration { return p.now().Sub(p.begun) }

// input hands fn to the loop, or drops it once the publisher is closed.
func (p *Publisher) input(fn func(*loop)) {
	select {
	case p.inputs <- fn:
	case <-p.stopped:
	}
}

// ask runs fn in the loop and waits for it. It tells false once the publisher is
// closed.
func (p *Publisher) ask(fn func(*loop)) bool {
	done := make(chan struct{})
	p.input(func(l *loop) { fn(l); close(done) })
	select {
	case <-done:
		return true
	case <-p.stopped:
		return false
	}
}

// Ready is nil once the publisher has listened for agents and knows that the
// streams are what they must be; otherwise ErrNotReady with the reason.
func (p *Publisher) Ready() error {
	if why := p.ready.Load(); why != nil {
		return fmt.Errorf("%w: %s", ErrNotReady, *why)
	}
	return nil
}

// The reasons for not being ready that are no trouble.
const (
	starting  = "starting"
	listening = "listening for agents"
	closing   = "closing"
)

func (p *Publisher) notReady(why string) {
	if old := p.ready.Swap(&why); old != nil && *old == why {
		return
	}
	level := slog.LevelWarn
	if why == starting || why == listening || why == closing {
		level = slog.LevelInfo
	}
	p.log.Log(context.Background(), level, "not ready", "reason", why)
}

func (p *Publisher) isReady() {
	if p.ready.Swap(nil) != nil {
		p.log.Info("ready")
	}
}

// Revoked tells whether the publisher's own denylist refuses the token.
func (p *Publisher) Revoked(t *events.Token) bool { return p.set.Check(t) }

// Agents are the agents that the publisher knows of, in the order of their names.
func (p *Publisher) Agents() []AgentInfo {
	var out []AgentInfo
	p.ask(func(l *loop) { out = l.roster.list(l.mono(), l.now()) })
	return out
}

// writeRest writes what was left for later. Without it nothing would be lost, and
// the next start would have more to read and to publish again.
func (p *Publisher) writeRest() {
	job, receipts := p.persists.take(), p.receipts.take()
	err := p.ledger.Update(job.write)
	if err == nil && len(receipts) > 0 {
		err = p.closeRequests(receipts)
	}
	if err != nil {
		p.log.Warn("writing what was left at the end", "err", err)
	}
	p.writeRefusals(true)
}

// Close stops accepting, waits for what is under way and closes the ledger. What
// the outbox still holds is published after the next Open. It may be called more
// than once.
func (p *Publisher) Close() error {
	p.closing.Do(func() {
		p.notReady(closing)
		p.cancel(ErrClosed)
		p.work.Wait()
		p.writeRest()
		p.closeErr = errors.Join(p.set.Close(), p.ledger.Close())
	})
	return p.closeErr
}
