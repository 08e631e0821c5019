package realm_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/rescind/rescind/internal/realm"
)

func TestConfigIsRefusedByTheNameOfItsField(t *testing.T) {
	good := func() realm.Config { return realm.Config{Issuers: []string{iss}} }
	for _, tc := range []struct {
		name   string
		change func(*realm.Config)
		want   string
	}{
		{"no issuers", func(c *realm.Config) { c.Issuers = nil }, "issuers: must be 1 to 64"},
		{"too many issuers", func(c *realm.Config) { c.Issuers = make([]string, 65) }, "issuers: must be 1 to 64"},
		{"empty issuer", func(c *realm.Config) { c.Issuers = []string{""} }, "issuers: must be of"},
		{"long issuer", func(c *realm.Config) { c.Issuers = []string{strings.Repeat("x", 2049)} }, "issuers: must be of"},
		{"issuer twice", func(c *realm.Config) { c.Issuers = []string{iss, iss} }, "issuers: " + iss + " is listed twice"},
		{"issuer without discovery", func(c *realm.Config) { c.Issuers = []string{"joe"} }, "issuers: keys of joe cannot be discovered"},
		{"issuer with query", func(c *realm.Config) { c.Issuers = []string{iss + "?a"} }, "set jwks"},
		{"jwks of another scheme", func(c *realm.Config) { c.JWKS = "ftp://a/b" }, "jwks: not an http or https URL"},
		{"jwks with password", func(c *realm.Config) { c.JWKS = "https://u:secret@a/b" }, "jwks: a URL must not hold a password"},
		{"negative max_token", func(c *realm.Config) { c.MaxToken = -time.Second }, "max_token:"},
		{"part of a second", func(c *realm.Config) { c.Skew = 1500 * time.Millisecond }, "skew:"},
		{"part of a second", func(c *realm.Config) { c.Leeway = time.Millisecond }, "leeway:"},
		{"negative max_session", func(c *realm.Config) { c.MaxSession = -time.Second }, "max_session:"},
		{"session shorter than token", func(c *realm.Config) { c.MaxToken = 721 * time.Hour }, "max_session:"},
		{"long user_claim", func(c *realm.Config) { c.UserClaim = strings.Repeat("x", 2049) }, "user_claim:"},
		{"backchannel_logout", func(c *realm.Config) { c.BackchannelLogout = realm.SignOutToken }, "backchannel_logout:"},
		{"logout_clients", func(c *realm.Config) { c.LogoutClients = []string{} }, "logout_clients: is empty"},
		{"bearer_audience", func(c *realm.Config) { c.BearerAudience = []string{} }, "bearer_audience: is empty"},
		{"sign_out", func(c *realm.Config) { c.SignOut = "everything" }, "sign_out:"},
		{"opaque_refresh", func(c *realm.Config) { c.OpaqueRefresh = "never" }, "opaque_refresh:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := good()
			if err := c.Validate("main"); err != nil {
				t.Fatalf("unchanged: %v", err)
			}
			tc.change(&c)
			err := c.Validate("main")
			if err == nil || !strings.Contains(err.Error(), "realm main: ") || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("Validate = %v, want %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Error("the error holds a password")
			}
			if _, err := realm.New(map[string]realm.Config{"main": c}, realm.Options{}); err == nil {
				t.Error("New takes it")
			}
		})
	}
}

