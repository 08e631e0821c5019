package realm_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/internal/realm"
)

// verify tells how the realm judges a good token signed by k at this moment.
func (s *setup) verify(t *testing.T, k signingKey) error {
	t.Helper()
	_, err := s.Verify(t.Context(), k.sign(t, s.clock.claims()))
	return err
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestNewKeyIsAcceptedOnFirstUse(t *testing.T) {
	a, b := edKey("a"), edKey("b")
	s := newSetup(t, a)
	wantErr(t, "first key", s.verify(t, a), nil)
	s.idp.serve("/keys", jwks(a, b))
	wantErr(t, "new key", s.verify(t, b), nil)
	wantErr(t, "old key, still listed", s.verify(t, a), nil)
}

func TestRemovedKeyIsRefusedOnceItsSetIsOld(t *testing.T) {
	a, b := edKey("a"), edKey("b")
	s := newSetup(t, a)
	wantErr(t, "first key", s.verify(t, a), nil)
	s.idp.serve("/keys", jwks(b))
	s.clock.Add(15 * time.Minute)
	wantErr(t, "removed key", s.verify(t, a), realm.ErrUnknownKey)
	wantErr(t, "its successor", s.verify(t, b), nil)
	s.idp.serve("/keys", jwks())
	s.clock.Add(15 * time.Minute)
	wantErr(t, "a set without keys", s.verify(t, b), realm.ErrUnknownKey)
}

func TestKeysAreRenewedInTheBackgroundBeforeTheyAreOld(t *testing.T) {
	a, b := edKey("a"), edKey("b")
	s := newSetup(t, a)
	wantErr(t, "first key", s.verify(t, a), nil)
	s.idp.serve("/keys", jwks(b))
	s.clock.Add(12 * time.Minute)
	wantErr(t, "the token that causes the renewal", s.verify(t, a), nil)
	s.Idle()
	if n := s.idp.asked("/keys"); n != 2 {
		t.Fatalf("asked %d times, want 2", n)
	}
	wantErr(t, "removed key after the renewal", s.verify(t, a), realm.ErrUnknownKey)
}

func TestUnknownKeysCauseABoundedNumberOfRequests(t *testing.T) {
	k := edKey("k")
	s := newSetup(t, k)
	for range 50 {
		wantErr(t, "unknown key", s.verify(t, k.named("made-up")), realm.ErrUnknownKey)
	}
	if n := s.idp.asked("/keys"); n != 2 {
		t.Errorf("asked %d times, want 2: the first load and one for the unknown key", n)
	}
	for range 3 {
		s.clock.Add(10 * time.Second)
		for range 50 {
			wantErr(t, "unknown key", s.verify(t, k.named("made-up")), realm.ErrUnknownKey)
		}
	}
	if n := s.idp.asked("/keys"); n != 5 {
		t.Errorf("asked %d times, want 5: once more for each 10 s", n)
	}
}

func TestConcurrentTokensShareOneRequest(t *testing.T) {
	k := edKey("k")
	s := newSetup(t, k)
	release := make(chan struct{})
	s.idp.handle("/keys", func(w http.ResponseWriter) {
		<-release
		_, _ = w.Write([]byte(jwks(k)))
	})
	raw := k.sign(t, s.clock.claims())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := s.Verify(t.Context(), raw)
			wantErr(t, "concurrent token", err, nil)
		})
	}
	close(release)
	wg.Wait()
	if n := s.idp.asked("/keys"); n != 1 {
		t.Errorf("asked %d times, want 1", n)
	}
}

