package intake_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/publisher/transmit"
)

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
	if meta := feeds[s.ID].Meta; !strings.Contains(meta, p.URL) || strings.Contains(meta, "secret") || strings.Contains(meta, "Bearer") {
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

// A paused stream is not pushed, and what came meanwhile goes out when it goes on.
func TestPausedStreamsAreNotPushed(t *testing.T) {
	g := newRig(t)
	g.transmit(t)
	paused, other := newPushReceiver(t), newPushReceiver(t)
	var s ssfStream
	g.ssf(t, http.MethodPost, "/ssf/stream", obj("delivery", obj("method", transmit.Push, "endpoint_url", paused.URL)), 201, &s)
	g.ssf(t, http.MethodPost, "/ssf/status", obj("stream_id", s.ID, "status", "paused"), 200, nil)
	g.ssf(t, http.MethodPost, "/ssf/stream", obj("delivery", obj("method", transmit.Push, "endpoint_url", other.URL)), 201, nil, "Authorization: Bearer "+g.free)
	for i := range 10 {
		g.revokeUser(t, "demo", fmt.Sprint("user", i))
	}
	eventually(t, func() bool { return len(other.pushes()) == 10 })
	if n := len(paused.pushes()); n != 0 {
		t.Errorf("%d events are pushed while the stream is paused", n)
	}
	g.ssf(t, http.MethodPost, "/ssf/status", obj("stream_id", s.ID, "status", "enabled"), 200, nil)
	eventually(t, func() bool { return len(paused.pushes()) == 10 })
}

// A receiver cannot lead a push, with its credential, to another place.
func TestPushesFollowNoRedirect(t *testing.T) {
	g := newRig(t)
	g.transmit(t)
	elsewhere := newPushReceiver(t)
	asked := make(chan struct{}, 100)
	leading := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		asked <- struct{}{}
	}))
	t.Cleanup(leading.Close)
	g.ssf(t, http.MethodPost, "/ssf/stream", obj("delivery", obj("method", transmit.Push, "endpoint_url", leading.URL, "authorization_header", "Bearer x")), 201, nil)
	g.revokeUser(t, "demo", "jack")
	for range 2 { // it fails, and is tried again
		select {
		case <-asked:
		case <-time.After(30 * time.Second):
			t.Fatal("nothing is pushed")
		}
	}
	if n := len(elsewhere.pushes()); n != 0 {
		t.Errorf("%d pushes went elsewhere", n)
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
