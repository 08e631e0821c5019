package intake_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher/intake"
)

func ids(t *testing.T, r reply) (ids []string, next string) {
	t.Helper()
	var p struct {
		Items []struct{ ID string }
		Next  string
	}
	must(t, json.Unmarshal([]byte(r.body), &p))
	for _, i := range p.Items {
		ids = append(ids, i.ID)
	}
	return ids, p.Next
}

func TestRevocationsAreListedFromTheNewest(t *testing.T) {
	g := newRig(t)
	g.send(t, "GET", nativePath, "", nativeAuth).want(t, 200, `{"items":[]}`+"\n")
	var all []string
	for i := range 5 {
		r := g.native(t, fmt.Sprintf(`{"user":"u%d","realm":%q}`, i, []string{"demo", "partner"}[i%2]))
		all = append([]string{strings.TrimPrefix(r.header.Get("Location"), nativePath+"/")}, all...)
	}
	var got []string
	for next, pages := "", 0; pages == 0 || next != ""; pages++ {
		page, after := ids(t, g.send(t, "GET", nativePath+"?limit=2&after="+next, "", nativeAuth))
		if pages == 0 {
			page, after = ids(t, g.send(t, "GET", nativePath+"?limit=2", "", nativeAuth))
		}
		got, next = append(got, page...), after
	}
	if strings.Join(got, " ") != strings.Join(all, " ") {
		t.Errorf("got  %v\nwant %v", got, all)
	}
	// The bound key sees its realm only.
	bound := "Authorization: Bearer " + g.bound
	seen, _ := ids(t, g.send(t, "GET", nativePath+"?limit=2", "", bound))
	if want := []string{all[0], all[2]}; strings.Join(seen, " ") != strings.Join(want, " ") {
		t.Errorf("bound caller sees %v, want %v", seen, want)
	}
	if r := g.send(t, "GET", nativePath+"/"+all[1], "", bound); r.status != 404 {
		t.Errorf("bound caller sees another realm's: %d %s", r.status, r.body)
	}
	g.send(t, "GET", nativePath+"/"+all[0], "", bound).masked().want(t, 200,
		`{"id":"ID","status":"open","seq":N,"target":{"user":"u4","realm":"demo"},"caller":"admin","door":"native","initiating_entity":"admin","accepted_at":"T","not_before":N,`+
			`"invalidated_tokens":0,"previously_invalidated_tokens":0,`+unheard+`,"events":[`+event("control", `user "u4" in realm demo`, true)+`]}`+"\n")
}

func TestAClosedRevocationShowsItsReceipt(t *testing.T) {
	g := newRig(t)
	g.join(t, "web-1", false)
	at := g.native(t, `{"user":"jack"}`).header.Get("Location")
	var r reply
	eventually(t, func() bool {
		r = g.send(t, "GET", at, "", nativeAuth)
		return strings.Contains(r.body, `"status":"closed"`)
	})
	r.masked().want(t, 200, `{"id":"ID","status":"closed","seq":N,"target":{"user":"jack"},"caller":"admin","door":"native","initiating_entity":"admin","accepted_at":"T","not_before":N,`+
		`"invalidated_tokens":0,"previously_invalidated_tokens":0,"error_count":0,"agents":{"expected":1,"applied":1},"events":[`+event("control", `user "jack"`, true)+`],"elapsed_ms":N}`+"\n")
}

func TestALiftTakesARevocationAway(t *testing.T) {
	g := newRig(t)
	token := g.token(t, realm.TokenRequest{User: "jack"})
	at := g.native(t, fmt.Sprintf(`{"token":%q}`, token)).header.Get("Location")
	partner := g.native(t, `{"realm":"partner"}`).header.Get("Location")
	bound := "Authorization: Bearer " + g.bound
	g.send(t, "DELETE", partner, "", bound).want(t, 403, problemOf(403, "forbidden", "Not allowed", `this caller may not revoke in realm "partner"`))
	r := g.send(t, "DELETE", at, "", bound)
	r.masked().want(t, 200, `{"id":"ID","seq":N,"target":{"lift":"ID"},"invalidated_tokens":0,"previously_invalidated_tokens":0,`+unheard+
		`,"events":[`+event("control", "lift of ID", false)+`],"elapsed_ms":N}`+"\n")
	if g.refused(t, token) {
		t.Error("the token is still refused")
	}
}

