package intake_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher/intake"
)

const (
	adminKey = "the-admin-key"
	password = "correct horse"
)

// door is an Authenticator with one caller of each sort, and what they know.
type door struct {
	*intake.Authenticator
	dev         *realm.Dev
	now         time.Time
	bound, free string // API keys
	revoked     map[string]bool
}

func hash(t *testing.T, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func newDoor(t *testing.T, changes ...func(*intake.AuthConfig)) *door {
	t.Helper()
	d := &door{now: time.Unix(1_795_302_000, 0), revoked: map[string]bool{}}
	var err error
	if d.dev, err = realm.OpenDev(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return d.now }
	realms, err := realm.New(d.dev.Configs(), realm.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(realms.Close)
	boundKey, boundSum := intake.NewAPIKey()
	freeKey, freeSum := intake.NewAPIKey()
	d.bound, d.free = boundKey, freeKey
	c := intake.AuthConfig{
		AdminKeySHA256: sha256.Sum256([]byte(adminKey)),
		APIKeys: []intake.APIKeyConfig{
			{ID: "ci", SHA256: boundSum, Realms: []string{"demo"}, Kinds: []events.Kind{events.KindUser}},
			{ID: "ops", SHA256: strings.ToUpper(freeSum)},
		},
		Users: []intake.UserConfig{
			{Name: "alice", Bcrypt: hash(t, password), Realms: []string{"partner"}},
			{Name: "long", Bcrypt: hash(t, strings.Repeat("x", 72))},
		},
		Realms:  realms,
		Revoked: func(tok *events.Token) bool { return d.revoked[tok.JTI] },
		Now:     now,
	}
	for _, change := range changes {
		change(&c)
	}
	if d.Authenticator, err = intake.NewAuthenticator(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func (d *door) token(t *testing.T, req realm.TokenRequest) string {
	t.Helper()
	if req.Now.IsZero() {
		req.Now = d.now
	}
	raw, err := d.dev.Issue(req)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (d *door) ask(t *testing.T, headers ...string) (*intake.Caller, error) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/revocations", nil)
	for _, h := range headers {
		r.Header.Add("Authorization", h)
	}
	return d.Authenticate(r)
}

func pair(name, secret string) string {
	return base64.StdEncoding.EncodeToString([]byte(name + ":" + secret))
}

func TestCallersAreKnownByWhatTheyShow(t *testing.T) {
	d := newDoor(t)
	admin := &intake.Caller{Name: "admin", Kind: intake.CallerAdmin, Admin: true, Initiator: events.ByAdmin}
	ci := &intake.Caller{Name: "apikey:ci", Kind: intake.CallerAPIKey, Realms: []string{"demo"},
		Kinds: []events.Kind{events.KindUser}, Initiator: events.ByAdmin}
	ops := &intake.Caller{Name: "apikey:ops", Kind: intake.CallerAPIKey, Initiator: events.ByAdmin}
	alice := &intake.Caller{Name: "basic:alice", Kind: intake.CallerBasic, Realms: []string{"partner"}, Initiator: events.ByAdmin}
	long := &intake.Caller{Name: "basic:long", Kind: intake.CallerBasic, Initiator: events.ByAdmin}
	for _, tc := range []struct {
		name, header string
		want         *intake.Caller
	}{
		{"admin key as bearer", "Bearer " + adminKey, admin},
		{"scheme in another case", "bEARER   " + adminKey, admin},
		{"admin key as API key", "ApiKey " + adminKey, admin},
		{"admin key as Elasticsearch clients send it", "ApiKey " + pair("admin", adminKey), admin},
		{"admin key as password", "Basic " + pair("admin", adminKey), admin},
		{"API key as bearer", "Bearer " + d.bound, ci},
		{"API key raw", "ApiKey " + d.bound, ci},
		{"API key as Elasticsearch clients send it", "ApiKey " + pair("ci", d.bound), ci},
		{"API key as password", "Basic " + pair("ci", d.bound), ci},
		{"hash in capitals", "apikey " + d.free, ops},
		{"user", "Basic " + pair("alice", password), alice},
		{"user again", "basic " + pair("alice", password), alice},
		{"longest password", "Basic " + pair("long", strings.Repeat("x", 72)), long},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := d.ask(t, tc.header)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBadCredentialsAreRefusedWithoutRepeatingThem(t *testing.T) {
	d := newDoor(t)
	good := d.token(t, realm.TokenRequest{User: "jack"})
	revoked := d.token(t, realm.TokenRequest{User: "revoked"})
	tok, err := events.ParseToken(revoked)
	if err != nil {
		t.Fatal(err)
	}
	d.revoked[tok.JTI] = true
	other, _ := intake.NewAPIKey()
	alice := pair("alice", password)
	if !strings.HasSuffix(alice, "Q==") {
		t.Fatal("the last character of the pair has no spare bits to set")
	}
	for _, tc := range []struct {
		name    string
		headers []string
		is      error
	}{
		{"empty header", []string{""}, nil},
		{"scheme only", []string{"Bearer"}, nil},
		{"scheme and blank", []string{"Bearer "}, nil},
		{"no scheme", []string{adminKey}, nil},
		{"another scheme", []string{"Digest " + adminKey}, nil},
		{"twice", []string{"Bearer " + adminKey, "Bearer " + adminKey}, nil},
		{"twice, one of them good", []string{"Bearer " + adminKey, "Basic nonsense"}, nil},
		{"two in one", []string{"Bearer " + adminKey + ", Bearer x"}, nil},
		{"list", []string{"Bearer " + adminKey + ",x"}, nil},
		{"blank behind", []string{"Bearer " + adminKey + " "}, nil},
		{"tab", []string{"Bearer\t" + adminKey}, nil},
		{"line break in base64", []string{"Basic " + alice[:8] + "\r\n" + alice[8:]}, nil},
		{"another spelling of base64", []string{"Basic " + alice[:len(alice)-3] + "V=="}, nil},
		{"wrong key", []string{"Bearer " + adminKey + "x"}, nil},
		{"unknown API key", []string{"ApiKey " + other}, nil},
		{"admin key under another id", []string{"ApiKey " + pair("root", adminKey)}, nil},
		{"API key under another id", []string{"ApiKey " + pair("ops", d.bound)}, nil},
		{"API key under no id", []string{"ApiKey " + pair("", d.bound)}, nil},
		{"API key as another's password", []string{"Basic " + pair("ops", d.bound)}, nil},
		{"API key as admin's password", []string{"Basic " + pair("admin", d.free)}, nil},
		{"id without key", []string{"ApiKey " + pair("ci", "")}, nil},
		{"hash as key", []string{"Bearer " + sumOf(d.free)}, nil},
		{"admin key as a user's password", []string{"Basic " + pair("alice", adminKey)}, nil},
		{"admin with a user's password", []string{"Basic " + pair("admin", password)}, nil},
		{"wrong password", []string{"Basic " + pair("alice", "wrong")}, nil},
		{"no password", []string{"Basic " + pair("alice", "")}, nil},
		{"unknown user", []string{"Basic " + pair("bob", password)}, nil},
		{"user in another case", []string{"Basic " + pair("Alice", password)}, nil},
		{"password beyond what bcrypt reads", []string{"Basic " + pair("long", strings.Repeat("x", 73))}, nil},
		{"not base64", []string{"Basic alice:" + password[:7]}, nil},
		{"no colon", []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("alice"))}, nil},
		{"token under ApiKey", []string{"ApiKey " + good}, nil},
		{"expired token", []string{"Bearer " + d.token(t, realm.TokenRequest{User: "j", TTL: -time.Hour})}, realm.ErrExpired},
		{"token that lives too long", []string{"Bearer " + d.token(t, realm.TokenRequest{User: "j", TTL: 99 * time.Hour})}, realm.ErrUnrevocable},
		{"revoked token", []string{"Bearer " + revoked}, nil},
		{"forged token", []string{"Bearer " + newDoor(t).token(t, realm.TokenRequest{User: "j"})}, realm.ErrUnknownKey},
		{"broken token", []string{"Bearer a.b.c"}, events.ErrMalformedToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := d.ask(t, tc.headers...)
			if c != nil || !errors.Is(err, intake.ErrBadCredentials) || (tc.is != nil && !errors.Is(err, tc.is)) {
				t.Fatalf("Authenticate = %v, %v", c, err)
			}
			for _, secret := range []string{adminKey, password, d.bound, d.free, other, good, "xxxx"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error repeats a secret: %v", err)
				}
			}
		})
	}
	if _, err := d.ask(t); !errors.Is(err, intake.ErrNoCredentials) {
		t.Errorf("no header: %v", err)
	}
	if _, err := d.ask(t, "Bearer "+good); err != nil {
		t.Errorf("good token: %v", err)
	}
}

func sumOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func TestNobodyIsAdminWhereThereIsNoAdminKey(t *testing.T) {
	d := newDoor(t, func(c *intake.AuthConfig) { c.AdminKeySHA256 = [32]byte{} })
	for _, header := range []string{"Bearer " + adminKey, "Basic " + pair("admin", ""), "Basic " + pair("admin", adminKey)} {
		if c, err := d.ask(t, header); !errors.Is(err, intake.ErrBadCredentials) {
			t.Errorf("Authenticate = %v, %v", c, err)
		}
	}
}

func TestWithoutRealmsNoBearerIsKnown(t *testing.T) {
	d := newDoor(t, func(c *intake.AuthConfig) {
		c.Realms, c.APIKeys, c.Users, c.Revoked = nil, nil, nil, nil
	})
	for _, header := range []string{"Bearer " + d.token(t, realm.TokenRequest{User: "jack"}), "Basic " + pair("alice", password)} {
		if c, err := d.ask(t, header); !errors.Is(err, intake.ErrBadCredentials) {
			t.Errorf("Authenticate = %v, %v", c, err)
		}
	}
}

func TestBearersAreEntitledByScopesWithinTheirRealm(t *testing.T) {
	d := newDoor(t, func(c *intake.AuthConfig) { c.AdminRealms = []string{"partner"} })
	for _, tc := range []struct {
		name, realm, scope string
		kinds              []events.Kind
		realms             []string
		initiator          events.Initiator
	}{
		{"none", "demo", "", []events.Kind{}, []string{"demo"}, events.ByUser},
		{"others", "demo", "openid rescind rescind:tokens RESCIND:ALL", []events.Kind{}, []string{"demo"}, events.ByUser},
		{"token", "demo", "openid rescind:token", []events.Kind{events.KindToken, events.KindTokens}, []string{"demo"}, events.ByAdmin},
		{"user", "demo", "rescind:user", []events.Kind{events.KindSession, events.KindUser}, []string{"demo"}, events.ByAdmin},
		{"realm", "demo", "rescind:realm", []events.Kind{events.KindClient, events.KindClaim, events.KindRealm, events.KindLift}, []string{"demo"}, events.ByAdmin},
		{"two", "demo", "rescind:user rescind:token", []events.Kind{events.KindSession, events.KindUser, events.KindToken, events.KindTokens}, []string{"demo"}, events.ByAdmin},
		{"all of one realm", "demo", "rescind:all", events.Kinds, []string{"demo"}, events.ByAdmin},
		{"all of an admin realm", "partner", "rescind:all", events.Kinds, nil, events.ByAdmin},
		{"user of an admin realm", "partner", "rescind:user", []events.Kind{events.KindSession, events.KindUser}, []string{"partner"}, events.ByAdmin},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw := d.token(t, realm.TokenRequest{Realm: tc.realm, User: "jack", Scope: tc.scope})
			c, err := d.ask(t, "Bearer "+raw)
			if err != nil {
				t.Fatal(err)
			}
			got := []any{c.Name, c.Kind, c.Kinds, c.Realms, c.Initiator, c.Admin}
			want := []any{"bearer:" + tc.realm + ":jack", intake.CallerBearer, tc.kinds, tc.realms, tc.initiator, false}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			own, err := events.ParseToken(raw)
			if err != nil {
				t.Fatal(err)
			}
			other, err := events.ParseToken(d.token(t, realm.TokenRequest{Realm: tc.realm, User: "jack"}))
			if err != nil {
				t.Fatal(err)
			}
			if !c.Owns(own) || c.Owns(other) || c.Owns(nil) {
				t.Errorf("Owns: own %v, other %v, none %v", c.Owns(own), c.Owns(other), c.Owns(nil))
			}
			if kinds := c.Kinds; len(kinds) == 0 && c.May(events.KindToken, "demo") == nil {
				t.Error("a bearer without scopes may revoke tokens")
			}
		})
	}
}

