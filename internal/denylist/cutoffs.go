package denylist

import (
	"math"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/rescind/rescind/events"
)

// Cutoffs before and behind every token.
const (
	never  = math.MinInt64
	always = math.MaxInt64
)

// rule is what a rule says beside its key.
type rule struct {
	notBefore, expires int64
	cutoff, authTime   bool
}

func ruleOf(r *Record) rule {
	k := r.Target.Kind
	return rule{r.NotBefore, r.Expires, k.HasCutoff(), k.ComparesAuthTime()}
}

// cutoffs is the union of the rules on one key. What readers see are maxima, each
// of which suffices for a hit by itself; so they need not be read at one moment,
// and a rule that stands raises each of them at every moment. They lie in the
// tables themselves: the writer copies them, and readers go by a copy that may be
// the one before.
type cutoffs struct {
	// issued is the latest cutoff for iat, auth the latest for auth_time, and
	// unissued the latest expiry, which decides on tokens without iat. A rule
	// without a cutoff is one behind every token.
	issued, auth, unissued int64
	_                      [8 - unsafe.Sizeof(uintptr(0))]byte // keeps them aligned in an array
	// rules are the writer's, nil for one alone: the maxima say what it is.
	rules *[]rule
}

func cutoffsOf(r rule) cutoffs {
	c := cutoffs{auth: never}
	switch {
	case !r.cutoff:
		c.issued, c.unissued = always, always
	default:
		c.issued, c.unissued = r.notBefore, r.expires
		if r.authTime {
			c.auth = r.notBefore
		}
	}
	return c
}

// alone is the only rule.
func (c *cutoffs) alone() rule {
	if c.issued == always {
		return rule{}
	}
	return rule{notBefore: c.issued, expires: c.unissued, cutoff: true, authTime: c.auth != never}
}

func (c *cutoffs) add(r rule) {
	if c.rules == nil {
		c.rules = &[]rule{c.alone()}
	}
	*c.rules = append(*c.rules, r)
	c.summarise()
}

// remove takes one such rule away and tells whether any is left.
func (c *cutoffs) remove(r rule) bool {
	if c.rules == nil {
		return false
	}
	if i := slices.IndexFunc(*c.rules, func(o rule) bool { return cutoffsOf(o) == cutoffsOf(r) }); i >= 0 {
		*c.rules = slices.Delete(*c.rules, i, i+1)
		c.summarise()
	}
	return len(*c.rules) > 0
}

func (c *cutoffs) summarise() {
	sum := cutoffs{issued: never, auth: never, unissued: never}
	for _, r := range *c.rules {
		o := cutoffsOf(r)
		sum.issued, sum.auth, sum.unissued = max(sum.issued, o.issued), max(sum.auth, o.auth), max(sum.unissued, o.unissued)
	}
	atomic.StoreInt64(&c.issued, sum.issued)
	atomic.StoreInt64(&c.auth, sum.auth)
	atomic.StoreInt64(&c.unissued, sum.unissued)
}

// hits says of all rules at once what events.Match says of each.
func (c *cutoffs) hits(t *events.Token) bool {
	if t.AuthTime != 0 && t.AuthTime <= atomic.LoadInt64(&c.auth) {
		return true
	}
	if t.IssuedAt == 0 {
		return t.Expires <= atomic.LoadInt64(&c.unissued)
	}
	return t.IssuedAt <= atomic.LoadInt64(&c.issued)
}
