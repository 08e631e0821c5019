package subscriber

import (
	"maps"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/follow"
)

// core is the agent's state apart from the set itself: positions, freshness,
// what is parked, what is to be reported. It is a plain state machine, from
// (state, input, now) to (state, effects): it does no I/O and reads no clock. One
// loop owns it.
type core struct {
	streams map[events.Stream]*follow.Stream
	fresh   *freshness
	parked  map[parkedAt]follow.Message
	// overflow tells that something found no room to be parked.
	overflow bool
	// synced tells that the set was complete once; rebuilding that it was, and
	// its file is lost.
	synced, rebuilding bool
	rejected           map[string]uint64
	report             pendingReport
	last               instant
}

// place is where a message stands.
type place struct {
	stream events.Stream
	seq    uint64
}

// parkedAt tells messages apart that stood at one place: a stream that was rolled
// back uses its sequences again.
type parkedAt struct {
	place
	hash [32]byte
}

// maxParked is how many messages are kept that cannot be read yet. Each may be a
// revocation, so the agent is untrusted until those that found no room were read
// again.
const maxParked = 10000

// effects is what the loop has to do after an input, in this order: apply, park,
// store, and only after the disk has it, report; fetch at any time.
type effects struct {
	apply   []applied
	park    []parkedMessage
	unpark  []place
	cursors map[events.Stream]follow.Cursor
	synced  bool
	fetch   map[events.Stream]follow.Fetch
	// lost says which streams are read again from their beginning, and why.
	lost map[events.Stream]string
	// refused are messages that changed nothing, for the log.
	refused []refusal
}

type applied struct {
	stream events.Stream
	follow.Message
}

type parkedMessage struct {
	place
	raw []byte
	err error
}

type refusal struct {
	place
	live bool
	err  error
}

func newCore(bound time.Duration, cursors map[events.Stream]follow.Cursor, known func(events.EventID) bool) *core {
	c := &core{
		streams:  map[events.Stream]*follow.Stream{},
		fresh:    newFreshness(bound),
		parked:   map[parkedAt]follow.Message{},
		rejected: map[string]uint64{},
	}
	for _, s := range events.EventStreams {
		c.streams[s] = follow.New(cursors[s], false, known)
	}
	return c
}

// live takes a message from the live subject.
func (c *core) live(s events.Stream, m follow.Message, now instant) effects {
	return c.settled(c.take(s, c.streams[s].Live(m.Heard(s, now.wall))))
}

// fetched takes the outcome of a read.
func (c *core) fetched(s events.Stream, b follow.Batch) effects {
	return c.settled(c.take(s, c.streams[s].Fetched(b)))
}

// failed takes the failure of a read.
func (c *core) failed(s events.Stream) { c.streams[s].Failed() }

// reconnected is called when messages may have been lost on their way.
func (c *core) reconnected() effects {
	var e effects
	for _, s := range events.EventStreams {
		e.add(c.take(s, c.streams[s].Reconnected()))
	}
	return c.settled(e)
}

// beacon takes a verified beacon; a replay changes nothing.
func (c *core) beacon(b *events.Beacon, now instant) effects {
	c.noticeClock(now)
	var e effects
	if !c.fresh.beacon(b, now) {
		c.rejected["replayed_beacon"]++
		return e
	}
	for _, s := range events.EventStreams {
		e.add(c.take(s, c.streams[s].Watermark(b.Streams[s])))
	}
	return c.settled(e)
}

// refuse counts a message of the beacon, query or ask subject that was not taken.
func (c *core) refuse(reason string) { c.rejected[reason]++ }

// tick starts reads that are due and notices a clock that was set.
func (c *core) tick(now instant) effects {
	c.noticeClock(now)
	var e effects
	for _, s := range events.EventStreams {
		e.add(c.take(s, c.streams[s].Tick()))
	}
	return c.settled(e)
}

// noticeClock forgets what rests on the wall clock when it was set.
func (c *core) noticeClock(now instant) {
	if c.last != (instant{}) && (now.drift()-c.last.drift()).Abs() > clockStep {
		c.fresh.clockStepped()
	}
	c.last = now
}

// clockStep is how far the wall clock may move against the monotonic one between
// two looks before it counts as set.
const clockStep = 500 * time.Millisecond

// take turns what a stream says into effects, and keeps what is counted.
func (c *core) take(s events.Stream, step follow.Step) effects {
	var e effects
	if len(step.Apply) > 0 {
		e.apply = make([]applied, len(step.Apply))
	}
	for i, m := range step.Apply {
		e.apply[i] = applied{s, m}
	}
	for _, m := range step.Reject {
		c.fault(&e, refusal{place{s, m.Seq}, false, m.Err})
	}
	for _, m := range step.Ignored {
		c.fault(&e, refusal{place{s, m.Seq}, true, m.Err})
	}
	for _, m := range step.Park {
		c.park(&e, place{s, m.Seq}, m)
	}
	if step.Moved {
		e.cursors = map[events.Stream]follow.Cursor{s: step.Cursor}
	}
	if step.Fetch != nil {
		e.fetch = map[events.Stream]follow.Fetch{s: *step.Fetch}
	}
	if step.Lost != "" {
		e.lost = map[events.Stream]string{s: step.Lost}
	}
	return e
}

