package intake_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

const (
	revokePath     = "/oauth2/revoke"
	introspectPath = "/oauth2/introspect"
	formType       = "Content-Type: application/x-www-form-urlencoded"
	assertionType  = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// post sends a form of names and values.
func (g *rig) post(t *testing.T, path string, form []string, headers ...string) reply {
	t.Helper()
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Add(form[i], form[i+1])
	}
	return g.send(t, http.MethodPost, path, values.Encode(), append(headers, formType)...)
}

func basic(name, secret string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+secret))
}

// oauthBasic is Basic as RFC 6749 section 2.3.1 has it.
func oauthBasic(name, secret string) string {
	return basic(url.QueryEscape(name), url.QueryEscape(secret))
}

func TestClientsRevokeTheirTokensByEachWay(t *testing.T) {
	g := newRig(t)
	for _, tc := range []struct {
		name, client string
		form         []string
		headers      []string
	}{
		{"client_secret_basic", "web:1 app", nil, []string{oauthBasic("web:1 app", secret)}},
		{"client_secret_basic and client_id", "web:1 app", []string{"client_id", "web:1 app"}, []string{oauthBasic("web:1 app", secret)}},
		{"client_secret_post", "web:1 app", []string{"client_id", "web:1 app", "client_secret", secret}, nil},
		{"private_key_jwt", "svc", []string{"client_assertion_type", assertionType, "client_assertion", g.svc.assertion(t, nil)}, nil},
		{"private_key_jwt and client_id", "svc", []string{"client_id", "svc", "client_assertion_type", assertionType, "client_assertion",
			g.svc.assertion(t, func(h map[string]any, c jwt.MapClaims) {
				h["typ"], c["aud"] = "client-authentication+jwt", []string{"x", issuer + revokePath}
			})}, nil},
		{"none", "spa", []string{"client_id", "spa", "client_secret", ""}, nil},
		{"the admin", "web:1 app", nil, []string{"Authorization: " + admin}},
		{"the admin by Basic", "web:1 app", nil, []string{basic("admin", adminKey)}},
		{"the admin by the form", "web:1 app", []string{"client_id", "admin", "client_secret", adminKey}, nil},
		{"an API key", "spa", nil, []string{"Authorization: Bearer " + g.bound}},
		{"a user", "spa", nil, []string{oauthBasic("alice", password)}},
		{"a user, not encoded", "spa", nil, []string{basic("alice", password)}},
		{"a bearer of the realm", "spa", nil, []string{"Authorization: Bearer " + g.token(t, realm.TokenRequest{User: "boss", Scope: "rescind:token"})}},
	} {
		raw := g.token(t, realm.TokenRequest{User: "jack", Client: tc.client})
		form := append(tc.form, "token", raw, "token_type_hint", "nonsense")
		r := g.post(t, revokePath, form, tc.headers...)
		r.want(t, 200, "")
		if r.header.Get("Cache-Control") != "no-store" || r.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: headers %v", tc.name, r.header)
		}
		if !g.refused(t, raw) {
			t.Errorf("%s: the token is not revoked", tc.name)
		}
	}
}

// A client that does not encode its credentials is known too, whatever its secret
// would be if it had.
func TestClientSecretsAreTakenAsTheyAre(t *testing.T) {
	g := newRig(t)
	for _, header := range []string{basic("other", otherSecret), oauthBasic("other", otherSecret)} {
		raw := g.token(t, realm.TokenRequest{User: "jack", Client: "other", Realm: "partner"})
		g.post(t, revokePath, []string{"token", raw}, header).want(t, 200, "")
		if !g.refused(t, raw) {
			t.Error("the token is not revoked")
		}
	}
}

func TestBearerRevokesItsOwnToken(t *testing.T) {
	g := newRig(t)
	own := g.token(t, realm.TokenRequest{User: "jack"})
	g.post(t, revokePath, []string{"token", own}, "Authorization: Bearer "+own).want(t, 200, "")
	if !g.refused(t, own) {
		t.Error("the token is not revoked")
	}
}

