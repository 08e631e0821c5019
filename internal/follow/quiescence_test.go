package follow

import "github.com/rescind/rescind/events"

// honest checks that what the follower covers of the newest watermark, it has.
func (s *simulation) honest() {
	w := s.stream.mark()
	switch {
	case !s.f.Covers(w):
	case s.heard == (events.Watermark{}):
		s.t.Error("it covers a watermark before it heard any")
	case !s.broken && s.heard == w:
		s.holds(w)
	}
}

// holds checks that every event of the stream was applied, and what cannot be
// read yet was parked.
func (s *simulation) holds(w events.Watermark) {
	for seq, m := range s.stream.msgs {
		switch {
		case seq > w.Last:
		case m.Err == nil && !s.ever[m.Event.ID]:
			s.t.Errorf("event %d (#%d) was not applied", seq, m.Raw[15])
		case m.Err != nil && events.Parkable(m.Err) && !s.parked[string(m.Raw)]:
			s.t.Errorf("message %d (#%d), which cannot be read yet, was not parked", seq, m.Raw[15])
		}
	}
}

// settle lets everything come right: publishers publish again what the stream
// lacks, live messages are lost, reads succeed, watermarks come.
func (s *simulation) settle() {
	have := map[string]bool{}
	for _, m := range s.stream.msgs {
		have[string(m.Raw)] = true
	}
	for _, m := range s.all {
		if !have[string(m.Raw)] {
			s.store(m)
		}
	}
	s.live, s.marks, s.replicas = nil, nil, nil
	if s.reader.fetch != nil {
		s.read(0)
	}
	s.reconnect()
	s.fetches = 0
	for range 5 {
		s.marks = append(s.marks, s.stream.mark())
		s.hear(0)
		for range 4 {
			s.read(3)
			s.honest()
			s.perform("tick", s.f.Tick())
		}
	}
	s.read(3)
	w := s.stream.mark()
	if !s.f.Covers(w) {
		s.t.Errorf("in the end it does not cover %+v: position %+v", w, s.f.Cursor())
	}
	s.holds(w)
	if s.f.Lag() != 0 || s.f.Rereading() {
		s.t.Errorf("in the end it lags by %d, rereading %v", s.f.Lag(), s.f.Rereading())
	}
	if s.fetches > maxFetches {
		s.t.Errorf("%d reads until all was quiet, want at most %d", s.fetches, maxFetches)
	}
	before := s.fetches
	for range 5 {
		s.marks = append(s.marks, w)
		s.hear(0)
		s.perform("tick", s.f.Tick())
		s.read(3)
	}
	if s.fetches != before {
		s.t.Errorf("%d reads with nothing to read", s.fetches-before)
	}
}

// maxFetches allows for a read that shows the stream to be lost, one from its
// beginning, and the same once more for what that shows.
const maxFetches = 6