func TestAnswerThatCannotBeGivenIsNoVerdict(t *testing.T) {
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	realms, err := realm.New(map[string]realm.Config{
		"demo": {Issuers: []string{"https://demo.rescind.test"}, JWKS: away.URL},
	}, realm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer realms.Close()
	d := newDoor(t, func(c *intake.AuthConfig) { c.Realms, c.APIKeys, c.Users = realms, nil, nil })
	_, err = d.ask(t, "Bearer "+d.token(t, realm.TokenRequest{User: "jack"}))
	if !errors.Is(err, realm.ErrKeysUnavailable) || errors.Is(err, intake.ErrBadCredentials) {
		t.Errorf("Authenticate = %v", err)
	}
}

func TestMay(t *testing.T) {
	user, realmKind, all := events.KindUser, events.KindRealm, events.KindAll
	for _, tc := range []struct {
		name   string
		caller intake.Caller
		kind   events.Kind
		realms []string
		ok     bool
	}{
		{"unbound", intake.Caller{}, all, nil, true},
		{"unbound in a realm", intake.Caller{}, user, []string{"a"}, true},
		{"bound, its realm", intake.Caller{Realms: []string{"a"}}, realmKind, []string{"a"}, true},
		{"bound, another realm", intake.Caller{Realms: []string{"a"}}, user, []string{"b"}, false},
		{"bound, its realm and another", intake.Caller{Realms: []string{"a"}}, user, []string{"a", "b"}, false},
		{"bound to both", intake.Caller{Realms: []string{"b", "a"}}, user, []string{"a", "b"}, true},
		{"bound, all realms", intake.Caller{Realms: []string{"a"}}, user, nil, false},
		{"bound to none", intake.Caller{Realms: []string{}}, user, []string{"a"}, false},
		{"its kind", intake.Caller{Kinds: []events.Kind{user}}, user, nil, true},
		{"another kind", intake.Caller{Kinds: []events.Kind{user}}, all, nil, false},
		{"no kinds", intake.Caller{Kinds: []events.Kind{}}, user, []string{"a"}, false},
		{"its kind in another realm", intake.Caller{Kinds: []events.Kind{user}, Realms: []string{"a"}}, user, []string{"b"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.caller.May(tc.kind, tc.realms...)
			if (err == nil) != tc.ok || err != nil && !errors.Is(err, intake.ErrForbidden) {
				t.Errorf("May = %v, want ok %v", err, tc.ok)
			}
		})
	}
}

func TestAPIKeysAreNewAndKeptAsHashes(t *testing.T) {
	key, sum := intake.NewAPIKey()
	other, _ := intake.NewAPIKey()
	if key == other || !strings.HasPrefix(key, "rsk_") || len(key) != 4+43 || sum != sumOf(key) {
		t.Errorf("NewAPIKey = %d bytes, hash right %v", len(key), sum == sumOf(key))
	}
}

func TestAuthConfigIsRefusedByTheNameOfItsField(t *testing.T) {
	_, sum := intake.NewAPIKey()
	h := hash(t, password)
	empty := sumOf("")
	dev, err := realm.OpenDev(t.TempDir())
	must(t, err)
	demo, err := realm.New(dev.Configs(), realm.Options{})
	must(t, err)
	t.Cleanup(demo.Close)
	for _, tc := range []struct {
		name   string
		config intake.AuthConfig
		want   string
	}{
		{"empty admin key", intake.AuthConfig{AdminKeySHA256: sha256.Sum256(nil)}, "admin key"},
		{"no id", intake.AuthConfig{APIKeys: []intake.APIKeyConfig{{SHA256: sum}}}, "api_keys[0]: id"},
		{"id with colon", intake.AuthConfig{APIKeys: []intake.APIKeyConfig{{ID: "a:b", SHA256: sum}}}, "api_keys[0]: id"},
		{"short hash", intake.AuthConfig{APIKeys: []intake.APIKeyConfig{{ID: "a", SHA256: "abcd"}}}, "api_keys[0]: sha256"},
		{"key for hash", intake.AuthConfig{APIKeys: []intake.APIKeyConfig{{ID: "a", SHA256: "rsk_" + sum[:60]}}}, "api_keys[0]: sha256"},
		{"hash of nothing", intake.AuthConfig{APIKeys: []intake.APIKeyConfig{{ID: "a", SHA256: empty}}}, "api_keys[0]: sha256"},
		{"same key twice", intake.AuthConfig{APIKeys: []intake.APIKeyConfig{{ID: "a", SHA256: sum}, {ID: "b", SHA256: sum}}}, "api_keys[1]: sha256"},
		{"admin key as API key", intake.AuthConfig{AdminKeySHA256: sha256.Sum256([]byte("k")),
			APIKeys: []intake.APIKeyConfig{{ID: "a", SHA256: sumOf("k")}}}, "api_keys[0]: sha256"},
		{"unknown realm", intake.AuthConfig{APIKeys: []intake.APIKeyConfig{{ID: "a", SHA256: sum, Realms: []string{"x"}}}}, `api_keys[0]: realms: no realm is called "x"`},
		{"no realms left", intake.AuthConfig{APIKeys: []intake.APIKeyConfig{{ID: "a", SHA256: sum, Realms: []string{}}}}, "realms: is empty"},
		{"unknown kind", intake.AuthConfig{APIKeys: []intake.APIKeyConfig{{ID: "a", SHA256: sum, Kinds: []events.Kind{"x"}}}}, "kinds: unknown"},
		{"no kinds left", intake.AuthConfig{Users: []intake.UserConfig{{Name: "a", Bcrypt: h, Kinds: []events.Kind{}}}}, "kinds: is empty"},
		{"user called admin", intake.AuthConfig{Users: []intake.UserConfig{{Name: "admin", Bcrypt: h}}}, `users[0]: name: "admin" is taken`},
		{"user called as a key", intake.AuthConfig{APIKeys: []intake.APIKeyConfig{{ID: "a", SHA256: sum}},
			Users: []intake.UserConfig{{Name: "a", Bcrypt: h}}}, `users[0]: name: "a" is taken`},
		{"password for hash", intake.AuthConfig{Users: []intake.UserConfig{{Name: "a", Bcrypt: password}}}, "users[0]: bcrypt"},
		{"cost that takes minutes", intake.AuthConfig{Users: []intake.UserConfig{{Name: "a", Bcrypt: "$2a$31$" + h[7:]}}}, "users[0]: bcrypt: cost 31"},
		{"client without a name", intake.AuthConfig{Realms: demo, Clients: []intake.ClientConfig{{Realm: "demo", Public: true}}}, "oauth_clients[0]: id"},
		{"client of no realm", intake.AuthConfig{Realms: demo, Clients: []intake.ClientConfig{{ID: "a", Public: true}}}, `oauth_clients[0]: realm: no realm is called ""`},
		{"client without a way", intake.AuthConfig{Realms: demo, Clients: []intake.ClientConfig{{ID: "a", Realm: "demo"}}}, "exactly one of"},
		{"client with two ways", intake.AuthConfig{Realms: demo, Clients: []intake.ClientConfig{{ID: "a", Realm: "demo", Public: true, SecretSHA256: sum}}}, "exactly one of"},
		{"client with a bad hash", intake.AuthConfig{Realms: demo, Clients: []intake.ClientConfig{{ID: "a", Realm: "demo", SecretSHA256: "x"}}}, "secret_sha256"},
		{"client with no secret", intake.AuthConfig{Realms: demo, Clients: []intake.ClientConfig{{ID: "a", Realm: "demo", SecretSHA256: empty}}}, "secret_sha256"},
		{"client without its keys", intake.AuthConfig{Realms: demo, Clients: []intake.ClientConfig{{ID: "a", Realm: "demo", JWKS: "/none"}}}, "oauth_clients[0]: jwks: open /none"},
		{"client with keys anywhere", intake.AuthConfig{Realms: demo, Clients: []intake.ClientConfig{{ID: "a", Realm: "demo", JWKS: "ftp://x"}}}, "oauth_clients[0]: jwks"},
		{"client called as a key", intake.AuthConfig{Realms: demo, APIKeys: []intake.APIKeyConfig{{ID: "a", SHA256: sum}},
			Clients: []intake.ClientConfig{{ID: "a", Realm: "demo", Public: true}}}, `oauth_clients[0]: id: "a" is taken`},
		{"two clients of a name", intake.AuthConfig{Realms: demo, Clients: []intake.ClientConfig{{ID: "a", Realm: "demo", Public: true},
			{ID: "a", Realm: "demo", Public: true}}}, `oauth_clients[1]: id: "a" is taken`},
		{"unknown admin realm", intake.AuthConfig{AdminRealms: []string{"x"}}, "admin_realms"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := intake.NewAuthenticator(tc.config)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("NewAuthenticator = %v, want %q", err, tc.want)
			}
			if strings.Contains(err.Error(), password) || strings.Contains(err.Error(), sum) {
				t.Error("the error repeats a secret")
			}
		})
	}
}

