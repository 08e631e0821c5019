package guard_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
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

// signer signs tokens of an issuer that golang-jwt verifies.
type signer struct {
	private map[jwt.SigningMethod]any
	public  map[string]any // by algorithm
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{map[jwt.SigningMethod]any{jwt.SigningMethodEdDSA: ed, jwt.SigningMethodES256: ec, jwt.SigningMethodRS256: rs},
		map[string]any{"EdDSA": edPublic, "ES256": ec.Public(), "RS256": rs.Public()}}
}

func (s *signer) keys(t *jwt.Token) (any, error) { return s.public[t.Method.Alg()], nil }

// claims are those of a good token, with others in their place or, by nil, left out.
func claims(other jwt.MapClaims) jwt.MapClaims {
	now := time.Now().Add(-10 * time.Second).Unix()
	c := jwt.MapClaims{"iss": "https://idp.example.com", "aud": "orders", "sub": "ann", "jti": fmt.Sprint(time.Now().UnixNano()),
		"iat": now, "exp": now + 300}
	for name, v := range other {
		if c[name] = v; v == nil {
			delete(c, name)
		}
	}
	return c
}

func (s *signer) token(t *testing.T, m jwt.SigningMethod, c jwt.MapClaims) string {
	t.Helper()
	raw, err := jwt.NewWithClaims(m, c).SignedString(s.private[m])
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (s *signer) config() guard.JWT {
	return guard.JWT{Keys: s.keys, Methods: []string{"EdDSA", "ES256", "RS256"}, Issuers: []string{"https://idp.example.com", "https://other.example.com"},
		Audiences: []string{"orders", "bills"}}
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
	f, s := guardtest.Start(t), newSigner(t)
	g := newJWTGuard(t, f.Fresh(t), s.config())
	for m := range s.private {
		raw := s.token(t, m, claims(nil))
		a, err := g.AdmitToken(t.Context(), raw)
		if err != nil || a.Claims["sub"] != "ann" || a.State != events.Fresh {
			t.Fatalf("%s: %+v, %v", m.Alg(), a, err)
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
	f, s := guardtest.Start(t), newSigner(t)
	agent := f.Fresh(t)
	g := newJWTGuard(t, agent, s.config())
	now := time.Now()
	ed := func(other jwt.MapClaims) string { return s.token(t, jwt.SigningMethodEdDSA, claims(other)) }
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, claims(nil)).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	hmac, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims(nil)).SignedString([]byte("anybody's"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw  string
		want error // nil is accepted
	}{
		"good":                         {ed(nil), nil},
		"the other issuer":             {ed(jwt.MapClaims{"iss": "https://other.example.com"}), nil},
		"the other audience":           {ed(jwt.MapClaims{"aud": []string{"mail", "bills"}}), nil},
		"issued by a clock ahead":      {ed(jwt.MapClaims{"iat": now.Add(30 * time.Second).Unix()}), nil},
		"expired within the leeway":    {ed(jwt.MapClaims{"exp": now.Add(-30 * time.Second).Unix()}), nil},
		"nobody's issuer":              {ed(jwt.MapClaims{"iss": "https://evil.example.com"}), guard.ErrInvalidToken},
		"no issuer":                    {ed(jwt.MapClaims{"iss": nil}), guard.ErrInvalidToken},
		"another service's":            {ed(jwt.MapClaims{"aud": "mail"}), guard.ErrInvalidToken},
		"no audience":                  {ed(jwt.MapClaims{"aud": nil}), guard.ErrInvalidToken},
		"no end":                       {ed(jwt.MapClaims{"exp": nil}), guard.ErrInvalidToken},
		"expired":                      {ed(jwt.MapClaims{"exp": now.Add(-time.Hour).Unix()}), jwt.ErrTokenExpired},
		"issued in the future":         {ed(jwt.MapClaims{"iat": now.Add(10 * time.Minute).Unix(), "exp": now.Add(time.Hour).Unix()}), guard.ErrInvalidToken},
		"not yet valid":                {ed(jwt.MapClaims{"nbf": now.Add(10 * time.Minute).Unix()}), guard.ErrInvalidToken},
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
		away := s.config()
		away.Keys = func(*jwt.Token) (any, error) { return nil, fmt.Errorf("fetching keys: %w", guard.ErrUnavailable) }
		_, err := newJWTGuard(t, agent, away).AdmitToken(t.Context(), ed(nil))
		if got := guard.RefusalOf(err).Status; got != 503 {
			t.Errorf("%d for %v", got, err)
		}
	})
	t.Run("a method that is not allowed, by a key that is there", func(t *testing.T) {
		one := s.config()
		one.Methods = []string{"RS256"}
		g := newJWTGuard(t, agent, one)
		for m, ok := range map[jwt.SigningMethod]bool{jwt.SigningMethodRS256: true, jwt.SigningMethodES256: false} {
			if _, err := g.AdmitToken(t.Context(), s.token(t, m, claims(nil))); (err == nil) != ok {
				t.Errorf("%s: %v", m.Alg(), err)
			}
		}
	})
	t.Run("another form of a signature, without a guard", func(t *testing.T) {
		verify, err := s.config().Verify()
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
	t.Run("an option", func(t *testing.T) {
		later := s.config()
		later.Options = []jwt.ParserOption{jwt.WithTimeFunc(func() time.Time { return now.Add(time.Hour) })}
		if _, err := newJWTGuard(t, agent, later).AdmitToken(t.Context(), ed(nil)); !errors.Is(err, jwt.ErrTokenExpired) {
			t.Error(err)
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
	f, s := guardtest.Start(t), newSigner(t)
	g := newJWTGuard(t, f.Fresh(t), s.config())
	future := time.Now().Add(200 * 24 * time.Hour).Unix()
	raw := s.token(t, jwt.SigningMethodES256, claims(jwt.MapClaims{"Sub": "evil", "ſub": "evil", "IAT": future, "JTI": "other"}))
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
