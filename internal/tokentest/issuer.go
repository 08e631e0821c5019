// Package tokentest makes tokens for the tests of doors: genuine ones with any header and
// claims, and all that no door may take.
package tokentest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// Issuer signs tokens in three algorithms. It is safe for concurrent use.
type Issuer struct {
	// Name is the iss of its tokens.
	Name string
	keys map[string]crypto.Signer // by algorithm
}

// NewIssuer makes an issuer with keys of its own.
func NewIssuer(t testing.TB, name string) *Issuer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	return &Issuer{name, map[string]crypto.Signer{"EdDSA": ed, "ES256": ec, "RS256": rs}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// WriteJWKS writes the public keys to a file.
func (i *Issuer) WriteJWKS(t testing.TB, path string) {
	t.Helper()
	var set jose.JSONWebKeySet
	for alg, key := range i.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: alg, Algorithm: alg, Use: "sig"})
	}
	b, err := json.Marshal(set)
	must(t, err)
	must(t, os.WriteFile(path, b, 0o600))
}

// Key finds keys as golang-jwt asks for them.
func (i *Issuer) Key(t *jwt.Token) (any, error) {
	if key, ok := i.keys[t.Method.Alg()]; ok {
		return key.Public(), nil
	}
	return nil, jwt.ErrInvalidKeyType
}

// Audience is whom the issuer's tokens are for.
const Audience = "orders"

// Claims are those of a good token of the user, issued ten seconds ago, so that every
// cutoff from now on hits it; others are put in their place, or beside, and nil takes one
// away.
func (i *Issuer) Claims(user string, others map[string]any) map[string]any {
	issued := time.Now().Add(-10 * time.Second).Unix()
	c := map[string]any{"iss": i.Name, "aud": Audience, "sub": user, "jti": rand.Text(), "iat": issued, "exp": issued + 3600}
	maps.Copy(c, others)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// Token signs claims by an algorithm.
func (i *Issuer) Token(t testing.TB, alg string, claims map[string]any) string {
	t.Helper()
	return i.sign(t, alg, map[string]any{"typ": "at+jwt"}, encode(t, claims))
}

// sign signs a payload. header is beside alg and kid, or in their place.
func (i *Issuer) sign(t testing.TB, alg string, header map[string]any, payload []byte) string {
	t.Helper()
	h := map[string]any{"alg": alg, "kid": alg}
	maps.Copy(h, header)
	signed := segment(encode(t, h)) + "." + segment(payload)
	signature, err := jwt.GetSigningMethod(alg).Sign(signed, i.keys[alg])
	must(t, err)
	return signed + "." + segment(signature)
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return b
}

func segment(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
