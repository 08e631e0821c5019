package publisher

import (
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/follow"
	"github.com/rescind/rescind/publisher/ledger"
)

// Record is a request as the ledger keeps it.
type Record struct {
	ID        events.EventID        `json:"id"`
	Kind      events.Kind           `json:"kind"`
	Realm     string                `json:"realm,omitempty"`
	Claim     string                `json:"claim,omitempty"`
	Value     string                `json:"value,omitempty"`
	Tokens    int                   `json:"tokens,omitempty"`
	Caller    string                `json:"caller"`
	Door      string                `json:"door"`
	Reason    string                `json:"reason,omitempty"`
	Initiator events.Initiator      `json:"initiating_entity"`
	Key       string                `json:"key,omitempty"`
	Cause     string                `json:"cause,omitempty"`
	Events    []events.ReceiptEvent `json:"events"`
	// AcceptedAt is in Unix milliseconds.
	AcceptedAt int64 `json:"accepted_at"`
	// Receipt is there once the request is closed.
	Receipt *events.Receipt `json:"receipt,omitempty"`
}

func newRecord(o *Order, req *request, now time.Time) Record {
	r := Record{ID: req.txn, Kind: o.Target.Kind, Realm: o.Target.Realm, Claim: o.Target.Claim, Value: o.Target.Value,
		Tokens: len(o.Target.Tokens), Caller: o.Caller, Door: o.Door, Reason: o.Reason, Initiator: o.Initiator,
		Key: base64.RawURLEncoding.EncodeToString([]byte(req.key)), Cause: req.cause, AcceptedAt: now.UnixMilli()}
	for _, it := range req.items {
		r.Events = append(r.Events, events.ReceiptEvent{ID: it.r.ID, Stream: it.r.Target.Kind.Stream(),
			Target: it.r.Target.String(), NotBefore: it.r.NotBefore})
	}
	return r
}

// loadRequest takes up a request of the ledger: one without a receipt is tallied
// again, one with a key can be repeated.
func (l *loop) loadRequest(txn events.EventID, decode func(any) error) (bool, error) {
	req := &request{txn: txn, acked: make(chan struct{})}
	if err := decode(&req.record); err != nil {
		return false, fmt.Errorf("request %s: %w", txn, err)
	}
	key, err := base64.RawURLEncoding.DecodeString(req.record.Key)
	if err != nil {
		return false, fmt.Errorf("request %s: %w", txn, err)
	}
	age := l.now().Sub(time.UnixMilli(req.record.AcceptedAt))
	req.key, req.cause, req.accepted = string(key), req.record.Cause, l.mono()-age
	if req.record.Receipt == nil {
		l.resume(req)
	} else {
		close(req.acked)
	}
	if req.cause != "" && age < keyFor {
		l.causes[req.cause] = req
	}
	return true, nil
}

// resume tallies a request that was open when the publisher ended.
func (l *loop) resume(req *request) {
	req.tally = newTally(req.txn, req.accepted)
	req.tally.restarted = true
	for _, e := range req.record.Events {
		known := l.entries[e.ID]
		if known == nil {
			// It has expired: nobody will ever report it.
			req.tally.expect(e.ID, &tallied{stream: e.Stream, counted: true})
			req.items = append(req.items, &item{r: events.Revocation{ID: e.ID, NotBefore: e.NotBefore}})
			req.missing++
			continue
		}
		it := &item{r: events.Revocation{ID: e.ID, NotBefore: e.NotBefore}, seq: known.seq}
		if r, raw, err := l.stored(e.ID); err == nil && r != nil {
			it.r, it.raw = *r, raw
		}
		te := &tallied{stream: e.Stream, counted: true}
		req.tally.expect(e.ID, te)
		if known.seq != 0 {
			l.tallies.reached(req.tally, te, "", known.seq) // in the epoch that load will enter
		}
		if known.seq == 0 {
			l.inflight[e.ID] = flight{req: req, i: len(req.items)}
			req.missing++
		}
		req.items = append(req.items, it)
	}
	if req.missing == 0 {
		close(req.acked)
		req.tally.reachedAt = l.mono()
	}
	l.tallies.add(req.tally)
}

