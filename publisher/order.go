package publisher

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

// Target is what a caller wants revoked, in the caller's terms. Realms make it
// into what the events carry.
type Target struct {
	Kind events.Kind
	// Realm is a configured realm's name; "" means all of them, for a user.
	Realm string
	// Issuer is one of the realm's, for a user or a session of that one alone; ""
	// means any of them.
	Issuer string
	// Value is the user, session or client, or the value of Claim. For a user, Claim
	// "" means the realm's user_claim.
	Claim, Value string
	// Tokens are those of KindToken (one) and KindTokens.
	Tokens []Token
	// Lifted is the event or the request that KindLift takes away.
	Lifted events.EventID
}

// Token is one token to revoke.
type Token struct {
	// Token is the verified token, or one with only an Identity.
	*events.Token
	// Realm is the name of its realm, "" when it is not known.
	Realm string
	// Refresh marks a refresh token, which lives for the realm's max_session.
	Refresh bool
}

// Order is one request, as a door hands it over after it authenticated and
// authorised the caller.
type Order struct {
	Target Target
	// Caller and Door are for the receipt; Reason is the caller's own.
	Caller, Door, Reason string
	Initiator            events.Initiator
	// NotBefore is an explicit cutoff in Unix seconds; 0 means now. It may not be
	// later than now and the realm's skew; or, where it is not the caller's word but
	// that of a clock which may be Ahead, that is what it becomes.
	NotBefore int64
	Ahead     bool
	// Key makes a repeated order the same one, for 24 hours: an Idempotency-Key
	// together with the caller's name, or an incoming token's iss and jti.
	Key string
	// Wait and Timeout say how long the answer waits for agents. The wait for the
	// bus's acknowledgement is bounded by AckTimeout of the configuration.
	Wait    Wait
	Timeout time.Duration
}

// Result is the answer to an order.
type Result struct {
	ID     events.EventID
	Events []events.ReceiptEvent
	// NotBefore is the cutoff, 0 where there is none.
	NotBefore int64
	events.Outcome
	Elapsed time.Duration
	// Replayed tells that the order had been given before.
	Replayed bool
}

func (o *Order) cause() string {
	if o.Key == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("rescind/1/cause\x00" + o.Key))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// draft is an event before it is stamped with a time.
type draft struct {
	target events.Target
	// skew is added to the cutoff; life is how long after its cutoff (or after
	// now, when it has none) the last token it can hit dies.
	skew, life time.Duration
	// until replaces life where the tokens' own expiry is known, Unix seconds.
	until  int64
	tokens []*events.Token
}

