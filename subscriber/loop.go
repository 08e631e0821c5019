package subscriber

import (
	"context"
	"runtime"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/denylist"
	"github.com/rescind/rescind/internal/follow"
)

// loop is the agent's edge: one goroutine that owns the core, feeds it what
// comes in, and carries out its effects. Reads, commits and key refreshes run in
// goroutines of their own and hand their outcome back as an input.
type loop struct {
	*Agent
	ctx    context.Context
	core   *core
	reader *follow.Reader

	reporter reporter
	// durable is where the disk is: positions are reported from it, after the
	// counts of what it holds.
	durable map[events.Stream]denylist.Cursor
	// written is where the disk is while not all up to there is counted, nil
	// otherwise.
	written map[events.Stream]denylist.Cursor
	commits commits
	diskErr string
	// applied are the events that are visible and were not yet counted.
	applied []*events.Revocation
	// settling tells that something was performed since the last settle; lifting
	// that the marks of what lifts took away are being corrected.
	settling, lifting bool
	keysAt, tickedAt  time.Duration
	refreshing        bool
	statusAt          time.Duration
	// saidState is the state of the last status: a change is told at once.
	saidState  events.State
	expireAt   time.Duration
	expiring   bool
	syncedSent bool
	// lifted are the events that lifts name: they are not in force. gone are the
	// keys whose events were dropped, to be read again if a key comes back.
	lifted map[events.EventID]bool
	gone   map[string]bool
	// refused is how many messages the set had no room to park.
	refused uint64
}

const (
	// tickEvery is how often the loop looks at what time has changed, and idleEvery
	// how often while it is fresh and nothing is under way, at most: waking up costs
	// an idle process more than what it then does, so it looks along with a beacon
	// once the last look is lookApart ago.
	tickEvery   = 100 * time.Millisecond
	idleEvery   = 2 * time.Second
	lookApart   = 900 * time.Millisecond
	expireEvery = time.Minute
	// inputsAtOnce is how many inputs are performed before what they changed is
	// counted, committed and published.
	inputsAtOnce = 64
)

// restore takes up what the file held.
func (l *loop) restore() {
	now := l.instant()
	l.lifted, l.gone, l.refused = map[events.EventID]bool{}, map[string]bool{}, l.set.ParkedRefused()
	l.core.synced = l.set.Synced()
	l.core.rebuilding = l.set.Recovered() != ""
	for _, m := range l.set.Parked() {
		parked := follow.Decode(l.keys.Load(), l.cfg.fleet(), m.Seq, m.Raw)
		l.core.parked[parkedAt{place{m.Stream, m.Seq}, parked.Hash}] = parked
	}
	for _, o := range l.set.Observed() {
		listed := &events.Token{Identity: o.Identity, IssuedAt: o.IssuedAt}
		l.seen.add(o.Identity.Hash(), &seenToken{realm: o.Realm, user: o.User, expires: o.Expires, issuedAt: o.IssuedAt},
			now.wall.Unix(), func() bool { return l.set.Check(listed) })
	}
	for _, id := range l.set.Lifted() {
		l.lifted[id] = true
	}
	if l.seen.len() > 0 {
		// Which tokens the set refuses, only reading all of it tells.
		l.each(func(r *events.Revocation, stands bool) {
			if stands {
				l.seen.count(r, now.wall.Unix(), true)
			}
		})
	}
	l.durable = l.set.Cursors()
	l.publish(now)
	l.publishStatus(now)
}

// each gives the events of the set, and whether they stand: whether they are no
// lift and none has taken them away. It may read the disk.
func (l *loop) each(fn func(r *events.Revocation, stands bool)) {
	err := l.set.Records(func(r denylist.Record, stands bool) bool {
		fn(&events.Revocation{ID: r.ID, Target: r.Target, NotBefore: r.NotBefore, Expires: r.Expires}, stands)
		return true
	})
	if err != nil {
		l.log.Error("reading the denylist", "err", err)
	}
}

