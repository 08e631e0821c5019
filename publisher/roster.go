package publisher

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/rescind/rescind/events"
)

// Times of the roster.
const (
	// silentAfter is how long an agent may say nothing before it is no longer
	// waited for. Statuses come every 5 s.
	silentAfter = 15 * time.Second
	// defaultForgetAfter is how long a silent agent stays listed.
	defaultForgetAfter = 10 * time.Minute
	// maxMembers bounds the roster: anyone allowed to send a status can add to it.
	maxMembers = 20_000
	// maxHoles bounds what one agent's missing reports can take.
	maxHoles = 64
)

// roster is who the publisher knows of, from what agents say of themselves. It
// is a plain state machine: status and silence are derived from timestamps.
type roster struct {
	members map[string]*member
	// names counts the members under each name.
	names       map[string]int
	expect      map[string]int
	forgetAfter time.Duration
}

type member struct {
	agent     events.Agent
	status    events.Status
	heard     time.Duration
	since     time.Duration
	gone      bool
	positions map[events.Stream]events.Position
	// number is the last report of the run taken; holes are those missing. unheard
	// tells that it had sent reports before since, when it was first heard.
	number  uint64
	holes   []hole
	unheard bool
	faults  []events.Fault
}

// hole is a range of reports that were not received.
type hole struct {
	from, to uint64
	since    time.Duration
}

func newRoster(expect map[string]int, forgetAfter time.Duration) *roster {
	return &roster{members: map[string]*member{}, names: map[string]int{}, expect: expect, forgetAfter: cmp.Or(forgetAfter, defaultForgetAfter)}
}

// hear takes a sign of life of an agent that has sent so many reports in its run.
// Those before the first one heard are not asked for: a starting publisher would
// ask every agent for all that it keeps. A new run begins a new count.
func (r *roster) hear(a events.Agent, sent uint64, now time.Duration) *member {
	m := r.members[a.ID]
	switch {
	case m == nil && len(r.members) >= maxMembers:
		return nil
	case m == nil:
		m = &member{since: now, number: sent, unheard: sent > 0, positions: map[events.Stream]events.Position{}}
		r.members[a.ID] = m
	case m.agent.Run != a.Run:
		m.number, m.holes = 0, nil
	}
	if m.agent.ID == "" || m.agent.Name() != a.Name() {
		r.unname(m)
		r.names[a.Name()]++
	}
	m.agent, m.heard, m.gone = a, now, false
	if r.names[a.Name()] > 1 {
		r.replace(a, now)
	}
	return m
}

func (r *roster) unname(m *member) {
	if m.agent.ID == "" {
		return
	}
	if r.names[m.agent.Name()]--; r.names[m.agent.Name()] == 0 {
		delete(r.names, m.agent.Name())
	}
}

func (r *roster) drop(id string) {
	r.unname(r.members[id])
	delete(r.members, id)
}

// replace drops the silent and gone agents of the same name: it came back with a
// new directory.
func (r *roster) replace(a events.Agent, now time.Duration) {
	for id, old := range r.members {
		if id != a.ID && old.agent.Name() == a.Name() && (old.gone || old.silent(now)) {
			r.drop(id)
		}
	}
}

// status takes a status. It gives the range of reports to ask for again, if the
// agent has sent more than were received.
func (r *roster) status(s *events.Status, now time.Duration) *hole {
	m := r.hear(s.Agent, s.Reports, now)
	if m == nil {
		return nil
	}
	m.status = *s
	if s.Moment == events.Goodbye {
		m.gone = true
	}
	for stream, p := range s.Positions {
		m.positions[stream] = p
	}
	return m.missing(s.Reports, now)
}

// missing notes that reports up to number were sent, and gives those to ask for.
func (m *member) missing(number uint64, now time.Duration) *hole {
	if number <= m.number {
		return nil
	}
	h := hole{m.number + 1, number, now}
	m.number = number
	if len(m.holes) == maxHoles {
		m.holes = m.holes[1:]
	}
	m.holes = append(m.holes, h)
	return &h
}

// report takes a report. It tells whether it is one that was not taken before,
// and the range to ask for again.
func (r *roster) report(rep *events.Report, now time.Duration) (isNew bool, ask *hole) {
	m := r.hear(rep.Agent, rep.Number-1, now)
	if m == nil {
		return false, nil
	}
	if rep.Number <= m.number {
		isNew = m.fill(rep.Number)
	} else {
		isNew, ask = true, m.missing(rep.Number-1, now)
		m.number = rep.Number
		for stream, p := range rep.Positions {
			m.positions[stream] = p
		}
	}
	if isNew && len(rep.Faults) > 0 {
		m.faults = append(m.faults, rep.Faults...)
		m.faults = m.faults[max(0, len(m.faults)-maxHoles):]
	}
	return isNew, ask
}

// fill takes a number out of the holes and tells whether it was in one.
func (m *member) fill(n uint64) bool {
	for i, h := range m.holes {
		if n < h.from || n > h.to {
			continue
		}
		var rest []hole
		if n > h.from {
			rest = append(rest, hole{h.from, n - 1, h.since})
		}
		if n < h.to {
			rest = append(rest, hole{n + 1, h.to, h.since})
		}
		m.holes = slices.Replace(m.holes, i, i+1, rest...)
		return true
	}
	return false
}

