package intake_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

func (g *rig) dry(t *testing.T, body string, headers ...string) reply {
	t.Helper()
	if headers == nil {
		headers = []string{"Authorization: " + admin, jsonType}
	}
	return g.send(t, http.MethodPost, "/v1/revocations?dry_run=true", body, headers...).masked()
}

// TestDryRunTellsWhatARevocationWouldHit and changes nothing.
func TestDryRunTellsWhatARevocationWouldHit(t *testing.T) {
	g := newRig(t)
	a := g.join(t, "web-1", false)
	a.set(func() {
		a.answer = func(q *events.Query) events.Answer {
			if q.Target.Kind != events.KindUser {
				return events.Answer{}
			}
			return events.Answer{Counted: events.Counted{InvalidatedCount: 2, Invalidated: events.TokenHashes{1, 2}, PreviouslyCount: 1, Previously: events.TokenHashes{3}}, Untied: 2}
		}
	})
	revoked := g.token(t, realm.TokenRequest{User: "ann"})
	g.send(t, http.MethodPost, "/v1/revocations", `{"token":"`+revoked+`"}`, "Authorization: "+admin, jsonType)
	live := g.token(t, realm.TokenRequest{User: "jack"})
	before := g.published(t)
	g.dry(t, `{"user":"jack","realm":"demo"}`).want(t, 200, `{"dry_run":true,"target":{"user":"jack","realm":"demo"},"invalidated_tokens":2,"previously_invalidated_tokens":1,`+
		`"error_count":0,"warnings":["2 of the tokens carry neither sid nor auth_time: whoever has a live session or refresh token at the issuer can be issued new ones, which this revocation does not hit; end those too"],`+
		`"agents":{"expected":1,"answered":1},"elapsed_ms":N}`+"\n")
	g.dry(t, `{"session":"s","realm":"demo"}`).want(t, 200, `{"dry_run":true,"target":{"session":"s","realm":"demo"},"invalidated_tokens":0,"previously_invalidated_tokens":0,`+
		`"error_count":0,"agents":{"expected":1,"answered":1},"elapsed_ms":N}`+"\n")
	// Of tokens the publisher knows itself.
	list := `{"tokens":["` + live + `","` + revoked + `"]}`
	for _, r := range []reply{g.dry(t, list), g.dry(t, `{"token":"`+live+`"}`+"\n"+`{"token":"`+revoked+`"}`, "Authorization: "+admin, "Content-Type: application/x-ndjson")} {
		if r.status != 200 || !strings.Contains(r.body, `"invalidated_tokens":1,"previously_invalidated_tokens":1,"error_count":0`) || strings.Contains(r.body, "warnings") {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	// Who does not answer is named.
	g.join(t, "web-2", true)
	if r := g.dry(t, `{"realm":"demo"}`); !strings.Contains(r.body, `"error_details":[{"agent":"payments/web-2","type":"agent_silent"`) || !strings.Contains(r.body, `"agents":{"expected":2,"answered":1}`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if n := g.published(t); n != before || g.refused(t, live) {
		t.Errorf("%d events were published; the token is refused: %v", n-before, g.refused(t, live))
	}
}

func TestDryRunTakesTheRightsOfTheOrder(t *testing.T) {
	g := newRig(t)
	for _, tc := range []struct {
		query, body, auth string
		status            int
	}{
		{"dry_run=true", `{"realm":"demo"}`, "Bearer " + g.bound, 403},
		{"dry_run=true", `{"user":"jack","realm":"partner"}`, "Bearer " + g.bound, 403},
		{"dry_run=true", `{"user":"jack","realm":"demo"}`, "Bearer " + g.bound, 200},
		{"dry_run=true", `{"user":"jack","realm":"demo"}`, "Bearer " + g.receiver, 403},
		{"dry_run=true", `{"user":"jack","realm":"nowhere"}`, admin, 422},
		{"dry_run=true", `{"user":"jack","realm":"demo","not_before":99999999999}`, admin, 422},
		{"dry_run=maybe", `{"user":"jack","realm":"demo"}`, admin, 400},
		{"dry_run=true&dry_run=false", `{"user":"jack","realm":"demo"}`, admin, 400},
		{"dry_run=false", `{"user":"jack","realm":"demo"}`, admin, 201},
	} {
		r := g.send(t, http.MethodPost, "/v1/revocations?"+tc.query, tc.body, "Authorization: "+tc.auth, jsonType)
		if r.status != tc.status {
			t.Errorf("%s %s: got %d %s, want %d", tc.query, tc.body, r.status, r.body, tc.status)
		}
	}
	if r := g.send(t, http.MethodDelete, "/v1/revocations/"+events.NewEventID().String()+"?dry_run=true", "", "Authorization: "+admin); r.status != 400 {
		t.Errorf("a lift: %d %s", r.status, r.body)
	}
	g.nats.Stop(t)
	eventually(t, func() bool {
		return g.dry(t, `{"user":"jack","realm":"demo"}`).status == 503
	})
}
