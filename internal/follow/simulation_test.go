package follow

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/rescind/rescind/events"
)

// TestFollowerEndsWithEveryEventWhateverHappens runs followers through seeded
// schedules of what a stream, the live channel, reads and watermarks can do to
// them. Two coincidences are left out, which nothing in the stream would show:
// a restart between a spoofed message and the read that exposes it, and a stream
// that goes back while the connection stays and its next message is lost live.
func TestFollowerEndsWithEveryEventWhateverHappens(t *testing.T) {
	for seed := range uint64(3000) {
		s := newSimulation(t, seed)
		for range 20 + s.rand.IntN(150) {
			s.act()
		}
		s.settle()
		if t.Failed() {
			t.Fatalf("seed %d, ordered %v, spoofing %v:\n%s", seed, s.ordered, s.spoofing, s.log)
		}
	}
}

// life is the content of a stream at one time.
type life struct {
	epoch       string
	first, last uint64
	msgs        map[uint64]Message
}

func (l life) mark() events.Watermark {
	return events.Watermark{Epoch: l.epoch, First: l.first, Last: l.last}
}

func (l life) clone() life { l.msgs = maps.Clone(l.msgs); return l }

type simulation struct {
	t                 *testing.T
	rand              *rand.Rand
	ordered, spoofing bool
	log               string

	stream   life
	replicas []life    // older copies of this life that a lagging server may hold
	backups  []life    // what it can be rolled back to
	all      []Message // everything ever stored
	live     []Message
	marks    []events.Watermark

	f       *Stream
	reader  simulatedReader
	fetches int
	// broken is set while the stream has gone back and the follower's connection
	// has not noticed yet.
	broken  bool
	heard   events.Watermark
	stored  Cursor
	applied map[events.EventID]uint64 // in the present reading, for an ordered follower
	ever    map[events.EventID]bool
	parked  map[string]bool
	reached uint64
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{t: t, rand: rand.New(rand.NewPCG(seed, 1)), ordered: seed%2 == 1, spoofing: seed%4 < 2,
		stream:  life{epoch: "e0", first: 100, last: 99, msgs: map[uint64]Message{}},
		applied: map[events.EventID]uint64{}, ever: map[events.EventID]bool{}, parked: map[string]bool{}}
	s.f = New(Cursor{}, s.ordered, s.known)
	return s
}

func (s *simulation) known(id events.EventID) bool {
	if s.ordered {
		return s.applied[id] != 0
	}
	return s.ever[id]
}

func (s *simulation) logf(format string, args ...any) { s.log += fmt.Sprintf(format+"\n", args...) }

func (s *simulation) act() {
	switch n := s.rand.IntN(100); {
	case n < 28:
		s.store(s.message())
	case n < 46:
		s.deliver()
	case n < 60:
		s.logf("watermark taken %+v", s.stream.mark())
		s.marks = append(s.marks, s.stream.mark())
		if s.rand.IntN(4) > 0 {
			s.hear(s.rand.IntN(len(s.marks)))
		}
	case n < 70:
		s.perform("tick", s.f.Tick())
	case n < 76:
		s.read(s.rand.IntN(4))
	case n < 84:
		s.answer(1 + s.rand.IntN(3))
	case n < 88 && s.spoofing:
		s.spoof()
	case n < 88:
		s.logf("restart from %d", s.stored.Seq)
		s.f, s.reader, s.live = New(s.stored, s.ordered, s.known), simulatedReader{}, nil
		s.reached = s.stored.Seq
	case n < 90:
		s.reconnect()
	case n < 92:
		s.outage()
	default:
		s.damage()
	}
	s.honest()
}

// message makes an event, garbage, or what cannot be read yet.
func (s *simulation) message() Message {
	id := events.EventID{1, 15: byte(len(s.all))}
	raw := id[:]
	m := Message{Raw: raw, Hash: sha256.Sum256(raw)}
	switch s.rand.IntN(10) {
	case 0:
		m.Err = events.ErrSignature
	case 1:
		m.Err = events.ErrUnknownKey
	default:
		m.Event = &events.Revocation{ID: id}
	}
	s.all = append(s.all, m)
	return m
}

func (s *simulation) store(m Message) {
	if s.rand.IntN(3) == 0 {
		s.replicas = append(s.replicas, s.stream.clone())
	}
	s.stream.last++
	m.Seq = s.stream.last
	s.stream.msgs[m.Seq] = m
	s.logf("stored %d #%d err %v", m.Seq, m.Raw[15], m.Err)
	copies := []int{0, 1, 1, 1, 2}[s.rand.IntN(5)]
	if s.broken {
		copies = 1
	}
	for range copies {
		s.live = append(s.live, m)
	}
}

