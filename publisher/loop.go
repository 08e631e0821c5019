package publisher

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/denylist"
	"github.com/rescind/rescind/internal/follow"
	"github.com/rescind/rescind/publisher/ledger"
)

// loop is the goroutine that owns the publisher's state: its position in the
// streams, the events it knows, the roster and the tallies. All of it changes
// here only; what does I/O runs elsewhere and hands its outcome in as an input.
type loop struct {
	*Publisher
	streams map[events.Stream]*follow.Stream
	reader  *follow.Reader
	entries map[events.EventID]*entry
	roster  *roster
	tallies *tallies
	// viewed is what present gives; nil once it may have changed. dirty tells that all
	// waits are to be looked at, once, however many messages said so.
	viewed *view
	dirty  bool

	first     map[events.Stream]uint64
	lacking   map[events.Stream]uint64
	beaconNo  uint64
	listening bool
	asked     bool
	sweptAt   time.Duration
	republish map[events.Stream]time.Duration
	// republishing tells that events of the stream are being published again.
	republishing map[events.Stream]bool
	keysAt       time.Duration
	lastWall     time.Time
	lastMono     time.Duration
	refreshing   bool
	// held tells that live messages were passed over while too much waited for the
	// disk.
	held bool
}

// entry is what is held in memory of an event of the ledger.
type entry struct {
	stream  events.Stream
	seq     uint64 // 0: the stream does not have it
	expires int64
	own     bool
	acked   bool   // the stream had it at some time
	keyID   string // of the key that signed it, "" when it was not trusted
	order   uint64 // of its post in the outbox, 0 for none
}

const (
	tickEvery   = 100 * time.Millisecond
	sweepEvery  = time.Minute
	keysEvery   = time.Minute
	keysAtMost  = time.Second
	keysTimeout = 10 * time.Second
	clockStep   = 500 * time.Millisecond
	heardAtOnce = 1000
)

// load takes up what the ledger holds.
func (p *Publisher) load() (*loop, error) {
	l := &loop{Publisher: p, streams: map[events.Stream]*follow.Stream{},
		reader: follow.NewReader(p.ctx, p.bus, p.keys.Load, p.work.Go), entries: map[events.EventID]*entry{},
		roster: newRoster(p.cfg.Expect, p.cfg.ForgetAfter), tallies: newTallies(),
		first: map[events.Stream]uint64{}, lacking: map[events.Stream]uint64{},
		republish: map[events.Stream]time.Duration{}, republishing: map[events.Stream]bool{}, listening: true}
	cursors := map[events.Stream]*follow.Cursor{}
	err := p.ledger.View(func(tx *ledger.Tx) error {
		for _, s := range events.EventStreams {
			cursors[s] = &follow.Cursor{}
			if err := tx.Cursor(s, cursors[s]); err != nil {
				return err
			}
		}
		if err := tx.Events(l.loadEvent); err != nil {
			return err
		}
		// None is wanted: their numbers are enough.
		_, err := tx.Posts(0, 1, func(post *ledger.Post) bool {
			if e := l.entries[post.ID]; e != nil {
				e.order = post.Order
			}
			return false
		})
		return errors.Join(err, tx.Requests(events.EventID{}, l.loadRequest))
	})
	if err != nil {
		return nil, err
	}
	for s, c := range cursors {
		l.streams[s] = follow.New(*c, true, l.inStream)
		l.tallies.enter(s, c.Epoch, nil, 0)
	}
	return l, nil
}

func (l *loop) loadEvent(e *ledger.Entry) error {
	if e.Expires <= l.now().Unix() {
		return nil
	}
	m := follow.Decode(l.keys.Load(), l.fleet, e.Seq, e.Raw)
	l.entries[e.ID] = &entry{stream: e.Stream, seq: e.Seq, expires: e.Expires, own: e.Own, acked: e.Acked, keyID: m.KeyID}
	if m.Err != nil {
		l.log.Warn("event of the ledger is not trusted any more", "event", e.ID, "reason", events.Reason(m.Err))
		return nil
	}
	if e.Seq != 0 {
		l.noteElsewhere(e.Stream, e.Seq, m.Event, e.Own)
		l.set.Stage(denylist.Change{Records: []denylist.Record{denylist.RecordOf(m.Event, m.KeyID, e.Stream, e.Seq)}})
	}
	return nil
}

// inStream tells whether the event was seen in its stream, in the stream's
// present life.
func (l *loop) inStream(id events.EventID) bool {
	e := l.entries[id]
	return e != nil && e.seq != 0
}

