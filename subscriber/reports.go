package subscriber

import (
	"encoding/json"

	"github.com/rescind/rescind/events"
)

// maxFaults is how many faults one report names; more of the same are only
// counted, in the status.
const maxFaults = 64

// maxCounted is how many counts one report carries; more wait for the next.
const maxCounted = 1024

// pendingReport gathers what the next report says. It is part of the core.
type pendingReport struct {
	counted []events.Counted
	faults  []events.Fault
	// due tells that the disk has something that was not reported.
	due bool
}

func (p *pendingReport) fault(f events.Fault) {
	if len(p.faults) < maxFaults {
		p.faults = append(p.faults, f)
	}
	p.due = true
}

// take empties what is pending, at most one report's worth, and tells whether
// more is left.
func (p *pendingReport) take() (counted []events.Counted, faults []events.Fault, more bool) {
	counted, faults = p.counted, p.faults
	p.faults = nil
	n, size := 0, 0
	for n < len(counted) && n < maxCounted && size < maxReportedTokens {
		size += len(counted[n].Invalidated) + len(counted[n].Previously)
		n++
	}
	if size > maxReportedTokens && n > 1 {
		n--
	}
	p.counted = append([]events.Counted(nil), counted[n:]...)
	return counted[:n:n], faults, len(p.counted) > 0
}

// maxReportedTokens keeps a report, 11 bytes a token, under NATS's megabyte.
const maxReportedTokens = events.MaxReportedTokens

// keptReports is how many reports can be asked for again.
const keptReports = 1024

// reporter numbers reports and keeps the last ones for publishers that missed
// them.
type reporter struct {
	number uint64
	kept   map[uint64][]byte
}

// next encodes the next report.
func (r *reporter) next(rep events.Report) ([]byte, error) {
	rep.Number = r.number + 1
	b, err := json.Marshal(rep)
	if err != nil {
		return nil, err
	}
	if r.kept == nil {
		r.kept = map[uint64][]byte{}
	}
	r.number++
	r.kept[r.number] = b
	delete(r.kept, r.number-keptReports)
	return b, nil
}

// again gives the kept reports from to to, inclusive.
func (r *reporter) again(from, to uint64) [][]byte {
	var out [][]byte
	oldest := r.number - min(r.number, keptReports) + 1
	for n := max(from, oldest); n <= min(to, r.number); n++ {
		if b, ok := r.kept[n]; ok {
			out = append(out, b)
		}
	}
	return out
}
