package publisher

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/rescind/rescind/events"
)

// Wait says how many agents' reports an answer waits for.
type Wait int

// The waits that are not a number of agents.
const (
	// WaitNone answers once the stream has the events.
	WaitNone Wait = 0
	// WaitAll waits for every agent expected.
	WaitAll Wait = -1
)

// ParseWait reads none, any, all, or a number of agents.
func ParseWait(s string) (Wait, error) {
	switch s {
	case "none":
		return WaitNone, nil
	case "any":
		return 1, nil
	case "all":
		return WaitAll, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > maxMembers {
		return 0, fmt.Errorf("wait must be none, any, all or a number of agents, not %q", s)
	}
	return Wait(n), nil
}

// String is the form that ParseWait reads.
func (w Wait) String() string {
	switch w {
	case WaitNone:
		return "none"
	case WaitAll:
		return "all"
	}
	return strconv.Itoa(int(w))
}

// tally gathers what is known of one request's effect. It is a plain state
// machine, part of the publisher's core.
type tally struct {
	txn      events.EventID
	accepted time.Duration
	events   map[events.EventID]*tallied
	// unreached is how many of the events the publisher's follower has not seen.
	unreached int
	agents    map[string]*part
	// applied is how many of the agents have applied all of them.
	applied int
	// waiters are the callers who wait for it.
	waiters []*waiter
	// touched tells that it is among those to be settled.
	touched bool
	// extra counts are those of lists too long to name, the largest of any agent:
	// what several agents did not name cannot be counted once.
	extraInvalidated, extraPreviously int
	// ownInvalidated and ownPreviously are the tokens of lists, which the
	// publisher counts itself.
	ownInvalidated, ownPreviously int
	atLeast                       bool
	// restarted tells that the publisher was started again since it accepted the
	// request: reports made meanwhile were not heard.
	restarted bool
	// final is the outcome once the tally was closed, nil before.
	final *events.Outcome
	// reachedAt is when the follower had reached all of them.
	reachedAt time.Duration
}

// tallied is one event of a request.
type tallied struct {
	stream events.Stream
	epoch  string
	seq    uint64 // 0 until the publisher's own follower has reached it
	kind   events.Kind
	// tokens are those of a list, for counting when the follower reaches it.
	tokens  []*events.Token
	counted bool
	// invalidated and previously are the tokens that agents named.
	invalidated, previously map[events.TokenHash]struct{}
}

// part is one agent's part in a tally.
type part struct {
	name    string
	applied bool
	after   time.Duration
	missing bool
}

func newTally(txn events.EventID, accepted time.Duration) *tally {
	return &tally{txn: txn, accepted: accepted, events: map[events.EventID]*tallied{}, agents: map[string]*part{}}
}

// expect adds an event, seen at seq of its stream or, at 0, not yet.
func (t *tally) expect(id events.EventID, e *tallied) {
	t.events[id] = e
	if e.seq == 0 {
		t.unreached++
	}
}

// reached tells whether the publisher's own follower has seen all the events.
func (t *tally) reached() bool { return t.unreached == 0 }

// count takes one agent's count of one of the events.
func (t *tally) count(agent events.Agent, c *events.Counted) {
	e := t.events[c.Event]
	if t.final != nil || e == nil {
		return
	}
	if c.Replay {
		t.part(agent).missing = true
		return
	}
	note(&e.invalidated, c.Invalidated)
	note(&e.previously, c.Previously)
	t.extraInvalidated = max(t.extraInvalidated, c.InvalidatedCount-len(c.Invalidated))
	t.extraPreviously = max(t.extraPreviously, c.PreviouslyCount-len(c.Previously))
	t.atLeast = t.atLeast || c.AtLeast
}

func note(set *map[events.TokenHash]struct{}, hashes events.TokenHashes) {
	if *set == nil && len(hashes) > 0 {
		*set = make(map[events.TokenHash]struct{}, len(hashes))
	}
	for _, h := range hashes {
		(*set)[h] = struct{}{}
	}
}

// tokens counts the tokens that agents named. One that an agent had refused
// before the request was invalidated before, whatever another agent says: an
// agent names a token as invalidated by each event of the request that refuses it.
func (t *tally) tokens() (invalidated, previously int) {
	fresh, old := map[events.TokenHash]struct{}{}, map[events.TokenHash]struct{}{}
	for _, e := range t.events {
		maps.Copy(fresh, e.invalidated)
		maps.Copy(old, e.previously)
	}
	for h := range old {
		delete(fresh, h)
	}
	return len(fresh), len(old)
}

func (t *tally) part(a events.Agent) *part {
	p := t.agents[a.ID]
	if p == nil {
		p = &part{name: a.Name()}
		t.agents[a.ID] = p
	}
	return p
}

// look compares an agent's positions with the events, and tells whether it has
// applied them since the last look.
func (t *tally) look(m *member, now time.Duration) bool {
	if t.final != nil || !t.reached() {
		return false
	}
	if p := t.agents[m.agent.ID]; p != nil && p.applied {
		return false
	}
	for _, e := range t.events {
		if !m.applied(e.stream, e.epoch, e.seq) {
			return false
		}
	}
	p := t.part(m.agent)
	p.applied, p.after = true, now-t.accepted
	t.applied++
	return true
}

// settled tells whether the wait for the expected agents is over.
func (t *tally) settled(w Wait, expected []*member) bool {
	if w == WaitNone || t.final != nil {
		return true
	}
	if !t.reached() || t.applied < len(expected) && (w == WaitAll || t.applied < int(w)) {
		return false
	}
	applied, missing := 0, 0
	for _, m := range expected {
		switch p := t.agents[m.agent.ID]; {
		case p != nil && p.applied && !t.waitsForReports(m):
			applied++
		default:
			missing++
		}
	}
	if w == WaitAll {
		return missing == 0
	}
	return applied >= int(w) || missing == 0
}

// waitsForReports tells whether counts of the agent may still be on their way:
// reports since the request are missing and were asked for again.
func (t *tally) waitsForReports(m *member) bool {
	return slices.ContainsFunc(m.holes, func(h hole) bool { return h.since >= t.accepted })
}

// outcome is what is known now. A quiet one does not name the agents that have not
// answered: that is no error to a caller who does not wait for them.
func (t *tally) outcome(v *view, quiet bool, now time.Duration) events.Outcome {
	if t.final != nil {
		return *t.final
	}
	o := events.Outcome{Applied: []events.Application{}, AtLeast: t.atLeast}
	o.Invalidated, o.Previously = t.tokens()
	o.Invalidated += t.ownInvalidated + t.extraInvalidated
	o.Previously += t.ownPreviously + t.extraPreviously
	o.Expected, o.Complete = len(v.expected), t.reached()
	for _, m := range v.expected {
		t.outcomeOf(m, &o, quiet, now)
	}
	for _, c := range v.complaints {
		if quiet && notYet(c) {
			o.Complete = false
			continue
		}
		o.Errors = append(o.Errors, c)
	}
	if len(v.expected) == 0 {
		o.Errors = append(o.Errors, events.OutcomeError{Type: events.AgentMissing, Reason: "no agent is known"})
	}
	o.Complete = o.Complete && len(o.Errors) == 0
	return o
}

func (t *tally) outcomeOf(m *member, o *events.Outcome, quiet bool, now time.Duration) {
	p := t.agents[m.agent.ID]
	name := m.agent.Name()
	if why := t.refused(m); why != "" {
		// Its position has passed what it did not take.
		o.Errors = append(o.Errors, events.OutcomeError{Agent: name, Type: events.AgentFault, Reason: why})
		return
	}
	if p == nil || !p.applied {
		if quiet {
			o.Complete = false
			return
		}
		o.Errors = append(o.Errors, events.OutcomeError{Agent: name, Type: events.AgentSilent,
			Reason: fmt.Sprintf("no report within %s", (now - t.accepted).Round(time.Millisecond))})
		return
	}
	o.Applied = append(o.Applied, events.Application{Agent: name, AfterMS: p.after.Milliseconds()})
	if p.missing || t.restarted || t.waitsForReports(m) || m.unheard && m.since >= t.accepted {
		o.CountsMissing = append(o.CountsMissing, name)
	}
}

// refused gives the agent's reason for not taking one of the events, "" for none.
func (t *tally) refused(m *member) string {
	for _, e := range t.events {
		if why := m.refused(e.stream, e.seq); why != "" {
			return why
		}
	}
	return ""
}