// What cannot be verified is answered as revoked, and nothing is done: a forged token
// with somebody's jti must not revoke the one that it imitates.
func TestRevokingWhatNobodyVouchesForDoesNothing(t *testing.T) {
	g := newRig(t)
	live := g.token(t, realm.TokenRequest{User: "jack", Client: "spa"})
	signed := live[:strings.LastIndexByte(live, '.')]
	before := g.published(t)
	for name, raw := range map[string]string{
		"garbage":        "garbage",
		"dots":           "a.b.c",
		"badly signed":   signed + "." + strings.Repeat("A", 86),
		"alg none":       base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + signed[strings.IndexByte(signed, '.'):] + ".",
		"unknown issuer": newDoor(t).token(t, realm.TokenRequest{User: "jack", Now: time.Now()}),
		"expired":        g.token(t, realm.TokenRequest{User: "jack", Client: "spa", TTL: -2 * time.Minute}),
		"a logout token": g.statement(t, "demo", "logout+jwt", jwt.MapClaims{"iss": "https://demo.rescind.test", "jti": "j", "azp": "spa"}),
		"line break":     live[:20] + "\r\n" + live[20:],
		"too long":       live + strings.Repeat("A", events.MaxTokenBytes),
	} {
		for _, hint := range []string{"access_token", "refresh_token"} {
			r := g.post(t, revokePath, []string{"token", raw, "token_type_hint", hint, "client_id", "spa"})
			if r.status != 200 || r.body != "" {
				t.Errorf("%s as %s: %d %s", name, hint, r.status, r.body)
			}
		}
	}
	if g.refused(t, live) || g.published(t) != before {
		t.Errorf("the live token is refused: %v; events: %d, before %d", g.refused(t, live), g.published(t), before)
	}
	if strings.Contains(g.log.String(), live[:40]) {
		t.Error("a token is in the log")
	}
}

