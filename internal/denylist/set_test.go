package denylist_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/denylist"
)

func drawTokens(t *rapid.T) []*events.Token {
	return append(rapid.SliceOfN(rapid.Custom(drawToken), 2, 6).Draw(t, "tokens"), &events.Token{}, opaque(0))
}

// The same events in any order, with duplicates, in memory or in a file that is
// closed and opened in between, make the same set: the one that events.Match
// defines.
func TestOrderDuplicatesAndRestartsChangeNothing(t *testing.T) {
	dir := quickDir(t)
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		tokens := drawTokens(t)
		var records []denylist.Record
		for n := range rapid.IntRange(1, 10).Draw(t, "records") {
			records = append(records, drawRecord(t, n, tokens))
		}
		m := newModel()
		first := mustOpen(t, options(""))
		for _, r := range records {
			m.stage(r)
			first.Stage(denylist.Change{Records: []denylist.Record{r}})
		}
		m.compare(t, first, tokens)

		o := options(filepath.Join(dir, fmt.Sprint(run)))
		second := mustOpen(t, o)
		shuffled := rapid.Permutation(append(records, records[:len(records)/2]...)).Draw(t, "order")
		for _, r := range shuffled {
			r.Seq += uint64(rapid.IntRange(0, 2).Draw(t, "other sequence"))
			second.Stage(denylist.Change{Records: []denylist.Record{r}})
			switch rapid.IntRange(0, 4).Draw(t, "then") {
			case 0:
				mustCommit(t, second)
			case 1:
				mustClose(t, second)
				second = mustOpen(t, o)
			}
		}
		defer mustClose(t, second)
		m.compare(t, second, tokens)
		if first.Digest() != second.Digest() {
			t.Fatalf("digests differ: %s, %s", first.Digest(), second.Digest())
		}
	})
}

// machine drives a set and its model through any schedule.
type machine struct {
	o        denylist.Options
	set      *denylist.Set
	model    *model
	durable  *model
	cursors  map[events.Stream]denylist.Cursor
	tokens   []*events.Token
	identity string
}

func (m *machine) stage(t *rapid.T) {
	r := drawRecord(t, rapid.IntRange(0, 12).Draw(t, "id"), m.tokens)
	c := denylist.Cursor{Epoch: "e", Seq: rapid.Uint64().Draw(t, "cursor")}
	m.cursors[r.Stream] = c
	m.model.stage(r)
	m.set.Stage(denylist.Change{Records: []denylist.Record{r}, Cursors: map[events.Stream]denylist.Cursor{r.Stream: c}})
}

func (m *machine) commit(t *rapid.T) {
	if diff := cmp.Diff(m.cursors, mustCommit(t, m.set)); diff != "" {
		t.Fatalf("Commit: %s", diff)
	}
	m.durable = m.model.clone()
}

func (m *machine) failCommit(t *rapid.T) {
	if m.o.Path == "" {
		t.Skip("a set in memory does not fail")
	}
	m.set.Stage(denylist.Change{Synced: true})
	m.set.BreakFile()
	if _, err := m.set.Commit(); err == nil {
		t.Fatal("Commit succeeded on a broken file")
	}
	m.commit(t)
}

func (m *machine) expire(t *rapid.T) {
	now := time.Unix(int64(rapid.IntRange(0, 5*3600).Draw(t, "now")), 0)
	want := m.model.drop(func(r denylist.Record) bool { return r.Expires/3600+1 <= now.Unix()/3600 })
	if got := m.set.Expire(now); got != want {
		t.Fatalf("Expire(%d) = %d, want %d", now.Unix(), got, want)
	}
}

func (m *machine) reevaluate(t *rapid.T) {
	want := m.model.drop(func(r denylist.Record) bool { return r.KeyID == "k2" })
	got, err := m.set.Reevaluate(func(kid string) bool { return kid != "k2" })
	if err != nil || got != want {
		t.Fatalf("Reevaluate = %d, %v, want %d", got, err, want)
	}
}

