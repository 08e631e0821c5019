package intake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
)

// queryTimeout is how long a door waits for what agents know of a token.
const queryTimeout = time.Second

// accessToken reads a token that is to be revoked. Its times do not matter,
// except that a dead one needs no revoking: one that no verifier accepts yet, or
// that lives too long, is the more reason to revoke it.
//
// The errors are errUnknownToken with the reason, errExpiredToken, and
// realm.ErrKeysUnavailable or the context's, which are no verdict.
func (s *Server) accessToken(ctx context.Context, raw string) (publisher.Token, error) {
	v, err := s.realms.VerifySignature(ctx, raw)
	switch {
	case err == nil && v.Expired:
		return publisher.Token{}, errExpiredToken
	case err == nil:
		return publisher.Token{Token: v.Token, Realm: v.Realm.Name}, nil
	case errors.Is(err, realm.ErrKeysUnavailable), ctx.Err() != nil:
		return publisher.Token{}, err
	}
	return publisher.Token{}, fmt.Errorf("%w: %w", errUnknownToken, err)
}

// refreshToken reads a refresh token that is to be revoked, and gives the realms
// that it may be of: a JWT is verified; of an opaque one the agents are asked.
// The errors are those of accessToken, and ErrForbidden when the caller may not
// revoke tokens of any realm that it could be of.
func (s *Server) refreshToken(ctx context.Context, c *Caller, raw string) (publisher.Token, []string, error) {
	if events.LooksLikeJWT(raw) {
		t, err := s.accessToken(ctx, raw)
		t.Refresh = true
		return t, []string{t.Realm}, err
	}
	if err := c.May(events.KindToken, c.Realms...); err != nil {
		return publisher.Token{}, nil, err
	}
	opaque, err := events.OpaqueToken(raw)
	if err != nil {
		return publisher.Token{}, nil, fmt.Errorf("%w: %w", errUnknownToken, err)
	}
	t := publisher.Token{Token: opaque, Refresh: true}
	realms, err := s.askFor(ctx, &t)
	if err != nil {
		return publisher.Token{}, nil, err
	}
	allowed := allowedRealms(c, events.KindToken, realms)
	if len(allowed) == 0 {
		return publisher.Token{}, nil, c.May(events.KindToken, realms...)
	}
	if len(allowed) == 1 {
		t.Realm = allowed[0]
	}
	return t, allowed, nil
}

// askFor finds out which realms an opaque refresh token may be of. One that an
// agent has observed is of the realm that it was observed under. One that nobody
// has may be of any realm that says accept; and of any realm at all while some
// agent is silent, or when it is revoked already: whoever holds an opaque token
// whole could as well use it, so a doubt is no reason to let it live.
func (s *Server) askFor(ctx context.Context, t *publisher.Token) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	known, err := s.pub.Query(ctx, publisher.Target{Kind: events.KindToken, Tokens: []publisher.Token{*t}})
	if err == nil && known.Refresh != nil {
		// What it said of the token's expiry is not verified: it is kept for as
		// long as the realm's longest lives.
		if _, ok := s.realms.Get(known.Refresh.Realm); ok {
			return []string{known.Refresh.Realm}, nil
		}
	}
	if err != nil || known.Known || len(known.Silent) > 0 || s.someSilent() || s.pub.Revoked(t.Token) {
		return s.realms.Names(), nil
	}
	var accepting []string
	for _, r := range s.realms.All() {
		if r.OpaqueRefresh == realm.OpaqueAccept {
			accepting = append(accepting, r.Name)
		}
	}
	if len(accepting) == 0 {
		return nil, fmt.Errorf("%w: no agent has observed this refresh token", errUnknownToken)
	}
	return accepting, nil
}

// someSilent tells whether there may be agents that a query did not ask.
func (s *Server) someSilent() bool {
	if s.pub.Ready() != nil {
		return true
	}
	for _, a := range s.pub.Agents() {
		if a.Silent {
			return true
		}
	}
	return false
}
