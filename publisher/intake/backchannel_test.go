package intake_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/internal/realm"
)

const (
	logoutPath  = "/backchannel-logout"
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
)

// logoutClaims are those of a right logout token, but for what changes say, as names
// and values; nil leaves one out.
func logoutClaims(changes ...any) jwt.MapClaims {
	now := time.Now()
	c := jwt.MapClaims{"iss": demoIssuer, "aud": "shop", "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(),
		"jti": now.Format(time.RFC3339Nano), "sid": "s1", "sub": "jack", "events": map[string]any{logoutEvent: map[string]any{}}}
	return changed(c, changes)
}

func (g *rig) logoutToken(t *testing.T, changes ...any) string {
	t.Helper()
	return g.statement(t, "demo", "logout+jwt", logoutClaims(changes...))
}

func (g *rig) logout(t *testing.T, token string) reply {
	t.Helper()
	return g.post(t, logoutPath, []string{"logout_token", token, "other", "ignored"})
}

func demoWith(change func(*realm.Config)) func(map[string]realm.Config) {
	return func(c map[string]realm.Config) {
		demo := c["demo"]
		change(&demo)
		c["demo"] = demo
	}
}

func TestLogoutTokensRevokeWhatTheyName(t *testing.T) {
	byUser := demoWith(func(c *realm.Config) { c.BackchannelLogout, c.UserClaim = realm.SignOutUser, "name" })
	for _, tc := range []struct {
		name    string
		realm   func(map[string]realm.Config)
		changes []any
		// session, user: whether others of the session and of the user are refused.
		session, user bool
	}{
		{"session and user", demoWith(func(*realm.Config) {}), nil, true, false},
		{"session alone", demoWith(func(*realm.Config) {}), []any{"sub", nil}, true, false},
		{"user alone", demoWith(func(*realm.Config) {}), []any{"sid", nil}, true, true},
		{"both, in a realm without sid", byUser, nil, true, true},
		{"session alone, in a realm without sid", byUser, []any{"sub", nil}, true, false},
		{"one of several audiences", demoWith(func(c *realm.Config) { c.LogoutClients = []string{"shop"} }), []any{"aud", []string{"x", "shop"}}, true, false},
		{"an issuer whose clock is ahead", demoWith(func(*realm.Config) {}), []any{"sid", nil, "iat", time.Now().Unix() + 30}, true, true},
		{"as Keycloak has it", demoWith(func(*realm.Config) {}), []any{"typ", "Logout",
			"events", map[string]any{logoutEvent: map[string]any{}, "revoke_offline_access": true}}, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newRig(t, tc.realm)
			session := g.token(t, realm.TokenRequest{User: "jack", Session: "s1"})
			user := g.token(t, realm.TokenRequest{User: "jack", Session: "s2"})
			another := g.token(t, realm.TokenRequest{User: "jill", Session: "s3"})
			elsewhere := g.token(t, realm.TokenRequest{User: "jack", Session: "s1", Realm: "partner"})
			r := g.logout(t, g.logoutToken(t, tc.changes...))
			r.want(t, 200, "")
			if r.header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", r.header)
			}
			if g.refused(t, session) != tc.session || g.refused(t, user) != tc.user || g.refused(t, another) || g.refused(t, elsewhere) {
				t.Errorf("refused: session's %v, user's %v, another's %v, another realm's %v", g.refused(t, session), g.refused(t, user),
					g.refused(t, another), g.refused(t, elsewhere))
			}
		})
	}
}

// A user who has signed in again since the token was issued stays signed in.
func TestLogoutOfAUserCutsAtTheTokensTime(t *testing.T) {
	g := newRig(t)
	since := time.Now().Add(-30 * time.Second)
	before := g.token(t, realm.TokenRequest{User: "jack", Now: since.Add(-time.Second)})
	after := g.token(t, realm.TokenRequest{User: "jack", Now: since.Add(2 * time.Second)})
	g.logout(t, g.logoutToken(t, "sid", nil, "iat", since.Unix())).want(t, 200, "")
	if !g.refused(t, before) || g.refused(t, after) {
		t.Errorf("refused: before %v, after %v", g.refused(t, before), g.refused(t, after))
	}
}

func TestLogoutTokensAreTakenByTypesThatProvidersUse(t *testing.T) {
	g := newRig(t)
	for _, typ := range []string{"logout+jwt", "application/LOGOUT+JWT", "JWT", ""} {
		g.logout(t, g.statement(t, "demo", typ, logoutClaims())).want(t, 200, "")
	}
	// Where any audience is right, there must be one all the same.
	checkLogoutError(t, g.logout(t, g.logoutToken(t, "aud", nil)), 400)
}

// In a realm of several issuers each speaks for its own sessions and users.
func TestLogoutIsNarrowedToItsIssuer(t *testing.T) {
	g := newRig(t, demoWith(func(c *realm.Config) { c.Issuers = append(c.Issuers, "https://other.rescind.test") }))
	own := g.token(t, realm.TokenRequest{User: "jack", Session: "s1"})
	for _, changes := range [][]any{{}, {"sid", nil}} {
		changes = append(changes, "iss", "https://other.rescind.test")
		g.logout(t, g.logoutToken(t, changes...)).want(t, 200, "")
	}
	if g.refused(t, own) {
		t.Error("an issuer has signed out a namesake of another issuer")
	}
}