func (l *loop) run() {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	connected := l.nc.StatusChanged(nats.CONNECTED)
	defer l.nc.RemoveStatusListener(connected)
	l.lastWall, l.lastMono = l.now(), l.mono()
	l.hello()
	l.tick()
	for {
		select {
		case fn := <-l.inputs:
			fn(l)
		case m := <-l.messages:
			l.heard(m)
			for n := min(len(l.messages), heardAtOnce); n > 0; n-- {
				l.heard(<-l.messages)
			}
		case <-tick.C:
			l.tick()
		case <-connected:
			l.reconnected()
			l.hello()
		case <-l.ctx.Done():
			return
		}
		if l.dirty {
			l.dirty = false
			l.settleAll()
		}
		l.settleTouched()
	}
}

// hello asks every agent for a status, so that a starting publisher knows whom
// to wait for.
func (l *loop) hello() {
	if !l.nc.IsConnected() {
		return
	}
	b, err := json.Marshal(events.Ask{})
	if err == nil {
		err = l.nc.Publish(l.fleet.AskAllSubject(), b)
	}
	if err != nil {
		l.log.Warn("asking the agents", "err", err)
		return
	}
	if !l.asked {
		l.asked = true
		at := l.mono()
		l.work.Go(func() {
			select {
			case <-time.After(l.cfg.listenFor()):
				l.input(func(l *loop) { l.listening = false })
			case <-l.ctx.Done():
			}
		})
		l.log.Debug("listening for agents", "since", at)
	}
}

func (l *loop) tick() {
	now := l.mono()
	l.noticeClock()
	resumed := l.held && !l.persists.full()
	l.held = l.held && !resumed
	for _, s := range events.EventStreams {
		if resumed {
			l.perform(s, l.streams[s].Reconnected())
		}
		l.perform(s, l.streams[s].Tick())
	}
	if now >= l.sweptAt {
		l.sweptAt = now + sweepEvery
		l.sweep(now)
	}
	if now >= l.keysAt+keysEvery {
		l.refreshKeys(events.ErrUnknownKey)
	}
	l.viewed = nil
	l.settleAll()
}

// noticeClock takes a new incarnation when the wall clock was set: agents must
// not correct its beacons by what they knew of the old one.
func (l *loop) noticeClock() {
	wall, mono := l.now(), l.mono()
	if drift := wall.Round(0).Sub(l.lastWall.Round(0)) - (mono - l.lastMono); drift.Abs() > clockStep {
		l.log.Warn("the clock was set", "by", drift)
		incarnation := events.NewEventID()
		l.incarnation.Store(&incarnation)
		l.beaconNo = 0
	}
	l.lastWall, l.lastMono = wall, mono
}

// sweep forgets what has expired.
func (l *loop) sweep(now time.Duration) {
	wall := l.now()
	unseen := map[events.EventID]int64{}
	for id, e := range l.entries {
		if e.expires > wall.Unix() {
			continue
		}
		if e.order != 0 {
			unseen[id] = e.expires
		}
		delete(l.entries, id)
	}
	l.sweepUnpublished()
	l.set.Expire(wall)
	l.viewed = nil
	for _, a := range l.roster.forget(now) {
		l.log.Warn("agent forgotten", "agent", a.Name(), "id", a.ID)
	}
	l.sweepOrders()
	l.work.Go(func() { l.expireLedger(wall, unseen) })
}

// expireAtOnce is how many events and requests are removed in one transaction:
// callers wait for the orders that share it.
const expireAtOnce = 500

// expireLedger removes what has expired, and what expired before any stream had it.
// What a crash leaves is removed by the next sweep.
func (p *Publisher) expireLedger(now time.Time, unseen map[events.EventID]int64) {
	for gone := expireAtOnce; gone == expireAtOnce && p.ctx.Err() == nil; {
		err := p.ledger.UpdateLater(func(tx *ledger.Tx) (err error) {
			for id, expires := range unseen {
				err = errors.Join(err, tx.PutExpiry(id, expires))
			}
			if err == nil {
				gone, err = tx.Expire(now, expireAtOnce)
			}
			return err
		})
		unseen = nil
		if err != nil && !errors.Is(err, ledger.ErrClosed) {
			p.log.Error("expiring the ledger", "err", err)
		}
		if err != nil {
			return
		}
	}
}

