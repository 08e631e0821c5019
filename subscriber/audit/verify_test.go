package audit_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/subscriber/audit"
)

// sample is a verified file in memory.
type sample struct {
	keys  *events.KeySet
	lines [][]byte
	cp    audit.Checkpoint
}

// newSample has n lines of two publishers, a lift and a rejected message.
func newSample(t *testing.T, n int) *sample {
	t.Helper()
	a, other := newAuthor(t, "p1"), newAuthor(t, "p2")
	keys := events.NewKeySet(a.signer.Public(), other.signer.Public())
	all := a.mixed(t, n-6)
	all = append(all, other.user(t, "x"), a.lift(t, all[0].id), posted{events.Audit, events.EventID{}, []byte("garbage")},
		other.receipt(t), other.refusal(t), other.tokens(t))
	file, cp := exported(t, keys, all)
	lines := bytes.SplitAfter(bytes.TrimSuffix(file, []byte("\n")), []byte("\n"))
	lines[len(lines)-1] = append(lines[len(lines)-1], '\n')
	if len(lines) != n {
		t.Fatalf("got %d lines, want %d", len(lines), n)
	}
	return &sample{keys, lines, cp}
}

func (s *sample) verify(t *testing.T, lines [][]byte) *audit.Report {
	t.Helper()
	r, err := audit.VerifyLines(bytes.NewReader(bytes.Join(lines, nil)), &s.cp, fleet, s.keys)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// link makes lines follow each other again, as someone who rewrites the whole file
// would.
func (s *sample) link(lines [][]byte) [][]byte {
	prev, out := audit.Hash{}, [][]byte{}
	for i, l := range lines {
		at := bytes.LastIndex(l, []byte(`,"prev":"`))
		_, rest, _ := bytes.Cut(l[:at], []byte(","))
		l = fmt.Appendf(nil, `{"line":%d,%s,"prev":"%s"}`+"\n", i+1, rest, prev)
		prev = sha256.Sum256(l)
		out = append(out, l)
	}
	s.cp.Lines, s.cp.Hash = int64(len(out)), prev
	return out
}

func (s *sample) clone() [][]byte {
	out := make([][]byte, len(s.lines))
	for i, l := range s.lines {
		out[i] = bytes.Clone(l)
	}
	return out
}

func TestUntouchedFileVerifies(t *testing.T) {
	s := newSample(t, 30)
	r := s.verify(t, s.lines)
	mustBeOK(t, r)
	if r.Lines != 30 || r.Revocations != 21 || r.Lifts != 1 || r.Receipts != 6 || r.Refusals != 1 || r.Rejected != 1 || r.NoteCount != 0 || r.Hash != s.cp.Hash {
		t.Errorf("got %+v", r)
	}
}

func TestEachRemovedLineIsNamed(t *testing.T) {
	s := newSample(t, 30)
	for i := range s.lines {
		r := s.verify(t, slices.Delete(s.clone(), i, i+1))
		want := audit.Finding{Line: int64(i + 1), Text: fmt.Sprintf("line %d is missing", i+1)}
		if r.OK() || !slices.Contains(r.Problems, want) {
			t.Errorf("line %d removed: %v", i+1, r.Problems)
		}
	}
	r := s.verify(t, slices.Delete(s.clone(), 10, 14))
	if !slices.Contains(r.Problems, audit.Finding{Line: 11, Text: "lines 11 to 14 are missing"}) {
		t.Errorf("four lines removed: %v", r.Problems)
	}
	if r := s.verify(t, nil); r.OK() || r.Problems[0].Text != "lines 1 to 30 are missing" {
		t.Errorf("all removed: %v", r.Problems)
	}
}

func TestEachAlteredByteIsNamed(t *testing.T) {
	s := newSample(t, 12)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		lines := s.clone()
		i := rng.IntN(len(lines))
		at := rng.IntN(len(lines[i]))
		was := lines[i][at]
		for lines[i][at] == was {
			lines[i][at] = byte(rng.IntN(256))
		}
		r := s.verify(t, lines)
		named := func(f audit.Finding) bool { return f.Line == int64(i+1) }
		if !slices.ContainsFunc(r.Problems, named) {
			t.Errorf("line %d, byte %d: %q became %q: %v", i+1, at, was, lines[i][at], r.Problems)
		}
		// A line feed that came or went moves what follows.
		if was == '\n' || lines[i][at] == '\n' {
			continue
		}
		for _, p := range r.Problems {
			if !named(p) && !strings.Contains(p.Text, "counter") {
				t.Errorf("line %d, byte %d: %q became %q: another line is blamed: %v", i+1, at, was, lines[i][at], p)
			}
		}
	}
}

