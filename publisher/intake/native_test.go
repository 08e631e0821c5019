package intake_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

const (
	nativePath = "/v1/revocations"
	nativeAuth = "Authorization: " + admin
	// unheard is what the native API says in a fleet without agents.
	unheard = `"error_count":1,"error_details":[{"agent":"","type":"agent_missing","reason":"no agent is known"}],"agents":{"expected":0,"applied":0}`
)

func (g *rig) native(t *testing.T, body string, headers ...string) reply {
	t.Helper()
	return g.send(t, http.MethodPost, nativePath, body, append([]string{"Content-Type: application/json", nativeAuth}, headers...)...)
}

func event(stream, target string, cutoff bool) string {
	not := ""
	if cutoff {
		not = `,"not_before":N`
	}
	return fmt.Sprintf(`{"id":"ID","stream":%q,"seq":N,"target":%q%s}`, stream, target, not)
}

// accepted is an answer of the native API, masked.
func accepted(target string, cutoff bool, invalidated int, evs ...string) string {
	not := ""
	if cutoff {
		not = `"not_before":N,`
	}
	return fmt.Sprintf(`{"id":"ID","seq":N,"target":%s,%s"invalidated_tokens":%d,"previously_invalidated_tokens":0,%s,"events":[%s],"elapsed_ms":N}`+"\n",
		target, not, invalidated, unheard, strings.Join(evs, ","))
}

func TestNativeRevokesEachKindOfTarget(t *testing.T) {
	g := newRig(t, acceptOpaque)
	token := func(req realm.TokenRequest) string {
		req.User = "jack"
		return g.token(t, req)
	}
	one, two, far := token(realm.TokenRequest{Alg: "ES256"}), token(realm.TokenRequest{Alg: "RS256"}), token(realm.TokenRequest{Realm: "partner"})
	dead := token(realm.TokenRequest{TTL: -2 * time.Minute})
	exp := time.Now().Unix() + 600
	for _, tc := range []struct{ name, body, want string }{
		{"token", fmt.Sprintf(`{"token":%q}`, token(realm.TokenRequest{})),
			accepted(`{"tokens":1,"realm":"demo"}`, false, 1, event("control", "token in realm demo", false))},
		{"refresh token", fmt.Sprintf(`{"refresh_token":%q}`, token(realm.TokenRequest{TTL: 700 * time.Hour})),
			accepted(`{"tokens":1,"realm":"demo"}`, false, 1, event("control", "token in realm demo", false))},
		{"opaque refresh token", `{"refresh_token":"c2VjcmV0"}`,
			accepted(`{"tokens":1,"realm":"partner"}`, false, 1, event("control", "token in realm partner", false))},
		{"tokens of one realm, one twice", fmt.Sprintf(`{"tokens":[%q,%q,%q]}`, one, two, one),
			accepted(`{"tokens":2,"realm":"demo"}`, false, 2, event("tokens", "2 tokens in realm demo", false))},
		{"tokens of two realms, one expired", fmt.Sprintf(`{"tokens":[%q,%q,%q]}`, token(realm.TokenRequest{}), dead, far),
			strings.Replace(accepted(`{"tokens":2}`, false, 2, event("tokens", "2 tokens", false)), `"elapsed_ms"`, `"expired_tokens":1,"elapsed_ms"`, 1)},
		{"identities", fmt.Sprintf(`{"identities":[{"iss":"https://demo.rescind.test","jti":"a","exp":%d},{"iss":"https://demo.rescind.test","jti":"b"}]}`, exp),
			accepted(`{"tokens":2,"realm":"demo"}`, false, 2, event("tokens", "2 tokens in realm demo", false))},
		{"session", `{"session":"s1","realm":"demo"}`, accepted(`{"session":"s1","realm":"demo"}`, false, 0, event("control", `session "s1" in realm demo`, false))},
		{"client", `{"client":"app","realm":"demo"}`, accepted(`{"client":"app","realm":"demo"}`, true, 0,
			slices.Repeat([]string{event("control", `client "app" in realm demo`, true)}, 4)...)},
		{"claim", `{"claim":"dept","value":"sales","realm":"demo"}`, accepted(`{"claim":"dept","value":"sales","realm":"demo"}`, true, 0,
			event("control", `claim dept="sales" in realm demo`, true))},
		{"user", `{"user":"jack"}`, accepted(`{"user":"jack"}`, true, 0, event("control", `user "jack"`, true))},
		{"user in realm", `{"user":"jack","realm":"demo"}`, accepted(`{"user":"jack","realm":"demo"}`, true, 0, event("control", `user "jack" in realm demo`, true))},
		{"realm", `{"realm":"demo"}`, accepted(`{"realm":"demo"}`, true, 0, event("control", "realm demo", true))},
		{"all", `{"all":true}`, accepted(`{"all":true}`, true, 0, event("control", "all tokens", true))},
		{"reason and cutoff", `{"user":"jill","realm":"demo","reason":"laptop <stolen>","not_before":` + fmt.Sprint(exp-1200) + `}`,
			strings.Replace(accepted(`{"user":"jill","realm":"demo"}`, true, 0, event("control", `user "jill" in realm demo`, true)),
				`"not_before"`, `"reason":"laptop <stolen>","not_before"`, 1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := g.native(t, tc.body)
			r.masked().want(t, 201, tc.want)
			var a struct{ ID string }
			must(t, json.Unmarshal([]byte(r.body), &a))
			if got := r.header.Get("Location"); got != "/v1/revocations/"+a.ID {
				t.Errorf("Location is %s", got)
			}
		})
	}
	for name, raw := range map[string]string{"listed": one, "listed too": two, "of the other realm": far} {
		if !g.refused(t, raw) {
			t.Errorf("token %s is not revoked", name)
		}
	}
	if !g.pub.Revoked(&events.Token{Identity: events.JTIIdentity("https://demo.rescind.test", "b")}) {
		t.Error("the identity is not revoked")
	}
}