func TestOpaqueRefreshTokensAreRevokedAsTheRealmSays(t *testing.T) {
	g := newRig(t, func(c map[string]realm.Config) {
		demo := c["demo"]
		demo.OpaqueRefresh = realm.OpaqueAccept
		c["demo"] = demo
	})
	a := g.join(t, "web-1", false)
	g.post(t, revokePath, []string{"token", "opaque-1", "client_id", "spa"}).want(t, 200, "")
	if tok, _ := events.OpaqueToken("opaque-1"); !g.pub.Revoked(tok) {
		t.Error("a token of a realm that accepts all is not revoked")
	}
	// One that was observed in another realm is not this client's.
	a.set(func() {
		a.answer = func(*events.Query) events.Answer {
			return events.Answer{Refresh: &events.RefreshToken{Realm: "partner", User: "ann", Expires: time.Now().Add(time.Hour).Unix()}}
		}
	})
	r := g.post(t, revokePath, []string{"token", "opaque-2", "client_id", "spa"})
	if r.status != 400 || !strings.HasPrefix(r.body, `{"error":"invalid_grant"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if tok, _ := events.OpaqueToken("opaque-2"); g.pub.Revoked(tok) {
		t.Error("a client of one realm has revoked a token of another")
	}
}

// oauthFailures are bad requests that both endpoints answer alike.
func (g *rig) oauthFailures(t *testing.T) []oauthFailure {
	raw := g.token(t, realm.TokenRequest{User: "jack", Client: "web:1 app"})
	web := oauthBasic("web:1 app", secret)
	used := g.svc.assertion(t, nil)
	assertion := func(change func(map[string]any, jwt.MapClaims)) []string {
		return []string{"token", raw, "client_assertion_type", assertionType, "client_assertion", g.svc.assertion(t, change)}
	}
	claim := func(name string, value any) []string {
		return assertion(func(_ map[string]any, c jwt.MapClaims) {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		})
	}
	typ := func(typ string) []string {
		return assertion(func(h map[string]any, _ jwt.MapClaims) { h["typ"] = typ })
	}
	b64 := base64.RawURLEncoding.EncodeToString
	unsigned := b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{"iss":"svc","sub":"svc","aud":"`+issuer+`","jti":"x","exp":9999999999}`)) + "."
	another := newClientKey(t).assertion(t, nil)
	basicChallenge, none := `Basic realm="rescind", charset="UTF-8"`, ""
	return []oauthFailure{
		{"no token", []string{"client_id", "web:1 app"}, []string{web}, 400, "invalid_request", none},
		{"an empty token", []string{"token", ""}, []string{web}, 400, "invalid_request", none},
		{"a token in the query", nil, []string{web, "query: token=" + raw}, 400, "invalid_request", none},
		{"two tokens", []string{"token", raw, "token", raw}, []string{web}, 400, "invalid_request", none},
		{"two hints", []string{"token", raw, "token_type_hint", "a", "token_type_hint", "b"}, []string{web}, 400, "invalid_request", none},
		{"two ways: header and secret", []string{"token", raw, "client_id", "web:1 app", "client_secret", secret}, []string{web}, 400, "invalid_request", none},
		{"two ways: secret and assertion", append(assertion(nil), "client_id", "svc", "client_secret", "x"), nil, 400, "invalid_request", none},
		{"two ways: header and assertion", assertion(nil), []string{web}, 400, "invalid_request", none},
		{"another client_id", []string{"token", raw, "client_id", "spa"}, []string{web}, 400, "invalid_request", none},
		{"no credentials", []string{"token", raw}, nil, 401, "invalid_client", basicChallenge},
		{"a wrong secret by Basic", []string{"token", raw}, []string{oauthBasic("web:1 app", "x")}, 401, "invalid_client", basicChallenge},
		{"an unknown client by Basic", []string{"token", raw}, []string{basic("nobody", "x")}, 401, "invalid_client", basicChallenge},
		{"Basic that is not base64", []string{"token", raw}, []string{"Authorization: Basic ###"}, 401, "invalid_client", basicChallenge},
		{"two Authorization headers", []string{"token", raw}, []string{web, web}, 401, "invalid_client", basicChallenge},
		{"a wrong secret in the form", []string{"token", raw, "client_id", "web:1 app", "client_secret", "x"}, nil, 400, "invalid_client", none},
		{"a public client with a secret", []string{"token", raw, "client_id", "spa", "client_secret", "x"}, nil, 400, "invalid_client", none},
		{"a confidential client without", []string{"token", raw, "client_id", "web:1 app"}, nil, 400, "invalid_client", none},
		{"a client of assertions with a secret", []string{"token", raw, "client_id", "svc", "client_secret", secret}, nil, 400, "invalid_client", none},
		{"an unknown bearer", []string{"token", raw}, []string{"Authorization: Bearer nobody"}, 401, "invalid_token",
			`Bearer realm="rescind", error="invalid_token", error_description="unknown key"`},
		{"a key for another kind", []string{"token", raw}, []string{"Authorization: Bearer " + g.users}, 403, "insufficient_scope",
			`Bearer realm="rescind", error="insufficient_scope"`},
		{"a key for another kind by Basic", []string{"token", raw}, []string{basic("users", g.users)}, 400, "unauthorized_client", none},
		{"no assertion type", []string{"token", raw, "client_assertion", used}, nil, 400, "invalid_request", none},
		{"another assertion type", []string{"token", raw, "client_assertion", used, "client_assertion_type", "saml"}, nil, 400, "invalid_request", none},
		{"an assertion that is no JWT", []string{"token", raw, "client_assertion_type", assertionType, "client_assertion", "x"}, nil, 400, "invalid_client", none},
		{"an unsigned assertion", []string{"token", raw, "client_assertion_type", assertionType, "client_assertion", unsigned}, nil, 400, "invalid_client", none},
		{"an assertion by another key", []string{"token", raw, "client_assertion_type", assertionType, "client_assertion", another}, nil, 400, "invalid_client", none},
		{"an assertion of another client", claim("sub", "web:1 app"), nil, 400, "invalid_client", none},
		{"an assertion with another iss", claim("iss", "web:1 app"), nil, 400, "invalid_client", none},
		{"an assertion beside another client_id", append(assertion(nil), "client_id", "spa"), nil, 400, "invalid_client", none},
		{"an assertion for another", claim("aud", "https://other.example"), nil, 400, "invalid_client", none},
		{"an assertion for nobody", claim("aud", nil), nil, 400, "invalid_client", none},
		{"an assertion without exp", claim("exp", nil), nil, 400, "invalid_client", none},
		{"an expired assertion", claim("exp", time.Now().Add(-2*time.Minute).Unix()), nil, 400, "invalid_client", none},
		{"an assertion for too long", claim("exp", time.Now().Add(2*time.Hour).Unix()), nil, 400, "invalid_client", none},
		{"an assertion of tomorrow", claim("nbf", time.Now().Add(24*time.Hour).Unix()), nil, 400, "invalid_client", none},
		{"an assertion without jti", claim("jti", nil), nil, 400, "invalid_client", none},
		{"a logout token for an assertion", typ("logout+jwt"), nil, 400, "invalid_client", none},
		{"an access token for an assertion", typ("at+jwt"), nil, 400, "invalid_client", none},
	}
}

