package intake_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

// lines sends a list as lines.
func (g *rig) lines(t *testing.T, auth, query string, lines ...string) reply {
	t.Helper()
	return g.send(t, "POST", nativePath+query, strings.Join(lines, "\n"), "Authorization: "+auth, "Content-Type: application/x-ndjson")
}

const demoIssuer = "https://demo.rescind.test"

func identityLines(n int) []string {
	exp := time.Now().Unix() + 600
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(`{"iss":%q,"jti":"token-%d","exp":%d}`, demoIssuer, i, exp)
	}
	return out
}

func TestListOfLinesIsRevokedInEventsOfAThousand(t *testing.T) {
	g := newRig(t)
	list := identityLines(2100)
	one, two := g.token(t, realm.TokenRequest{User: "jack"}), g.token(t, realm.TokenRequest{User: "jill", Realm: "partner"})
	dead := g.token(t, realm.TokenRequest{User: "jack", TTL: -2 * time.Minute})
	list = append(list, `{"token":"`+one+`"}`, "", `  {"token":"`+two+`"}  `, "\r", `{"token":"`+one+`"}`, list[7], `{"token":"`+dead+`"}`)
	r := g.lines(t, admin, "?wait=none&reason=laptops+stolen", list...)
	var a struct {
		Target      struct{ Tokens int }
		Reason      string
		Invalidated int `json:"invalidated_tokens"`
		Expired     int `json:"expired_tokens"`
		Events      []struct{ Stream, Target string }
	}
	must(t, json.Unmarshal([]byte(r.body), &a))
	if r.status != 201 || a.Target.Tokens != 2102 || a.Invalidated != 2102 || a.Expired != 1 || a.Reason != "laptops stolen" {
		t.Errorf("answered %d %+v", r.status, a)
	}
	if len(a.Events) != 3 || a.Events[0].Target != "1000 tokens" || a.Events[2].Target != "102 tokens" {
		t.Errorf("events are %+v", a.Events)
	}
	for name, raw := range map[string]string{"first": one, "of the other realm": two} {
		if !g.refused(t, raw) {
			t.Errorf("token %s is not revoked", name)
		}
	}
	for _, jti := range []string{"token-0", "token-999", "token-1000", "token-2099"} {
		if !g.pub.Revoked(&events.Token{Identity: events.JTIIdentity(demoIssuer, jti)}) {
			t.Errorf("%s is not revoked", jti)
		}
	}
}

func TestListWithOneWrongLineRevokesNothing(t *testing.T) {
	g := newRig(t)
	good := identityLines(1500)
	foreign := g.token(t, realm.TokenRequest{User: "jack"})
	forged := foreign[:strings.LastIndex(foreign, ".")+1] + strings.Repeat("A", 86)
	for _, tc := range []struct {
		name, line, detail string
		status             int
	}{
		{"not JSON", `{"token":`, "not a JSON object", 422},
		{"no object", `"token"`, "not a JSON object", 422},
		{"two objects", `{"iss":"a","jti":"b"}{}`, "something follows the JSON object", 422},
		{"not UTF-8", "{\"token\":\"\xff\"}", "not UTF-8, or half of a surrogate pair", 422},
		{"nothing in it", `{}`, "iss and jti are needed", 422},
		{"unknown member", `{"iss":"a","jti":"b","sub":"c"}`, "sub: unknown member", 422},
		{"member twice", `{"token":"a","token":"b"}`, `member "token" stands there twice`, 422},
		{"another case", `{"Token":"a"}`, "Token: unknown member", 422},
		{"both", `{"token":"a","jti":"b"}`, "token: unknown member", 422},
		{"empty token", `{"token":""}`, "token: must be a string of 1 to 16384 bytes", 422},
		{"token that is none", `{"token":"a.b.c"}`, "", 422},
		{"forged token", `{"token":"` + forged + `"}`, "bad signature", 422},
		{"issuer of no realm", `{"iss":"https://evil.test","jti":"a"}`, "it is the issuer of no realm", 422},
		{"expiry too far", `{"iss":"` + demoIssuer + `","jti":"a","exp":20000000000}`, "is further away than a token of realm demo can live", 422},
		{"long line", `{"token":"` + strings.Repeat("a", 20_000) + `"}`, "a line is longer than 17408 bytes", 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			list := append(append([]string{}, good...), tc.line)
			r := g.lines(t, admin, "", list...)
			var p struct {
				Detail string
				Errors []struct{ Pointer, Detail string }
			}
			must(t, json.Unmarshal([]byte(r.body), &p))
			want := "line 1501: " + tc.detail
			if tc.status == 413 {
				want = tc.detail
			}
			if r.status != tc.status || !strings.HasPrefix(p.Detail, want) {
				t.Errorf("answered %d %s, want %d %q", r.status, r.body, tc.status, want)
			}
			if tc.status == 422 && (len(p.Errors) != 1 || p.Errors[0].Pointer != "#/1500") {
				t.Errorf("errors are %+v", p.Errors)
			}
			if strings.Contains(r.body, "eyJ") {
				t.Error("a token is in the answer")
			}
		})
	}
	if n := g.published(t); n != 0 {
		t.Errorf("%d events published", n)
	}
}