func TestCallersReadAsTheDocumentationHasThem(t *testing.T) {
	const doc = `
api_keys: [{id: ci, sha256: abcd, realms: [main], kinds: [user, token]}]
users: [{name: alice, bcrypt: $2a$10$x, realms: [main], kinds: [all]}]
`
	var got struct {
		APIKeys []intake.APIKeyConfig `yaml:"api_keys"`
		Users   []intake.UserConfig   `yaml:"users"`
	}
	dec := yaml.NewDecoder(strings.NewReader(doc))
	dec.KnownFields(true)
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]intake.APIKeyConfig{{ID: "ci", SHA256: "abcd", Realms: []string{"main"},
		Kinds: []events.Kind{events.KindUser, events.KindToken}}}, got.APIKeys); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]intake.UserConfig{{Name: "alice", Bcrypt: "$2a$10$x", Realms: []string{"main"},
		Kinds: []events.Kind{events.KindAll}}}, got.Users); diff != "" {
		t.Error(diff)
	}
}

// Whatever the header holds, the answer is a caller or one of the two refusals,
// and nobody comes in who did not send a secret.
func TestNoHeaderOpensTheDoorByAccident(t *testing.T) {
	d := newDoor(t)
	part := rapid.OneOf(
		rapid.SampledFrom([]string{"Bearer ", "Basic ", "ApiKey ", " ", ",", "a.b.c", pair("admin", ""), pair("", ""), pair("alice", ""), "rsk_", "\x00"}),
		rapid.String())
	rapid.Check(t, func(rt *rapid.T) {
		header := strings.Join(rapid.SliceOfN(part, 0, 4).Draw(rt, "header"), "")
		if c, err := d.ask(t, header); c != nil || !errors.Is(err, intake.ErrBadCredentials) {
			rt.Fatalf("Authenticate = %v, %v", c, err)
		}
	})
}

func TestAuthenticateIsSafeForConcurrentUse(t *testing.T) {
	d := newDoor(t)
	raw := d.token(t, realm.TokenRequest{User: "jack"})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, header := range []string{"Bearer " + raw, "Bearer " + adminKey, "ApiKey " + d.free, "Basic " + pair("alice", password)} {
				if _, err := d.ask(t, header); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestPasswordIsNotCheckedForARequestThatIsOver(t *testing.T) {
	d := newDoor(t)
	ctx, cancel := context.WithCancel(t.Context())
	release := d.FillSlots()
	defer release()
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.SetBasicAuth("alice", password)
	if _, err := d.Authenticate(r); !errors.Is(err, context.Canceled) || errors.Is(err, intake.ErrBadCredentials) {
		t.Errorf("Authenticate = %v", err)
	}
}