func (m *machine) reopen(t *rapid.T) {
	if m.o.Path == "" {
		t.Skip("a set in memory does not come back")
	}
	mustClose(t, m.set)
	m.set = mustOpen(t, m.o)
	m.durable = m.model.clone()
	if m.set.Identity() != m.identity || m.set.Recovered() != "" {
		t.Fatalf("identity %q, recovered %q after a restart", m.set.Identity(), m.set.Recovered())
	}
	if diff := cmp.Diff(m.cursors, m.set.Cursors()); diff != "" {
		t.Fatalf("Cursors: %s", diff)
	}
}

func TestAnyScheduleAgreesWithMatch(t *testing.T) {
	dir := quickDir(t)
	run := 0
	for _, where := range []string{"memory", "file"} {
		t.Run(where, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				run++
				m := &machine{o: options(""), model: newModel(), durable: newModel(),
					cursors: map[events.Stream]denylist.Cursor{}, tokens: drawTokens(t)}
				if where == "file" {
					m.o = options(filepath.Join(dir, fmt.Sprint(run)))
				}
				m.set = mustOpen(t, m.o)
				m.identity = m.set.Identity()
				defer func() { mustClose(t, m.set) }()
				t.Repeat(map[string]func(*rapid.T){
					"stage": m.stage, "stage again": m.stage, "stage once more": m.stage, "commit": m.commit,
					"fail to commit": m.failCommit, "expire": m.expire, "reevaluate": m.reevaluate, "reopen": m.reopen,
					"": func(t *rapid.T) { m.model.compare(t, m.set, m.tokens) },
				})
			})
		})
	}
}

// TestSetsOfEverySizeComeBack: how many identities the state names decides how large
// the tables begin.
func TestSetsOfEverySizeComeBack(t *testing.T) {
	for size := range 100 {
		o := options(filepath.Join(t.TempDir(), "denylist.db"))
		s := mustOpen(t, o)
		if size > 0 {
			s.Stage(denylist.Change{Records: []denylist.Record{list(1, 0, size)}})
		}
		if _, err := s.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, o)
		if s.Recovered() != "" || s.Len() != size {
			t.Fatalf("%d identities: came back with %d, recovered from %q", size, s.Len(), s.Recovered())
		}
		for i := range size {
			if !s.Check(&events.Token{Identity: identity(i)}) {
				t.Fatalf("%d identities: %d is not refused", size, i)
			}
		}
		if s.Check(&events.Token{Identity: identity(size)}) {
			t.Fatalf("%d identities: another is refused", size)
		}
	}
}

func TestEverythingComesBackAfterARestart(t *testing.T) {
	o := options(newPath(t))
	s := mustOpen(t, o)
	observed := denylist.Observed{Identity: identity(7), Realm: "main", User: "ann", Issuer: events.IssuerKey("https://a"),
		Claims: []events.Key{events.ClaimKey("sub", "ann")}, Expires: 5 * 3600, IssuedAt: 3, AuthTime: 2}
	dead := observed
	dead.Identity, dead.Expires = identity(8), -1
	parked := []denylist.Parked{
		{Stream: events.Control, Seq: 3, Reason: "unknown key", Raw: []byte("raw")},
		{Stream: events.Control, Seq: 3, Reason: "unknown key", Raw: []byte("another life of the stream")},
		{Stream: events.Tokens, Seq: 1, Reason: "version", Raw: []byte("raw")},
	}
	cursors := map[events.Stream]denylist.Cursor{
		events.Control: {Epoch: "c", Seq: 9, Hash: [32]byte{1, 2}}, events.Tokens: {Epoch: "t", Seq: 1 << 60}}
	s.Stage(denylist.Change{Records: []denylist.Record{list(1, 0, 1000)}, Cursors: cursors, Park: parked,
		Observed: []denylist.Observed{observed, dead, observed}, Synced: true})
	if got := s.Cursors(); len(got) > 0 {
		t.Errorf("positions %v are called durable before Commit", got)
	}
	mustCommit(t, s)
	s.Stage(denylist.Change{Unpark: []denylist.ParkedKey{{Stream: events.Tokens, Seq: 1}, {Stream: events.Tokens, Seq: 2}}})
	id, digest := s.Identity(), s.Digest()
	mustClose(t, s)

	s = mustOpen(t, o)
	defer mustClose(t, s)
	if s.Identity() != id || s.Digest() != digest || !s.Synced() || s.Recovered() != "" || s.ParkedRefused() != 0 {
		t.Errorf("identity %v, digest %v, synced %v, recovered %q", s.Identity() == id, s.Digest() == digest, s.Synced(), s.Recovered())
	}
	if diff := cmp.Diff(cursors, s.Cursors()); diff != "" {
		t.Errorf("Cursors: %s", diff)
	}
	if diff := cmp.Diff([]denylist.Parked{parked[1], parked[0]}, s.Parked()); diff != "" {
		t.Errorf("Parked: %s", diff)
	}
	if diff := cmp.Diff([]denylist.Observed{observed}, s.Observed()); diff != "" {
		t.Errorf("Observed: %s", diff)
	}
	if s.Len() != 1000 || !s.Check(opaque(999)) || s.Check(opaque(1000)) {
		t.Errorf("Len = %d; the list is not what it was", s.Len())
	}
	s.Expire(hours(7))
	mustCommit(t, s)
	if got := s.Observed(); len(got) > 0 {
		t.Errorf("Observed after expiry: %v", got)
	}
}

