package intake_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher/intake"
)

const partnerIssuer = "https://partner.rescind.test"

// knock is one request to a door, and the statuses that may answer it.
type knock struct {
	name, method, path, body string
	headers                  []string
	want                     []int
}

func form(values ...string) string {
	v := url.Values{}
	for i := 0; i < len(values); i += 2 {
		v.Add(values[i], values[i+1])
	}
	return v.Encode()
}

// TestNoDoorLeadsFromOneRealmToAnother: whatever an identity provider, its users and
// those who are bound to its realm say, at whichever door, nothing of another realm
// is revoked by it.
func TestNoDoorLeadsFromOneRealmToAnother(t *testing.T) {
	g := newRig(t, demoWith(func(c *realm.Config) { c.EmailClaim = "email" }))
	tr := newTransmitter(t)
	lift := g.send(t, http.MethodPost, "/v1/revocations", `{"user":"other","realm":"demo"}`, "Authorization: "+admin, jsonType)
	id := lift.body[strings.Index(lift.body, `"id":"`)+6:][:36]
	live := g.token(t, realm.TokenRequest{User: "jack", Session: "s1", Client: "other"})
	boss := g.token(t, realm.TokenRequest{User: "boss", Session: "s2", Client: "other", Realm: "partner",
		Scope: "rescind:token rescind:user rescind:realm rescind:all ssf.manage"})
	// A server for pushes, whose transmitter is bound to partner, and the other doors.
	g.receive(t, tr, func(c *intake.TransmitterConfig) {
		c.Realm, c.AuthorizationSHA256, c.Kinds = "partner", "", events.Kinds
	})
	pushes := g.url
	s, err := intake.New(intake.Config{Publisher: g.pub, Authenticator: g.auth, Realms: g.realms, GlobalTokenRevocation: true, Logger: g.log.logger()})
	must(t, err)
	g.serveAt(t, s)
	auth := "Authorization: Bearer " + boss
	logout := func(by, iss string) string {
		return form("logout_token", g.statement(t, by, "logout+jwt", logoutClaims("iss", iss)))
	}
	okta := func(by, iss string) string {
		return "Authorization: Bearer " + g.statement(t, by, globalType, oktaClaims("iss", iss))
	}
	es := []string{auth, jsonType}
	knocks := []knock{
		{"elasticsearch, user in realm", http.MethodDelete, "/_security/oauth2/token", `{"username":"jack","realm_name":"demo"}`, es, []int{403}},
		{"elasticsearch, realm", http.MethodDelete, "/_security/oauth2/token", `{"realm_name":"demo"}`, es, []int{403}},
		{"elasticsearch, user", http.MethodDelete, "/_security/oauth2/token", `{"username":"jack"}`, es, []int{403}},
		{"elasticsearch, token", http.MethodDelete, "/_security/oauth2/token", `{"token":"` + live + `"}`, es, []int{403}},
		{"elasticsearch, refresh token", http.MethodDelete, "/_security/oauth2/token", `{"refresh_token":"` + live + `"}`, es, []int{403}},
		{"lusid", http.MethodDelete, "/identity/api/tokens", "", []string{"Authorization: Bearer " + g.token(t, realm.TokenRequest{User: "jack", Session: "s1", Realm: "partner"})}, []int{204}},
		{"lift", http.MethodDelete, "/v1/revocations/" + id, "", []string{auth}, []int{403, 404}},
		{"list of lines", http.MethodPost, "/v1/revocations", `{"iss":"` + demoIssuer + `","jti":"` + jtiOf(t, live) + `"}`, []string{auth, "Content-Type: application/x-ndjson"}, []int{403}},
		{"oauth, bearer", http.MethodPost, revokePath, form("token", live), []string{auth, formType}, []int{403}},
		{"oauth, client", http.MethodPost, revokePath, form("token", live), []string{oauthBasic("other", otherSecret), formType}, []int{400}},
		{"logout, signed by another", http.MethodPost, logoutPath, logout("partner", demoIssuer), []string{formType}, []int{400}},
		{"logout, of its own", http.MethodPost, logoutPath, logout("partner", partnerIssuer), []string{formType}, []int{200}},
		{"global, signed by another", http.MethodPost, globalPath, subID("format", "iss_sub", "iss", demoIssuer, "sub", "jack"), []string{okta("partner", demoIssuer), jsonType}, []int{401}},
		{"global, another's user", http.MethodPost, globalPath, subID("format", "iss_sub", "iss", demoIssuer, "sub", "jack"), []string{okta("partner", partnerIssuer), jsonType}, []int{403}},
		{"global, its own", http.MethodPost, globalPath, subID("format", "opaque", "id", "jack"), []string{okta("partner", partnerIssuer), jsonType}, []int{204}},
		{"global, bearer", http.MethodPost, globalPath, subID("format", "iss_sub", "iss", demoIssuer, "sub", "jack"), []string{auth, jsonType}, []int{403}},
	}
	for what, body := range map[string]string{"user": `"user":"jack","realm":"demo"`, "user anywhere": `"user":"jack"`, "session": `"session":"s1","realm":"demo"`,
		"client": `"client":"other","realm":"demo"`, "claim": `"claim":"sub","value":"jack","realm":"demo"`, "realm": `"realm":"demo"`, "all": `"all":true`,
		"token": `"token":"` + live + `"`, "tokens": `"tokens":["` + live + `"]`, "identities": `"identities":[{"iss":"` + demoIssuer + `","jti":"` + jtiOf(t, live) + `"}]`} {
		knocks = append(knocks, knock{"native, " + what, http.MethodPost, "/v1/revocations", "{" + body + "}", es, []int{403}})
	}
	for what, subject := range map[string]map[string]any{"user": issSub("jack"), "token": {"format": "jwt_id", "iss": demoIssuer, "jti": jtiOf(t, live)},
		"session": complexSubject("session", opaqueSubject("s1"), "user", issSub("jack")), "realm": complexSubject("tenant", opaqueSubject("demo")),
		"user in realm": complexSubject("user", opaqueSubject("jack"), "tenant", opaqueSubject("demo")), "its own": opaqueSubject("jack"),
		"address": {"format": "email", "email": "jack@example.com"}, "aliases": {"format": "aliases", "identifiers": []any{issSub("jack")}}} {
		knocks = append(knocks, knock{"ssf, " + what, http.MethodPost, pushes + pushPath, tr.set(t, "", "sub_id", subject), []string{setType}, []int{202, 400}})
	}
	for _, k := range knocks {
		t.Run(k.name, func(t *testing.T) { g.knock(t, k, live) })
	}
	if r := g.send(t, http.MethodGet, "/v1/revocations?limit=1000", "", "Authorization: "+admin); strings.Count(r.body, `"realm":"demo"`) != 1 {
		t.Errorf("something of realm demo was revoked: %s", r.body)
	}
}

