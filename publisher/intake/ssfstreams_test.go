package intake_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/publisher/intake"
	"github.com/rescind/rescind/publisher/transmit"
)

// transmit makes the rig serve streams of events, and push them until the test ends.
func (g *rig) transmit(t *testing.T, changes ...func(*transmit.Config)) *transmit.Transmitter {
	t.Helper()
	key, err := transmit.NewKey()
	must(t, err)
	c := transmit.Config{Bus: g.bus, Keys: g.pub.Keys, Issuer: issuer, Key: key, Logger: g.log.logger(),
		AllowedPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	for _, change := range changes {
		change(&c)
	}
	tr, err := transmit.New(c)
	must(t, err)
	s, err := intake.New(intake.Config{Publisher: g.pub, Authenticator: g.auth, Realms: g.realms, Transmitter: tr, Logger: g.log.logger()})
	must(t, err)
	g.serveAt(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tr.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return tr
}

// ssf sends JSON to a management endpoint, as the receiver's key unless auth says
// otherwise, and reads the answer.
func (g *rig) ssf(t *testing.T, method, path string, body any, status int, into any, auth ...string) reply {
	t.Helper()
	if len(auth) == 0 {
		auth = []string{"Authorization: Bearer " + g.receiver}
	}
	text := ""
	if body != nil {
		b, err := json.Marshal(body)
		must(t, err)
		text, auth = string(b), append(auth, jsonType)
	}
	r := g.send(t, method, path, text, auth...)
	if r.status != status {
		t.Fatalf("%s %s: got %d %s, want %d", method, path, r.status, r.body, status)
	}
	if into != nil {
		must(t, json.Unmarshal([]byte(r.body), into))
	}
	return r
}

type ssfStream struct {
	ID        string            `json:"stream_id"`
	Issuer    string            `json:"iss"`
	Audience  string            `json:"aud"`
	Supported []string          `json:"events_supported"`
	Requested []string          `json:"events_requested"`
	Delivered []string          `json:"events_delivered"`
	Delivery  map[string]string `json:"delivery"`
	MinVerify int               `json:"min_verification_interval"`
	About     string            `json:"description"`
}

type polled struct {
	Sets map[string]string `json:"sets"`
	More bool              `json:"moreAvailable"`
}

func obj(members ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i < len(members); i += 2 {
		m[members[i].(string)] = members[i+1]
	}
	return m
}

func (g *rig) revokeUser(t *testing.T, name, user string) {
	t.Helper()
	_, err := g.pub.Revoke(t.Context(), publisher.Order{Target: publisher.Target{Kind: events.KindUser, Realm: name, Value: user},
		Initiator: events.ByAdmin, Reason: "left", Wait: publisher.WaitNone})
	must(t, err)
}

// verifySET reads a SET with the transmitter's published keys.
func (g *rig) verifySET(t *testing.T, raw string) (header map[string]any, claims jwt.MapClaims) {
	t.Helper()
	var set jose.JSONWebKeySet
	must(t, json.Unmarshal([]byte(g.send(t, http.MethodGet, "/ssf/jwks.json", "").body), &set))
	tok, err := jwt.Parse(raw, func(tok *jwt.Token) (any, error) {
		keys := set.Key(tok.Header["kid"].(string))
		if len(keys) != 1 {
			return nil, fmt.Errorf("%d keys", len(keys))
		}
		return keys[0].Key, nil
	}, jwt.WithValidMethods([]string{"RS256"}))
	must(t, err)
	return tok.Header, tok.Claims.(jwt.MapClaims)
}

// TestPolledStreamHasTheFleetsRevocations: from discovery to acknowledgement, as
// CAEP's interoperability profile has it.
func TestPolledStreamHasTheFleetsRevocations(t *testing.T) {
	g := newRig(t)
	g.transmit(t)
	var about map[string]any
	must(t, json.Unmarshal([]byte(g.send(t, http.MethodGet, "/.well-known/ssf-configuration", "").body), &about))
	if about["spec_version"] != "1_0" || about["issuer"] != issuer || about["jwks_uri"] != issuer+"/ssf/jwks.json" || about["configuration_endpoint"] != issuer+"/ssf/stream" {
		t.Errorf("%v", about)
	}
	g.revokeUser(t, "demo", "before")
	var s ssfStream
	g.ssf(t, http.MethodPost, "/ssf/stream", obj("delivery", obj("method", transmit.Poll), "events_requested",
		[]string{events.TypeSessionRevoked, events.TypeTokensRevoked, "https://x.example/other"}, "description", "SIEM"), 201, &s)
	want := ssfStream{ID: s.ID, Issuer: issuer, Audience: "apikey:siem", Supported: []string{events.TypeSessionRevoked, events.TypeTokensRevoked, events.TypeLifted},
		Requested: []string{events.TypeSessionRevoked, events.TypeTokensRevoked, "https://x.example/other"},
		Delivered: []string{events.TypeSessionRevoked, events.TypeTokensRevoked}, MinVerify: 10, About: "SIEM",
		Delivery: map[string]string{"method": transmit.Poll, "endpoint_url": issuer + "/ssf/poll/" + s.ID}}
	if d := cmp.Diff(want, s); d != "" || len(s.ID) != 32 {
		t.Error(d)
	}
	g.revokeUser(t, "demo", "jack")
	raw := g.token(t, realm.TokenRequest{User: "jill"})
	tok, err := events.ParseToken(raw)
	must(t, err)
	_, err = g.pub.Revoke(t.Context(), publisher.Order{Target: publisher.Target{Kind: events.KindTokens, Realm: "demo", Tokens: []publisher.Token{{Token: tok, Realm: "demo"}}},
		Initiator: events.BySystem, Wait: publisher.WaitNone})
	must(t, err)
	g.ssf(t, http.MethodPost, "/ssf/verify", obj("stream_id", s.ID, "state", "VGhp"), 204, nil)
	sets := map[string]string{}
	kinds := map[string]jwt.MapClaims{}
	for len(sets) < 3 {
		var a polled
		g.ssf(t, http.MethodPost, "/ssf/poll/"+s.ID, obj("returnImmediately", false, "maxEvents", 2), 200, &a)
		for jti, set := range a.Sets {
			if _, again := sets[jti]; again {
				t.Errorf("%s came again before its time", jti)
			}
			sets[jti] = set
			header, claims := g.verifySET(t, set)
			if header["typ"] != "secevent+jwt" || claims["jti"] != jti || claims["aud"] != s.Audience || claims["iss"] != issuer || claims["sub"] != nil || claims["exp"] != nil {
				t.Errorf("%v %v", header, claims)
			}
			for uri := range claims["events"].(map[string]any) {
				kinds[uri] = claims
			}
		}
	}
	caep := kinds[events.TypeSessionRevoked]
	if d := cmp.Diff(map[string]any{"format": "complex", "user": map[string]any{"format": "iss_sub", "iss": demoIssuer, "sub": "jack"},
		"tenant": map[string]any{"format": "opaque", "id": "demo"}}, caep["sub_id"]); d != "" {
		t.Error(d)
	}
	body := caep["events"].(map[string]any)[events.TypeSessionRevoked].(map[string]any)
	if body["initiating_entity"] != "admin" || cmp.Diff(map[string]any{"en": "left"}, body["reason_admin"]) != "" || len(body) != 3 || caep["txn"] == "" {
		t.Errorf("%v", caep)
	}
	verification := kinds[transmit.TypeVerification]
	if cmp.Diff(map[string]any{"format": "opaque", "id": s.ID}, verification["sub_id"]) != "" ||
		cmp.Diff(map[string]any{transmit.TypeVerification: map[string]any{"state": "VGhp"}}, verification["events"]) != "" {
		t.Errorf("%v", verification)
	}
	if list := kinds[events.TypeTokensRevoked]; list == nil || list["events"].(map[string]any)[events.TypeTokensRevoked].(map[string]any)["match"] == nil {
		t.Errorf("%v", list)
	}
	// Acknowledged, refused, and nothing is left.
	var acks []string
	for jti := range sets {
		acks = append(acks, jti)
	}
	var a polled
	r := g.ssf(t, http.MethodPost, "/ssf/poll/"+s.ID, obj("ack", acks[:2], "setErrs", obj(acks[2], obj("err", "invalid_key", "description", "x")),
		"returnImmediately", true), 200, &a)
	if r.body != `{"sets":{}}`+"\n" {
		t.Error(r.body)
	}
	if !strings.Contains(g.log.String(), "a receiver refuses an event") {
		t.Error("the log does not tell what the receiver refuses")
	}
}

func TestStreamsAreManaged(t *testing.T) {
	g := newRig(t)
	g.transmit(t)
	var s ssfStream
	if r := g.ssf(t, http.MethodGet, "/ssf/stream", nil, 200, nil); r.body != "[]\n" {
		t.Error(r.body)
	}
	g.ssf(t, http.MethodPost, "/ssf/stream", obj(), 201, &s)
	if s.Delivery["method"] != transmit.Poll || cmp.Diff([]string{events.TypeSessionRevoked}, s.Delivered) != "" {
		t.Errorf("by default: %+v", s)
	}
	g.ssf(t, http.MethodPost, "/ssf/stream", obj(), 409, nil)
	var all []ssfStream
	g.ssf(t, http.MethodGet, "/ssf/stream", nil, 200, &all)
	var one ssfStream
	g.ssf(t, http.MethodGet, "/ssf/stream?stream_id="+s.ID, nil, 200, &one)
	if len(all) != 1 || cmp.Diff(all[0], one) != "" || cmp.Diff(one, s) != "" {
		t.Errorf("%+v, %+v", all, one)
	}
	// PATCH keeps what it does not name, PUT does not.
	g.ssf(t, http.MethodPatch, "/ssf/stream", obj("stream_id", s.ID, "description", "new", "iss", issuer, "aud", s.Audience,
		"events_supported", s.Supported, "min_verification_interval", 10, "events_delivered", s.Delivered), 200, &one)
	if one.About != "new" || one.Requested != nil {
		t.Errorf("%+v", one)
	}
	one = ssfStream{}
	g.ssf(t, http.MethodPut, "/ssf/stream", obj("stream_id", s.ID, "events_requested", []string{events.TypeLifted}, "delivery", s.Delivery), 200, &one)
	if one.About != "" || cmp.Diff([]string{events.TypeLifted}, one.Delivered) != "" {
		t.Errorf("%+v", one)
	}
	one = ssfStream{}
	g.ssf(t, http.MethodPut, "/ssf/stream", obj("stream_id", s.ID), 200, &one)
	if one.About != "" || one.Requested != nil || one.Delivery["method"] != transmit.Poll {
		t.Errorf("%+v", one)
	}
	for name, body := range map[string]map[string]any{
		"another iss":      obj("stream_id", s.ID, "iss", "https://x.example"),
		"another aud":      obj("stream_id", s.ID, "aud", "x"),
		"other supported":  obj("stream_id", s.ID, "events_supported", []string{"x"}),
		"other delivered":  obj("stream_id", s.ID, "events_delivered", []string{"x"}),
		"other interval":   obj("stream_id", s.ID, "min_verification_interval", 1),
		"unknown method":   obj("stream_id", s.ID, "delivery", obj("method", "carrier pigeon")),
		"endpoint to poll": obj("stream_id", s.ID, "delivery", obj("method", transmit.Poll, "endpoint_url", "https://x.example")),
		"header of lines":  obj("stream_id", s.ID, "delivery", obj("method", transmit.Push, "endpoint_url", "https://x.example", "authorization_header", "a\r\nb")),
		"long description": obj("stream_id", s.ID, "description", strings.Repeat("x", 1000)),
		"too many events":  obj("stream_id", s.ID, "events_requested", make([]string, 100)),
		"wrong type":       obj("stream_id", s.ID, "description", 5),
		"no stream":        obj("description", "x"),
	} {
		t.Run(name, func(t *testing.T) { g.ssf(t, http.MethodPatch, "/ssf/stream", body, 400, nil) })
	}
	var status map[string]string
	g.ssf(t, http.MethodGet, "/ssf/status?stream_id="+s.ID, nil, 200, &status)
	if cmp.Diff(map[string]string{"stream_id": s.ID, "status": "enabled"}, status) != "" {
		t.Errorf("%v", status)
	}
	g.ssf(t, http.MethodPost, "/ssf/status", obj("stream_id", s.ID, "status", "asleep"), 400, nil)
	g.ssf(t, http.MethodPost, "/ssf/verify", obj("stream_id", s.ID), 204, nil)
	if r := g.ssf(t, http.MethodPost, "/ssf/verify", obj("stream_id", s.ID), 429, nil); r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	g.ssf(t, http.MethodPost, "/ssf/verify", obj("stream_id", s.ID, "state", strings.Repeat("x", 2000)), 400, nil)
	g.ssf(t, http.MethodDelete, "/ssf/stream?stream_id="+s.ID, nil, 204, nil)
	for _, path := range []string{"/ssf/stream?stream_id=" + s.ID, "/ssf/status?stream_id=" + s.ID, "/ssf/stream?stream_id=a.b*c"} {
		g.ssf(t, http.MethodGet, path, nil, 404, nil)
	}
	g.ssf(t, http.MethodPost, "/ssf/poll/"+s.ID, obj(), 404, nil)
}

func TestStreamsAreTheirOwners(t *testing.T) {
	g := newRig(t)
	g.transmit(t)
	var s ssfStream
	g.ssf(t, http.MethodPost, "/ssf/stream", obj(), 201, &s)
	bearer := func(scope string) string {
		return "Authorization: Bearer " + g.token(t, realm.TokenRequest{User: "svc", Scope: scope})
	}
	ops := "Authorization: Bearer " + g.free
	for name, auth := range map[string]string{"another key": ops, "a bearer": bearer("ssf.manage")} {
		for _, r := range []struct {
			method, path string
			body         any
		}{{http.MethodGet, "/ssf/stream?stream_id=" + s.ID, nil}, {http.MethodDelete, "/ssf/stream?stream_id=" + s.ID, nil},
			{http.MethodPatch, "/ssf/stream", obj("stream_id", s.ID)}, {http.MethodPost, "/ssf/status", obj("stream_id", s.ID, "status", "disabled")},
			{http.MethodPost, "/ssf/verify", obj("stream_id", s.ID)}, {http.MethodPost, "/ssf/poll/" + s.ID, obj("returnImmediately", true)}} {
			t.Run(name+" "+r.method+" "+r.path, func(t *testing.T) { g.ssf(t, r.method, r.path, r.body, 404, nil, auth) })
		}
	}
	if r := g.ssf(t, http.MethodGet, "/ssf/stream", nil, 200, nil, ops); r.body != "[]\n" {
		t.Error(r.body)
	}
	g.ssf(t, http.MethodGet, "/ssf/stream?stream_id="+s.ID, nil, 200, nil, "Authorization: "+admin)
	// What a caller may: nothing, read, manage.
	for auth, want := range map[string][2]int{"X: y": {401, 401}, bearer(""): {403, 403}, bearer("ssf.read"): {200, 403}, bearer("ssf.manage"): {200, 201}} {
		g.ssf(t, http.MethodGet, "/ssf/stream", nil, want[0], nil, auth)
		r := g.ssf(t, http.MethodPost, "/ssf/stream", obj(), want[1], nil, auth)
		if want[1]/100 == 4 && !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: %v", auth, r.header)
		}
	}
	// A receiver may receive, and nothing else.
	receiver := "Authorization: Bearer " + g.receiver
	for _, r := range []reply{g.send(t, http.MethodPost, "/v1/revocations", `{"user":"jack","realm":"demo"}`, receiver, jsonType),
		g.send(t, http.MethodGet, "/v1/revocations", "", receiver)} {
		if r.status != 403 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	for name, r := range map[string]reply{
		"type":      g.send(t, http.MethodPost, "/ssf/stream", "a=b", receiver, formType),
		"repeated":  g.send(t, http.MethodPost, "/ssf/status", `{"stream_id":"a","stream_id":"b"}`, receiver, jsonType),
		"oversized": g.send(t, http.MethodPost, "/ssf/stream", `{"description":"`+strings.Repeat("x", 64<<10)+`"}`, receiver, jsonType),
		"method":    g.send(t, http.MethodDelete, "/ssf/status", "", receiver),
		"query":     g.send(t, http.MethodGet, "/ssf/stream?access_token="+g.receiver, "", "X: y"),
		"negative":  g.send(t, http.MethodPost, "/ssf/poll/"+s.ID, `{"maxEvents":-1}`, receiver, jsonType),
	} {
		want := map[string]int{"type": 415, "repeated": 400, "oversized": 413, "method": 405, "query": 401, "negative": 400}[name]
		if r.status != want {
			t.Errorf("%s: got %d %s, want %d", name, r.status, r.body, want)
		}
	}
}

// TestStreamsAreSentTheirRealmsOnly: a receiver that is bound to a realm sees nothing
// of another, but what spans all.
func TestStreamsAreSentTheirRealmsOnly(t *testing.T) {
	g := newRig(t)
	g.transmit(t)
	bound := "Authorization: Bearer " + g.bound
	var s ssfStream
	g.ssf(t, http.MethodPost, "/ssf/stream", obj(), 201, &s, bound)
	g.revokeUser(t, "partner", "jack")
	g.revokeUser(t, "demo", "jill")
	_, err := g.pub.Revoke(t.Context(), publisher.Order{Target: publisher.Target{Kind: events.KindAll}, Initiator: events.ByAdmin, Wait: publisher.WaitNone})
	must(t, err)
	var got []string
	for len(got) < 2 {
		var a polled
		g.ssf(t, http.MethodPost, "/ssf/poll/"+s.ID, obj(), 200, &a, bound)
		for _, set := range a.Sets {
			_, claims := g.verifySET(t, set)
			got = append(got, fmt.Sprint(claims["sub_id"]))
		}
	}
	for _, subject := range got {
		if strings.Contains(subject, "partner") || strings.Contains(subject, "jack") {
			t.Errorf("sent %s", subject)
		}
	}
}

func TestPausedStreamsKeepEventsAndDisabledOnesDoNot(t *testing.T) {
	g := newRig(t)
	g.transmit(t)
	var s ssfStream
	g.ssf(t, http.MethodPost, "/ssf/stream", obj(), 201, &s)
	set := func(status string) {
		g.ssf(t, http.MethodPost, "/ssf/status", obj("stream_id", s.ID, "status", status, "reason", "x"), 200, nil)
	}
	next := func(atOnce bool) int {
		var a polled
		g.ssf(t, http.MethodPost, "/ssf/poll/"+s.ID, obj("returnImmediately", atOnce), 200, &a)
		var acks []string
		for jti := range a.Sets {
			acks = append(acks, jti)
		}
		g.ssf(t, http.MethodPost, "/ssf/poll/"+s.ID, obj("ack", acks, "maxEvents", 0), 200, nil)
		return len(a.Sets)
	}
	set("paused")
	g.revokeUser(t, "demo", "while paused")
	if n := next(true); n != 0 {
		t.Errorf("%d events while paused", n)
	}
	set("enabled")
	if n := next(false); n != 1 {
		t.Errorf("%d events of the pause", n)
	}
	set("disabled")
	g.revokeUser(t, "demo", "while disabled")
	eventually(t, func() bool { // it has come to the stream of feeds
		info, err := g.bus.Info(t.Context(), events.Feeds)
		return err == nil && info.Msgs >= 2
	})
	set("enabled")
	g.revokeUser(t, "demo", "after")
	if n := next(false); n != 1 {
		t.Errorf("%d events after", n)
	}
	if n := next(true); n != 0 {
		t.Errorf("%d events more", n)
	}
}

// TestPolledEventsComeAgainUntilAcknowledged: with a lost answer now and then, and a
// publisher that forgets what it gave.
func TestPolledEventsComeAgainUntilAcknowledged(t *testing.T) {
	const count = 200
	g := newRig(t)
	short := func(c *transmit.Config) { c.AckWait = 2 * time.Second }
	tr := g.transmit(t, short)
	var s ssfStream
	g.ssf(t, http.MethodPost, "/ssf/stream", obj(), 201, &s)
	var group sync.WaitGroup
	for w := range 10 {
		group.Go(func() {
			for i := range count / 10 {
				g.revokeUser(t, "demo", fmt.Sprintf("user-%d-%d", w, i))
			}
		})
	}
	seen := map[string]int{}
	users := map[string]bool{}
	var acks []string
	repeated := 0
	begun := time.Now()
	for poll := 0; len(users) < count && time.Since(begun) < 3*time.Minute; poll++ {
		var a polled
		g.ssf(t, http.MethodPost, "/ssf/poll/"+s.ID, obj("ack", acks, "maxEvents", 20), 200, &a)
		acks = nil
		if poll%7 == 3 {
			continue // this answer is lost: what it held comes again
		}
		for jti, set := range a.Sets {
			if seen[jti]++; seen[jti] > 1 {
				repeated++
			}
			claims := jwt.MapClaims{}
			_, _, err := jwt.NewParser().ParseUnverified(set, claims)
			must(t, err)
			users[claims["sub_id"].(map[string]any)["user"].(map[string]any)["sub"].(string)] = true
			acks = append(acks, jti)
		}
		if poll == 5 { // as if another publisher went on
			g.transmit(t, short, func(c *transmit.Config) { c.Key = tr.Key() })
		}
	}
	group.Wait()
	if len(users) != count {
		t.Fatalf("%d of %d users came", len(users), count)
	}
	eventually(t, func() bool {
		var a polled
		g.ssf(t, http.MethodPost, "/ssf/poll/"+s.ID, obj("ack", acks, "maxEvents", 20, "returnImmediately", true), 200, &a)
		acks = nil
		for jti := range a.Sets {
			acks = append(acks, jti)
		}
		f, err := g.bus.Feed(t.Context(), s.ID)
		must(t, err)
		n, err := f.Pending(t.Context())
		return err == nil && n == 0 && len(a.Sets) == 0
	})
	t.Logf("%d events by polling in %v, %d of them more than once", count, time.Since(begun).Round(time.Millisecond), repeated)
}

// pushReceiver is a receiver that pushes go to.
type pushReceiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []string
	auths  map[string]bool
	answer func(n int) (int, string)
}

func newPushReceiver(t *testing.T) *pushReceiver {
	t.Helper()
	p := &pushReceiver{auths: map[string]bool{}, answer: func(int) (int, string) { return 202, "" }}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Content-Type") != "application/secevent+jwt" || r.Method != http.MethodPost {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		p.mu.Lock()
		p.got = append(p.got, string(b))
		p.auths[r.Header.Get("Authorization")] = true
		status, body := p.answer(len(p.got))
		p.mu.Unlock()
		w.WriteHeader(status)
		_, _ = io.Copy(w, bytes.NewBufferString(body))
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *pushReceiver) pushes() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.got...)
}

