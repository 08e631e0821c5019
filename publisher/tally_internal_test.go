package publisher

import (
	"slices"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
)

// tallied of two events, accepted at 0 and reached.
func reachedTally(ids ...events.EventID) *tally {
	t := newTally(events.EventID{9}, time.Second)
	for i, id := range ids {
		t.expect(id, &tallied{stream: events.Control, epoch: "e", seq: uint64(10 + i)})
	}
	return t
}

var e1, e2 = events.EventID{1}, events.EventID{2}

// fleetOf gives a roster of agents that have applied up to the sequences.
func fleetOf(seqs ...uint64) (*roster, []events.Agent) {
	r := newRoster(nil, 0)
	var agents []events.Agent
	for i, seq := range seqs {
		a := agent(string(rune('a'+i)), string(rune('a'+i)))
		s := status(a, 0)
		s.Positions = map[events.Stream]events.Position{events.Control: {Epoch: "e", Seq: seq}}
		r.status(s, time.Second)
		agents = append(agents, a)
	}
	return r, agents
}

func (t *tally) lookAll(r *roster, now time.Duration) {
	for _, m := range r.members {
		t.look(m, now)
	}
}

func TestWaitEndsWhenEnoughAgentsHaveReported(t *testing.T) {
	for _, tc := range []struct {
		name string
		seqs []uint64
		want map[Wait]bool
	}{
		{"nobody", nil, map[Wait]bool{WaitNone: true, 1: true, WaitAll: true}},
		{"none of two", []uint64{9, 0}, map[Wait]bool{WaitNone: true, 1: false, 2: false, WaitAll: false}},
		{"one of two", []uint64{10, 9}, map[Wait]bool{WaitNone: true, 1: true, 2: false, WaitAll: false}},
		{"both", []uint64{10, 99}, map[Wait]bool{WaitNone: true, 1: true, 2: true, 5: true, WaitAll: true}},
	} {
		r, _ := fleetOf(tc.seqs...)
		ta := reachedTally(e1)
		ta.lookAll(r, 2*time.Second)
		for w, want := range tc.want {
			if got := ta.settled(w, r.expected(2*time.Second)); got != want {
				t.Errorf("%s: wait %s settled %v, want %v", tc.name, w, got, want)
			}
		}
	}
	r, _ := fleetOf(10)
	unreached := newTally(e1, 0)
	unreached.expect(e1, &tallied{stream: events.Control})
	if unreached.lookAll(r, 1); unreached.settled(WaitAll, r.expected(1)) {
		t.Error("settled before the publisher's own follower had the event")
	}
}

func TestPositionOfAnotherEpochIsNoReport(t *testing.T) {
	r, _ := fleetOf(99)
	ta := reachedTally(e1)
	ta.events[e1].epoch = "f"
	if ta.lookAll(r, 1); ta.settled(1, r.expected(2*time.Second)) {
		t.Error("an agent in the former stream counts as having applied")
	}
}

func TestCountsAreAUnionOverAgentsAndEvents(t *testing.T) {
	c := func(id events.EventID, inv, prev events.TokenHashes) *events.Counted {
		return &events.Counted{Event: id, Invalidated: inv, Previously: prev, InvalidatedCount: len(inv), PreviouslyCount: len(prev)}
	}
	type h = events.TokenHashes
	for _, tc := range []struct {
		name     string
		a, b     []*events.Counted
		inv, pre int
	}{
		{"one agent", []*events.Counted{c(e1, h{1, 2}, h{3})}, nil, 2, 1},
		{"both saw the same", []*events.Counted{c(e1, h{1, 2}, nil)}, []*events.Counted{c(e1, h{2, 3}, nil)}, 3, 0},
		{"one had refused it before", []*events.Counted{c(e1, h{1}, nil)}, []*events.Counted{c(e1, nil, h{1})}, 0, 1},
		{"two events hit it", []*events.Counted{c(e1, h{1}, nil), c(e2, h{1}, nil)}, nil, 1, 0},
		{"two events, in either order", []*events.Counted{c(e1, h{1}, nil), c(e2, h{1}, nil)},
			[]*events.Counted{c(e2, h{1}, nil), c(e1, h{1}, nil)}, 1, 0},
		{"said twice", []*events.Counted{c(e1, h{1}, nil), c(e1, h{1}, nil)}, nil, 1, 0},
		{"of another request", []*events.Counted{c(events.EventID{7}, h{1}, nil)}, nil, 0, 0},
	} {
		r, agents := fleetOf(99, 99)
		ta := reachedTally(e1, e2)
		for _, x := range tc.a {
			ta.count(agents[0], x)
		}
		for _, x := range tc.b {
			ta.count(agents[1], x)
		}
		ta.lookAll(r, 2*time.Second)
		if o := ta.outcome(r.view(2*time.Second), false, 2*time.Second); o.Invalidated != tc.inv || o.Previously != tc.pre || !o.Complete {
			t.Errorf("%s: %+v, want %d and %d, complete", tc.name, o, tc.inv, tc.pre)
		}
	}
}