type oauthFailure struct {
	name      string
	form      []string
	headers   []string
	status    int
	code      string
	challenge string
}

func TestOAuthFailuresHaveTheFormOfRFC6749(t *testing.T) {
	g := newRig(t)
	failures := g.oauthFailures(t)
	before := g.published(t)
	for _, path := range []string{revokePath, introspectPath} {
		for _, f := range failures {
			t.Run(path+" "+f.name, func(t *testing.T) {
				to, headers := path, []string(nil)
				for _, h := range f.headers {
					if query, ok := strings.CutPrefix(h, "query: "); ok {
						to += "?" + query
						continue
					}
					headers = append(headers, h)
				}
				checkOAuthError(t, g.post(t, to, f.form, headers...), f.status, f.code, f.challenge)
			})
		}
		web := oauthBasic("web:1 app", secret)
		for name, r := range map[string]struct {
			status int
			reply
		}{
			"a wrong method": {405, g.send(t, http.MethodGet, path+"?token=x", "", web)},
			"JSON":           {400, g.send(t, http.MethodPost, path, `{"token":"x"}`, web, "Content-Type: application/json")},
			"no type":        {400, g.send(t, http.MethodPost, path, "token=x", web)},
			"two types":      {400, g.send(t, http.MethodPost, path, "token=x", web, formType, formType)},
			"no form":        {400, g.send(t, http.MethodPost, path, "token=%zz", web, formType)},
			"semicolons":     {400, g.send(t, http.MethodPost, path, "token=a;token=b", web, formType)},
			"a long body":    {413, g.send(t, http.MethodPost, path, "token="+strings.Repeat("x", 64<<10), web, formType)},
			"gzip":           {400, g.send(t, http.MethodPost, path, "token=x", web, formType, "Content-Encoding: gzip")},
		} {
			t.Run(path+" "+name, func(t *testing.T) { checkOAuthError(t, r.reply, r.status, "invalid_request", "") })
		}
		if r := g.send(t, http.MethodGet, path, ""); !strings.Contains(r.header.Get("Allow"), http.MethodPost) {
			t.Errorf("Allow: %q", r.header.Get("Allow"))
		}
	}
	if n := g.published(t); n != before {
		t.Errorf("%d events were published", n-before)
	}
}

func checkOAuthError(t *testing.T, r reply, status int, code, challenge string) {
	t.Helper()
	var body map[string]string
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	if r.status != status || body["error"] != code || r.header.Get("WWW-Authenticate") != challenge {
		t.Errorf("got %d %s, WWW-Authenticate %q; want %d %s, %q", r.status, r.body, r.header.Get("WWW-Authenticate"), status, code, challenge)
	}
	if r.header.Get("Content-Type") != "application/json;charset=UTF-8" || r.header.Get("Cache-Control") != "no-store" || r.header.Get("Pragma") != "no-cache" {
		t.Errorf("headers %v", r.header)
	}
	if strings.ContainsAny(body["error_description"], "\"\\") || body["error_description"] == "" {
		t.Errorf("error_description %q", body["error_description"])
	}
}

func TestAssertionsAreShownOnce(t *testing.T) {
	g := newRig(t)
	form := []string{"token", "x", "client_assertion_type", assertionType, "client_assertion", g.svc.assertion(t, nil)}
	g.post(t, revokePath, form).want(t, 200, "")
	for _, path := range []string{revokePath, introspectPath} {
		checkOAuthError(t, g.post(t, path, form), 400, "invalid_client", "")
	}
}

