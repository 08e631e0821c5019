package subscriber

import (
	"slices"
	"sync"

	"github.com/rescind/rescind/events"
)

// maxSeenClaims is how many claims of a live token are remembered.
const maxSeenClaims = 32

// seenToken is what is remembered of a live token: enough to tell which rules
// hit it, and nothing that could be used as a token.
type seenToken struct {
	issuedAt, authTime, expires int64
	issuer                      events.Key
	claims                      []uint64
	// realm and user are those under which an opaque refresh token was observed.
	realm, user string
	refused     bool
	// tied tells that it names its session or when its user was authenticated.
	tied bool
	// txn is the request whose event refused it first, zero when that is not
	// known: for all events of a request, it is the request that invalidated it.
	txn events.EventID
}

func (t *seenToken) refuse(r *events.Revocation) {
	if !t.refused {
		t.refused, t.txn = true, r.Txn
	}
}

// seen remembers the live tokens that the agent has verified, to count what a
// rule hits. It is bounded; safe for concurrent use.
type seen struct {
	mu     sync.Mutex
	tokens map[events.TokenHash]*seenToken
	max    int
	// forgot tells that a live token was not taken for want of room: counts may
	// be too low from then on.
	forgot bool
}

func newSeen(max int) *seen {
	return &seen{tokens: map[events.TokenHash]*seenToken{}, max: max}
}

// has tells whether the token is remembered.
func (s *seen) has(h events.TokenHash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.tokens[h]
	return ok
}

// add remembers a token. refused is asked under the lock that count takes, so a
// rule that lands at the same time finds the token either here or refused.
func (s *seen) add(h events.TokenHash, t *seenToken, now int64, refused func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.tokens[h]; ok {
		return false
	}
	if len(s.tokens) >= s.max {
		s.sweepLocked(now)
	}
	if len(s.tokens) >= s.max {
		s.forgot = true
		return false
	}
	t.refused = t.refused || refused()
	s.forgot = s.forgot || len(t.claims) == maxSeenClaims
	s.tokens[h] = t
	return true
}

func (s *seen) sweep(now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweepLocked(now)
}

func (s *seen) sweepLocked(now int64) {
	for h, t := range s.tokens {
		if t.expires <= now {
			delete(s.tokens, h)
		}
	}
}

func (s *seen) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tokens)
}

// refused tells whether the token is remembered as refused.
func (s *seen) refused(h events.TokenHash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[h]
	return t != nil && t.refused
}

// get gives a copy of what is remembered.
func (s *seen) get(h events.TokenHash) (seenToken, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tokens[h]; t != nil {
		return *t, true
	}
	return seenToken{}, false
}

// count finds the live tokens that a revocation hits, and with mark remembers
// them as refused. Tokens that a list names are marked and not counted:
// publishers count those.
func (s *seen) count(r *events.Revocation, now int64, mark bool) events.Counted {
	c := events.Counted{Event: r.ID}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Target.Kind.Mechanism() == events.ByIdentity {
		for _, id := range r.Target.Identities {
			if t := s.tokens[id.Hash()]; t != nil && mark {
				t.refuse(r)
			}
		}
		return c
	}
	rule := compile(r)
	for h, t := range s.tokens {
		if t.expires <= now || !rule.hits(t) {
			continue
		}
		if t.refused && (t.txn != r.Txn || r.Txn.IsZero()) {
			c.PreviouslyCount++
			c.Previously = append(c.Previously, h)
		} else {
			c.InvalidatedCount++
			c.Invalidated = append(c.Invalidated, h)
		}
		if mark {
			t.refuse(r)
		}
	}
	c.AtLeast = s.forgot
	return capCounted(c)
}

// untied counts the live access tokens that a rule would hit and that nothing ties to
// the sign-in that they came of.
func (s *seen) untied(r *events.Revocation, now int64) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rule := compile(r)
	for _, t := range s.tokens {
		if t.expires > now && t.realm == "" && !t.refused && !t.tied && rule.hits(t) {
			n++
		}
	}
	return n
}

