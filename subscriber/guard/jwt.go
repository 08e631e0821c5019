package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// JWT verifies tokens by golang-jwt. It is a configuration: [JWT.Verify] makes the
// function that a guard asks.
//
// The claims are jwt.MapClaims, and never a struct: encoding/json takes a claim "SUB"
// or "ſub" for the field of "sub", so whoever may choose the names of claims could
// choose who they are.
type JWT struct {
	// Keys finds the key that a token must be signed with, as jwt.Keyfunc does; it
	// must be set, and safe for concurrent use. An error that is ErrUnavailable says
	// that the keys cannot be had now (503); any other refuses the token.
	Keys jwt.Keyfunc
	// Methods are the algorithms that tokens may be signed with, such as RS256; at
	// least one, and not none.
	Methods []string
	// Issuers are those whose tokens are taken; at least one.
	Issuers []string
	// Audiences are what the service is called in tokens (aud): one of them must be
	// there. At least one.
	Audiences []string
	// Leeway is how far the clocks of issuer and service may be apart; 0 means a
	// minute. It must be no more than the leeway of the realm, one minute too unless
	// its configuration says otherwise: revocations are forgotten after it.
	Leeway time.Duration
}

// Verify makes the function. It refuses a configuration that would let anybody's
// tokens pass. Tokens must have an exp; an iat further in the future than the leeway is
// refused, as it would lie behind every cutoff.
func (c JWT) Verify() (Verify, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("guard: JWT: %w", err)
	}
	issuers := slices.Clone(c.Issuers)
	leeway := c.Leeway
	if leeway == 0 {
		leeway = time.Minute
	}
	parser := jwt.NewParser(jwt.WithValidMethods(slices.Clone(c.Methods)), jwt.WithAudience(slices.Clone(c.Audiences)...), jwt.WithLeeway(leeway),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding())
	return func(_ context.Context, raw string) (jwt.MapClaims, error) {
		claims := jwt.MapClaims{}
		if _, err := parser.ParseWithClaims(raw, claims, c.Keys); err != nil {
			return nil, err
		}
		if issuer, err := claims.GetIssuer(); err != nil || !slices.Contains(issuers, issuer) {
			return nil, jwt.ErrTokenInvalidIssuer
		}
		return claims, nil
	}, nil
}

func (c JWT) validate() error {
	switch {
	case c.Keys == nil:
		return errors.New("no Keys")
	case len(c.Methods) == 0:
		return errors.New("no Methods: a token could choose how it is verified")
	case len(c.Issuers) == 0:
		return errors.New("no Issuers")
	case len(c.Audiences) == 0:
		return errors.New("no Audiences: tokens for other services would be taken")
	case slices.Contains(c.Issuers, "") || slices.Contains(c.Audiences, ""):
		return errors.New("an empty one among Issuers or Audiences")
	case c.Leeway < 0:
		return errors.New("negative Leeway")
	}
	for _, m := range c.Methods {
		if m == jwt.SigningMethodNone.Alg() || jwt.GetSigningMethod(m) == nil {
			return fmt.Errorf("%q among Methods is not one of golang-jwt that signs", m)
		}
	}
	return nil
}
