package intake_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

const (
	elasticPath = "/_security/oauth2/token"
	elasticJSON = "Content-Type: application/json"
	elasticAuth = "Authorization: " + admin
	// noAgents is the error of an answer in a fleet without agents.
	noAgents = `"error_count":1,"error_details":[{"type":"exception","reason":"the fleet has not confirmed the invalidation",` +
		`"caused_by":{"type":"agent_missing","reason":"no agent is known"}}]}`
)

func counts(invalidated, previously int) string {
	return fmt.Sprintf(`{"invalidated_tokens":%d,"previously_invalidated_tokens":%d,`, invalidated, previously)
}

const nothing = `{"invalidated_tokens":0,"previously_invalidated_tokens":0,"error_count":0}`

func elasticFailure(status int, kind, reason string) string {
	return fmt.Sprintf(`{"error":{"root_cause":[{"type":%q,"reason":%q}],"type":%q,"reason":%q},"status":%d}`,
		kind, reason, kind, reason, status)
}

func (g *rig) elastic(t *testing.T, body string, headers ...string) reply {
	t.Helper()
	return g.send(t, http.MethodDelete, elasticPath, body, append([]string{elasticJSON, elasticAuth}, headers...)...)
}

func TestElasticsearchValidatesAsElasticsearchDoes(t *testing.T) {
	g := newRig(t)
	const (
		parse   = "x_content_parse_exception"
		invalid = "action_request_validation_exception"
		none    = "Validation Failed: 1: token string must be provided when not specifying a realm name or a username;"
		both    = "Validation Failed: 1: token string must not be provided when realm name or username is specified;" +
			"2: token type must not be provided when realm name or username is specified;"
		second = "Validation Failed: 1: token type must not be provided when realm name or username is specified;"
	)
	twoTokens := `{"error":{"root_cause":[{"type":"x_content_parse_exception","reason":"Failed to build [invalidate_token] after last required field arrived"}],` +
		`"type":"x_content_parse_exception","reason":"Failed to build [invalidate_token] after last required field arrived",` +
		`"caused_by":{"type":"illegal_argument_exception","reason":"only one of [token, refresh_token] may be sent per request"}},"status":400}`
	for _, tc := range []struct{ name, body, want string }{
		{"two tokens", `{"token":"a","refresh_token":"b"}`, twoTokens},
		{"two tokens and a user", `{"token":"a","refresh_token":"b","username":"u"}`, twoTokens},
		{"token and user", `{"token":"a","username":"u"}`, elasticFailure(400, invalid, both)},
		{"refresh token and realm", `{"refresh_token":"a","realm_name":"demo"}`, elasticFailure(400, invalid, both)},
		{"token and realm and user", `{"token":"a","realm_name":"demo","username":"u"}`, elasticFailure(400, invalid, both)},
		{"blank token and user", `{"token":"  ","username":"u"}`, elasticFailure(400, invalid, second)},
		{"blank refresh token and realm", `{"refresh_token":" \t","realm_name":"demo"}`, elasticFailure(400, invalid, second)},
		{"nothing", `{}`, elasticFailure(400, invalid, none)},
		{"all empty", `{"token":"","refresh_token":"","realm_name":"","username":""}`, elasticFailure(400, invalid, none)},
		{"blank realm", `{"realm_name":"  "}`, elasticFailure(400, invalid, none)},
		{"blank user", `{"username":" "}`, elasticFailure(400, invalid, none)},
		{"unknown member", `{"x":"y"}`, elasticFailure(400, parse, "[1:2] [invalidate_token] unknown field [x]")},
		{"unknown member further on", `{"token":"y", "äx" :1}`, elasticFailure(400, parse, "[1:15] [invalidate_token] unknown field [äx]")},
		{"unknown member on another line", "{\"token\":\"ä\",\n  \"x\":1}", elasticFailure(400, parse, "[2:3] [invalidate_token] unknown field [x]")},
		{"member in another case", `{"Token":"y"}`, elasticFailure(400, parse, "[1:2] [invalidate_token] unknown field [Token]")},
		{"number", `{"token":1}`, elasticFailure(400, parse, "[1:10] [invalidate_token] token doesn't support values of type: VALUE_NUMBER")},
		{"null", `{"username": null}`, elasticFailure(400, parse, "[1:14] [invalidate_token] username doesn't support values of type: VALUE_NULL")},
		{"boolean", `{"token":true}`, elasticFailure(400, parse, "[1:10] [invalidate_token] token doesn't support values of type: VALUE_BOOLEAN")},
		{"list", `{"token":["a"]}`, elasticFailure(400, parse, "[1:10] [invalidate_token] token doesn't support values of type: START_ARRAY")},
		{"object", `{"token":{}}`, elasticFailure(400, parse, "[1:10] [invalidate_token] token doesn't support values of type: START_OBJECT")},
		{"member twice", `{"username":"a","username":"b"}`, elasticFailure(400, parse, "[1:17] [invalidate_token] Duplicate field 'username'")},
		{"not JSON", `username=a`, elasticFailure(400, parse, "[1:1] [invalidate_token] not a JSON object")},
		{"not an object", `["a"]`, elasticFailure(400, parse, "[1:1] [invalidate_token] not a JSON object")},
		{"cut short", `{"token":"a"`, elasticFailure(400, parse, "[1:13] [invalidate_token] not a JSON object")},
		{"two objects", `{"token":"a"}{}`, elasticFailure(400, parse, "[1:14] [invalidate_token] something follows the JSON object")},
		{"half a surrogate pair", `{"username":"\ud800"}`, elasticFailure(400, parse, "[1:1] [invalidate_token] not UTF-8, or half of a surrogate pair")},
		{"no body", ``, elasticFailure(400, "parse_exception", "request body is required")},
	} {
		t.Run(tc.name, func(t *testing.T) { g.elastic(t, tc.body).want(t, 400, tc.want) })
	}
	if n := g.published(t); n != 0 {
		t.Errorf("%d events published", n)
	}
}

