package sidecar_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/internal/tokentest"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

func cacheOf(tokens int) func(*sidecar.Config) {
	return func(c *sidecar.Config) { c.CacheTokens = tokens }
}

// mustKeep checks a token twice: the second time from what is kept.
func (s *site) mustKeep(raw string) {
	s.t.Helper()
	before := s.hits()
	for range 2 {
		if got := s.check(raw); verdictOf(got) != live {
			s.t.Fatalf("a good token: %+v", got)
		}
	}
	if got := s.hits() - before; got < 1 {
		s.t.Fatalf("%d hits, want the token kept", got)
	}
}

func TestTokenRevokedAfterItWasKeptIsRefusedAtOnce(t *testing.T) {
	f := guardtest.Start(t)
	agent := f.Fresh(t)
	for mode, s := range map[string]*site{"verifying": serve(t, f, agent), "revocation-only": serve(t, f, agent, revocationOnly)} {
		for _, alg := range tokentest.Algorithms {
			t.Run(mode+" "+alg, func(t *testing.T) {
				user := mode + alg
				one, other := f.Token(t, realm.TokenRequest{User: user, Alg: alg}), f.Token(t, realm.TokenRequest{User: user, Alg: alg})
				s.mustKeep(one)
				s.mustKeep(other)
				f.RevokeToken(t, one)
				s.awaitRefused(one)
				if got := s.check(one); verdictOf(got) != wasRevoked {
					t.Errorf("a revoked token: %+v", got)
				}
				if got := s.check(other); verdictOf(got) != live {
					t.Errorf("another token: %+v", got)
				}
				f.RevokeUser(t, user)
				s.awaitRefused(other)
				if got := s.check(other); verdictOf(got) != wasRevoked {
					t.Errorf("a token of a revoked user: %+v", got)
				}
			})
		}
	}
}

// awaitRefused waits for the agent itself, not for what the sidecar says.
func (s *site) awaitRefused(raw string) {
	s.t.Helper()
	tok := guardtest.Parse(s.t, raw)
	bustest.Eventually(s.t, "the agent has the revocation", func() bool {
		return errors.Is(s.agent.Check(tok), subscriber.ErrRevoked)
	})
}

func TestKeptTokenDiesWithItsTime(t *testing.T) {
	f, custom := guardtest.Start(t), newIssuer(t)
	s := serve(t, f, f.Fresh(t), custom.use)
	raw := custom.token("at+jwt", jwt.MapClaims{"jti": "1", "nbf": time.Now().Unix() - 5})
	s.mustKeep(raw)
	custom.pass(600*time.Second + 30*time.Second)
	if got := s.check(raw); verdictOf(got) != live {
		t.Errorf("within its leeway: %+v", got)
	}
	custom.pass(30 * time.Second)
	if got := s.check(raw); verdictOf(got) != refused(401, "unknown", "invalid_token", "expired") {
		t.Errorf("at its end: %+v", got)
	}
	if n := s.kept(); n != 0 {
		t.Errorf("%d kept, want none: it is dead", n)
	}
	custom.pass(-660 * time.Second)
	s.mustKeep(raw)
	custom.pass(-100 * time.Second)
	if got := s.check(raw); verdictOf(got) != notAccepted {
		t.Errorf("before its nbf: %+v", got)
	}
}

func TestKeptTokenDiesWithItsKey(t *testing.T) {
	f, custom := guardtest.Start(t), newIssuer(t)
	s := serve(t, f, f.Fresh(t), custom.use)
	raw := custom.token("at+jwt", jwt.MapClaims{"jti": "1"})
	s.mustKeep(raw)
	next, _ := newKey(t)
	custom.list(custom.public(), next)
	custom.pass(5 * time.Second)
	s.mustKeep(raw)
	custom.list(next)
	custom.pass(5 * time.Second)
	for range 2 {
		if got := s.check(raw); verdictOf(got) != notAccepted {
			t.Errorf("a token whose key was taken away: %+v", got)
		}
	}
	if n := s.kept(); n != 0 {
		t.Errorf("%d kept, want none", n)
	}
}

