package transmit

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

func mustKey(tb testing.TB) *Key {
	tb.Helper()
	k, err := NewKey()
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func pemOf(t *testing.T, typ string, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der})
}

func TestKeysAreReadAsTheyAreWritten(t *testing.T) {
	k := mustKey(t)
	text, err := k.PEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKey(text)
	if err != nil || again.id != k.id {
		t.Fatalf("%v", err)
	}
	// One confides, another reads: all publishers have the same key.
	sealed := k.seal("Bearer secret", "here")
	if got, err := again.unseal(sealed, "here"); err != nil || got != "Bearer secret" || strings.Contains(sealed, "secret") {
		t.Errorf("%q, %v", got, err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"nothing": nil, "garbage": []byte("garbage"), "two": append(bytes.Clone(text), text...),
		"another type": pemOf(t, "EC PRIVATE KEY", k.private), "a short one": pemOf(t, "PRIVATE KEY", short), "a curve": pemOf(t, "PRIVATE KEY", curve)} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestWhatIsSealedIsBoundToItsPlaceAndKey(t *testing.T) {
	k, other := mustKey(t), mustKey(t)
	sealed := k.seal("secret", "stream a https://a.example")
	for name, open := range map[string]func() (string, error){
		"another place":  func() (string, error) { return k.unseal(sealed, "stream a https://b.example") },
		"another key":    func() (string, error) { return other.unseal(sealed, "stream a https://a.example") },
		"a changed text": func() (string, error) { return k.unseal("A"+sealed[1:], "stream a https://a.example") },
		"no base64":      func() (string, error) { return k.unseal("###", "stream a https://a.example") },
	} {
		if got, err := open(); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if again := k.seal("secret", "stream a https://a.example"); again == sealed {
		t.Error("the same text is sealed alike twice")
	}
	if got, err := k.unseal(k.seal("", "x"), "y"); got != "" || err != nil {
		t.Errorf("nothing: %q, %v", got, err)
	}
}

func TestOnlyTheKeysOwnSignaturesAreKnown(t *testing.T) {
	k, other := mustKey(t), mustKey(t)
	raw, err := k.sign(jwt.MapClaims{"iss": "x"})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.sign(jwt.MapClaims{"iss": "x"})
	if err != nil {
		t.Fatal(err)
	}
	symmetric, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": "x"}).SignedString(x509.MarshalPKCS1PublicKey(&k.private.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(raw, ".")
	if !k.signed(raw) {
		t.Error("its own is not known")
	}
	for name, bad := range map[string]string{"another's": foreign, "symmetric": symmetric, "garbage": "garbage", "unsigned": parts[0] + "." + parts[1] + ".",
		"none": "eyJhbGciOiJub25lIn0." + parts[1] + "."} {
		if k.signed(bad) {
			t.Errorf("%s passes for its own", name)
		}
	}
}

// FuzzKept: whatever stands with a feed, it is a stream that keeps as it reads, or an
// error.
func FuzzKept(f *testing.F) {
	tr := &Transmitter{cfg: Config{Key: mustKey(f)}}
	good, err := tr.keep(&Stream{ID: "a", Owner: "o", Audience: "o", Method: Push, Endpoint: "https://x", Authorization: "Bearer x", Status: Enabled})
	if err != nil {
		f.Fatal(err)
	}
	for _, meta := range []string{good, "{}", "", `{"sealed":"x"}`, `{"requested":[""]}`, `{"status":5}`} {
		f.Add(meta)
	}
	f.Fuzz(func(t *testing.T, meta string) {
		s, err := tr.read("a", meta)
		if err != nil {
			return
		}
		again, err := tr.keep(s)
		if err != nil {
			t.Fatal(err)
		}
		same, err := tr.read("a", again)
		if err != nil || same.Authorization != s.Authorization || same.Endpoint != s.Endpoint || same.Status != s.Status {
			t.Errorf("%s becomes %+v, then %+v, %v", meta, s, same, err)
		}
		for _, uri := range s.Delivered() {
			if s.Requested != nil && !strings.Contains(meta, uri) && !strings.Contains(meta, `\`) {
				t.Errorf("%s is delivered and was not asked for", uri)
			}
		}
	})
}

// FuzzReceiversError: what a receiver answers ends up in the log, bounded.
func FuzzReceiversError(f *testing.F) {
	for _, body := range []string{`{"err":"invalid_key","description":"x"}`, `{`, ``, `{"err":5}`, `{"err":"` + strings.Repeat("x", 2000) + `"}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if text := describe(body); text == "" || len(text) > maxDescription {
			t.Errorf("%d bytes: %q", len(text), text)
		}
	})
}
