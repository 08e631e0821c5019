package follow

import (
	"crypto/sha256"

	"github.com/rescind/rescind/events"
)

// Step is what the owner has to do after an input.
type Step struct {
	// Apply are events that were not known before, in the order to apply them. One
	// that stands twice in what was read is given twice.
	Apply []Message
	// Reject and Park are stored messages that could not be opened: for good, or
	// for now. Ignored are live ones: nothing rests on them, they are counted.
	Reject, Park, Ignored []Message
	// Fetch is the read to start, nil for none. One is under way at a time.
	Fetch *Fetch
	// Cursor is to be stored, together with Apply, when Moved.
	Cursor Cursor
	Moved  bool
	// Lost says why the stream is read again from its beginning, "" otherwise.
	Lost string
}

// Stream is the state of following one stream. Make it with New.
type Stream struct {
	known   func(events.EventID) bool
	ordered bool

	cur  Cursor
	mark events.Watermark // the newest watermark; Epoch "" before the first
	// doubt is the last certain cursor while what precedes cur is uncertain: the
	// event at the position was gone and no watermark has yet said that it aged
	// out.
	doubt *Cursor
	// reading is the read under way; wanted tells that another is needed.
	reading *reading
	wanted  bool
	// unverified lasts until a read has seen that the stream is still the one that
	// was followed: after a start, a reconnect, or an event where none could be.
	unverified bool
	// stuck tells that the last read gave nothing but the event at the position:
	// the next one begins behind it.
	stuck bool
	// aged is what was skipped as aged out. A stream that begins at or below it
	// was rolled back: its first sequence only rises.
	aged uint64
	// labels are the sequences under which events have moved the position live.
	labels labels
	// beyond is how many watermarks in a row ended before the position.
	beyond int
	// rereading lasts until a read from the beginning has come to the end.
	rereading bool
}

// reading is a read under way.
type reading struct {
	from Cursor
	// outdated tells that the stream was found lost since, unsure that what the
	// read shows may be from before a reconnect; behind that it began behind the
	// event at the position, and so shows nothing of it.
	outdated, unsure, behind bool
}

// New follows a stream from a stored cursor (the zero Cursor for a new
// follower). known tells whether an event has been applied. An ordered follower
// applies in the stream's order only: it leaves what comes live with a gap
// before it to the next read.
func New(from Cursor, ordered bool, known func(events.EventID) bool) *Stream {
	s := &Stream{known: known, ordered: ordered, cur: from, wanted: true, unverified: true, rereading: from.Seq == 0}
	if !from.anchored() {
		s.aged = from.Seq
	}
	return s
}

// Cursor is the position: everything up to it was applied.
func (s *Stream) Cursor() Cursor {
	if s.doubt != nil {
		return *s.doubt
	}
	return s.cur
}

// Lag is how many messages are known to lie behind the position.
func (s *Stream) Lag() uint64 {
	if at := s.Cursor().Seq; s.mark.Last > at {
		return s.mark.Last - at
	}
	return 0
}

// Covers tells whether everything that a watermark speaks of has been applied.
// It does not while the stream may be another than the one that was followed.
func (s *Stream) Covers(w events.Watermark) bool {
	return !s.unverified && s.doubt == nil && s.beyond == 0 && s.cur.Epoch == w.Epoch && s.cur.Seq >= w.Last
}

// Tick starts a read that is wanted and not under way, such as the first one or
// one that failed.
func (s *Stream) Tick() Step { return s.finish(Step{}) }

// Due tells that a Tick would start a read.
func (s *Stream) Due() bool { return s.wanted && s.reading == nil }

// Reconnected is called when messages may have been lost on the way: after a
// reconnect or a slow consumer's drop.
func (s *Stream) Reconnected() Step {
	s.suspect()
	return s.finish(Step{})
}

// suspect asks for a read that begins after now to show that the stream is still
// the one that was followed.
func (s *Stream) suspect() {
	s.wanted, s.unverified = true, true
	if s.reading != nil {
		s.reading.unsure = true
	}
}

// Failed is called when a read gave nothing. The next Tick tries again.
func (s *Stream) Failed() { s.reading, s.wanted = nil, true }

