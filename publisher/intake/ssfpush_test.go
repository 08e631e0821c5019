package intake_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher/intake"
)

const (
	pushPath = "/ssf/events"
	setType  = "Content-Type: application/secevent+jwt"
)

func (g *rig) push(t *testing.T, raw string) reply {
	t.Helper()
	return g.send(t, http.MethodPost, pushPath, raw, setType, "Authorization: "+pushAuth, "Accept: application/json")
}

func complexSubject(parts ...any) map[string]any {
	c := map[string]any{"format": "complex"}
	for i := 0; i < len(parts); i += 2 {
		c[parts[i].(string)] = parts[i+1]
	}
	return c
}

func opaqueSubject(id string) map[string]any { return map[string]any{"format": "opaque", "id": id} }

func caepEvent(uri string, members ...any) map[string]any {
	body := map[string]any{}
	for i := 0; i < len(members); i += 2 {
		body[members[i].(string)] = members[i+1]
	}
	return map[string]any{uri: body}
}

func TestPushedEventsSignTheirSubjectOut(t *testing.T) {
	g := newRig(t, demoWith(func(c *realm.Config) { c.EmailClaim = "email" }))
	tr := newTransmitter(t)
	g.receive(t, tr)
	risc := "https://schemas.openid.net/secevent/risc/event-type/"
	for name, changes := range map[string][]any{
		"session-revoked of a user":  nil,
		"an audience of several":     {"aud", []string{"x", receiverAud}},
		"opaque":                     {"sub_id", opaqueSubject("USER")},
		"an address":                 {"sub_id", map[string]any{"format": "email", "email": "USER@example.com"}},
		"a session":                  {"sub_id", complexSubject("session", opaqueSubject("session of USER"))},
		"a session with its user":    {"sub_id", complexSubject("session", opaqueSubject("session of USER"), "user", issSub("USER"))},
		"a user and a device":        {"sub_id", complexSubject("user", issSub("USER"), "device", opaqueSubject("d"))},
		"a user in the realm":        {"sub_id", complexSubject("user", issSub("USER"), "tenant", opaqueSubject("demo"))},
		"aliases":                    {"sub_id", map[string]any{"format": "aliases", "identifiers": []any{map[string]any{"format": "uri", "uri": "x:y"}, issSub("USER")}}},
		"subject within the event":   {"sub_id", nil, "events", caepEvent(sessionRevoked, "subject", issSub("USER"))},
		"subject in both":            {"events", caepEvent(sessionRevoked, "subject", issSub("USER"))},
		"as Google sends it":         {"sub_id", nil, "events", caepEvent(risc+"account-disabled", "subject", map[string]any{"subject_type": "iss-sub", "iss": demoIssuer, "sub": "USER"}, "reason", "hijacking")},
		"account purged":             {"events", caepEvent(risc + "account-purged")},
		"credential compromise":      {"events", caepEvent(risc+"credential-compromise", "credential_type", "password")},
		"credential change required": {"events", caepEvent(risc + "account-credential-change-required")},
		"RISC's own":                 {"events", caepEvent(risc + "sessions-revoked")},
		"two events":                 {"events", map[string]any{sessionRevoked: map[string]any{}, "https://x.example/other": map[string]any{}}},
		"no timestamp, but toe":      {"events", caepEvent(sessionRevoked), "toe", time.Now().Unix()},
		"a reason of text":           {"events", caepEvent(sessionRevoked, "reason_admin", "because", "initiating_entity", "nobody")},
	} {
		user := strings.ReplaceAll(name, " ", "-")
		b, err := json.Marshal(changes)
		must(t, err)
		var changed []any
		must(t, json.Unmarshal([]byte(strings.ReplaceAll(string(b), "USER", user)), &changed))
		now := time.Now()
		raw := g.statement(t, "demo", "at+jwt", jwt.MapClaims{"iss": demoIssuer, "sub": user, "jti": user, "email": user + "@example.com",
			"sid": "session of " + user, "iat": now.Unix() - 1, "exp": now.Add(time.Hour).Unix()})
		other := g.token(t, realm.TokenRequest{User: "other", Session: "other"})
		r := g.push(t, tr.set(t, user, changed...))
		r.want(t, 202, "")
		if !g.refused(t, raw) || g.refused(t, other) {
			t.Errorf("%s: refused: the subject's %v, another's %v", name, g.refused(t, raw), g.refused(t, other))
		}
	}
}