// Issuers name a token's client by different claims: it is the client's by each, and
// goes when the client is revoked.
func TestClientsAreKnownByWhatTheirIssuerCallsThem(t *testing.T) {
	g := newRig(t)
	others := map[string]string{}
	for _, claim := range []string{"client_id", "azp", "cid", "appid"} {
		one := func() string {
			return g.statement(t, "demo", "at+jwt", jwt.MapClaims{"iss": "https://demo.rescind.test", "jti": rand.Text(), claim: "web:1 app",
				"iat": time.Now().Unix() - 10, "exp": time.Now().Add(time.Minute).Unix()})
		}
		own, other := one(), one()
		g.post(t, revokePath, []string{"token", own}, oauthBasic("web:1 app", secret)).want(t, 200, "")
		if !g.refused(t, own) || g.refused(t, other) {
			t.Errorf("%s: its own is refused: %v, another: %v", claim, g.refused(t, own), g.refused(t, other))
		}
		others[claim] = other
	}
	if r := g.send(t, http.MethodPost, "/v1/revocations", `{"client":"web:1 app","realm":"demo"}`, jsonType, "Authorization: "+admin); r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for claim, raw := range others {
		if !g.refused(t, raw) {
			t.Errorf("%s: the client's token is not refused when the client is revoked", claim)
		}
	}
}

func TestClientsHaveNoSayInOthersTokens(t *testing.T) {
	g := newRig(t)
	web := oauthBasic("web:1 app", secret)
	for name, raw := range map[string]string{
		"another client's":      g.token(t, realm.TokenRequest{User: "jack", Client: "spa"}),
		"another realm's":       g.token(t, realm.TokenRequest{User: "jack", Client: "web:1 app", Realm: "partner"}),
		"nobody's":              g.token(t, realm.TokenRequest{User: "jack"}),
		"client_id and not azp": g.statement(t, "demo", "at+jwt", jwt.MapClaims{"iss": "https://demo.rescind.test", "jti": "j", "client_id": "spa", "azp": "web:1 app", "exp": time.Now().Add(time.Minute).Unix()}),
	} {
		checkOAuthError(t, g.post(t, revokePath, []string{"token", raw}, web), 400, "invalid_grant", "")
		if g.refused(t, raw) {
			t.Errorf("%s token was revoked", name)
		}
		g.post(t, introspectPath, []string{"token", raw}, web).want(t, 200, `{"active":false}`+"\n")
	}
	// A bearer without a scope has no say but in its own.
	raw := g.token(t, realm.TokenRequest{User: "jack"})
	jill := "Authorization: Bearer " + g.token(t, realm.TokenRequest{User: "jill"})
	r := g.post(t, revokePath, []string{"token", raw}, jill)
	checkOAuthError(t, r, 403, "insufficient_scope", `Bearer realm="rescind", error="insufficient_scope"`)
	g.post(t, introspectPath, []string{"token", raw}, jill).want(t, 200, `{"active":false}`+"\n")
	if g.refused(t, raw) {
		t.Error("a bearer has revoked another's token")
	}
	// Nor has a public client in anything.
	checkOAuthError(t, g.post(t, introspectPath, []string{"token", raw, "client_id", "spa"}), 400, "unauthorized_client", "")
}

func TestIntrospectionTellsWhatALiveTokenSays(t *testing.T) {
	g := newRig(t)
	raw := g.token(t, realm.TokenRequest{User: "jack", Client: "web:1 app", Session: "s", Scope: "read write", Now: time.Unix(time.Now().Unix(), 0)})
	tok, err := events.ParseToken(raw)
	must(t, err)
	want := map[string]any{"active": true, "scope": "read write", "client_id": "web:1 app", "token_type": "Bearer",
		"exp": float64(tok.Expires), "iat": float64(tok.IssuedAt), "sub": "jack", "iss": "https://demo.rescind.test", "jti": tok.JTI}
	for _, who := range []string{oauthBasic("web:1 app", secret), "Authorization: " + admin, "Authorization: Bearer " + raw} {
		r := g.post(t, introspectPath, []string{"token", raw}, who)
		var got map[string]any
		must(t, json.Unmarshal([]byte(r.body), &got))
		if d := cmp.Diff(want, got); r.status != 200 || r.header.Get("Content-Type") != "application/json" || d != "" {
			t.Errorf("%d %v\n%s", r.status, r.header, d)
		}
	}
	g.post(t, revokePath, []string{"token", raw, "client_id", "web:1 app", "client_secret", secret}).want(t, 200, "")
	for _, raw := range []string{raw, "garbage.x.y", g.token(t, realm.TokenRequest{User: "jack", TTL: -2 * time.Minute}),
		g.token(t, realm.TokenRequest{User: "jack", TTL: 1000 * time.Hour}), g.statement(t, "demo", "secevent+jwt", jwt.MapClaims{"iss": "https://demo.rescind.test"})} {
		g.post(t, introspectPath, []string{"token", raw}, "Authorization: "+admin).want(t, 200, `{"active":false}`+"\n")
	}
}