// Live takes a message from the live subject. Its sequence is 0 when its headers
// made no sense.
func (s *Stream) Live(m Message) Step {
	var step Step
	if m.Err != nil {
		step.Ignored = append(step.Ignored, m)
		switch {
		case m.Seq == 0 || m.Seq > s.cur.Seq:
			s.wanted = true
		case m.Seq < s.cur.Seq || m.Hash != s.cur.Hash:
			s.suspect() // the position had passed that sequence by
		}
		return s.finish(step)
	}
	// Nothing is built on a position in doubt: the read that settles it begins there.
	isNew, next := !s.known(m.Event.ID), m.Seq == s.cur.Seq+1 && s.cur.Seq > 0 && !s.unverified
	switch {
	case isNew && next:
		step.Apply = append(step.Apply, m)
		s.labels.put(m.Event.ID, m.Seq)
		s.move(m, &step)
		return s.finish(step)
	case isNew && m.Seq != 0 && m.Seq <= s.cur.Seq:
		s.suspect()
	case isNew, m.Seq > s.cur.Seq:
		s.wanted = true
	}
	if isNew && !s.ordered {
		step.Apply = append(step.Apply, m)
	}
	return s.finish(step)
}

// Fetched takes the outcome of the read under way.
func (s *Stream) Fetched(b Batch) Step {
	var step Step
	r := s.reading
	if r == nil {
		return s.finish(step)
	}
	s.reading = nil
	if r.behind && r.unsure {
		return s.finish(step) // it may be of another stream: read it again
	}
	msgs, seen := b.Messages, false
	if !r.outdated {
		var why string
		if msgs, seen, why = s.checkAnchor(r.from, b); why != "" {
			s.lose(why, &step)
		}
	}
	s.stuck = len(msgs) == 0 && len(b.Messages) > 0 && !b.Complete
	// Once the stream is lost, what this read brought is applied and moves
	// nothing: the prefix is contiguous only from the beginning again.
	adding := r.outdated || step.Lost != ""
	for _, m := range msgs {
		adding = s.stored(m, adding, &step)
	}
	if seen && !adding && !r.unsure {
		s.unverified = false
	}
	if b.Complete && !adding && s.mark.Last <= s.cur.Seq {
		s.rereading = false
	}
	if b.Complete && step.Lost == "" && s.mark.Last > s.cur.Seq {
		s.wanted = true // a replica that lags answered: the next Tick asks again
		step.Cursor = s.cur
		return step
	}
	if !b.Complete && !adding {
		return s.goOn(step)
	}
	return s.finish(step)
}

// checkAnchor compares the first message with the event at the position where
// the read began. It gives the messages behind it, whether the stream was seen to
// be the one that was followed, and why it must be read again, if so.
func (s *Stream) checkAnchor(from Cursor, b Batch) (behind []Message, seen bool, lost string) {
	s.beyondSettled(b)
	if !from.anchored() || from.Seq == 0 {
		if len(b.Messages) == 0 && s.ended(from) {
			return nil, false, "stream ends before the position"
		}
		return b.Messages, true, ""
	}
	if len(b.Messages) > 0 && b.Messages[0].Seq == from.Seq {
		if b.Messages[0].Hash != from.Hash {
			return b.Messages, false, "another event stands at the position"
		}
		return b.Messages[1:], true, ""
	}
	switch {
	case s.mark.Epoch == "":
		if len(b.Messages) > 0 && s.doubt == nil {
			at := from
			s.doubt = &at
		}
		return b.Messages, len(b.Messages) > 0, ""
	case s.mark.First > from.Seq: // it aged out
		return b.Messages, true, ""
	case s.ended(from):
		return b.Messages, false, "stream ends before the position"
	case len(b.Messages) > 0:
		return b.Messages, false, "the event at the position is gone"
	}
	return b.Messages, false, "" // a replica that lags answered
}

// ended tells whether watermarks say that the stream ends before a position. One
// alone may have been overtaken by live messages.
func (s *Stream) ended(at Cursor) bool {
	return s.mark.Epoch != "" && s.mark.Last < at.Seq && s.beyond >= 2
}

// beyondSettled clears the suspicion that the stream ends before the position
// when it shows an event at or behind it.
func (s *Stream) beyondSettled(b Batch) {
	if n := len(b.Messages); n > 0 && b.Messages[n-1].Seq >= s.cur.Seq {
		s.beyond = 0
	}
}

// stored takes one message that was read from the stream; adding means that it
// must not move the position. It tells whether that holds for the next one.
func (s *Stream) stored(m Message, adding bool, step *Step) bool {
	isNew := m.Err == nil && !s.known(m.Event.ID)
	if adding {
		s.add(m, isNew, step)
		return true
	}
	switch {
	case m.Seq <= s.cur.Seq:
		// The position had passed it by during the read, which only events do that
		// could be opened. If this one was not applied, the position rests on a
		// live message that lied about its sequence.
		if !isNew && m.Err == nil && (m.Seq != s.cur.Seq || !s.cur.anchored() || m.Hash == s.cur.Hash) {
			return false
		}
		s.lose("an event at or below the position was never seen", step)
		s.add(m, isNew, step)
		return true
	case m.Err == nil && s.labels.contradicts(m.Event.ID, m.Seq):
		s.lose("an event moved the position under another's sequence", step)
		s.add(m, isNew, step)
		return true
	case isNew:
		step.Apply = append(step.Apply, m)
	}
	switch {
	case m.Err == nil:
	case events.Parkable(m.Err):
		step.Park = append(step.Park, m)
	default:
		step.Reject = append(step.Reject, m)
	}
	s.move(m, step)
	return false
}

