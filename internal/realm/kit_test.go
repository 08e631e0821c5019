package realm_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/internal/realm"
)

const iss = "https://idp.example.com"

// clock is a clock that moves only when told to.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1_795_302_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// signingKey is a key that an issuer of a test signs with.
type signingKey struct {
	kid     string
	method  jwt.SigningMethod
	private crypto.Signer
}

func (k signingKey) sign(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	return k.signAs(t, k.method, k.private, claims)
}

func (k signingKey) signAs(t *testing.T, m jwt.SigningMethod, key any, claims jwt.Claims) string {
	t.Helper()
	tok := jwt.NewWithClaims(m, claims)
	if k.kid != "" {
		tok.Header["kid"] = k.kid
	}
	raw, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// signJSON signs a payload that a map could not hold.
func (k signingKey) signJSON(t *testing.T, payload string) string {
	t.Helper()
	return k.signAs(t, k.method, k.private, rawClaims{json.RawMessage(payload), nil})
}

type rawClaims struct {
	json.RawMessage
	jwt.Claims
}

func (k signingKey) jwk() map[string]any {
	data, err := json.Marshal(jose.JSONWebKey{Key: k.private.Public(), KeyID: k.kid})
	if err != nil {
		panic(err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		panic(err)
	}
	return m
}

func (k signingKey) with(name string, value any) map[string]any {
	m := k.jwk()
	m[name] = value
	return m
}

func (k signingKey) named(kid string) signingKey { k.kid = kid; return k }

func edKey(kid string) signingKey {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return signingKey{kid, jwt.SigningMethodEdDSA, private}
}

func ecKey(kid string, curve elliptic.Curve, m jwt.SigningMethod) signingKey {
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return signingKey{kid, m, private}
}

// rsaKey is made once for all tests: it takes long.
var rsaKey = sync.OnceValue(func() signingKey {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return signingKey{"rsa", jwt.SigningMethodRS256, private}
})

func jwks(keys ...any) string {
	for i, k := range keys {
		if s, ok := k.(signingKey); ok {
			keys[i] = s.jwk()
		}
	}
	if keys == nil {
		keys = []any{}
	}
	data, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(data)
}

// idp is an issuer's HTTP server. What it answers can be changed at any time.
type idp struct {
	*httptest.Server
	mu    sync.Mutex
	hits  map[string]int
	pages map[string]func(http.ResponseWriter)
}

func newIDP(t *testing.T) *idp {
	p := &idp{hits: map[string]int{}, pages: map[string]func(http.ResponseWriter){}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *idp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.hits[r.URL.Path]++
	page, ok := p.pages[r.URL.Path]
	p.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	page(w)
}

// serve makes the server answer body at path, with headers given as "Name: value".
func (p *idp) serve(path, body string, headers ...string) {
	p.handle(path, func(w http.ResponseWriter) {
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		fmt.Fprint(w, body)
	})
}

func (p *idp) handle(path string, page func(http.ResponseWriter)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pages[path] = page
}

func (p *idp) fail(path string) {
	p.handle(path, func(w http.ResponseWriter) { http.Error(w, "away", http.StatusBadGateway) })
}

func (p *idp) asked(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hits[path]
}

// setup is a realm main whose keys are at the URL of an idp.
type setup struct {
	*realm.Realms
	idp   *idp
	clock *clock
}

func newSetup(t *testing.T, keys ...any) *setup {
	t.Helper()
	s := &setup{idp: newIDP(t), clock: newClock()}
	s.idp.serve("/keys", jwks(keys...))
	s.Realms = mustNew(t, map[string]realm.Config{"main": {Issuers: []string{iss}, JWKS: s.idp.URL + "/keys"}}, s.clock)
	return s
}

func mustNew(t *testing.T, configs map[string]realm.Config, c *clock) *realm.Realms {
	t.Helper()
	r, err := realm.New(configs, realm.Options{Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// claims are those of a good token, with changes: pairs of name and value, nil
// taking the claim away.
func (c *clock) claims(changes ...any) jwt.MapClaims {
	now := c.Now().Unix()
	m := jwt.MapClaims{"iss": iss, "sub": "jack", "jti": "id-1", "iat": now, "exp": now + 3600}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(m, changes[i].(string))
			continue
		}
		m[changes[i].(string)] = changes[i+1]
	}
	return m
}