func TestLineFeedThatCameOrWentBlamesNoOtherLine(t *testing.T) {
	s := newSample(t, 12)
	for i := range s.lines {
		split, merged := s.clone(), s.clone()
		split[i][len(split[i])/2] = '\n'
		merged[i][len(merged[i])-1] = ' '
		for what, lines := range map[string][][]byte{"split": split, "merged": merged} {
			r := s.verify(t, lines)
			if r.OK() || r.Problems[0].Line != int64(i+1) {
				t.Errorf("line %d %s: %v", i+1, what, r.Problems)
			}
			for _, p := range r.Problems {
				if p.Line > int64(i+2) && !strings.Contains(p.Text, "counter") {
					t.Errorf("line %d %s: another line is blamed: %v", i+1, what, p)
				}
			}
		}
	}
	cut := s.clone()
	cut[11] = cut[11][:len(cut[11])-1]
	if r := s.verify(t, cut); r.ProblemCount != 1 || r.Problems[0].Line != 12 || !strings.Contains(r.Problems[0].Text, "line feed") || r.NoteCount != 0 {
		t.Errorf("cut: %+v", r)
	}
}

func TestMemberThatNobodySignedIsProtectedByTheChain(t *testing.T) {
	s := newSample(t, 12)
	for i := range s.lines {
		for _, name := range []string{`"seq":`, `"time":"`, `"prev":"`, `"line":`} {
			lines := s.clone()
			at := bytes.Index(lines[i], []byte(name)) + len(name)
			if lines[i][at]++; lines[i][at] > '8' {
				lines[i][at] = '1'
			}
			r := s.verify(t, lines)
			if len(r.Problems) != 1 || r.Problems[0].Line != int64(i+1) {
				t.Errorf("line %d, %s: %v", i+1, name, r.Problems)
			}
		}
	}
}

func TestLinesThatWereMovedOrRepeatedAreNamed(t *testing.T) {
	s := newSample(t, 12)
	lines := s.clone()
	lines[4], lines[5] = lines[5], lines[4]
	if r := s.verify(t, lines); r.OK() || r.Problems[0].Line != 5 {
		t.Errorf("moved: %v", r.Problems)
	}
	if r := s.verify(t, slices.Insert(s.clone(), 4, s.lines[2])); r.OK() || r.Problems[0].Line != 5 {
		t.Errorf("repeated: %v", r.Problems)
	}
}

// TestRewrittenFileIsStillHeldByWhatWasSigned rewrites the file with a sound chain
// and a checkpoint that fits.
func TestRewrittenFileIsStillHeldByWhatWasSigned(t *testing.T) {
	s := newSample(t, 12)
	replace := func(i int, old, new string) func([][]byte) [][]byte {
		return func(lines [][]byte) [][]byte {
			changed := bytes.Replace(lines[i], []byte(old), []byte(new), 1)
			if bytes.Equal(changed, lines[i]) {
				t.Fatalf("line %d has no %s: %s", i+1, old, lines[i])
			}
			lines[i] = changed
			return lines
		}
	}
	for name, c := range map[string]struct {
		line   int64
		text   string
		change func([][]byte) [][]byte
	}{
		"target":     {1, "member target", replace(0, `user \"user-0\"`, `user \"jack\"`)},
		"counts":     {4, "member invalidated_tokens", replace(3, `"invalidated_tokens":9`, `"invalidated_tokens":8`)},
		"added":      {1, "member caller is not part", replace(0, `"verified":true`, `"caller":"x","verified":true`)},
		"left out":   {4, "member door", replace(3, `"door":"native",`, ``)},
		"unverified": {1, "member", replace(0, `"verified":true`, `"verified":false,"problem":"signature"`)},
		"raw":        {1, "does not with these keys: ", replace(0, `"raw":"ey`, `"raw":"ez`)},
		"twice":      {1, "not written as", replace(0, `"target":"user`, `"target":"user \"a\"","Target":"user`)},
		"blank":      {1, "not written as", replace(0, `"verified":true`, `"verified": true`)},
		"removed":    {3, "counter 2 of publisher p1 on control is missing: line 1 has 1, line 2 has 3", func(l [][]byte) [][]byte { return slices.Delete(l, 1, 2) }},
		"repeated":   {7, "the message of line 2 again", func(l [][]byte) [][]byte { return slices.Insert(l, 6, bytes.Clone(l[1])) }},
		"rejected": {1, "verifies", func(l [][]byte) [][]byte {
			raw := ""
			for raw = range rawOf(string(l[0])) {
			}
			l[0] = fmt.Appendf(nil, `{"line":1,"seq":1,"time":"2026-01-01T00:00:00.000Z","type":"rejected","verified":false,"problem":"signature","raw":"%s","prev":""}`, raw)
			return l
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := *s
			r := s.verify(t, s.link(c.change(s.clone())))
			if name == "removed" {
				c.line = 2 // where it was
			}
			if r.OK() || r.Problems[0].Line != c.line || !strings.Contains(r.Problems[0].Text, c.text) {
				t.Errorf("got %v, want line %d: %s", r.Problems, c.line, c.text)
			}
		})
	}
}