// settled judges what is covered once every stream has had its part of an input:
// before, a stream that the same beacon shows to have gone back would still count.
func (c *core) settled(e effects) effects {
	c.fresh.cover(c.covers)
	if c.fresh.known && !c.synced {
		c.synced, c.rebuilding, e.synced = true, false, true
	}
	return e
}

func (c *core) fault(e *effects, r refusal) {
	c.rejected[events.Reason(r.err)]++
	c.report.fault(events.Fault{Type: events.Reason(r.err), Stream: r.stream, Seq: r.seq, Live: r.live})
	e.refused = append(e.refused, r)
}

func (c *core) park(e *effects, at place, m follow.Message) {
	key := parkedAt{at, m.Hash}
	if _, there := c.parked[key]; there {
		return
	}
	c.fault(e, refusal{at, false, m.Err})
	if len(c.parked) >= maxParked {
		c.overflow = true
		return
	}
	c.parked[key] = m
	e.park = append(e.park, parkedMessage{at, m.Raw, m.Err})
}

// retryParked opens what is parked again, after the key set changed. When
// something had found no room, the streams are read again for it.
func (c *core) retryParked(open func(seq uint64, raw []byte) follow.Message, known func(events.EventID) bool) effects {
	var e effects
	kept := map[place]bool{}
	var opened []place
	for key, old := range c.parked {
		at := key.place
		m := open(at.seq, old.Raw)
		if m.Err != nil && events.Parkable(m.Err) {
			kept[at] = true
			continue
		}
		delete(c.parked, key)
		opened = append(opened, at)
		switch {
		case m.Err != nil:
			c.fault(&e, refusal{at, false, m.Err})
		case !known(m.Event.ID):
			e.apply = append(e.apply, applied{at.stream, m})
		}
	}
	for _, at := range opened {
		if !kept[at] {
			e.unpark = append(e.unpark, at)
		}
	}
	if c.overflow && len(opened) > 0 {
		c.overflow = false
		e.add(c.again("messages had found no room to be parked"))
	}
	return e
}

// again reads all streams again; until it has, nothing new is covered.
func (c *core) again(why string) effects {
	var e effects
	c.fresh.forget()
	for _, s := range events.EventStreams {
		e.add(c.take(s, c.streams[s].Again(why)))
	}
	return e
}

// trusted tells that nothing is kept, or was left out, that cannot be read.
func (c *core) trusted() bool { return len(c.parked) == 0 && !c.overflow }

func (c *core) covers(marks map[events.Stream]events.Watermark) bool {
	for _, s := range events.EventStreams {
		if !c.streams[s].Covers(marks[s]) {
			return false
		}
	}
	return true
}

func (c *core) lag() (n uint64) {
	for _, s := range c.streams {
		n += s.Lag()
	}
	return n
}

// asOf gives the moment up to which everything acknowledged is held, and whether
// there is one: not before the first beacon is covered, not while anything is
// parked, and not while a stream owes events.
func (c *core) asOf(now instant) (time.Duration, bool) {
	if !c.fresh.known || !c.trusted() || c.fresh.owed(now) {
		return 0, false
	}
	return c.fresh.asOf, true
}

// state names what the agent knows of itself.
func (c *core) state(now instant) events.State {
	asOf, ok := c.asOf(now)
	switch {
	case c.rebuilding:
		return events.Rebuilding
	case !c.synced:
		return events.Unsynced
	case !c.trusted():
		return events.Untrusted
	case ok && now.mono-asOf <= c.fresh.bound:
		return events.Fresh
	case c.fresh.hears(now) && !c.fresh.owed(now):
		return events.Syncing
	default:
		return events.Stale
	}
}

// idle tells that the agent is fresh and waits for nothing.
func (c *core) idle(now instant) bool {
	for _, s := range c.streams {
		if s.Due() {
			return false
		}
	}
	return !c.report.due && c.state(now) == events.Fresh
}

// add joins two sets of effects in the order in which they came about.
func (e *effects) add(next effects) {
	e.apply = append(e.apply, next.apply...)
	e.park = append(e.park, next.park...)
	e.unpark = append(e.unpark, next.unpark...)
	e.refused = append(e.refused, next.refused...)
	e.synced = e.synced || next.synced
	e.cursors = merged(e.cursors, next.cursors)
	e.fetch = merged(e.fetch, next.fetch)
	e.lost = merged(e.lost, next.lost)
}

func merged[V any](a, b map[events.Stream]V) map[events.Stream]V {
	if len(a) == 0 {
		return b
	}
	maps.Copy(a, b)
	return a
}