func TestElasticsearchCountsOneToken(t *testing.T) {
	g := newRig(t)
	for _, alg := range []string{"EdDSA", "ES256", "RS256"} {
		for _, member := range []string{"token", "refresh_token"} {
			t.Run(alg+" "+member, func(t *testing.T) {
				body := fmt.Sprintf(`{%q:%q}`, member, g.token(t, realm.TokenRequest{User: "jack", Alg: alg}))
				g.elastic(t, body).want(t, 200, counts(1, 0)+noAgents)
				g.elastic(t, body).want(t, 200, counts(0, 1)+noAgents)
			})
		}
	}
	t.Run("one of a pair leaves the other", func(t *testing.T) {
		access, refresh := g.token(t, realm.TokenRequest{User: "jack"}), g.token(t, realm.TokenRequest{User: "jack", TTL: 48 * time.Hour})
		g.elastic(t, fmt.Sprintf(`{"token":%q,"refresh_token":""}`, access)).want(t, 200, counts(1, 0)+noAgents)
		g.elastic(t, fmt.Sprintf(`{"token":"","refresh_token":%q}`, refresh)).want(t, 200, counts(1, 0)+noAgents)
	})
}

func TestElasticsearchDoesNotKnowWhatItCannotVerify(t *testing.T) {
	g := newRig(t)
	good := g.token(t, realm.TokenRequest{User: "jack"})
	foreign := newDoor(t).token(t, realm.TokenRequest{User: "jack", Now: time.Now()})
	for name, token := range map[string]string{
		"blank":             "  ",
		"opaque":            "c2VjcmV0",
		"malformed":         "a.b.c",
		"badly signed":      good[:len(good)-8] + "AAAAAAAA",
		"of a foreign key":  foreign,
		"expired":           g.token(t, realm.TokenRequest{User: "jack", TTL: -2 * time.Minute}),
		"of unknown issuer": strings.Replace(good, ".", ".eyJpc3MiOiJ4In0.", 1)[:len(good)-1],
	} {
		t.Run(name, func(t *testing.T) {
			for _, member := range []string{"token", "refresh_token"} {
				g.elastic(t, fmt.Sprintf(`{%q:%q}`, member, token)).want(t, 404, nothing)
			}
		})
	}
	if n := g.published(t); n != 0 {
		t.Errorf("%d events published", n)
	}
}

