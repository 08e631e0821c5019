package publisher

import (
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/denylist"
	"github.com/rescind/rescind/internal/follow"
	"github.com/rescind/rescind/publisher/ledger"
)

// decode is follow.Decode, without verifying once more what was signed here: most
// of what a publisher hears is its own.
func (p *Publisher) decode(seq uint64, raw []byte) follow.Message {
	sum := sha256.Sum256(raw)
	p.mu.Lock()
	it := p.signed[sum]
	p.mu.Unlock()
	if keys := p.keys.Load(); it == nil || !p.trustsItself(keys) {
		return follow.Decode(keys, p.fleet, seq, raw)
	}
	return follow.Message{Seq: seq, Raw: raw, Hash: sum, Event: &it.r, KeyID: p.cfg.Signer.Public().ID}
}

// selfTrust is whether the publisher's own key has, in a key set, the bounds within
// which it signs: the fleet may have taken it out of use, or bound it more closely.
type selfTrust struct {
	keys *events.KeySet
	ok   bool
}

func (p *Publisher) trustsItself(keys *events.KeySet) bool {
	known := p.selfTrust.Load()
	if known == nil || known.keys != keys {
		own := p.cfg.Signer.Public()
		known = &selfTrust{keys, slices.ContainsFunc(keys.All(), func(k *events.PublicKey) bool {
			return k.ID == own.ID && k.Publisher == own.Publisher && slices.Equal(k.Kinds, own.Kinds)
		})}
		p.selfTrust.Store(known)
	}
	return known.ok
}

// live takes a message from the live subject. While too much waits for the disk
// it is passed over: the follower stands still, and reads it later.
func (l *loop) live(s events.Stream, m follow.Message) {
	if l.persists.full() {
		l.held = true
		return
	}
	l.perform(s, l.streams[s].Live(m.Heard(s, l.now())))
}

// perform carries out what a stream's state machine says.
func (l *loop) perform(s events.Stream, step follow.Step) {
	if step.Lost != "" {
		l.streamLost(s, step.Lost)
	}
	var job persist
	for _, m := range step.Apply {
		l.apply(s, m, &job)
	}
	for _, group := range [][]follow.Message{step.Reject, step.Park, step.Ignored} {
		for _, m := range group {
			l.log.Warn("message refused", "stream", s, "seq", m.Seq, "reason", events.Reason(m.Err))
			l.refreshKeys(m.Err)
		}
	}
	if step.Moved {
		job.cursors = map[events.Stream]follow.Cursor{s: step.Cursor}
	}
	if len(job.entries)+len(job.posts) > 0 || job.cursors != nil {
		l.persists.put(job)
	}
	switch {
	case step.Fetch == nil:
	case l.persists.full():
		l.streams[s].Failed() // the next tick asks again
	default:
		l.read(s, *step.Fetch)
	}
	if epoch := l.streams[s].Cursor().Epoch; l.tallies.furthest[s].Epoch != epoch {
		l.tallies.enter(s, epoch, l.roster.members, l.mono())
	}
}

// apply takes an event that stands in the stream, in the stream's order. Seeing
// it there, and nothing else, takes it off the outbox. Of one that has expired
// nothing is kept, but whoever waits for it is told.
func (l *loop) apply(s events.Stream, m follow.Message, job *persist) {
	id := m.Event.ID
	expired := m.Event.Expires <= l.now().Unix()
	e := l.entries[id]
	if e == nil {
		e = &entry{stream: s, expires: m.Event.Expires}
		if !expired {
			l.entries[id] = e
		}
	}
	e.seq, e.acked, e.keyID = m.Seq, true, m.KeyID
	if e.order != 0 {
		job.posts = append(job.posts, ledger.Post{Order: e.order, Stream: s, ID: id})
		e.order = 0
	}
	l.seenInStream(id, m.Seq)
	if m.Event.Target.Kind == events.KindLift {
		l.unjoin(m.Event.Target.Lifted)
	}
	if t := l.tallies.byEvent[id]; t != nil {
		l.reached(t, t.events[id], m.Seq)
	}
	l.noteElsewhere(s, m.Seq, m.Event, e.own)
	if expired {
		return
	}
	job.entries = append(job.entries, ledger.Entry{ID: id, Stream: s, Seq: m.Seq, Expires: e.expires,
		Own: e.own, Acked: true, Raw: m.Raw})
	l.set.Stage(denylist.Change{Records: []denylist.Record{denylist.RecordOf(m.Event, m.KeyID, s, m.Seq)}})
}

// reached takes one of a tally's events that stands in the stream, where agents may
// have been before.
func (l *loop) reached(t *tally, e *tallied, seq uint64) {
	l.tallies.reached(t, e, l.streams[e.stream].Cursor().Epoch, seq)
	l.countTokens(t, e)
	if !t.reached() {
		return
	}
	t.reachedAt = l.mono()
	if l.tallies.overtaken(t) {
		for _, m := range l.roster.members {
			l.tallies.look(t, m, t.reachedAt)
		}
	}
}

