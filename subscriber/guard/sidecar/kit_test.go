package sidecar_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

// site is a sidecar that serves, before an agent of a fleet.
type site struct {
	*guardtest.Fleet
	t     testing.TB
	agent *subscriber.Agent
	url   string
}

// start starts a verifying sidecar with a fresh agent.
func start(t testing.TB, opts ...func(*sidecar.Config)) *site {
	t.Helper()
	f := guardtest.Start(t)
	return serve(t, f, f.Fresh(t), opts...)
}

func serve(t testing.TB, f *guardtest.Fleet, a *subscriber.Agent, opts ...func(*sidecar.Config)) *site {
	t.Helper()
	c := sidecar.Config{Agent: a, Realms: f.Realms, Version: "v1.2.3"}
	for _, o := range opts {
		o(&c)
	}
	h, err := sidecar.New(c)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &site{f, t, a, srv.URL}
}

func revocationOnly(c *sidecar.Config) { c.Realms = nil }

func preflightFrom(from string) func(*sidecar.Config) {
	return func(c *sidecar.Config) { c.PreflightFrom = from }
}

// answer is what a caller sees.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

// neverRedirected takes a redirect for an answer, as proxies do.
var neverRedirected = &http.Client{
	Transport:     &http.Transport{DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (s *site) do(method, path, body string, header ...string) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	res, err := neverRedirected.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, strings.TrimSpace(string(b))}
}

func (s *site) check(raw string) answer {
	s.t.Helper()
	return s.do("GET", "/check", "", "Authorization", "Bearer "+raw)
}

// metric reads one line of /metrics.
func (s *site) metric(name string) int {
	s.t.Helper()
	for line := range strings.SplitSeq(s.do("GET", "/metrics", "").Body, "\n") {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return int(f)
		}
	}
	s.t.Fatalf("no metric %s", name)
	return 0
}

// kept is how many tokens the cache has, hits how many look-ups it has answered.
func (s *site) kept() int { s.t.Helper(); return s.metric("rescind_agent_token_cache_entries") }
func (s *site) hits() int {
	s.t.Helper()
	return s.metric(`rescind_agent_token_cache_lookups_total{result="hit"}`)
}

const form = "application/x-www-form-urlencoded"

func (s *site) introspect(body string) answer {
	s.t.Helper()
	return s.do("POST", "/introspect", body, "Content-Type", form)
}

func (s *site) observe(body string) answer {
	s.t.Helper()
	return s.do("POST", "/observe", body, "Content-Type", "application/json")
}

func (s *site) mustObserve(v any) {
	s.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		s.t.Fatal(err)
	}
	if got := s.observe(string(b)); got.Status != 204 || got.Body != "" {
		s.t.Fatalf("observing: %d %s", got.Status, got.Body)
	}
}

// refresh is an opaque refresh token as /observe takes it.
func refresh(raw, user string) map[string]any {
	return map[string]any{"refresh_token": raw, "realm": "demo", "user": user, "expires_at": time.Now().Add(time.Hour).Unix()}
}

// issuer issues tokens of any claims, as the development realms do not.
type issuer struct {
	t       testing.TB
	private ed25519.PrivateKey
	realms  *realm.Realms
	jwks    string // the file with the realm's keys
	ahead   atomic.Int64
}

const customIssuer, otherIssuer = "https://custom.example.com", "https://other.example.com"

// newIssuer makes one with a realm named custom, whose user claim is login, and
// beside it a realm named other, which has another key of the same name.
func newIssuer(t testing.TB) *issuer {
	t.Helper()
	pub, private := newKey(t)
	otherKey, _ := newKey(t)
	dir := t.TempDir()
	i := &issuer{t: t, private: private, jwks: filepath.Join(dir, "jwks.json")}
	i.list(pub)
	others := filepath.Join(dir, "other.json")
	writeKeys(t, others, otherKey)
	var err error
	i.realms, err = realm.New(map[string]realm.Config{
		"custom": {Issuers: []string{customIssuer}, JWKS: i.jwks, UserClaim: "login"},
		"other":  {Issuers: []string{otherIssuer}, JWKS: others},
	}, realm.Options{Now: i.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.realms.Close)
	return i
}

// now is the realms' clock; pass moves it.
func (i *issuer) now() time.Time       { return time.Now().Add(time.Duration(i.ahead.Load())) }
func (i *issuer) pass(d time.Duration) { i.ahead.Add(int64(d)) }

// list makes the keys those of the realm custom, once the realms look again.
func (i *issuer) list(keys ...ed25519.PublicKey) {
	i.t.Helper()
	writeKeys(i.t, i.jwks, keys...)
}

func (i *issuer) public() ed25519.PublicKey { return i.private.Public().(ed25519.PublicKey) }

func newKey(t testing.TB) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pub, private
}

// writeKeys writes a JWKS; the first key is named k.
func writeKeys(t testing.TB, path string, keys ...ed25519.PublicKey) {
	t.Helper()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for n, pub := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: pub, KeyID: "k" + strings.Repeat("'", n), Algorithm: "EdDSA", Use: "sig"})
	}
	data, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// token signs claims, with iss, iat and exp where they are not given.
func (i *issuer) token(typ string, claims jwt.MapClaims) string {
	i.t.Helper()
	now := time.Now().Unix()
	for name, v := range map[string]any{"iss": customIssuer, "iat": now - 10, "exp": now + 600} {
		if _, has := claims[name]; !has {
			claims[name] = v
		}
	}
	tok := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	tok.Header["kid"], tok.Header["typ"] = "k", typ
	raw, err := tok.SignedString(i.private)
	if err != nil {
		i.t.Fatal(err)
	}
	return raw
}

func (i *issuer) use(c *sidecar.Config) { c.Realms = i.realms }