func (a *Agent) instant() instant {
	now := a.cfg.clock()()
	// Without its monotonic reading the wall clock shows when it was set.
	return instant{wall: now.Round(0), mono: now.Sub(a.begun)}
}

// run is the loop. It ends when the agent is closed, after a last commit, report
// and goodbye.
func (l *loop) run() {
	tick := pacer{Ticker: time.NewTicker(tickEvery), every: tickEvery}
	defer tick.Stop()
	connected := l.nc.StatusChanged(nats.CONNECTED)
	defer l.nc.RemoveStatusListener(connected)
	defer l.commits.stop()
	l.tick()
	l.retryParked()
	l.sendStatus(events.Hello)
	for {
		if l.settling {
			// Refusing is done; what else can run, such as a request or the reading of
			// the next event, goes before counting, writing and reporting it.
			runtime.Gosched()
		}
		l.settle()
		tick.pace(l.pace())
		select {
		case <-connected:
			l.perform(l.core.reconnected())
			l.sendStatus(events.Hello)
			continue
		default:
		}
		select {
		case fn := <-l.inputs:
			fn(l)
			for n := min(len(l.inputs), inputsAtOnce); n > 0; n-- {
				(<-l.inputs)(l)
			}
			if l.instant().mono >= l.tickedAt+lookApart {
				l.tick()
				tick.Reset(tick.every)
			}
		case <-tick.C:
			l.tick()
		case <-l.commits.due():
			l.commitDue()
		case <-connected:
			l.perform(l.core.reconnected())
			l.sendStatus(events.Hello)
		case <-l.ctx.Done():
			l.finish()
			return
		}
	}
}

// pacer is a ticker whose period changes.
type pacer struct {
	*time.Ticker
	every time.Duration
}

func (p *pacer) pace(every time.Duration) {
	if p.every != every {
		p.every = every
		p.Reset(every)
	}
}

// pace is how soon time may change something.
func (l *loop) pace() time.Duration {
	if l.commits.dirty || l.saidState != events.Fresh || !l.core.idle(l.instant()) {
		return tickEvery
	}
	return idleEvery
}

// finish commits at once, once all that is visible is counted: whoever sees a
// position has all counts up to it.
func (l *loop) finish() {
	for l.lifting {
		(<-l.inputs)(l)
		l.settle()
	}
	if cursors, err := l.set.Commit(); err != nil {
		l.log.Error("writing the denylist", "err", err)
	} else {
		l.durable, l.core.report.due = cursors, true
		l.sendReport()
	}
	l.sendStatus(events.Goodbye)
}

func (l *loop) tick() {
	now := l.instant()
	l.tickedAt = now.mono
	l.perform(l.core.tick(now))
	if now.mono >= l.statusAt {
		l.sendStatus(events.Regular)
	}
	if now.mono >= l.keysAt+l.cfg.keysEvery() {
		l.refreshKeys(events.ErrUnknownKey)
	}
	if now.mono >= l.expireAt {
		l.expireAt = now.mono + expireEvery
		l.expire(now)
	}
	l.sendReport()
	l.publish(now)
	if l.publishStatus(now); l.status.Load().State != l.saidState {
		l.sendStatus(events.Regular)
	}
}

// expire drops what has expired. It waits for a running commit, so the loop does
// not wait for it.
func (l *loop) expire(now instant) {
	if l.expiring {
		return
	}
	l.expiring = true
	at := l.core.fresh.expiry(now)
	l.done.Go(func() {
		if !at.IsZero() {
			l.set.Expire(at)
		}
		l.seen.sweep(now.wall.Unix())
		l.input(func(l *loop) { l.expiring = false })
	})
}

