package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
)

// DefaultDurable is the consumer's name when none is given.
const DefaultDurable = "audit"

const (
	// readMessages is how many messages are written and synced together; a read
	// ends at 1 MiB besides.
	readMessages = 1000
	// fetchMessages is how many are taken from the consumer together, which knows
	// no bound in bytes.
	fetchMessages = 100
	// ackAtOnce is how many acknowledgements are under way at a time.
	ackAtOnce = 64
	// firstWait and longestWait bound the time between attempts after an error.
	firstWait   = 100 * time.Millisecond
	longestWait = 5 * time.Second
)

// Config configures a Reader. Keys must be set; the zero value of every other
// field has a meaning.
type Config struct {
	// Fleet to read; "" means events.DefaultFleet.
	Fleet events.Fleet
	// Durable names the consumer that Run keeps on the server; "" means
	// DefaultDurable. Give each file a name of its own, so that the server's count
	// of pending messages says something about it.
	Durable string
	// Keys are the publishers' keys, those of former days included.
	Keys KeySource
	// Logger receives what is worth a person's attention; nil means none.
	Logger *slog.Logger
}

func (c Config) fleet() events.Fleet { return cmp.Or(c.Fleet, events.DefaultFleet) }
func (c Config) durable() string     { return cmp.Or(c.Durable, DefaultDurable) }

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger.With("component", "audit")
}

// Reader reads a fleet's audit stream. It is safe for concurrent use.
type Reader struct {
	bus     *bus.Bus
	fleet   events.Fleet
	durable string
	keys    *keyring
	log     *slog.Logger

	// batch is readMessages, and written does nothing, except in tests.
	batch   int
	written func()
}

// Open makes a reader on nc, which stays the caller's. It asks for the keys and
// looks for the audit stream; ctx bounds that and is not kept. It makes no
// consumer and refuses a Config without Keys or with an invalid fleet.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Reader, error) {
	if cfg.Keys == nil {
		return nil, errors.New("config: Keys is nil: without publishers' keys nothing would verify")
	}
	if err := cfg.fleet().Validate(); err != nil {
		return nil, fmt.Errorf("config: Fleet: %w", err)
	}
	b, err := bus.New(nc, cfg.fleet())
	if err != nil {
		return nil, fmt.Errorf("opening audit stream: %w", err)
	}
	r := &Reader{bus: b, fleet: cfg.fleet(), durable: cfg.durable(), log: cfg.logger(),
		keys: &keyring{source: cfg.Keys}, batch: readMessages, written: func() {}}
	if _, err := r.keys.refresh(ctx); err != nil {
		return nil, fmt.Errorf("opening audit stream: %w", err)
	}
	if _, err := b.Info(ctx, events.Audit); err != nil {
		return nil, fmt.Errorf("opening audit stream: %w", err)
	}
	return r, nil
}

// sink takes lines and returns when they are as safe as they can be made.
type sink func([]Line) error

// record describes what of msgs is new, gives it to the sink, and only then notes
// that all of msgs were taken.
func (r *Reader) record(ctx context.Context, cur *cursor, msgs []message, to sink) error {
	lines, err := r.describe(ctx, cur.unseen(msgs))
	if err != nil {
		return err
	}
	if len(lines) > 0 {
		if err := to(lines); err != nil {
			return err
		}
	}
	for _, m := range msgs {
		cur.take(m.Seq, m.digest)
	}
	return nil
}

// describe verifies messages. A key that is unknown may be new: the keys are asked
// for again, once for all of msgs, and what still does not verify is recorded as
// it is. While they cannot be had, nothing is recorded.
func (r *Reader) describe(ctx context.Context, msgs []message) ([]Line, error) {
	keys := r.keys.current(ctx, r.log)
	lines := make([]Line, 0, len(msgs))
	asked := false
	for _, m := range msgs {
		l, err := describe(keys, r.fleet, m.Data)
		if errors.Is(err, events.ErrUnknownKey) && !asked {
			var failed error
			if keys, failed = r.keys.refresh(ctx); failed != nil {
				return nil, failed
			}
			asked = true
			l, err = describe(keys, r.fleet, m.Data)
		}
		if err != nil {
			r.log.Warn("message rejected", "seq", m.Seq, "reason", l.Problem, "err", err)
		}
		l.Seq, l.Time = m.Seq, m.Time
		lines = append(lines, l)
	}
	return lines, nil
}

// catchUp reads the stream from the cursor to its present end.
func (r *Reader) catchUp(ctx context.Context, cur *cursor, to sink) error {
	info, err := r.bus.Info(ctx, events.Audit)
	if err != nil {
		return err
	}
	if err := r.settle(ctx, cur, info); err != nil {
		return err
	}
	for info.Msgs > 0 && cur.pos < info.Last {
		n, err := r.readOn(ctx, cur, to)
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("a server that lags answered")
		}
	}
	return nil
}

// readOn reads one batch behind the cursor and gives how many messages it had.
func (r *Reader) readOn(ctx context.Context, cur *cursor, to sink) (int, error) {
	batch, err := r.bus.Read(ctx, events.Audit, cur.pos+1, r.batch, 0)
	if err != nil {
		return 0, err
	}
	msgs := make([]message, len(batch.Messages))
	for i, m := range batch.Messages {
		msgs[i] = newMessage(m)
	}
	return len(msgs), r.record(ctx, cur, msgs, to)
}

// settle makes sure that the stream is still the one that the cursor was made on.
// One that was lost, made again or rolled back holds messages at sequences that
// were read before: it is read again from its beginning, and what was seen is
// known by its digest.
func (r *Reader) settle(ctx context.Context, cur *cursor, info bus.Info) error {
	if cur.anchor == 0 {
		cur.pos = min(cur.pos, info.Last)
		return nil
	}
	why := ""
	switch m, err := r.bus.Get(ctx, events.Audit, cur.anchor); {
	case info.First > cur.pos+1:
		r.log.Error("messages may have expired before they were read", "from", cur.pos+1, "to", info.First-1)
	case info.First > cur.anchor: // it expired after it was read
	case errors.Is(err, bus.ErrNotFound):
		why = "what was read last is gone"
	case err != nil:
		return err
	case newMessage(m).digest != cur.is:
		why = "something else stands where what was read last did"
	}
	if why != "" {
		r.log.Error("the audit stream is not the one that was read; reading it again", "why", why)
		cur.pos, cur.anchor = 0, 0
	}
	return nil
}
