package sidecar_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

type problem struct {
	Title  string
	Status int
	Detail string
	Errors []struct{ Detail, Pointer string }
}

func (s *site) problem(a answer) problem {
	s.t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(a.Body), &p); err != nil || a.Header.Get("Content-Type") != "application/problem+json" || p.Status != a.Status {
		s.t.Errorf("not a problem: %d %s %s", a.Status, a.Header.Get("Content-Type"), a.Body)
	}
	return p
}

func TestObserveRefusesWhatItCannotTake(t *testing.T) {
	s := start(t)
	good, now := s.Token(t, realm.TokenRequest{User: "ann"}), time.Now()
	forged := good[:len(good)-8] + "AAAAAAAA"
	opaque := func(realm string, expires int64) string {
		return fmt.Sprintf(`{"refresh_token":"r","realm":%q,"expires_at":%d}`, realm, expires)
	}
	for name, c := range map[string]struct {
		body    string
		want    int
		pointer string
	}{
		"empty":                {"", 400, ""},
		"not JSON":             {"token", 400, ""},
		"null":                 {"null", 400, ""},
		"a string":             {`"` + good + `"`, 400, ""},
		"unknown member":       {`{"token":"` + good + `","x":1}`, 400, ""},
		"wrong type":           {`{"token":1}`, 400, ""},
		"more behind":          {`{"token":"` + good + `"}{}`, 400, ""},
		"array of strings":     {`["` + good + `"]`, 400, ""},
		"too many":             {"[" + strings.Repeat(`{"token":"a"},`, 1000) + `{"token":"a"}]`, 413, ""},
		"too long":             {`{"token":"` + strings.Repeat("a", 4<<20) + `"}`, 413, ""},
		"nothing":              {`{}`, 422, "#/token"},
		"both":                 {`{"token":"` + good + `","refresh_token":"r"}`, 422, "#/token"},
		"token with user":      {`{"token":"` + good + `","user":"eve"}`, 422, "#/token"},
		"forged":               {`{"token":"` + forged + `"}`, 422, "#/token"},
		"opaque access token":  {`{"token":"abc"}`, 422, "#/token"},
		"second of an array":   {`[{"token":"` + good + `"},{"token":"` + forged + `"}]`, 422, "#/1/token"},
		"no realm":             {opaque("", now.Unix()+60), 422, "#/realm"},
		"unknown realm":        {opaque("other", now.Unix()+60), 422, "#/realm"},
		"no expiry":            {opaque("demo", 0), 422, "#/expires_at"},
		"negative expiry":      {opaque("demo", -1), 422, "#/expires_at"},
		"milliseconds":         {opaque("demo", now.UnixMilli()+60000), 422, "#/expires_at"},
		"forged refresh token": {`{"refresh_token":"` + forged + `","realm":"demo"}`, 422, "#/refresh_token"},
		"of another realm":     {`{"refresh_token":"` + good + `","realm":"partner"}`, 422, "#/realm"},
		"long user":            {`{"refresh_token":"r","realm":"demo","expires_at":` + fmt.Sprint(now.Unix()+60) + `,"user":"` + strings.Repeat("u", 2049) + `"}`, 422, "#/user"},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.observe(c.body)
			p := s.problem(got)
			if got.Status != c.want || (c.pointer == "") != (len(p.Errors) == 0) || c.pointer != "" && p.Errors[0].Pointer != c.pointer {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
			if strings.Contains(got.Body, good) || strings.Contains(got.Body, forged) {
				t.Error("the answer holds a token")
			}
		})
	}
	for _, contentType := range []string{"", "text/plain", form} {
		if got := s.do("POST", "/observe", `{"token":"`+good+`"}`, "Content-Type", contentType); got.Status != 415 {
			t.Errorf("%q: %d", contentType, got.Status)
		}
	}
}