func TestKeysStayInUseWhileTheIssuerIsAway(t *testing.T) {
	a, b := edKey("a"), edKey("b")
	s := newSetup(t, a)
	wantErr(t, "first key", s.verify(t, a), nil)
	for name, away := range map[string]func(){
		"an error":         func() { s.idp.fail("/keys") },
		"not a JWKS":       func() { s.idp.serve("/keys", "<html>") },
		"another document": func() { s.idp.serve("/keys", "{}") },
		"too long":         func() { s.idp.serve("/keys", jwks(b)+strings.Repeat(" ", 1<<20)) },
		"a redirect": func() {
			s.idp.handle("/keys", func(w http.ResponseWriter) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(http.StatusFound)
			})
		},
	} {
		s.idp.serve("/elsewhere", jwks(b))
		away()
		s.clock.Add(time.Hour)
		before := s.idp.asked("/keys")
		wantErr(t, name+": known key", s.verify(t, a), nil)
		wantErr(t, name+": unknown key", s.verify(t, b), realm.ErrUnknownKey)
		if s.idp.asked("/keys") == before {
			t.Errorf("%s: nobody asked", name)
		}
	}
	if s.idp.asked("/elsewhere") != 0 {
		t.Error("a redirect was followed")
	}
	s.idp.serve("/keys", jwks(b))
	s.clock.Add(time.Hour)
	wantErr(t, "removed key once the issuer is back", s.verify(t, a), realm.ErrUnknownKey)
	wantErr(t, "new key once the issuer is back", s.verify(t, b), nil)
}

func TestNobodyWaitsForAnIssuerThatIsKnownToBeAway(t *testing.T) {
	k := edKey("k")
	s := newSetup(t, k)
	wantErr(t, "first key", s.verify(t, k), nil)
	s.idp.fail("/keys")
	s.clock.Add(time.Hour)
	wantErr(t, "the token that finds the issuer away", s.verify(t, k), nil)
	hang := make(chan struct{})
	s.idp.handle("/keys", func(http.ResponseWriter) { <-hang })
	s.clock.Add(10 * time.Second)
	for range 3 {
		wantErr(t, "while a renewal hangs", s.verify(t, k), nil)
		if !s.Loading() {
			t.Fatal("the token waited for the renewal")
		}
	}
	close(hang)
	s.Idle()
}

func TestKeysThatWereNeverHadAreNoVerdict(t *testing.T) {
	k := edKey("k")
	s := newSetup(t, k)
	s.idp.fail("/keys")
	for range 20 {
		wantErr(t, "issuer away", s.verify(t, k), realm.ErrKeysUnavailable)
	}
	if n := s.idp.asked("/keys"); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
	s.idp.serve("/keys", jwks(k))
	s.clock.Add(10 * time.Second)
	wantErr(t, "issuer back", s.verify(t, k), nil)
}

func TestVerifyStopsWaitingWhenItsContextEnds(t *testing.T) {
	k := edKey("k")
	s := newSetup(t, k)
	hang := make(chan struct{})
	defer close(hang)
	s.idp.handle("/keys", func(http.ResponseWriter) { <-hang })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Verify(ctx, k.sign(t, s.clock.claims()))
	wantErr(t, "context over", err, context.Canceled)
	wantErr(t, "context over", err, realm.ErrKeysUnavailable)
}

// hanging answers nothing until it is told to stop, and keeps the reason.
type hanging struct{ started, stopped chan error }

func (h hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	h.started <- nil
	<-r.Context().Done()
	h.stopped <- context.Cause(r.Context())
	return nil, r.Context().Err()
}

