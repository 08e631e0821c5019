package publisher

import (
	"cmp"
	"slices"
	"time"

	"github.com/rescind/rescind/events"
)

// tallies are the tallies of the open requests, found by what changes them: an
// event, or an agent whose position moves over the sequences that they wait for.
// With hundreds of agents and as many requests open, looking at each tally for each
// report would be most of a publisher's work.
type tallies struct {
	open    map[events.EventID]*tally
	byEvent map[events.EventID]*tally
	// bySeq has them in the order of the sequences at which their events stand.
	// What is closed, or was since found elsewhere, stays until it is swept: looking
	// at it changes nothing.
	bySeq map[events.Stream][]seqTally
	dead  int
	// furthest is the furthest position that any agent has reported of each stream
	// as the publisher follows it, in its present epoch.
	furthest map[events.Stream]events.Position
	// touched are those that something has changed for since they were last settled.
	touched []*tally
}

type seqTally struct {
	seq   uint64
	tally *tally
}

func newTallies() *tallies {
	return &tallies{open: map[events.EventID]*tally{}, byEvent: map[events.EventID]*tally{},
		bySeq: map[events.Stream][]seqTally{}, furthest: map[events.Stream]events.Position{}}
}

func (ts *tallies) add(t *tally) {
	ts.open[t.txn] = t
	for id := range t.events {
		ts.byEvent[id] = t
	}
}

// reached notes where the stream has one of the tally's events.
func (ts *tallies) reached(t *tally, e *tallied, epoch string, seq uint64) {
	if e.seq == 0 {
		t.unreached--
	}
	e.seq, e.epoch = seq, epoch
	all := ts.bySeq[e.stream]
	i := len(all)
	if i > 0 && all[i-1].seq > seq {
		i, _ = slices.BinarySearchFunc(all, seq, bySeq)
	}
	ts.bySeq[e.stream] = slices.Insert(all, i, seqTally{seq, t})
	ts.touch(t)
}

func bySeq(s seqTally, seq uint64) int { return cmp.Compare(s.seq, seq) }

// remove takes a closed tally out.
func (ts *tallies) remove(t *tally) {
	delete(ts.open, t.txn)
	for id := range t.events {
		delete(ts.byEvent, id)
	}
	ts.dead += len(t.events)
	if ts.dead < 1000+len(ts.byEvent) {
		return
	}
	ts.dead = 0
	for s, all := range ts.bySeq {
		ts.bySeq[s] = slices.DeleteFunc(all, func(x seqTally) bool { return x.tally.final != nil })
	}
}

func (ts *tallies) touch(t *tally) {
	if !t.touched {
		t.touched = true
		ts.touched = append(ts.touched, t)
	}
}

// takeTouched gives those that something has changed for.
func (ts *tallies) takeTouched() []*tally {
	all := ts.touched
	ts.touched = nil
	for _, t := range all {
		t.touched = false
	}
	return all
}

// enter is told of the epoch that a stream is followed in from now on.
func (ts *tallies) enter(s events.Stream, epoch string, members map[string]*member, now time.Duration) {
	ts.furthest[s] = events.Position{Epoch: epoch}
	for _, t := range ts.open {
		for _, e := range t.events {
			if e.stream == s && e.epoch == "" {
				e.epoch = epoch
			}
		}
	}
	for _, m := range members {
		ts.further(s, m.positions[s])
		ts.lookAtAll(m, now)
	}
}

func (ts *tallies) further(s events.Stream, at events.Position) {
	if f := ts.furthest[s]; f.Epoch == at.Epoch && f.Seq < at.Seq {
		ts.furthest[s] = at
	}
}

// moved looks at the tallies that an agent's position has moved over, or at all of
// them when it is one of another epoch, or went back.
func (ts *tallies) moved(m *member, before map[events.Stream]events.Position, now time.Duration) {
	for s, at := range m.positions {
		was := before[s]
		ts.further(s, at)
		switch {
		case at == was:
		case at.Epoch != was.Epoch || at.Seq < was.Seq:
			ts.lookAtAll(m, now)
		default:
			all := ts.bySeq[s]
			i, _ := slices.BinarySearchFunc(all, was.Seq+1, bySeq)
			for ; i < len(all) && all[i].seq <= at.Seq; i++ {
				ts.look(all[i].tally, m, now)
			}
		}
	}
}

func (ts *tallies) lookAtAll(m *member, now time.Duration) {
	for _, t := range ts.open {
		ts.look(t, m, now)
	}
}

func (ts *tallies) look(t *tally, m *member, now time.Duration) {
	if t.look(m, now) {
		ts.touch(t)
	}
}

// overtaken tells whether some agent has reported a position beyond one of the
// tally's events: agents hear of an event when the publisher does.
func (ts *tallies) overtaken(t *tally) bool {
	for _, e := range t.events {
		if f := ts.furthest[e.stream]; f.Epoch != e.epoch || f.Seq >= e.seq {
			return true
		}
	}
	return false
}

// waiter is a caller who waits for a tally.
type waiter struct {
	tally *tally
	wait  Wait
	quiet bool
	done  chan events.Outcome
}

// present is what the roster says now: at the last tick, or since it changed.
func (l *loop) present() *view {
	if l.viewed == nil {
		l.viewed = l.roster.view(l.mono())
	}
	return l.viewed
}

// settleAll looks at every open tally: the time may be up, or the roster may have
// changed.
func (l *loop) settleAll() {
	l.tallies.takeTouched()
	for _, t := range l.tallies.open {
		l.settle(t)
	}
}

func (l *loop) settleTouched() {
	for _, t := range l.tallies.takeTouched() {
		l.settle(t)
	}
}

// settle answers the callers whose wait for a tally is over, and closes it when it
// is complete or its time is up.
func (l *loop) settle(t *tally) {
	if t.final != nil || !t.reached() {
		return
	}
	now, expected := l.mono(), l.present().expected
	t.waiters = slices.DeleteFunc(t.waiters, func(w *waiter) bool {
		over := t.settled(w.wait, expected)
		if over {
			w.done <- t.outcome(l.present(), w.quiet, now)
		}
		return over
	})
	if l.listening {
		return
	}
	if now-t.reachedAt > l.cfg.receiptAfter() || len(l.roster.members) > 0 && t.settled(WaitAll, expected) {
		l.closeTally(t)
	}
}

// closeTally writes the receipt of what is known now.
func (l *loop) closeTally(t *tally) {
	out := t.outcome(l.present(), false, l.mono())
	t.final = &out
	for _, w := range t.waiters {
		w.done <- out
	}
	t.waiters = nil
	l.tallies.remove(t)
	l.writeReceipt(t, out)
}

// wait registers a caller; the outcome comes on the channel when the wait is over.
func (l *loop) wait(t *tally, w Wait, quiet bool) *waiter {
	out := &waiter{t, w, quiet, make(chan events.Outcome, 1)}
	if t.settled(w, l.present().expected) {
		out.done <- t.outcome(l.present(), quiet, l.mono())
		return out
	}
	t.waiters = append(t.waiters, out)
	return out
}

// giveUp takes a waiter back, and gives what is known now.
func (l *loop) giveUp(w *waiter) events.Outcome {
	w.tally.waiters = slices.DeleteFunc(w.tally.waiters, func(x *waiter) bool { return x == w })
	return w.tally.outcome(l.present(), w.quiet, l.mono())
}
