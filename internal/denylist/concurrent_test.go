package denylist_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/denylist"
)

// While tables grow, shrink and lose entries, what stands is refused at every
// moment, and what was never revoked at none.
func TestWhatStandsIsNeverMissed(t *testing.T) {
	for _, path := range []string{"", newPath(t)} {
		s := mustOpen(t, options(path))
		user := token(t, map[string]any{"iss": issuers[0], "sub": "ann", "iat": 10})
		realm := token(t, map[string]any{"iss": issuers[1], "sub": "bob", "iat": 10})
		innocent := token(t, map[string]any{"iss": issuers[2], "sub": "cid", "iat": 10})
		standing := list(0, 0, 50)
		standing.Expires = 9 * 3600
		s.Stage(denylist.Change{Records: []denylist.Record{standing,
			{ID: id(1), Stream: events.Control, NotBefore: 10, Expires: 9 * 3600, Target: events.Target{Kind: events.KindUser, Claim: "sub", Value: "ann"}},
			{ID: id(2), Stream: events.Control, NotBefore: 10, Expires: 9 * 3600, Target: events.Target{Kind: events.KindRealm, Realm: "r", Issuers: issuers[1:2]}},
		}})
		var stop atomic.Bool
		var checks, wrong atomic.Int64
		var readers sync.WaitGroup
		for range 2 {
			readers.Go(func() {
				for n := 0; !stop.Load(); n++ {
					if !s.Check(opaque(n%50)) || !s.Check(user) || !s.Check(realm) || s.Check(innocent) {
						wrong.Add(1)
					}
					checks.Add(1)
				}
			})
		}
		churn(t, s)
		for checks.Load() == 0 {
		}
		stop.Store(true)
		readers.Wait()
		if wrong.Load() > 0 {
			t.Errorf("%d wrong verdicts in %d", wrong.Load(), checks.Load())
		}
		mustClose(t, s)
	}
}

// churn stages, commits, lifts and expires lists and rules.
func churn(t *testing.T, s *denylist.Set) {
	var commits sync.WaitGroup
	n := 10
	for round := range 6 {
		for range 20 {
			r := list(n, n*100, 100)
			r.Expires = int64(round) * 3600
			rule := denylist.Record{ID: id(n + 1), Stream: events.Control, NotBefore: 5, Expires: r.Expires,
				Target: events.Target{Kind: events.KindUser, Claim: "sub", Value: "ann", Issuers: issuers[:1]}}
			other := rule
			other.ID, other.Target.Value, other.Target.Issuers = id(n+2), "u"+id(n).String(), issuers
			lift := denylist.Record{ID: id(n + 3), Stream: events.Control, Expires: r.Expires,
				Target: events.Target{Kind: events.KindLift, Lifted: id(n - 4)}}
			s.Stage(denylist.Change{Records: []denylist.Record{r, rule, other, lift}})
			n += 4
		}
		commits.Go(func() {
			if _, err := s.Commit(); err != nil {
				t.Error(err)
			}
		})
		s.Expire(hours(round))
	}
	commits.Wait()
	s.Expire(hours(7))
	if s.Len() != 52 {
		t.Errorf("Len() = %d after everything else expired, want 52", s.Len())
	}
}

func TestStageDoesNotWaitForCommit(t *testing.T) {
	s := mustOpen(t, options(newPath(t)))
	defer mustClose(t, s)
	writing, staged := make(chan struct{}), make(chan struct{})
	var first sync.Once
	s.OnWrite(func() {
		first.Do(func() {
			close(writing)
			<-staged
		})
	})
	s.Stage(denylist.Change{Records: []denylist.Record{list(0, 0, 10)}})
	var commit sync.WaitGroup
	commit.Go(func() { mustCommit(t, s) })
	<-writing
	s.Stage(denylist.Change{Records: []denylist.Record{list(1, 10, 10),
		{ID: id(2), Stream: events.Control, Target: events.Target{Kind: events.KindLift, Lifted: id(0)}}}})
	if s.Check(opaque(0)) || !s.Check(opaque(10)) {
		t.Error("what was staged during a Commit is not visible, or what it lifts is")
	}
	close(staged)
	commit.Wait()
}

func TestWhatIsStagedDuringAFailingCommitIsKept(t *testing.T) {
	path := newPath(t)
	s := mustOpen(t, options(path))
	s.Stage(denylist.Change{Records: []denylist.Record{list(0, 0, 10)}})
	s.OnWrite(func() {
		s.OnWrite(nil)
		s.Stage(denylist.Change{Records: []denylist.Record{list(1, 10, 10)}})
		s.BreakFile()
	})
	if _, err := s.Commit(); err == nil {
		t.Fatal("Commit succeeded on a broken file")
	}
	mustClose(t, s)
	s = mustOpen(t, options(path))
	defer mustClose(t, s)
	if s.Len() != 20 || s.Recovered() != "" {
		t.Errorf("%d entries after a restart, want 20; recovered %q", s.Len(), s.Recovered())
	}
}