func TestElasticsearchUserAndRealm(t *testing.T) {
	g := newRig(t)
	a := g.join(t, "web-1", false)
	nine, fifteen := make(events.TokenHashes, 9), make(events.TokenHashes, 15)
	for i := range fifteen {
		fifteen[i] = events.TokenHash(100 + i)
	}
	for i := range nine {
		nine[i] = events.TokenHash(i)
	}
	first := events.Counted{Invalidated: nine, InvalidatedCount: 9, Previously: fifteen, PreviouslyCount: 15}
	again := events.Counted{Previously: fifteen, PreviouslyCount: 15}
	for _, tc := range []struct {
		name, body string
		counted    events.Counted
		published  uint64
		want       string
	}{
		{"user", `{"username":"jack"}`, first, 1, counts(9, 15) + `"error_count":0}`},
		{"user with nothing newly active", `{"username":"jack"}`, again, 1, nothing},
		{"user in realm", `{"username":"jack","realm_name":"demo"}`, first, 1, counts(9, 15) + `"error_count":0}`},
		{"realm", `{"realm_name":"demo"}`, first, 1, counts(9, 15) + `"error_count":0}`},
		{"realm again", `{"realm_name":"demo"}`, again, 1, nothing},
		{"user and blank token is no request for a token", `{"username":"jack","token":""}`, first, 1, counts(9, 15) + `"error_count":0}`},
		{"unknown realm", `{"realm_name":"nowhere"}`, first, 0, nothing},
		{"user in an unknown realm", `{"realm_name":"nowhere","username":"jack"}`, first, 0, nothing},
		{"user in a realm of blanks", `{"realm_name":"  ","username":"jack"}`, first, 0, nothing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a.set(func() { a.counted = func(*events.Revocation) events.Counted { return tc.counted } })
			before := g.published(t)
			g.elastic(t, tc.body).want(t, 200, tc.want)
			if n := g.published(t) - before; n != tc.published {
				t.Errorf("%d events published, want %d", n, tc.published)
			}
		})
	}
}

func TestElasticsearchNamesAgentsThatHaveNotAnswered(t *testing.T) {
	g := newRig(t)
	g.join(t, "web-1", false)
	g.join(t, "web-2", true)
	token := g.token(t, realm.TokenRequest{User: "jack"})
	g.elastic(t, fmt.Sprintf(`{"token":%q}`, token)).masked().want(t, 200, counts(1, 0)+
		`"error_count":1,"error_details":[{"type":"exception","reason":"payments/web-2 has not confirmed the invalidation",`+
		`"caused_by":{"type":"agent_silent","reason":"no report within T"}}]}`)
}

func TestElasticsearchNamesAgentsWhoseCountsAreLost(t *testing.T) {
	g := newRig(t)
	a := g.join(t, "web-1", false)
	a.set(func() { a.counted = func(*events.Revocation) events.Counted { return events.Counted{Replay: true} } })
	g.elastic(t, `{"username":"jack"}`).want(t, 200, counts(0, 0)+
		`"error_count":1,"error_details":[{"type":"exception","reason":"payments/web-1 has confirmed the invalidation, but its counts are missing",`+
		`"caused_by":{"type":"counts_missing","reason":"its report was lost"}}]}`)
}