// countTokens counts the valid tokens of a list just before the list comes into
// force.
func (l *loop) countTokens(t *tally, e *tallied) {
	if e.counted {
		return
	}
	e.counted = true
	now := l.now()
	for _, tok := range e.tokens {
		if tok.Expired(now) {
			continue
		}
		if l.set.Check(tok) {
			t.ownPreviously++
		} else {
			t.ownInvalidated++
		}
	}
}

// streamLost begins to look what the stream still has: everything is missing
// until it is seen again.
func (l *loop) streamLost(s events.Stream, why string) {
	l.log.Error("reading a stream again from its beginning", "stream", s, "reason", why)
	for _, e := range l.entries {
		if e.stream == s {
			e.seq = 0
		}
	}
	l.republish[s] = 0
}

// owed counts the acknowledged, unexpired events that the stream lacks.
func (l *loop) owed(s events.Stream) (n int) {
	for _, e := range l.entries {
		if e.stream == s && l.owes(e) {
			n++
		}
	}
	return n
}

// owes tells whether the stream lacks an event that it had: not one by a key that
// was taken out of use, which nobody would apply.
func (l *loop) owes(e *entry) bool {
	return e.acked && e.seq == 0 && e.expires > l.now().Unix() && l.keys.Load().Has(e.keyID)
}

// watermark takes what a stream's leader says of it.
func (l *loop) watermark(s events.Stream, w events.Watermark, msgs uint64) {
	if first := l.first[s]; first != w.First {
		l.first[s] = w.First
		for _, e := range l.entries {
			if e.stream == s && e.seq != 0 && e.seq < w.First {
				e.seq = 0 // lost with the front of the stream, if it has not expired
			}
		}
	}
	l.perform(s, l.streams[s].Watermark(w))
	// Messages can vanish from the middle of a stream: then it holds fewer than
	// its sequences say. Once looked at, the same number again means nothing new.
	if lacking := w.Last + 1 - w.First - min(msgs, w.Last+1-w.First); lacking != l.lacking[s] {
		l.lacking[s] = lacking
		if lacking > 0 {
			l.perform(s, l.streams[s].Again("the stream lacks messages in its middle"))
		}
	}
}

// republishOwed publishes again what a stream lacks, a random moment after it was
// found to: another publisher may do it first.
func (l *loop) republishOwed(s events.Stream) {
	if l.republishing[s] {
		return
	}
	if l.streams[s].Rereading() || l.owed(s) == 0 {
		l.republish[s] = 0
		return
	}
	now := l.mono()
	switch at := l.republish[s]; {
	case at == 0:
		l.republish[s] = now + 200*time.Millisecond + rand.N(800*time.Millisecond)
	case now >= at:
		var ids []events.EventID
		for id, e := range l.entries {
			if e.stream == s && l.owes(e) {
				ids = append(ids, id)
			}
		}
		l.log.Warn("publishing again what the stream lacks", "stream", s, "events", len(ids))
		l.republishing[s] = true
		l.work.Go(func() {
			l.publishAgain(s, ids)
			l.input(func(l *loop) { l.republishing[s], l.republish[s] = false, l.mono()+5*time.Second })
		})
	}
}

// publishAgain publishes events past the stream's dedupe window, which would
// swallow them. It skips what has come back meanwhile.
func (p *Publisher) publishAgain(s events.Stream, ids []events.EventID) {
	for some := range slices.Chunk(ids, sendAtOnce) {
		p.ask(func(l *loop) {
			some = slices.DeleteFunc(some, func(id events.EventID) bool { e := l.entries[id]; return e == nil || !l.owes(e) })
		})
		for _, id := range some {
			if err := p.publishStored(s, id); err != nil {
				p.log.Warn("publishing again", "event", id, "err", err)
				return // the next beacon's look starts it again
			}
		}
	}
}

func (p *Publisher) publishStored(s events.Stream, id events.EventID) error {
	var raw []byte
	err := p.ledger.View(func(tx *ledger.Tx) error {
		e, err := tx.Event(id)
		if e != nil {
			raw = e.Raw
		}
		return err
	})
	if err == nil && raw != nil {
		_, err = p.bus.Publish(p.ctx, s, "", raw)
	}
	return err
}

// read starts a read of a stream; its outcome comes back as an input.
func (l *loop) read(s events.Stream, f follow.Fetch) {
	l.reader.Start(s, f, func(b follow.Batch, err error) {
		l.input(func(l *loop) {
			if err != nil {
				l.streams[s].Failed()
				return
			}
			l.perform(s, l.streams[s].Fetched(b))
		})
	})
}