// perform makes effects visible. What is slower waits for settle, which comes
// when the inputs that wait have been performed too.
func (l *loop) perform(e effects) {
	now := l.instant()
	change := l.change(e, now)
	if len(change.Records) > 0 || len(change.Cursors) > 0 || len(change.Park) > 0 || len(change.Unpark) > 0 || change.Synced {
		l.set.Stage(change)
		for _, m := range e.apply {
			l.applied = append(l.applied, m.Event)
			l.watch.send(m.Event)
		}
		l.reached("visible", len(change.Records))
		l.core.overflow = l.core.overflow || len(change.Park) > 0 && l.set.ParkedRefused() > l.refused
		l.refused = l.set.ParkedRefused()
		l.commits.dirty = true
	}
	l.settling = true
	for s, why := range e.lost {
		l.log.Warn("reading a stream again from its beginning", "stream", s, "reason", why)
	}
	for _, r := range e.refused {
		l.log.Warn("message refused", "stream", r.stream, "seq", r.seq, "live", r.live, "reason", events.Reason(r.err))
		l.refreshKeys(r.err)
	}
	for s, f := range e.fetch {
		l.read(s, f)
	}
}

// settle does what follows on being visible, once for all that was performed
// since: it is counted, then made durable, then reported.
func (l *loop) settle() {
	if !l.settling {
		return
	}
	l.settling = false
	now := l.instant()
	l.countApplied(now)
	if l.commits.dirty && now.mono >= l.commits.retryAt {
		l.commitSoon()
	}
	if l.written != nil && len(l.applied) == 0 {
		l.durable, l.written = l.written, nil
		l.core.report.due = true
		l.sendReport()
	}
	l.publish(now)
}

// change turns effects into what the set keeps.
func (l *loop) change(e effects, now instant) denylist.Change {
	c := denylist.Change{Synced: e.synced}
	expiry, keys := l.core.fresh.expiry(now).Unix(), l.keys.Load()
	for _, m := range e.apply {
		if m.Event.Expires <= expiry {
			continue // every token that it could hit is dead
		}
		if !keys.Has(m.KeyID) {
			l.gone[m.KeyID] = true // it was verified before the key was removed
			continue
		}
		if m.Event.Target.Kind == events.KindLift {
			l.lifted[m.Event.Target.Lifted] = true
		}
		c.Records = append(c.Records, denylist.RecordOf(m.Event, m.KeyID, m.stream, m.Seq))
	}
	if len(e.cursors) > 0 {
		c.Cursors = make(map[events.Stream]denylist.Cursor, len(e.cursors))
	}
	for s, cur := range e.cursors {
		c.Cursors[s] = denylist.Cursor(cur)
	}
	for _, p := range e.park {
		c.Park = append(c.Park, denylist.Parked{Stream: p.stream, Seq: p.seq, Reason: events.Reason(p.err), Raw: p.raw})
	}
	for _, at := range e.unpark {
		c.Unpark = append(c.Unpark, denylist.ParkedKey{Stream: at.stream, Seq: at.seq})
	}
	return c
}

// reached lets a test end the process after a step.
func (l *loop) reached(step string, n int) {
	if l.cfg.step != nil && n > 0 {
		l.cfg.step(step)
	}
}

// read starts a read of a stream; its outcome comes back as an input.
func (l *loop) read(s events.Stream, f follow.Fetch) {
	l.reader.Start(s, f, func(b follow.Batch, err error) {
		l.input(func(l *loop) { l.fetched(s, b, err) })
	})
}

func (l *loop) fetched(s events.Stream, b follow.Batch, err error) {
	if err != nil {
		l.core.failed(s)
		return
	}
	l.perform(l.core.fetched(s, b))
	if b.Keys != l.keys.Load() {
		l.retryParked() // it may have parked what the new keys open
	}
}

// publish makes what the core knows of itself visible to other goroutines.
func (l *loop) publish(now instant) {
	at := int64(never)
	if asOf, ok := l.core.asOf(now); ok {
		at = int64(asOf)
	}
	l.drift.Store(int64(l.core.last.drift()))
	l.asOf.Store(at)
	l.ready.Store(l.core.synced && !l.core.rebuilding)
	if l.core.fresh.known && !l.syncedSent {
		l.syncedSent = true
		close(l.synced)
	}
}

// publishStatus makes the status visible; it costs more than publish.
func (l *loop) publishStatus(now instant) {
	s := l.statusNow(now)
	l.status.Store(&s)
}