func TestListIsRefusedAsAWhole(t *testing.T) {
	g := newRig(t)
	partner := fmt.Sprintf(`{"iss":"https://partner.rescind.test","jti":"a","exp":%d}`, time.Now().Unix()+600)
	many := identityLines(100_001)
	for _, tc := range []struct {
		name, auth, query string
		headers, list     []string
		status            int
		detail            string
	}{
		{"nobody", "", "", nil, identityLines(1), 401, "no credentials: send an Authorization header with Bearer, ApiKey or Basic"},
		{"kind that the caller may not", "Bearer " + g.bound, "", nil, identityLines(1), 403, "this caller may not revoke targets of kind tokens"},
		{"bearer without a scope", "Bearer " + g.token(t, realm.TokenRequest{User: "jack"}), "", nil, identityLines(1), 403, "this caller may not revoke targets of kind tokens"},
		{"bearer of another realm", "Bearer " + g.token(t, realm.TokenRequest{User: "jack", Scope: "rescind:token"}), "", nil,
			append(identityLines(1), partner), 403, `this caller may not revoke in realm "partner"`},
		{"no line", admin, "", nil, []string{"", " "}, 400, "there is no line"},
		{"too many", admin, "", nil, many, 413, "more than 100000 lines"},
		{"packed", admin, "", []string{"Content-Encoding: gzip"}, identityLines(1), 415, "Content-Encoding must not be set"},
		{"reason in the body's place", admin, "?token=x", nil, identityLines(1), 400, `unknown parameter "token": there are wait, timeout, dry_run, reason`},
		{"all expired", admin, "", nil, []string{`{"iss":"` + demoIssuer + `","jti":"a","exp":1}`}, 422, "the token has expired: there is nothing to revoke"},
		{"long reason", admin, "?reason=" + strings.Repeat("x", events.MaxReasonBytes+1), nil, identityLines(1), 422, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			headers := append([]string{"Content-Type: application/x-ndjson"}, tc.headers...)
			if tc.auth != "" {
				headers = append(headers, "Authorization: "+tc.auth)
			}
			r := g.send(t, "POST", nativePath+tc.query, strings.Join(tc.list, "\n"), headers...)
			var p struct{ Detail string }
			must(t, json.Unmarshal([]byte(r.body), &p))
			if r.status != tc.status || tc.detail != "" && p.Detail != tc.detail {
				t.Errorf("answered %d %s, want %d %q", r.status, r.body, tc.status, tc.detail)
			}
		})
	}
	for _, kind := range []string{"application/x-ndjson; charset=latin-1", "text/plain", "application/json"} {
		if r := g.send(t, "POST", nativePath, strings.Join(identityLines(2), "\n"), nativeAuth, "Content-Type: "+kind); r.status == 201 {
			t.Errorf("taken as %s", kind)
		}
	}
	if n := g.published(t); n != 0 {
		t.Errorf("%d events published", n)
	}
}
