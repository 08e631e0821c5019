package publisher

import (
	"bytes"
	"slices"
	"time"

	"github.com/rescind/rescind/events"
)

// elsewhere is an order with a key that another publisher has carried out, as its
// events tell: the order must not be carried out again here.
type elsewhere struct {
	txn      events.EventID
	accepted time.Duration
	// keys are those of the drafts, events what they became.
	keys   []string
	events []events.ReceiptEvent
}

// noteElsewhere notes an event of an order that this ledger does not have as its own:
// another publisher's, or one of before the ledger was lost.
func (l *loop) noteElsewhere(s events.Stream, seq uint64, r *events.Revocation, own bool) {
	age := l.now().Sub(time.Unix(r.IssuedAt, 0))
	if r.Cause == "" || own || age >= keyFor {
		return
	}
	e := events.ReceiptEvent{ID: r.ID, Stream: s, Seq: seq, Target: r.Target.String(), NotBefore: r.NotBefore}
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.elsewhere[r.Cause]
	if known == nil || known.txn != r.Txn {
		// Of two at once the earlier one is the order; the later has the same effect.
		if known != nil && bytes.Compare(known.txn[:], r.Txn[:]) < 0 {
			return
		}
		known = &elsewhere{txn: r.Txn, accepted: l.mono() - age}
		l.elsewhere[r.Cause] = known
	}
	i := slices.IndexFunc(known.events, func(x events.ReceiptEvent) bool { return x.ID == r.ID })
	if i < 0 {
		known.events = append(known.events, e)
		known.keys = append(known.keys, (&draft{target: r.Target}).key())
		return
	}
	known.events[i] = e // at another place in a stream that was made anew
}

// doneElsewhere gives the result of an order that another publisher has carried out:
// which agents have applied it, but not what they counted, which they told that
// publisher. known tells whether there is such an order; one with the same key for
// something else is ErrConflict.
func (p *Publisher) doneElsewhere(o *Order, drafts []draft) (res *Result, known bool, err error) {
	cause := o.cause()
	p.mu.Lock()
	e := p.elsewhere[cause]
	own := p.causes[cause] != nil
	var was elsewhere
	if e != nil {
		was = elsewhere{e.txn, e.accepted, slices.Clone(e.keys), slices.Clone(e.events)}
	}
	p.mu.Unlock()
	if cause == "" || e == nil || own {
		return nil, false, nil
	}
	for _, key := range was.keys {
		if !slices.ContainsFunc(drafts, func(d draft) bool { return d.key() == key }) {
			return nil, true, ErrConflict
		}
	}
	res = &Result{ID: was.txn, Events: was.events, Replayed: true, Elapsed: p.mono() - was.accepted}
	for _, e := range was.events {
		res.NotBefore = max(res.NotBefore, e.NotBefore)
	}
	p.ask(func(l *loop) { res.Outcome = l.outcomeElsewhere(&was, o.Wait == WaitNone) })
	return res, true, nil
}

// outcomeElsewhere looks at where the agents are now.
func (l *loop) outcomeElsewhere(e *elsewhere, quiet bool) events.Outcome {
	t := newTally(e.txn, e.accepted)
	t.restarted = true // what was counted is not known here
	for _, one := range e.events {
		t.expect(one.ID, &tallied{stream: one.Stream, epoch: l.streams[one.Stream].Cursor().Epoch, seq: one.Seq})
	}
	v := l.present()
	for _, m := range v.expected {
		t.look(m, l.mono())
	}
	return t.outcome(v, quiet, l.mono())
}