func (m *member) silent(now time.Duration) bool { return now-m.heard > silentAfter }

// applied tells whether the agent has reported a position at or beyond the event's.
func (m *member) applied(s events.Stream, epoch string, seq uint64) bool {
	p := m.positions[s]
	return seq != 0 && p.Epoch == epoch && p.Seq >= seq
}

// refused gives the reason that the agent reported for not taking what stands at
// seq of the stream, "" for none.
func (m *member) refused(s events.Stream, seq uint64) string {
	for _, f := range m.faults {
		if !f.Live && seq != 0 && f.Seq == seq && f.Stream == s {
			return f.Type
		}
	}
	return ""
}

// expected are the agents to wait for: neither gone nor silent.
func (r *roster) expected(now time.Duration) []*member {
	var out []*member
	for _, m := range r.members {
		if !m.gone && !m.silent(now) {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b *member) int {
		return cmp.Or(cmp.Compare(a.agent.Name(), b.agent.Name()), cmp.Compare(a.agent.ID, b.agent.ID))
	})
	return out
}

// view is what a roster says at one moment: whom to wait for, and what is wrong
// with it.
type view struct {
	expected   []*member
	complaints []events.OutcomeError
}

func (r *roster) view(now time.Duration) *view {
	return &view{r.expected(now), r.complaints(now)}
}

// complaints are what is wrong with the roster itself: silent agents, services
// with fewer agents than expected, and two agents under one name.
func (r *roster) complaints(now time.Duration) []events.OutcomeError {
	var out []events.OutcomeError
	present, names := map[string]int{}, map[string]int{}
	for _, m := range r.members {
		switch {
		case m.gone:
		case m.silent(now):
			out = append(out, events.OutcomeError{Agent: m.agent.Name(), Type: events.AgentSilent,
				Reason: fmt.Sprintf("nothing heard for %s", (now - m.heard).Round(time.Second))})
		default:
			present[m.agent.Service]++
			if names[m.agent.Name()]++; names[m.agent.Name()] == 2 {
				out = append(out, events.OutcomeError{Agent: m.agent.Name(), Type: events.AgentDuplicate,
					Reason: "two agents report under this name"})
			}
		}
	}
	for service, n := range r.expect {
		if present[service] < n {
			out = append(out, events.OutcomeError{Agent: service, Type: events.AgentMissing,
				Reason: fmt.Sprintf("%d of %d expected agents are known", present[service], n)})
		}
	}
	slices.SortFunc(out, func(a, b events.OutcomeError) int { return cmp.Compare(a.Agent+a.Type, b.Agent+b.Type) })
	return out
}

// forget drops the agents that said nothing for forgetAfter, and gives them.
func (r *roster) forget(now time.Duration) []events.Agent {
	var out []events.Agent
	for id, m := range r.members {
		if now-m.heard > r.forgetAfter {
			r.drop(id)
			out = append(out, m.agent)
		}
	}
	return out
}

// AgentInfo is one agent as GET /v1/agents shows it.
type AgentInfo struct {
	Name    string       `json:"name"`
	ID      string       `json:"id"`
	Service string       `json:"service"`
	State   events.State `json:"state"`
	// Silent tells that nothing was heard for 15 s; Gone that it said goodbye.
	Silent    bool                              `json:"silent,omitempty"`
	Gone      bool                              `json:"gone,omitempty"`
	Positions map[events.Stream]events.Position `json:"position"`
	// Lag is in events, LastSeen in RFC 3339.
	Lag      uint64            `json:"lag"`
	LastSeen time.Time         `json:"last_seen"`
	Version  string            `json:"version"`
	Entries  int               `json:"entries"`
	Digest   string            `json:"digest"`
	Parked   int               `json:"parked,omitempty"`
	Rejected map[string]uint64 `json:"rejected,omitempty"`
	Disk     string            `json:"disk,omitempty"`
	Faults   []events.Fault    `json:"faults,omitempty"`
}

func (r *roster) list(now time.Duration, wall time.Time) []AgentInfo {
	out := make([]AgentInfo, 0, len(r.members))
	for _, m := range r.members {
		s := m.status
		info := AgentInfo{Name: m.agent.Name(), ID: m.agent.ID, Service: m.agent.Service, State: s.State,
			Silent: m.silent(now) && !m.gone, Gone: m.gone, Positions: map[events.Stream]events.Position{}, Lag: s.Lag,
			LastSeen: wall.Add(m.heard - now).UTC(), Version: m.agent.Version, Entries: s.Entries, Digest: s.Digest,
			Parked: s.Parked, Rejected: s.Rejected, Disk: s.Disk, Faults: slices.Clone(m.faults)}
		for stream, p := range m.positions {
			info.Positions[stream] = p
		}
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b AgentInfo) int { return cmp.Compare(a.Name+a.ID, b.Name+b.ID) })
	return out
}
