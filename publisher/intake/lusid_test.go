package intake_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

var lusidPaths = []string{"/identity/api/tokens", "/api/tokens"}

func signOutBy(what realm.SignOut) func(map[string]realm.Config) {
	return func(c map[string]realm.Config) {
		demo := c["demo"]
		demo.SignOut = what
		c["demo"] = demo
	}
}

func (g *rig) signOut(t *testing.T, path, auth string, headers ...string) reply {
	t.Helper()
	return g.send(t, http.MethodDelete, path, "", append(headers, "Accept: application/json", "Authorization: "+auth)...)
}

// refused tells whether the publisher's own denylist has the token.
func (g *rig) refused(t *testing.T, raw string) bool {
	t.Helper()
	tok, err := events.ParseToken(raw)
	must(t, err)
	return g.pub.Revoked(tok)
}

func TestSignOutRevokesWhatTheRealmSays(t *testing.T) {
	for _, tc := range []struct {
		signOut                             realm.SignOut
		own, sameSession, sameUser, another bool
	}{
		{realm.SignOutToken, true, false, false, false},
		{realm.SignOutSession, true, true, false, false},
		{realm.SignOutUser, true, true, true, false},
	} {
		t.Run(string(tc.signOut), func(t *testing.T) {
			g := newRig(t, signOutBy(tc.signOut))
			for i, path := range lusidPaths {
				user := fmt.Sprintf("jack%d", i)
				own := g.token(t, realm.TokenRequest{User: user, Session: user + "s1"})
				sameSession := g.token(t, realm.TokenRequest{User: user, Session: user + "s1", Alg: "ES256"})
				sameUser := g.token(t, realm.TokenRequest{User: user, Session: user + "s2", Alg: "RS256"})
				another := g.token(t, realm.TokenRequest{User: "jill", Session: "s3"})
				r := g.signOut(t, path, "Bearer "+own, "X-LUSID-SDK-Language: Go", "X-LUSID-SDK-Version: 1", "X-LUSID-Application: x")
				r.want(t, 204, "")
				got := [4]bool{g.refused(t, own), g.refused(t, sameSession), g.refused(t, sameUser), g.refused(t, another)}
				if want := [4]bool{tc.own, tc.sameSession, tc.sameUser, tc.another}; got != want {
					t.Errorf("%s: revoked own, session's, user's, another's: %v, want %v", path, got, want)
				}
			}
		})
	}
}

func TestSignOutWithoutSessionRevokesTheToken(t *testing.T) {
	g := newRig(t, signOutBy(realm.SignOutSession))
	own := g.token(t, realm.TokenRequest{User: "jack"})
	g.signOut(t, lusidPaths[0], "Bearer "+own).want(t, 204, "")
	if !g.refused(t, own) {
		t.Error("the token is not revoked")
	}
}

func TestSignOutReachesATokenWhoseIssuersClockIsAhead(t *testing.T) {
	g := newRig(t, signOutBy(realm.SignOutUser))
	own := g.token(t, realm.TokenRequest{User: "jack", Now: time.Now().Add(30 * time.Second)})
	g.signOut(t, lusidPaths[0], "Bearer "+own).want(t, 204, "")
	if !g.refused(t, own) {
		t.Error("the token is not revoked")
	}
}

func TestSignOutAnswersTheSameWhateverAgentsDo(t *testing.T) {
	g := newRig(t)
	g.join(t, "web-1", true)
	g.signOut(t, lusidPaths[0], "Bearer "+g.token(t, realm.TokenRequest{User: "jack"})).want(t, 204, "")
}

func lusidFailure(status int, name, slug, title, detail string) string {
	return fmt.Sprintf(`{"name":%q,"errorDetails":[],"code":%d,"type":"https://rescind.dev/problems/%s","title":%q,"status":%d,"detail":%q,"instance":"/identity/api/tokens"}`+"\n",
		name, status, slug, title, status, detail)
}