// sweepUnpublished ends the wait for events that expired before the stream had
// them.
func (l *loop) sweepUnpublished() {
	for _, t := range l.tallies.open {
		for id, e := range t.events {
			if e.seq == 0 && l.entries[id] == nil {
				l.closeTally(t)
				break
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.inflight {
		if l.entries[id] == nil {
			delete(l.signed, l.inflight[id].sum)
			delete(l.inflight, id)
		}
	}
}

func (l *loop) reconnected() {
	for _, s := range events.EventStreams {
		l.perform(s, l.streams[s].Reconnected())
	}
	l.kickOutbox()
}

// heard takes a report or a status. Whoever speaks must speak on the subject of
// its own id: the bus's permissions bind an agent to that.
func (l *loop) heard(m *nats.Msg) {
	if id, ok := strings.CutPrefix(m.Subject, l.fleet.ReportSubject("")); ok {
		rep, err := events.Decode[events.Report](m.Data)
		if err != nil || rep.Agent.ID != id {
			l.log.Warn("report refused", "subject", m.Subject)
			return
		}
		l.hear(id, func(now time.Duration) *hole {
			isNew, ask := l.roster.report(rep, now)
			l.takeReport(rep, isNew)
			return ask
		})
		return
	}
	id := strings.TrimPrefix(m.Subject, l.fleet.StatusSubject(""))
	s, err := events.Decode[events.Status](m.Data)
	if err != nil || s.Agent.ID != id {
		l.log.Warn("status refused", "subject", m.Subject)
		return
	}
	if s.Moment == events.Hello {
		l.saidHello()
	}
	l.hear(id, func(now time.Duration) *hole { return l.roster.status(s, now) })
}

// hear lets an agent's message change the roster, and looks at the tallies that
// this changes something for.
func (l *loop) hear(id string, take func(now time.Duration) *hole) {
	now := l.mono()
	was, m := standing{}, l.roster.members[id]
	if m != nil {
		was = m.standing(now)
	}
	l.askAgain(id, take(now))
	if m = l.roster.members[id]; m == nil {
		return
	}
	if is := m.standing(now); is.name != was.name || is.expected != was.expected || is.holes < was.holes {
		// Whom to wait for changed, or counts that were missing came.
		l.viewed, l.dirty = nil, true
	}
	l.tallies.moved(m, was.positions, now)
}

// standing is what of a member others wait for.
type standing struct {
	name      string
	expected  bool
	holes     uint64
	positions map[events.Stream]events.Position
}

func (m *member) standing(now time.Duration) standing {
	s := standing{name: m.agent.Name(), expected: !m.gone && !m.silent(now), positions: maps.Clone(m.positions)}
	for _, h := range m.holes {
		s.holes += h.to - h.from + 1
	}
	return s
}

func (l *loop) askAgain(id string, h *hole) {
	if h == nil {
		return
	}
	b, err := json.Marshal(events.Ask{From: h.from, To: h.to})
	if err == nil {
		err = l.nc.Publish(l.fleet.AskSubject(id), b)
	}
	if err != nil {
		l.log.Warn("asking for missing reports", "agent", id, "err", err)
	}
}

func (l *loop) takeReport(rep *events.Report, isNew bool) {
	if !isNew {
		return
	}
	for i := range rep.Counted {
		if t := l.tallies.byEvent[rep.Counted[i].Event]; t != nil {
			t.count(rep.Agent, &rep.Counted[i])
		}
	}
	for _, f := range rep.Faults {
		l.log.Warn("agent reports a fault", "agent", rep.Agent.Name(), "type", f.Type, "stream", f.Stream,
			"seq", f.Seq, "live", f.Live, "detail", f.Detail)
	}
}

// refreshKeys reads the key set anew when err says that a key is missing, at
// most once a second.
func (l *loop) refreshKeys(err error) {
	now := l.mono()
	if !events.Parkable(err) || l.refreshing || l.keysAt != 0 && now < l.keysAt+keysAtMost {
		return
	}
	l.refreshing, l.keysAt = true, max(now, 1)
	l.work.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, keysTimeout)
		defer cancel()
		keys, err := l.cfg.keys().Keys(ctx)
		l.input(func(l *loop) { l.refreshed(keys, err) })
	})
}

func (l *loop) refreshed(keys *events.KeySet, err error) {
	l.refreshing = false
	if err != nil {
		l.log.Warn("refreshing publishers' keys; the old ones stay", "err", err)
		return
	}
	before := l.keys.Swap(keys)
	if lacks(before, keys) {
		// What an unknown key had signed was passed over: read it all again.
		for _, s := range events.EventStreams {
			step := l.streams[s].Again("a publisher's key was added")
			step.Lost = "" // nothing is missing: what was known still stands
			l.perform(s, step)
		}
	}
	if lacks(keys, before) {
		if _, err := l.set.Reevaluate(keys.Has); err != nil {
			l.log.Error("re-evaluating after a key was removed", "err", err)
		}
	}
}

// lacks tells whether a has not all the keys of b.
func lacks(a, b *events.KeySet) bool {
	return slices.ContainsFunc(b.All(), func(k *events.PublicKey) bool { return !a.Has(k.ID) })
}
