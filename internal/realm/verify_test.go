package realm_test

import (
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

func TestGoodTokensOfEveryAlgorithmAreAccepted(t *testing.T) {
	r := rsaKey()
	keys := []signingKey{
		edKey("ed"),
		ecKey("p256", elliptic.P256(), jwt.SigningMethodES256),
		ecKey("p384", elliptic.P384(), jwt.SigningMethodES384),
		ecKey("p521", elliptic.P521(), jwt.SigningMethodES512),
		r,
		{"rsa", jwt.SigningMethodRS384, r.private}, {"rsa", jwt.SigningMethodRS512, r.private},
		{"rsa", jwt.SigningMethodPS256, r.private}, {"rsa", jwt.SigningMethodPS384, r.private},
		{"rsa", jwt.SigningMethodPS512, r.private},
	}
	s := newSetup(t, keys[0], keys[1], keys[2], keys[3], keys[4])
	for _, k := range keys {
		t.Run(k.method.Alg(), func(t *testing.T) {
			v, err := s.Verify(t.Context(), k.sign(t, s.clock.claims("sid", "s-1")))
			if err != nil {
				t.Fatal(err)
			}
			got := []string{v.Realm.Name, v.User(), v.Session(), v.Token.JTI}
			if diff := cmp.Diff([]string{"main", "jack", "s-1", "id-1"}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTimesAreHeldToTheRealmsBounds(t *testing.T) {
	k := edKey("k")
	s := newSetup(t, k)
	now := s.clock.Now().Unix()
	day, month := int64(24*3600), int64(720*3600)
	for _, tc := range []struct {
		name    string
		changes []any
		access  error
		refresh error
	}{
		{"good", nil, nil, nil},
		{"expired within leeway", []any{"iat", now - 99, "exp", now - 59}, nil, nil},
		{"expired at leeway", []any{"iat", now - 99, "exp", now - 60}, realm.ErrExpired, realm.ErrExpired},
		{"expired long ago and too long-lived", []any{"iat", 1, "exp", now - 999}, realm.ErrExpired, realm.ErrExpired},
		{"no exp", []any{"exp", nil}, realm.ErrNoExpiry, realm.ErrNoExpiry},
		{"exp 0", []any{"exp", 0}, realm.ErrNoExpiry, realm.ErrNoExpiry},
		{"nbf within leeway", []any{"nbf", now + 60}, nil, nil},
		{"nbf beyond leeway", []any{"nbf", now + 61}, realm.ErrNotYetValid, realm.ErrNotYetValid},
		{"nbf beyond all numbers", []any{"nbf", 1e300}, events.ErrMalformedToken, events.ErrMalformedToken},
		{"nbf a string", []any{"nbf", "1"}, events.ErrMalformedToken, events.ErrMalformedToken},
		{"iat within leeway", []any{"iat", now + 60}, nil, nil},
		{"iat beyond leeway", []any{"iat", now + 61}, realm.ErrNotYetValid, realm.ErrNotYetValid},
		{"longest life", []any{"exp", now + day}, nil, nil},
		{"longest life of a clock ahead", []any{"iat", now + 5, "exp", now + 5 + day}, nil, nil},
		{"too long a life", []any{"exp", now + day + 1}, realm.ErrUnrevocable, nil},
		{"too long a life near its end", []any{"iat", now - 2*day, "exp", now + 10}, realm.ErrUnrevocable, nil},
		{"no iat", []any{"iat", nil, "exp", now + day}, nil, nil},
		{"no iat and too long a life", []any{"iat", nil, "exp", now + day + 1}, realm.ErrUnrevocable, nil},
		{"longest session", []any{"exp", now + month}, realm.ErrUnrevocable, nil},
		{"too long a session", []any{"exp", now + month + 1}, realm.ErrUnrevocable, realm.ErrUnrevocable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw := k.sign(t, s.clock.claims(tc.changes...))
			if _, err := s.Verify(t.Context(), raw); !errors.Is(err, tc.access) {
				t.Errorf("Verify = %v, want %v", err, tc.access)
			}
			if _, err := s.VerifyRefresh(t.Context(), raw); !errors.Is(err, tc.refresh) {
				t.Errorf("VerifyRefresh = %v, want %v", err, tc.refresh)
			}
		})
	}
}

func TestUnrevocableSaysWhichBound(t *testing.T) {
	k := edKey("k")
	s := newSetup(t, k)
	raw := k.sign(t, s.clock.claims("exp", s.clock.Now().Add(9999*time.Hour).Unix()))
	_, err := s.Verify(t.Context(), raw)
	if err == nil || !strings.Contains(err.Error(), "longer than the max_token of realm main") {
		t.Errorf("Verify = %v", err)
	}
	_, err = s.VerifyRefresh(t.Context(), raw)
	if err == nil || !strings.Contains(err.Error(), "longer than the max_session of realm main") {
		t.Errorf("VerifyRefresh = %v", err)
	}
}

func TestVerifySignatureReportsExpiryAndRefusesNoTimes(t *testing.T) {
	k := edKey("k")
	s := newSetup(t, k)
	now := s.clock.Now().Unix()
	for _, tc := range []struct {
		name    string
		changes []any
		expired bool
	}{
		{"live", nil, false},
		{"within leeway", []any{"exp", now - 59}, false},
		{"expired", []any{"exp", now - 60}, true},
		{"no exp", []any{"exp", nil}, false},
		{"not yet valid", []any{"nbf", now + 999, "iat", now + 999, "exp", now + 9999}, false},
		{"too long-lived", []any{"exp", now + 1<<40}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := s.VerifySignature(t.Context(), k.sign(t, s.clock.claims(tc.changes...)))
			if err != nil {
				t.Fatal(err)
			}
			if v.Expired != tc.expired {
				t.Errorf("Expired = %v, want %v", v.Expired, tc.expired)
			}
		})
	}
	forged := edKey("k").sign(t, s.clock.claims())
	if _, err := s.VerifySignature(t.Context(), forged); !errors.Is(err, realm.ErrSignature) {
		t.Errorf("forged: %v, want %v", err, realm.ErrSignature)
	}
}

func TestForgedAndConfusedTokensAreRefused(t *testing.T) {
	ec := ecKey("ec", elliptic.P256(), jwt.SigningMethodES256)
	ed := edKey("ed")
	pinned := rsaKey().named("pinned")
	s := newSetup(t, rsaKey(), ec, ed, pinned.with("alg", "RS256"))
	spki, err := x509.MarshalPKIXPublicKey(rsaKey().private.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
	good := s.clock.claims()
	head, rest, _ := strings.Cut(ed.sign(t, good), ".")
	_, sig, _ := strings.Cut(rest, ".")
	other := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"` + iss + `","sub":"root","exp":9999999999}`))
	p384 := ecKey("ec", elliptic.P384(), jwt.SigningMethodES384)

	for _, tc := range []struct {
		name, raw string
		want      error
	}{
		{"HS256 with the RSA public key in PEM", rsaKey().signAs(t, jwt.SigningMethodHS256, publicPEM, good), realm.ErrSignature},
		{"HS256 with the RSA public key in DER", rsaKey().signAs(t, jwt.SigningMethodHS256, spki, good), realm.ErrSignature},
		{"HS256 with the RSA modulus", rsaKey().signAs(t, jwt.SigningMethodHS256, rsaKey().private.Public().(*rsa.PublicKey).N.Bytes(), good), realm.ErrSignature},
		{"none", rsaKey().signAs(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good), events.ErrMalformedToken},
		{"an algorithm that is not known", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"XX"}`)) + "." + other + "." + sig, realm.ErrSignature},
		{"another key of the same kid", edKey("ed").sign(t, good), realm.ErrSignature},
		{"the kid of a key of another type", ed.named("ec").sign(t, good), realm.ErrSignature},
		{"another curve under the key's kid", p384.sign(t, good), realm.ErrSignature},
		{"an algorithm that the JWK excludes", pinned.signAs(t, jwt.SigningMethodPS256, pinned.private, good), realm.ErrSignature},
		{"another payload", head + "." + other + "." + sig, realm.ErrSignature},
		{"no signature", head + "." + rest[:strings.Index(rest, ".")+1], realm.ErrSignature},
		{"unknown issuer", ed.sign(t, s.clock.claims("iss", iss+"/")), realm.ErrUnknownIssuer},
		{"no issuer", ed.sign(t, s.clock.claims("iss", nil)), realm.ErrUnknownIssuer},
		{"unknown key", ed.named("new").sign(t, good), realm.ErrUnknownKey},
		{"no kid among several keys that fit", rsaKey().named("").sign(t, good), realm.ErrUnknownKey},
		{"not a JWT", "opaque", events.ErrMalformedToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := s.Verify(t.Context(), tc.raw)
			if v != nil || !errors.Is(err, tc.want) {
				t.Fatalf("Verify = %v, %v, want %v", v, err, tc.want)
			}
			for _, part := range strings.Split(tc.raw, ".") {
				if part != "" && strings.Contains(err.Error(), part) {
					t.Errorf("the error holds a part of the token")
				}
			}
		})
	}
	if _, err := s.Verify(t.Context(), pinned.sign(t, good)); err != nil {
		t.Errorf("the algorithm that the JWK names: %v", err)
	}
}