// stored reads an event of the ledger.
func (p *Publisher) stored(id events.EventID) (r *events.Revocation, raw []byte, err error) {
	err = p.ledger.View(func(tx *ledger.Tx) error {
		e, err := tx.Event(id)
		if err != nil || e == nil {
			return err
		}
		m := follow.Decode(p.keys.Load(), p.fleet, e.Seq, e.Raw)
		r, raw = m.Event, e.Raw
		return m.Err
	})
	return r, raw, err
}

// Revocation gives a request and what is known of its effect. The error is
// ErrNotFound for an id that this publisher did not accept or has forgotten, and
// ErrClosed after Close.
func (p *Publisher) Revocation(id events.EventID) (*Record, *events.Outcome, error) {
	var rec Record
	found := false
	err := p.view(func(tx *ledger.Tx) (err error) {
		found, err = tx.Request(id, &rec)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if !found {
		return nil, nil, ErrNotFound
	}
	if rec.Receipt == nil {
		p.ask(func(l *loop) {
			for i := range rec.Events {
				rec.Events[i].Seq = l.seqOf(rec.Events[i].ID)
			}
		})
	}
	return &rec, p.outcomeOf(&rec), nil
}

// view reads the ledger for a caller. The error is ErrClosed once it is closed.
func (p *Publisher) view(fn func(*ledger.Tx) error) error {
	err := p.ledger.View(fn)
	if errors.Is(err, ledger.ErrClosed) {
		return ErrClosed
	}
	return err
}

// seqOf is where the stream has the event, by the follower or else by the stream's
// acknowledgement; 0 when it has it not.
func (l *loop) seqOf(id events.EventID) uint64 {
	if e := l.entries[id]; e != nil && e.seq != 0 {
		return e.seq
	}
	l.mu.Lock()
	f, ok := l.inflight[id]
	l.mu.Unlock()
	if !ok {
		return 0
	}
	f.req.mu.Lock()
	defer f.req.mu.Unlock()
	return f.req.items[f.i].seq
}

// outcomeOf is the receipt's outcome, or what is known now.
func (p *Publisher) outcomeOf(rec *Record) *events.Outcome {
	if rec.Receipt != nil {
		return &rec.Receipt.Outcome
	}
	out := &events.Outcome{Applied: []events.Application{}}
	p.ask(func(l *loop) {
		if t := l.tallies.open[rec.ID]; t != nil {
			*out = t.outcome(l.present(), false, l.mono())
		}
	})
	return out
}

// Revocations lists requests from the newest to the oldest, at most limit of
// them, beginning behind the one given (the zero id: with the newest).
func (p *Publisher) Revocations(after events.EventID, limit int) ([]Record, error) {
	var out []Record
	err := p.view(func(tx *ledger.Tx) error {
		return tx.Requests(after, func(txn events.EventID, decode func(any) error) (bool, error) {
			var rec Record
			if err := decode(&rec); err != nil {
				return false, fmt.Errorf("request %s: %w", txn, err)
			}
			out = append(out, rec)
			return len(out) < limit, nil
		})
	})
	return out, err
}

// draftLift lifts an event, or each event of a request.
func (p *Publisher) draftLift(id events.EventID) ([]draft, error) {
	ids := []events.EventID{id}
	err := p.view(func(tx *ledger.Tx) error {
		var rec Record
		found, err := tx.Request(id, &rec)
		if found {
			ids = ids[:0]
			for _, e := range rec.Events {
				ids = append(ids, e.ID)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	var out []draft
	for _, id := range ids {
		r, _, err := p.stored(id)
		switch {
		case err != nil:
			return nil, ErrNotFound
		case r == nil: // it has expired
		case r.Target.Kind == events.KindLift:
			return nil, ErrNotFound
		default:
			out = append(out, draft{target: events.Target{Kind: events.KindLift, Lifted: id}, until: r.Expires})
		}
	}
	if len(out) == 0 {
		return nil, ErrNotFound
	}
	return out, nil
}
