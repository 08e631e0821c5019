package intake_test

import (
	"crypto/sha256"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/publisher/intake"
)

// rig is a publisher with all its doors, on a real server, and what it takes to
// knock.
type rig struct {
	nats        *bustest.Server
	bus         *bus.Bus
	pub         *publisher.Publisher
	config      publisher.Config
	dev         *realm.Dev
	realms      *realm.Realms
	url         string
	bound, free string // API keys: for users and tokens of demo, and for all
	users       string // API key for users only
	receiver    string // API key of a receiver of events
	svc         *clientKey
	auth        *intake.Authenticator
	log         *logBuffer
	served      *intake.Server
}

// issuer is the publisher's public URL.
const issuer = "https://rescind.example"

// admin is the Authorization of the admin.
const admin = "Bearer " + adminKey

// newRig lets the test run beside others: most of its time is waiting.
func newRig(t *testing.T, changes ...func(map[string]realm.Config)) *rig {
	t.Helper()
	t.Parallel()
	g := &rig{nats: bustest.Start(t), log: &logBuffer{}}
	g.bus = g.nats.Bus(t, events.DefaultFleet)
	dev, err := realm.OpenDev(t.TempDir())
	must(t, err)
	g.dev = dev
	configs := maps.Clone(dev.Configs())
	for _, change := range changes {
		change(configs)
	}
	g.realms, err = realm.New(configs, realm.Options{})
	must(t, err)
	t.Cleanup(g.realms.Close)
	signer, err := events.NewSigner("pub1")
	must(t, err)
	g.config = publisher.Config{Issuer: issuer,
		Signer: signer, Realms: g.realms, Dir: t.TempDir(), ListenFor: time.Millisecond, AckTimeout: 5 * time.Second,
		Streams: bus.Settings{TokensMaxBytes: 64 << 20}}
	g.open(t)
	t.Cleanup(func() { must(t, g.pub.Close()) })
	g.serve(t)
	return g
}

// open opens the publisher, also once more after it was closed.
func (g *rig) open(t *testing.T) {
	t.Helper()
	var err error
	g.pub, err = publisher.Open(t.Context(), g.nats.Connect(t), g.config)
	must(t, err)
	bustest.Eventually(t, "publisher is ready", func() bool { return g.pub.Ready() == nil })
}

func (g *rig) serve(t *testing.T) {
	t.Helper()
	boundKey, boundSum := intake.NewAPIKey()
	freeKey, freeSum := intake.NewAPIKey()
	usersKey, usersSum := intake.NewAPIKey()
	receiverKey, receiverSum := intake.NewAPIKey()
	g.bound, g.free, g.users, g.receiver = boundKey, freeKey, usersKey, receiverKey
	g.svc = newClientKey(t)
	auth, err := intake.NewAuthenticator(intake.AuthConfig{AdminKeySHA256: sha256.Sum256([]byte(adminKey)),
		Users: []intake.UserConfig{{Name: "alice", Bcrypt: hash(t, password)}}, Clients: oauthClients(g.svc),
		APIKeys: []intake.APIKeyConfig{
			{ID: "ci", SHA256: boundSum, Realms: []string{"demo"}, Kinds: []events.Kind{events.KindUser, events.KindToken, events.KindLift}},
			{ID: "ops", SHA256: freeSum},
			{ID: "siem", SHA256: receiverSum, Receiver: true},
			{ID: "users", SHA256: usersSum, Kinds: []events.Kind{events.KindUser}}},
		Realms: g.realms, Revoked: g.pub.Revoked})
	must(t, err)
	g.auth = auth
	t.Cleanup(auth.Close)
	s, err := intake.New(intake.Config{Publisher: g.pub, Authenticator: auth, Realms: g.realms, Logger: g.log.logger(),
		Registry: prometheus.NewRegistry(), GlobalTokenRevocation: true})
	must(t, err)
	g.serveAt(t, s)
}