func TestCountsThatCannotBeWholeAreMarked(t *testing.T) {
	for _, tc := range []struct {
		name     string
		do       func(ta *tally, r *roster, a events.Agent)
		missing  bool
		atLeast  bool
		inv, pre int
	}{
		{"whole", func(*tally, *roster, events.Agent) {}, false, false, 0, 0},
		{"a replay", func(ta *tally, _ *roster, a events.Agent) {
			ta.count(a, &events.Counted{Event: e1, Replay: true, Invalidated: events.TokenHashes{1}, InvalidatedCount: 1})
		}, true, false, 0, 0},
		{"a list too long to name", func(ta *tally, _ *roster, a events.Agent) {
			ta.count(a, &events.Counted{Event: e1, InvalidatedCount: 70000, PreviouslyCount: 5, AtLeast: true})
		}, false, true, 70000, 5},
		{"a report is missing", func(_ *tally, r *roster, a events.Agent) { r.report(report(a, 3), 2*time.Second) }, true, false, 0, 0},
		{"a report from before is missing", func(ta *tally, r *roster, a events.Agent) {
			ta.accepted = 3 * time.Second
			r.report(report(a, 3), 2*time.Second)
		}, false, false, 0, 0},
		{"the publisher was started again", func(ta *tally, _ *roster, _ events.Agent) { ta.restarted = true }, true, false, 0, 0},
		{"the agent was first heard later", func(_ *tally, r *roster, a events.Agent) { r.members[a.ID].unheard = true }, true, false, 0, 0},
	} {
		r, agents := fleetOf(99)
		ta := reachedTally(e1)
		tc.do(ta, r, agents[0])
		ta.lookAll(r, 4*time.Second)
		o := ta.outcome(r.view(4*time.Second), false, 4*time.Second)
		if got := slices.Equal(o.CountsMissing, []string{"pay/a"}); got != tc.missing || len(o.CountsMissing) > 1 ||
			o.AtLeast != tc.atLeast || o.Invalidated != tc.inv || o.Previously != tc.pre {
			t.Errorf("%s: %+v, want missing %v, at least %v, %d and %d", tc.name, o, tc.missing, tc.atLeast, tc.inv, tc.pre)
		}
	}
}

func TestOutcomeIsCompleteOnlyWithEveryAgentsReport(t *testing.T) {
	for _, tc := range []struct {
		name string
		seqs []uint64
		do   func(r *roster, a []events.Agent)
		want string // the type of the error, "" for complete
	}{
		{"all applied", []uint64{10, 11}, nil, ""},
		{"nobody known", nil, nil, events.AgentMissing},
		{"one has not reported", []uint64{10, 9}, nil, events.AgentSilent},
		{"one could not read it", []uint64{10, 10}, func(r *roster, a []events.Agent) {
			rep := report(a[1], 1)
			rep.Faults = []events.Fault{{Type: "unknown_key", Stream: events.Control, Seq: 10}}
			r.report(rep, 2*time.Second)
		}, events.AgentFault},
		{"one could not read something else", []uint64{10, 10}, func(r *roster, a []events.Agent) {
			rep := report(a[1], 1)
			rep.Faults = []events.Fault{{Type: "signature", Stream: events.Control, Seq: 10, Live: true},
				{Type: "unknown_key", Stream: events.Tokens, Seq: 10}, {Type: "disk"}}
			r.report(rep, 2*time.Second)
		}, ""},
		{"a service is short of agents", []uint64{10}, func(r *roster, _ []events.Agent) { r.expect = map[string]int{"pay": 2} }, events.AgentMissing},
	} {
		r, agents := fleetOf(tc.seqs...)
		if tc.do != nil {
			tc.do(r, agents)
		}
		ta := reachedTally(e1)
		ta.lookAll(r, 3*time.Second)
		o := ta.outcome(r.view(3*time.Second), false, 3*time.Second)
		got := ""
		if len(o.Errors) > 0 {
			got = o.Errors[0].Type
		}
		if got != tc.want || o.Complete != (tc.want == "") || o.Expected != len(tc.seqs) {
			t.Errorf("%s: %+v, want error %q", tc.name, o, tc.want)
		}
		if tc.want == events.AgentFault && len(o.Applied) != 1 {
			t.Errorf("%s: applied %v, want only the one that could", tc.name, o.Applied)
		}
	}
}

func TestClosedTallyStaysAsItWas(t *testing.T) {
	r, agents := fleetOf(10)
	ta := reachedTally(e1)
	ta.lookAll(r, 2*time.Second)
	out := ta.outcome(r.view(2*time.Second), false, 2*time.Second)
	ta.final = &out
	r.status(status(agent("late", "late"), 0), 3*time.Second)
	ta.count(agents[0], &events.Counted{Event: e1, Invalidated: events.TokenHashes{1}, InvalidatedCount: 1})
	if got := ta.outcome(r.view(time.Hour), false, time.Hour); !ta.settled(WaitAll, r.expected(3*time.Second)) || got.Expected != 1 || got.Invalidated != 0 || !got.Complete {
		t.Errorf("after it was closed: %+v", got)
	}
}

func TestWaitReadsWhatItWrites(t *testing.T) {
	for s, want := range map[string]Wait{"none": 0, "any": 1, "all": -1, "0": 0, "1": 1, "17": 17} {
		got, err := ParseWait(s)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v, want %d", s, got, err, want)
		}
		if again, err := ParseWait(got.String()); err != nil || again != got {
			t.Errorf("%s: written as %s and read as %v, %v", s, got, again, err)
		}
	}
	for _, s := range []string{"", "some", "-1", "-2", "1.5", "all ", "99999999", "ALL"} {
		if w, err := ParseWait(s); err == nil {
			t.Errorf("%q is read as %v", s, w)
		}
	}
}