func TestNothingExpiresBeforeItsHourHasPassed(t *testing.T) {
	for _, where := range []string{"", newPath(t)} {
		s := mustOpen(t, options(where))
		r, never := list(0, 0, 1), list(1, 1, 1)
		r.Expires, never.Expires = 2*3600, 1<<52
		s.Stage(denylist.Change{Records: []denylist.Record{r, never}})
		mustCommit(t, s)
		if n := s.Expire(time.Unix(3*3600-1, 0)); n != 0 || !s.Check(opaque(0)) {
			t.Errorf("dropped %d within the hour of its expiry", n)
		}
		if n := s.Expire(hours(3)); n != 1 || s.Check(opaque(0)) {
			t.Errorf("dropped %d after the hour", n)
		}
		if s.Expire(time.Unix(1<<51, 0)); !s.Check(opaque(1)) {
			t.Error("dropped what is as good as eternal")
		}
		mustClose(t, s)
	}
}

func TestDigestLeavesOutExpiredHoursBeforeTheyAreDropped(t *testing.T) {
	now := hours(0)
	o := options("")
	o.Now = func() time.Time { return now }
	s, other := mustOpen(t, o), mustOpen(t, o)
	old, kept := list(0, 0, 1), list(1, 1, 1)
	old.Expires = 3599
	s.Stage(denylist.Change{Records: []denylist.Record{old, kept}})
	other.Stage(denylist.Change{Records: []denylist.Record{kept}})
	if s.Digest() == other.Digest() {
		t.Error("sets with different events have the same digest")
	}
	if now = hours(1); s.Digest() != other.Digest() {
		t.Error("an expired event is still in the digest")
	}
}

func TestParkingIsBoundedAndSaysSo(t *testing.T) {
	o := options(newPath(t))
	o.MaxParked, o.MaxParkedBytes = 2, 10
	s := mustOpen(t, o)
	park := func(seq uint64, raw string) {
		s.Stage(denylist.Change{Park: []denylist.Parked{{Stream: events.Control, Seq: seq, Raw: []byte(raw)}}})
	}
	park(1, "123456")
	park(2, "12345")
	park(1, "123456")
	if s.ParkedCount() != 1 || s.ParkedRefused() != 1 {
		t.Errorf("parked %d, refused %d; want 1 and 1: 11 bytes are too many", s.ParkedCount(), s.ParkedRefused())
	}
	park(2, "1")
	park(3, "1")
	mustClose(t, s)
	s = mustOpen(t, o)
	defer mustClose(t, s)
	if s.ParkedCount() != 2 || s.ParkedRefused() != 2 {
		t.Errorf("parked %d, refused %d after a restart; want 2 and 2", s.ParkedCount(), s.ParkedRefused())
	}
	s.Stage(denylist.Change{Unpark: []denylist.ParkedKey{{Stream: events.Control, Seq: 1}}})
	if park(4, "123456789"); s.ParkedCount() != 2 {
		t.Error("unparking gave no room back")
	}
}

