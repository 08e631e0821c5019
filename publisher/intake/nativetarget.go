package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher"
)

// resolved is a request's target, the realms that it touches (none: all), and
// how many of its tokens were left out because they have expired.
type resolved struct {
	target  publisher.Target
	realms  []string
	expired int
	// at says where on the list an identity is.
	at map[events.Identity]int
}

func newResolved(kind events.Kind) *resolved {
	return &resolved{target: publisher.Target{Kind: kind}, at: map[events.Identity]int{}}
}

// resolve makes a request into a target. It verifies tokens, and asks agents for
// an opaque one, only for a caller who may revoke such targets at all.
func (d nativeDoor) resolve(ctx context.Context, c *Caller, q *nativeRequest) (*resolved, error) {
	got := &resolved{target: q.rule()}
	t := &got.target
	if t.Realm != "" {
		got.realms = []string{t.Realm}
	}
	visitOf(ctx).about(t, got.realms)
	if t.Kind.Mechanism() == events.ByIdentity {
		if err := mayTry(c, t.Kind); err != nil {
			return nil, err
		}
	}
	switch {
	case q.given["tokens"]:
		return d.listed(ctx, q)
	case q.given["identities"]:
		return d.identities(q)
	case t.Kind == events.KindToken:
		return d.single(ctx, c, q)
	}
	if got.realms == nil {
		return got, nil
	}
	if err := authorise(c, t, got.realms); err != nil {
		return nil, err
	}
	if _, ok := d.s.realms.Get(t.Realm); !ok {
		return nil, wrong("realm", "there is no such realm")
	}
	return got, nil
}

// rule is the target of a request, without its tokens.
func (q *nativeRequest) rule() publisher.Target {
	t := publisher.Target{Realm: q.realm, Claim: q.claim, Value: q.value}
	switch q.names() {
	case "token", "refresh_token":
		t.Kind = events.KindToken
	case "tokens", "identities":
		t.Kind = events.KindTokens
	case "session":
		t.Kind, t.Value = events.KindSession, q.session
	case "client":
		t.Kind, t.Value = events.KindClient, q.client
	case "user":
		t.Kind, t.Value = events.KindUser, q.user
	case "claim":
		t.Kind = events.KindClaim
	case "all":
		t.Kind = events.KindAll
	default:
		t.Kind = events.KindRealm
	}
	return t
}

func (d nativeDoor) single(ctx context.Context, c *Caller, q *nativeRequest) (*resolved, error) {
	var t publisher.Token
	var realms []string
	var err error
	if q.given["token"] {
		t, err = d.s.accessToken(ctx, q.token)
		realms = []string{t.Realm}
	} else {
		t, realms, err = d.s.refreshToken(ctx, c, q.refresh)
	}
	if errors.Is(err, errUnknownToken) || errors.Is(err, errExpiredToken) {
		return nil, fieldErrors{tokenError(err, q.names())}
	}
	if err != nil {
		return nil, err
	}
	return &resolved{target: publisher.Target{Kind: events.KindToken, Realm: t.Realm, Tokens: []publisher.Token{t}}, realms: realms}, nil
}

func tokenError(err error, path ...string) fieldError {
	return fieldError{Pointer: pointer(path...), Detail: strings.TrimPrefix(err.Error(), errUnknownToken.Error()+": "), cause: err}
}

// listed verifies every token of a list. One that cannot be verified spoils the
// request; expired ones are left out, since lists are made a while before they
// are sent, unless there is nothing else.
func (d nativeDoor) listed(ctx context.Context, q *nativeRequest) (*resolved, error) {
	got := newResolved(events.KindTokens)
	var errs fieldErrors
	for i, raw := range q.tokens {
		t, err := d.s.accessToken(ctx, raw)
		switch {
		case err == nil:
			got.add(t)
		case errors.Is(err, errExpiredToken):
			got.expired++
		case !errors.Is(err, errUnknownToken):
			return nil, err
		case len(errs) < maxFieldErrors:
			errs = append(errs, tokenError(err, "tokens", strconv.Itoa(i)))
		}
	}
	return got.finish(errs, "tokens")
}

// identities lists tokens by their names alone. A caller's word on a token's
// expiry is taken, within what its realm allows.
func (d nativeDoor) identities(q *nativeRequest) (*resolved, error) {
	got := newResolved(events.KindTokens)
	now := time.Now()
	var errs fieldErrors
	for i, id := range q.identities {
		switch t, expired, member, why := d.identity(id, now); {
		case why != "":
			errs = errs.add("identities\x00"+strconv.Itoa(i)+"\x00"+member, why)
		case expired:
			got.expired++
		default:
			got.add(t)
		}
	}
	return got.finish(errs, "identities")
}

// identity makes a token of its name. why says what is wrong with which member.
func (d nativeDoor) identity(id identityRequest, now time.Time) (t publisher.Token, expired bool, member, why string) {
	r, ok := d.s.realms.ByIssuer(id.issuer)
	if !ok {
		return t, false, "iss", "it is the issuer of no realm"
	}
	switch longest := max(r.MaxToken, r.MaxSession); {
	case id.expires > now.Add(longest).Unix():
		return t, false, "exp", fmt.Sprintf("is further away than a token of realm %s can live", r.Name)
	case id.expires != 0 && id.expires <= now.Add(-r.Leeway).Unix():
		return t, true, "", ""
	}
	return publisher.Token{Realm: r.Name, Token: &events.Token{Identity: events.JTIIdentity(id.issuer, id.jti),
		Issuer: id.issuer, JTI: id.jti, Expires: id.expires}}, false, "", ""
}

// add puts a token on the list, once: listed twice it would be counted twice.
func (g *resolved) add(t publisher.Token) {
	i, there := g.at[t.Identity]
	if !there {
		g.at[t.Identity] = len(g.target.Tokens)
		g.target.Tokens = append(g.target.Tokens, t)
		if !slices.Contains(g.realms, t.Realm) {
			g.realms = append(g.realms, t.Realm)
		}
		return
	}
	if have := g.target.Tokens[i]; have.Expires != 0 && (t.Expires == 0 || t.Expires > have.Expires) {
		g.target.Tokens[i] = t
	}
}

func (g *resolved) finish(errs fieldErrors, name ...string) (*resolved, error) {
	if len(errs) > 0 {
		return nil, errs
	}
	if len(g.target.Tokens) == 0 {
		return nil, fieldErrors{{Pointer: pointer(name...), Detail: "all of them have expired", cause: errExpiredToken}}
	}
	if len(g.realms) == 1 {
		g.target.Realm = g.realms[0]
	}
	return g, nil
}
