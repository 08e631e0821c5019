package intake_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
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
	s, err := intake.New(intake.Config{Publisher: g.pub, Authenticator: g.auth, Realms: g.realms, Transmitter: tr, Logger: g.log.logger(),
		GlobalTokenRevocation: true})
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

// fed is how many events have come to the stream of feeds.
func (g *rig) fed(t *testing.T) uint64 {
	t.Helper()
	info, err := g.bus.Info(t.Context(), events.Feeds)
	if err != nil {
		return 0 // a condition is waited for
	}
	return info.Msgs
}

// What is not for a receiver is done with: it does not come again, nor stands in the
// way of what is.
func TestWhatIsNotForAReceiverIsDoneWith(t *testing.T) {
	g := newRig(t)
	g.transmit(t)
	var s ssfStream
	g.ssf(t, http.MethodPost, "/ssf/stream", obj("events_requested", []string{events.TypeLifted}), 201, &s)
	for i := range 10 {
		g.revokeUser(t, "demo", fmt.Sprint("user", i))
	}
	eventually(t, func() bool { return g.fed(t) >= 10 })
	eventually(t, func() bool {
		var a polled
		g.ssf(t, http.MethodPost, "/ssf/poll/"+s.ID, obj("returnImmediately", true), 200, &a)
		m, err := g.nats.Connect(t).Request("$JS.API.CONSUMER.INFO."+events.DefaultFleet.StreamName(events.Feeds)+"."+s.ID, nil, 5*time.Second)
		must(t, err)
		var info struct {
			Delivered struct {
				Seq uint64 `json:"consumer_seq"`
			} `json:"delivered"`
			Unacknowledged int    `json:"num_ack_pending"`
			Left           uint64 `json:"num_pending"`
		}
		must(t, json.Unmarshal(m.Data, &info))
		return len(a.Sets) == 0 && info.Delivered.Seq >= 10 && info.Unacknowledged == 0 && info.Left == 0
	})
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
	eventually(t, func() bool { return g.fed(t) >= 1 })
	if n := next(true); n != 0 {
		t.Errorf("%d events while paused", n)
	}
	set("enabled")
	if n := next(false); n != 1 {
		t.Errorf("%d events of the pause", n)
	}
	set("disabled")
	g.revokeUser(t, "demo", "while disabled")
	eventually(t, func() bool { return g.fed(t) >= 2 })
	set("enabled")
	g.revokeUser(t, "demo", "after")
	if n := next(false); n != 1 {
		t.Errorf("%d events after", n)
	}
	if n := next(true); n != 0 {
		t.Errorf("%d events more", n)
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

// An owner has one stream, also when it asks for several at the same time, by
// different publishers.
func TestStreamsMadeAtTheSameTimeAreOne(t *testing.T) {
	g := newRig(t)
	g.transmit(t)
	first := g.url
	g.transmit(t)
	urls := []string{first, g.url}
	made := make([]int, 8)
	var all sync.WaitGroup
	for i := range made {
		all.Go(func() {
			g := *g
			g.url = urls[i%2]
			made[i] = g.send(t, http.MethodPost, "/ssf/stream", "{}", jsonType, "Authorization: Bearer "+g.receiver).status
		})
	}
	all.Wait()
	slices.Sort(made)
	if made[0] != 201 || made[1] != 409 || made[len(made)-1] != 409 {
		t.Errorf("answers: %v", made)
	}
	var streams []map[string]any
	if g.ssf(t, http.MethodGet, "/ssf/stream", nil, 200, &streams); len(streams) != 1 {
		t.Errorf("%d streams", len(streams))
	}
}
