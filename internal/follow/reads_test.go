package follow

// simulatedReader is a reader that reads ahead: when a read was cut short, it
// begins the next one before the follower has asked for it.
type simulatedReader struct {
	fetch *Fetch
	// answer is what the server has answered to fetch, and is still on its way.
	answer *Batch
	// ahead is a read behind answer that nobody has asked for yet.
	ahead *aheadRead
}

type aheadRead struct {
	from   uint64
	answer *Batch
}

// begin starts the read that a follower asks for. It takes the one that is ahead
// whenever it may.
func (s *simulation) begin(f *Fetch) {
	if s.reader.fetch != nil {
		s.t.Error("two reads at a time")
	}
	s.fetches++
	ahead := s.reader.ahead
	s.reader = simulatedReader{fetch: f}
	if ahead != nil && ahead.from == f.From && !f.Anew {
		s.logf("  taken from ahead")
		s.answered(ahead.answer)
	}
}

// answer lets the server answer a read under way: 1 is a replica that lags, 2 the
// leader in part, 3 in full.
func (s *simulation) answer(how int) {
	switch r := &s.reader; {
	case r.fetch == nil:
	case r.answer == nil:
		s.answered(s.snapshot(r.fetch.From, how))
	case r.ahead != nil && r.ahead.answer == nil:
		r.ahead.answer = s.snapshot(r.ahead.from, how)
	}
}

// answered notes an answer, and begins to read ahead of one that was cut short.
func (s *simulation) answered(b *Batch) {
	s.reader.answer = b
	if b != nil && !b.Complete && len(b.Messages) > 0 {
		s.reader.ahead = &aheadRead{from: b.Messages[len(b.Messages)-1].Seq}
	}
}

// snapshot is what the stream, or a replica of it, shows now.
func (s *simulation) snapshot(from uint64, how int) *Batch {
	src := s.stream
	if how == 1 && len(s.replicas) > 0 {
		src = s.replicas[s.rand.IntN(len(s.replicas))]
	}
	b := &Batch{Complete: true}
	for seq := max(from, src.first); seq <= src.last; seq++ {
		if m, ok := src.msgs[seq]; ok {
			b.Messages = append(b.Messages, m)
		}
	}
	if n := len(b.Messages); how == 2 && n > 1 {
		b.Messages, b.Complete = b.Messages[:1+s.rand.IntN(n-1)], false
	}
	s.logf("server answers from %d: %d messages, complete %v", from, len(b.Messages), b.Complete)
	return b
}

// read ends the read under way: 0 fails it, all else hands its answer to the
// follower.
func (s *simulation) read(how int) {
	if s.reader.fetch == nil {
		return
	}
	if how == 0 {
		s.logf("read failed")
		s.reader = simulatedReader{}
		s.f.Failed()
		return
	}
	if s.reader.answer == nil {
		s.answer(how)
	}
	b := s.reader.answer
	s.reader.fetch, s.reader.answer = nil, nil
	s.logf("read of %d messages, complete %v", len(b.Messages), b.Complete)
	s.perform("fetched", s.f.Fetched(*b))
	if s.reader.fetch == nil {
		s.reader.ahead = nil
	}
}

// lostServer ends what the server has not answered yet.
func (s *simulation) lostServer() {
	if s.reader.ahead != nil && s.reader.ahead.answer == nil {
		s.reader.ahead = nil
	}
	if s.reader.fetch != nil && s.reader.answer == nil {
		s.read(0)
	}
}