func TestMissingEndIsFoundByTheCheckpointOnly(t *testing.T) {
	s := newSample(t, 12)
	short := s.lines[:10]
	if r := s.verify(t, short); r.OK() || r.Problems[0] != (audit.Finding{Line: 11, Text: "lines 11 to 12 are missing"}) {
		t.Errorf("with checkpoint: %v", r.Problems)
	}
	r, err := audit.VerifyLines(bytes.NewReader(bytes.Join(short, nil)), nil, fleet, s.keys)
	if err != nil || !r.OK() || r.Checkpoint {
		t.Errorf("without: %+v, %v", r, err)
	}
}

func TestFileBehindAnOlderCheckpointVerifies(t *testing.T) {
	s := newSample(t, 12)
	s.cp = audit.Checkpoint{Lines: 5, Hash: sha256.Sum256(s.lines[4])}
	mustBeOK(t, s.verify(t, s.lines))
	unfinished := append(s.clone(), []byte(`{"line":13,"se`))
	if r := s.verify(t, unfinished); !r.OK() || r.NoteCount != 1 || r.Notes[0].Line != 13 || r.Lines != 12 {
		t.Errorf("unfinished line: %+v", r)
	}
	s.cp.Hash = sha256.Sum256([]byte("x"))
	if r := s.verify(t, s.lines); r.OK() || r.Problems[0].Line != 5 {
		t.Errorf("another hash: %v", r.Problems)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	s := newSample(t, 130)
	s.keys = events.NewKeySet(newAuthor(t, "p1").signer.Public())
	if r := s.verify(t, s.lines); len(r.Problems) != 100 || r.ProblemCount != 129 {
		t.Errorf("got %d of %d", len(r.Problems), r.ProblemCount)
	}
}

func TestWrongKeysOrFleetVerifyNothing(t *testing.T) {
	s := newSample(t, 12)
	r, err := audit.VerifyLines(bytes.NewReader(bytes.Join(s.lines, nil)), &s.cp, "other", s.keys)
	if err != nil || r.ProblemCount != 11 || !strings.Contains(r.Problems[0].Text, "audience") {
		t.Errorf("other fleet: %+v, %v", r, err)
	}
	s.keys = events.NewKeySet()
	if r := s.verify(t, s.lines); r.ProblemCount != 11 || !strings.Contains(r.Problems[0].Text, "unknown_key") {
		t.Errorf("no keys: %+v", r)
	}
}

func TestLineOfAKeyThatIsGoneKeepsItsCounter(t *testing.T) {
	a, b := newAuthor(t, "p1"), newAuthor(t, "p1") // two keys of one publisher
	b.counters, b.incarnation = a.counters, a.incarnation
	all := []posted{a.user(t, "1"), b.user(t, "2"), a.user(t, "3")}
	file, cp := exported(t, events.NewKeySet(a.signer.Public(), b.signer.Public()), all)
	r, err := audit.VerifyLines(bytes.NewReader(file), &cp, fleet, a.keys())
	if err != nil || r.ProblemCount != 1 || r.Problems[0].Line != 2 || !strings.Contains(r.Problems[0].Text, "unknown_key") {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestUnverifiedLineVerifiesLaterWithTheRightKeys(t *testing.T) {
	a, late := newAuthor(t, "p1"), newAuthor(t, "p2")
	both := events.NewKeySet(a.signer.Public(), late.signer.Public())
	all := []posted{a.user(t, "a"), late.user(t, "b"), late.receipt(t), a.user(t, "c"), late.refusal(t)}
	file, cp := exported(t, a.keys(), all)
	if n := bytes.Count(file, []byte(`"type":"rejected","verified":false,"problem":"unknown_key"`)); n != 3 {
		t.Fatalf("got %d rejected lines, want 3:\n%s", n, file)
	}
	r, err := audit.VerifyLines(bytes.NewReader(file), &cp, fleet, a.keys())
	if err != nil || r.ProblemCount != 3 || r.Problems[0].Line != 2 || !strings.Contains(r.Problems[0].Text, "unknown_key") {
		t.Errorf("with the old keys: %+v, %v", r, err)
	}
	r, err = audit.VerifyLines(bytes.NewReader(file), &cp, fleet, both)
	if err != nil || !r.OK() || r.Late != 3 || r.Revocations != 3 || r.Receipts != 1 || r.Refusals != 1 {
		t.Errorf("with both: %+v, %v", r, err)
	}
}

func TestForgedAndForeignMessagesAreRecordedAsRejected(t *testing.T) {
	a, other := newAuthor(t, "p1"), newAuthor(t, "p2")
	good := a.user(t, "a")
	forged := posted{events.Control, good.id, bytes.Clone(good.raw)}
	if at := &forged.raw[len(forged.raw)-10]; *at == 'A' {
		*at = 'B'
	} else {
		*at = 'A'
	}
	token := posted{stream: events.Audit, raw: []byte("eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJqYWNrIn0.c2ln")}
	long := posted{stream: events.Audit, raw: bytes.Repeat([]byte("x"), 900_000)}
	binary := posted{stream: events.Audit, raw: []byte("eyJ0eXAiOiJzZWNldmVudCtqd3QifQ.\xff\x00\n.x")}
	// The forged copy comes first: it must not keep the real event out.
	all := []posted{forged, good, token, long, binary, other.user(t, "x")}
	other.signer = a.signer // the key of p1 signs for p1 only
	file, cp := exported(t, a.keys(), all)
	for _, want := range []string{`"problem":"signature","raw":"` + string(forged.raw) + `"`, `"raw":"` + string(good.raw) + `"`,
		`"problem":"malformed","raw_bytes":900000,"raw_sha256":"`, fmt.Sprintf(`"raw_bytes":%d,`, len(binary.raw))} {
		if !bytes.Contains(file, []byte(want)) {
			t.Errorf("no %.60s…", want)
		}
	}
	if bytes.Contains(file, token.raw) || len(file) > 10_000 {
		t.Errorf("the file has a token, or %d bytes", len(file))
	}
	r, err := audit.VerifyLines(bytes.NewReader(file), &cp, fleet, a.keys())
	if err != nil || r.ProblemCount != 1 || r.Problems[0].Line != 6 || r.Rejected != 4 || r.Revocations != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestCountersOutOfOrderAreComplete(t *testing.T) {
	a := newAuthor(t, "p1")
	all := a.mixed(t, 40)
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	file, cp := exported(t, a.keys(), all)
	r, err := audit.VerifyLines(bytes.NewReader(file), &cp, fleet, a.keys())
	if err != nil {
		t.Fatal(err)
	}
	mustBeOK(t, r)
}

// users gives n events of the author's.
func (a *author) users(t *testing.T, n int) (all []posted) {
	for i := range n {
		all = append(all, a.user(t, fmt.Sprint(i)))
	}
	return all
}

func TestCountersOfLedgers(t *testing.T) {
	restart := func(a *author, counter uint64) {
		a.incarnation = events.NewEventID()
		a.counters[events.Control] = counter
	}
	for name, c := range map[string]struct {
		events  func(*author) []posted
		problem string
		note    string
	}{
		"a new incarnation goes on": {events: func(a *author) []posted {
			all := a.users(t, 3)
			restart(a, 3)
			return append(all, a.users(t, 3)...)
		}},
		"two incarnations cross at the border": {events: func(a *author) []posted {
			all := a.users(t, 3)
			restart(a, 3)
			all = append(all, a.users(t, 3)...)
			all[2], all[3] = all[3], all[2]
			return all
		}},
		"an earlier incarnation's last comes late": {note: "line 2: the file begins with counter 500", events: func(a *author) []posted {
			a.counters[events.Control] = 499
			all := a.users(t, 1)
			restart(a, 500)
			all = append(all, a.users(t, 2)...)
			all[0], all[1] = all[1], all[0]
			return all
		}},
		"a gap between incarnations": {problem: "line 4: counters 4 to 5 of publisher p1 on control are missing: line 3 has 3, line 4 has 6", events: func(a *author) []posted {
			all := a.users(t, 3)
			restart(a, 5)
			return append(all, a.users(t, 3)...)
		}},
		"a new ledger": {note: "line 4: publisher p1 counts from 1 again on control", events: func(a *author) []posted {
			all := a.users(t, 3)
			restart(a, 0)
			return append(all, a.users(t, 5)...)
		}},
		"an older copy of the ledger": {problem: "line 4: publisher p1 counts on control from 2 again after 3 on line 3", events: func(a *author) []posted {
			all := a.users(t, 3)
			restart(a, 1)
			return append(all, a.users(t, 5)...)
		}},
		"a counter given twice": {problem: "line 4: publisher p1 has counted 3 on control twice, also on line 3", events: func(a *author) []posted {
			all := a.users(t, 3)
			a.counters[events.Control] = 2
			return append(all, a.users(t, 1)...)
		}},
		"a file begun late": {note: "line 1: the file begins with counter 501", events: func(a *author) []posted {
			a.counters[events.Control] = 500
			return a.users(t, 3)
		}},
		"a file begun late, with a gap at its beginning": {note: "line 2: counter 502", events: func(a *author) []posted {
			a.counters[events.Control] = 500
			return slices.Delete(a.users(t, 5), 1, 2)
		}},
		"a file begun late, with a gap": {problem: "line 300: counter 800", note: "line 1: the file begins", events: func(a *author) []posted {
			a.counters[events.Control] = 500
			return slices.Delete(a.users(t, 301), 299, 300)
		}},
		"a late file and a new ledger": {note: "line 3: publisher p1 counts from 1 again", events: func(a *author) []posted {
			a.counters[events.Control] = 500
			all := a.users(t, 2)
			restart(a, 0)
			return append(all, a.users(t, 3)...)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthor(t, "p1")
			file, cp := exported(t, a.keys(), c.events(a))
			r, err := audit.VerifyLines(bytes.NewReader(file), &cp, fleet, a.keys())
			if err != nil {
				t.Fatal(err)
			}
			check := func(what, want string, got []audit.Finding) {
				t.Helper()
				has := slices.ContainsFunc(got, func(f audit.Finding) bool { return want != "" && strings.HasPrefix(f.String(), want) })
				if want == "" && len(got) != 0 || want != "" && !has {
					t.Errorf("%s: got %v, want %q", what, got, want)
				}
			}
			check("problems", c.problem, r.Problems)
			check("notes", c.note, r.Notes)
		})
	}
}

func TestSameEventIDWithOtherContentIsAProblem(t *testing.T) {
	a := newAuthor(t, "p1")
	first := a.user(t, "a")
	r, _, err := a.keys().Open(fleet, first.raw)
	if err != nil {
		t.Fatal(err)
	}
	r.Target.Value, r.Origin.Counter = "b", 2
	raw, err := a.signer.Sign(r)
	if err != nil {
		t.Fatal(err)
	}
	file, cp := exported(t, a.keys(), []posted{first, {events.Control, first.id, raw}})
	report, err := audit.VerifyLines(bytes.NewReader(file), &cp, fleet, a.keys())
	if err != nil || report.ProblemCount != 1 || report.Problems[0].Line != 2 || !strings.Contains(report.Problems[0].Text, "on line 1 already") {
		t.Errorf("got %+v, %v", report, err)
	}
}

func TestVerifyNeedsTheCheckpointBesideTheFile(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	publish(t, b, a.mixed(t, 5)...)
	arrived(t, b, 5)
	path := filePath(t)
	if err := openReader(t, b, a.keys()).CatchUp(within(t), openFile(t, path)); err != nil {
		t.Fatal(err)
	}
	mustBeOK(t, verify(t, path, a.keys()))
	if err := os.WriteFile(path+".checkpoint", []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, path, a.keys()); r.OK() || !strings.Contains(r.Problems[0].Text, "is damaged") {
		t.Errorf("damaged: got %v", r.Problems)
	}
	if err := os.Remove(path + ".checkpoint"); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, path, a.keys()); r.OK() || !strings.Contains(r.Problems[0].Text, "is missing") {
		t.Errorf("missing: got %v", r.Problems)
	}
	if _, err := audit.Verify(path, fleet, nil); err == nil {
		t.Error("no keys: no error")
	}
	if _, err := audit.Verify(path+".none", fleet, a.keys()); err == nil {
		t.Error("no file: no error")
	}
}
