package audit

// chain follows the hashes from line to line. When one does not fit, either the
// line before or the line that names it was changed; the next line, or the
// checkpoint, tells which: it has the hash of what the writer wrote.
type chain struct {
	report *Report
	cp     *Checkpoint
	prev   *link
}

// link is a line whose successor is awaited.
type link struct {
	n int64 // where it is in the file
	// number is what the line says that it is, or must be.
	number int64
	hash   Hash
	// known is false for a line that was found wrong: nothing rests on it, and its
	// successor's word about it is no news.
	known bool
	// doubt is set when its Prev does not fit the line before.
	doubt bool
}

// unfinished tells whether the line was being written when the writer died, or is
// being written now: it lacks its line feed and the checkpoint does not know it.
func (c *chain) unfinished(b []byte) bool {
	if c.cp == nil || b[len(b)-1] == '\n' || c.number() < c.cp.Lines {
		return false
	}
	c.report.note(c.report.Lines+1, "it is unfinished: a crash while it was written leaves this, and the next start cuts it off")
	return true
}

// number is the last line's.
func (c *chain) number() int64 {
	if c.prev == nil {
		return 0
	}
	return c.prev.number
}

// broken takes a line that cannot be read.
func (c *chain) broken(n int64, err error) {
	c.vouch(nil)
	c.report.problem(n, "%v", err)
	c.prev = &link{n: n, number: c.number() + 1}
}

// next takes a line that could be read.
func (c *chain) next(n int64, l *Line, hash Hash) {
	before, want := Hash{}, c.number()+1
	if c.prev != nil {
		before = c.prev.hash
	}
	is := &link{n: n, number: l.Line, hash: hash, known: true}
	fits := l.Prev == before
	switch {
	case c.prev != nil && !c.prev.known:
		// Where it stands cannot be told.
	case l.Line == want && fits:
		c.vouch(&l.Prev)
	case l.Line == want && c.prev == nil:
		c.report.problem(n, "altered: it is the first line and names one before it")
		is.known = false
	case l.Line == want:
		is.doubt = c.vouch(&l.Prev)
	case fits:
		c.vouch(&l.Prev)
		c.report.problem(n, "altered: it says that it is line %d", l.Line)
		is.number, is.known = want, false
	case l.Line > want:
		c.vouch(nil)
		c.missing(n, want, l.Line-1)
	default:
		c.vouch(nil)
		c.report.problem(n, "it says that it is line %d, which is not its place", l.Line)
		is.number, is.known = want, false
	}
	c.prev = is
	if c.cp != nil && is.known && is.number == c.cp.Lines && hash != c.cp.Hash {
		c.report.problem(n, "altered: it is not the line that the checkpoint names")
		is.known = false
	}
}

func (c *chain) missing(n, from, to int64) {
	if from == to {
		c.report.problem(n, "line %d is missing", from)
	} else {
		c.report.problem(n, "lines %d to %d are missing", from, to)
	}
}

// vouch takes the successor's word about the awaited line: the hash that it had
// when the successor was written, nil if that is not known. It tells whether the
// successor itself is in doubt.
func (c *chain) vouch(was *Hash) (doubt bool) {
	p := c.prev
	switch {
	case p == nil || !p.known:
		return false
	case was != nil && *was == p.hash:
		if p.doubt {
			c.report.problem(p.n-1, "altered: the next line has another hash for it")
		}
		return false
	case was == nil && p.doubt:
		c.report.problem(p.n-1, "altered, or the next line is: the next line has another hash for it")
		return false
	case was == nil:
		return false
	case p.doubt:
		// Its own Prev was changed, or other things too.
		c.report.problem(p.n, "altered: neither its own hash nor that for the line before is right")
		return false
	default:
		return true
	}
}

// end compares with the checkpoint, once all lines were taken.
func (c *chain) end() {
	if c.cp == nil {
		c.vouch(nil)
		return
	}
	if n := c.number(); n < c.cp.Lines {
		c.vouch(nil)
		c.missing(c.report.Lines+1, n+1, c.cp.Lines)
		return
	}
	if p := c.prev; p != nil && p.known && p.number == c.cp.Lines {
		c.vouch(&c.cp.Hash)
		return
	}
	c.vouch(nil)
}
