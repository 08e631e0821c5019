package publisher

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/text"
	"github.com/rescind/rescind/publisher/ledger"
)

const (
	// refusalWindow is how long refusals that are alike are counted before the next
	// record of them.
	refusalWindow = time.Minute
	// maxRefusals is how many different ones are told apart within it: who is refused
	// must not fill the audit stream.
	maxRefusals = 256
	// maxUnwrittenRefusals bounds what waits for a ledger that cannot be written.
	maxUnwrittenRefusals = 4 * maxRefusals
	// refusalsTick is how often it is looked for windows that are over.
	refusalsTick = time.Second
	// maxRefusalText is the longest text of a refusal, in bytes.
	maxRefusalText = 512
)

// RecordRefusal puts a refusal into the audit stream. Origin, ID, Count, First and
// Last are set here. The first of those that differ in no more than Detail and
// Target is recorded at once; more of them within a minute become one record with
// their number. Of more than 256 different ones a minute the rest are told apart by
// Door and Error only.
//
// It does not block, and is safe for concurrent use. A crash loses what was counted
// within the last minute.
func (p *Publisher) RecordRefusal(r events.Refusal) {
	for _, said := range []*string{&r.Door, &r.Error, &r.Detail, &r.Caller, &r.Remote, &r.Realm, &r.Target} {
		*said = text.Clip(*said, maxRefusalText)
	}
	if lost := p.refusals.add(r, p.now()); lost {
		p.log.Error("a refusal is not recorded: too many wait for the ledger", "door", r.Door, "error", r.Error, "caller", r.Caller, "remote", r.Remote)
	}
}

// alike is what refusals that are recorded together have in common.
type alike struct {
	door, err, caller, remote string
	kind                      events.Kind
	realm                     string
}

// refusalCount counts refusals that are alike, after the one that was recorded.
type refusalCount struct {
	until time.Time
	events.Refusal
}

// refusalLog collects refusals. It is safe for concurrent use.
type refusalLog struct {
	wake chan struct{}

	mu     sync.Mutex
	counts map[alike]*refusalCount
	// next are those to be written.
	next []*events.Refusal
}

func newRefusalLog() refusalLog {
	return refusalLog{wake: make(chan struct{}, 1), counts: map[alike]*refusalCount{}}
}

func (l *refusalLog) add(r events.Refusal, now time.Time) (lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := alike{r.Door, r.Error, r.Caller, r.Remote, r.Kind, r.Realm}
	c := l.counts[key]
	if c == nil && len(l.counts) >= maxRefusals {
		key = alike{door: r.Door, err: r.Error}
		r = events.Refusal{Door: r.Door, Error: r.Error, Detail: "of more callers than are told apart"}
		c = l.counts[key]
	}
	if c == nil {
		l.counts[key] = &refusalCount{until: now.Add(refusalWindow)}
		r.Count, r.First, r.Last = 1, now.UnixMilli(), now.UnixMilli()
		return l.put(&r)
	}
	if c.Count == 0 {
		c.Refusal = r
		c.First = now.UnixMilli()
	}
	c.Count++
	c.Last = now.UnixMilli()
	return false
}

func (l *refusalLog) put(r *events.Refusal) (lost bool) {
	if len(l.next) >= maxUnwrittenRefusals {
		return true
	}
	l.next = append(l.next, r)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return false
}

// take gives those to be written: what was counted in windows that are over by now,
// or in all of them, is among them. lost is how many records do not fit.
func (l *refusalLog) take(now time.Time, all bool) (next []*events.Refusal, lost int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.counts, func(_ alike, c *refusalCount) bool {
		if !all && now.Before(c.until) {
			return false
		}
		if c.Count == 0 {
			return true
		}
		r := c.Refusal
		if l.put(&r) {
			lost++
		}
		*c = refusalCount{until: now.Add(refusalWindow)}
		return false
	})
	next, l.next = l.next, nil
	slices.SortStableFunc(next, func(a, b *events.Refusal) int { return cmp.Compare(a.First, b.First) })
	return next, lost
}

// putBack keeps what could not be written, in front of what has come up meanwhile.
func (l *refusalLog) putBack(all []*events.Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = append(all, l.next...)
}

// refusalLoop writes refusals.
func (p *Publisher) refusalLoop() {
	tick := time.NewTicker(refusalsTick)
	defer tick.Stop()
	for {
		select {
		case <-p.refusals.wake:
		case <-tick.C:
		case <-p.ctx.Done():
			return
		}
		p.writeRefusals(false)
	}
}

// writeRefusals writes those that are due, or all. What cannot be written is kept
// for the next time.
func (p *Publisher) writeRefusals(all bool) {
	next, lost := p.refusals.take(p.now(), all)
	if lost > 0 {
		p.log.Error("refusals are not recorded: too many wait for the ledger", "records", lost)
	}
	if len(next) == 0 {
		return
	}
	for _, r := range next {
		if r.ID.IsZero() {
			r.ID = events.NewEventID()
		}
	}
	err := p.ledger.UpdateLater(func(tx *ledger.Tx) error {
		for _, r := range next {
			if err := p.writeRefusal(tx, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, ledger.ErrClosed) {
		p.log.Error("writing refusals; it is tried again", "first", next[0].ID, "records", len(next), "err", err)
		p.refusals.putBack(next)
		return
	}
	p.kickOutbox()
}

func (p *Publisher) writeRefusal(tx *ledger.Tx, r *events.Refusal) error {
	n, err := tx.Counter(events.Audit)
	if err != nil {
		return err
	}
	signed := *r
	signed.Origin = events.Origin{Publisher: p.id, Incarnation: *p.incarnation.Load(), Counter: n}
	raw, err := p.cfg.Signer.SignRefusal(p.fleet, p.cfg.Issuer, p.now().Unix(), &signed)
	if err != nil {
		return err
	}
	return tx.PutPost(&ledger.Post{Stream: events.Audit, ID: r.ID, Raw: raw})
}