func problemOf(status int, slug, title, detail string, errs ...string) string {
	list := ""
	if len(errs) > 0 {
		list = `,"errors":[` + strings.Join(errs, ",") + `]`
	}
	return fmt.Sprintf(`{"type":"https://rescind.dev/problems/%s","title":%q,"status":%d,"detail":%q%s}`+"\n", slug, title, status, detail, list)
}

func at(pointer, detail string) string {
	return fmt.Sprintf(`{"pointer":%q,"detail":%q}`, pointer, detail)
}

func TestNativeSaysWhatIsWrongWithABody(t *testing.T) {
	g := newRig(t)
	g.join(t, "web-1", false)
	good := g.token(t, realm.TokenRequest{User: "jack"})
	dead := g.token(t, realm.TokenRequest{User: "jack", TTL: -2 * time.Minute})
	malformed := func(detail string) string { return problemOf(400, "malformed", "Request cannot be read", detail) }
	one := func(pointer, detail string) string {
		return problemOf(422, "invalid", "Request is not valid", detail, at(pointer, detail))
	}
	several := func(errs ...string) string {
		return problemOf(422, "invalid", "Request is not valid", "several members are not right", errs...)
	}
	unknown := func(pointer, detail string) string {
		return problemOf(422, "unknown-token", "Token is not known", detail, at(pointer, detail))
	}
	const text = "must be a string of 1 to 2048 bytes"
	for _, tc := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"no body", ``, 400, malformed("body: not a JSON object")},
		{"not an object", `[]`, 400, malformed("body: not a JSON object")},
		{"something behind", `{"all":true} x`, 400, malformed("body: something follows the JSON object")},
		{"member twice", `{"user":"a","user":"b"}`, 400, malformed(`body: member "user" stands there twice`)},
		{"not text", "{\"user\":\"\xff\"}", 400, malformed("body: not UTF-8, or half of a surrogate pair")},
		{"no target", `{"reason":"x"}`, 422, one("#", "no target: name one of token, refresh_token, tokens, identities, session, client, claim, user, all, realm")},
		{"two targets", `{"user":"a","token":"b"}`, 422, several(at("#/token", "only one target may be named, not token and user"), at("#/user", "only one target may be named, not token and user"))},
		{"unknown members", `{"user":"a","a/b~":1,"User":"x"}`, 422, several(at("#/a~1b~0", "unknown member"), at("#/User", "unknown member"))},
		{"user is a number", `{"user":1}`, 422, one("#/user", text)},
		{"user is empty", `{"user":""}`, 422, one("#/user", text)},
		{"user is too long", `{"user":"` + strings.Repeat("x", 2049) + `"}`, 422, one("#/user", text)},
		{"realm is null", `{"realm":null}`, 422, one("#/realm", text)},
		{"all is false", `{"all":false}`, 422, one("#/all", "must be true")},
		{"session without realm", `{"session":"s"}`, 422, one("#/realm", "is needed beside session")},
		{"client without realm", `{"client":"s"}`, 422, one("#/realm", "is needed beside client")},
		{"claim without value", `{"claim":"s","realm":"demo"}`, 422, one("#/value", "claim and value belong together")},
		{"value without claim", `{"value":"s","realm":"demo"}`, 422, one("#/value", "claim and value belong together")},
		{"all and realm", `{"all":true,"realm":"demo"}`, 422, one("#/realm", "makes no sense beside all")},
		{"token and realm", `{"token":"x","realm":"demo"}`, 422, one("#/realm", "makes no sense beside token")},
		{"unknown realm", `{"realm":"nowhere"}`, 422, one("#/realm", "there is no such realm")},
		{"no tokens", `{"tokens":[]}`, 422, one("#/tokens", "must be a list of 1 to 1000")},
		{"too many tokens", `{"tokens":["x"` + strings.Repeat(`,"x"`, 1000) + `]}`, 422, one("#/tokens", "must be a list of 1 to 1000")},
		{"a token that is none", `{"tokens":["x",1]}`, 422, one("#/tokens", "item 1 must be a string of 1 to 16384 bytes")},
		{"identity without jti", `{"identities":[{"iss":"x"}]}`, 422, one("#/identities", "item 0: iss and jti are needed")},
		{"identity with more", `{"identities":[{"iss":"x","jti":"y","sub":"z"}]}`, 422, one("#/identities", "item 0: sub: unknown member")},
		{"identity with a member twice", `{"identities":[{"iss":"x","jti":"y","jti":"z"}]}`, 422, one("#/identities", `item 0: body: member "jti" stands there twice`)},
		{"identity of no realm", `{"identities":[{"iss":"x","jti":"y"}]}`, 422, one("#/identities/0/iss", "it is the issuer of no realm")},
		{"identity that dies after the end of a duration", `{"identities":[{"iss":"https://demo.rescind.test","jti":"y","exp":20000000000}]}`, 422,
			one("#/identities/0/exp", "is further away than a token of realm demo can live")},
		{"identity that never dies", `{"identities":[{"iss":"https://demo.rescind.test","jti":"y","exp":9007199254740991}]}`, 422,
			one("#/identities/0/exp", "is further away than a token of realm demo can live")},
		{"identity that is dead", `{"identities":[{"iss":"https://demo.rescind.test","jti":"y","exp":1}]}`, 422,
			problemOf(422, "expired-token", "Token has expired", "the token has expired: there is nothing to revoke", at("#/identities", "all of them have expired"))},
		{"not_before is a text", `{"user":"a","not_before":"now"}`, 422, one("#/not_before", "must be a time in whole seconds since 1970")},
		{"not_before is a fraction", `{"user":"a","not_before":1.5}`, 422, one("#/not_before", "must be a time in whole seconds since 1970")},
		{"not_before lies ahead", fmt.Sprintf(`{"user":"a","not_before":%d}`, time.Now().Unix()+3600), 422,
			problemOf(422, "invalid", "Request is not valid", "not_before lies in the future")},
		{"not_before for a session", `{"session":"s","realm":"demo","not_before":1795302001}`, 422,
			problemOf(422, "invalid", "Request is not valid", "not_before makes no sense for a session")},
		{"reason is too long", `{"user":"a","reason":"` + strings.Repeat("x", 1025) + `"}`, 422, one("#/reason", "must be a string of 1 to 1024 bytes")},
		{"opaque token", `{"token":"c2VjcmV0"}`, 422, unknown("#/token", "malformed token: not three parts")},
		{"badly signed token", fmt.Sprintf(`{"token":%q}`, good[:len(good)-8]+"AAAAAAAA"), 422, unknown("#/token", "bad signature")},
		{"expired token", fmt.Sprintf(`{"token":%q}`, dead), 422,
			problemOf(422, "expired-token", "Token has expired", "the token has expired: there is nothing to revoke", at("#/token", "token has expired"))},
		{"opaque refresh token that nobody knows", `{"refresh_token":"c2VjcmV0"}`, 422,
			unknown("#/refresh_token", "no agent has observed this refresh token")},
		{"a list with bad ones", fmt.Sprintf(`{"tokens":["a.b.c",%q,"x"]}`, good), 422,
			problemOf(422, "unknown-token", "Token is not known", "several members are not right",
				at("#/tokens/0", "malformed token: signature is not base64url"), at("#/tokens/2", "malformed token: not three parts"))},
		{"a list of dead ones", fmt.Sprintf(`{"tokens":[%q]}`, dead), 422,
			problemOf(422, "expired-token", "Token has expired", "the token has expired: there is nothing to revoke", at("#/tokens", "all of them have expired"))},
		{"too long", `{"reason":"` + strings.Repeat("x", 1<<20) + `"}`, 413, problemOf(413, "too-large", "Request is too large", "the body is longer than 1048576 bytes")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := g.native(t, tc.body)
			r.want(t, tc.status, tc.want)
			if got := r.header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type is %s", got)
			}
		})
	}
	if n := g.published(t); n != 0 {
		t.Errorf("%d events published", n)
	}
	if strings.Contains(g.log.String(), good[:40]) || strings.Contains(g.log.String(), "c2VjcmV0") {
		t.Error("a token is in the log")
	}
}