// knock sends the request, and looks whether the live token lives.
func (g *rig) knock(t *testing.T, k knock, live string) {
	t.Helper()
	before := g.url
	if strings.HasPrefix(k.path, "http") {
		g.url = ""
	}
	r := g.send(t, k.method, k.path, k.body, k.headers...)
	g.url = before
	if !slices.Contains(k.want, r.status) {
		t.Errorf("got %d %s, want %v", r.status, r.body, k.want)
	}
	if g.refused(t, live) {
		t.Fatal("the token is refused")
	}
}

// TestAForgedTokenHasNoEffectAtAnyDoor: who knows the jti of somebody's token and signs
// nothing, or with a key of their own, can neither revoke it nor act in its name.
func TestAForgedTokenHasNoEffectAtAnyDoor(t *testing.T) {
	g := newRig(t)
	live := g.token(t, realm.TokenRequest{User: "jack", Session: "s1", Client: "spa", Scope: "rescind:all ssf.manage"})
	payload := strings.Split(live, ".")[1]
	b64 := base64.RawURLEncoding.EncodeToString
	own := newClientKey(t)
	forge := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": demoIssuer, "jti": jtiOf(t, live), "sub": "jack", "sid": "s1", "client_id": "spa",
		"scope": "rescind:all ssf.manage", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()})
	foreign, err := forge.SignedString(own.private)
	must(t, err)
	tr := newTransmitter(t)
	g.receive(t, tr, func(c *intake.TransmitterConfig) { c.AuthorizationSHA256 = "" })
	before := g.published(t)
	for name, forged := range map[string]string{
		"unsigned":    b64([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + payload + ".",
		"stripped":    strings.Join(strings.Split(live, ".")[:2], ".") + ".",
		"none, cased": b64([]byte(`{"alg":"nOnE"}`)) + "." + payload + "." + b64([]byte("x")),
		"HS256":       b64([]byte(`{"alg":"HS256"}`)) + "." + payload + "." + b64([]byte(rand.Text())),
		"another key": foreign,
	} {
		bearer := "Authorization: Bearer " + forged
		typed := func(typ string) string {
			return b64([]byte(`{"alg":"none","typ":"`+typ+`"}`)) + "." + b64([]byte(fmt.Sprintf(`{"iss":%q,"aud":"shop","sub":"jack","sid":"s1","jti":"x","iat":%d,"exp":%d,"events":{%q:{}}}`,
				demoIssuer, time.Now().Unix(), time.Now().Add(time.Minute).Unix(), logoutEvent))) + "."
		}
		for _, k := range []knock{
			{"elasticsearch", http.MethodDelete, "/_security/oauth2/token", `{"token":"` + forged + `"}`, []string{"Authorization: " + admin, jsonType}, []int{404}},
			{"elasticsearch, refresh", http.MethodDelete, "/_security/oauth2/token", `{"refresh_token":"` + forged + `"}`, []string{"Authorization: " + admin, jsonType}, []int{404}},
			{"native, token", http.MethodPost, "/v1/revocations", `{"token":"` + forged + `"}`, []string{"Authorization: " + admin, jsonType}, []int{422}},
			{"native, refresh token", http.MethodPost, "/v1/revocations", `{"refresh_token":"` + forged + `"}`, []string{"Authorization: " + admin, jsonType}, []int{422}},
			{"native, tokens", http.MethodPost, "/v1/revocations", `{"tokens":["` + forged + `"]}`, []string{"Authorization: " + admin, jsonType}, []int{422}},
			{"native, lines", http.MethodPost, "/v1/revocations", `{"token":"` + forged + `"}`, []string{"Authorization: " + admin, "Content-Type: application/x-ndjson"}, []int{422}},
			{"oauth", http.MethodPost, revokePath, form("token", forged, "client_id", "spa"), []string{formType}, []int{200}},
			{"oauth, refresh", http.MethodPost, revokePath, form("token", forged, "client_id", "spa", "token_type_hint", "refresh_token"), []string{formType}, []int{200}},
			{"oauth, assertion", http.MethodPost, revokePath, form("token", live, "client_assertion", forged, "client_assertion_type", assertionType), []string{formType}, []int{400}},
			{"oauth, bearer", http.MethodPost, revokePath, form("token", live), []string{bearer, formType}, []int{401}},
			{"native, bearer", http.MethodPost, "/v1/revocations", `{"user":"jack","realm":"demo"}`, []string{bearer, jsonType}, []int{401}},
			{"elasticsearch, bearer", http.MethodDelete, "/_security/oauth2/token", `{"username":"jack"}`, []string{bearer, jsonType}, []int{401}},
			{"lusid, bearer", http.MethodDelete, "/identity/api/tokens", "", []string{bearer}, []int{401}},
			{"logout", http.MethodPost, logoutPath, form("logout_token", forged), []string{formType}, []int{400}},
			{"logout, unsigned", http.MethodPost, logoutPath, form("logout_token", typed("logout+jwt")), []string{formType}, []int{400}},
			{"ssf", http.MethodPost, pushPath, forged, []string{setType}, []int{400}},
			{"ssf, unsigned", http.MethodPost, pushPath, typed("secevent+jwt"), []string{setType}, []int{400}},
		} {
			t.Run(name+" "+k.name, func(t *testing.T) { g.knock(t, k, live) })
		}
	}
	if n := g.published(t) - before; n != 0 {
		t.Errorf("%d events were published", n)
	}
	if r := g.post(t, introspectPath, []string{"token", foreign}, "Authorization: "+admin); r.body != `{"active":false}`+"\n" {
		t.Error(r.body)
	}
}
