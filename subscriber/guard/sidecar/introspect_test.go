package sidecar_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

// inactive is the whole answer: it says nothing of why.
const inactive = `{"active":false}`

func values(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

func TestIntrospectTellsTheClaimsOfAnActiveToken(t *testing.T) {
	f, custom := guardtest.Start(t), newIssuer(t)
	s := serve(t, f, f.Fresh(t), custom.use)
	now := time.Now().Unix()
	times := jwt.MapClaims{"iat": float64(now - 10), "nbf": float64(now - 10), "exp": float64(now + 600)}
	for name, c := range map[string]struct{ claims, want jwt.MapClaims }{
		"all": {
			jwt.MapClaims{"jti": "1", "sub": "u1", "login": "ann", "client_id": "web", "azp": "other", "scope": "a b",
				"aud": []string{"x", "y"}, "secret": "s"},
			jwt.MapClaims{"jti": "1", "sub": "u1", "username": "ann", "client_id": "web", "scope": "a b",
				"aud": []any{"x", "y"}, "token_type": "Bearer"},
		},
		"other names": {
			jwt.MapClaims{"preferred_username": "ann", "azp": "web", "aud": "x"},
			jwt.MapClaims{"username": "ann", "client_id": "web", "aud": "x", "token_type": "Bearer"},
		},
		"bound to a key": {
			jwt.MapClaims{"cnf": map[string]any{"jkt": "k"}},
			jwt.MapClaims{"cnf": map[string]any{"jkt": "k"}, "token_type": "DPoP"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for claim, v := range times {
				c.claims[claim], c.want[claim] = v, v
			}
			c.want["active"], c.want["iss"] = true, customIssuer
			got := s.introspect(values("token", custom.token("at+jwt", c.claims), "token_type_hint", "nonsense"))
			var members jwt.MapClaims
			if err := json.Unmarshal([]byte(got.Body), &members); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, members); diff != "" || got.Status != 200 {
				t.Errorf("%d: %s", got.Status, diff)
			}
			if got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Cache-Control") != "no-store" ||
				got.Header.Get("Rescind-Mode") != "verifying" {
				t.Errorf("headers: %v", got.Header)
			}
		})
	}
}

func TestIntrospectSaysNothingOfAnInactiveToken(t *testing.T) {
	f, custom := guardtest.Start(t), newIssuer(t)
	s := serve(t, f, f.Fresh(t), custom.use)
	good, now := custom.token("at+jwt", jwt.MapClaims{}), time.Now()
	for name, raw := range map[string]string{
		"malformed":      "a.b.c",
		"too long":       strings.Repeat("a", events.MaxTokenBytes+1),
		"unknown opaque": "abc",
		"forged":         good[:len(good)-8] + "AAAAAAAA",
		"another issuer": f.Token(t, realm.TokenRequest{User: "ann"}),
		"expired":        custom.token("", jwt.MapClaims{"exp": now.Add(-time.Hour).Unix()}),
		"too long-lived": custom.token("", jwt.MapClaims{"exp": now.Add(25 * time.Hour).Unix()}),
		"security event": custom.token("secevent+jwt", jwt.MapClaims{}),
		"events":         custom.token("", jwt.MapClaims{"events": map[string]any{"x": 1}}),
		"line break":     good[:len(good)-4] + "\n" + good[len(good)-4:],
	} {
		if got := s.introspect(values("token", raw)); got.Status != 200 || got.Body != inactive {
			t.Errorf("%s: %d %s", name, got.Status, got.Body)
		}
	}
}

