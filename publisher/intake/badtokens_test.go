package intake_test

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/internal/realm"
)

// badTokens are JWTs that nobody vouches for, or that are not what they are shown as.
func (g *rig) badTokens(t *testing.T) map[string]string {
	t.Helper()
	claims := func(changes ...any) jwt.MapClaims {
		now := time.Now().Unix()
		return changed(jwt.MapClaims{"iss": demoIssuer, "sub": "jack", "jti": "bad", "aud": "api", "iat": now, "exp": now + 60}, changes)
	}
	live := g.token(t, realm.TokenRequest{User: "jack"})
	parts := strings.Split(live, ".")
	encode := base64.RawURLEncoding.EncodeToString
	return map[string]string{
		"alg none":              encode([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + ".",
		"alg none, a signature": encode([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + "." + parts[2],
		"badly signed":          parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"another's signature":   parts[0] + "." + encode([]byte(`{"iss":"`+demoIssuer+`","sub":"jill","exp":9999999999}`)) + "." + parts[2],
		"typ of a logout token": g.statement(t, "demo", "logout+jwt", claims()),
		"typ of an event":       g.statement(t, "demo", "secevent+jwt", claims()),
		"typ of a proof":        g.statement(t, "demo", "client-authentication+jwt", claims()),
		"unknown realm":         g.statement(t, "demo", "at+jwt", claims("iss", "https://nobody.example")),
		"no issuer":             g.statement(t, "demo", "at+jwt", claims("iss", nil)),
	}
}

// A token that is to be revoked must be one, whichever door it is shown at.
func TestOnlyTokensAreRevoked(t *testing.T) {
	g := newRig(t)
	expired := g.token(t, realm.TokenRequest{User: "jack", TTL: -time.Hour})
	bad := g.badTokens(t)
	before := g.published(t)
	for name, raw := range bad {
		auth := "Authorization: " + admin
		if r := g.send(t, http.MethodPost, "/v1/revocations", `{"token":"`+raw+`"}`, jsonType, auth); r.status != 422 || !strings.Contains(r.body, "#/token") {
			t.Errorf("native, %s: %d %s", name, r.status, r.body)
		}
		if r := g.send(t, http.MethodPost, "/v1/revocations", `{"token":"`+raw+`"}`+"\n", "Content-Type: application/x-ndjson", auth); r.status != 422 || !strings.Contains(r.body, "#/0") {
			t.Errorf("native, lines, %s: %d %s", name, r.status, r.body)
		}
		for _, member := range []string{"token", "refresh_token"} {
			r := g.send(t, http.MethodDelete, "/_security/oauth2/token", `{"`+member+`":"`+raw+`"}`, jsonType, auth)
			if r.status != 404 || r.body != `{"invalidated_tokens":0,"previously_invalidated_tokens":0,"error_count":0}` {
				t.Errorf("elasticsearch, %s, %s: %d %s", member, name, r.status, r.body)
			}
		}
		if r := g.post(t, revokePath, []string{"token", raw}, auth); r.status != 200 || r.body != "" {
			t.Errorf("oauth, %s: %d %s", name, r.status, r.body)
		}
		if r := g.signOut(t, lusidPaths[0], "Bearer "+raw); r.status != 401 || !strings.Contains(r.body, `"name":"InvalidToken"`) {
			t.Errorf("lusid, %s: %d %s", name, r.status, r.body)
		}
	}
	if r := g.send(t, http.MethodPost, "/v1/revocations", `{"token":"`+expired+`"}`, jsonType, "Authorization: "+admin); r.status != 422 {
		t.Errorf("native, expired: %d %s", r.status, r.body)
	}
	if n := g.published(t) - before; n != 0 {
		t.Errorf("%d events were published", n)
	}
}

// Nor is a caller known by one, for any request.
func TestOnlyTokensAuthenticate(t *testing.T) {
	g := newRig(t)
	bad := g.badTokens(t)
	bad["expired"] = g.token(t, realm.TokenRequest{User: "jack", TTL: -time.Hour})
	before := g.published(t)
	for name, raw := range bad {
		auth := "Authorization: Bearer " + raw
		for _, r := range []reply{
			g.send(t, http.MethodPost, "/v1/revocations", `{"user":"jill"}`, jsonType, auth),
			g.send(t, http.MethodGet, "/v1/revocations", "", auth),
			g.send(t, http.MethodDelete, "/v1/revocations/01a212eb-26e7-7df6-8914-32746d56da19", "", auth),
			g.send(t, http.MethodDelete, "/_security/oauth2/token", `{"username":"jill"}`, jsonType, auth),
			g.signOut(t, lusidPaths[0], "Bearer "+raw),
			g.post(t, revokePath, []string{"token", "x"}, auth),
		} {
			if r.status != 401 || r.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %d %s", name, r.status, r.body)
			}
		}
	}
	if n := g.published(t) - before; n != 0 {
		t.Errorf("%d events were published", n)
	}
}

// A token that is meant for another audience has no scopes here, and signs itself out.
func TestScopesAreForTheirAudience(t *testing.T) {
	g := newRig(t, demoWith(func(c *realm.Config) { c.BearerAudience = []string{"rescind", issuer} }))
	ask := func(aud any) (int, int) {
		raw := g.statement(t, "demo", "at+jwt", changed(jwt.MapClaims{"iss": demoIssuer, "sub": "jack", "jti": rand.Text(), "scope": "rescind:all",
			"iat": time.Now().Unix(), "exp": time.Now().Unix() + 60}, []any{"aud", aud}))
		r := g.send(t, http.MethodPost, "/v1/revocations?wait=none", `{"session":"x","realm":"demo"}`, jsonType, "Authorization: Bearer "+raw)
		return r.status, g.signOut(t, lusidPaths[0], "Bearer "+raw).status
	}
	for _, c := range []struct {
		aud    any
		status int
	}{{"rescind", 201}, {[]string{"api", issuer}, 201}, {"api", 403}, {[]string{"api", "rescind2"}, 403}, {nil, 403}, {1, 403}} {
		if status, signOut := ask(c.aud); status != c.status || signOut != 204 {
			t.Errorf("aud %v: %d, and signs out with %d", c.aud, status, signOut)
		}
	}
}

// A bearer without the scope may do nothing but sign itself out.
func TestBearersNeedTheScope(t *testing.T) {
	g := newRig(t)
	before := g.published(t)
	for _, scope := range []string{"", "openid profile", "rescind", "rescind:users", "RESCIND:ALL"} {
		auth := "Authorization: Bearer " + g.token(t, realm.TokenRequest{User: "jack", Scope: scope})
		for _, r := range []reply{
			g.send(t, http.MethodPost, "/v1/revocations", `{"user":"jill","realm":"demo"}`, jsonType, auth),
			g.send(t, http.MethodPost, "/v1/revocations", `{"realm":"demo"}`, jsonType, auth),
			g.send(t, http.MethodPost, "/v1/revocations", `{"all":true}`, jsonType, auth),
			g.send(t, http.MethodDelete, "/_security/oauth2/token", `{"username":"jill"}`, jsonType, auth),
			g.send(t, http.MethodDelete, "/_security/oauth2/token", `{"realm_name":"demo"}`, jsonType, auth),
		} {
			if r.status != 403 {
				t.Errorf("%q: %d %s", scope, r.status, r.body)
			}
		}
	}
	if n := g.published(t) - before; n != 0 {
		t.Errorf("%d events were published", n)
	}
}