func TestLogoutRefusesWhatIsNotOne(t *testing.T) {
	g := newRig(t, demoWith(func(c *realm.Config) { c.LogoutClients = []string{"shop"} }))
	live := g.token(t, realm.TokenRequest{User: "jack", Session: "s1"})
	shown := g.logoutToken(t, "sid", "another")
	g.logout(t, shown).want(t, 200, "")
	good := g.logoutToken(t)
	b64 := base64.RawURLEncoding.EncodeToString
	head, rest, _ := strings.Cut(good, ".")
	payload, _, _ := strings.Cut(rest, ".")
	now := time.Now()
	tokens := map[string]string{
		"garbage":            "garbage",
		"badly signed":       head + "." + payload + "." + strings.Repeat("A", 86),
		"unsigned":           b64([]byte(`{"alg":"none"}`)) + "." + payload + ".",
		"shown before":       shown,
		"its jti for other":  g.logoutToken(t, "jti", jtiOf(t, shown)),
		"an access token":    live,
		"another typ":        g.statement(t, "demo", "secevent+jwt", logoutClaims()),
		"an access typ":      g.statement(t, "demo", "at+jwt", logoutClaims()),
		"unknown realm":      g.logoutToken(t, "iss", "https://nobody.example"),
		"another realm's":    g.logoutToken(t, "iss", "https://partner.rescind.test"),
		"wrong audience":     g.logoutToken(t, "aud", "other"),
		"no audience":        g.logoutToken(t, "aud", nil),
		"expired":            g.logoutToken(t, "iat", now.Add(-time.Hour).Unix(), "exp", now.Add(-2*time.Minute).Unix()),
		"of the future":      g.logoutToken(t, "iat", now.Add(5*time.Minute).Unix(), "exp", now.Add(9*time.Minute).Unix()),
		"no exp":             g.logoutToken(t, "exp", nil),
		"no iat":             g.logoutToken(t, "iat", nil),
		"no jti":             g.logoutToken(t, "jti", nil),
		"nonce":              g.logoutToken(t, "nonce", "n"),
		"null nonce":         g.logoutToken(t, "nonce", jwt.MapClaims(nil)),
		"nobody":             g.logoutToken(t, "sid", nil, "sub", nil),
		"sid of no text":     g.logoutToken(t, "sid", 5, "sub", nil),
		"no events":          g.logoutToken(t, "events", nil),
		"other events":       g.logoutToken(t, "events", map[string]any{"https://schemas.openid.net/event/backchannel-logout": map[string]any{}}),
		"events of no kind":  g.logoutToken(t, "events", map[string]any{logoutEvent: true}),
		"events are a list":  g.logoutToken(t, "events", []string{logoutEvent}),
		"longer than 16 KiB": g.logoutToken(t, "more", strings.Repeat("x", 16<<10)),
	}
	before := g.published(t)
	for name, token := range tokens {
		t.Run(name, func(t *testing.T) { checkLogoutError(t, g.logout(t, token), 400) })
	}
	if r := g.logout(t, tokens["its jti for other"]); !strings.Contains(r.body, "its jti is that of another") {
		t.Error(r.body)
	}
	for name, r := range map[string]struct {
		status int
		reply
	}{
		"method":         {405, g.send(t, http.MethodGet, logoutPath+"?logout_token="+good, "")},
		"query":          {400, g.post(t, logoutPath+"?logout_token="+good, nil)},
		"no token":       {400, g.post(t, logoutPath, []string{"token", good})},
		"two tokens":     {400, g.post(t, logoutPath, []string{"logout_token", good, "logout_token", good})},
		"JSON":           {400, g.send(t, http.MethodPost, logoutPath, `{"logout_token":"`+good+`"}`, "Content-Type: application/json")},
		"oversized":      {413, g.send(t, http.MethodPost, logoutPath, "logout_token="+strings.Repeat("x", 64<<10), formType)},
		"no form at all": {400, g.send(t, http.MethodPost, logoutPath, "logout_token=%", formType)},
	} {
		t.Run(name, func(t *testing.T) { checkLogoutError(t, r.reply, r.status) })
	}
	if g.refused(t, live) || g.published(t) != before {
		t.Errorf("the live token is refused: %v; events: %d, before %d", g.refused(t, live), g.published(t), before)
	}
	if strings.Contains(g.log.String(), payload) {
		t.Error("a logout token is in the log")
	}
}

func jtiOf(t *testing.T, raw string) string {
	t.Helper()
	tok, _, err := jwt.NewParser().ParseUnverified(raw, jwt.MapClaims{})
	must(t, err)
	return tok.Claims.(jwt.MapClaims)["jti"].(string)
}

func checkLogoutError(t *testing.T, r reply, status int) {
	t.Helper()
	if r.status != status || !strings.HasPrefix(r.body, `{"error":"invalid_request","error_description":"`) || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %s %v, want %d invalid_request", r.status, r.body, r.header, status)
	}
}

// A provider that was told to come again is not told then that it came before.
func TestLogoutThatWaitsForTheBusMayBeRepeated(t *testing.T) {
	g := newRig(t)
	token := g.logoutToken(t)
	session := g.token(t, realm.TokenRequest{User: "jack", Session: "s1"})
	g.nats.Stop(t)
	for range 2 {
		r := g.logout(t, token)
		if r.status != 503 || r.header.Get("Retry-After") == "" {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	g.nats.Start(t)
	eventually(t, func() bool { return g.refused(t, session) })
	g.logout(t, token).want(t, 200, "")
	checkLogoutError(t, g.logout(t, token), 400)
}
