package subscriber

import (
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/denylist"
	"github.com/rescind/rescind/internal/follow"
)

// looped is an agent whose loop a test takes part in.
type looped struct {
	*Agent
	t      *testing.T
	signer *events.Signer
	seq    uint64
}

func startLoop(t *testing.T) *looped {
	t.Helper()
	srv := bustest.Start(t)
	srv.Bus(t, events.DefaultFleet)
	signer, err := events.NewSigner("p1")
	if err != nil {
		t.Fatal(err)
	}
	a, err := Open(t.Context(), srv.Connect(t), Config{Service: "test", Dir: t.TempDir(), Keys: events.NewKeySet(signer.Public())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	l := &looped{Agent: a, t: t, signer: signer, seq: 100}
	l.in(func(l *loop) {}) // it runs
	return l
}

// in runs fn in the loop and waits for it.
func (a *looped) in(fn func(l *loop)) {
	a.t.Helper()
	done := make(chan struct{})
	if err := a.do(func(l *loop) { fn(l); close(done) }); err != nil {
		a.t.Fatal(err)
	}
	<-done
}

// event is one as a read gives it.
func (a *looped) event(target events.Target) applied {
	a.seq++
	now := time.Now().Unix()
	return applied{events.Control, follow.Message{Seq: a.seq, KeyID: a.signer.Public().ID, Event: &events.Revocation{
		ID: events.NewEventID(), Txn: events.NewEventID(), Target: target, IssuedAt: now + 1, NotBefore: now, Expires: now + 3600}}}
}

func userTarget() events.Target {
	return events.Target{Kind: events.KindUser, Claim: "sub", Value: "u"}
}

// observe remembers a live token of the user.
func (a *looped) observe() *events.Token {
	now := time.Now().Unix()
	tok, err := events.TokenFromClaims(map[string]any{"iss": "i", "jti": "t", "sub": "u", "iat": now - 10, "exp": now + 600})
	if err != nil {
		a.t.Fatal(err)
	}
	a.Observe(tok)
	return tok
}

func TestEventWhoseKeyWasRemovedSinceItWasVerifiedIsNotApplied(t *testing.T) {
	a := startLoop(t)
	m := a.event(userTarget())
	m.KeyID = "removed"
	a.in(func(l *loop) {
		l.perform(effects{apply: []applied{m}})
		if l.set.Has(m.Event.ID) || !l.gone["removed"] {
			t.Errorf("applied: %v; to be read again when the key is back: %v", l.set.Has(m.Event.ID), l.gone["removed"])
		}
	})
}

// TestPositionIsReportedAfterTheCountsUpToIt: a commit may take what was made
// visible and is not counted yet.
func TestPositionIsReportedAfterTheCountsUpToIt(t *testing.T) {
	a := startLoop(t)
	a.observe()
	m := a.event(userTarget())
	a.in(func(l *loop) {
		l.perform(effects{apply: []applied{m}, cursors: map[events.Stream]follow.Cursor{events.Control: {Epoch: "e", Seq: m.Seq}}})
		cursors, err := l.set.Commit()
		if err != nil {
			t.Error(err)
		}
		l.committed(cursors, nil)
		if n, seq := l.reporter.number, l.positions()[events.Control].Seq; n != 0 || seq == m.Seq {
			t.Errorf("%d reports, position %d before the event was counted", n, seq)
		}
		l.settle()
		if n, seq := l.reporter.number, l.positions()[events.Control].Seq; n != 1 || seq != m.Seq {
			t.Errorf("%d reports, position %d after it, want 1, %d", n, seq, m.Seq)
			return
		}
		rep, err := events.Decode[events.Report](l.reporter.kept[1])
		if err != nil || len(rep.Counted) != 1 || rep.Counted[0].InvalidatedCount != 1 {
			t.Errorf("report %+v, %v, want the token that was invalidated", rep, err)
		}
	})
}

func TestCommitsKeepApartOnlyWhileEventsKeepComing(t *testing.T) {
	a := startLoop(t)
	a.in(func(l *loop) {
		c := &l.commits
		c.stop()
		*c = commits{running: true, begun: time.Now()}
		l.committed(map[events.Stream]denylist.Cursor{}, nil)
		if c.pause != nil {
			t.Error("the commit after a quiet one waits")
		}
		*c = commits{running: true, dirty: true, begun: time.Now()}
		l.committed(map[events.Stream]denylist.Cursor{}, nil)
		if c.pause == nil {
			t.Error("events came while a commit ran, and the next does not wait")
		}
		if l.commitSoon(); c.running || !c.dirty {
			t.Error("a commit began before its time")
		}
	})
	bustest.Eventually(t, "the commit that waited is done", func() bool {
		quiet := false
		a.in(func(l *loop) { quiet = !l.commits.dirty && !l.commits.running && l.commits.pause == nil })
		return quiet
	})
}

// TestWhatFollowsALiftIsCountedAfterIt: the marks of a lifted event are corrected
// beside the loop. Closing waits for them.
func TestWhatFollowsALiftIsCountedAfterIt(t *testing.T) {
	a := startLoop(t)
	tok := a.observe()
	first, second := a.event(userTarget()), a.event(userTarget())
	lift := a.event(events.Target{Kind: events.KindLift, Lifted: first.Event.ID})
	other := a.event(events.Target{Kind: events.KindLift, Lifted: events.NewEventID()})
	var ended *loop
	a.in(func(l *loop) {
		l.perform(effects{apply: []applied{first, lift, other}})
		l.perform(effects{apply: []applied{second}})
		// The first is lifted when it is counted; as if it had been counted before.
		delete(l.lifted, first.Event.ID)
		l.settle()
		if !l.lifting || len(l.applied) != 1 {
			t.Errorf("lifting %v, %d wait to be counted, want the one behind the lifts", l.lifting, len(l.applied))
		}
		if l.commits.running {
			t.Error("a commit began before all was counted")
		}
		ended = l
	})
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	counted := map[events.EventID]events.Counted{}
	for _, raw := range ended.reporter.kept {
		rep, err := events.Decode[events.Report](raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range rep.Counted {
			counted[c.Event] = c
		}
	}
	for _, m := range []applied{first, second} {
		if c := counted[m.Event.ID]; c.InvalidatedCount != 1 || c.PreviouslyCount != 0 {
			t.Errorf("counted %+v, want the token invalidated by each: the first was lifted before the second", c)
		}
	}
	if !a.seen.refused(tok.Identity.Hash()) {
		t.Error("the token is not remembered as refused by the second")
	}
}
