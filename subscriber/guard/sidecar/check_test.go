package sidecar_test

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/internal/tokentest"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

// verdict is what a proxy acts on.
type verdict struct {
	Status                                  int
	Revocation, Challenge, RetryAfter, Body string
}

func verdictOf(a answer) verdict {
	return verdict{a.Status, a.Header.Get("X-Revocation-Status"), a.Header.Get("WWW-Authenticate"),
		a.Header.Get("Retry-After"), a.Body}
}

func refused(status int, revocation, code, description string) verdict {
	v := verdict{Status: status, Revocation: revocation,
		Body: fmt.Sprintf(`{"error":%q,"error_description":%q}`, code, description)}
	switch status {
	case 401:
		v.Challenge = fmt.Sprintf(`Bearer realm="rescind", error=%q, error_description=%q`, code, description)
	case 503:
		v.RetryAfter = "1"
	}
	return v
}

var (
	live        = verdict{Status: 200, Revocation: "live"}
	wasRevoked  = refused(401, "revoked", "invalid_token", "revoked")
	notAccepted = refused(401, "unknown", "invalid_token", "not accepted")
	malformed   = refused(401, "unknown", "invalid_token", "malformed")
	badRequest  = refused(401, "unknown", "invalid_request", "The request must carry exactly one token, in one Authorization header")
)

func TestCheckTakesAnyMethodAndPath(t *testing.T) {
	s := start(t)
	raw := s.Token(t, realm.TokenRequest{User: "ann"})
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
		for _, path := range []string{"/check", "/check/", "/check/a/b", "/check//a", "/check/a/../b", "/check/../v1/status",
			"/check/./a", "/check/%2e%2e/a%2fb", "/check?x=1", "/check/introspect"} {
			got := s.do(method, path, "", "Authorization", "Bearer "+raw)
			if diff := cmp.Diff(live, verdictOf(got)); diff != "" || got.Header.Get("Rescind-Mode") != "verifying" {
				t.Errorf("%s %s: mode %s %s", method, path, got.Header.Get("Rescind-Mode"), diff)
			}
			if got := s.do(method, path, ""); got.Status != 401 || got.Header.Get("X-Revocation-Status") != "unknown" {
				t.Errorf("%s %s without a token: %d", method, path, got.Status)
			}
		}
	}
	if got := s.do("GET", "/checkers", "", "Authorization", "Bearer "+raw); got.Status != 404 {
		t.Errorf("/checkers: %d", got.Status)
	}
}