// TestWhatIsKeptOfATokenIsOfItsExactBytes: the identity of a token says nothing of
// its signature.
func TestWhatIsKeptOfATokenIsOfItsExactBytes(t *testing.T) {
	s := start(t)
	raw := s.Token(t, realm.TokenRequest{User: "ann", Alg: "ES256"})
	s.mustKeep(raw)
	variants := tokentest.Variants(t, "ES256", raw)
	twin := variants["n-s"]
	for name, v := range variants {
		if name == "n-s" || name == "line break" || name == "blank" {
			continue // a line break cannot stand in a header, and a server trims blanks
		}
		if got := s.check(v); got.Status != 401 {
			t.Errorf("%s: %d", name, got.Status)
		}
	}
	signed := raw[:strings.LastIndexByte(raw, '.')+1]
	if got := s.check(signed + base64.RawURLEncoding.EncodeToString(make([]byte, 64))); verdictOf(got) != notAccepted {
		t.Errorf("another signature: %+v", got)
	}
	if n := s.kept(); n != 1 {
		t.Errorf("%d kept, want the one", n)
	}
	s.mustKeep(twin)
	if n := s.kept(); n != 2 {
		t.Errorf("%d kept, want both spellings", n)
	}
	s.RevokeToken(t, raw)
	s.awaitRefused(raw)
	for name, v := range map[string]string{"itself": raw, "its twin": twin} {
		if got := s.check(v); verdictOf(got) != wasRevoked {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestTokensOfOneIdentityKeepTheirOwnClaims(t *testing.T) {
	f, custom := guardtest.Start(t), newIssuer(t)
	s := serve(t, f, f.Fresh(t), custom.use)
	for range 2 {
		for _, scope := range []string{"read", "write"} {
			raw := custom.token("at+jwt", jwt.MapClaims{"jti": "same", "scope": scope})
			if got := s.introspect(values("token", raw)); !strings.Contains(got.Body, `"scope":"`+scope+`"`) {
				t.Errorf("%s: %s", scope, got.Body)
			}
		}
	}
}

func TestRefusedTokensAreNotKept(t *testing.T) {
	f, custom := guardtest.Start(t), newIssuer(t)
	agent := f.Fresh(t)
	s, only := serve(t, f, agent, custom.use), serve(t, f, agent, revocationOnly)
	now := time.Now().Unix()
	good := custom.token("at+jwt", jwt.MapClaims{"jti": "1"})
	_, stranger := newKey(t)
	claims := jwt.MapClaims{"iss": customIssuer, "jti": "1", "iat": now - 10, "exp": now + 600}
	for name, c := range map[string]struct {
		raw      string
		readable bool // by who does not verify
	}{
		"alg none":             {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims), false},
		"HS256 by the key":     {sign(t, jwt.SigningMethodHS256, []byte(custom.public()), claims), true},
		"another's key":        {sign(t, jwt.SigningMethodEdDSA, stranger, claims), true},
		"forged":               {good[:len(good)-8] + "AAAAAAAA", true},
		"the other realm":      {custom.token("at+jwt", jwt.MapClaims{"iss": otherIssuer}), true},
		"an unknown issuer":    {custom.token("at+jwt", jwt.MapClaims{"iss": customIssuer + "/"}), true},
		"no issuer":            {custom.token("at+jwt", jwt.MapClaims{"iss": ""}), true},
		"expired":              {custom.token("at+jwt", jwt.MapClaims{"exp": now - 600}), true},
		"not yet valid":        {custom.token("at+jwt", jwt.MapClaims{"nbf": now + 600}), true},
		"too long-lived":       {custom.token("at+jwt", jwt.MapClaims{"exp": now + 25*3600}), true},
		"no JWT":               {"opaque", false},
		"a logout token":       {custom.token("logout+jwt", jwt.MapClaims{}), false},
		"a claim twice":        {"eyJhbGciOiJFZERTQSJ9.eyJqdGkiOiJhIiwianRpIjoiYiJ9.AAAA", false},
		"longer than any read": {strings.Repeat("a", 17<<10), false},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				if got := s.check(c.raw); got.Status == 200 {
					t.Errorf("accepted: %+v", got)
				}
			}
			if n := s.kept(); n != 0 {
				t.Errorf("%d kept", n)
			}
			before := only.kept()
			only.check(c.raw)
			if got := only.kept() - before; (got == 1) != c.readable {
				t.Errorf("revocation-only: %d kept", got)
			}
		})
	}
	if n := s.hits(); n != 0 {
		t.Errorf("%d hits", n)
	}
	s.mustKeep(good)
}