func TestPushedEventNamesOneToken(t *testing.T) {
	g := newRig(t)
	tr := newTransmitter(t)
	g.receive(t, tr)
	raw, other := g.token(t, realm.TokenRequest{User: "jack"}), g.token(t, realm.TokenRequest{User: "jack"})
	g.push(t, tr.set(t, "", "sub_id", map[string]any{"format": "jwt_id", "iss": demoIssuer, "jti": jtiOf(t, raw)})).want(t, 202, "")
	if !g.refused(t, raw) || g.refused(t, other) {
		t.Errorf("refused: the token %v, another %v", g.refused(t, raw), g.refused(t, other))
	}
}

func TestEventsCutWhereTheySayThatTheyHappened(t *testing.T) {
	g := newRig(t)
	tr := newTransmitter(t)
	g.receive(t, tr)
	at := time.Now().Add(-time.Minute)
	before, after := g.token(t, realm.TokenRequest{User: "jack", Now: at}), g.token(t, realm.TokenRequest{User: "jack", Now: at.Add(3 * time.Second)})
	g.push(t, tr.set(t, "jack", "events", caepEvent(sessionRevoked, "event_timestamp", at.Unix()))).want(t, 202, "")
	if !g.refused(t, before) || g.refused(t, after) {
		t.Errorf("refused: before %v, after %v", g.refused(t, before), g.refused(t, after))
	}
}

// An issuer that transmits its own events speaks for its own users where it shares a
// realm.
func TestEventsOfAnIssuerAreNarrowedToIt(t *testing.T) {
	tr := newTransmitter(t)
	g := newRig(t, demoWith(func(c *realm.Config) { c.Issuers = append(c.Issuers, tr.issuer()) }))
	g.receive(t, tr)
	raw := g.token(t, realm.TokenRequest{User: "jack", Session: "s"})
	for _, subject := range []map[string]any{opaqueSubject("jack"), complexSubject("session", opaqueSubject("s"))} {
		g.push(t, tr.set(t, "", "sub_id", subject)).want(t, 202, "")
	}
	if g.refused(t, raw) {
		t.Error("a namesake at another issuer is signed out")
	}
}

// A SET pushed twice is answered alike, and done once; the receipt has its reason.
func TestEventsArePushedTwiceAndAppliedOnce(t *testing.T) {
	g := newRig(t)
	tr := newTransmitter(t)
	g.receive(t, tr)
	raw := tr.set(t, "jack")
	before := g.published(t)
	for range 2 {
		r := g.push(t, raw)
		r.want(t, 202, "")
	}
	if n := g.published(t) - before; n != 1 {
		t.Errorf("%d events were published", n)
	}
	r := g.send(t, http.MethodGet, "/v1/revocations?limit=1", "", "Authorization: "+admin)
	for _, want := range []string{`"reason":"reason"`, `"caller":"transmitter:demo:` + tr.issuer() + `"`, `"door":"ssf"`} {
		if !strings.Contains(r.body, want) {
			t.Errorf("%s is not in %s", want, r.body)
		}
	}
	// The same jti for something else is no retry.
	checkSETError(t, g.push(t, tr.set(t, "jill", "jti", jtiOf(t, raw))), 400, "invalid_request")
}