func TestNativeSaysWhatIsWrongWithARequest(t *testing.T) {
	g := newRig(t)
	malformed := func(detail string) string { return problemOf(400, "malformed", "Request cannot be read", detail) }
	const key = "Idempotency-Key must be one of 1 to 255 bytes"
	for _, tc := range []struct {
		name, method, path string
		headers            []string
		status             int
		want               string
	}{
		{"wait", "POST", "?wait=some", nil, 400, malformed(`wait must be none, any, all or a number of agents, not "some"`)},
		{"timeout", "POST", "?timeout=1", nil, 400, malformed("timeout must be a duration of at most 30s, such as 500ms or 2s")},
		{"timeout too long", "POST", "?timeout=31s", nil, 400, malformed("timeout must be a duration of at most 30s, such as 500ms or 2s")},
		{"token in the query string", "POST", "?token=s3cret", nil, 400, malformed(`unknown parameter "token": there are wait, timeout, dry_run`)},
		{"parameter twice", "POST", "?wait=all&wait=none", nil, 400, malformed("parameter wait is given twice")},
		{"query string", "POST", "?wait=%zz", nil, 400, malformed("the query string cannot be read")},
		{"empty key", "POST", "", []string{"Idempotency-Key: "}, 400, malformed(key)},
		{"long key", "POST", "", []string{"Idempotency-Key: " + strings.Repeat("x", 256)}, 400, malformed(key)},
		{"two keys", "POST", "", []string{"Idempotency-Key: a", "Idempotency-Key: b"}, 400, malformed(key)},
		{"form", "POST", "", []string{"Content-Type: text/plain"}, 415, problemOf(415, "media-type", "Media type is not supported", "Content-Type must be application/json, or application/x-ndjson for a list")},
		{"packed", "POST", "", []string{"Content-Encoding: gzip"}, 415, problemOf(415, "media-type", "Media type is not supported", "Content-Encoding must not be set to that")},
		{"too many headers", "POST", "", strings.Split(strings.Repeat("X-A: b|", 100)+"X-A: b", "|"), 431, problemOf(431, "headers", "Too many header fields", "more than 100")},
		{"method", "PUT", "", nil, 405, problemOf(405, "method", "Method is not allowed", "method is not one of GET, POST, HEAD")},
		{"limit", "GET", "?limit=0", nil, 400, malformed("limit must be 1 to 1000")},
		{"limit too high", "GET", "?limit=1001", nil, 400, malformed("limit must be 1 to 1000")},
		{"after", "GET", "?after=x", nil, 400, malformed("after must be the id of a revocation")},
		{"id", "GET", "/x", nil, 404, problemOf(404, "not-found", "Not found", "no such revocation")},
		{"unknown id", "GET", "/01920000-0000-7000-8000-000000000000", nil, 404, problemOf(404, "not-found", "Not found", "no such revocation")},
		{"lift of an unknown id", "DELETE", "/01920000-0000-7000-8000-000000000000", nil, 404, problemOf(404, "not-found", "Not found", "no such revocation")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			headers := append([]string{nativeAuth}, tc.headers...)
			if !strings.Contains(strings.Join(headers, ""), "Content-Type") {
				headers = append(headers, "Content-Type: application/json")
			}
			g.send(t, tc.method, nativePath+tc.path, `{"user":"jack"}`, headers...).want(t, tc.status, tc.want)
		})
	}
	g.send(t, "POST", nativePath, `{"user":"jack"}`, nativeAuth).want(t, 415,
		problemOf(415, "media-type", "Media type is not supported", "Content-Type must be application/json, or application/x-ndjson for a list"))
	if n := g.published(t); n != 0 {
		t.Errorf("%d events published", n)
	}
}