func TestTokensPutTogetherByHandAreMatchedByTheirIssuer(t *testing.T) {
	s := mustOpen(t, options(""))
	s.Stage(denylist.Change{Records: []denylist.Record{{ID: id(0), Stream: events.Control, NotBefore: 10,
		Target: events.Target{Kind: events.KindRealm, Realm: "main", Issuers: issuers}}}})
	if !s.Check(&events.Token{Issuer: issuers[1], IssuedAt: 5}) {
		t.Error("a token of the realm is not refused")
	}
}

func TestCheckAllocatesNothing(t *testing.T) {
	s := mustOpen(t, options(""))
	tok := token(t, map[string]any{"iss": issuers[0], "jti": "j", "sub": "ann", "sid": "s", "iat": 50, "exp": 99})
	for n, target := range []events.Target{
		{Kind: events.KindTokens, Identities: []events.Identity{identity(1)}},
		{Kind: events.KindUser, Claim: "sub", Value: "ann"},
		{Kind: events.KindSession, Claim: "sid", Value: "other", Issuers: issuers},
		{Kind: events.KindRealm, Realm: "main", Issuers: issuers},
		{Kind: events.KindAll},
	} {
		r := denylist.Record{ID: id(n), Stream: events.Control, Target: target, NotBefore: 10, Expires: 10}
		s.Stage(denylist.Change{Records: []denylist.Record{r}})
	}
	hit := &events.Token{Identity: identity(1)}
	if n := testing.AllocsPerRun(100, func() {
		if s.Check(tok) || !s.Check(hit) {
			t.Error("wrong verdict")
		}
	}); n != 0 {
		t.Errorf("Check allocates %v times", n)
	}
}

// What a check costs is what it reads: how many groups do not depend on the size,
// and an identity has its share of memory at every size.
func TestTablesStayShortToProbeAndSmall(t *testing.T) {
	s := mustOpen(t, options(""))
	for n := range 100 {
		s.Stage(denylist.Change{Records: []denylist.Record{list(n, n*1000, 1000)}})
		if each := s.TableBytes() / s.Len(); each > 32 {
			t.Fatalf("%d bytes an identity at %d", each, s.Len())
		}
		read := 0
		for i := range 1000 {
			read += s.Probes(identity(-1 - i))
		}
		// At its fullest, 5 of 8, a table costs 1,170 on average, 15 more or less by the
		// seed of its hash; at 6 of 8 it is beyond the limit.
		if read > 1300 {
			t.Fatalf("%d groups of tags read for 1,000 tokens that are not among %d", read, s.Len())
		}
	}
	for n := range 100 {
		lift := denylist.Record{ID: id(1000 + n), Stream: events.Control, Target: events.Target{Kind: events.KindLift, Lifted: id(n)}}
		s.Stage(denylist.Change{Records: []denylist.Record{lift}})
	}
	if s.Len() != 0 || s.Probes(identity(1)) != 0 {
		t.Errorf("an empty table of %d entries costs %d groups", s.Len(), s.Probes(identity(1)))
	}
}

func TestOptionsAreRefusedByName(t *testing.T) {
	for name, o := range map[string]denylist.Options{
		"Fleet":    {},
		"MaxBytes": {Fleet: fleet, MaxBytes: -1},
	} {
		if _, err := denylist.Open(o); err == nil {
			t.Errorf("options without a good %s are taken", name)
		}
	}
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	path := newPath(t)
	mustClose(t, mustOpen(t, options(path)))
	for p, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(p)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v, want %v", p, info.Mode().Perm(), err, want)
		}
	}
}
