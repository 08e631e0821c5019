package publisher

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
)

func counts(all []*events.Refusal) (out []string) {
	for _, r := range all {
		out = append(out, fmt.Sprintf("%s %s %s %d %d-%d", r.Caller, r.Detail, r.Error, r.Count, r.First/1000, r.Last/1000))
	}
	return out
}

func wantCounts(t *testing.T, all []*events.Refusal, want ...string) {
	t.Helper()
	if got := counts(all); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func refusalsOf(t *testing.T, l *refusalLog, at int64, all bool) []*events.Refusal {
	t.Helper()
	got, lost := l.take(time.Unix(at, 0), all)
	if lost != 0 {
		t.Errorf("%d records are lost", lost)
	}
	return got
}

// The first is recorded at once, those after it with their number when a minute is
// over, and again in the next minute.
func TestRefusalsThatAreAlikeAreCounted(t *testing.T) {
	l := newRefusalLog()
	add := func(at int64, caller, detail string) {
		if l.add(events.Refusal{Caller: caller, Detail: detail, Error: "forbidden"}, time.Unix(at, 0)) {
			t.Error("a refusal is lost")
		}
	}
	add(100, "mallory", "a")
	add(101, "mallory", "b")
	add(102, "trudy", "c")
	add(150, "mallory", "d")
	wantCounts(t, refusalsOf(t, &l, 151, false), "mallory a forbidden 1 100-100", "trudy c forbidden 1 102-102")
	wantCounts(t, refusalsOf(t, &l, 159, false))
	wantCounts(t, refusalsOf(t, &l, 160, false), "mallory b forbidden 2 101-150")
	add(170, "mallory", "e")
	add(171, "trudy", "f") // its minute was over at 162, but nobody had looked
	wantCounts(t, refusalsOf(t, &l, 171, false), "trudy f forbidden 1 171-171")
	wantCounts(t, refusalsOf(t, &l, 220, false), "mallory e forbidden 1 170-170")
	wantCounts(t, refusalsOf(t, &l, 1000, false))
	if n := len(l.counts); n != 0 {
		t.Errorf("%d callers are kept in mind for ever", n)
	}
	add(1001, "mallory", "g")
	add(1002, "mallory", "h")
	wantCounts(t, refusalsOf(t, &l, 1003, true), "mallory g forbidden 1 1001-1001", "mallory h forbidden 1 1002-1002")
}

// Who changes its name with each attempt cannot fill the stream, nor hide its number.
func TestManyDifferentRefusalsBecomeOne(t *testing.T) {
	l := newRefusalLog()
	for i := range 10 * maxRefusals {
		l.add(events.Refusal{Door: "native", Error: "forbidden", Caller: fmt.Sprint("caller", i)}, time.Unix(100, 0))
	}
	l.add(events.Refusal{Door: "lusid", Error: "forbidden", Caller: "other"}, time.Unix(101, 0))
	all := append(refusalsOf(t, &l, 101, false), refusalsOf(t, &l, 160, false)...)
	if len(all) != maxRefusals+3 {
		t.Errorf("got %d records, want %d", len(all), maxRefusals+3)
	}
	requests, unnamed := 0, 0
	for _, r := range all {
		if requests += r.Count; r.Caller == "" {
			unnamed += r.Count
		}
	}
	if requests != 10*maxRefusals+1 || unnamed != 9*maxRefusals+1 {
		t.Errorf("got %d requests, %d of them without a caller", requests, unnamed)
	}
}

// A ledger that cannot be written does not take all memory.
func TestUnwrittenRefusalsAreBounded(t *testing.T) {
	l := newRefusalLog()
	var kept []*events.Refusal
	lost := 0
	for minute := range int64(10) {
		for i := range maxRefusals {
			if l.add(events.Refusal{Caller: fmt.Sprint(minute, i)}, time.Unix(minute*100, 0)) {
				lost++
			}
		}
		next, n := l.take(time.Unix(minute*100, 0), false)
		lost += n
		l.putBack(next)
		kept = next
	}
	if len(kept) != maxUnwrittenRefusals || lost == 0 {
		t.Errorf("%d are kept, %d lost", len(kept), lost)
	}
}
