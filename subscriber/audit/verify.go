package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/rescind/rescind/events"
)

var errNoKeys = errors.New("verifying audit file: no keys")

// Verify checks an audit file and the checkpoint beside it: that no line was
// removed, added, moved or altered; that every signature holds under keys, and
// every summary says what was signed; that no publisher's counter is missing; and
// that nothing stands there twice. It may run while the file is being written.
//
// Whatever is wrong with the file is in the report, which names the line. The
// error is for what prevents reading. Keys that were taken out of use must be
// among keys for as long as files hold what they signed.
func Verify(path string, fleet events.Fleet, keys *events.KeySet) (*Report, error) {
	if keys == nil {
		return nil, errNoKeys
	}
	// The checkpoint first: a writer is never behind it.
	cp, err := ReadCheckpoint(path + checkpointSuffix)
	missing := errors.Is(err, fs.ErrNotExist)
	damaged := errors.Is(err, ErrDamaged)
	if err != nil && !missing && !damaged {
		return nil, fmt.Errorf("verifying audit file: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("verifying audit file: %w", err)
	}
	defer f.Close() // only read
	v := newVerifier(cp, fleet, keys)
	if missing {
		v.report.problem(0, "the checkpoint is missing: lines may be missing from the end")
	}
	if damaged {
		v.report.problem(0, "the checkpoint is damaged: lines may be missing from the end")
	}
	return v.run(f)
}

// VerifyLines is Verify for lines from any reader, such as an export, and the
// checkpoint that goes with them; nil if there is none.
func VerifyLines(r io.Reader, cp *Checkpoint, fleet events.Fleet, keys *events.KeySet) (*Report, error) {
	if keys == nil {
		return nil, errNoKeys
	}
	return newVerifier(cp, fleet, keys).run(r)
}

// verifier goes through a file once.
type verifier struct {
	fleet  events.Fleet
	keys   *events.KeySet
	report *Report
	chain  chain
	// raw and ids are the lines on which each message, and each event, receipt or
	// refusal, stand first.
	raw      map[digest]int64
	ids      map[identity]int64
	counters counters
	lastSeq  uint64
}

// identity is what must be in a file once. A receipt has its request's id.
type identity struct {
	receipt bool
	id      events.EventID
}

func newVerifier(cp *Checkpoint, fleet events.Fleet, keys *events.KeySet) *verifier {
	report := &Report{Checkpoint: cp != nil, Problems: []Finding{}, Notes: []Finding{}}
	return &verifier{fleet: fleet, keys: keys, report: report, chain: chain{report: report, cp: cp},
		raw: map[digest]int64{}, ids: map[identity]int64{}, counters: counters{}}
}

func (v *verifier) run(r io.Reader) (*Report, error) {
	lines := newLineReader(r)
	for {
		b, err := lines.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("verifying audit file: %w", err)
		}
		v.line(b)
	}
	v.chain.end()
	v.counters.check(v.report)
	v.report.sort()
	return v.report, nil
}

func (v *verifier) line(b []byte) {
	if v.chain.unfinished(b) {
		return
	}
	v.report.Lines++
	n, hash := v.report.Lines, Hash(sha256.Sum256(b))
	v.report.Hash = hash
	l, err := parseLine(b)
	if err != nil {
		v.chain.broken(n, err)
		return
	}
	v.chain.next(n, l, hash)
	if v.report.FirstSeq == 0 {
		v.report.FirstSeq = l.Seq
	}
	v.report.LastSeq = l.Seq
	if l.Seq <= v.lastSeq {
		v.report.note(n, "the audit stream's sequence goes back from %d to %d: the stream was lost or rolled back", v.lastSeq, l.Seq)
	}
	v.lastSeq = l.Seq
	if first, ok := v.raw[l.digest()]; ok {
		v.report.problem(n, "it records the message of line %d again", first)
		return
	}
	v.raw[l.digest()] = n
	v.content(n, l)
}

// content verifies the signed message anew and compares.
func (v *verifier) content(n int64, l *Line) {
	is, err := describe(v.keys, v.fleet, []byte(l.Raw))
	switch {
	case l.Verified && err != nil:
		v.report.problem(n, "it verified when it was written, and does not with these keys: %s", events.Reason(err))
		v.count(n, l) // else its counter would seem to be missing too
	case l.Verified:
		v.compare(n, l, is)
		v.count(n, &is)
	default:
		v.refused(n, l, is, err)
	}
}

// refused checks a line that says that its message did not verify.
func (v *verifier) refused(n int64, l *Line, is Line, err error) {
	want := rejected([]byte(l.Raw), l.Problem)
	if l.Raw == "" {
		want = Line{Type: TypeRejected, Problem: events.Reason(events.ErrMalformed), RawBytes: l.RawBytes, RawSHA256: l.RawSHA256}
	}
	v.compare(n, l, want)
	switch {
	case err == nil && parkable(l.Problem):
		v.report.Late++
		v.count(n, &is)
	case err == nil:
		v.report.problem(n, "it says that its message is refused (%s), which verifies", l.Problem)
		v.count(n, &is)
	case parkable(events.Reason(err)) && parkable(l.Problem):
		v.report.problem(n, "its message cannot be verified with these keys: %s", events.Reason(err))
	default:
		v.report.Rejected++
	}
}

// compare names the first member in which a line differs from what it must be.
func (v *verifier) compare(n int64, l *Line, want Line) {
	want.Line, want.Seq, want.Time, want.Prev = l.Line, l.Seq, l.Time, l.Prev
	have := map[string]string{}
	for _, m := range l.members() {
		have[m.name] = m.value
	}
	for _, m := range want.members() {
		if have[m.name] != m.value {
			v.report.problem(n, "its member %s is not what was signed: %s", m.name, brief(m.value))
			return
		}
		delete(have, m.name)
	}
	for name := range have {
		v.report.problem(n, "its member %s is not part of what was signed", name)
		return
	}
}

func brief(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return s
}

// count takes a verified line into the totals.
func (v *verifier) count(n int64, l *Line) {
	switch l.Type {
	case TypeRevocation:
		v.report.Revocations++
	case TypeLift:
		v.report.Lifts++
	case TypeReceipt:
		v.report.Receipts++
	case TypeRefusal:
		v.report.Refusals++
	default:
		return
	}
	id := identity{l.Type == TypeReceipt, l.ID}
	if first, ok := v.ids[id]; ok {
		v.report.problem(n, "%s %s stands on line %d already, with other content", l.Type, l.ID, first)
	} else {
		v.ids[id] = n
	}
	v.counters.add(n, l)
}