// serveAt makes these the doors that the rig knocks at.
func (g *rig) serveAt(t *testing.T, s *intake.Server) {
	t.Helper()
	g.served = s
	srv := httptest.NewServer(judged(t, s))
	t.Cleanup(srv.Close)
	g.url = srv.URL
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (g *rig) token(t *testing.T, req realm.TokenRequest) string {
	t.Helper()
	raw, err := g.dev.Issue(req)
	must(t, err)
	return raw
}

// statement is a JWT of a realm that is no access token, or looks like one.
func (g *rig) statement(t *testing.T, name, typ string, claims jwt.MapClaims) string {
	t.Helper()
	raw, err := g.dev.Sign(name, "ES256", typ, claims)
	must(t, err)
	return raw
}

// changed makes the changes to claims, as names and values; nil leaves one out.
func changed(c jwt.MapClaims, changes []any) jwt.MapClaims {
	for i := 0; i < len(changes); i += 2 {
		if c[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
			delete(c, changes[i].(string))
		}
	}
	return c
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   string
}

// send sends a request. Headers are "Name: value".
func (g *rig) send(t *testing.T, method, path, body string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, g.url+path, strings.NewReader(body))
	must(t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	must(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(t, err)
	return reply{res.StatusCode, res.Header, string(b)}
}

// want checks status and exact body.
func (r reply) want(t *testing.T, status int, body string) {
	t.Helper()
	if r.status != status || r.body != body {
		t.Errorf("got  %d %s\nwant %d %s", r.status, r.body, status, body)
	}
}

var moving = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`"(id|lift)":"[0-9a-f-]{36}"`), `"$1":"ID"`},
	{regexp.MustCompile(`"(seq|elapsed_ms|not_before)":[0-9]+`), `"$1":N`},
	{regexp.MustCompile(`lift of [0-9a-f-]{36}`), `lift of ID`},
	{regexp.MustCompile(`"accepted_at":"[^"]*"`), `"accepted_at":"T"`},
	{regexp.MustCompile(`within [0-9.]+m?s`), `within T`},
}

// masked has the values that no test can know replaced.
func (r reply) masked() reply {
	for _, m := range moving {
		r.body = m.pattern.ReplaceAllString(r.body, m.with)
	}
	return r
}

// published is how many events the streams hold. It waits for a server that was
// just started.
func (g *rig) published(t *testing.T) (n uint64) {
	t.Helper()
	for _, s := range events.EventStreams {
		eventually(t, func() bool {
			info, err := g.bus.Info(t.Context(), s)
			n += info.Msgs
			return err == nil
		})
	}
	return n
}

// agent is an agent as a publisher sees it: a voice on the bus. It says that it
// has applied what comes, with the counts of its script.
type agent struct {
	who     events.Agent
	nc      *nats.Conn
	fleet   events.Fleet
	epochs  map[events.Stream]string
	number  uint64
	counted func(*events.Revocation) events.Counted
	answer  func(*events.Query) events.Answer

	mu sync.Mutex
}

// join brings an agent into the fleet. mute makes it report nothing.
func (g *rig) join(t *testing.T, name string, mute bool) *agent {
	t.Helper()
	a := &agent{who: events.Agent{ID: name, Service: "payments", Instance: name, Run: "run1", Version: "1"},
		nc: g.nats.Connect(t), fleet: events.DefaultFleet, epochs: map[events.Stream]string{},
		counted: func(*events.Revocation) events.Counted { return events.Counted{} },
		answer:  func(*events.Query) events.Answer { return events.Answer{} }}
	for _, s := range events.EventStreams {
		info, err := g.bus.Info(t.Context(), s)
		must(t, err)
		a.epochs[s] = info.Epoch
	}
	if !mute {
		must(t, g.subscribe(a))
	}
	a.publish(t, a.fleet.StatusSubject(name), events.Status{Agent: a.who, Moment: events.Hello, State: events.Fresh,
		Positions: map[events.Stream]events.Position{}})
	bustest.Eventually(t, "the publisher knows the agent", func() bool {
		return slices.ContainsFunc(g.pub.Agents(), func(i publisher.AgentInfo) bool { return i.ID == name })
	})
	return a
}

func (g *rig) subscribe(a *agent) error {
	_, err := a.nc.Subscribe(a.fleet.LiveSubject("*"), func(m *nats.Msg) {
		r, _, err := g.pub.Keys().Open(a.fleet, m.Data)
		stream, ok := a.fleet.LiveStream(m.Subject)
		if err == nil && ok {
			a.report(r, stream, m.Header.Get("Nats-Sequence"))
		}
	})
	if err == nil {
		_, err = a.nc.Subscribe(a.fleet.QuerySubject(), func(m *nats.Msg) {
			if q, err := g.pub.Keys().OpenQuery(a.fleet, m.Data); err == nil {
				a.reply(q, m)
			}
		})
	}
	if err == nil {
		err = a.nc.Flush()
	}
	return err
}

// logBuffer collects what was logged.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	bustest.Eventually(t, "what must come", ok)
}
