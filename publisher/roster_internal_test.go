package publisher

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rescind/rescind/events"
)

func agent(id, name string) events.Agent {
	return events.Agent{ID: id, Service: "pay", Instance: name, Run: "r1"}
}

func status(a events.Agent, reports uint64) *events.Status {
	return &events.Status{Agent: a, Moment: events.Regular, Reports: reports}
}

func report(a events.Agent, n uint64) *events.Report { return &events.Report{Agent: a, Number: n} }

func names(ms []*member) (out []string) {
	for _, m := range ms {
		out = append(out, m.agent.Name()+"#"+m.agent.ID)
	}
	return out
}

func TestHoleIsAskedForOnceAndFilled(t *testing.T) {
	r, a := newRoster(nil, 0), agent("a", "web-1")
	r.status(status(a, 0), 0)
	type answer struct {
		isNew    bool
		from, to uint64
	}
	for i, tc := range []struct {
		n    uint64
		want answer
		left []hole
	}{
		{1, answer{true, 0, 0}, nil},
		{5, answer{true, 2, 4}, []hole{{2, 4, 7}}},
		{5, answer{false, 0, 0}, []hole{{2, 4, 7}}},
		{3, answer{true, 0, 0}, []hole{{2, 2, 7}, {4, 4, 7}}},
		{3, answer{false, 0, 0}, []hole{{2, 2, 7}, {4, 4, 7}}},
		{8, answer{true, 6, 7}, []hole{{2, 2, 7}, {4, 4, 7}, {6, 7, 7}}},
		{7, answer{true, 0, 0}, []hole{{2, 2, 7}, {4, 4, 7}, {6, 6, 7}}},
		{2, answer{true, 0, 0}, []hole{{4, 4, 7}, {6, 6, 7}}},
		{4, answer{true, 0, 0}, []hole{{6, 6, 7}}},
		{6, answer{true, 0, 0}, nil},
		{9, answer{true, 0, 0}, nil},
	} {
		isNew, ask := r.report(report(a, tc.n), 7)
		got := answer{isNew: isNew}
		if ask != nil {
			got.from, got.to = ask.from, ask.to
		}
		left := r.members["a"].holes
		if got != tc.want || len(left) != len(tc.left) || !slices.Equal(left, tc.left) && len(left) > 0 {
			t.Errorf("step %d, report %d: %+v, holes %v; want %+v, %v", i, tc.n, got, left, tc.want, tc.left)
		}
	}
	if h := r.status(status(a, 12), 9); h == nil || *h != (hole{10, 12, 9}) {
		t.Errorf("a status that counts 12 reports: hole %v, want 10 to 12", h)
	}
	if h := r.status(status(a, 12), 10); h != nil {
		t.Errorf("the same again: hole %v, want none", h)
	}
}

func TestReportsFromBeforeAnAgentWasFirstHeardAreNotAskedFor(t *testing.T) {
	r := newRoster(nil, 0)
	if h := r.status(status(agent("a", "web-1"), 500), 0); h != nil {
		t.Errorf("status: hole %v, want none", h)
	}
	if isNew, h := r.report(report(agent("b", "web-2"), 500), 0); h != nil || !isNew {
		t.Errorf("report: new %v, hole %v, want a new one and no hole", isNew, h)
	}
	if !r.members["a"].unheard || !r.members["b"].unheard {
		t.Error("want it known that reports were not heard")
	}
}

func TestNewRunBeginsANewCount(t *testing.T) {
	r, a := newRoster(nil, 0), agent("a", "web-1")
	r.status(status(a, 0), 0)
	r.report(report(a, 5), 0)
	a.Run = "r2"
	if isNew, h := r.report(report(a, 1), 1); !isNew || h != nil || len(r.members["a"].holes) != 0 {
		t.Errorf("first report of a run: new %v, hole %v, left %v", isNew, h, r.members["a"].holes)
	}
}

func TestHolesOfOneAgentAreBounded(t *testing.T) {
	r, a := newRoster(nil, 0), agent("a", "web-1")
	r.status(status(a, 0), 0)
	for n := uint64(2); n < 1000; n += 2 {
		r.report(report(a, n), 0)
	}
	if got := len(r.members["a"].holes); got != maxHoles {
		t.Errorf("%d holes, want %d", got, maxHoles)
	}
}