func TestAKeyMakesARepeatedRequestTheSame(t *testing.T) {
	g := newRig(t)
	const key = "Idempotency-Key: 5f0c"
	first := g.native(t, `{"user":"jack"}`, key)
	again := g.native(t, `{"user":"jack"}`, key)
	if first.status != 201 || again.status != 201 || first.header.Get("Location") != again.header.Get("Location") ||
		again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("first %d %s, again %d %s", first.status, first.body, again.status, again.body)
	}
	again.masked().want(t, 201, first.masked().body)
	g.native(t, `{"user":"jill"}`, key).want(t, 409, problemOf(409, "conflict", "Idempotency-Key was used for another revocation", "use a new key for a new revocation"))
	other := g.send(t, "POST", nativePath, `{"user":"jill"}`, "Content-Type: application/json", "Authorization: Bearer "+g.free, key)
	if other.status != 201 {
		t.Errorf("the same key of another caller: %d %s", other.status, other.body)
	}
	if n := g.published(t); n != 2 {
		t.Errorf("%d events published, want 2", n)
	}
}

func TestNativeTellsWhatIsQueued(t *testing.T) {
	g := newRig(t)
	g.nats.Stop(t)
	r := g.native(t, `{"user":"jack"}`)
	r.masked().want(t, 202, `{"id":"ID","status":"queued","target":{"user":"jack"},"not_before":N,"invalidated_tokens":0,"previously_invalidated_tokens":0,`+
		`"error_count":0,"agents":{"expected":0,"applied":0},"events":[{"id":"ID","stream":"control","target":"user \"jack\"","not_before":N}],"elapsed_ms":N}`+"\n")
	if r.header.Get("Retry-After") == "" || r.header.Get("Location") == "" {
		t.Errorf("headers %v", r.header)
	}
	g.nats.Start(t)
}