// add applies what must not move the position. An ordered follower leaves it to
// the second reading, where it comes in its turn.
func (s *Stream) add(m Message, isNew bool, step *Step) {
	if isNew && !s.ordered {
		step.Apply = append(step.Apply, m)
	}
}

func (s *Stream) move(m Message, step *Step) {
	s.cur = Cursor{s.cur.Epoch, m.Seq, m.Hash}
	step.Moved = s.doubt == nil
}

// lose begins again. The cursor goes back in storage too, so that a crash during
// the second reading reads again.
func (s *Stream) lose(why string, step *Step) {
	step.Lost = why
	step.Moved = true
	if s.ordered {
		step.Apply = nil // it comes in its turn
	}
	s.cur = Cursor{Epoch: s.mark.Epoch}
	s.doubt, s.beyond, s.wanted, s.rereading = nil, 0, true, true
	s.labels, s.aged = labels{}, 0
	if s.reading != nil {
		s.reading.outdated = true
	}
	s.skipAged()
}

// skipAged moves to the first sequence that the stream still has: what came
// before has expired, or a publisher owes it.
func (s *Stream) skipAged() bool {
	if s.mark.Epoch == "" || s.cur.Seq+1 >= s.mark.First {
		return false
	}
	s.cur = Cursor{Epoch: s.mark.Epoch, Seq: s.mark.First - 1}
	s.aged = s.cur.Seq
	return true
}

// Again begins from the beginning, for a reason that the owner knows: the stream
// lacks messages in its middle, or what was refused may be understood now.
func (s *Stream) Again(why string) Step {
	var step Step
	s.lose(why, &step)
	return s.finish(step)
}

// Rereading tells whether the stream is being read again after Lost, or for the
// first time: what is not known to be in it may still be found.
func (s *Stream) Rereading() bool { return s.rereading }

// Watermark takes what the stream's leader said, by way of a publisher.
func (s *Stream) Watermark(w events.Watermark) Step {
	var step Step
	s.mark = w
	switch {
	case s.cur.Epoch == w.Epoch:
	case s.cur.Epoch == "":
		s.cur.Epoch = w.Epoch
		step.Moved = true
		if s.doubt != nil {
			s.doubt.Epoch = w.Epoch
		}
	default:
		s.lose("the stream has a new epoch", &step)
	}
	if d := s.doubt; d != nil {
		s.doubt = nil
		if w.First > d.Seq {
			step.Moved = true
		} else {
			s.lose("the event at the position is gone", &step)
		}
	}
	if w.First <= s.aged && w.First <= w.Last {
		s.lose("the stream begins before what had aged out", &step)
	}
	step.Moved = s.skipAged() || step.Moved
	s.wanted = s.wanted || s.unverified && s.reading == nil
	s.judgeEnd(w)
	return s.finish(step)
}

// judgeEnd looks for a stream that ends before the position. Live messages
// overtake watermarks, so one such watermark means nothing and two only that
// the stream must be asked.
func (s *Stream) judgeEnd(w events.Watermark) {
	if w.Last >= s.cur.Seq {
		s.beyond = 0
		s.wanted = s.wanted || w.Last > s.cur.Seq
		return
	}
	if s.beyond++; s.beyond >= 2 {
		s.wanted = true
	}
}

// finish adds the read that is wanted, if none is under way, and the cursor. What
// asked for it came up by now, so the read begins after now.
func (s *Stream) finish(step Step) Step {
	step.Cursor = s.cur
	if s.wanted && s.reading == nil {
		s.wanted = false
		step.Fetch = s.begin(true)
	}
	return step
}

// goOn adds the read that goes on where one was cut short. It may show the stream
// as it was when that one ended, so what asked for a read meanwhile still does.
func (s *Stream) goOn(step Step) Step {
	if s.unverified {
		s.wanted = true
		return s.finish(step)
	}
	step.Cursor = s.cur
	step.Fetch = s.begin(false)
	return step
}

// begin notes that a read is under way. It goes on behind the event at the
// position only when that one has just been seen.
func (s *Stream) begin(anew bool) *Fetch {
	r := &reading{from: s.cur, behind: s.stuck && !s.unverified}
	if r.behind {
		r.from.Hash = [sha256.Size]byte{}
	}
	s.reading, s.stuck = r, false
	f := &Fetch{From: r.from.Seq, Anew: anew}
	if !r.from.anchored() {
		f.From++
	}
	return f
}
