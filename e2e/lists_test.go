package e2e

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// issuer signs tokens of the development realm demo, faster than a process for each.
type issuer struct {
	header string
	key    ed25519.PrivateKey
	claims map[string]any
}

func (f *fleet) issuer() *issuer {
	f.t.Helper()
	block, _ := pem.Decode([]byte(readFile(f.t, f.path("realms", "demo", "EdDSA.pem"))))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		f.t.Fatal(err)
	}
	example := strings.Split(f.token("--user", "jack", "--alg", "EdDSA"), ".")
	payload, err := base64.RawURLEncoding.DecodeString(example[1])
	if err != nil {
		f.t.Fatal(err)
	}
	i := &issuer{header: example[0], key: key.(ed25519.PrivateKey)}
	if err := json.Unmarshal(payload, &i.claims); err != nil {
		f.t.Fatal(err)
	}
	return i
}

func (i *issuer) token(t *testing.T, jti string) string {
	t.Helper()
	i.claims["jti"] = jti
	payload, err := json.Marshal(i.claims)
	if err != nil {
		t.Fatal(err)
	}
	signed := i.header + "." + base64.RawURLEncoding.EncodeToString(payload)
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(i.key, []byte(signed)))
}

// TestHundredThousandTokensAreRefusedOnThreeAgents prints how fast a list of as many
// tokens as one may have comes into force, from acceptance to the last agent.
func TestHundredThousandTokensAreRefusedOnThreeAgents(t *testing.T) {
	const count = 100_000
	f := startFleet(t, "a", "b", "c")
	issuer := f.issuer()
	tokens := make([]string, count)
	for i := range tokens {
		tokens[i] = issuer.token(t, fmt.Sprintf("token-%06d", i))
	}
	live := issuer.token(t, "another")
	for name, a := range f.agents {
		for _, raw := range []string{tokens[0], live} {
			if status := a.check(raw); status != 200 {
				t.Fatalf("agent %s answers %d before", name, status)
			}
		}
	}
	list := f.path("tokens")
	if err := os.WriteFile(list, []byte(strings.Join(tokens, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	out := rescind(t, "revoke", "tokens", "--file", list, "--dir", f.dir, "--publisher", f.pubURL, "--timeout", "30s", "--json")
	took := time.Since(begun)
	var a struct {
		Invalidated int   `json:"invalidated_tokens"`
		Errors      int   `json:"error_count"`
		Elapsed     int64 `json:"elapsed_ms"`
		Agents      struct{ Expected, Applied int }
		Events      []struct{ ID string }
	}
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if a.Invalidated != count || a.Errors != 0 || a.Agents.Applied != 3 || len(a.Events) != count/1000 {
		t.Errorf("answered %d invalidated, %d errors, %d of %d agents, %d events", a.Invalidated, a.Errors, a.Agents.Applied, a.Agents.Expected, len(a.Events))
	}
	for name, agent := range f.agents {
		if status := agent.check(live); status != 200 {
			t.Errorf("agent %s answers %d to a token that is not listed", name, status)
		}
		for i := 0; i < count; i += 99 {
			if status := agent.check(tokens[i]); status != 401 {
				t.Fatalf("agent %s answers %d to token %d, want 401", name, status, i)
			}
		}
	}
	eventually(t, 10*time.Second, "the publisher hears of all entries", func() bool {
		digests := map[string]bool{}
		for _, i := range f.list() {
			if i.Entries != count {
				return false
			}
			digests[i.Digest] = true
		}
		return len(digests) == 1
	})
	t.Logf("%d tokens on three agents %d ms after they were accepted, %.0f a second; the command took %s, with verifying each",
		count, a.Elapsed, count/(float64(a.Elapsed)/1000), took.Round(time.Millisecond))
}
