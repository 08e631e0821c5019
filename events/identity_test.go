package events_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rescind/rescind/events"
)

// RFC 7515 appendix A.3, and what can be made of it without its private key.
const (
	a3Signed = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	a3Sig    = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	a3NegS   = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmU69fgrc8OPGycO0lD3tat_FoFp57SETepkeks4eL_QfA"
)

func TestRFC7515ExampleHasOneIdentityUnderEverySignature(t *testing.T) {
	point := append([]byte{4}, b64Int(t, "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU").FillBytes(make([]byte, 32))...)
	point = append(point, b64Int(t, "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0").FillBytes(make([]byte, 32))...)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hexSum(a3Signed), "21c67368f436577f447f805162ca13b80d046a3fe467247e65ea477aa750fa2e"; got != want {
		t.Fatalf("signing input: got SHA-256 %s, want %s", got, want)
	}
	want := events.SignedIdentity(a3Signed)
	for _, v := range []struct {
		name, sig, sum string
		refused        bool
	}{
		{"original", a3Sig, "4634b4dcaca24964bce48e22146fb6e3933ad993e6f24f42575145a2133ae115", false},
		{"n-s", a3NegS, "d16175719f45a5fc088c1d95733040976389315a3f4739fea801a516234c51d1", false},
		{"trailing bits", a3Sig[:85] + "R", "d50630588901187d42efd469914db8ab52be805f9a85b522fcce80ffe035f3a1", true},
		{"newline", a3Sig[:43] + "\n" + a3Sig[43:], "d7bc974a9018e67d9a531538a639555da8c5aa6d1cd61cfe6ed987f76cb2c221", true},
	} {
		t.Run(v.name, func(t *testing.T) {
			raw := a3Signed + "." + v.sig
			if got := hexSum(raw); got != v.sum {
				t.Errorf("SHA-256 of the token: got %s, want %s", got, v.sum)
			}
			if !verifies(raw, key, "ES256") {
				t.Error("golang-jwt refuses it: the variant is no bypass")
			}
			tok, err := events.ParseToken(raw)
			if v.refused {
				if !errors.Is(err, events.ErrMalformedToken) {
					t.Errorf("got %v, want ErrMalformedToken", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tok.Identity != want {
				t.Errorf("got identity %s, want %s", tok.Identity, want)
			}
		})
	}
}

func TestIdentityIsOfTheSigningInputToTheByte(t *testing.T) {
	if events.SignedIdentity(a3Signed) == events.SignedIdentity(strings.Replace(a3Signed, ".", "..", 1)) ||
		events.SignedIdentity(a3Signed) == events.SignedIdentity(a3Signed[:len(a3Signed)-1]) {
		t.Error("different signing inputs share an identity")
	}
	// The same claims under another header are another token.
	a := mustParse(t, b64([]byte(`{"alg":"ES256"}`))+"."+b64([]byte(`{"iss":"a"}`))+".")
	b := mustParse(t, b64([]byte(`{"alg":"RS256"}`))+"."+b64([]byte(`{"iss":"a"}`))+".")
	if a.Identity == b.Identity {
		t.Error("two headers share an identity")
	}
}

// TestRewrittenSignaturesNeverMakeAnotherToken rewrites signatures in every way
// known to leave them valid for some verifier.
func TestRewrittenSignaturesNeverMakeAnotherToken(t *testing.T) {
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []struct {
		method  jwt.SigningMethod
		private any
		public  crypto.PublicKey
		// accepted is how many of the rewritten ones golang-jwt verifies.
		accepted int
	}{
		{jwt.SigningMethodES256, ecKey, &ecKey.PublicKey, 15 + 4 + 1},
		{jwt.SigningMethodRS256, rsaKey, &rsaKey.PublicKey, 15 + 4},
		{jwt.SigningMethodEdDSA, edKey, edPublic, 15 + 4},
	} {
		for _, claims := range []jwt.MapClaims{{"iss": mainIs, "jti": "1"}, {"iss": mainIs, "sub": "u"}} {
			original, err := jwt.NewWithClaims(alg.method, claims).SignedString(alg.private)
			if err != nil {
				t.Fatal(err)
			}
			want, accepted := mustParse(t, original).Identity, 0
			for _, raw := range rewrites(t, original, alg.method.Alg()) {
				if raw == original {
					t.Fatal("a variant is the original")
				}
				if verifies(raw, alg.public, alg.method.Alg()) {
					accepted++
				}
				tok, err := events.ParseToken(raw)
				switch {
				case errors.Is(err, events.ErrMalformedToken):
				case err != nil:
					t.Errorf("%s: %v", alg.method.Alg(), err)
				case tok.Identity != want:
					t.Errorf("%s: a rewritten signature has another identity: %q", alg.method.Alg(), raw)
				}
			}
			if accepted != alg.accepted {
				t.Errorf("%s: golang-jwt verifies %d variants, want %d", alg.method.Alg(), accepted, alg.accepted)
			}
		}
	}
}

func rewrites(t *testing.T, raw, alg string) []string {
	t.Helper()
	dot := strings.LastIndexByte(raw, '.')
	head, sig := raw[:dot+1], raw[dot+1:]
	var out []string
	// The spare bits of the last character: 4 in each of the three algorithms.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, sig[len(sig)-1])
	for i := 1; i < 16; i++ {
		out = append(out, head+sig[:len(sig)-1]+string(alphabet[last^i]))
	}
	out = append(out, head+sig+"\n", head+"\r"+sig, head+sig[:5]+"\r\n"+sig[5:], head+sig[:5]+"\n\n"+sig[5:])
	out = append(out, head+sig+"=", head+sig+"==", head+sig+" ", " "+raw, raw+"\t", raw+".", raw+"\x00",
		head+strings.NewReplacer("-", "+", "_", "/").Replace(sig)+"+/", head+"A"+sig, head)
	if alg == "ES256" {
		out = append(out, head+negateS(t, sig))
	}
	return out
}

// negateS turns an ECDSA signature (r, s) into (r, n-s).
func negateS(t *testing.T, sig string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil || len(b) != 64 {
		t.Fatalf("signature of %d bytes, %v", len(b), err)
	}
	s := new(big.Int).SetBytes(b[32:])
	new(big.Int).Sub(elliptic.P256().Params().N, s).FillBytes(b[32:])
	return b64(b)
}

func verifies(raw string, key crypto.PublicKey, alg string) bool {
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{alg}), jwt.WithoutClaimsValidation()).
		Parse(raw, func(*jwt.Token) (any, error) { return key, nil })
	return err == nil
}

func b64Int(t *testing.T, s string) *big.Int {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return new(big.Int).SetBytes(b)
}

func hexSum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// TestIdentityFormulaIsFixed computes identities and keys by hand: they are on
// disks and in streams, so another formula would forget every revocation.
func TestIdentityFormulaIsFixed(t *testing.T) {
	byHand := func(parts ...string) (b []byte) {
		for _, p := range parts {
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
		}
		h := sha256.Sum256(b)
		return h[:]
	}
	claim, issuer := events.ClaimKey("sub", "u"), events.IssuerKey("i")
	jti, signed, opaque := events.JTIIdentity("i", "j"), events.SignedIdentity("h.p"), events.OpaqueIdentity("o")
	for _, c := range []struct {
		name      string
		got, want []byte
	}{
		{"jti", jti[:], byHand("rescind/1/jti", "i", "j")},
		{"signed", signed[:], byHand("rescind/1/jws", "h.p")},
		{"opaque", opaque[:], byHand("rescind/1/opaque", "o")},
		{"claim", claim[:], byHand("rescind/1/claim", "sub", "u")[:16]},
		{"issuer", issuer[:], byHand("rescind/1/iss", "i")[:16]},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	if got, want := jti.String(), "BerAnTZjEPbjn-ESODfrj1w6kKA2GZSPwPZ3FMeoZHA"; got != want {
		t.Errorf("JTIIdentity(i, j): got %s, want %s", got, want)
	}
	if got, want := uint64(jti.Hash()), binary.BigEndian.Uint64(jti[:8]); got != want {
		t.Errorf("hash: got %x, want %x", got, want)
	}
}

func TestDifferentNamesNeverShareAnIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		c, d := rapid.String().Draw(t, "c"), rapid.String().Draw(t, "d")
		if same := a == c && b == d; (events.JTIIdentity(a, b) == events.JTIIdentity(c, d)) != same ||
			(events.ClaimKey(a, b) == events.ClaimKey(c, d)) != same {
			t.Errorf("(%q,%q) and (%q,%q)", a, b, c, d)
		}
	})
	ids := map[events.Identity]string{}
	for name, v := range map[string]events.Identity{
		"ab|c": events.JTIIdentity("ab", "c"), "a|bc": events.JTIIdentity("a", "bc"), "|abc": events.JTIIdentity("", "abc"),
		"c|ab": events.JTIIdentity("c", "ab"), "jws": events.SignedIdentity("abc"), "opaque": events.OpaqueIdentity("abc"),
	} {
		if other, dup := ids[v]; dup {
			t.Errorf("%s and %s share an identity", name, other)
		}
		ids[v] = name
	}
}

