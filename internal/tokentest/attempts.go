package tokentest

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// Attempt is a request that no door may let pass.
type Attempt struct {
	Name string
	// Authorization are the lines of that header. They can all be sent by HTTP.
	Authorization []string
	// Query and Form are beside it, where the door has them.
	Query, Form string
	// Token is the one that is shown, where it is one, for doors without headers.
	Token string
}

func bearer(name, raw string) Attempt {
	return Attempt{Name: name, Authorization: []string{"Bearer " + raw}, Token: raw}
}

// Never are attempts that nobody may succeed with, whatever was revoked.
func (i *Issuer) Never(t testing.TB) []Attempt {
	t.Helper()
	good := func() string { return i.Token(t, "ES256", i.Claims("ann", nil)) }
	signed := func(name string, header, claims map[string]any) Attempt {
		return bearer(name, i.sign(t, "ES256", header, encode(t, i.Claims("ann", claims))))
	}
	one, other := good(), good()
	out := []Attempt{
		{Name: "no token"},
		{Name: "a token in the query", Query: "access_token=" + one},
		{Name: "a token in a form", Form: "access_token=" + one},
		{Name: "an empty header", Authorization: []string{""}},
		{Name: "a token in the query, an empty header", Authorization: []string{""}, Query: "access_token=" + one},
		{Name: "no scheme", Authorization: []string{one}},
		{Name: "another scheme", Authorization: []string{"Token " + one}},
		{Name: "two blanks", Authorization: []string{"Bearer  " + one}},
		{Name: "two tokens", Authorization: []string{"Bearer " + one + " " + other}},
		{Name: "doubled", Authorization: []string{"Bearer " + one, "Bearer " + one}},
		{Name: "doubled, two tokens", Authorization: []string{"Bearer " + one, "Bearer " + other}},
		{Name: "doubled, one is Basic", Authorization: []string{"Basic YTpi", "Bearer " + one}},
		{Name: "joined", Authorization: []string{"Bearer " + one + ",Bearer " + other}},
		{Name: "joined by a blank", Authorization: []string{"Bearer " + one + ", Bearer " + other}},
		bearer("opaque", "abc"),
		bearer("no signature", one[:strings.LastIndexByte(one, '.')+1]),
		bearer("two parts", one[:strings.LastIndexByte(one, '.')]),
		bearer("four parts", one+"."),
		bearer("padded", one+"="),
		bearer("another token's signature", one[:strings.LastIndexByte(one, '.')]+other[strings.LastIndexByte(other, '.'):]),
		signed("typ of a SET", map[string]any{"typ": "secevent+jwt"}, nil),
		signed("typ of a SET, in capitals", map[string]any{"typ": "SECEVENT+JWT"}, nil),
		signed("typ of a SET, in full", map[string]any{"typ": "application/secevent+jwt"}, nil),
		signed("typ of a logout token", map[string]any{"typ": "logout+jwt"}, nil),
		signed("a logout token without its typ", nil, map[string]any{"sid": "s1",
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}),
		signed("over 16 KiB", nil, map[string]any{"x": strings.Repeat("x", 12<<10)}),
		signed("an unknown crit", map[string]any{"crit": []string{"x"}, "x": 1}, nil),
		signed("an unencoded payload", map[string]any{"crit": []string{"b64"}, "b64": false}, nil),
		signed("sid is a number", nil, map[string]any{"sid": 5}),
		signed("sub is a list", nil, map[string]any{"sub": []string{"ann"}}),
		signed("iat is text", nil, map[string]any{"iat": "1700000000"}),
		signed("iat is below zero", nil, map[string]any{"iat": -1}),
		signed("iat is too large", nil, map[string]any{"iat": 1e300}),
		signed("issued in the future", nil, map[string]any{"iat": time.Now().Add(time.Hour).Unix(), "exp": time.Now().Add(2 * time.Hour).Unix()}),
		signed("expired", nil, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
		signed("nobody's issuer", nil, map[string]any{"iss": "https://nobody.example.com"}),
		bearer("a claim twice", i.sign(t, "ES256", nil, bytes.Replace(encode(t, i.Claims("ann", map[string]any{"jti": "a"})), []byte(`"jti":"a"`), []byte(`"jti":"a","jti":"b"`), 1))),
		bearer("signed by a key of its own", NewIssuer(t, i.Name).Token(t, "ES256", i.Claims("ann", nil))),
		bearer("a key in its header", i.withOwnKey(t)),
		bearer("HS256 by the public key", i.confused(t)),
	}
	for _, alg := range []string{"none", "None", "NONE", ""} {
		unsigned := segment(encode(t, map[string]any{"alg": alg, "typ": "at+jwt"})) + "." + segment(encode(t, i.Claims("ann", nil))) + "."
		out = append(out, bearer(fmt.Sprintf("alg %q", alg), unsigned),
			bearer(fmt.Sprintf("alg %q with a signature", alg), unsigned+one[strings.LastIndexByte(one, '.')+1:]))
	}
	return out
}

// withOwnKey is signed by a key that it brings along.
func (i *Issuer) withOwnKey(t testing.TB) string {
	own := NewIssuer(t, i.Name)
	key, err := json.Marshal(jose.JSONWebKey{Key: own.keys["ES256"].Public(), KeyID: "ES256"})
	must(t, err)
	return own.sign(t, "ES256", map[string]any{"jwk": json.RawMessage(key)}, encode(t, own.Claims("ann", nil)))
}

// confused is signed by HMAC with what everybody knows: the public RSA key.
func (i *Issuer) confused(t testing.TB) string {
	der, err := x509.MarshalPKIXPublicKey(i.keys["RS256"].Public())
	must(t, err)
	tok := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims(i.Claims("ann", nil)))
	tok.Header["kid"] = "RS256"
	raw, err := tok.SignedString(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	must(t, err)
	return raw
}

// Escapes are tokens by which somebody might go on after a revocation.
type Escapes struct {
	// Users are of User, plainly and under claims that look like another's. They are good
	// before the user is revoked.
	User  string
	Users []Attempt
	// Raws are tokens, good before they are revoked; Tokens are their other forms.
	Raws, Tokens []Attempt
}

// Escapes makes them.
func (i *Issuer) Escapes(t testing.TB, user string) *Escapes {
	t.Helper()
	future := time.Now().Add(1000 * time.Hour).Unix()
	of := func(name string, claims map[string]any) Attempt {
		return bearer("of the user, "+name, i.Token(t, "RS256", i.Claims(user, claims)))
	}
	e := &Escapes{User: user, Users: []Attempt{
		of("plainly", nil),
		of("and SUB another's", map[string]any{"SUB": "ann", "Sub": "ann", "sUb": "ann"}),
		of("and ſub another's", map[string]any{"ſub": "ann"}),
		of("and IAT in the future", map[string]any{"IAT": future, "Iat": future, "AUTH_TIME": future}),
		of("and ISS another's", map[string]any{"ISS": "https://nobody.example.com"}),
	}}
	for alg := range i.keys {
		raw := i.Token(t, alg, i.Claims("ann", map[string]any{"JTI": "another's"}))
		e.Raws = append(e.Raws, bearer(alg, raw))
		for name, v := range Variants(t, alg, raw) {
			// A line break cannot be in a header, and blanks around are trimmed there.
			if name != "line break" && name != "blank" {
				e.Tokens = append(e.Tokens, bearer(alg+", "+name, v))
			}
		}
	}
	return e
}