func TestWaitDecidesWhomAnAnswerWaitsFor(t *testing.T) {
	g := newRig(t)
	a := g.join(t, "web-1", false)
	a.set(func() {
		a.counted = func(*events.Revocation) events.Counted {
			return events.Counted{Invalidated: events.TokenHashes{1, 2}, InvalidatedCount: 2}
		}
	})
	g.join(t, "web-2", true)
	for wait, applied := range map[string]int{"any": 1, "1": 1, "all&timeout=100ms": 1} {
		r := g.send(t, "POST", nativePath+"?wait="+wait, `{"user":"jack"}`, "Content-Type: application/json", nativeAuth)
		r.masked().want(t, 201, `{"id":"ID","seq":N,"target":{"user":"jack"},"not_before":N,"invalidated_tokens":2,"previously_invalidated_tokens":0,`+
			`"error_count":1,"error_details":[{"agent":"payments/web-2","type":"agent_silent","reason":"no report within T"}],`+
			fmt.Sprintf(`"agents":{"expected":2,"applied":%d},`, applied)+`"events":[`+event("control", `user "jack"`, true)+`],"elapsed_ms":N}`+"\n")
	}
	if r := g.send(t, "POST", nativePath+"?wait=none", `{"user":"jack"}`, "Content-Type: application/json", nativeAuth); r.status != 201 {
		t.Errorf("wait=none: %d %s", r.status, r.body)
	}
}
