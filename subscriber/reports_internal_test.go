package subscriber

import (
	"encoding/json"
	"testing"

	"github.com/rescind/rescind/events"
)

func numbers(t *testing.T, raw [][]byte) (out []uint64) {
	t.Helper()
	for _, b := range raw {
		var r events.Report
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r.Number)
	}
	return out
}

func TestReportsAreNumberedAndKept(t *testing.T) {
	var r reporter
	const n = keptReports + 10
	for i := range uint64(n) {
		b, err := r.next(events.Report{})
		if err != nil || numbers(t, [][]byte{b})[0] != i+1 {
			t.Fatalf("report %d: %s, %v", i+1, b, err)
		}
	}
	for _, tc := range []struct {
		from, to    uint64
		count       int
		first, last uint64
	}{
		{20, 22, 3, 20, 22},
		{1, 5, 0, 0, 0},
		{1, 11, 1, 11, 11},
		{n, n + 1000, 1, n, n},
		{0, 1 << 63, keptReports, 11, n},
		{n + 1, 1<<64 - 1, 0, 0, 0},
	} {
		got := numbers(t, r.again(tc.from, tc.to))
		if len(got) != tc.count || tc.count > 0 && (got[0] != tc.first || got[len(got)-1] != tc.last) {
			t.Errorf("%d to %d: %d reports %v, want %d from %d to %d", tc.from, tc.to, len(got), got, tc.count, tc.first, tc.last)
		}
	}
	if len(r.kept) != keptReports {
		t.Errorf("%d kept, want %d", len(r.kept), keptReports)
	}
}

func TestOneReportHoldsNoMoreThanItMay(t *testing.T) {
	for _, tc := range []struct {
		name string
		each []int // hashes of each count
		want []int // counts of each report
	}{
		{"nothing", nil, []int{0}},
		{"a few", []int{1, 2, 3}, []int{3}},
		{"two that do not fit together", []int{40000, 40000}, []int{1, 1}},
		{"two that just do", []int{40000, maxReportedTokens - 40000, 1}, []int{2, 1}},
		{"the largest", []int{maxReportedTokens, maxReportedTokens}, []int{1, 1}},
		{"many", make([]int, 2*maxCounted+1), []int{maxCounted, maxCounted, 1}},
	} {
		p := pendingReport{}
		for _, n := range tc.each {
			p.counted = append(p.counted, events.Counted{Invalidated: make(events.TokenHashes, n)})
		}
		var got []int
		for more := true; more; {
			var counted []events.Counted
			counted, _, more = p.take()
			got = append(got, len(counted))
		}
		if len(got) != len(tc.want) {
			t.Errorf("%s: reports of %v, want %v", tc.name, got, tc.want)
			continue
		}
		for i := range got {
			if got[i] != tc.want[i] {
				t.Errorf("%s: reports of %v, want %v", tc.name, got, tc.want)
				break
			}
		}
	}
}

func TestFaultsOfOneReportAreBounded(t *testing.T) {
	var p pendingReport
	for range 2 * maxFaults {
		p.fault(events.Fault{Type: "signature"})
	}
	if _, faults, _ := p.take(); len(faults) != maxFaults || !p.due {
		t.Errorf("%d faults, due %v, want %d, true", len(faults), p.due, maxFaults)
	}
	if _, faults, _ := p.take(); len(faults) != 0 {
		t.Errorf("%d faults said twice", len(faults))
	}
}
