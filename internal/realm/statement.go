package realm

import (
	"context"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
)

// Statement is a rightly signed JWT that is made for one reader to act on: a logout
// token, a security event, an assertion. Its typ, its times and its audience are for
// that reader to judge.
type Statement struct {
	*events.Statement
	// Realm is the one whose issuer signed it, nil when Keys verified it.
	Realm *Realm
	now   time.Time
}

// VerifyStatement reads a statement of an issuer that belongs to a realm and
// verifies its signature with that issuer's keys. The errors are those of
// VerifySignature; it may wait for keys until ctx ends.
func (r *Realms) VerifyStatement(ctx context.Context, raw string) (*Statement, error) {
	s, err := events.ParseStatement(raw)
	if err != nil {
		return nil, err
	}
	is, ok := r.issuers[s.Issuer]
	if !ok {
		return nil, ErrUnknownIssuer
	}
	return verifyStatement(ctx, r.parser, is.keys, raw, s, is.realm, r.now())
}

func verifyStatement(ctx context.Context, p *jwt.Parser, from *keySource, raw string, s *events.Statement, is *Realm, now time.Time) (*Statement, error) {
	if _, err := verifySigned(ctx, p, from, raw, jwt.MapClaims{}, now); err != nil {
		return nil, err
	}
	return &Statement{s, is, now}, nil
}

// CheckTimes refuses a statement that is not of now: exp past, or iat or nbf in the
// future, each by more than leeway. What is absent is not checked. The errors are
// ErrExpired and ErrNotYetValid.
func (s *Statement) CheckTimes(leeway time.Duration) error {
	now, more := s.now.Unix(), seconds(leeway)
	switch {
	case s.Expires != 0 && now >= s.Expires+more:
		return ErrExpired
	case s.IssuedAt > now+more:
		return fmt.Errorf("%w: iat is in the future", ErrNotYetValid)
	case s.NotBefore > now+more:
		return fmt.Errorf("%w: nbf is in the future", ErrNotYetValid)
	}
	return nil
}
