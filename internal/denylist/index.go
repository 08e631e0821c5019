package denylist

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync/atomic"

	"github.com/rescind/rescind/events"
)

// index is what Check reads: tables of what stands. It has one writer at a
// time and any number of readers.
type index struct {
	seed       maphash.Seed
	identities listed
	// claims are the names on which there are rules; the list is replaced, never
	// changed.
	claims atomic.Pointer[[]*claimRules]
	// issuers and all are the issuer rules.
	issuers table[cutoffs]
	all     atomic.Pointer[cutoffs]
	// rules is how many rules stand.
	rules int
}

// claimRules are the rules on one claim: those bound to issuers, and those that
// are not.
type claimRules struct {
	name       events.ClaimName
	bound, any table[cutoffs]
}

// hits tells whether anything that stands hits the token.
func (x *index) hits(t *events.Token) bool {
	if !x.identities.once.empty() && x.identities.once.find(x.hash((*[32]byte)(&t.Identity))) != nil {
		return true
	}
	return x.claimHits(t) || x.issuerHits(t)
}

func (x *index) claimHits(t *events.Token) bool {
	names := x.claims.Load()
	if names == nil {
		return false
	}
	for _, c := range *names {
		key, ok := t.Named(c.name)
		if !ok {
			continue
		}
		if !c.any.empty() && ruleHits(&c.any, x.hashPair(events.Key{}, key), t) {
			return true
		}
		if !c.bound.empty() && ruleHits(&c.bound, x.hashPair(issuerKey(t), key), t) {
			return true
		}
	}
	return false
}

func (x *index) issuerHits(t *events.Token) bool {
	if c := x.all.Load(); c != nil && c.hits(t) {
		return true
	}
	return !x.issuers.empty() && ruleHits(&x.issuers, x.hashPair(issuerKey(t), events.Key{}), t)
}

func ruleHits(rules *table[cutoffs], k hashed, t *events.Token) bool {
	c := rules.find(k)
	return c != nil && c.hits(t)
}

// issuerKey is the key of the token's issuer.
func issuerKey(t *events.Token) events.Key {
	if key := t.IssuerKey(); key != (events.Key{}) {
		return key
	}
	return unknownIssuerKey(t)
}

// unknownIssuerKey is that of a Token that was put together by hand and does not know
// its key, and of one without an issuer.
func unknownIssuerKey(t *events.Token) (none events.Key) {
	if t.Issuer == "" {
		return none
	}
	return events.IssuerKey(t.Issuer)
}

func (x *index) hash(key *[32]byte) hashed {
	return hashed{maphash.Bytes(x.seed, key[:]), binary.LittleEndian.Uint64(key[8:]) ^ binary.LittleEndian.Uint64(key[24:])}
}

func (x *index) hashPair(issuer, claim events.Key) hashed {
	var key [32]byte
	copy(key[:], issuer[:])
	copy(key[16:], claim[:])
	return x.hash(&key)
}

// apply adds the effect of a record that is no lift.
func (x *index) apply(r *Record) {
	if r.Target.Kind.Mechanism() != events.ByIdentity {
		x.rules++
		x.eachRule(r, x.addRule)
		return
	}
	if len(r.Target.Identities) > 0 {
		x.eachHash(r.Target.Identities, x.identities.add)
	}
}

// eachHash calls fn with the hashes of identities, some at a time.
func (x *index) eachHash(ids []events.Identity, fn func(some []hashed)) {
	var some [together]hashed
	for ids := range slices.Chunk(ids, together) {
		for i := range ids {
			some[i] = x.hash((*[32]byte)(&ids[i]))
		}
		fn(some[:len(ids)])
	}
}

// unapply takes the effect of an applied record away. Room is given back by
// compact.
func (x *index) unapply(r *Record) {
	if r.Target.Kind.Mechanism() != events.ByIdentity {
		x.rules--
		x.eachRule(r, x.removeRule)
		return
	}
	x.eachHash(r.Target.Identities, func(some []hashed) {
		for _, k := range some {
			x.identities.remove(k)
		}
	})
}

// eachRule calls change for each table and key under which the rule is found;
// for a rule on every issuer the table is nil.
func (x *index) eachRule(r *Record, change func(*table[cutoffs], hashed, rule)) {
	t, what := &r.Target, ruleOf(r)
	if t.Kind.Mechanism() == events.ByIssuer {
		if len(t.Issuers) == 0 {
			change(nil, hashed{}, what)
		}
		for _, iss := range t.Issuers {
			change(&x.issuers, x.hashPair(events.IssuerKey(iss), events.Key{}), what)
		}
		return
	}
	c, key := x.claim(t.Claim), events.ClaimKey(t.Claim, t.Value)
	if len(t.Issuers) == 0 {
		change(&c.any, x.hashPair(events.Key{}, key), what)
	}
	for _, iss := range t.Issuers {
		change(&c.bound, x.hashPair(events.IssuerKey(iss), key), what)
	}
}

func (x *index) addRule(rules *table[cutoffs], k hashed, r rule) {
	if rules == nil {
		if c := x.all.Load(); c != nil {
			c.add(r)
		} else {
			c := cutoffsOf(r)
			x.all.Store(&c)
		}
		return
	}
	if c := rules.find(k); c != nil {
		c.add(r)
	} else {
		rules.insert(k, cutoffsOf(r))
	}
}

func (x *index) removeRule(rules *table[cutoffs], k hashed, r rule) {
	if rules == nil {
		if !x.all.Load().remove(r) {
			x.all.Store(nil)
		}
		return
	}
	if !rules.find(k).remove(r) {
		rules.remove(k)
	}
}

// claim gives the rules on a claim, which it makes when there are none.
func (x *index) claim(name string) *claimRules {
	var names []*claimRules
	if p := x.claims.Load(); p != nil {
		names = *p
	}
	for _, c := range names {
		if c.name.String() == name {
			return c
		}
	}
	c := &claimRules{name: events.NameClaim(name)}
	names = append(slices.Clone(names), c)
	x.claims.Store(&names)
	return c
}

// compact gives back the room of what was removed.
func (x *index) compact() {
	x.identities.compact()
	x.issuers.compact()
	p := x.claims.Load()
	if p == nil {
		return
	}
	var names []*claimRules
	for _, c := range *p {
		c.any.compact()
		c.bound.compact()
		if c.any.len()+c.bound.len() > 0 {
			names = append(names, c)
		}
	}
	if names == nil {
		x.claims.Store(nil)
	} else if len(names) < len(*p) {
		x.claims.Store(&names)
	}
}

// len is how many identities and rules stand.
func (x *index) len() int { return x.identities.once.len() + x.rules }
