package audit

import (
	"cmp"
	"fmt"
	"slices"
)

// maxFindings is how many problems, and how many notes, a report names.
const maxFindings = 100

// Finding is something that Verify says about a line.
type Finding struct {
	// Line is the line's number in the file as it is, from 1; for lines that are
	// missing, that of the place where they are. 0 stands for the file as a whole.
	Line int64  `json:"line"`
	Text string `json:"text"`
}

// String is "line N: text".
func (f Finding) String() string {
	if f.Line == 0 {
		return f.Text
	}
	return fmt.Sprintf("line %d: %s", f.Line, f.Text)
}

// Report is what Verify found.
type Report struct {
	// Lines is how many lines the file has, FirstSeq and LastSeq the sequences of
	// the first and the last in the audit stream, Hash the last line's.
	Lines    int64  `json:"lines"`
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
	Hash     Hash   `json:"hash"`
	// Checkpoint tells that the file was compared with one. Without it, lines that
	// are missing from the end go unnoticed, and so does a change of the last
	// line's sequence or time.
	Checkpoint bool `json:"checkpoint"`
	// What the lines record. Late are those that did not verify when they were
	// written and do now; they count under their type as well. Rejected are forged
	// or malformed: that the file records them is no problem of the file.
	Revocations int64 `json:"revocations"`
	Lifts       int64 `json:"lifts"`
	Receipts    int64 `json:"receipts"`
	Refusals    int64 `json:"refusals"`
	Rejected    int64 `json:"rejected"`
	Late        int64 `json:"late"`
	// Problems are in the order of their lines. Of more than 100 the first that
	// were found are named; ProblemCount is the number of all. Notes are worth
	// knowing and nothing is wrong with them.
	Problems     []Finding `json:"problems"`
	ProblemCount int       `json:"problem_count"`
	Notes        []Finding `json:"notes"`
	NoteCount    int       `json:"note_count"`
}

// OK tells that nothing is wrong.
func (r *Report) OK() bool { return r.ProblemCount == 0 }

func (r *Report) problem(line int64, format string, args ...any) {
	if r.ProblemCount++; r.ProblemCount <= maxFindings {
		r.Problems = append(r.Problems, Finding{line, fmt.Sprintf(format, args...)})
	}
}

func (r *Report) note(line int64, format string, args ...any) {
	if r.NoteCount++; r.NoteCount <= maxFindings {
		r.Notes = append(r.Notes, Finding{line, fmt.Sprintf(format, args...)})
	}
}

func (r *Report) sort() {
	for _, f := range [][]Finding{r.Problems, r.Notes} {
		slices.SortStableFunc(f, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	}
}