func TestKidThatIsNotAStringIsMalformed(t *testing.T) {
	k := edKey("k")
	s := newSetup(t, k)
	for _, kid := range []any{5, "", nil, []string{"k"}} {
		tok := jwt.NewWithClaims(k.method, s.clock.claims())
		tok.Header["kid"] = kid
		raw, err := tok.SignedString(k.private)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Verify(t.Context(), raw); !errors.Is(err, events.ErrMalformedToken) {
			t.Errorf("kid %v: %v, want %v", kid, err, events.ErrMalformedToken)
		}
	}
}

func TestTokenWithoutKidNeedsASingleKey(t *testing.T) {
	k := edKey("")
	s := newSetup(t, k, rsaKey())
	if _, err := s.Verify(t.Context(), k.sign(t, s.clock.claims())); err != nil {
		t.Error(err)
	}
}

func TestKeysWithTheSameKidAreAllTried(t *testing.T) {
	a, b := edKey("k"), edKey("k")
	s := newSetup(t, a, b)
	for _, k := range []signingKey{a, b} {
		if _, err := s.Verify(t.Context(), k.sign(t, s.clock.claims())); err != nil {
			t.Error(err)
		}
	}
}

func TestARealmsKeySignsForItsOwnIssuersOnly(t *testing.T) {
	p, c := newIDP(t), newClock()
	a, b := edKey("k"), edKey("k")
	p.serve("/a", jwks(a))
	p.serve("/b", jwks(b))
	r := mustNew(t, map[string]realm.Config{
		"a": {Issuers: []string{"https://a.example.com"}, JWKS: p.URL + "/a"},
		"b": {Issuers: []string{"https://b.example.com"}, JWKS: p.URL + "/b"},
	}, c)
	if _, err := r.Verify(t.Context(), a.sign(t, c.claims("iss", "https://b.example.com"))); !errors.Is(err, realm.ErrSignature) {
		t.Errorf("a's key for b's issuer: %v, want %v", err, realm.ErrSignature)
	}
	v, err := r.Verify(t.Context(), b.sign(t, c.claims("iss", "https://b.example.com")))
	if err != nil || v.Realm.Name != "b" {
		t.Errorf("b's key for b's issuer: %v, %v", v, err)
	}
}

