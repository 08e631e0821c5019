package denylist

import (
	"math"
	"slices"
	"sync/atomic"

	"github.com/rescind/rescind/events"
)

// never is a cutoff before every token.
const never = math.MinInt64

// rule is what a rule says beside its key.
type rule struct {
	notBefore, expires int64
	cutoff, authTime   bool
}

func ruleOf(r *Record) rule {
	k := r.Target.Kind
	return rule{r.NotBefore, r.Expires, k.HasCutoff(), k.ComparesAuthTime()}
}

// cutoffs is the union of the rules on one key. What readers see are maxima,
// each of which suffices for a hit by itself; so they need not be read at one
// moment, and a rule that stands raises each of them at every moment.
type cutoffs struct {
	// issued is the latest cutoff for iat, auth the latest for auth_time, and
	// unissued the latest expiry, which decides on tokens without iat.
	issued, auth, unissued atomic.Int64
	// always is set while a rule without a cutoff stands.
	always atomic.Bool
	// rules are the writer's. The first lies in only, where most are alone.
	rules []rule
	only  [1]rule
}

func newCutoffs(r rule) *cutoffs {
	c := &cutoffs{}
	c.rules = c.only[:0]
	c.add(r)
	return c
}

func (c *cutoffs) add(r rule) {
	c.rules = append(c.rules, r)
	c.summarise()
}

// remove takes one such rule away and tells whether any is left.
func (c *cutoffs) remove(r rule) bool {
	if i := slices.Index(c.rules, r); i >= 0 {
		last := len(c.rules) - 1
		c.rules[i] = c.rules[last]
		c.rules = c.rules[:last]
		c.summarise()
	}
	return len(c.rules) > 0
}

func (c *cutoffs) summarise() {
	issued, auth, unissued, always := int64(never), int64(never), int64(never), false
	for _, r := range c.rules {
		if !r.cutoff {
			always = true
			continue
		}
		issued, unissued = max(issued, r.notBefore), max(unissued, r.expires)
		if r.authTime {
			auth = max(auth, r.notBefore)
		}
	}
	c.issued.Store(issued)
	c.auth.Store(auth)
	c.unissued.Store(unissued)
	c.always.Store(always)
}

// hits says of all rules at once what events.Match says of each.
func (c *cutoffs) hits(t *events.Token) bool {
	if c.always.Load() {
		return true
	}
	if t.AuthTime != 0 && t.AuthTime <= c.auth.Load() {
		return true
	}
	if t.IssuedAt == 0 {
		return t.Expires <= c.unissued.Load()
	}
	return t.IssuedAt <= c.issued.Load()
}