func TestObserveTakesAllOrNothing(t *testing.T) {
	s := start(t)
	body, err := json.Marshal([]any{refresh("r1", "ann"), map[string]any{"refresh_token": "r2"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.observe(string(body)); got.Status != 422 {
		t.Fatalf("got %d %s", got.Status, got.Body)
	}
	if got := s.introspect(values("token", "r1")); got.Body != inactive {
		t.Error("the first was taken though the second was wrong")
	}
	s.mustObserve([]any{refresh("r1", "ann")})
	if got := s.introspect(values("token", "r1")); got.Body == inactive {
		t.Error("it was not taken")
	}
}

func TestObserveTakesAThousandAtOnceAndTheDead(t *testing.T) {
	s := start(t)
	var batch []any
	for i := range 998 {
		batch = append(batch, refresh(fmt.Sprintf("r%d", i), "ann"))
	}
	dead := refresh("dead", "ann")
	dead["expires_at"] = time.Now().Add(-time.Minute).Unix()
	batch = append(batch, dead, map[string]any{"token": s.Token(t, realm.TokenRequest{User: "ann", TTL: -time.Hour})})
	s.mustObserve(batch)
	for raw, want := range map[string]bool{"r0": true, "r997": true, "dead": false} {
		if got := s.introspect(values("token", raw)); (got.Body != inactive) != want {
			t.Errorf("%s: %s", raw, got.Body)
		}
	}
	s.mustObserve([]any{})
	if got := s.do("GET", "/metrics", "").Body; !strings.Contains(got, "\nrescind_agent_observed_total 998\n") {
		t.Error("the dead are counted as taken")
	}
}

func TestWithoutRealmsOnlyOpaqueTokensAreObserved(t *testing.T) {
	s := start(t, revocationOnly)
	raw := s.Token(t, realm.TokenRequest{User: "ann"})
	for _, body := range []string{`{"token":"` + raw + `"}`, `[{"refresh_token":"` + raw + `","realm":"demo"}]`} {
		got := s.observe(body)
		if p := s.problem(got); got.Status != 409 || !strings.Contains(p.Detail, "no realms") {
			t.Errorf("got %d %s", got.Status, got.Body)
		}
	}
	s.mustObserve(refresh("r", "ann"))
}

// counted gives the counts of reports from all agents for an event.
func counted(t *testing.T, s *site, event events.EventID, reports *nats.Subscription) events.Counted {
	t.Helper()
	for {
		m, err := reports.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		rep, err := events.Decode[events.Report](m.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range rep.Counted {
			if c.Event == event {
				return c
			}
		}
	}
}

func TestWhatWasObservedIsCountedAtEveryDoor(t *testing.T) {
	f, custom := guardtest.Start(t), newIssuer(t)
	s := serve(t, f, f.Fresh(t), custom.use)
	nc := s.Server.Connect(t)
	reports, err := nc.SubscribeSync(events.DefaultFleet.ReportSubject("*"))
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	token := func(life time.Duration) string {
		return custom.token("", jwt.MapClaims{"login": "ann", "jti": events.NewEventID().String(), "exp": time.Now().Add(life).Unix()})
	}
	var raws []string
	for range 4 {
		raws = append(raws, token(time.Hour))
	}
	raws[3] = token(100 * time.Hour) // a refresh token lives longer than max_token
	s.mustObserve(map[string]string{"token": raws[0]})
	s.check(raws[1])
	s.introspect(values("token", raws[2]))
	s.mustObserve(map[string]string{"refresh_token": raws[3], "realm": "custom"})
	opaque := refresh("r", "ann")
	opaque["realm"] = "custom"
	s.mustObserve(opaque)
	var want events.TokenHashes
	for _, raw := range raws {
		want = append(want, guardtest.Parse(t, raw).Identity.Hash())
	}
	want = append(want, events.OpaqueIdentity("r").Hash())
	r, _ := custom.realms.Get("custom")
	got := counted(t, s, s.Revoke(t, r.UserTarget("ann")).ID, reports)
	if diff := cmp.Diff(sorted(want), sorted(got.Invalidated)); diff != "" || got.InvalidatedCount != len(want) {
		t.Errorf("%d counted: %s", got.InvalidatedCount, diff)
	}
}
