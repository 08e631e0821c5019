package denylist_test

import (
	"errors"
	"os"
	"testing"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/denylist"
)

func TestAFullDiskStopsNeitherEnforcementNorALaterCommit(t *testing.T) {
	path := newPath(t)
	o := options(path)
	o.MaxBytes = 256 << 10
	s := mustOpen(t, o)
	n := 0
	stage := func() {
		s.Stage(denylist.Change{Records: []denylist.Record{list(n, n*500, 500)},
			Cursors: map[events.Stream]denylist.Cursor{events.Tokens: {Epoch: "e", Seq: uint64(n + 1)}}})
		n++
	}
	committed := 0
	for {
		stage()
		if _, err := s.Commit(); err != nil {
			break
		}
		if committed = n; n > 100 {
			t.Fatal("the file outgrew MaxBytes")
		}
	}
	stage()
	if c, err := s.Commit(); err == nil || c[events.Tokens].Seq != uint64(committed) {
		t.Errorf("Commit on a full disk: positions %v, error %v", c, err)
	}
	if s.Len() != n*500 || !s.Check(opaque(n*500-1)) {
		t.Error("what is not on disk is not enforced")
	}
	// What expires gives the room back: the lists go, and one rule stays.
	s.Expire(hours(6))
	stage()
	if c := mustCommit(t, s); c[events.Tokens].Seq != uint64(n) {
		t.Errorf("positions %v once there is room", c)
	}
	mustClose(t, s)
	s = mustOpen(t, options(path))
	defer mustClose(t, s)
	if s.Recovered() != "" || s.Len() != 500 || !s.Check(opaque(n*500-1)) {
		t.Errorf("after a restart: recovered %q, %d entries", s.Recovered(), s.Len())
	}
}

func TestAFailedWriteIsTriedAgainOnAFileOpenedAnew(t *testing.T) {
	path := newPath(t)
	s := mustOpen(t, options(path))
	s.Stage(denylist.Change{Records: []denylist.Record{list(0, 0, 10)}})
	mustCommit(t, s)
	s.BreakFile()
	s.Stage(denylist.Change{Records: []denylist.Record{list(1, 10, 10)}})
	if _, err := s.Commit(); err == nil {
		t.Fatal("Commit succeeded on a broken file")
	}
	if !s.Check(opaque(19)) {
		t.Error("what is not on disk is not enforced")
	}
	s.Stage(denylist.Change{Records: []denylist.Record{list(2, 20, 10)}})
	mustCommit(t, s)
	mustClose(t, s)
	s = mustOpen(t, options(path))
	defer mustClose(t, s)
	if s.Recovered() != "" || s.Len() != 30 {
		t.Errorf("after a restart: recovered %q, %d entries, want 30", s.Recovered(), s.Len())
	}
}

// A position must never reach a file that lacks what precedes it.
func TestAFileThatIsTakenAwayIsNotReplacedInSilence(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, path string){
		"removed":  func(t *testing.T, path string) { check(t, os.Remove(path)) },
		"replaced": func(t *testing.T, path string) { check(t, os.Remove(path)); writeSample(t, path) },
		"replaced by its like": func(t *testing.T, path string) {
			check(t, os.Remove(path))
			s := mustOpen(t, options(path))
			s.Stage(denylist.Change{Records: []denylist.Record{list(0, 0, 10)}})
			mustClose(t, s)
		},
	} {
		for _, broken := range []bool{false, true} {
			path := newPath(t)
			s := mustOpen(t, options(path))
			s.Stage(denylist.Change{Records: []denylist.Record{list(0, 0, 10)}})
			mustCommit(t, s)
			take(t, path)
			s.Stage(denylist.Change{Records: []denylist.Record{list(1, 10, 10)}})
			if broken {
				s.BreakFile()
				if _, err := s.Commit(); err == nil {
					t.Fatal("Commit succeeded on a broken file")
				}
			}
			for range 2 {
				if _, err := s.Commit(); err == nil || !broken && !errors.Is(err, denylist.ErrDamaged) {
					t.Errorf("%s: Commit gave %v", name, err)
				}
			}
			if !s.Check(opaque(19)) || !s.Check(opaque(0)) {
				t.Errorf("%s: enforcement stopped", name)
			}
			if err := s.Close(); err == nil {
				t.Errorf("%s: Close hides that something was not kept", name)
			}
		}
	}
}

func TestAFileCutOffWhileOpenIsDamageNotACrash(t *testing.T) {
	path := newPath(t)
	s := mustOpen(t, options(path))
	for n := range 50 {
		s.Stage(denylist.Change{Records: []denylist.Record{list(n, n*100, 100)}})
		mustCommit(t, s)
	}
	check(t, os.Truncate(path, 8192))
	if _, err := s.Explain(opaque(0)); !errors.Is(err, denylist.ErrDamaged) {
		t.Errorf("Explain gave %v, want ErrDamaged", err)
	}
	s.Stage(denylist.Change{Records: []denylist.Record{{ID: id(100), Stream: events.Control, Expires: 1,
		Target: events.Target{Kind: events.KindLift, Lifted: id(3)}}}})
	if !s.Check(opaque(300)) {
		t.Error("an event that cannot be read was lifted")
	}
	if _, err := s.Commit(); !errors.Is(err, denylist.ErrDamaged) {
		t.Errorf("Commit gave %v, want ErrDamaged", err)
	}
	if n := s.Expire(hours(9)); n != 0 || !s.Check(opaque(0)) {
		t.Errorf("%d events expired that cannot be read", n)
	}
	_ = s.Close()
	s = mustOpen(t, options(path))
	defer mustClose(t, s)
	if s.Recovered() == "" {
		t.Error("the damage was not found on opening")
	}
}

func TestNothingIsTakenAfterClose(t *testing.T) {
	for _, path := range []string{"", newPath(t)} {
		s := mustOpen(t, options(path))
		s.Stage(denylist.Change{Records: []denylist.Record{list(0, 0, 1)}})
		mustClose(t, s)
		mustClose(t, s)
		if _, err := s.Commit(); !errors.Is(err, denylist.ErrClosed) {
			t.Errorf("Commit after Close gave %v", err)
		}
		if !s.Check(opaque(0)) {
			t.Error("Check stopped with Close")
		}
	}
}

func TestACrashLosesOnlyWhatWasNotCommitted(t *testing.T) {
	path := newPath(t)
	s := mustOpen(t, options(path))
	s.Stage(denylist.Change{Records: []denylist.Record{list(0, 0, 10)}})
	mustCommit(t, s)
	s.Stage(denylist.Change{Records: []denylist.Record{list(1, 10, 10)}})
	s.Abandon()
	s = mustOpen(t, options(path))
	defer mustClose(t, s)
	if s.Recovered() != "" || s.Len() != 10 {
		t.Errorf("recovered %q, %d entries, want the 10 committed", s.Recovered(), s.Len())
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
