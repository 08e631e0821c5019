package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/subscriber/audit"
)

func TestExportEndsWithTheStream(t *testing.T) {
	a := newAuthor(t, "p1")
	all := a.mixed(t, 25)
	file, cp := exported(t, a.keys(), append(slices.Clone(all), all[:5]...))
	if cp.Lines != 25 {
		t.Errorf("got %d lines, want 25", cp.Lines)
	}
	r, err := audit.VerifyLines(strings.NewReader(string(file)), &cp, fleet, a.keys())
	if err != nil || r.Lines != 25 || r.Hash != cp.Hash || r.LastSeq != cp.Seq {
		t.Errorf("got %+v, %v", r, err)
	}
	mustBeOK(t, r)
	empty, cp := exported(t, a.keys(), nil)
	if len(empty) != 0 || cp != (audit.Checkpoint{}) {
		t.Errorf("empty stream: %q, %+v", empty, cp)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("pipe closed") }

func TestExportToAFailingWriterFails(t *testing.T) {
	b := bustest.Start(t).Bus(t, fleet)
	a := newAuthor(t, "p1")
	publish(t, b, a.user(t, "a"))
	arrived(t, b, 1)
	if _, err := openReader(t, b, a.keys()).Export(within(t), failing{}); err == nil || !strings.Contains(err.Error(), "pipe closed") {
		t.Errorf("got %v", err)
	}
}

// tailed runs Tail and gives its lines.
func tailed(t *testing.T, r *audit.Reader, from audit.From) <-chan *audit.Line {
	t.Helper()
	lines := make(chan *audit.Line, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- r.Tail(ctx, from, func(l *audit.Line) error {
			select {
			case lines <- l:
			case <-ctx.Done(): // the test has seen enough
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("tail: %v", err)
		}
	})
	return lines
}

func TestTailGivesEachMessageOnce(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	old, event := a.user(t, "old"), a.user(t, "new")
	publish(t, b, old)
	arrived(t, b, 1)
	all := tailed(t, openReader(t, b, a.keys()), audit.FromBeginning)
	if l := <-all; l.ID != old.id {
		t.Errorf("from the beginning: got %v", l)
	}
	now := tailed(t, openReader(t, b, a.keys()), audit.FromNow)
	// Tail from now has no first line to wait for: publish until it has one.
	var got *audit.Line
	bustest.Eventually(t, "a line comes", func() bool {
		publish(t, b, a.user(t, "x"))
		select {
		case got = <-now:
			return true
		default:
			return false
		}
	})
	if got.ID == old.id || got.Target != `user "x" in realm main` || !got.Verified || got.Line != 0 {
		t.Errorf("from now: got %v", got)
	}
	publish(t, b, event, old, event)
	seen := map[events.EventID]int{}
	for last := a.receipt(t); seen[last.id] == 0; {
		if seen[event.id] == 1 {
			publish(t, b, last)
		}
		seen[(<-now).ID]++
	}
	if seen[event.id] != 1 {
		t.Errorf("got the event %d times", seen[event.id])
	}
}

func TestTailOutlivesTheServerAndARollback(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	kept, lost, new := a.user(t, "kept"), a.user(t, "lost"), a.user(t, "new")
	publish(t, b, kept)
	arrived(t, b, 1)
	lines := tailed(t, openReader(t, b, a.keys()), audit.FromBeginning)
	if l := <-lines; l.ID != kept.id {
		t.Fatalf("got %v", l)
	}
	snapshot := s.Snapshot(t)
	bustest.Eventually(t, "the client is back", b.Conn().IsConnected)
	arrived(t, b, 1)
	publish(t, b, lost)
	if l := <-lines; l.ID != lost.id {
		t.Fatalf("got %v", l)
	}
	s.RollBack(t, snapshot)
	bustest.Eventually(t, "the client is back", b.Conn().IsConnected)
	arrived(t, b, 1)
	publish(t, b, new) // where the lost one was
	if l := <-lines; l.ID != new.id {
		t.Errorf("got %v", l)
	}
}

func TestTailNoticesALossThatDisturbsNothing(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	kept, lost, new := a.receipt(t), a.receipt(t), a.receipt(t)
	publish(t, b, kept, lost)
	lines := tailed(t, openReader(t, b, a.keys()), audit.FromBeginning)
	for _, want := range []posted{kept, lost} {
		if l := <-lines; l.ID != want.id {
			t.Fatalf("got %v", l)
		}
	}
	s.LoseTail(t, fleet, events.Audit, 1)
	publish(t, b, new) // where the lost one was
	select {
	case l := <-lines:
		if l.ID != new.id {
			t.Errorf("got %v", l)
		}
	case <-within(t).Done():
		t.Error("the new receipt was not seen")
	}
}

func TestTailEndsWhenItsReaderDoes(t *testing.T) {
	b := bustest.Start(t).Bus(t, fleet)
	a := newAuthor(t, "p1")
	publish(t, b, a.user(t, "a"))
	arrived(t, b, 1)
	broken := errors.New("broken pipe")
	err := openReader(t, b, a.keys()).Tail(within(t), audit.FromBeginning, func(*audit.Line) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestLineHasItsMembersInOrder(t *testing.T) {
	a := newAuthor(t, "p1")
	event, receipt, refusal := a.user(t, "jack"), a.receipt(t), a.refusal(t)
	file, _ := exported(t, a.keys(), []posted{event, receipt, refusal})
	lines := strings.SplitAfter(string(file), "\n")
	for i, want := range [][]string{
		{"line", "seq", "time", "type", "id", "txn", "publisher", "incarnation", "counter", "stream", "kind", "target", "realm",
			"reason", "initiating_entity", "not_before", "expires", "verified", "raw", "prev"},
		{"line", "seq", "time", "type", "id", "txn", "publisher", "incarnation", "counter", "stream", "target", "reason", "caller",
			"door", "invalidated_tokens", "previously_invalidated_tokens", "expected", "applied", "errors", "complete", "verified", "raw", "prev"},
		{"line", "seq", "time", "type", "id", "publisher", "incarnation", "counter", "stream", "kind", "target", "realm", "caller",
			"door", "error", "detail", "remote", "requests", "since", "verified", "raw", "prev"},
	} {
		if got := names(t, lines[i]); !slices.Equal(got, want) {
			t.Errorf("line %d: got %v, want %v", i+1, got, want)
		}
	}
	for _, want := range []string{`"type":"revocation","id":"` + event.id.String(), `"target":"user \"jack\" in realm main","realm":"main"`,
		`"reason":"laptop \"stolen\" <été>"`, `"stream":"audit"`, `"invalidated_tokens":9`, `"errors":1`,
		`"type":"refusal","id":"` + refusal.id.String(), `"remote":"192.0.2.7","requests":3,"since":1795302000000,`} {
		if !strings.Contains(string(file), want) {
			t.Errorf("no %s in\n%s", want, file)
		}
	}
}

func names(t *testing.T, line string) (names []string) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(line))
	for i := 0; ; i++ {
		tok, err := dec.Token()
		if err != nil {
			return names
		}
		if name, ok := tok.(string); ok && i%2 == 1 {
			names = append(names, name)
		}
	}
}

// TestPrevIsWhatSha256sumPrints runs the documentation's command.
func TestPrevIsWhatSha256sumPrints(t *testing.T) {
	a := newAuthor(t, "p1")
	path, _, _ := filled(t, a, 3)
	out, err := exec.Command("sh", "-c", "sed -n 2p '"+path+"' | sha256sum").Output()
	if err != nil {
		t.Fatal(err)
	}
	if sum := string(out[:64]); !strings.Contains(string(readLines(t, path)[2]), `"prev":"`+sum+`"`) {
		t.Errorf("line 3 does not have %s", sum)
	}
}

func TestLineForPeopleIsOneLineOfPlainText(t *testing.T) {
	a := newAuthor(t, "p1")
	all := []posted{
		a.event(t, events.Target{Kind: events.KindRealm, Realm: "ma\x1b[2Jin\n\u202e", Issuers: []string{issuer}}),
		a.receipt(t), {stream: events.Audit, raw: []byte("nonsense")}, a.refusal(t),
	}
	b := bustest.Start(t).Bus(t, fleet)
	publishInOrder(t, b, all)
	lines := tailed(t, openReader(t, b, a.keys()), audit.FromBeginning)
	got := ""
	for range all {
		s := (<-lines).String()
		if strings.ContainsAny(s, "\x1b\n\u202e") {
			t.Errorf("not plain: %q", s)
		}
		got += s + "\n"
	}
	for _, want := range []string{"revocation  realm ma\uFFFD[2Jin\uFFFD\uFFFD  by admin", "p1/control/1", "rejected  malformed (8 bytes)",
		`receipt  user "jack" in realm main  9 invalidated, 15 before  1 of 2 agents  1 errors  by admin-cli  through native`,
		"refusal  realm main  forbidden: this caller may not revoke targets of kind realm  3 requests  by apikey:helpdesk  from 192.0.2.7  through native"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestTailedLineIsJSONWithoutPlaceInAFile(t *testing.T) {
	a := newAuthor(t, "p1")
	b := bustest.Start(t).Bus(t, fleet)
	publish(t, b, a.user(t, "jack"))
	b1, err := json.Marshal(<-tailed(t, openReader(t, b, a.keys()), audit.FromBeginning))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b1); !strings.HasPrefix(s, `{"seq":`) || strings.Contains(s, `"prev"`) || !strings.Contains(s, `"target":"user \"jack\" in realm main"`) {
		t.Errorf("got %s", s)
	}
}
