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
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard/internal/guardtest"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
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
}

const customIssuer = "https://custom.example.com"

// newIssuer makes one with a realm named custom, whose user claim is login.
func newIssuer(t testing.TB) *issuer {
	t.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: pub, KeyID: "k", Algorithm: "EdDSA", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(path, jwks, 0o600); err != nil {
		t.Fatal(err)
	}
	realms, err := realm.New(map[string]realm.Config{"custom": {Issuers: []string{customIssuer}, JWKS: path, UserClaim: "login"}},
		realm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(realms.Close)
	return &issuer{t, private, realms}
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
