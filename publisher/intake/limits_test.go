package intake_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher/intake"
)

func (g *rig) limit(t *testing.T, l intake.Limits) {
	t.Helper()
	s, err := intake.New(intake.Config{Publisher: g.pub, Authenticator: g.auth, Realms: g.realms, Limits: l, GlobalTokenRevocation: true, Logger: g.log.logger()})
	must(t, err)
	g.serveAt(t, s)
}

// TestWhatHitsManyIsLimitedMoreTightly: for each caller by itself.
func TestWhatHitsManyIsLimitedMoreTightly(t *testing.T) {
	g := newRig(t)
	g.limit(t, intake.Limits{Default: intake.Unlimited, Realm: must2(intake.ParseRate("2/h")), All: must2(intake.ParseRate("1/h"))})
	ask := func(auth, body string) reply {
		return g.send(t, http.MethodPost, "/v1/revocations?wait=none", body, "Authorization: "+auth, jsonType)
	}
	for i, tc := range []struct {
		auth, body string
		status     int
	}{
		{admin, `{"all":true}`, 201}, {admin, `{"all":true}`, 429},
		{admin, `{"realm":"partner"}`, 201}, {admin, `{"client":"c","realm":"partner"}`, 201}, {admin, `{"claim":"a","value":"b","realm":"partner"}`, 429},
		{"Bearer " + g.free, `{"realm":"partner"}`, 201}, {"Bearer " + g.free, `{"all":true}`, 201},
		{admin, `{"user":"a","realm":"partner"}`, 201}, {admin, `{"user":"b","realm":"partner"}`, 201}, {admin, `{"session":"b","realm":"partner"}`, 201},
	} {
		r := ask(tc.auth, tc.body)
		if r.status != tc.status {
			t.Errorf("%d: %s: got %d %s, want %d", i, tc.body, r.status, r.body, tc.status)
		}
		if after, err := strconv.Atoi(r.header.Get("Retry-After")); r.status == 429 && (err != nil || after < 1 || after > 3600) {
			t.Errorf("%d: Retry-After %q", i, r.header.Get("Retry-After"))
		}
	}
	g.wantRefusal(t, `native rate-limited "admin" all "" "all tokens"`)
	// Who may not is told so, and uses nothing up.
	for range 3 {
		if r := ask("Bearer "+g.bound, `{"realm":"demo"}`); r.status != 403 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
}

// What is refused by one limit does not count for another.
func TestWhatIsRefusedUsesNothingUp(t *testing.T) {
	g := newRig(t)
	g.limit(t, intake.Limits{Default: must2(intake.ParseRate("2/h")), Realm: must2(intake.ParseRate("1/h"))})
	for i, c := range []struct {
		body   string
		status int
	}{{`{"realm":"partner"}`, 201}, {`{"realm":"partner"}`, 429}, {`{"realm":"partner"}`, 429}, {`{"user":"a"}`, 201}, {`{"user":"b"}`, 429}} {
		if r := g.send(t, http.MethodPost, "/v1/revocations?wait=none", c.body, "Authorization: "+admin, jsonType); r.status != c.status {
			t.Errorf("%d: %s: got %d %s, want %d", i, c.body, r.status, r.body, c.status)
		}
	}
}

// TestEveryDoorSaysWhenItIsTooMuch in its own form.
func TestEveryDoorSaysWhenItIsTooMuch(t *testing.T) {
	g := newRig(t)
	g.limit(t, intake.Limits{Default: must2(intake.ParseRate("1/h"))})
	token := func() string { return g.token(t, realm.TokenRequest{User: "ann", Client: "spa"}) }
	one := token()
	before := g.published(t)
	for door, send := range map[string]func() reply{
		`"type":"https://rescind.dev/problems/rate-limited"`: func() reply {
			return g.send(t, http.MethodPost, "/v1/revocations", `{"user":"jack","realm":"demo"}`, "Authorization: "+admin, jsonType)
		},
		`"type":"es_rejected_execution_exception"`: func() reply {
			return g.send(t, http.MethodDelete, "/_security/oauth2/token", `{"username":"jack"}`, "Authorization: Bearer "+g.free, jsonType)
		},
		`"name":"TooManyRequests"`: func() reply { return g.signOut(t, lusidPaths[0], "Bearer "+one) },
		`"error":"temporarily_unavailable"`: func() reply {
			return g.post(t, revokePath, []string{"token", token(), "client_id", "spa"})
		},
	} {
		first, second := send(), reply{}
		if door == `"name":"TooManyRequests"` {
			// The first has signed the token out; another of the user is limited with it.
			one = token()
		}
		if second = send(); first.status/100 != 2 || second.status != 429 || !strings.Contains(second.body, door) || second.header.Get("Retry-After") == "" {
			t.Errorf("%s: first %d, then %d %s", door, first.status, second.status, second.body)
		}
	}
	if n := g.published(t) - before; n != 4 {
		t.Errorf("%d events were published", n)
	}
	if r := g.send(t, http.MethodGet, "/metrics", ""); !strings.Contains(r.body, `outcome="limited"`) {
		t.Error("the metrics do not tell")
	}
}

func TestRatesAreReadAsTheyAreWritten(t *testing.T) {
	for _, text := range []string{"100/s", "10/m", "3/h", "unlimited"} {
		if r, err := intake.ParseRate(text); err != nil || r.String() != text {
			t.Errorf("%s is read as %s, %v", text, r, err)
		}
	}
	for _, text := range []string{"", "10", "10/d", "0/s", "-1/s", "x/s", "1.5/s", "10/s/s", "99999999/s"} {
		if r, err := intake.ParseRate(text); err == nil {
			t.Errorf("%s is read as %s", text, r)
		}
	}
	var l intake.Limits
	must(t, yaml.Unmarshal([]byte("{default: 100/s, realm: 5/m, all: unlimited}"), &l))
	if l.Default.String() != "100/s" || l.Realm.String() != "5/m" || l.All != intake.Unlimited {
		t.Errorf("%+v", l)
	}
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
