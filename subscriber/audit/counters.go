package audit

import (
	"cmp"
	"slices"

	"github.com/rescind/rescind/events"
)

// reordered is how far a publisher's messages may overtake each other on their
// way into a stream.
const reordered = 256

// counters holds what each publisher has numbered on each stream.
type counters map[ledgerStream][]numbered

type ledgerStream struct {
	publisher string
	stream    events.Stream
}

type numbered struct {
	counter     uint64
	line        int64
	incarnation events.EventID
}

func (c counters) add(line int64, l *Line) {
	k := ledgerStream{l.Publisher, l.Stream}
	c[k] = append(c[k], numbered{l.Counter, line, l.Incarnation})
}

// check reports every counter that is missing or stands there twice.
func (c counters) check(r *Report) {
	for k, all := range c {
		for i, ledger := range ledgers(r, k, all) {
			k.check(r, ledger, i == 0)
		}
	}
}

// ledgers splits a publisher's messages by the ledger that counted them, each in
// the order of the counters. Counters go on from one incarnation to the next for
// as long as the ledger lives, and begin at 1 when it was lost.
func ledgers(r *Report, k ledgerStream, all []numbered) (out [][]numbered) {
	for _, run := range incarnations(all) {
		if len(out) == 0 {
			out = append(out, run)
			continue
		}
		ledger := &out[len(out)-1]
		lo, hi := (*ledger)[0], (*ledger)[len(*ledger)-1]
		first, last := run[0], run[len(run)-1]
		switch {
		case first.counter > hi.counter:
			*ledger = append(*ledger, run...)
		case last.counter < lo.counter && first.counter != 1:
			*ledger = append(run, *ledger...)
		default:
			k.restart(r, first, hi)
			out = append(out, run)
		}
	}
	return out
}

func (k ledgerStream) restart(r *Report, first, hi numbered) {
	if first.counter == 1 {
		r.note(first.line, "publisher %s counts from 1 again on %s, with incarnation %s: it has a new ledger",
			k.publisher, k.stream, first.incarnation)
		return
	}
	r.problem(first.line, "publisher %s counts on %s from %d again after %d on line %d: its ledger is an older copy, or what a new one counted before is missing",
		k.publisher, k.stream, first.counter, hi.counter, hi.line)
}

// incarnations groups by incarnation, in the order of their first lines, each
// group in the order of its counters. An incarnation's id is no measure of its
// age: it rests on a clock.
func incarnations(all []numbered) (out [][]numbered) {
	index := map[events.EventID]int{}
	for _, n := range all {
		i, ok := index[n.incarnation]
		if !ok {
			i = len(out)
			index[n.incarnation] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], n)
	}
	for _, run := range out {
		slices.SortFunc(run, func(a, b numbered) int {
			return cmp.Or(cmp.Compare(a.counter, b.counter), cmp.Compare(a.line, b.line))
		})
	}
	return out
}

// check goes through one ledger's counters. The oldest ledger may begin above 1:
// what came before had left the stream when the file was begun, and what was
// overtaken then may have left it too.
func (k ledgerStream) check(r *Report, ledger []numbered, oldest bool) {
	start := ledger[0].counter
	if oldest && start > 1 {
		r.note(ledger[0].line, "the file begins with counter %d of publisher %s on %s", start, k.publisher, k.stream)
	}
	for i := 1; i < len(ledger); i++ {
		a, b := ledger[i-1], ledger[i]
		switch {
		case b.counter == a.counter:
			r.problem(b.line, "publisher %s has counted %d on %s twice, also on line %d", k.publisher, b.counter, k.stream, a.line)
		case b.counter == a.counter+1:
		case oldest && start > 1 && b.counter < start+reordered:
			k.gap(r.note, a, b)
		default:
			k.gap(r.problem, a, b)
		}
	}
}

func (k ledgerStream) gap(say func(int64, string, ...any), a, b numbered) {
	if b.counter == a.counter+2 {
		say(b.line, "counter %d of publisher %s on %s is missing: line %d has %d, line %d has %d",
			a.counter+1, k.publisher, k.stream, a.line, a.counter, b.line, b.counter)
		return
	}
	say(b.line, "counters %d to %d of publisher %s on %s are missing: line %d has %d, line %d has %d",
		a.counter+1, b.counter-1, k.publisher, k.stream, a.line, a.counter, b.line, b.counter)
}