func TestTextOfIdentitiesHasOneForm(t *testing.T) {
	want := events.OpaqueIdentity("x")
	text, err := want.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var got events.Identity
	if err := got.UnmarshalText(text); err != nil || got != want {
		t.Fatalf("got %s, %v, want %s", got, err, want)
	}
	s := string(text)
	for _, bad := range []string{"", s[:42], s + "A", s + "=", s[:20] + "\n" + s[20:], s[:42] + "\r", "+" + s[1:],
		s[:42] + string(s[42]+1)} {
		if err := got.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

func TestTextOfEventIDsHasOneForm(t *testing.T) {
	made := events.NewEventID()
	got, err := events.ParseEventID(made.String())
	if err != nil || got != made || made.IsZero() {
		t.Fatalf("got %s, %v, want %s", got, err, made)
	}
	const s = "019ac9f2-0000-7000-8000-00000000abcd"
	for _, bad := range []string{"", strings.ToUpper(s), "{" + s + "}", "urn:uuid:" + s, strings.ReplaceAll(s, "-", ""),
		s + " ", s[:35], "g" + s[1:]} {
		if _, err := events.ParseEventID(bad); err == nil {
			t.Errorf("%q: accepted", bad)
		}
		var id events.EventID
		if err := id.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: accepted as text", bad)
		}
	}
	if !(events.EventID{}).IsZero() {
		t.Error("the zero id is not zero")
	}
}

func TestLaterEventIDsSortLater(t *testing.T) {
	a, b := events.NewEventID(), events.NewEventID()
	if a.String() >= b.String() {
		t.Errorf("%s was made before %s", a, b)
	}
}