func TestSignOutRefusesOtherCredentials(t *testing.T) {
	g := newRig(t)
	revoked := g.token(t, realm.TokenRequest{User: "jack"})
	g.signOut(t, lusidPaths[0], "Bearer "+revoked).want(t, 204, "")
	good := g.token(t, realm.TokenRequest{User: "jack"})
	before := g.published(t)
	for _, tc := range []struct{ name, auth, detail, challenge string }{
		{"none", "", "no credentials: send an Authorization header with Bearer, ApiKey or Basic", `Bearer realm="rescind"`},
		{"expired", "Bearer " + g.token(t, realm.TokenRequest{User: "jack", TTL: -2 * time.Minute}), "token has expired", ""},
		{"badly signed", "Bearer " + good[:len(good)-8] + "AAAAAAAA", "bad signature", ""},
		{"of an unknown realm", "Bearer " + newDoor(t).token(t, realm.TokenRequest{User: "jack", Now: time.Now()}), "unknown key", ""},
		{"revoked", "Bearer " + revoked, "the token is revoked", ""},
		{"opaque", "Bearer c2VjcmV0", "unknown key", ""},
		{"the admin's", admin, "only a realm's token can sign itself out", ""},
		{"an API key", "ApiKey " + g.free, "only a realm's token can sign itself out", ""},
		{"of another scheme", "Digest x", "the scheme is not Bearer, ApiKey or Basic", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			title, challenge := "Credentials are not valid", tc.challenge
			if challenge == "" {
				challenge = `Bearer realm="rescind", error="invalid_token", error_description="` + strings.ReplaceAll(tc.detail, `"`, `'`) + `"`
			}
			var r reply
			if tc.auth == "" {
				title, r = "Credentials are required", g.send(t, http.MethodDelete, lusidPaths[0], "")
			} else {
				r = g.signOut(t, lusidPaths[0], tc.auth)
			}
			r.want(t, 401, lusidFailure(401, "InvalidToken", "unauthenticated", title, tc.detail))
			if got := r.header.Get("WWW-Authenticate"); got != challenge {
				t.Errorf("challenge %s, want %s", got, challenge)
			}
			if got := r.header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type is %s", got)
			}
		})
	}
	if n := g.published(t); n != before {
		t.Errorf("%d events published", n-before)
	}
}

func TestSignOutRefusesOtherMethods(t *testing.T) {
	g := newRig(t)
	r := g.send(t, http.MethodGet, lusidPaths[0], "")
	r.want(t, 405, lusidFailure(405, "MethodNotAllowed", "method", "Method is not allowed", "method is not one of DELETE"))
	if got := r.header.Get("Allow"); got != "DELETE" {
		t.Errorf("Allow is %q", got)
	}
}

func TestSignOutWithoutABusIsToldToTryAgainAndIsDoneOnce(t *testing.T) {
	g := newRig(t)
	own := g.token(t, realm.TokenRequest{User: "jack"})
	g.nats.Stop(t)
	for range 2 {
		r := g.signOut(t, lusidPaths[0], "Bearer "+own)
		r.want(t, 503, lusidFailure(503, "ServiceUnavailable", "queued", "Accepted, not in force yet",
			"the bus is away: it will be done when it is back; the same request again joins this one"))
		if r.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	g.nats.Start(t)
	// The retry is the same order until it is in force; then the bearer is revoked.
	eventually(t, func() bool { return g.signOut(t, lusidPaths[0], "Bearer "+own).status != 503 })
	eventually(t, func() bool { return g.refused(t, own) })
	if n := g.published(t); n != 1 {
		t.Errorf("%d events published for one sign-out and its retries", n)
	}
}

func TestASignOutIsNamedByItsToken(t *testing.T) {
	g := newRig(t)
	for range 2 {
		g.signOut(t, lusidPaths[0], "Bearer "+g.token(t, realm.TokenRequest{User: "jack"})).want(t, 204, "")
	}
	records, err := g.pub.Revocations(events.EventID{}, 2)
	must(t, err)
	// By its cause every publisher of the fleet knows a repeated sign-out.
	if len(records) != 2 || records[0].Cause == "" || records[0].Cause == records[1].Cause {
		t.Errorf("got %+v", records)
	}
}