// capCounted leaves the lists out when they would be too long to send.
func capCounted(c events.Counted) events.Counted {
	if len(c.Invalidated)+len(c.Previously) > events.MaxReportedTokens {
		c.Invalidated, c.Previously, c.AtLeast = nil, nil, true
	}
	return c
}

// lifted corrects the marks after an event was taken away: tokens that it hit
// are refused only if one of the others, which stand, hits them too.
func (s *seen) lifted(r *events.Revocation, others func(yield func(*events.Revocation) bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hit, lifted := map[events.TokenHash]*seenToken{}, compile(r)
	for h, t := range s.tokens {
		if t.refused && lifted.hitsToken(h, t) {
			t.refused = false
			hit[h] = t
		}
	}
	if len(hit) == 0 {
		return
	}
	for other := range others {
		rule := compile(other)
		for h, t := range hit {
			t.refused = t.refused || rule.hitsToken(h, t)
		}
	}
}

// rule is a revocation made ready to be compared with many tokens.
type rule struct {
	r       *events.Revocation
	issuers []events.Key
	claim   uint64
}

func compile(r *events.Revocation) rule {
	c := rule{r: r}
	for _, iss := range r.Target.Issuers {
		c.issuers = append(c.issuers, events.IssuerKey(iss))
	}
	if r.Target.Claim != "" {
		c.claim = short(events.ClaimKey(r.Target.Claim, r.Target.Value))
	}
	return c
}

func (c rule) hitsToken(h events.TokenHash, t *seenToken) bool {
	if c.r.Target.Kind.Mechanism() == events.ByIdentity {
		return slices.ContainsFunc(c.r.Target.Identities, func(id events.Identity) bool { return id.Hash() == h })
	}
	return c.hits(t)
}

// hits decides as events.Match does, from what is remembered.
func (c rule) hits(t *seenToken) bool {
	target := &c.r.Target
	if t.realm != "" {
		return c.hitsObserved(t)
	}
	switch target.Kind.Mechanism() {
	case events.ByClaim:
		if !slices.Contains(t.claims, c.claim) {
			return false
		}
	case events.ByIssuer:
	default:
		return false
	}
	return (len(c.issuers) == 0 || slices.Contains(c.issuers, t.issuer)) && c.cutoff(t)
}

// hitsObserved decides for a refresh token of which only realm and user are
// known.
func (c rule) hitsObserved(t *seenToken) bool {
	target := &c.r.Target
	inRealm := target.Realm == "" || target.Realm == t.realm
	switch target.Kind {
	case events.KindUser:
		return inRealm && target.Value == t.user && c.cutoff(t)
	case events.KindRealm, events.KindAll:
		return inRealm && c.cutoff(t)
	}
	return false
}

func (c rule) cutoff(t *seenToken) bool {
	kind := c.r.Target.Kind
	if !kind.HasCutoff() {
		return true
	}
	tok := events.Token{IssuedAt: t.issuedAt, Expires: t.expires}
	return events.BeforeCutoff(&tok, c.r.NotBefore, c.r.Expires) ||
		kind.ComparesAuthTime() && t.authTime != 0 && t.authTime <= c.r.NotBefore
}

func short(k events.Key) uint64 {
	var n uint64
	for _, b := range k[:8] {
		n = n<<8 | uint64(b)
	}
	return n
}

func remember(t *events.Token) *seenToken {
	s := &seenToken{expires: t.Expires, issuedAt: t.IssuedAt, authTime: t.AuthTime, issuer: t.IssuerKey()}
	_, session := t.Claim("sid")
	s.tied = session || t.AuthTime != 0
	keys := t.ClaimKeys()
	for _, k := range keys[:min(len(keys), maxSeenClaims)] {
		s.claims = append(s.claims, short(k))
	}
	return s
}