func TestOpaqueRefreshTokensAreRevokedWhenTheyCouldBeAlive(t *testing.T) {
	const body = `{"refresh_token":"c2VjcmV0"}`
	ok := counts(1, 0) + `"error_count":0}`
	t.Run("every agent says none", func(t *testing.T) {
		g := newRig(t)
		g.join(t, "web-1", false)
		g.elastic(t, body).want(t, 404, nothing)
		if n := g.published(t); n != 0 {
			t.Errorf("%d events published", n)
		}
	})
	t.Run("an agent has observed it", func(t *testing.T) {
		g := newRig(t)
		a := g.join(t, "web-1", false)
		a.set(func() {
			a.answer = func(q *events.Query) events.Answer {
				if q.Target.Identities[0] != events.OpaqueIdentity("c2VjcmV0") {
					return events.Answer{}
				}
				return events.Answer{Refresh: &events.RefreshToken{Realm: "demo", User: "jack", Expires: time.Now().Unix() + 60}}
			}
		})
		g.elastic(t, body).want(t, 200, ok)
		g.elastic(t, body).want(t, 200, counts(0, 1)+`"error_count":0}`)
	})
	t.Run("revoked before, and forgotten by the agents", func(t *testing.T) {
		g := newRig(t)
		a := g.join(t, "web-1", false)
		a.set(func() {
			a.answer = func(*events.Query) events.Answer {
				return events.Answer{Refresh: &events.RefreshToken{Realm: "demo", Expires: time.Now().Unix() + 60}}
			}
		})
		g.elastic(t, body).want(t, 200, ok)
		a.set(func() { a.answer = func(*events.Query) events.Answer { return events.Answer{} } })
		g.elastic(t, body).want(t, 200, counts(0, 1)+`"error_count":0}`)
	})
	t.Run("its realm may be one that accepts all", func(t *testing.T) {
		g := newRig(t, acceptOpaque)
		g.join(t, "web-1", false)
		g.elastic(t, body).want(t, 200, ok)
	})
	t.Run("nobody can be asked", func(t *testing.T) {
		g := newRig(t)
		g.join(t, "web-1", false)
		g.nats.Stop(t)
		g.elastic(t, body).want(t, 503, elasticFailure(503, "security_exception", "unable to perform requested action"))
	})
	t.Run("a silent agent could have observed it", func(t *testing.T) {
		g := newRig(t)
		g.join(t, "web-1", true)
		if r := g.elastic(t, body); r.status != 200 || !strings.HasPrefix(r.body, counts(1, 0)) {
			t.Errorf("got %d %s", r.status, r.body)
		}
	})
}

func acceptOpaque(c map[string]realm.Config) {
	partner := c["partner"]
	partner.OpaqueRefresh = realm.OpaqueAccept
	c["partner"] = partner
}

func TestElasticsearchAnswersInKind(t *testing.T) {
	g := newRig(t)
	const vendor = "application/vnd.elasticsearch+json"
	for _, tc := range []struct {
		name, accept, contentType string
		status                    int
		want                      string
	}{
		{"plain", "application/json", "application/json", 200, "application/json"},
		{"JavaScript", vendor + "; compatible-with=8", vendor + "; compatible-with=8", 200, vendor + ";compatible-with=8"},
		{"Go", vendor + ";compatible-with=9", vendor + ";compatible-with=9", 200, vendor + ";compatible-with=9"},
		{"several", "text/plain, " + vendor + "; compatible-with=8,application/json", "application/json; charset=UTF-8", 200, vendor + ";compatible-with=8"},
		{"no accept", "", vendor + "; compatible-with=8", 200, vendor + ";compatible-with=8"},
		{"no types", "", "", 200, "application/json"},
		{"anything", "*/*", "application/json", 200, "application/json"},
		{"form", "", "application/x-www-form-urlencoded", 406, "application/json"},
		{"other version", "", vendor + ";compatible-with=5", 406, "application/json"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			headers := []string{elasticAuth}
			if tc.accept != "" {
				headers = append(headers, "Accept: "+tc.accept)
			}
			if tc.contentType != "" {
				headers = append(headers, "Content-Type: "+tc.contentType)
			}
			r := g.send(t, http.MethodDelete, elasticPath, `{"username":"jack"}`, headers...)
			if got := r.header.Get("Content-Type"); r.status != tc.status || got != tc.want {
				t.Errorf("got %d %s, want %d %s", r.status, got, tc.status, tc.want)
			}
			if r.status == 406 {
				r.want(t, 406, `{"error":"Content-Type header [`+tc.contentType+`] is not supported","status":406}`)
			}
		})
	}
}

