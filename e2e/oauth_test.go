package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"testing"
)

// openidClient is what node/client.mjs is told.
type openidClient struct {
	Issuer   string         `json:"issuer"`
	ClientID string         `json:"client_id"`
	Secret   string         `json:"secret,omitempty"`
	Method   string         `json:"method"`
	JWK      map[string]any `json:"jwk,omitempty"`
	Options  map[string]any `json:"options,omitempty"`
	Steps    []openidStep   `json:"steps"`
}

type openidStep struct {
	Call       string         `json:"call"`
	Token      string         `json:"token"`
	Parameters map[string]any `json:"parameters,omitempty"`
}

type openidResult struct {
	Value  map[string]any
	Error  string
	Code   string
	Status int
	OAuth  string
	// Schemes are those of the challenges.
	Schemes []string
}

func (c *openidClient) run(t *testing.T, steps ...openidStep) []openidResult {
	t.Helper()
	c.Steps = steps
	var results []openidResult
	node(t, "client.mjs", c, &results)
	if len(results) != len(steps) {
		t.Fatalf("%d results of %d steps", len(results), len(steps))
	}
	return results
}

// newClient makes a client as a user would, and gives its secret. Its lines go into
// the configuration.
func newClient(t *testing.T, id string) (secret, lines string) {
	t.Helper()
	var made struct {
		Secret string
		SHA256 string `json:"secret_sha256"`
	}
	if err := json.Unmarshal([]byte(rescind(t, "clients", "new", id, "--realm", "demo", "--json")), &made); err != nil {
		t.Fatal(err)
	}
	return made.Secret, fmt.Sprintf("  - {id: %q, realm: demo, secret_sha256: %s}\n", id, made.SHA256)
}

// newJWK makes a key and its two halves as JWKs.
func newJWK(t *testing.T) (private, public map[string]any) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	private, public = map[string]any{"d": b64(scalar)}, map[string]any{}
	for _, jwk := range []map[string]any{private, public} {
		jwk["kty"], jwk["crv"], jwk["kid"], jwk["alg"] = "EC", "P-256", "1", "ES256"
		jwk["x"], jwk["y"] = b64(point[1:33]), b64(point[33:])
	}
	return private, public
}

// TestOpenIDClientRevokesAndIntrospects: the library as its users have it, against a
// running publisher, by each way of authentication.
func TestOpenIDClientRevokesAndIntrospects(t *testing.T) {
	const id = "web app:1%"
	secret, lines := newClient(t, id)
	private, public := newJWK(t)
	f := newFleet(t)
	set, err := json.Marshal(map[string]any{"keys": []any{public}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path("svc.jwks"), set, 0o600); err != nil {
		t.Fatal(err)
	}
	f.configure("oauth_clients:\n" + lines + "  - {id: spa, realm: demo, public: true}\n  - {id: svc, realm: demo, jwks: svc.jwks}\n")
	f.start("a", "b")
	for _, c := range []openidClient{
		{ClientID: id, Secret: secret, Method: "default"},
		{ClientID: id, Secret: secret, Method: "client_secret_post", Options: map[string]any{"algorithm": "oauth2"}},
		{ClientID: id, Secret: secret, Method: "client_secret_basic"},
		{ClientID: "svc", JWK: private, Method: "private_key_jwt"},
		{ClientID: "spa", Method: "none"},
		{ClientID: "admin", Secret: f.adminKey, Method: "client_secret_basic"},
	} {
		t.Run(c.ClientID+" "+c.Method, func(t *testing.T) {
			c.Issuer = f.pubURL
			raw := f.token("--user", "jack", "--client", c.ClientID, "--scope", "read")
			introspect, revoke := openidStep{Call: "tokenIntrospection", Token: raw}, openidStep{Call: "tokenRevocation", Token: raw}
			results := c.run(t, introspect, revoke, revoke, introspect,
				openidStep{Call: "tokenRevocation", Token: "garbage", Parameters: map[string]any{"token_type_hint": "refresh_token"}})
			if c.Method == "none" {
				if r := results[0]; r.Error != "ResponseBodyError" || r.OAuth != "unauthorized_client" || r.Status != 400 {
					t.Errorf("introspection by a public client: %+v", r)
				}
				results = append(results[1:3], results[4])
			} else {
				if v := results[0].Value; v["active"] != true || v["client_id"] != c.ClientID || v["sub"] != "jack" || v["scope"] != "read" {
					t.Errorf("before: %+v", results[0])
				}
				if v := results[3].Value; v["active"] != false || len(v) != 1 {
					t.Errorf("after: %+v", results[3])
				}
				results = append(results[1:3], results[4])
			}
			for i, r := range results {
				if r.Error != "" {
					t.Errorf("revocation %d: %+v", i, r)
				}
			}
			for name, a := range f.agents {
				if status := a.check(raw); status != 401 {
					t.Errorf("agent %s answers %d to the revoked token", name, status)
				}
			}
		})
	}
	foreign := openidStep{Call: "tokenRevocation", Token: f.token("--user", "jack", "--client", "spa")}
	for name, tc := range map[string]struct {
		client openidClient
		want   openidResult
	}{
		"a wrong secret in the form": {openidClient{ClientID: id, Secret: "x", Method: "client_secret_post"},
			openidResult{Error: "ResponseBodyError", Code: "OAUTH_RESPONSE_BODY_ERROR", Status: 400, OAuth: "invalid_client"}},
		"a wrong secret by Basic": {openidClient{ClientID: id, Secret: "x", Method: "client_secret_basic"},
			openidResult{Error: "WWWAuthenticateChallengeError", Code: "OAUTH_WWW_AUTHENTICATE_CHALLENGE", Status: 401, Schemes: []string{"basic"}}},
		"another client's token": {openidClient{ClientID: id, Secret: secret, Method: "client_secret_basic"},
			openidResult{Error: "ResponseBodyError", Code: "OAUTH_RESPONSE_BODY_ERROR", Status: 400, OAuth: "invalid_grant"}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.client.Issuer = f.pubURL
			if got := tc.client.run(t, foreign)[0]; fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
	for name, a := range f.agents {
		if status := a.check(foreign.Token); status != 200 {
			t.Errorf("agent %s answers %d to a token that nobody revoked", name, status)
		}
	}
}