func (p *pushReceiver) answers(answer func(n int) (int, string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

// TestPushedStreamIsDelivered: in order, with the receiver's credential, again after a
// failure, and not again after a refusal.
func TestPushedStreamIsDelivered(t *testing.T) {
	g := newRig(t)
	g.transmit(t)
	p := newPushReceiver(t)
	p.answers(func(n int) (int, string) {
		switch n {
		case 2:
			return 503, ""
		case 4:
			return 400, `{"err":"invalid_request","description":"never heard of"}`
		}
		return 202, ""
	})
	var s ssfStream
	const credential = "Bearer secret of the receiver"
	r := g.ssf(t, http.MethodPost, "/ssf/stream", obj("delivery", obj("method", transmit.Push, "endpoint_url", p.URL, "authorization_header", credential)), 201, &s)
	if strings.Contains(r.body, "secret") || s.Delivery["endpoint_url"] != p.URL {
		t.Error(r.body)
	}
	feeds, err := g.bus.Feeds(t.Context())
	must(t, err)
	if meta := feeds[s.ID]; !strings.Contains(meta, p.URL) || strings.Contains(meta, "secret") || strings.Contains(meta, "Bearer") {
		t.Errorf("kept: %s", meta)
	}
	for i := range 5 {
		g.revokeUser(t, "demo", fmt.Sprintf("user%d", i))
	}
	eventually(t, func() bool { return len(p.pushes()) == 6 })
	var users []string
	for _, set := range p.pushes() {
		_, claims := g.verifySET(t, set)
		users = append(users, claims["sub_id"].(map[string]any)["user"].(map[string]any)["sub"].(string))
	}
	if want := "[user0 user1 user1 user2 user3 user4]"; fmt.Sprint(users) != want {
		t.Errorf("pushed %v, want %s", users, want)
	}
	if len(p.auths) != 1 || !p.auths[credential] {
		t.Errorf("with %v", p.auths)
	}
	g.ssf(t, http.MethodPost, "/ssf/poll/"+s.ID, obj(), 400, nil)
	// A stream that becomes one to poll goes on where it was.
	g.ssf(t, http.MethodPatch, "/ssf/stream", obj("stream_id", s.ID, "delivery", obj("method", transmit.Poll)), 200, nil)
	g.revokeUser(t, "demo", "last")
	var a polled
	g.ssf(t, http.MethodPost, "/ssf/poll/"+s.ID, obj(), 200, &a)
	if len(a.Sets) != 1 || len(p.pushes()) != 6 {
		t.Errorf("%d polled, %d pushed", len(a.Sets), len(p.pushes()))
	}
	if strings.Contains(g.log.String(), "secret of") {
		t.Error("the receiver's credential is in the log")
	}
}

// TestPushesGoToPublicAddressesOnly: a receiver must not make the publisher call what
// only the publisher can reach.
func TestPushesGoToPublicAddressesOnly(t *testing.T) {
	g := newRig(t)
	p := newPushReceiver(t)
	tr := g.transmit(t, func(c *transmit.Config) { c.AllowedPrefixes = nil })
	port := p.URL[strings.LastIndexByte(p.URL, ':'):]
	create := func(endpoint string, status int) {
		t.Helper()
		r := g.ssf(t, http.MethodPost, "/ssf/stream", obj("delivery", obj("method", transmit.Push, "endpoint_url", endpoint)), status, nil)
		if status == 400 && !strings.Contains(r.body, "endpoint_url") {
			t.Error(r.body)
		}
	}
	for _, endpoint := range []string{p.URL, "https://127.0.0.1" + port, "https://localhost" + port, "https://[::1]" + port, "https://[::ffff:127.0.0.1]" + port,
		"https://10.0.0.1/", "https://169.254.169.254/latest", "https://[fe80::1]/", "https://[64:ff9b::7f00:1]/", "https://0.0.0.0/", "http://93.184.216.34/",
		"ftp://93.184.216.34/", "https://a:b@93.184.216.34/", "https://93.184.216.34/#x", "https://no-such-host.invalid/", "://", ""} {
		create(endpoint, 400)
	}
	// A name that leads elsewhere later is caught when it is connected to.
	s := &transmit.Stream{Owner: "x", Audience: "x", Method: transmit.Poll, Status: transmit.Enabled}
	must(t, tr.Create(t.Context(), s))
	meta := fmt.Sprintf(`{"owner":"x","aud":"x","method":%q,"endpoint":%q,"status":"enabled"}`, transmit.Push, p.URL)
	f, err := g.bus.Feed(t.Context(), s.ID)
	must(t, err)
	must(t, g.bus.DeleteFeed(t.Context(), f.ID()))
	_, err = g.bus.CreateFeed(t.Context(), s.ID, meta, bus.FeedOptions{AckWait: time.Second, MaxPending: 1})
	must(t, err)
	g.revokeUser(t, "demo", "jack")
	eventually(t, func() bool { return strings.Contains(g.log.String(), "prohibited IP address") })
	if n := len(p.pushes()); n != 0 {
		t.Errorf("%d pushes came", n)
	}
}

// TestNothingButTheFleetsEventsIsPassedOn: who can write to the streams cannot make the
// publisher sign for it.
func TestNothingButTheFleetsEventsIsPassedOn(t *testing.T) {
	g := newRig(t)
	g.transmit(t)
	var s ssfStream
	g.ssf(t, http.MethodPost, "/ssf/stream", obj(), 201, &s)
	stranger, err := events.NewSigner("pub1")
	must(t, err)
	id := events.NewEventID()
	forged, err := stranger.Sign(&events.Revocation{ID: id, Txn: id, Issuer: issuer, Fleet: events.DefaultFleet, IssuedAt: time.Now().Unix(),
		Target: events.Target{Kind: events.KindAll}, NotBefore: time.Now().Unix(), Expires: time.Now().Add(time.Hour).Unix(), Initiator: events.ByAdmin,
		Origin: events.Origin{Publisher: "pub1", Incarnation: events.NewEventID(), Counter: 1}})
	must(t, err)
	_, err = g.bus.Publish(t.Context(), events.Control, "", forged)
	must(t, err)
	for _, raw := range []string{"garbage", string(forged), newTransmitter(t).set(t, "jack", "aud", s.Audience, "iss", issuer, "sub_id", opaqueSubject(s.ID))} {
		must(t, g.bus.PublishFeed(t.Context(), s.ID, []byte(raw)))
	}
	g.revokeUser(t, "demo", "jack")
	var a polled
	g.ssf(t, http.MethodPost, "/ssf/poll/"+s.ID, obj(), 200, &a)
	for _, set := range a.Sets {
		if _, claims := g.verifySET(t, set); !strings.Contains(fmt.Sprint(claims["sub_id"]), "jack") || claims["aud"] != s.Audience {
			t.Errorf("passed on: %v", claims)
		}
	}
	if len(a.Sets) != 1 {
		t.Errorf("%d events", len(a.Sets))
	}
}

func TestStreamsSayWhenTheBusIsAway(t *testing.T) {
	g := newRig(t)
	g.transmit(t)
	var s ssfStream
	g.ssf(t, http.MethodPost, "/ssf/stream", obj(), 201, &s)
	g.nats.Stop(t)
	for _, r := range []reply{g.ssf(t, http.MethodPost, "/ssf/poll/"+s.ID, obj(), 503, nil), g.ssf(t, http.MethodGet, "/ssf/stream", nil, 503, nil)} {
		if r.header.Get("Retry-After") == "" {
			t.Errorf("no Retry-After: %s", r.body)
		}
	}
	g.nats.Start(t)
	eventually(t, func() bool {
		return g.send(t, http.MethodGet, "/ssf/stream?stream_id="+s.ID, "", "Authorization: Bearer "+g.receiver).status == 200
	})
}
