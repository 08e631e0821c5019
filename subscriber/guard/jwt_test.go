package guard_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/tokentest"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

func newIssuer(t *testing.T) *tokentest.Issuer {
	t.Helper()
	return tokentest.NewIssuer(t, "https://idp.example.com")
}

// takes is what takes the issuer's tokens.
func takes(i *tokentest.Issuer) guard.JWT {
	return guard.JWT{Keys: i.Key, Methods: tokentest.Algorithms, Issuers: []string{i.Name, "https://other.example.com"},
		Audiences: []string{tokentest.Audience, "bills"}}
}

func newJWTGuard(t *testing.T, agent guard.Agent, c guard.JWT) *guard.Guard {
	t.Helper()
	verify, err := c.Verify()
	if err != nil {
		t.Fatal(err)
	}
	g, err := guard.New(agent, verify)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestOneCallParsesVerifiesAndChecks(t *testing.T) {
	f, s := guardtest.Start(t), newIssuer(t)
	g := newJWTGuard(t, f.Fresh(t), takes(s))
	for _, alg := range tokentest.Algorithms {
		raw := s.Token(t, alg, s.Claims("ann", nil))
		a, err := g.AdmitToken(t.Context(), raw)
		if err != nil || a.Claims["sub"] != "ann" || a.State != events.Fresh {
			t.Fatalf("%s: %+v, %v", alg, a, err)
		}
		f.RevokeToken(t, raw)
		bustest.Eventually(t, "the token is refused", func() bool {
			_, err := g.AdmitToken(t.Context(), raw)
			return errors.Is(err, subscriber.ErrRevoked)
		})
	}
}

// swapped is a with b's signature.
func swapped(a, b string) string {
	return a[:strings.LastIndexByte(a, '.')] + b[strings.LastIndexByte(b, '.'):]
}

func TestJWTRefuses(t *testing.T) {
	f, s := guardtest.Start(t), newIssuer(t)
	agent := f.Fresh(t)
	g := newJWTGuard(t, agent, takes(s))
	now := time.Now()
	ed := func(others map[string]any) string { return s.Token(t, "EdDSA", s.Claims("ann", others)) }
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims(s.Claims("ann", nil))).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	hmac, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims(s.Claims("ann", nil))).SignedString([]byte("anybody's"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw  string
		want error // nil is accepted
	}{
		"good":                         {ed(nil), nil},
		"the other issuer":             {ed(map[string]any{"iss": "https://other.example.com"}), nil},
		"the other audience":           {ed(map[string]any{"aud": []string{"mail", "bills"}}), nil},
		"issued by a clock ahead":      {ed(map[string]any{"iat": now.Add(30 * time.Second).Unix()}), nil},
		"expired within the leeway":    {ed(map[string]any{"exp": now.Add(-30 * time.Second).Unix()}), nil},
		"nobody's issuer":              {ed(map[string]any{"iss": "https://evil.example.com"}), guard.ErrInvalidToken},
		"no issuer":                    {ed(map[string]any{"iss": nil}), guard.ErrInvalidToken},
		"another service's":            {ed(map[string]any{"aud": "mail"}), guard.ErrInvalidToken},
		"no audience":                  {ed(map[string]any{"aud": nil}), guard.ErrInvalidToken},
		"no end":                       {ed(map[string]any{"exp": nil}), guard.ErrInvalidToken},
		"expired":                      {ed(map[string]any{"exp": now.Add(-time.Hour).Unix()}), jwt.ErrTokenExpired},
		"issued in the future":         {ed(map[string]any{"iat": now.Add(10 * time.Minute).Unix(), "exp": now.Add(time.Hour).Unix()}), guard.ErrInvalidToken},
		"not yet valid":                {ed(map[string]any{"nbf": now.Add(10 * time.Minute).Unix()}), guard.ErrInvalidToken},
		"unsigned":                     {none, guard.ErrInvalidToken},
		"an algorithm that is not his": {hmac, guard.ErrInvalidToken},
		"another token's signature":    {swapped(ed(nil), ed(nil)), guard.ErrInvalidToken},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := g.AdmitToken(t.Context(), c.raw); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	t.Run("keys away", func(t *testing.T) {
		away := takes(s)
		away.Keys = func(*jwt.Token) (any, error) { return nil, fmt.Errorf("fetching keys: %w", guard.ErrUnavailable) }
		_, err := newJWTGuard(t, agent, away).AdmitToken(t.Context(), ed(nil))
		if got := guard.RefusalOf(err).Status; got != 503 {
			t.Errorf("%d for %v", got, err)
		}
	})
	t.Run("a method that is not allowed, by a key that is there", func(t *testing.T) {
		one := takes(s)
		one.Methods = []string{"RS256"}
		g := newJWTGuard(t, agent, one)
		for alg, ok := range map[string]bool{"RS256": true, "ES256": false} {
			if _, err := g.AdmitToken(t.Context(), s.Token(t, alg, s.Claims("ann", nil))); (err == nil) != ok {
				t.Errorf("%s: %v", alg, err)
			}
		}
	})
	t.Run("another form of a signature, without a guard", func(t *testing.T) {
		verify, err := takes(s).Verify()
		if err != nil {
			t.Fatal(err)
		}
		raw := ed(nil)
		if _, err := verify(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
		if _, err := verify(t.Context(), tokentest.Variants(t, "EdDSA", raw)["spare bits"]); err == nil {
			t.Error("accepted")
		}
	})
}

func TestJWTThatLetsAnybodyInIsRefused(t *testing.T) {
	for name, change := range map[string]func(*guard.JWT){
		"no keys":           func(c *guard.JWT) { c.Keys = nil },
		"no methods":        func(c *guard.JWT) { c.Methods = nil },
		"none":              func(c *guard.JWT) { c.Methods = []string{"RS256", "none"} },
		"an unknown method": func(c *guard.JWT) { c.Methods = []string{"RS257"} },
		"no issuers":        func(c *guard.JWT) { c.Issuers = nil },
		"an empty issuer":   func(c *guard.JWT) { c.Issuers = []string{"a", ""} },
		"no audiences":      func(c *guard.JWT) { c.Audiences = nil },
		"an empty audience": func(c *guard.JWT) { c.Audiences = []string{""} },
		"negative leeway":   func(c *guard.JWT) { c.Leeway = -1 },
	} {
		c := guard.JWT{Keys: func(*jwt.Token) (any, error) { return nil, errors.New("no") }, Methods: []string{"RS256"},
			Issuers: []string{"a"}, Audiences: []string{"b"}}
		change(&c)
		if v, err := c.Verify(); err == nil || v != nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The claims that a struct would have taken for others' are not mistaken.
func TestJWTReadsClaimsByTheirExactNames(t *testing.T) {
	f, s := guardtest.Start(t), newIssuer(t)
	g := newJWTGuard(t, f.Fresh(t), takes(s))
	future := time.Now().Add(200 * 24 * time.Hour).Unix()
	raw := s.Token(t, "ES256", s.Claims("ann", map[string]any{"Sub": "evil", "ſub": "evil", "IAT": future, "JTI": "other"}))
	a, err := g.AdmitToken(t.Context(), raw)
	if err != nil || a.Claims["sub"] != "ann" {
		t.Fatalf("%+v, %v", a, err)
	}
	f.Revoke(t, events.Target{Kind: events.KindUser, Issuers: []string{"https://idp.example.com"}, Claim: "sub", Value: "ann"})
	bustest.Eventually(t, "the token is refused", func() bool {
		_, err := g.AdmitToken(context.Background(), raw)
		return errors.Is(err, subscriber.ErrRevoked)
	})
}
