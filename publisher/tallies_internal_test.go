package publisher

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
)

// twins are a tally found by what changes it, and one that is looked at always.
type twins struct {
	t, looked *tally
	unseen    []events.EventID
}

// tallyRig moves agents and a follower at random over streams whose epochs change.
type tallyRig struct {
	r      *rand.Rand
	ts     *tallies
	roster *roster
	open   []*twins
	epochs map[events.Stream]string
	next   map[events.Stream]string // some agents hear of it before the publisher
	ends   map[events.Stream]uint64
	n      uint64
}

func (g *tallyRig) id() (id events.EventID) {
	g.n++
	binary.BigEndian.PutUint64(id[:], g.n)
	return id
}

func (g *tallyRig) stream() events.Stream {
	return events.EventStreams[g.r.IntN(len(events.EventStreams))]
}

func (g *tallyRig) accept() {
	w := &twins{newTally(g.id(), 0), nil, nil}
	w.looked = newTally(w.t.txn, 0)
	for range 1 + g.r.IntN(2) {
		id, s := g.id(), g.stream()
		w.t.expect(id, &tallied{stream: s})
		w.looked.expect(id, &tallied{stream: s})
		w.unseen = append(w.unseen, id)
	}
	g.ts.add(w.t)
	g.open = append(g.open, w)
}

// reach lets the follower see an event of one of them, as the loop does.
func (g *tallyRig) reach() {
	w := g.open[g.r.IntN(len(g.open))]
	if len(w.unseen) == 0 {
		return
	}
	id := w.unseen[0]
	w.unseen = w.unseen[1:]
	e, copied := w.t.events[id], w.looked.events[id]
	g.ends[e.stream]++
	g.ts.reached(w.t, e, g.epochs[e.stream], g.ends[e.stream])
	copied.seq, copied.epoch = e.seq, e.epoch
	w.looked.unreached--
	if w.t.reached() && g.ts.overtaken(w.t) {
		for _, m := range g.roster.members {
			g.ts.look(w.t, m, 0)
		}
	}
}

// report moves an agent: behind or beyond the follower, sometimes back, sometimes
// in a former epoch.
func (g *tallyRig) report() {
	a := agent(string(rune('a'+g.r.IntN(3))), "x")
	var before map[events.Stream]events.Position
	if m := g.roster.members[a.ID]; m != nil {
		before = maps.Clone(m.positions)
	}
	s := g.stream()
	at := events.Position{Epoch: g.epochs[s], Seq: g.ends[s] + uint64(g.r.IntN(4))}
	if at.Seq > 2 {
		at.Seq -= 2
	}
	switch g.r.IntN(20) {
	case 0:
		at.Epoch = "former"
	case 1:
		at.Epoch = g.next[s]
	}
	st := status(a, 0)
	st.Positions = map[events.Stream]events.Position{s: at}
	g.roster.status(st, 0)
	g.ts.moved(g.roster.members[a.ID], before, 0)
}

func (g *tallyRig) renew(s events.Stream) {
	g.epochs[s], g.next[s] = g.next[s], g.id().String()
	g.ts.enter(s, g.epochs[s], g.roster.members, 0)
}

func (g *tallyRig) close() {
	i := g.r.IntN(len(g.open))
	g.open[i].t.final = &events.Outcome{}
	g.ts.remove(g.open[i].t)
	g.open = append(g.open[:i], g.open[i+1:]...)
}

// TestTallyIsLookedAtWhenItMatters compares with looking at every tally for every
// agent after each step.
func TestTallyIsLookedAtWhenItMatters(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	g := &tallyRig{r: rand.New(rand.NewPCG(seed, 0)), ts: newTallies(), roster: newRoster(nil, 0),
		epochs: map[events.Stream]string{}, next: map[events.Stream]string{},
		ends: map[events.Stream]uint64{}}
	for _, s := range events.EventStreams {
		g.renew(s)
		g.renew(s)
	}
	applied := 0
	for step := range 30_000 {
		switch n := g.r.IntN(100); {
		case len(g.open) == 0 || n < 20 && len(g.open) < 20:
			g.accept()
		case n < 50:
			g.reach()
		case n < 85:
			g.report()
		case n < 86:
			g.renew(g.stream())
		case len(g.open) > 10:
			g.close()
		}
		for _, w := range g.open {
			for _, m := range g.roster.members {
				w.looked.look(m, 0)
			}
			if w.t.applied != w.looked.applied {
				t.Fatalf("seed %d, step %d: %d agents have applied it, found %d", seed, step, w.looked.applied, w.t.applied)
			}
			applied += w.t.applied
		}
	}
	if applied == 0 {
		t.Fatal("nothing was ever applied")
	}
	if n := len(g.ts.bySeq[events.Control]) + len(g.ts.bySeq[events.Tokens]); n > 1200 {
		t.Errorf("%d are kept of %d open", n, len(g.open))
	}
}

// TestEpochThatIsLearntLateIsLookedAt: a starting publisher knows where its ledger's
// events stand before it knows the stream's epoch.
func TestEpochThatIsLearntLateIsLookedAt(t *testing.T) {
	r, _ := fleetOf(10)
	ts, ta := newTallies(), newTally(e2, 0)
	e := &tallied{stream: events.Control}
	ta.expect(e1, e)
	ts.add(ta)
	ts.reached(ta, e, "", 10)
	ts.enter(events.Control, "e", r.members, 0)
	if ta.applied != 1 {
		t.Errorf("%d agents have applied it, want the one that was there", ta.applied)
	}
}
