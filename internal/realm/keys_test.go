package realm

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestPublishedSecretsAreNotReadAsKeys(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]any{"private": private, "symmetric": []byte("secret")} {
		raw, err := json.Marshal(jose.JSONWebKey{Key: secret, KeyID: "k"})
		if err != nil {
			t.Fatal(err)
		}
		if k, err := parseKey(raw); k != nil || err == nil || !strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
}

func TestDiscoveryLeadsToAWebAddressOfTheSameSafety(t *testing.T) {
	for _, tc := range []struct {
		issuer, jwksURI string
		ok              bool
	}{
		{"https://a.example.com", "https://keys.example.com/x", true},
		{"https://a.example.com", "http://keys.example.com/x", false},
		{"http://a.example.com", "http://keys.example.com/x", true},
		{"http://a.example.com", "file:///etc/passwd", false},
		{"http://a.example.com", "/keys", false},
		{"http://a.example.com", "", false},
	} {
		doc := `{"issuer":"` + tc.issuer + `","jwks_uri":"` + tc.jwksURI + `"}`
		got, err := parseDiscovery([]byte(doc), tc.issuer)
		if (err == nil) != tc.ok || tc.ok && got != tc.jwksURI {
			t.Errorf("%s to %q: %q, %v", tc.issuer, tc.jwksURI, got, err)
		}
	}
}

// Whatever bytes an issuer sends, each key that is taken has a public half and
// may be used with asymmetric algorithms only.
func FuzzKeySetHoldsUsableKeysOnly(f *testing.F) {
	for _, seed := range []string{
		`{"keys":[]}`, `{}`, `{"keys":[null]}`, `{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
		`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, _, err := parseKeySet(data)
		if err != nil {
			return
		}
		for _, k := range set.all {
			if k.public == nil || len(k.algs) == 0 {
				t.Fatalf("key %q cannot be used", k.id)
			}
			for _, alg := range k.algs {
				if !slices.Contains(algorithms, alg) {
					t.Fatalf("key %q may be used with %s", k.id, alg)
				}
			}
			if keys, ok := set.find(k.id, "HS256"); ok && len(keys) > 0 {
				t.Fatal("a key is found for HS256")
			}
		}
	})
}