func TestIntrospectionOfOpaqueTokensAsksTheAgents(t *testing.T) {
	g := newRig(t)
	a := g.join(t, "web-1", false)
	ask := func() reply {
		return g.post(t, introspectPath, []string{"token", "opaque-1"}, oauthBasic("web:1 app", secret))
	}
	inactive := `{"active":false}` + "\n"
	ask().want(t, 200, inactive)
	until := time.Now().Add(time.Hour).Unix()
	say := func(name string, expires int64) {
		a.set(func() {
			a.answer = func(*events.Query) events.Answer {
				return events.Answer{Refresh: &events.RefreshToken{Realm: name, User: "ann", Expires: expires}}
			}
		})
	}
	say("demo", until)
	ask().want(t, 200, fmt.Sprintf(`{"active":true,"username":"ann","exp":%d}`+"\n", until))
	say("partner", until)
	ask().want(t, 200, inactive)
	say("demo", time.Now().Unix()-1)
	ask().want(t, 200, inactive)
	// An agent may know of a revocation that this publisher has not followed yet.
	say("demo", until)
	a.set(func() {
		was := a.answer
		a.answer = func(q *events.Query) events.Answer {
			answer := was(q)
			answer.PreviouslyCount = 1
			return answer
		}
	})
	ask().want(t, 200, inactive)
	say("demo", until)
	ask().want(t, 200, fmt.Sprintf(`{"active":true,"username":"ann","exp":%d}`+"\n", until))
	g.post(t, revokePath, []string{"token", "opaque-1"}, "Authorization: "+admin).want(t, 200, "")
	ask().want(t, 200, inactive)
	// What is unknown to those who answer may be known to one who does not.
	g.join(t, "web-2", true)
	a.set(func() { a.answer = func(*events.Query) events.Answer { return events.Answer{} } })
	r := g.post(t, introspectPath, []string{"token", "opaque-2"}, oauthBasic("web:1 app", secret))
	checkOAuthError(t, r, 503, "temporarily_unavailable", "")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestOAuthSaysWhenTheBusIsAway(t *testing.T) {
	g := newRig(t)
	raw := g.token(t, realm.TokenRequest{User: "jack", Client: "spa"})
	g.nats.Stop(t)
	r := g.post(t, revokePath, []string{"token", raw, "client_id", "spa"})
	checkOAuthError(t, r, 503, "temporarily_unavailable", "")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	// Whether anything is revoked is unknown now.
	other := g.token(t, realm.TokenRequest{User: "jack", Client: "web:1 app"})
	eventually(t, func() bool {
		return g.post(t, introspectPath, []string{"token", other}, "Authorization: "+admin).status == 503
	})
	g.nats.Start(t)
	eventually(t, func() bool { return g.refused(t, raw) })
}

func TestOAuthMetadata(t *testing.T) {
	g := newRig(t)
	r := g.send(t, http.MethodGet, "/.well-known/oauth-authorization-server", "")
	g.send(t, http.MethodGet, "/.well-known/openid-configuration", "").want(t, 200, r.body)
	var got map[string]any
	must(t, json.Unmarshal([]byte(r.body), &got))
	if r.status != 200 || r.header.Get("Content-Type") != "application/json" || got["issuer"] != issuer ||
		got["revocation_endpoint"] != issuer+revokePath || got["introspection_endpoint"] != issuer+introspectPath {
		t.Errorf("%d %v %s", r.status, r.header, r.body)
	}
	if d := cmp.Diff([]any{"client_secret_basic", "client_secret_post", "private_key_jwt", "none"}, got["revocation_endpoint_auth_methods_supported"]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]any{"client_secret_basic", "client_secret_post", "private_key_jwt"}, got["introspection_endpoint_auth_methods_supported"]); d != "" {
		t.Error(d)
	}
}

func TestPagesMayRevoke(t *testing.T) {
	g := newRig(t)
	r := g.send(t, http.MethodOptions, revokePath, "", "Origin: https://spa.example", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization")
	if r.status != 204 || r.header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(r.header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("%d %v", r.status, r.header)
	}
	if r := g.send(t, http.MethodOptions, introspectPath, ""); r.status != 405 {
		t.Errorf("introspection is open to pages: %d", r.status)
	}
}
