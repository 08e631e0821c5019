package publisher

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher/ledger"
)

// unreceipted is a request whose tally is closed and whose receipt is not written
// yet. A crash before it is leaves the request open: the next start tallies it
// again, and says whose counts it has missed.
type unreceipted struct {
	txn     events.EventID
	seqs    map[events.EventID]uint64
	elapsed time.Duration
	out     events.Outcome

	// What prepareReceipt finds and makes. There is no receipt in rec when the
	// ledger has forgotten the request.
	rec     Record
	expires int64
	post    ledger.Post
}

// receiptQueue joins the requests that are closed while receipts are being
// written.
type receiptQueue struct {
	mu   sync.Mutex
	next []*unreceipted
	wake chan struct{}
}

func (q *receiptQueue) put(c *unreceipted) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next = append(q.next, c)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *receiptQueue) take() []*unreceipted {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.next
	q.next = nil
	return all
}

// writeReceipt closes a request: its receipt goes into the ledger and, by way of
// the outbox, into the audit stream.
func (l *loop) writeReceipt(t *tally, out events.Outcome) {
	seqs := make(map[events.EventID]uint64, len(t.events))
	for id, e := range t.events {
		seqs[id] = e.seq
	}
	l.receipts.put(&unreceipted{txn: t.txn, seqs: seqs, elapsed: l.mono() - t.accepted, out: out})
}

// receiptsAtOnce is how many receipts share a transaction.
const receiptsAtOnce = 500

// receiptLoop writes receipts, all that have come up meanwhile in one transaction.
func (p *Publisher) receiptLoop() {
	for {
		select {
		case <-p.receipts.wake:
		case <-p.ctx.Done():
			return
		}
		for some := range slices.Chunk(p.receipts.take(), receiptsAtOnce) {
			if err := p.closeRequests(some); err != nil && !errors.Is(err, ledger.ErrClosed) {
				p.log.Error("writing receipts", "first", some[0].txn, "err", err)
			}
			p.kickOutbox()
		}
	}
}

// closeRequests writes the receipts together, or each for itself when one of them
// cannot be written.
func (p *Publisher) closeRequests(all []*unreceipted) error {
	err := p.prepareReceipts(all)
	if err == nil {
		err = p.ledger.UpdateLater(func(tx *ledger.Tx) error {
			for _, c := range all {
				if err := p.closeRequest(tx, c); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err == nil || len(all) == 1 || errors.Is(err, ledger.ErrClosed) {
		return err
	}
	err = nil
	for _, c := range all {
		err = errors.Join(err, p.closeRequests([]*unreceipted{c}))
	}
	return err
}

// prepareReceipts makes and signs the receipts before the transaction that writes
// them: callers wait for the orders that share it. Only a refusal may take a number
// meanwhile; then they are signed again.
func (p *Publisher) prepareReceipts(all []*unreceipted) error {
	return p.ledger.View(func(tx *ledger.Tx) error {
		n := tx.NextCounter(events.Audit)
		for _, c := range all {
			found, err := p.prepareReceipt(tx, c, n)
			if err != nil {
				return err
			}
			if found {
				n++
			}
		}
		return nil
	})
}

func (p *Publisher) prepareReceipt(tx *ledger.Tx, c *unreceipted, n uint64) (found bool, err error) {
	c.rec, c.post = Record{}, ledger.Post{}
	if found, err = tx.Request(c.txn, &c.rec); err != nil || !found {
		return false, err
	}
	rec := &c.rec
	c.expires = rec.AcceptedAt/1000 + int64(keyFor/time.Second)
	for i := range rec.Events {
		e := &rec.Events[i]
		e.Seq = c.seqs[e.ID]
		known, err := tx.Known(e.ID)
		if err != nil {
			return false, err
		}
		if known != nil {
			c.expires = max(c.expires, known.Expires)
		}
	}
	rec.Receipt = &events.Receipt{ID: c.txn, Events: rec.Events, Caller: rec.Caller, Door: rec.Door, Reason: rec.Reason,
		AcceptedAt: rec.AcceptedAt, ElapsedMS: c.elapsed.Milliseconds(), Outcome: c.out}
	c.post = ledger.Post{Stream: events.Audit, ID: events.NewEventID()}
	return true, p.signReceipt(c, n)
}

func (p *Publisher) signReceipt(c *unreceipted, n uint64) (err error) {
	c.rec.Receipt.Origin = events.Origin{Publisher: p.id, Incarnation: *p.incarnation.Load(), Counter: n}
	c.post.Raw, err = p.cfg.Signer.SignReceipt(p.fleet, p.cfg.Issuer, p.now().Unix(), c.rec.Receipt)
	return err
}

func (p *Publisher) closeRequest(tx *ledger.Tx, c *unreceipted) error {
	if c.rec.Receipt == nil {
		return nil
	}
	n, err := tx.Counter(events.Audit)
	if err != nil {
		return err
	}
	if n != c.rec.Receipt.Origin.Counter {
		if err := p.signReceipt(c, n); err != nil {
			return err
		}
	}
	if err := tx.PutPost(&c.post); err != nil {
		return err
	}
	return tx.PutRequest(c.txn, c.expires, c.rec)
}