func TestAgentsAreListed(t *testing.T) {
	g := newRig(t)
	g.send(t, "GET", "/v1/agents", "", nativeAuth).want(t, 200, `{"items":[]}`+"\n")
	g.join(t, "web-1", true)
	r := g.send(t, "GET", "/v1/agents", "", nativeAuth)
	if r.status != 200 || !strings.HasPrefix(r.body, `{"items":[{"name":"payments/web-1","id":"web-1","service":"payments","state":"fresh",`) {
		t.Errorf("got %d %s", r.status, r.body)
	}
	if m := g.send(t, "GET", "/metrics", ""); !strings.Contains(m.body, `rescind_agents{state="fresh"} 1`) {
		t.Errorf("metrics: %s", m.body)
	}
}

func TestNothingIsDoneForACallerWhoMayNot(t *testing.T) {
	g := newRig(t, acceptOpaque)
	user := g.token(t, realm.TokenRequest{User: "jack", Session: "s1"})
	scoped := g.token(t, realm.TokenRequest{User: "ann", Scope: "rescind:user"})
	other := g.token(t, realm.TokenRequest{User: "jill"})
	far := g.token(t, realm.TokenRequest{User: "jill", Realm: "partner"})
	const deny = "this caller may not revoke "
	for _, tc := range []struct{ name, auth, body, detail string }{
		{"user's other token", user, fmt.Sprintf(`{"token":%q}`, other), deny + "targets of kind token"},
		{"user's opaque refresh token", user, `{"refresh_token":"c2VjcmV0"}`, deny + "targets of kind token"},
		{"user's list", user, fmt.Sprintf(`{"tokens":[%q]}`, user), deny + "targets of kind tokens"},
		{"user's session, which the realm does not let go", user, `{"session":"s1","realm":"demo"}`, deny + "targets of kind session"},
		{"user himself", user, `{"user":"jack","realm":"demo"}`, deny + "targets of kind user"},
		{"everybody", user, `{"all":true}`, deny + "targets of kind all"},
		{"scope in another realm", scoped, `{"user":"x","realm":"partner"}`, deny + `in realm "partner"`},
		{"scope in an unknown realm", scoped, `{"user":"x","realm":"nowhere"}`, deny + `in realm "nowhere"`},
		{"scope in all realms", scoped, `{"user":"x"}`, "the target spans all realms, and this caller is bound to some"},
		{"scope for another kind", scoped, `{"realm":"demo"}`, deny + "targets of kind realm"},
		{"key in another realm", g.bound, fmt.Sprintf(`{"token":%q}`, far), deny + `in realm "partner"`},
		{"key for a list", g.bound, fmt.Sprintf(`{"tokens":[%q]}`, other), deny + "targets of kind tokens"},
		{"key for a list that cannot be verified", g.bound, `{"tokens":["x"]}`, deny + "targets of kind tokens"},
		{"key for an opaque token of another realm", g.bound, `{"refresh_token":"c2VjcmV0"}`, deny + `in realm "partner"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := g.send(t, "POST", nativePath, tc.body, "Content-Type: application/json", "Authorization: Bearer "+tc.auth)
			r.want(t, 403, problemOf(403, "forbidden", "Not allowed", tc.detail))
			if got := r.header.Get("WWW-Authenticate"); got != `Bearer realm="rescind", error="insufficient_scope"` {
				t.Errorf("challenge %s", got)
			}
		})
	}
	for _, path := range []string{nativePath, "/v1/agents", nativePath + "/01920000-0000-7000-8000-000000000000"} {
		g.send(t, "GET", path, "", "Authorization: Bearer "+user).want(t, 403,
			problemOf(403, "forbidden", "Not allowed", "this caller may revoke nothing but its own token"))
		g.send(t, "GET", path, "").want(t, 401, problemOf(401, "unauthenticated", "Credentials are required",
			"no credentials: send an Authorization header with Bearer, ApiKey or Basic"))
	}
	g.send(t, "DELETE", nativePath+"/01920000-0000-7000-8000-000000000000", "", "Authorization: Bearer "+g.bound).want(t, 403,
		problemOf(403, "forbidden", "Not allowed", "the target spans all realms, and this caller is bound to some"))
	if n := g.published(t); n != 0 {
		t.Errorf("%d events published", n)
	}
}

func TestABearerMayRevokeItsOwnToken(t *testing.T) {
	g := newRig(t, func(c map[string]realm.Config) {
		partner := c["partner"]
		partner.SignOut = realm.SignOutSession
		c["partner"] = partner
	})
	demo := g.token(t, realm.TokenRequest{User: "jack"})
	elastic := g.token(t, realm.TokenRequest{User: "jack"})
	session := g.token(t, realm.TokenRequest{User: "jack", Realm: "partner", Session: "s1"})
	for auth, body := range map[string]string{demo: fmt.Sprintf(`{"token":%q}`, demo), session: `{"session":"s1","realm":"partner"}`} {
		if r := g.send(t, "POST", nativePath, body, "Content-Type: application/json", "Authorization: Bearer "+auth); r.status != 201 || !g.refused(t, auth) {
			t.Errorf("%.20s: %d %s", body, r.status, r.body)
		}
	}
	g.send(t, "DELETE", elasticPath, fmt.Sprintf(`{"token":%q}`, elastic), elasticJSON, "Authorization: Bearer "+elastic).want(t, 200, counts(1, 0)+noAgents)
	// One who may revoke others' is an admin there, and a user here.
	scoped := g.token(t, realm.TokenRequest{User: "ann", Scope: "rescind:token"})
	for _, tc := range []struct{ token, initiator string }{{g.token(t, realm.TokenRequest{User: "jill"}), "admin"}, {scoped, "user"}} {
		at := g.send(t, "POST", nativePath, fmt.Sprintf(`{"token":%q}`, tc.token), "Content-Type: application/json", "Authorization: Bearer "+scoped).header.Get("Location")
		if r := g.send(t, "GET", at, "", nativeAuth); !strings.Contains(r.body, `"initiating_entity":"`+tc.initiator+`"`) {
			t.Errorf("want initiator %s: %d %s", tc.initiator, r.status, r.body)
		}
	}
	other := g.token(t, realm.TokenRequest{User: "jack", Realm: "partner", Session: "s2"})
	for _, body := range []string{`{"session":"s1","realm":"partner"}`, `{"session":"s2","realm":"demo"}`, `{"user":"jack","realm":"partner"}`} {
		if r := g.send(t, "POST", nativePath, body, "Content-Type: application/json", "Authorization: Bearer "+other); r.status != 403 {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
}

func TestBadCredentialsAreChallengedInTheirScheme(t *testing.T) {
	g := newRig(t)
	for auth, want := range map[string]string{
		"":                                `Bearer realm="rescind"`,
		"Basic " + pair("admin", "wrong"): `Basic realm="rescind", charset="UTF-8"`,
		"Bearer wrong":                    `Bearer realm="rescind", error="invalid_token", error_description="unknown key"`,
		"Bearer " + g.token(t, realm.TokenRequest{User: "jack", TTL: -2 * time.Minute}): `Bearer realm="rescind", error="invalid_token", error_description="token has expired"`,
	} {
		var headers []string
		if auth != "" {
			headers = []string{"Authorization: " + auth}
		}
		r := g.send(t, "GET", nativePath, "", headers...)
		if got := r.header.Get("WWW-Authenticate"); r.status != 401 || got != want {
			t.Errorf("%.12s: %d, challenge %s, want %s", auth, r.status, got, want)
		}
	}
}

func TestOpenPages(t *testing.T) {
	g := newRig(t)
	g.native(t, `{"user":"jack"}`)
	jwks := g.send(t, "GET", "/.well-known/jwks.json", "")
	keys, err := events.ParseKeySet([]byte(jwks.body))
	must(t, err)
	if keys.All()[0].Publisher != "pub1" || jwks.header.Get("Content-Type") != "application/jwk-set+json" {
		t.Errorf("jwks %v %s", jwks.header, jwks.body)
	}
	g.send(t, "GET", "/healthz", "").want(t, 200, "ok\n")
	g.send(t, "HEAD", "/healthz", "").want(t, 200, "")
	g.send(t, "GET", "/readyz", "").want(t, 200, "ready\n")
	g.send(t, "GET", "/nothing", "").want(t, 404, problemOf(404, "not-found", "Not found", "there is nothing here"))
	r := g.send(t, "POST", "/readyz", "")
	r.want(t, 405, problemOf(405, "method", "Method is not allowed", "method is not one of GET, HEAD"))
	if got := r.header.Get("Allow"); got != "GET, HEAD" {
		t.Errorf("Allow is %s", got)
	}
	metrics := g.send(t, "GET", "/metrics", "").body
	for _, want := range []string{
		`rescind_http_requests_total{door="native",status="201"} 1`,
		`rescind_http_requests_total{door="open",status="405"} 1`,
		`rescind_revocations_total{door="native",kind="user",outcome="partial"} 1`,
		`rescind_revocation_seconds_count{door="native"} 1`,
		`rescind_revoked_tokens_total{count="invalidated"} 0`,
		`rescind_agents{state="fresh"} 0`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(metrics, "jack") {
		t.Error("metrics name a user")
	}
}

func TestAPublisherThatIsNotReadySaysWhy(t *testing.T) {
	g := newRig(t)
	must(t, g.pub.Close())
	g.send(t, "GET", "/readyz", "").want(t, 503, "publisher is not ready: closing\n")
	g.native(t, `{"user":"jack"}`).want(t, 503, problemOf(503, "closing", "Publisher is closing", "the publisher is closing: nothing was accepted"))
}

func TestTheRootKnowsElasticsearchClients(t *testing.T) {
	g := newRig(t)
	for accept, want := range map[string]string{
		"": "application/json", "application/json": "application/json", "application/json, text/plain": "text/plain; charset=utf-8",
		"*/*": "text/plain; charset=utf-8", "text/html,application/xhtml+xml,*/*;q=0.8": "text/html; charset=utf-8",
		"application/vnd.elasticsearch+json; compatible-with=8": "application/vnd.elasticsearch+json;compatible-with=8",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			var headers []string
			if accept != "" {
				headers = []string{"Accept: " + accept}
			}
			r := g.send(t, method, "/", "", headers...)
			product := r.header.Get("X-Elastic-Product") == "Elasticsearch"
			if got := r.header.Get("Content-Type"); r.status != 200 || got != want || product != strings.Contains(want, "json") {
				t.Errorf("%s %q: %d %s, product %v", method, accept, r.status, got, product)
			}
		}
	}
	var info struct {
		Version struct{ Number string }
		Tagline string
	}
	must(t, json.Unmarshal([]byte(g.send(t, "GET", "/", "", "Accept: application/json").body), &info))
	if info.Version.Number != "8.19.0" || info.Tagline != "You Know, for Search" {
		t.Errorf("got %+v", info)
	}
}

func TestATokenWhoseKeysCannotBeHadIsNoVerdict(t *testing.T) {
	g := newRig(t, func(c map[string]realm.Config) {
		demo := c["demo"]
		demo.JWKS = "http://127.0.0.1:1/jwks.json" // nobody listens there
		c["demo"] = demo
	})
	token := g.token(t, realm.TokenRequest{User: "jack"})
	unavailable := problemOf(503, "keys-unavailable", "Keys are not available", "the issuer's keys cannot be had now, so its tokens cannot be checked")
	g.native(t, fmt.Sprintf(`{"token":%q}`, token)).want(t, 503, unavailable)
	g.native(t, fmt.Sprintf(`{"tokens":[%q]}`, token)).want(t, 503, unavailable)
	g.elastic(t, fmt.Sprintf(`{"token":%q}`, token)).want(t, 503, elasticFailure(503, "security_exception", "unable to perform requested action"))
	r := g.signOut(t, lusidPaths[0], "Bearer "+token)
	if r.status != 503 || r.header.Get("Retry-After") == "" || r.header.Get("WWW-Authenticate") != "" {
		t.Errorf("sign-out: %d %v", r.status, r.header)
	}
}

func TestAServerNeedsItsParts(t *testing.T) {
	for _, c := range []intake.Config{{}, {Authenticator: &intake.Authenticator{}}} {
		if _, err := intake.New(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
