package intake_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher/intake"
)

const (
	globalPath = "/global-token-revocation"
	globalType = "global-token-revocation+jwt"
	jsonType   = "Content-Type: application/json"
)

// oktaClaims are those of Okta's JWT, but for what changes say; nil leaves one out.
func oktaClaims(changes ...any) jwt.MapClaims {
	now := time.Now()
	c := jwt.MapClaims{"jti": rand.Text(), "iss": demoIssuer, "sub": "shop", "aud": issuer + globalPath,
		"exp": now.Add(5 * time.Minute).Unix(), "nbf": now.Add(-5 * time.Minute).Unix(), "iat": now.Unix()}
	return changed(c, changes)
}

func (g *rig) okta(t *testing.T, changes ...any) string {
	t.Helper()
	return "Authorization: Bearer " + g.statement(t, "demo", globalType, oktaClaims(changes...))
}

func subID(members ...string) string {
	m := map[string]string{}
	for i := 0; i < len(members); i += 2 {
		m[members[i]] = members[i+1]
	}
	b, err := json.Marshal(map[string]any{"sub_id": m})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// withEmail is a token of demo that carries an address.
func (g *rig) withEmail(t *testing.T, user, email string) string {
	t.Helper()
	now := time.Now()
	return g.statement(t, "demo", "at+jwt", jwt.MapClaims{"iss": demoIssuer, "sub": user, "jti": rand.Text(), "email": email,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix()})
}

func TestGlobalRevocationSignsUsersOut(t *testing.T) {
	g := newRig(t, demoWith(func(c *realm.Config) { c.EmailClaim, c.LogoutClients = "email", []string{"shop"} }))
	for i, tc := range []struct{ name, body, auth string }{
		{"iss_sub", subID("format", "iss_sub", "iss", demoIssuer, "sub", "USER"), g.okta(t)},
		{"opaque", subID("format", "opaque", "id", "USER"), g.okta(t)},
		{"email", subID("format", "email", "email", "USER@Example.com"), g.okta(t)},
		{"email in lower case", subID("format", "email", "email", "USER@example.com"), g.okta(t)},
		{"subject, of former drafts", strings.Replace(subID("format", "opaque", "id", "USER"), "sub_id", "subject", 1), g.okta(t)},
		{"subject_type", subID("subject_type", "iss-sub", "iss", demoIssuer, "sub", "USER"), g.okta(t)},
		{"the admin", subID("format", "iss_sub", "iss", demoIssuer, "sub", "USER"), "Authorization: " + admin},
		{"an API key", subID("format", "opaque", "id", "USER"), "Authorization: Bearer " + g.bound},
		{"a bearer with the scope", subID("format", "opaque", "id", "USER"), "Authorization: Bearer " + g.token(t, realm.TokenRequest{User: "boss", Scope: "rescind:user"})},
	} {
		user := fmt.Sprintf("user%d", i)
		raw, other := g.withEmail(t, user, user+"@example.com"), g.withEmail(t, "other", "other@example.com")
		r := g.send(t, http.MethodPost, globalPath, strings.ReplaceAll(tc.body, "USER", user), tc.auth, jsonType)
		r.want(t, 204, "")
		if !g.refused(t, raw) || g.refused(t, other) {
			t.Errorf("%s: refused: the user's %v, another's %v", tc.name, g.refused(t, raw), g.refused(t, other))
		}
	}
	var m map[string]any
	must(t, json.Unmarshal([]byte(g.send(t, http.MethodGet, "/.well-known/oauth-authorization-server", "").body), &m))
	if m["global_token_revocation_endpoint"] != issuer+globalPath {
		t.Errorf("metadata: %v", m)
	}
}

func TestGlobalRevocationIsBehindASwitch(t *testing.T) {
	g := newRig(t)
	s, err := intake.New(intake.Config{Publisher: g.pub, Authenticator: g.auth, Realms: g.realms})
	must(t, err)
	g.serveAt(t, s)
	r := g.send(t, http.MethodPost, globalPath, subID("format", "opaque", "id", "jack"), "Authorization: Bearer "+g.bound, jsonType)
	if r.status != 404 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := g.send(t, http.MethodGet, "/.well-known/oauth-authorization-server", ""); strings.Contains(r.body, "global") {
		t.Error(r.body)
	}
}

func TestGlobalRevocationRefusesCallers(t *testing.T) {
	const sibling = "https://sibling.rescind.test"
	g := newRig(t, demoWith(func(c *realm.Config) { c.LogoutClients, c.Issuers = []string{"shop"}, append(c.Issuers, sibling) }))
	live := g.token(t, realm.TokenRequest{User: "jack"})
	body := subID("format", "iss_sub", "iss", demoIssuer, "sub", "jack")
	shown := g.okta(t)
	g.send(t, http.MethodPost, globalPath, subID("format", "opaque", "id", "nobody"), shown, jsonType).want(t, 204, "")
	now := time.Now()
	b64 := base64.RawURLEncoding.EncodeToString
	unsigned := b64([]byte(`{"alg":"none","typ":"`+globalType+`"}`)) + "." + b64([]byte(`{"iss":"`+demoIssuer+`","sub":"shop","jti":"x"}`)) + "."
	good := g.okta(t)
	before := g.published(t)
	for name, tc := range map[string]struct {
		auth   string
		status int
	}{
		"none":               {"X: y", 401},
		"badly signed":       {good[:strings.LastIndexByte(good, '.')] + "." + strings.Repeat("A", 86), 401},
		"unsigned":           {"Authorization: Bearer " + unsigned, 401},
		"shown before":       {shown, 401},
		"another client's":   {g.okta(t, "sub", "other"), 401},
		"no client":          {g.okta(t, "sub", nil), 401},
		"wrong audience":     {g.okta(t, "aud", issuer), 401},
		"two audiences":      {g.okta(t, "aud", []string{issuer + globalPath, "https://other.example"}), 401},
		"unknown realm":      {g.okta(t, "iss", "https://nobody.example"), 401},
		"another realm's":    {g.okta(t, "iss", "https://partner.rescind.test"), 401},
		"no jti":             {g.okta(t, "jti", nil), 401},
		"no exp":             {g.okta(t, "exp", nil), 401},
		"no iat":             {g.okta(t, "iat", nil), 401},
		"expired":            {g.okta(t, "exp", now.Add(-2*time.Minute).Unix()), 401},
		"of tomorrow":        {g.okta(t, "nbf", now.Add(time.Hour).Unix()), 401},
		"for too long":       {g.okta(t, "exp", now.Add(24*time.Hour).Unix()), 401},
		"a logout token":     {"Authorization: Bearer " + g.logoutToken(t), 401},
		"a user":             {"Authorization: Bearer " + live, 403},
		"scope for tokens":   {"Authorization: Bearer " + g.token(t, realm.TokenRequest{User: "boss", Scope: "rescind:token"}), 403},
		"another realm user": {"Authorization: Bearer " + g.token(t, realm.TokenRequest{User: "boss", Scope: "rescind:user", Realm: "partner"}), 403},
	} {
		r := g.send(t, http.MethodPost, globalPath, body, tc.auth, jsonType)
		if r.status != tc.status || !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: got %d %s %q, want %d", name, r.status, r.body, r.header.Get("WWW-Authenticate"), tc.status)
		}
	}
	// An issuer has no say in another's users.
	for _, iss := range []string{"https://partner.rescind.test", sibling} {
		r := g.send(t, http.MethodPost, globalPath, subID("format", "iss_sub", "iss", iss, "sub", "jack"), good, jsonType)
		if r.status != 403 {
			t.Errorf("a user of %s: %d %s", iss, r.status, r.body)
		}
	}
	if g.refused(t, live) || g.published(t) != before {
		t.Errorf("the live token is refused: %v; events: %d, before %d", g.refused(t, live), g.published(t), before)
	}
}