func TestRealmNamesAreBounded(t *testing.T) {
	c := realm.Config{Issuers: []string{iss}}
	for _, name := range []string{"a", "main", "a.b_c-9", strings.Repeat("x", 64)} {
		if err := c.Validate(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "Main", "a b", "a/b", "ä", "a\n", strings.Repeat("x", 65)} {
		if c.Validate(name) == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

func TestConfigReadsAsTheDocumentationHasIt(t *testing.T) {
	const doc = `
issuers: [https://idp.example.com/realms/main]
jwks: https://idp.example.com/certs
user_claim: preferred_username
max_token: 24h
max_session: 720h
skew: 1s
leeway: 60s
sign_out: session
opaque_refresh: accept
`
	var got realm.Config
	dec := yaml.NewDecoder(strings.NewReader(doc))
	dec.KnownFields(true)
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := realm.Config{
		Issuers: []string{"https://idp.example.com/realms/main"}, JWKS: "https://idp.example.com/certs",
		UserClaim: "preferred_username", MaxToken: 24 * time.Hour, MaxSession: 720 * time.Hour,
		Skew: time.Second, Leeway: time.Minute, SignOut: realm.SignOutSession, OpaqueRefresh: realm.OpaqueAccept,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultsAreFilledInWithoutTouchingTheCallersConfig(t *testing.T) {
	in := map[string]realm.Config{"main": {Issuers: []string{iss}}}
	r, err := realm.New(in, realm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, _ := r.Get("main")
	want := &realm.Realm{Name: "main", Config: realm.Config{
		Issuers: []string{iss}, UserClaim: "sub", MaxToken: 24 * time.Hour, MaxSession: 720 * time.Hour,
		Skew: time.Second, Leeway: time.Minute, SignOut: realm.SignOutToken, BackchannelLogout: realm.SignOutSession, OpaqueRefresh: realm.OpaqueObserved,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	in["main"].Issuers[0] = "changed"
	if got.Issuers[0] != iss {
		t.Error("the realm shares the caller's slice")
	}
	if diff := cmp.Diff(realm.Config{Issuers: []string{"changed"}}, in["main"]); diff != "" {
		t.Error(diff)
	}
}

func TestAnIssuerBelongsToOneRealm(t *testing.T) {
	_, err := realm.New(map[string]realm.Config{
		"a": {Issuers: []string{"https://one.example.com", iss}},
		"b": {Issuers: []string{iss}},
	}, realm.Options{})
	if err == nil || !strings.Contains(err.Error(), "realm a and in realm b") {
		t.Errorf("New = %v", err)
	}
}

func TestKeyFileThatCannotBeReadIsRefusedAtTheStart(t *testing.T) {
	_, err := realm.New(map[string]realm.Config{"a": {Issuers: []string{iss}, JWKS: "missing.json"}},
		realm.Options{BaseDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "realm a: jwks: ") {
		t.Errorf("New = %v", err)
	}
}

func TestRealmsAreFoundByNameAndIssuer(t *testing.T) {
	r, err := realm.New(map[string]realm.Config{
		"b": {Issuers: []string{"https://b.example.com"}}, "a": {Issuers: []string{iss}},
	}, realm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if diff := cmp.Diff([]string{"a", "b"}, r.Names()); diff != "" {
		t.Error(diff)
	}
	if all := r.All(); len(all) != 2 || all[0].Name != "a" || all[1].Name != "b" {
		t.Errorf("All = %v", all)
	}
	if got, ok := r.ByIssuer(iss); !ok || got.Name != "a" {
		t.Errorf("ByIssuer = %v, %v", got, ok)
	}
	if _, ok := r.ByIssuer(iss + "/"); ok {
		t.Error("an issuer with another slash is found")
	}
	if _, ok := r.Get("c"); ok {
		t.Error("an unknown realm is found")
	}
}

func TestTargetsOfARealmAreValid(t *testing.T) {
	r, err := realm.New(map[string]realm.Config{"main": {Issuers: []string{iss}, UserClaim: "email"}}, realm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	main, _ := r.Get("main")
	targets := append(main.ClientTargets("app"), main.Target(), main.UserTarget("jack"),
		main.SessionTarget("s"), main.ClaimTarget("tenant", "t"))
	var got []string
	for _, target := range targets {
		if err := target.Validate(); err != nil {
			t.Errorf("%s: %v", target.Kind, err)
		}
		if diff := cmp.Diff([]string{iss}, target.Issuers); diff != "" || target.Realm != "main" {
			t.Errorf("%s: realm %q, issuers %s", target.Kind, target.Realm, diff)
		}
		got = append(got, string(target.Kind)+" "+target.Claim+"="+target.Value)
	}
	want := []string{"client client_id=app", "client azp=app", "client cid=app", "client appid=app", "realm =", "user email=jack", "session sid=s", "claim tenant=t"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