func TestIntrospectRefusesBadForms(t *testing.T) {
	s := start(t)
	raw := s.Token(t, realm.TokenRequest{User: "ann"})
	for name, c := range map[string]struct {
		path, contentType, body string
		want                    int
		description             string
	}{
		"no token":          {"/introspect", form, "token_type_hint=access_token", 400, "token is missing"},
		"empty token":       {"/introspect", form, "token=", 400, "token is missing"},
		"in the query":      {"/introspect?token=" + raw, form, "", 400, "token is missing"},
		"repeated":          {"/introspect", form, "token=" + raw + "&token=" + raw, 400, "a parameter is repeated"},
		"repeated hint":     {"/introspect", form, "token=" + raw + "&token_type_hint=a&token_type_hint=b", 400, "a parameter is repeated"},
		"bad escape":        {"/introspect", form, "token=%zz", 400, "the form cannot be read"},
		"JSON":              {"/introspect", "application/json", `{"token":"x"}`, 400, "the content type must be application/x-www-form-urlencoded"},
		"no type":           {"/introspect", "", "token=" + raw, 400, "the content type must be application/x-www-form-urlencoded"},
		"beyond the limit":  {"/introspect", form, "token=" + strings.Repeat("a", 64<<10), 413, "the form is longer than 64 KiB"},
		"two in two places": {"/introspect?token=x", form, "token=x", 200, ""},
		"type's parameter":  {"/introspect", form + "; charset=UTF-8", "token=x", 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.do("POST", c.path, c.body, "Content-Type", c.contentType)
			want := `{"error":"invalid_request","error_description":"` + c.description + `"}`
			if c.want == 200 {
				want = inactive
			}
			if got.Status != c.want || got.Body != want || got.Header.Get("Content-Type") != "application/json" {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
		})
	}
}

func TestIntrospectClaimsNothingItCannotKnow(t *testing.T) {
	f, silent := guardtest.Start(t), guardtest.Start(t)
	a := f.Fresh(t)
	strict := func(c *sidecar.Config) { c.MaxStaleness = time.Nanosecond }
	for name, c := range map[string]struct {
		site *site
		want int
		code string
	}{
		"not ready":       {serve(t, silent, silent.Unsynced(t)), 503, "temporarily_unavailable"},
		"stale":           {serve(t, f, a, strict), 503, "temporarily_unavailable"},
		"revocation-only": {serve(t, f, a, revocationOnly), 501, "unsupported_token_type"},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.site.introspect(values("token", c.site.Token(t, realm.TokenRequest{User: "ann"})))
			if got.Status != c.want || !strings.Contains(got.Body, `"error":"`+c.code+`"`) {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
			opaque := c.site.introspect(values("token", "abc"))
			if (opaque.Status == 503) != (c.want == 503) || (c.want == 503) != (got.Header.Get("Retry-After") == "1") {
				t.Errorf("opaque: got %d %s", opaque.Status, opaque.Body)
			}
		})
	}
}

func TestOpaqueTokenIsActiveWhileItIsObservedAndNotRevoked(t *testing.T) {
	for name, opts := range map[string][]func(*sidecar.Config){"verifying": nil, "revocation-only": {revocationOnly}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, opts...)
			active := func(raw string) bool {
				got := s.introspect(values("token", raw))
				if got.Status != 200 || got.Body != inactive && got.Body != `{"active":true}` {
					t.Fatalf("%s: %d %s", raw, got.Status, got.Body)
				}
				return got.Body != inactive
			}
			s.mustObserve([]any{refresh("ann1", "ann"), refresh("ann2", "ann"), refresh("bob1", "bob")})
			for raw, want := range map[string]bool{"ann1": true, "ann2": true, "bob1": true, "eve": false} {
				if got := active(raw); got != want {
					t.Errorf("%s: active is %v", raw, got)
				}
			}
			s.Revoke(t, events.Target{Kind: events.KindToken, Identities: []events.Identity{events.OpaqueIdentity("ann1")}})
			bustest.Eventually(t, "ann1 is inactive", func() bool { return !active("ann1") })
			if !active("ann2") {
				t.Error("ann2 is inactive")
			}
			s.RevokeUser(t, "ann")
			bustest.Eventually(t, "ann2 is inactive", func() bool { return !active("ann2") })
			if !active("bob1") {
				t.Error("bob1 is inactive")
			}
		})
	}
}

func TestWrongMethodsAreTold(t *testing.T) {
	s := start(t)
	for path, c := range map[string]struct{ method, allow string }{
		"/introspect": {"GET", "POST"},
		"/observe":    {"PUT", "POST"},
		"/v1/status":  {"POST", "GET, HEAD"},
		"/v1/watch":   {"DELETE", "GET, HEAD"},
		"/metrics":    {"POST", "GET, HEAD"},
		"/healthz":    {"POST", "GET, HEAD"},
		"/readyz":     {"POST", "GET, HEAD"},
	} {
		if got := s.do(c.method, path, ""); got.Status != 405 || got.Header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow: %s", c.method, path, got.Status, got.Header.Get("Allow"))
		}
	}
}