func TestGlobalRevocationRefusesRequests(t *testing.T) {
	g := newRig(t)
	good := subID("format", "opaque", "id", "jack")
	before := g.published(t)
	for name, tc := range map[string]struct {
		method, body, contentType string
		status                    int
	}{
		"method":            {http.MethodGet, "", jsonType, 405},
		"form":              {http.MethodPost, "sub_id=x", formType, 415},
		"no type":           {http.MethodPost, good, "X: y", 415},
		"oversized":         {http.MethodPost, good + strings.Repeat(" ", 64<<10), jsonType, 413},
		"no JSON":           {http.MethodPost, "{", jsonType, 400},
		"repeated":          {http.MethodPost, `{"sub_id":{"format":"opaque","id":"a"},"sub_id":{"format":"opaque","id":"b"}}`, jsonType, 400},
		"repeated within":   {http.MethodPost, `{"sub_id":{"format":"opaque","id":"a","id":"b"}}`, jsonType, 400},
		"nobody":            {http.MethodPost, `{}`, jsonType, 400},
		"no format":         {http.MethodPost, subID("id", "jack"), jsonType, 400},
		"unknown format":    {http.MethodPost, subID("format", "nickname", "id", "jack"), jsonType, 400},
		"other format":      {http.MethodPost, subID("format", "phone_number", "phone_number", "+1"), jsonType, 400},
		"complex":           {http.MethodPost, `{"sub_id":{"format":"complex","user":{"format":"opaque","id":"jack"}}}`, jsonType, 400},
		"no sub":            {http.MethodPost, subID("format", "iss_sub", "iss", demoIssuer), jsonType, 400},
		"empty id":          {http.MethodPost, subID("format", "opaque", "id", ""), jsonType, 400},
		"another member":    {http.MethodPost, subID("format", "opaque", "id", "jack", "iss", "x"), jsonType, 400},
		"no string":         {http.MethodPost, `{"sub_id":"jack"}`, jsonType, 400},
		"no addresses here": {http.MethodPost, subID("format", "email", "email", "jack@example.com"), jsonType, 422},
		"unknown issuer":    {http.MethodPost, subID("format", "iss_sub", "iss", "https://nobody.example", "sub", "jack"), jsonType, 422},
	} {
		r := g.send(t, tc.method, globalPath, tc.body, "Authorization: Bearer "+g.bound, tc.contentType)
		if r.status != tc.status || r.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: got %d %s, want %d", name, r.status, r.body, tc.status)
		}
	}
	// Of several realms nothing tells which one is meant.
	if r := g.send(t, http.MethodPost, globalPath, good, "Authorization: "+admin, jsonType); r.status != 422 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if n := g.published(t); n != before {
		t.Errorf("%d events were published", n-before)
	}
}

func TestGlobalRevocationThatWaitsForTheBusMayBeRepeated(t *testing.T) {
	g := newRig(t)
	auth, body := g.okta(t), subID("format", "opaque", "id", "jack")
	raw := g.token(t, realm.TokenRequest{User: "jack"})
	g.nats.Stop(t)
	if r := g.send(t, http.MethodPost, globalPath, body, auth, jsonType); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", r.status, r.body)
	}
	g.nats.Start(t)
	eventually(t, func() bool { return g.refused(t, raw) })
	g.send(t, http.MethodPost, globalPath, body, auth, jsonType).want(t, 204, "")
}