func TestElasticsearchReadsGzipWithinItsLimit(t *testing.T) {
	g := newRig(t)
	pack := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write([]byte(s))
		must(t, err)
		must(t, z.Close())
		return b.String()
	}
	long := `{"username":"` + strings.Repeat("x", 64<<10) + `"}`
	tooLong := elasticFailure(413, "status_exception", "the body is longer than 65536 bytes")
	g.elastic(t, pack(`{"username":"jack"}`), "Content-Encoding: gzip").want(t, 200, counts(0, 0)+noAgents)
	empty := strings.Repeat(pack(""), 4000)
	g.elastic(t, empty+pack(`{"username":"jack"}`), "Content-Encoding: gzip").want(t, 413, tooLong)
	g.elastic(t, pack(long), "Content-Encoding: gzip").want(t, 413, tooLong)
	g.elastic(t, long).want(t, 413, tooLong)
	g.elastic(t, `{"username":"jack"}`, "Content-Encoding: gzip").want(t, 400, elasticFailure(400, "x_content_parse_exception",
		"the body cannot be read, or is not what Content-Encoding says"))
	g.elastic(t, `{"username":"jack"}`, "Content-Encoding: br").want(t, 415, elasticFailure(415, "status_exception",
		"Content-Encoding must not be set to that"))
}

func TestElasticsearchIsPrettyWhenAsked(t *testing.T) {
	g := newRig(t)
	const pretty = "{\n  \"invalidated_tokens\": 0,\n  \"previously_invalidated_tokens\": 0,\n  \"error_count\": 0\n}\n"
	for query, want := range map[string]string{"?pretty": pretty, "?pretty=true": pretty, "?pretty=false": nothing, "?human": nothing} {
		g.send(t, http.MethodDelete, elasticPath+query, `{"realm_name":"nowhere"}`, elasticJSON, elasticAuth).want(t, 200, want)
	}
}