func TestSilentAgentIsListedAndNotWaitedFor(t *testing.T) {
	r := newRoster(nil, time.Minute)
	r.status(status(agent("a", "web-1"), 0), 0)
	r.status(status(agent("b", "web-2"), 0), time.Second)
	at := silentAfter + time.Second
	if got, want := names(r.expected(at)), []string{"pay/web-2#b"}; !slices.Equal(got, want) {
		t.Errorf("expected %v, want %v", got, want)
	}
	got := r.complaints(at)
	if len(got) != 1 || got[0].Type != events.AgentSilent || got[0].Agent != "pay/web-1" {
		t.Errorf("complaints %v, want that web-1 is silent", got)
	}
	if gone := r.forget(time.Minute); len(gone) != 0 {
		t.Errorf("forgot %v a moment early", gone)
	}
	if gone := r.forget(time.Minute + time.Second/2); len(gone) != 1 || len(r.members) != 1 {
		t.Errorf("forgot %v, want web-1", gone)
	}
	if len(r.names) != 1 {
		t.Errorf("names %v, want one", r.names)
	}
}

func TestAgentThatSaidGoodbyeIsNeitherExpectedNorMissed(t *testing.T) {
	r := newRoster(nil, 0)
	bye := status(agent("a", "web-1"), 0)
	bye.Moment = events.Goodbye
	r.status(bye, 0)
	if len(r.expected(1)) != 0 || len(r.complaints(time.Minute)) != 0 {
		t.Error("it is waited for, or called silent")
	}
	r.status(status(agent("a", "web-1"), 0), 2)
	if len(r.expected(3)) != 1 {
		t.Error("it came back and is not expected")
	}
}

func TestNewAgentReplacesASilentOneOfItsName(t *testing.T) {
	for _, tc := range []struct {
		name        string
		cameBack    time.Duration
		lookAt      time.Duration
		want        []string
		wantProblem string
	}{
		{"after it was silent", 20 * time.Second, 20 * time.Second, []string{"pay/web-1#new"}, ""},
		{"before it was silent", time.Second, 2 * time.Second, []string{"pay/web-1#new", "pay/web-1#old"}, events.AgentDuplicate},
		{"before it was silent, later", time.Second, 20 * time.Second, []string{"pay/web-1#new"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRoster(nil, 0)
			r.status(status(agent("old", "web-1"), 0), 0)
			r.status(status(agent("new", "web-1"), 0), tc.cameBack)
			r.status(status(agent("new", "web-1"), 0), tc.lookAt)
			if got := names(r.expected(tc.lookAt)); !slices.Equal(got, tc.want) {
				t.Errorf("expected %v, want %v", got, tc.want)
			}
			problem := ""
			if c := r.complaints(tc.lookAt); len(c) > 0 {
				problem = c[0].Type
			}
			if problem != tc.wantProblem {
				t.Errorf("complaint %q, want %q", problem, tc.wantProblem)
			}
		})
	}
}

func TestFewerAgentsThanExpectedAreAComplaint(t *testing.T) {
	r := newRoster(map[string]int{"pay": 2, "mail": 1}, 0)
	r.status(status(agent("a", "web-1"), 0), 0)
	got := r.complaints(1)
	want := []events.OutcomeError{
		{Agent: "mail", Type: events.AgentMissing, Reason: "0 of 1 expected agents are known"},
		{Agent: "pay", Type: events.AgentMissing, Reason: "1 of 2 expected agents are known"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("complaints (-want +got):\n%s", diff)
	}
}

func TestRosterIsBounded(t *testing.T) {
	r := newRoster(nil, 0)
	for i := range maxMembers + 10 {
		r.status(status(agent(string(rune('a'))+time.Duration(i).String(), "x"+time.Duration(i).String()), 0), 0)
	}
	if len(r.members) != maxMembers {
		t.Errorf("%d members, want %d", len(r.members), maxMembers)
	}
}
