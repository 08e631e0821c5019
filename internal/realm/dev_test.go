package realm_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/internal/realm"
)

func openDev(t *testing.T, dir string) *realm.Dev {
	t.Helper()
	d, err := realm.OpenDev(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDevelopmentTokensVerify(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	r := mustNew(t, openDev(t, dir).Configs(), c)
	d := openDev(t, dir) // Loads the keys that the first one made.
	for _, name := range []string{"demo", "partner"} {
		for _, alg := range []string{"EdDSA", "ES256", "RS256"} {
			raw, err := d.Issue(realm.TokenRequest{Realm: name, Alg: alg, User: "jack", Session: "s-1",
				Client: "app", Scope: "rescind:user", Audience: "orders", TTL: time.Minute, AuthTime: c.Now().Add(-time.Hour), Now: c.Now()})
			if err != nil {
				t.Fatal(err)
			}
			v, err := r.Verify(t.Context(), raw)
			if err != nil {
				t.Fatalf("%s %s: %v", name, alg, err)
			}
			now := float64(c.Now().Unix())
			delete(v.Claims, "jti")
			want := map[string]any{"iss": "https://" + name + ".rescind.test", "sub": "jack", "sid": "s-1",
				"client_id": "app", "azp": "app", "scope": "rescind:user", "aud": "orders", "iat": now, "exp": now + 60, "auth_time": now - 3600}
			if diff := cmp.Diff(want, map[string]any(v.Claims)); diff != "" || v.Realm.Name != name {
				t.Errorf("realm %s: %s", v.Realm.Name, diff)
			}
		}
	}
}

func TestDevelopmentTokensHaveDefaultsAndTheirOwnIdentity(t *testing.T) {
	d := openDev(t, t.TempDir())
	r, err := realm.New(d.Configs(), realm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	seen := map[string]bool{}
	for range 2 {
		raw, err := d.Issue(realm.TokenRequest{Client: "job"})
		if err != nil {
			t.Fatal(err)
		}
		v, err := r.Verify(t.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		seen[v.Token.JTI] = true
		if v.Realm.Name != "demo" || v.User() != "job" || v.Token.Expires-v.Token.IssuedAt != 3600 {
			t.Errorf("realm %s, user %s, life %d", v.Realm.Name, v.User(), v.Token.Expires-v.Token.IssuedAt)
		}
	}
	if len(seen) != 2 {
		t.Error("two tokens have the same jti")
	}
}

func TestDevelopmentTokenRequestsAreChecked(t *testing.T) {
	d := openDev(t, t.TempDir())
	for _, tc := range []struct {
		req  realm.TokenRequest
		want string
	}{
		{realm.TokenRequest{Realm: "prod", User: "a"}, "realm: "},
		{realm.TokenRequest{Alg: "HS256", User: "a"}, "alg: "},
		{realm.TokenRequest{}, "user: "},
	} {
		if raw, err := d.Issue(tc.req); err == nil || raw != "" || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("Issue(%+v) = %q, %v, want %q", tc.req, raw, err, tc.want)
		}
	}
}

func TestConcurrentFirstStartsEndWithTheSameKeys(t *testing.T) {
	dir := t.TempDir()
	devs := make([]*realm.Dev, 3)
	var wg sync.WaitGroup
	for i := range devs {
		wg.Go(func() { devs[i], _ = realm.OpenDev(dir) })
	}
	wg.Wait()
	r, err := realm.New(openDev(t, dir).Configs(), realm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, d := range devs {
		if d == nil {
			t.Fatal("one of them failed to open")
		}
		for _, alg := range []string{"EdDSA", "ES256", "RS256"} {
			raw, err := d.Issue(realm.TokenRequest{User: "jack", Alg: alg})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Verify(t.Context(), raw); err != nil {
				t.Errorf("%s: %v", alg, err)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "realms", ".new-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDevelopmentKeysAreTheirOwnersOnly(t *testing.T) {
	dir := t.TempDir()
	openDev(t, dir)
	for name, want := range map[string]fs.FileMode{"EdDSA.pem": 0o600, "ES256.pem": 0o600, "RS256.pem": 0o600, "jwks.json": 0o644} {
		info, err := os.Stat(filepath.Join(dir, "realms", "demo", name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), want)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "realms", "demo", "jwks.json"))
	if err != nil || strings.Contains(string(data), `"d"`) {
		t.Errorf("jwks.json holds a private key, or: %v", err)
	}
}

func TestDamagedDevelopmentKeysAreReportedNotReplaced(t *testing.T) {
	dir := t.TempDir()
	openDev(t, dir)
	path := filepath.Join(dir, "realms", "partner", "ES256.pem")
	for name, damage := range map[string]func() error{
		"garbage": func() error { return os.WriteFile(path, []byte("garbage"), 0o600) },
		"missing": func() error { return os.Remove(path) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		_, err := realm.OpenDev(dir)
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove") {
			t.Errorf("%s: OpenDev = %v", name, err)
		}
	}
}