// deliver gives one of the live messages on their way, mostly the oldest.
func (s *simulation) deliver() {
	if len(s.live) == 0 {
		return
	}
	i := s.rand.IntN(min(len(s.live), 1+s.rand.IntN(3)))
	if s.broken {
		i = 0
	}
	m := s.live[i]
	s.live = append(s.live[:i:i], s.live[i+1:]...)
	s.logf("live %d #%d", m.Seq, m.Raw[15])
	s.perform("live", s.f.Live(m))
}

// spoof sends a genuine message of the stream under a sequence of its own choice.
func (s *simulation) spoof() {
	for seq := s.stream.first; seq <= s.stream.last; seq++ {
		if m, ok := s.stream.msgs[seq]; ok && s.rand.IntN(3) == 0 {
			m.Seq = s.f.Cursor().Seq + uint64(s.rand.IntN(3))
			s.logf("spoofed %d #%d", m.Seq, m.Raw[15])
			s.perform("spoofed", s.f.Live(m))
			return
		}
	}
}

func (s *simulation) hear(i int) {
	w := s.marks[i]
	s.marks = append(s.marks[:i:i], s.marks[i+1:]...)
	s.logf("watermark heard %+v", w)
	s.heard = w
	s.perform("watermark", s.f.Watermark(w))
}

func (s *simulation) reconnect() {
	s.broken, s.live = false, nil
	s.perform("reconnected", s.f.Reconnected())
}

// damage does to the stream what power cuts, operators and time do. What was
// taken out of it is published again in the end, and not put back in its place.
func (s *simulation) damage() {
	l := &s.stream
	switch s.rand.IntN(7) {
	case 0, 1:
		s.backups = append(s.backups, l.clone())
		return
	case 2: // the front is purged
		for n := s.rand.IntN(3); n > 0 && l.first <= l.last; n-- {
			delete(l.msgs, l.first)
			l.first++
			s.backups = nil
		}
	case 3: // rolled back
		if len(s.backups) > 0 {
			*l = s.backups[s.rand.IntN(len(s.backups))].clone()
			s.goBack()
		}
	case 4: // made again
		*l = life{epoch: l.epoch + "+", first: l.last + 1000, last: l.last + 999, msgs: map[uint64]Message{}}
		s.backups, s.replicas = nil, nil
	case 5: // the tail is lost
		for n := s.rand.IntN(3); n > 0 && l.last >= l.first; n-- {
			delete(l.msgs, l.last)
			l.last--
			s.goBack()
		}
	case 6: // one is lost from the middle
		if l.last > l.first {
			delete(l.msgs, l.first+uint64(s.rand.IntN(int(l.last-l.first))))
			s.backups = nil
		}
	}
	s.logf("damaged: %d to %d, epoch %s", l.first, l.last, l.epoch)
}

// outage is a coincidence that the other actions seldom make: a server answers in
// part, loses its tail, and is back with others in its place, before the answer
// is taken.
func (s *simulation) outage() {
	for range 3 {
		s.store(s.message())
	}
	s.hearNow()
	s.answer(2)
	s.answer(3)
	l := &s.stream
	for n := s.rand.IntN(4); n > 0 && l.last > l.first; n-- {
		delete(l.msgs, l.last)
		l.last--
		s.goBack()
	}
	for range s.rand.IntN(4) {
		s.store(s.message())
	}
	s.logf("outage: %d to %d", l.first, l.last)
	for _, what := range s.rand.Perm(4) {
		switch what {
		case 0:
			s.reconnect()
		case 1:
			s.hearNow()
		default:
			s.read(3)
		}
		s.honest()
	}
}

func (s *simulation) hearNow() {
	s.marks = append(s.marks, s.stream.mark())
	s.hear(len(s.marks) - 1)
}

// goBack notes that sequences are used again from here on. The server that did it
// was away: a read under way fails, but for what it has answered.
func (s *simulation) goBack() {
	s.broken, s.replicas = true, nil
	s.lostServer()
}

// perform does what a Step says, as an owner does.
func (s *simulation) perform(what string, step Step) {
	s.logf("  %s: apply %d, reject %d, park %d, cursor %d (%v), lost %q, fetch %v", what, len(step.Apply), len(step.Reject),
		len(step.Park), step.Cursor.Seq, step.Moved, step.Lost, step.Fetch)
	if step.Lost != "" {
		clear(s.applied)
		s.reached = 0
	}
	for _, m := range step.Apply {
		if s.ordered && m.Seq <= s.reached {
			s.t.Errorf("%d was applied after %d", m.Seq, s.reached)
		}
		s.reached = max(s.reached, m.Seq)
		s.applied[m.Event.ID], s.ever[m.Event.ID] = m.Seq, true
	}
	for _, m := range step.Park {
		s.parked[string(m.Raw)] = true
	}
	if step.Moved {
		s.stored = step.Cursor
	}
	if step.Fetch != nil {
		s.begin(step.Fetch)
	}
}
