package subscriber

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/denylist"
	"github.com/rescind/rescind/internal/follow"
)

// Agent follows a fleet and decides on tokens. Its methods are safe for
// concurrent use.
type Agent struct {
	cfg   Config
	log   *slog.Logger
	me    events.Agent
	set   *denylist.Set
	bus   *bus.Bus
	nc    *nats.Conn
	seen  *seen
	watch watchers
	keys  atomic.Pointer[events.KeySet]
	begun time.Time

	// asOf is the agent's knowledge in nanoseconds of the monotonic clock since
	// begun, never when it has none; drift is that of the clocks when it was last
	// looked at; ready tells that it held a complete set.
	asOf   atomic.Int64
	drift  atomic.Int64
	ready  atomic.Bool
	status atomic.Pointer[events.Status]

	synced   chan struct{}
	inputs   chan func(*loop)
	stopped  chan struct{}
	cancel   context.CancelCauseFunc
	done     sync.WaitGroup
	closing  sync.Once
	closeErr error
}

// never is the value of asOf when nothing is known to be complete.
const never = -1 << 62

// Open opens the agent's set, subscribes, and starts to follow. It returns when
// the stored set is loaded, so that Check can be used at once; Synced tells when
// everything missed meanwhile has been applied. NATS may be away: the agent then
// decides from its stored set.
//
// ctx governs Open only. It fails when the configuration is wrong, the directory
// cannot be used, another agent has it open, or the keys cannot be read. A
// damaged file is no failure: it is put aside and the agent rebuilds.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Agent, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	keys, err := cfg.Keys.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening agent: %w", err)
	}
	b, err := bus.New(nc, cfg.fleet())
	if err != nil {
		return nil, fmt.Errorf("opening agent: %w", err)
	}
	path := ""
	if cfg.Dir != "" {
		path = filepath.Join(cfg.Dir, "denylist.db")
	}
	set, err := denylist.Open(denylist.Options{Path: path, Fleet: cfg.fleet(), Now: cfg.clock(), Logger: cfg.logger()})
	if err != nil {
		return nil, fmt.Errorf("opening agent: %w", err)
	}
	a := &Agent{cfg: cfg, log: cfg.logger(), set: set, bus: b, nc: nc, seen: newSeen(cfg.maxSeen()),
		begun: cfg.clock()(), synced: make(chan struct{}), inputs: make(chan func(*loop), 1024),
		stopped: make(chan struct{})}
	a.me = events.Agent{ID: set.Identity(), Service: cfg.Service, Instance: cfg.instance(),
		Run: events.NewEventID().String(), Version: or(cfg.Version, "unknown")}
	a.keys.Store(keys)
	a.asOf.Store(never)
	if err := a.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening agent: %w", err), set.Close())
	}
	return a, nil
}

func (a *Agent) start() error {
	ctx, cancel := context.WithCancelCause(context.Background())
	a.cancel = cancel
	cursors := map[events.Stream]follow.Cursor{}
	// What found no room to be parked is behind the stored positions.
	if a.set.ParkedRefused() == 0 {
		for s, c := range a.set.Cursors() {
			cursors[s] = follow.Cursor(c)
		}
	}
	l := &loop{Agent: a, ctx: ctx, core: newCore(a.cfg.bound(), cursors, a.set.Has),
		reader: follow.NewReader(ctx, a.bus, a.keys.Load, a.done.Go)}
	l.restore()
	unsubscribe, err := a.subscribe()
	if err != nil {
		cancel(err)
		return err
	}
	a.done.Go(func() {
		l.run()
		close(a.stopped)
		unsubscribe()
	})
	return nil
}

// Check tells whether the token may be accepted: nil, ErrRevoked, ErrNotReady,
// ErrUnrevocable when Config.MaxToken is set and exceeded, or ErrStale when
// Config.MaxStaleness is. It does no I/O and allocates nothing.
func (a *Agent) Check(t *events.Token) error { return a.CheckWithin(t, a.cfg.MaxStaleness) }

// CheckWithin is Check with a staleness of its own: it answers ErrStale when the
// agent's knowledge is older than maxStaleness; 0 means any.
func (a *Agent) CheckWithin(t *events.Token, maxStaleness time.Duration) error {
	// How much is known is read before the set, which may have caught up meanwhile: a
	// verdict never claims more than it rests on.
	ready := a.ready.Load() || a.cfg.AllowUnsynced
	stale := maxStaleness > 0 && a.Staleness() > maxStaleness
	switch {
	case a.set.Check(t):
		return ErrRevoked
	case a.cfg.MaxToken > 0 && outlives(t, a.cfg.MaxToken):
		return ErrUnrevocable
	case !ready:
		return ErrNotReady
	case stale:
		return ErrStale
	}
	return nil
}