func TestClaimsAreReadUnderTheirExactNames(t *testing.T) {
	k := edKey("k")
	s := newSetup(t, k)
	body := `{"iss":"` + iss + `","ISS":"https://evil.example.com","sub":"jack","Sub":"root","jti":"a","JTI":"b",` +
		`"iat":1795302000,"IAT":1,"exp":1795305600,"EXP":1,"ſub":"x"}`
	v, err := s.Verify(t.Context(), k.signJSON(t, body))
	if err != nil {
		t.Fatal(err)
	}
	got := []any{v.User(), v.Claims["iss"], v.Token.JTI, v.Token.IssuedAt, v.Token.Expires}
	want := []any{"jack", iss, "a", int64(1795302000), int64(1795305600)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := s.Verify(t.Context(), k.signJSON(t, `{"ISS":"`+iss+`","exp":1795305600}`)); !errors.Is(err, realm.ErrUnknownIssuer) {
		t.Errorf("an issuer in capitals: %v, want %v", err, realm.ErrUnknownIssuer)
	}
	double := `{"iss":"` + iss + `","sub":"a","sub":"b","exp":1795305600}`
	if _, err := s.Verify(t.Context(), k.signJSON(t, double)); !errors.Is(err, events.ErrMalformedToken) {
		t.Errorf("a claim twice: %v, want %v", err, events.ErrMalformedToken)
	}
}

// The token of RFC 7515 appendix A.3 with its signature rewritten in the ways
// that leave it valid for a lax reader.
func TestRewrittenSignatureIsTheSameTokenOrRefused(t *testing.T) {
	const (
		signed = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
		sig    = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
		set    = `{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`
	)
	p, c := newIDP(t), newClock()
	p.serve("/keys", set)
	r := mustNew(t, map[string]realm.Config{"rfc": {Issuers: []string{"joe"}, JWKS: p.URL + "/keys"}}, c)
	first, err := r.VerifySignature(t.Context(), signed+"."+sig)
	if err != nil || !first.Expired {
		t.Fatalf("the RFC's token: %v, %v", first, err)
	}
	second, err := r.VerifySignature(t.Context(), signed+"."+"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmU69fgrc8OPGycO0lD3tat_FoFp57SETepkeks4eL_QfA")
	if err != nil {
		t.Fatalf("n-s: %v", err)
	}
	if first.Token.Identity != second.Token.Identity {
		t.Error("n-s gives the token another identity")
	}
	for name, rewritten := range map[string]string{
		"trailing bits": sig[:len(sig)-1] + "R",
		"line break":    sig[:43] + "\n" + sig[43:],
		"padding":       sig + "==",
		"blank":         sig + " ",
	} {
		if _, err := r.VerifySignature(t.Context(), signed+"."+rewritten); !errors.Is(err, events.ErrMalformedToken) {
			t.Errorf("%s: %v, want %v", name, err, events.ErrMalformedToken)
		}
	}
}