func TestEventsThatSignNobodyOutAreTaken(t *testing.T) {
	g := newRig(t)
	tr := newTransmitter(t)
	g.receive(t, tr)
	before := g.published(t)
	for name, changes := range map[string][]any{
		"verification":           {"sub_id", opaqueSubject("stream"), "events", caepEvent("https://schemas.openid.net/secevent/ssf/event-type/verification", "state", "x")},
		"another event":          {"events", caepEvent("https://schemas.openid.net/secevent/caep/event-type/device-compliance-change", "current_status", "not-compliant")},
		"a subject of no token":  {"sub_id", map[string]any{"format": "phone_number", "phone_number": "+12065550100"}},
		"an unknown format":      {"sub_id", map[string]any{"format": "nickname", "id": "jack"}},
		"an address, of no use":  {"sub_id", map[string]any{"format": "email", "email": "jack@example.com"}},
		"an unknown issuer":      {"sub_id", map[string]any{"format": "iss_sub", "iss": "https://nobody.example", "sub": "jack"}},
		"a device":               {"sub_id", complexSubject("device", opaqueSubject("d"))},
		"older than any session": {"events", caepEvent(sessionRevoked, "event_timestamp", 1)},
	} {
		r := g.push(t, tr.set(t, "jack", changes...))
		if r.status != 202 || r.body != "" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	if n := g.published(t) - before; n != 0 {
		t.Errorf("%d events were published", n)
	}
	if !strings.Contains(g.log.String(), "security event is of no use here") {
		t.Error("the log does not tell")
	}
}

// A stream that its transmitter has stopped is told of as what it is.
func TestEventsAboutTheStreamAreTold(t *testing.T) {
	g := newRig(t)
	tr := newTransmitter(t)
	g.receive(t, tr)
	before := g.published(t)
	about := func(uri string, members ...any) []any {
		return []any{"sub_id", opaqueSubject("stream"), "events", caepEvent("https://schemas.openid.net/secevent/ssf/event-type/"+uri, members...)}
	}
	for _, c := range []struct {
		changes []any
		want    string
	}{
		{about("verification", "state", "x"), `level=INFO msg="a stream of security events is verified"`},
		{about("stream-updated", "status", "paused", "reason", "no licence"), `level=ERROR msg="a transmitter sends no security events any more: sign-outs there are not heard of"`},
		{about("stream-updated", "status", "enabled"), `level=INFO msg="a transmitter has enabled the stream of security events"`},
		{about("stream-updated", "status", 1), `status="" reason=""`},
	} {
		if r := g.push(t, tr.set(t, "jack", c.changes...)); r.status != 202 || !strings.Contains(g.log.String(), c.want) {
			t.Errorf("%d %s: no %q in\n%s", r.status, r.body, c.want, g.log.String())
		}
	}
	if !strings.Contains(g.log.String(), `status=paused reason="no licence"`) {
		t.Error("the log does not tell why")
	}
	if n := g.published(t) - before; n != 0 {
		t.Errorf("%d events were published", n)
	}
}

func TestEventTypesCanBeChosen(t *testing.T) {
	g := newRig(t)
	tr := newTransmitter(t)
	const mine = "https://mdm.example/event-type/stolen"
	g.receive(t, tr, func(c *intake.TransmitterConfig) {
		c.Events, c.Kinds, c.AuthorizationSHA256, c.Audience = []string{mine}, []events.Kind{events.KindRealm}, "", nil
	})
	raw := g.token(t, realm.TokenRequest{User: "jack"})
	g.send(t, http.MethodPost, pushPath, tr.set(t, "", "aud", issuer, "sub_id", complexSubject("tenant", opaqueSubject("demo")), "events", caepEvent(sessionRevoked)), setType).want(t, 202, "")
	if g.refused(t, raw) {
		t.Error("an event type that was not chosen has signed out")
	}
	g.send(t, http.MethodPost, pushPath, tr.set(t, "", "aud", issuer, "sub_id", complexSubject("tenant", opaqueSubject("demo")), "events", caepEvent(mine)), setType).want(t, 202, "")
	if !g.refused(t, raw) {
		t.Error("the realm is not signed out")
	}
}

func TestPushedEventsAreRefusedAsRFC8935Has(t *testing.T) {
	g := newRig(t)
	tr := newTransmitter(t)
	g.receive(t, tr)
	live := g.token(t, realm.TokenRequest{User: "jack"})
	good := tr.set(t, "jack")
	b64 := base64.RawURLEncoding.EncodeToString
	payload := strings.Split(good, ".")[1]
	unsigned := b64([]byte(`{"alg":"none","typ":"secevent+jwt"}`)) + "." + payload + "."
	otherKey := newClientKey(t)
	foreign := jwt.NewWithClaims(jwt.SigningMethodES256, tr.setClaims("jack"))
	foreign.Header["typ"], foreign.Header["kid"] = "secevent+jwt", "1"
	otherAlg, err := foreign.SignedString(otherKey.private)
	must(t, err)
	before := g.published(t)
	for name, tc := range map[string]struct {
		raw, code string
	}{
		"empty":                 {"", "invalid_request"},
		"garbage":               {"garbage", "invalid_request"},
		"unsigned":              {unsigned, "invalid_request"},
		"two":                   {good + "\n" + good, "invalid_request"},
		"an access token":       {live, "invalid_request"},
		"another typ":           {tr.sign(t, tr.setClaims("jack"), map[string]any{"typ": "JWT"}), "invalid_request"},
		"unknown transmitter":   {tr.set(t, "jack", "iss", "https://nobody.example"), "invalid_issuer"},
		"an issuer of a realm":  {g.statement(t, "demo", "secevent+jwt", tr.setClaims("jack", "iss", demoIssuer)), "invalid_issuer"},
		"unknown key":           {tr.sign(t, tr.setClaims("jack"), map[string]any{"kid": "2"}), "invalid_key"},
		"badly signed":          {good[:strings.LastIndexByte(good, '.')+1] + strings.Repeat("A", 342), "authentication_failed"},
		"another algorithm":     {otherAlg, "authentication_failed"},
		"wrong audience":        {tr.set(t, "jack", "aud", "https://other.example"), "invalid_audience"},
		"no audience":           {tr.set(t, "jack", "aud", nil), "invalid_audience"},
		"of the future":         {tr.set(t, "jack", "iat", time.Now().Add(time.Hour).Unix()), "invalid_request"},
		"no iat":                {tr.set(t, "jack", "iat", nil), "invalid_request"},
		"no jti":                {tr.set(t, "jack", "jti", nil), "invalid_request"},
		"exp":                   {tr.set(t, "jack", "exp", time.Now().Add(time.Hour).Unix()), "invalid_request"},
		"sub":                   {tr.set(t, "jack", "sub", "jack"), "invalid_request"},
		"no events":             {tr.set(t, "jack", "events", nil), "invalid_request"},
		"empty events":          {tr.set(t, "jack", "events", map[string]any{}), "invalid_request"},
		"events of no objects":  {tr.set(t, "jack", "events", map[string]any{sessionRevoked: true}), "invalid_request"},
		"nobody":                {tr.set(t, "jack", "sub_id", nil), "invalid_request"},
		"two subjects":          {tr.set(t, "jack", "events", caepEvent(sessionRevoked, "subject", issSub("jill"))), "invalid_request"},
		"a subject without sub": {tr.set(t, "jack", "sub_id", map[string]any{"format": "iss_sub", "iss": demoIssuer}), "invalid_request"},
		"another realm's user":  {tr.set(t, "jack", "sub_id", map[string]any{"format": "iss_sub", "iss": "https://partner.rescind.test", "sub": "jack"}), "access_denied"},
		"a whole realm":         {tr.set(t, "jack", "sub_id", complexSubject("tenant", opaqueSubject("demo"))), "access_denied"},
	} {
		t.Run(name, func(t *testing.T) { checkSETError(t, g.push(t, tc.raw), 400, tc.code) })
	}
	auth := "Authorization: " + pushAuth
	for name, r := range map[string]struct {
		status int
		code   string
		reply
	}{
		"no Authorization":      {400, "authentication_failed", g.send(t, http.MethodPost, pushPath, good, setType)},
		"another Authorization": {400, "authentication_failed", g.send(t, http.MethodPost, pushPath, good, setType, auth+"x")},
		"two of them":           {400, "authentication_failed", g.send(t, http.MethodPost, pushPath, good, setType, auth, auth)},
		"method":                {405, "invalid_request", g.send(t, http.MethodGet, pushPath, "")},
		"type":                  {415, "invalid_request", g.send(t, http.MethodPost, pushPath, good, auth, "Content-Type: application/jwt")},
		"no type":               {415, "invalid_request", g.send(t, http.MethodPost, pushPath, good, auth)},
		"oversized":             {413, "invalid_request", g.push(t, good+strings.Repeat("x", 17<<10))},
	} {
		t.Run(name, func(t *testing.T) { checkSETError(t, r.reply, r.status, r.code) })
	}
	if g.refused(t, live) || g.published(t) != before {
		t.Errorf("the live token is refused: %v; events: %d, before %d", g.refused(t, live), g.published(t), before)
	}
	if strings.Contains(g.log.String(), payload) || strings.Contains(g.log.String(), pushAuth) {
		t.Error("an event or a credential is in the log")
	}
}

func checkSETError(t *testing.T, r reply, status int, code string) {
	t.Helper()
	var body map[string]string
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	if r.status != status || body["err"] != code || body["description"] == "" || len(body) != 2 {
		t.Errorf("got %d %s, want %d %s", r.status, r.body, status, code)
	}
	if r.header.Get("Content-Type") != "application/json" || r.header.Get("Content-Language") != "en" {
		t.Errorf("headers %v", r.header)
	}
}

func TestPushSaysWhenTheBusOrTheKeysAreAway(t *testing.T) {
	g := newRig(t)
	tr := newTransmitter(t)
	g.receive(t, tr)
	raw := g.token(t, realm.TokenRequest{User: "jack"})
	g.push(t, tr.set(t, "nobody")).want(t, 202, "")
	set := tr.set(t, "jack")
	g.nats.Stop(t)
	if r := g.push(t, set); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", r.status, r.body)
	}
	g.nats.Start(t)
	eventually(t, func() bool { return g.refused(t, raw) })
	g.push(t, set).want(t, 202, "")
	// Keys that were never had are no verdict.
	away := newTransmitter(t)
	g.receive(t, away)
	set = away.set(t, "jack")
	away.Close()
	if r := g.push(t, set); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", r.status, r.body)
	}
}