func TestElasticsearchProductIsOnEveryAnswer(t *testing.T) {
	g := newRig(t)
	own := "Authorization: Bearer " + g.token(t, realm.TokenRequest{User: "jack"})
	missing := `"type":"security_exception","reason":"missing authentication credentials for REST request [/_security/oauth2/token]",` +
		`"header":{"WWW-Authenticate":["Basic realm=\"security\", charset=\"UTF-8\"","Bearer realm=\"security\"","ApiKey"]}`
	for _, tc := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		want                     string
	}{
		{"success", "DELETE", elasticPath, `{"realm_name":"nowhere"}`, []string{elasticAuth, elasticJSON}, 200, nothing},
		{"old path", "DELETE", "/_xpack/security/oauth2/token", `{"realm_name":"nowhere"}`, []string{elasticAuth, elasticJSON}, 200, nothing},
		{"no credentials", "DELETE", elasticPath, `{}`, []string{elasticJSON}, 401,
			`{"error":{"root_cause":[{` + missing + `}],` + missing + `},"status":401}`},
		{"no privilege", "DELETE", elasticPath, `{"username":"jack"}`, []string{own, elasticJSON}, 403, elasticFailure(403, "security_exception",
			"action [cluster:admin/xpack/security/token/invalidate] is unauthorized: this caller may not revoke targets of kind user")},
		{"no privilege for what is not there", "DELETE", elasticPath, `{"realm_name":"nowhere"}`, []string{own, elasticJSON}, 403, elasticFailure(403, "security_exception",
			"action [cluster:admin/xpack/security/token/invalidate] is unauthorized: this caller may not revoke targets of kind realm")},
		{"no privilege for opaque tokens", "DELETE", elasticPath, `{"refresh_token":"x"}`, []string{own, elasticJSON}, 403, elasticFailure(403, "security_exception",
			"action [cluster:admin/xpack/security/token/invalidate] is unauthorized: this caller may not revoke targets of kind token")},
		{"unknown token", "DELETE", elasticPath, `{"token":"x"}`, []string{elasticAuth, elasticJSON}, 404, nothing},
		{"other method", "POST", elasticPath, `{}`, []string{elasticAuth, elasticJSON}, 405,
			`{"error":"Incorrect HTTP method for uri [/_security/oauth2/token] and method [POST], allowed: [DELETE]","status":405}`},
		{"other page", "GET", "/_security/user?x=1", ``, []string{elasticAuth}, 400,
			`{"error":"no handler found for uri [/_security/user] and method [GET]","status":400}`},
		{"token in the query string", "DELETE", elasticPath + "?token=s3cret&x=1", `{"username":"jack"}`, []string{elasticAuth, elasticJSON}, 400,
			elasticFailure(400, "illegal_argument_exception", "request [/_security/oauth2/token] contains unrecognized parameters: [token], [x]")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := g.send(t, tc.method, tc.path, tc.body, tc.headers...)
			r.want(t, tc.status, tc.want)
			if got := r.header.Get("X-Elastic-Product"); got != "Elasticsearch" {
				t.Errorf("X-Elastic-Product is %q", got)
			}
		})
	}
	challenges := g.send(t, "DELETE", elasticPath, ``).header.Values("WWW-Authenticate")
	if want := []string{`Basic realm="security", charset="UTF-8"`, `Bearer realm="security"`, "ApiKey"}; strings.Join(challenges, "|") != strings.Join(want, "|") {
		t.Errorf("challenges %q", challenges)
	}
	if got := g.send(t, "PUT", elasticPath, ``).header.Get("Allow"); got != "DELETE" {
		t.Errorf("Allow is %q", got)
	}
}

func TestElasticsearchTakesTheThreeSchemes(t *testing.T) {
	g := newRig(t)
	for _, auth := range []string{"Bearer " + g.free, "ApiKey " + pair("ops", g.free), "Basic " + pair("admin", adminKey)} {
		g.send(t, http.MethodDelete, elasticPath, `{"realm_name":"nowhere"}`, elasticJSON, "Authorization: "+auth).want(t, 200, nothing)
	}
	for auth, reason := range map[string]string{
		"Basic " + pair("admin", "wrong"):                                               "unable to authenticate with provided credentials for REST request [/_security/oauth2/token]",
		"Bearer " + g.token(t, realm.TokenRequest{User: "jack", TTL: -2 * time.Minute}): "token expired",
	} {
		r := g.send(t, http.MethodDelete, elasticPath, `{"realm_name":"nowhere"}`, elasticJSON, "Authorization: "+auth)
		if r.status != 401 || !strings.Contains(r.body, `"reason":"`+reason+`"`) || r.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%.8s: got %d %s", auth, r.status, r.body)
		}
	}
}

func TestElasticsearchWithoutABusIsToldToTryAgain(t *testing.T) {
	g := newRig(t)
	token := g.token(t, realm.TokenRequest{User: "jack"})
	g.nats.Stop(t)
	for range 2 {
		r := g.elastic(t, fmt.Sprintf(`{"token":%q}`, token))
		r.want(t, 503, elasticFailure(503, "security_exception", "unable to perform requested action"))
		if r.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	g.nats.Start(t)
	var r reply
	eventually(t, func() bool {
		r = g.elastic(t, fmt.Sprintf(`{"token":%q}`, token))
		return r.status == 200
	})
	r.want(t, 200, counts(1, 0)+noAgents)
	if n := g.published(t); n != 1 {
		t.Errorf("%d events published for one token and its retries", n)
	}
}