// outlives tells whether the token has no end, or lives longer than max: rules
// against it may be dropped while it lives.
func outlives(t *events.Token, max time.Duration) bool {
	return t.Expires == 0 || t.IssuedAt != 0 && t.Expires-t.IssuedAt > int64(max/time.Second)
}

// forever is the staleness of an agent that knows nothing for certain.
const forever = time.Duration(1<<63 - 1)

// Staleness is how long ago everything acknowledged by the bus was known to be
// held here. It is the largest Duration when nothing is known: before the first
// sync, while events are parked that cannot be read, while a stream lacks events,
// and after the clock was set or the machine slept, until the next beacon.
func (a *Agent) Staleness() time.Duration {
	at, drift := a.asOf.Load(), time.Duration(a.drift.Load())
	now := a.instant()
	if at == never || (now.drift()-drift).Abs() > clockStep {
		return forever
	}
	return now.mono - time.Duration(at)
}

// Ready tells whether the agent holds a set that was complete at least once.
func (a *Agent) Ready() bool { return a.ready.Load() }

// Synced is closed once the agent, in this run, has applied everything that the
// bus held.
func (a *Agent) Synced() <-chan struct{} { return a.synced }

// Recovered tells why the stored set could not be used, "" when it could.
func (a *Agent) Recovered() string { return a.set.Recovered() }

// Status is the agent's present status, as it is sent to publishers.
func (a *Agent) Status() events.Status {
	s := *a.status.Load()
	s.Entries, s.Digest, s.State = a.set.Len(), a.set.Digest(), a.State()
	return s
}

// State is the state alone, for the request path: Status sums up the whole set.
// It takes no lock and allocates nothing.
func (a *Agent) State() events.State {
	state := a.status.Load().State
	if state == events.Fresh && a.Staleness() > a.cfg.bound() {
		return events.Stale
	}
	return state
}

// Watch gives revocations as they come into force, so that a service can cut
// live connections.
func (a *Agent) Watch() *Watch { return a.watch.add() }

// Explain gives the events that refuse the token; none when it is live. It may
// read the disk.
func (a *Agent) Explain(t *events.Token) ([]events.EventID, error) { return a.set.Explain(t) }

// Observe remembers a token whose signature the caller has verified, so that
// revocations that hit it are counted. Guards call it; an issuer may call it at
// issue. Only tokens with an exp are remembered.
func (a *Agent) Observe(t *events.Token) {
	h := t.Identity.Hash()
	now := a.cfg.clock()().Unix()
	if t.Expires <= now || a.seen.has(h) {
		return
	}
	a.seen.add(h, remember(t), now, func() bool { return a.set.Check(t) })
}

// ObserveRefresh remembers an opaque refresh token by its identity: whose it is,
// and when it dies (expires, Unix seconds). It is kept on disk too. The errors are
// ErrFull and ErrClosed.
func (a *Agent) ObserveRefresh(id events.Identity, r events.RefreshToken) error {
	now := a.cfg.clock()().Unix()
	if r.Expires <= now {
		return nil
	}
	tok := &seenToken{realm: r.Realm, user: r.User, expires: r.Expires, issuedAt: now}
	listed := &events.Token{Identity: id, IssuedAt: now}
	if !a.seen.add(id.Hash(), tok, now, func() bool { return a.set.Check(listed) }) {
		if a.seen.has(id.Hash()) {
			return nil
		}
		return ErrFull
	}
	return a.do(func(l *loop) {
		l.set.Stage(denylist.Change{Observed: []denylist.Observed{{Identity: id, Realm: r.Realm, User: r.User,
			Expires: r.Expires, IssuedAt: now}}})
		l.commits.dirty, l.settling = true, true
	})
}

// RefreshRefused tells whether an opaque refresh token was observed and lives, and
// whether it has been revoked since, by itself or by a rule on its user or realm.
func (a *Agent) RefreshRefused(id events.Identity) (observed, refused bool) {
	t, ok := a.seen.get(id.Hash())
	ok = ok && t.expires > a.cfg.clock()().Unix()
	return ok, ok && t.refused
}

// Seen is how many live tokens the agent remembers for counting.
func (a *Agent) Seen() int { return a.seen.len() }

// do runs fn in the agent's loop.
func (a *Agent) do(fn func(*loop)) error {
	select {
	case a.inputs <- fn:
		return nil
	case <-a.stopped:
		return ErrClosed
	}
}

// Close says goodbye to the publishers, writes what is staged and releases the
// directory. It waits for both and may be called more than once.
func (a *Agent) Close() error {
	a.closing.Do(func() {
		a.cancel(ErrClosed)
		a.done.Wait()
		a.watch.close()
		a.closeErr = a.set.Close()
	})
	return a.closeErr
}