func sign(t *testing.T, m jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(m, claims)
	tok.Header["kid"] = "k"
	raw, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestCacheHoldsItsBoundUnderAFlood(t *testing.T) {
	f, custom := guardtest.Start(t), newIssuer(t)
	agent := f.Fresh(t)
	const bound, flood = 200, 600
	for mode, s := range map[string]*site{"verifying": serve(t, f, agent, custom.use, cacheOf(bound)),
		"revocation-only": serve(t, f, agent, revocationOnly, cacheOf(bound))} {
		t.Run(mode, func(t *testing.T) {
			for i := range flood {
				s.check(custom.token("at+jwt", jwt.MapClaims{"jti": fmt.Sprint(i)}))
			}
			if n := s.kept(); n > bound || n < bound/2 {
				t.Errorf("%d kept after %d tokens, want up to %d", n, flood, bound)
			}
			heavy := make([]any, 3000) // two bytes each in the token, and many in memory
			for i := range heavy {
				heavy[i] = i % 10
			}
			for i := range bound {
				s.check(custom.token("at+jwt", jwt.MapClaims{"jti": fmt.Sprint("heavy", i), "roles": heavy}))
			}
			if n := s.metric("rescind_agent_token_cache_bytes"); n > bound*4096 || n < bound*1024 {
				t.Errorf("%d bytes, want up to %d", n, bound*4096)
			}
		})
	}
}

func TestGarbageDoesNotPushOutGoodTokens(t *testing.T) {
	f, custom := guardtest.Start(t), newIssuer(t)
	s := serve(t, f, f.Fresh(t), custom.use, cacheOf(5))
	good := custom.token("at+jwt", jwt.MapClaims{"jti": "good"})
	s.mustKeep(good)
	_, stranger := newKey(t)
	for i := range 100 {
		forged := sign(t, jwt.SigningMethodEdDSA, stranger, jwt.MapClaims{"iss": customIssuer, "jti": i})
		if got := s.check(forged); got.Status != 401 {
			t.Fatalf("forged: %d", got.Status)
		}
	}
	before := s.hits()
	s.check(good)
	if s.hits() != before+1 {
		t.Error("the good token is gone")
	}
}

func TestWithoutCacheTheAnswersAreTheSame(t *testing.T) {
	f, custom := guardtest.Start(t), newIssuer(t)
	agent := f.Fresh(t)
	s, without := serve(t, f, agent, custom.use), serve(t, f, agent, custom.use, cacheOf(-1))
	raw := custom.token("at+jwt", jwt.MapClaims{"jti": "1", "login": "ann", "scope": "read", "aud": []string{"a", "b"}, "nbf": 1})
	s.mustKeep(raw)
	for range 2 {
		if got := without.check(raw); verdictOf(got) != live {
			t.Errorf("check: %+v", got)
		}
		got, want := s.introspect(values("token", raw)).Body, without.introspect(values("token", raw)).Body
		if got != want || !strings.Contains(got, `"username":"ann"`) {
			t.Errorf("introspect gives %s with a cache and %s without", got, want)
		}
	}
	if without.kept() != 0 || without.hits() != 0 {
		t.Error("a cache that is off keeps tokens")
	}
}

func TestKeptTokensAreCountedOnce(t *testing.T) {
	s := start(t)
	raw := s.Token(t, realm.TokenRequest{User: "ann"})
	s.mustKeep(raw)
	s.introspect(values("token", raw))
	if n := s.agent.Seen(); n != 1 {
		t.Errorf("the agent has seen %d tokens, want 1", n)
	}
	only := serve(t, s.Fleet, s.agent, revocationOnly)
	only.mustKeep(s.Token(t, realm.TokenRequest{User: "bob"}))
	if n := s.agent.Seen(); n != 1 {
		t.Errorf("the agent has seen %d tokens, want 1: nobody has verified the other", n)
	}
}

// TestManyTokensAtOnceWhileKeysChange is for the race detector, too.
func TestManyTokensAtOnceWhileKeysChange(t *testing.T) {
	f, custom := guardtest.Start(t), newIssuer(t)
	s := serve(t, f, f.Fresh(t), custom.use, cacheOf(10))
	next, _ := newKey(t)
	var raws []string
	for i := range 20 {
		raws = append(raws, custom.token("at+jwt", jwt.MapClaims{"jti": fmt.Sprint(i)}))
	}
	var clients sync.WaitGroup
	for c := range 4 {
		clients.Go(func() {
			for i := range 100 {
				if got := s.check(raws[(i+c*5)%len(raws)]); got.Status != 200 {
					t.Errorf("a good token: %d %s", got.Status, got.Body)
				}
			}
		})
	}
	clients.Go(func() {
		for _, keys := range [][]ed25519.PublicKey{{custom.public(), next}, {custom.public()}, {custom.public(), next}} {
			custom.list(keys...)
			custom.pass(5 * time.Second)
		}
	})
	clients.Wait()
	if n := s.kept(); n > 10 {
		t.Errorf("%d kept, want 10 at most", n)
	}
	custom.list(next)
	bustest.Eventually(t, "the last load of keys that was under way is over", func() bool {
		custom.pass(6 * time.Second)
		return verdictOf(s.check(raws[0])) == notAccepted
	})
	for _, raw := range raws {
		if got := s.check(raw); verdictOf(got) != notAccepted {
			t.Errorf("a token whose key was taken away: %+v", got)
		}
	}
}