func TestCheckRefuses(t *testing.T) {
	f, custom := guardtest.Start(t), newIssuer(t)
	s := serve(t, f, f.Fresh(t), custom.use)
	good := custom.token("at+jwt", jwt.MapClaims{"jti": "1"})
	now := time.Now()
	for name, c := range map[string]struct {
		header []string
		want   verdict
	}{
		"nothing but good": {[]string{"Bearer " + good}, live},
		"no token":         {nil, verdict{Status: 401, Revocation: "unknown", Challenge: `Bearer realm="rescind"`}},
		"basic":            {[]string{"Basic YTpi"}, verdict{Status: 401, Revocation: "unknown", Challenge: `Bearer realm="rescind"`}},
		"two":              {[]string{"Bearer " + good, "Bearer " + good}, badRequest},
		"joined":           {[]string{"Bearer " + good + ", Bearer " + good}, badRequest},
		"opaque":           {[]string{"Bearer abc"}, malformed},
		"duplicate claims": {[]string{"Bearer eyJhbGciOiJFZERTQSJ9.eyJqdGkiOiJhIiwianRpIjoiYiJ9.AAAA"}, malformed},
		"forged":           {[]string{"Bearer " + good[:len(good)-8] + "AAAAAAAA"}, notAccepted},
		"another issuer":   {[]string{"Bearer " + f.Token(t, realm.TokenRequest{User: "ann"})}, notAccepted},
		"not yet valid":    {[]string{"Bearer " + custom.token("", jwt.MapClaims{"nbf": now.Add(time.Hour).Unix()})}, notAccepted},
		"issued in future": {[]string{"Bearer " + custom.token("", jwt.MapClaims{"iat": now.Add(time.Hour).Unix(), "exp": now.Add(2 * time.Hour).Unix()})}, notAccepted},
		"expired": {[]string{"Bearer " + custom.token("", jwt.MapClaims{"exp": now.Add(-time.Hour).Unix()})},
			refused(401, "unknown", "invalid_token", "expired")},
		"longer-lived than max_token": {[]string{"Bearer " + custom.token("", jwt.MapClaims{"exp": now.Add(25 * time.Hour).Unix()})},
			refused(403, "unknown", "access_denied", "The access token is not allowed here")},
		"a security event": {[]string{"Bearer " + custom.token("secevent+jwt", jwt.MapClaims{})},
			refused(401, "unknown", "invalid_token", "not an access token")},
		"a logout token": {[]string{"Bearer " + custom.token("", jwt.MapClaims{"events": map[string]any{"x": 1}})},
			refused(401, "unknown", "invalid_token", "not an access token")},
	} {
		t.Run(name, func(t *testing.T) {
			var header []string
			for _, h := range c.header {
				header = append(header, "Authorization", h)
			}
			if diff := cmp.Diff(c.want, verdictOf(s.do("GET", "/check", "", header...))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRevokedTokenIsRefusedAtEveryDoorWhateverItsSignature(t *testing.T) {
	s := start(t)
	for _, alg := range tokentest.Algorithms {
		t.Run(alg, func(t *testing.T) {
			raw := s.Token(t, realm.TokenRequest{User: "ann", Alg: alg})
			other := s.Token(t, realm.TokenRequest{User: "ann", Alg: alg})
			if got := s.check(raw); verdictOf(got) != live {
				t.Fatalf("before: %+v", got)
			}
			s.RevokeToken(t, raw)
			bustest.Eventually(t, "the token is refused", func() bool { return verdictOf(s.check(raw)) == wasRevoked })
			for name, v := range tokentest.Variants(t, alg, raw) {
				// A line break cannot stand in a header, and a server trims blanks.
				if name != "line break" && name != "blank" {
					if got := s.check(v); got.Status != 401 {
						t.Errorf("check, %s: %d", name, got.Status)
					}
				}
				if got := s.introspect(values("token", v)); got.Status != 200 || got.Body != inactive {
					t.Errorf("introspect, %s: %d %s", name, got.Status, got.Body)
				}
			}
			if got := s.check(other); verdictOf(got) != live {
				t.Errorf("another token: %+v", got)
			}
		})
	}
}

func TestUserSignedOutIsRefusedUntilTheNextLogin(t *testing.T) {
	s := start(t)
	before, bob := s.Token(t, realm.TokenRequest{User: "ann"}), s.Token(t, realm.TokenRequest{User: "bob"})
	s.RevokeUser(t, "ann")
	bustest.Eventually(t, "the token is refused", func() bool { return verdictOf(s.check(before)) == wasRevoked })
	for name, raw := range map[string]string{"later": s.Token(t, realm.TokenRequest{User: "ann", Now: time.Now().Add(10 * time.Second)}), "bob": bob} {
		if got := s.check(raw); verdictOf(got) != live {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestAgentThatKnowsTooLittleGives503(t *testing.T) {
	f := guardtest.Start(t)
	raw := f.Token(t, realm.TokenRequest{User: "ann"})
	a := f.Unsynced(t)
	s := serve(t, f, a)
	strict := serve(t, f, a, func(c *sidecar.Config) { c.MaxStaleness = time.Nanosecond })
	if diff := cmp.Diff(refused(503, "unknown", "temporarily_unavailable", "What was revoked is not known yet"), verdictOf(s.check(raw))); diff != "" {
		t.Errorf("unsynced: %s", diff)
	}
	f.Refresh(t, a)
	if got := verdictOf(s.check(raw)); got != live {
		t.Errorf("fresh: %+v", got)
	}
	if diff := cmp.Diff(refused(503, "stale", "temporarily_unavailable", "What was revoked is known only up to too long ago"), verdictOf(strict.check(raw))); diff != "" {
		t.Errorf("stale: %s", diff)
	}
}

func TestVerdictOnOldKnowledgeSaysSo(t *testing.T) {
	s := start(t)
	raw := s.Token(t, realm.TokenRequest{User: "ann"})
	s.Owe(t)
	bustest.Eventually(t, "the status says stale", func() bool {
		return verdictOf(s.check(raw)) == verdict{Status: 200, Revocation: "stale"}
	})
}

func TestMissingKeysAreNoVerdict(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := "http://" + l.Addr().String() + "/jwks"
	l.Close()
	realms, err := realm.New(map[string]realm.Config{"demo": {Issuers: []string{"https://demo.rescind.test"}, JWKS: away}}, realm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(realms.Close)
	s := start(t, func(c *sidecar.Config) { c.Realms = realms })
	raw := s.Token(t, realm.TokenRequest{User: "ann"})
	if diff := cmp.Diff(refused(503, "unknown", "temporarily_unavailable", "The token cannot be verified now"), verdictOf(s.check(raw))); diff != "" {
		t.Error(diff)
	}
	if got := s.introspect(values("token", raw)); got.Status != 503 || got.Header.Get("Retry-After") != "1" {
		t.Errorf("introspect: %d %s", got.Status, got.Body)
	}
	if got := s.observe(`{"token":"` + raw + `"}`); got.Status != 503 || got.Header.Get("Retry-After") != "1" {
		t.Errorf("observe: %d %s", got.Status, got.Body)
	}
}

func TestRevocationOnlySaysSoAndJudgesRevocationAlone(t *testing.T) {
	s := start(t, revocationOnly)
	raw := s.Token(t, realm.TokenRequest{User: "ann"})
	forged := raw[:len(raw)-8] + "AAAAAAAA"
	for _, v := range []string{raw, forged} {
		got := s.check(v)
		if diff := cmp.Diff(live, verdictOf(got)); diff != "" || got.Header.Get("Rescind-Mode") != "revocation-only" {
			t.Errorf("mode %s: %s", got.Header.Get("Rescind-Mode"), diff)
		}
	}
	s.RevokeUser(t, "ann")
	for _, v := range []string{raw, forged} {
		bustest.Eventually(t, "the token is refused", func() bool { return verdictOf(s.check(v)) == wasRevoked })
	}
}

func TestAnonymousRequestsPassOnlyWhereAllowed(t *testing.T) {
	s := start(t, func(c *sidecar.Config) { c.AllowAnonymous = true })
	if diff := cmp.Diff(verdict{Status: 200, Revocation: "unknown"}, verdictOf(s.do("GET", "/check", ""))); diff != "" {
		t.Error(diff)
	}
	for header, want := range map[string]int{"Basic YTpi": 200, "basic YTpi": 200, "Basic": 401, "Basic a b": 401, "Token YTpi": 401,
		"Bearer YTpi": 401, "": 401} {
		if got := s.do("GET", "/check", "", "Authorization", header); got.Status != want {
			t.Errorf("%q: %d, want %d", header, got.Status, want)
		}
	}
	if got := s.do("GET", "/check", "", "Authorization", "Basic YTpi", "Authorization", "Bearer a.b.c"); got.Status != 401 {
		t.Errorf("Basic and a token: %d", got.Status)
	}
	if got := start(t).do("GET", "/check", "", "Authorization", "Basic YTpi"); got.Status != 401 {
		t.Errorf("Basic where it is not allowed: %d", got.Status)
	}
}

func TestNothingPassesAfterTheFirstRefusal(t *testing.T) {
	s := start(t)
	raw := s.Token(t, realm.TokenRequest{User: "ann"})
	var refused atomic.Bool
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for last := false; !last; {
				last = refused.Load()
				check, introspection := s.check(raw), s.introspect(values("token", raw))
				if last && (check.Status != 401 || introspection.Body != inactive) {
					t.Errorf("after a refusal: check %d, introspect %s", check.Status, introspection.Body)
				}
				if check.Status == 401 {
					refused.Store(true)
				}
			}
		})
	}
	s.RevokeUser(t, "ann")
	clients.Wait()
}

func TestWrongConfigurationIsRefused(t *testing.T) {
	f := guardtest.Start(t)
	a := f.Unsynced(t)
	for name, c := range map[string]sidecar.Config{
		"no agent":           {},
		"negative staleness": {Agent: a, MaxStaleness: -1},
		"realm not ASCII":    {Agent: a, ChallengeRealm: "é"},
		"no such header":     {Agent: a, PreflightFrom: "X Original"},
		"METHOD":             {Agent: a, PreflightFrom: "METHOD"},
		"a client's header":  {Agent: a, PreflightFrom: "access-control-request-method"},
		"another of them":    {Agent: a, PreflightFrom: "Origin"},
	} {
		if _, err := sidecar.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A preflight request passes where the proxy says that it is one, and only by what the
// configuration says: whatever else a client sends is not believed.
func TestPreflightPassesOnlyAsTheProxySays(t *testing.T) {
	f := guardtest.Start(t)
	a := f.Fresh(t)
	off, asked := serve(t, f, a), serve(t, f, a, preflightFrom(sidecar.PreflightFromMethod))
	said := serve(t, f, a, preflightFrom("X-Original-Method"))
	passes := verdict{Status: 200, Revocation: "unknown"}
	noToken := verdict{Status: 401, Revocation: "unknown", Challenge: `Bearer realm="rescind"`}
	browser := []string{"Origin", "https://app.example.com", "Access-Control-Request-Method", "DELETE"}
	for name, c := range map[string]struct {
		site   *site
		method string
		header []string
		want   verdict
	}{
		"off":                         {off, "OPTIONS", nil, noToken},
		"off, said":                   {off, "OPTIONS", []string{"X-Original-Method", "OPTIONS"}, noToken},
		"the method":                  {asked, "OPTIONS", nil, passes},
		"another method":              {asked, "DELETE", []string{"X-Original-Method", "OPTIONS", "X-Forwarded-Method", "OPTIONS"}, noToken},
		"said":                        {said, "GET", []string{"X-Original-Method", "OPTIONS"}, passes},
		"said by another header":      {said, "OPTIONS", []string{"X-Forwarded-Method", "OPTIONS"}, noToken},
		"not said":                    {said, "OPTIONS", nil, noToken},
		"said to be another":          {said, "OPTIONS", []string{"X-Original-Method", "DELETE"}, noToken},
		"said twice":                  {said, "GET", []string{"X-Original-Method", "OPTIONS", "X-Original-Method", "DELETE"}, noToken},
		"with a token":                {asked, "OPTIONS", []string{"Authorization", "Bearer abc"}, malformed},
		"said, with an empty token":   {said, "GET", []string{"X-Original-Method", "OPTIONS", "Authorization", ""}, badRequest},
		"said, with a token of ann's": {said, "GET", []string{"X-Original-Method", "OPTIONS", "Authorization", "Bearer " + f.Token(t, realm.TokenRequest{User: "ann"})}, live},
	} {
		if diff := cmp.Diff(c.want, verdictOf(c.site.do(c.method, "/check", "", append(c.header, browser...)...))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got := said.metric(`rescind_agent_checks_total{result="preflight"}`); got != 1 {
		t.Errorf("%d counted", got)
	}
}
