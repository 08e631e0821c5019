package intake

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
)

// revoke is the one way from a door to the publisher: it checks that the caller
// may, and does not too often, and only then carries the order out. realms are those
// that the target touches; none means all.
func (s *Server) revoke(ctx context.Context, d door, c *Caller, o publisher.Order, realms []string) (*publisher.Result, error) {
	v := visitOf(ctx)
	v.by(c)
	v.about(&o.Target, realms)
	if err := authorise(c, &o.Target, realms); err != nil {
		s.log.Warn("revocation refused", "door", d.name(), "caller", c.Name, "kind", o.Target.Kind, "realms", realms)
		s.metrics.refused(d.name(), o.Target.Kind)
		return nil, err
	}
	if err := s.limits.allow(c, o.Target.Kind); err != nil {
		s.log.Warn("revocation refused", "door", d.name(), "caller", c.Name, "kind", o.Target.Kind, "realms", realms, "err", err)
		s.metrics.limited(d.name(), o.Target.Kind)
		return nil, err
	}
	o.Caller, o.Door, o.Initiator = c.Name, d.name(), c.Initiator
	if isOwn(c, &o.Target) {
		o.Initiator = events.ByUser
	}
	begun := time.Now()
	res, err := s.pub.Revoke(ctx, o)
	s.metrics.revoked(d.name(), o.Target.Kind, res, err, time.Since(begun))
	if res != nil {
		s.log.Info("revocation", "id", res.ID, "door", d.name(), "caller", c.Name, "kind", o.Target.Kind,
			"realms", realms, "complete", res.Complete, "err", err)
	}
	return res, err
}

// authorise tells whether the caller may revoke the target. A caller may always
// sign itself out by the token that it came with.
func authorise(c *Caller, t *publisher.Target, realms []string) error {
	if isOwn(c, t) {
		return nil
	}
	if err := c.May(t.Kind, realms...); err != nil {
		return err
	}
	if c.Client != "" && !issuedTo(c.Client, t) {
		return errNotIssued
	}
	return nil
}

// errNotIssued is that of a client which asks for another's token.
var errNotIssued = fmt.Errorf("%w: the token was issued to another client", ErrForbidden)

// issuedTo tells whether the target is one token of the client. An opaque one does
// not say whose it is: who holds it whole could as well use it.
func issuedTo(client string, t *publisher.Target) bool {
	if len(t.Tokens) != 1 {
		return false
	}
	tok := &t.Tokens[0]
	return tok.Refresh && tok.Issuer == "" || realm.IssuedTo(tok.Token, client)
}

// isOwn tells whether the target is the caller's own token, or what its realm
// says that a sign-out by this token takes with it.
func isOwn(c *Caller, t *publisher.Target) bool {
	if c.Token == nil {
		return false
	}
	if t.Kind == events.KindToken {
		return len(t.Tokens) == 1 && c.Owns(t.Tokens[0].Token)
	}
	v := c.Token
	if t.Realm != v.Realm.Name || t.Value == "" {
		return false
	}
	switch v.Realm.SignOut {
	case realm.SignOutSession:
		return t.Kind == events.KindSession && t.Value == v.Session()
	case realm.SignOutUser:
		return t.Kind == events.KindUser && t.Value == v.User()
	}
	return false
}

// mayTry tells whether the caller may ever revoke targets of the kind: what
// costs time is not begun for one who may not.
func mayTry(c *Caller, kind events.Kind) error {
	if kind == events.KindToken && c.Token != nil {
		return nil // it may be its own
	}
	if c.Kinds != nil && !slices.Contains(c.Kinds, kind) {
		return c.May(kind, c.Realms...)
	}
	return nil
}

var errNotReader = fmt.Errorf("%w: this caller may revoke nothing but its own token", ErrForbidden)

// mayRead tells whether the caller may see what was revoked and by whom: who may
// revoke nothing but its own token may not.
func mayRead(c *Caller) error {
	if c.Kinds != nil && len(c.Kinds) == 0 {
		return errNotReader
	}
	return nil
}

// allowedRealms are those of names in which the caller may revoke targets of the
// kind.
func allowedRealms(c *Caller, kind events.Kind, names []string) []string {
	var out []string
	for _, name := range names {
		if c.May(kind, name) == nil {
			out = append(out, name)
		}
	}
	return out
}
