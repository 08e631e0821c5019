package intake_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/realm"
)

// refusals are those of the audit stream.
func (g *rig) refusals(t *testing.T) (out []*events.Refusal) {
	t.Helper()
	batch, err := g.bus.Read(t.Context(), events.Audit, 1, 10_000, 64<<20)
	if err != nil {
		return nil // a condition is waited for
	}
	for _, m := range batch.Messages {
		if r, err := g.pub.Keys().OpenRefusal(events.DefaultFleet, m.Data); err == nil {
			out = append(out, r)
		}
	}
	return out
}

// wantRefusal waits for one that is as wanted: door, error, caller, kind, realm, target.
func (g *rig) wantRefusal(t *testing.T, want string) (found *events.Refusal) {
	t.Helper()
	defer func() {
		for _, r := range g.refusals(t) {
			if found == nil {
				t.Log("recorded:", describeRefusal(r))
			}
		}
	}()
	bustest.Eventually(t, "refusal "+want, func() bool {
		for _, r := range g.refusals(t) {
			if describeRefusal(r) == want {
				found = r
			}
		}
		return found != nil
	})
	return found
}

func describeRefusal(r *events.Refusal) string {
	return fmt.Sprintf("%s %s %q %s %q %q", r.Door, r.Error, r.Caller, r.Kind, r.Realm, r.Target)
}

// Whoever is turned away by a door is on record, with what it wanted; never with what
// it showed.
func TestEveryRefusalIsAudited(t *testing.T) {
	g := newRig(t)
	g.transmit(t)
	basic := func(user, password string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	token := g.token(t, realm.TokenRequest{User: "jack"})
	forged := token[:strings.LastIndexByte(token, '.')+1] + strings.Repeat("A", 86)
	json, form := "Content-Type: application/json", "Content-Type: application/x-www-form-urlencoded"
	logout := g.statement(t, "demo", "logout+jwt", logoutClaims("nonce", "n"))
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		want                     string
	}{
		{"native, nobody", "POST", "/v1/revocations", `{"all":true}`, []string{json}, `native unauthenticated ""  "" ""`},
		{"native, kind", "POST", "/v1/revocations", `{"realm":"demo"}`, []string{json, "Authorization: Bearer " + g.users},
			`native forbidden "apikey:users" realm "demo" "realm demo"`},
		{"native, realm", "POST", "/v1/revocations", `{"user":"jack","realm":"partner"}`, []string{json, "Authorization: Bearer " + g.bound},
			`native forbidden "apikey:ci" user "partner" "user \"jack\" in realm partner"`},
		{"native, dry run", "POST", "/v1/revocations?dry_run=true", `{"user":"jack"}`, []string{json, "Authorization: Bearer " + g.bound},
			`native forbidden "apikey:ci" user "" "user \"jack\""`},
		{"native, forged token", "POST", "/v1/revocations", `{"token":"` + forged + `"}`, []string{json, "Authorization: " + admin},
			`native unknown-token "admin" token "" "token"`},
		{"native, reader", "GET", "/v1/agents", "", []string{"Authorization: Bearer " + token}, `native forbidden "bearer:demo:jack"  "" ""`},
		{"elasticsearch, password", "DELETE", "/_security/oauth2/token", `{"username":"jack"}`, []string{json, basic("alice", "not-the-password")},
			`elasticsearch unauthenticated ""  "" ""`},
		{"elasticsearch, unknown realm", "DELETE", "/_security/oauth2/token", `{"realm_name":"nowhere"}`, []string{json, "Authorization: Bearer " + g.users},
			`elasticsearch forbidden "apikey:users" realm "nowhere" "realm nowhere"`},
		{"elasticsearch, forged token", "DELETE", "/_security/oauth2/token", `{"token":"` + forged + `"}`, []string{json, "Authorization: " + admin},
			`elasticsearch unknown-token "admin"  "" ""`},
		{"lusid, forged token", "DELETE", "/identity/api/tokens", "", []string{"Authorization: Bearer " + forged}, `lusid unauthenticated ""  "" ""`},
		{"oauth, forged token", "POST", "/oauth2/revoke", "token=" + forged, []string{form, "Authorization: " + admin}, `oauth unknown-token "admin"  "" ""`},
		{"oauth, another client's", "POST", "/oauth2/revoke", "token=" + token + "&client_id=spa", []string{form},
			`oauth forbidden "client:demo:spa" token "demo" "TOKEN"`},
		{"oauth, public", "POST", "/oauth2/introspect", "token=" + token + "&client_id=spa", []string{form}, `oauth forbidden "client:demo:spa"  "" ""`},
		{"logout", "POST", "/backchannel-logout", "logout_token=" + logout, []string{form}, `backchannel_logout untrusted-statement ""  "" ""`},
		{"global", "POST", "/global-token-revocation", `{"sub_id":{"format":"iss_sub","iss":"i","sub":"s"}}`, []string{json, "Authorization: Bearer x"},
			`global_token_revocation unauthenticated ""  "" ""`},
		{"ssf", "POST", "/ssf/events", g.statement(t, "demo", "secevent+jwt", jwt.MapClaims{"iss": "https://nobody.example"}), []string{"Content-Type: application/secevent+jwt"},
			`ssf invalid_issuer ""  "" ""`},
		{"streams", "GET", "/ssf/stream", "", []string{"Authorization: Bearer " + token}, `ssf_streams forbidden "bearer:demo:jack"  "" ""`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := g.send(t, c.method, c.path, c.body, c.headers...)
			id, err := events.ParseToken(token)
			must(t, err)
			r := g.wantRefusal(t, strings.ReplaceAll(c.want, "TOKEN", "token "+id.Identity.String()))
			if r.Remote != "127.0.0.1" || r.Count != 1 || r.First != r.Last || r.Detail == "" {
				t.Errorf("status %d; recorded %+v", got.status, r)
			}
		})
	}
	batch, err := g.bus.Read(t.Context(), events.Audit, 1, 10_000, 64<<20)
	must(t, err)
	for _, m := range batch.Messages {
		parts := strings.Split(string(m.Data), ".")
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		must(t, err)
		for _, secret := range []string{token, forged, logout, g.bound, g.users, "not-the-password"} {
			if strings.Contains(string(payload), secret) {
				t.Errorf("what a caller showed is on record: %s", payload)
			}
		}
	}
}