func TestCloseStopsTheFetchingOfKeys(t *testing.T) {
	h := hanging{make(chan error, 1), make(chan error, 1)}
	r, err := realm.New(map[string]realm.Config{"main": {Issuers: []string{iss}}},
		realm.Options{HTTPClient: &http.Client{Transport: h}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { wantErr(t, "Load", r.Load(t.Context()), realm.ErrKeysUnavailable) })
	<-h.started
	r.Close()
	if cause := <-h.stopped; cause == nil || cause.Error() != "realms closed" {
		t.Errorf("stopped because: %v", cause)
	}
	wg.Wait()
	wantErr(t, "Load after Close", r.Load(t.Context()), realm.ErrKeysUnavailable)
}

func TestCacheControlIsRespectedWithinBounds(t *testing.T) {
	for _, tc := range []struct {
		headers []string
		age     time.Duration
	}{
		{nil, 15 * time.Minute},
		{[]string{"Cache-Control: public, max-age=7200"}, 2 * time.Hour},
		{[]string{"Cache-Control: MAX-AGE=\"7200\""}, 2 * time.Hour},
		{[]string{"Cache-Control: max-age=7200", "Age: 3600"}, time.Hour},
		{[]string{"Cache-Control: max-age=1"}, time.Minute},
		{[]string{"Cache-Control: max-age=-5"}, time.Minute},
		{[]string{"Cache-Control: no-store, max-age=7200"}, time.Minute},
		{[]string{"Cache-Control: max-age=99999999"}, 24 * time.Hour},
		{[]string{"Cache-Control: max-age=many"}, 15 * time.Minute},
	} {
		t.Run(strings.Join(tc.headers, " "), func(t *testing.T) {
			a, b := edKey("a"), edKey("b")
			s := newSetup(t, a)
			s.idp.serve("/keys", jwks(a), tc.headers...)
			wantErr(t, "first key", s.verify(t, a), nil)
			s.idp.serve("/keys", jwks(b))
			s.clock.Add(tc.age*3/4 - time.Second)
			wantErr(t, "not yet old", s.verify(t, a), nil)
			s.Idle()
			if n := s.idp.asked("/keys"); n != 1 {
				t.Errorf("asked %d times before the set was due, want 1", n)
			}
			s.clock.Add(tc.age/4 + time.Second)
			wantErr(t, "old", s.verify(t, a), realm.ErrUnknownKey)
		})
	}
}

func TestUnusableKeysAreLeftOut(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good, ed := rsaKey(), edKey("ed")
	weak := signingKey{"weak", jwt.SigningMethodRS256, small}
	s := newSetup(t, good, weak,
		good.named("enc").with("use", "enc"),
		good.named("oaep").with("alg", "RSA-OAEP"),
		ed.named("secret").with("d", "AAAA"),
		ed.named("sig").with("use", "sig"),
		ed.named("full").with("alg", "Ed25519"),
		map[string]any{"kty": "oct", "kid": "oct", "k": "c2VjcmV0"},
		map[string]any{"kty": "OKP", "crv": "X25519", "kid": "x", "x": "AAAA"},
		map[string]any{"kty": "new", "kid": "new"},
		map[string]any{"kty": "RSA", "kid": "broken"},
		"not even an object",
	)
	for _, k := range []signingKey{good, ed.named("sig"), ed.named("full")} {
		wantErr(t, k.kid, s.verify(t, k), nil)
	}
	for _, k := range []signingKey{weak, good.named("enc"), good.named("oaep"), ed.named("secret"), ed.named("x"), good.named("broken")} {
		wantErr(t, k.kid, s.verify(t, k), realm.ErrUnknownKey)
	}
	hmac := signingKey{"oct", nil, nil}.signAs(t, jwt.SigningMethodHS256, []byte("secret"), s.clock.claims())
	_, err = s.Verify(t.Context(), hmac)
	wantErr(t, "a listed symmetric key", err, realm.ErrSignature)
}

func TestDiscoveryFindsEachIssuersOwnKeys(t *testing.T) {
	p, c := newIDP(t), newClock()
	a, b := edKey("k"), edKey("k")
	issA, issB := p.URL+"/a", p.URL+"/b/"
	p.serve("/a/.well-known/openid-configuration", `{"issuer":"`+issA+`","jwks_uri":"`+p.URL+`/keys-a"}`)
	p.serve("/b/.well-known/openid-configuration", `{"issuer":"`+issB+`","jwks_uri":"`+p.URL+`/keys-b"}`)
	p.serve("/keys-a", jwks(a))
	p.serve("/keys-b", jwks(b))
	r := mustNew(t, map[string]realm.Config{"both": {Issuers: []string{issA, issB}}}, c)
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := r.Verify(t.Context(), a.sign(t, c.claims("iss", issA)))
	wantErr(t, "a for a", err, nil)
	_, err = r.Verify(t.Context(), b.sign(t, c.claims("iss", issB)))
	wantErr(t, "b for b", err, nil)
	_, err = r.Verify(t.Context(), a.sign(t, c.claims("iss", issB)))
	wantErr(t, "a for b", err, realm.ErrSignature)
}

func TestDiscoveryDocumentMustBeTheIssuersOwn(t *testing.T) {
	for name, doc := range map[string]string{
		"another issuer":     `{"issuer":"URL/","jwks_uri":"URL/keys"}`,
		"no issuer":          `{"jwks_uri":"URL/keys"}`,
		"no jwks_uri":        `{"issuer":"URL"}`,
		"jwks_uri of a file": `{"issuer":"URL","jwks_uri":"file:///etc/passwd"}`,
		"not JSON":           `<html>`,
	} {
		t.Run(name, func(t *testing.T) {
			p, c, k := newIDP(t), newClock(), edKey("k")
			p.serve("/.well-known/openid-configuration", strings.ReplaceAll(doc, "URL", p.URL))
			p.serve("/keys", jwks(k))
			r := mustNew(t, map[string]realm.Config{"main": {Issuers: []string{p.URL}}}, c)
			_, err := r.Verify(t.Context(), k.sign(t, c.claims("iss", p.URL)))
			wantErr(t, name, err, realm.ErrKeysUnavailable)
			if p.asked("/keys") != 0 {
				t.Error("the keys were asked for")
			}
		})
	}
}

func TestKeysAreNotLoadedAfterClose(t *testing.T) {
	k := edKey("k")
	s := newSetup(t, k)
	s.Realms.Close()
	wantErr(t, "Load", s.Load(t.Context()), realm.ErrKeysUnavailable)
	wantErr(t, "Verify", s.verify(t, k), realm.ErrKeysUnavailable)
	if n := s.idp.asked("/keys"); n != 0 {
		t.Errorf("asked %d times", n)
	}
}

func TestLoadSaysWhichKeysCannotBeHad(t *testing.T) {
	s := newSetup(t)
	s.idp.fail("/keys")
	err := s.Load(t.Context())
	wantErr(t, "Load", err, realm.ErrKeysUnavailable)
	if err == nil || !strings.Contains(err.Error(), s.idp.URL+"/keys answers 502") {
		t.Errorf("Load = %v", err)
	}
}

func TestKeyFileIsReadAgain(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	path := filepath.Join(dir, "keys.json")
	a, b := edKey("a"), edKey("b")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(jwks(a))
	r, err := realm.New(map[string]realm.Config{"main": {Issuers: []string{iss}, JWKS: "keys.json"}},
		realm.Options{Now: c.Now, BaseDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s := &setup{Realms: r, clock: c}
	defer r.Close()
	wantErr(t, "first key", s.verify(t, a), nil)
	write(jwks(b))
	wantErr(t, "new key at once", s.verify(t, b), nil)
	wantErr(t, "removed key", s.verify(t, a), realm.ErrUnknownKey)
	write(jwks(a))
	wantErr(t, "within the bound on the rate", s.verify(t, a), realm.ErrUnknownKey)
	c.Add(5 * time.Second)
	wantErr(t, "once the file is due", s.verify(t, b), realm.ErrUnknownKey)
	wantErr(t, "once the file is due", s.verify(t, a), nil)
	write(`{"keys":[`)
	c.Add(time.Minute)
	wantErr(t, "half a file", s.verify(t, a), nil)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c.Add(time.Minute)
	wantErr(t, "no file", s.verify(t, a), nil)
	r.Close()
	write(jwks(a, b))
	c.Add(time.Minute)
	wantErr(t, "a key from before Close", s.verify(t, a), nil)
	wantErr(t, "a key from after Close", s.verify(t, b), realm.ErrUnknownKey)
}

func TestVerifyIsSafeForConcurrentUse(t *testing.T) {
	a, b := edKey("a"), edKey("b")
	s := newSetup(t, a, b)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 50 {
				wantErr(t, "key", s.verify(t, []signingKey{a, b}[i%2]), nil)
				_ = s.verify(t, a.named("unknown"))
				s.clock.Add(7 * time.Second)
			}
		})
	}
	wg.Wait()
}