// plan makes an order into drafts. Everything wrong with it is found here.
func (p *Publisher) plan(o *Order) ([]draft, error) {
	if _, err := events.ParseInitiator(string(o.Initiator)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(o.Reason) > events.MaxReasonBytes || !utf8.ValidString(o.Reason) {
		return nil, fmt.Errorf("%w: reason is longer than %d bytes or not UTF-8", ErrInvalid, events.MaxReasonBytes)
	}
	drafts, err := p.draft(&o.Target)
	if err != nil {
		return nil, err
	}
	now := p.now()
	for i := range drafts {
		if o.NotBefore != 0 {
			if err := drafts[i].mayCut(o.NotBefore, o.Ahead, now); err != nil {
				return nil, err
			}
		}
		if err := drafts[i].target.Validate(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	return drafts, nil
}

// mayCut refuses an explicit cutoff that lies in the future, or so far in the past
// that every token it could hit has died.
func (d *draft) mayCut(notBefore int64, ahead bool, now time.Time) error {
	switch {
	case !d.target.Kind.HasCutoff():
		return fmt.Errorf("%w: not_before makes no sense for a %s", ErrInvalid, d.target.Kind)
	case !ahead && notBefore > d.cutoff(now):
		return fmt.Errorf("%w: not_before lies in the future", ErrInvalid)
	case notBefore < 0 || notBefore+int64(d.life/time.Second) <= now.Unix():
		return fmt.Errorf("%w: not_before lies so far back that no token from then lives", ErrInvalid)
	}
	return nil
}

func (p *Publisher) draft(t *Target) ([]draft, error) {
	switch t.Kind {
	case events.KindToken, events.KindTokens:
		return p.draftTokens(t)
	case events.KindAll:
		return []draft{p.longest(events.Target{Kind: events.KindAll})}, nil
	case events.KindLift:
		return p.draftLift(t.Lifted)
	}
	if t.Realm == "" && t.Kind == events.KindUser {
		return p.draftUserAnywhere(t.Value)
	}
	r, ok := p.cfg.Realms.Get(t.Realm)
	if !ok {
		return nil, fmt.Errorf("%w: unknown realm %q", ErrInvalid, t.Realm)
	}
	switch t.Kind {
	case events.KindRealm:
		return []draft{inRealm(r, r.Target())}, nil
	case events.KindUser:
		target := r.UserTarget(t.Value)
		target.Claim = cmp.Or(t.Claim, target.Claim)
		return draftOf(r, target, t.Issuer)
	case events.KindSession:
		return draftOf(r, r.SessionTarget(t.Value), t.Issuer)
	case events.KindClient:
		var out []draft
		for _, target := range r.ClientTargets(t.Value) {
			out = append(out, inRealm(r, target))
		}
		return out, nil
	case events.KindClaim:
		return []draft{inRealm(r, r.ClaimTarget(t.Claim, t.Value))}, nil
	}
	return nil, fmt.Errorf("%w: no target", ErrInvalid)
}

// draftOf is a draft in a realm, narrowed to one issuer unless that is "".
func draftOf(r *realm.Realm, t events.Target, issuer string) ([]draft, error) {
	if issuer != "" {
		if !slices.Contains(t.Issuers, issuer) {
			return nil, fmt.Errorf("%w: realm %s has no issuer %q", ErrInvalid, r.Name, issuer)
		}
		t.Issuers = []string{issuer}
	}
	return []draft{inRealm(r, t)}, nil
}

// inRealm gives a rule the realm's skew and the longest life of what it can hit:
// rules that look at auth_time, and sessions, outlive refresh tokens.
func inRealm(r *realm.Realm, t events.Target) draft {
	life := r.MaxToken
	if t.Kind.ComparesAuthTime() || t.Kind == events.KindSession {
		life = max(r.MaxSession, r.MaxToken)
	}
	return draft{target: t, skew: r.Skew, life: life + r.Leeway}
}

// longest is a draft for a target of no realm: with the largest skew and life, or
// those of a realm without settings.
func (p *Publisher) longest(t events.Target) draft {
	d := draft{target: t}
	if len(p.cfg.Realms.All()) == 0 {
		d.skew, d.life = time.Second, defaultLife+defaultLeeway
	}
	for _, r := range p.cfg.Realms.All() {
		one := inRealm(r, t)
		d.skew, d.life = max(d.skew, one.skew), max(d.life, one.life)
	}
	return d
}

// draftUserAnywhere revokes a user in all realms: in one event for any issuer
// when the realms agree on the claim that names users, else one for each claim.
func (p *Publisher) draftUserAnywhere(user string) ([]draft, error) {
	issuers := map[string][]string{}
	var claims []string
	for _, r := range p.cfg.Realms.All() {
		if issuers[r.UserClaim] == nil {
			claims = append(claims, r.UserClaim)
		}
		issuers[r.UserClaim] = append(issuers[r.UserClaim], r.Issuers...)
	}
	if len(claims) == 0 {
		return nil, fmt.Errorf("%w: no realm is configured, so no claim names a user", ErrInvalid)
	}
	var out []draft
	for _, claim := range claims {
		t := events.Target{Kind: events.KindUser, Claim: claim, Value: user}
		if len(claims) == 1 {
			return []draft{p.longest(t)}, nil
		}
		for t.Issuers = range slices.Chunk(issuers[claim], events.MaxIssuers) {
			out = append(out, p.longest(t))
		}
	}
	return out, nil
}

// draftTokens makes lists of at most events.MaxIdentities, or a single token.
func (p *Publisher) draftTokens(t *Target) ([]draft, error) {
	if len(t.Tokens) == 0 || t.Kind == events.KindToken && len(t.Tokens) != 1 {
		return nil, fmt.Errorf("%w: no token", ErrInvalid)
	}
	if t.Kind == events.KindToken {
		tok := t.Tokens[0]
		target := events.Target{Kind: events.KindToken, Realm: tok.Realm, Identities: []events.Identity{tok.Identity}}
		if tok.Issuer != "" && tok.JTI != "" {
			target.Issuer, target.JTI = tok.Issuer, tok.JTI
		}
		return []draft{{target: target, until: p.lifespan(tok.Realm).until(tok, p.now()), tokens: []*events.Token{tok.Token}}}, nil
	}
	var out []draft
	spans, now := map[string]lifespan{}, p.now()
	for rest := range slices.Chunk(distinct(t.Tokens), events.MaxIdentities) {
		d := draft{target: events.Target{Kind: events.KindTokens, Realm: t.Realm, Identities: make([]events.Identity, 0, len(rest))},
			tokens: make([]*events.Token, 0, len(rest))}
		for _, tok := range rest {
			d.target.Identities = append(d.target.Identities, tok.Identity)
			d.tokens = append(d.tokens, tok.Token)
			span, ok := spans[tok.Realm]
			if !ok {
				span = p.lifespan(tok.Realm)
				spans[tok.Realm] = span
			}
			d.until = max(d.until, span.until(tok, now))
		}
		out = append(out, d)
	}
	return out, nil
}

// distinct leaves out tokens that are listed twice: they would be counted twice.
func distinct(tokens []Token) []Token {
	seen := make(map[events.Identity]int, len(tokens))
	out := make([]Token, 0, len(tokens))
	for _, tok := range tokens {
		i, twice := seen[tok.Identity]
		switch {
		case !twice:
			seen[tok.Identity] = len(out)
			out = append(out, tok)
		case out[i].Expires != 0 && (tok.Expires == 0 || tok.Expires > out[i].Expires):
			out[i] = tok // two tokens can share a jti: until the later one dies
		}
	}
	return out
}

// What stands in for a realm's settings where no realm has any.
const (
	defaultLeeway = time.Minute
	defaultLife   = 30 * 24 * time.Hour
)

// lifespan is for how long tokens of a realm may live, and how far clocks may be
// apart.
type lifespan struct{ life, leeway time.Duration }

// lifespan gives that of a realm, of "" the longest of all.
func (p *Publisher) lifespan(realm string) lifespan {
	var l lifespan
	for _, r := range p.cfg.Realms.All() {
		if realm == "" || r.Name == realm {
			l.leeway = max(l.leeway, r.Leeway)
			l.life = max(l.life, r.MaxToken, r.MaxSession)
		}
	}
	return lifespan{cmp.Or(l.life, defaultLife), cmp.Or(l.leeway, defaultLeeway)}
}

// until is when a token is dead for every verifier: its exp and the realm's
// leeway, or for one without a known exp the longest life that it may have. One
// that has expired gets the leeway from now, so that its event is carried out like
// any other.
func (l lifespan) until(t Token, now time.Time) int64 {
	expires := max(t.Expires, now.Unix())
	if t.Expires == 0 {
		expires = now.Add(l.life).Unix()
	}
	return expires + int64(l.leeway/time.Second)
}

// key names what the order is aimed at, so that a retry joins the order in
// flight.
func (d *draft) key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s|%q|%q|%q|%q|%s", d.target.Kind, d.target.Realm, d.target.Issuers, d.target.Claim, d.target.Value, d.target.Lifted)
	for i := range d.target.Identities {
		h.Write(d.target.Identities[i][:])
	}
	return string(h.Sum(nil))
}

// cutoff is that of a rule which is made now.
func (d *draft) cutoff(now time.Time) int64 { return now.Unix() + int64(d.skew/time.Second) }

// revocation stamps a draft.
func (d *draft) revocation(now time.Time, notBefore int64) events.Revocation {
	r := events.Revocation{Target: d.target, IssuedAt: now.Unix(), Expires: d.until}
	from := now.Unix()
	if d.target.Kind.HasCutoff() {
		r.NotBefore = d.cutoff(now)
		if notBefore != 0 {
			r.NotBefore = min(notBefore, r.NotBefore)
		}
		from = r.NotBefore
	}
	if d.until == 0 {
		r.Expires = from + int64(d.life/time.Second)
	}
	return r
}