// What is refused for its form is no refusal of anybody.
func TestMalformedRequestsAreNotAudited(t *testing.T) {
	g := newRig(t)
	g.send(t, http.MethodPost, "/v1/revocations", `{`, "Content-Type: application/json", "Authorization: "+admin)
	g.send(t, http.MethodPut, "/v1/revocations", ``)
	g.send(t, http.MethodGet, "/nowhere", ``)
	g.send(t, http.MethodGet, "/v1/agents", ``)
	g.wantRefusal(t, `native unauthenticated ""  "" ""`)
	if n := len(g.refusals(t)); n != 1 {
		t.Errorf("%d refusals are recorded, want 1", n)
	}
}

// Refusals that are alike are counted, and the numbers are on record when the
// publisher is closed.
func TestRefusalsAreCountedUntilTheEnd(t *testing.T) {
	g := newRig(t)
	const times = 50
	for range times {
		g.send(t, http.MethodGet, "/v1/agents", ``)
	}
	must(t, g.pub.Close())
	g.open(t)
	bustest.Eventually(t, "50 requests are recorded", func() bool {
		n := 0
		for _, r := range g.refusals(t) {
			n += r.Count
		}
		return n == times
	})
}

// Whatever was asked for, its record is short.
func TestRefusalsAreShort(t *testing.T) {
	g := newRig(t)
	g.send(t, http.MethodPost, "/v1/revocations", `{"user":"`+strings.Repeat("é", 1000)+`","realm":"partner"}`, jsonType, "Authorization: Bearer "+g.bound)
	var found *events.Refusal
	bustest.Eventually(t, "the refusal is recorded", func() bool {
		for _, r := range g.refusals(t) {
			found = r
		}
		return found != nil
	})
	if !strings.HasSuffix(found.Target, "é…") || len(found.Target) > 600 {
		t.Errorf("the target has %d bytes: %s", len(found.Target), found.Target)
	}
}
