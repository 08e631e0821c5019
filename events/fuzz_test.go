package events_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
)

// addGolden seeds f with the golden files of the pattern.
func addGolden(f *testing.F, pattern string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("..", "testdata", "wire", pattern))
	if err != nil || len(files) == 0 {
		f.Fatal("no golden files", err)
	}
	for _, name := range files {
		f.Add(bytes.TrimSuffix(readTestdata(f, "wire", filepath.Base(name)), []byte("\n")))
	}
}

func known(err error) bool {
	for _, e := range []error{events.ErrMalformed, events.ErrSignature, events.ErrUnknownKey, events.ErrAudience,
		events.ErrKeyBounds, events.ErrUnsupported} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func FuzzOpen(f *testing.F) {
	addGolden(f, "*.jws")
	signer, keys := testSigner(f), testKeySet(f)
	header := headerOf(f, "secevent+jwt")
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		payload := raw
		if parts := strings.Split(string(raw), "."); len(parts) == 3 {
			if b, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
				payload = b
			}
		}
		// As they are, and signed: few bytes are signed by chance.
		for _, message := range [][]byte{raw, signAny(t, header, string(payload))} {
			r, kid, err := keys.Open(fleet, message)
			if err != nil {
				if !known(err) || r != nil || kid != "" {
					t.Errorf("got %v, %q, %v", r, kid, err)
				}
				continue
			}
			got, _, err := keys.Open(fleet, mustSign(t, signer, r))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(r, got); diff != "" {
				t.Errorf("(-opened +signed and opened):\n%s", diff)
			}
		}
		if !bytes.Equal(before, raw) {
			t.Error("the input was changed")
		}
	})
}

// FuzzOpenMessages: beacons, queries, receipts and refusals of any claims never panic, and
// mean the same when they are signed again.
func FuzzOpenMessages(f *testing.F) {
	for _, name := range []string{"beacon.json", "query.json", "receipt.json", "refusal.json", "all.json"} {
		f.Add(readTestdata(f, "wire", name))
	}
	signer, keys := testSigner(f), testKeySet(f)
	beacon, query, receipt := headerOf(f, "rescind-beacon+jwt"), headerOf(f, "rescind-query+jwt"), headerOf(f, "rescind-receipt+jwt")
	refusal := headerOf(f, "rescind-refusal+jwt")
	f.Fuzz(func(t *testing.T, payload []byte) {
		if b, err := keys.OpenBeacon(fleet, signAny(t, beacon, string(payload))); err == nil {
			raw, err := signer.SignBeacon(fleet, pubURL, b)
			if err != nil {
				t.Fatal(err)
			}
			got, err := keys.OpenBeacon(fleet, raw)
			checkAgain(t, b, got, err)
		} else if !known(err) {
			t.Error(err)
		}
		if q, err := keys.OpenQuery(fleet, signAny(t, query, string(payload))); err == nil {
			raw, err := signer.SignQuery(fleet, pubURL, q)
			if err != nil {
				t.Fatal(err)
			}
			got, err := keys.OpenQuery(fleet, raw)
			checkAgain(t, q, got, err)
		} else if !known(err) {
			t.Error(err)
		}
		if r, err := keys.OpenReceipt(fleet, signAny(t, receipt, string(payload))); err == nil {
			raw, err := signer.SignReceipt(fleet, pubURL, signedAt, r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := keys.OpenReceipt(fleet, raw)
			checkAgain(t, r, got, err)
		} else if !known(err) {
			t.Error(err)
		}
		if r, err := keys.OpenRefusal(fleet, signAny(t, refusal, string(payload))); err == nil {
			raw, err := signer.SignRefusal(fleet, pubURL, signedAt, r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := keys.OpenRefusal(fleet, raw)
			checkAgain(t, r, got, err)
		} else if !known(err) {
			t.Error(err)
		}
	})
}

// checkAgain compares by JSON, which has nil and empty lists alike where they
// mean the same.
func checkAgain(t *testing.T, want, got any, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	a, errA := json.Marshal(want)
	b, errB := json.Marshal(got)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if diff := cmp.Diff(string(a), string(b)); diff != "" {
		t.Errorf("(-opened +signed and opened):\n%s", diff)
	}
}

// FuzzMutatedSignature changes one byte of an event, in the header, the payload
// or the signature.
func FuzzMutatedSignature(f *testing.F) {
	keys := testKeySet(f)
	good := mustSign(f, testSigner(f), baseRevocation(f))
	parts := bytes.Split(good, []byte("."))
	for part := range parts {
		f.Add(uint8(part), uint16(0), uint8(1), false)
		f.Add(uint8(part), uint16(len(parts[part])-1), uint8(3), false)
		f.Add(uint8(part), uint16(7), uint8('\n'), true)
		f.Add(uint8(part), uint16(7), uint8('.'), true)
		f.Add(uint8(part), uint16(7), uint8('='), true)
	}
	f.Fuzz(func(t *testing.T, part uint8, pos uint16, change uint8, insert bool) {
		p := parts[int(part)%3]
		at := int(pos) % len(p)
		for i := range int(part) % 3 {
			at += len(parts[i]) + 1
		}
		bad := bytes.Clone(good)
		if insert {
			bad = append(append(bytes.Clone(good[:at]), change), good[at:]...)
		} else {
			bad[at] ^= change
		}
		_, _, err := keys.Open(fleet, bad)
		if same := bytes.Equal(bad, good); same != (err == nil) {
			t.Errorf("same bytes %v, got %v: %s", same, err, bad)
		}
		if err != nil && !known(err) {
			t.Error(err)
		}
	})
}

// TestNoSingleByteOfAnEventCanBeChanged does what FuzzMutatedSignature does for
// every byte and bit.
func TestNoSingleByteOfAnEventCanBeChanged(t *testing.T) {
	keys := testKeySet(t)
	good := mustSign(t, testSigner(t), baseRevocation(t))
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if _, _, err := keys.Open(fleet, bad); err == nil {
				t.Fatalf("bit %d of byte %d can be changed", bit, i)
			}
		}
		if _, _, err := keys.Open(fleet, append(bytes.Clone(good[:i]), good[i+1:]...)); err == nil {
			t.Fatalf("byte %d can be left out", i)
		}
	}
}

// The only words that an error of ParseToken or ParseStatement has.
var errorWords = func() map[string]bool {
	words := map[string]bool{}
	for _, w := range strings.Fields(`malformed token not an access longer than bytes three parts signature payload header is base64url
		has no alg to verify with crit or b64 member iss sub sid typ iat auth_time exp a string time in seconds JSON object valid UTF
		half of surrogate pair name appears twice data behind the it events claim
		secevent logout statuslist jwt global revocation client authentication rescind beacon query receipt
		jti nbf aud neither nor array of strings JSON`) {
		words[w] = true
	}
	return words
}()

func FuzzParseToken(f *testing.F) {
	for _, raw := range []string{"", "a.b.c", "..", a3Signed + "." + a3Sig, a3Signed + "." + a3NegS, jwtOf(`{"iss":"i","jti":"j","iat":1.5}`),
		jwtOf(`{"iss":"i","sub":"u","Sub":"v","exp":1e9}`), jwtOf(`{"iss":5}`), jwtOf(`{"jti":"a","jti":"b"}`), jwtOf(`{"iat":"x"}`),
		jwtOf(`{"events":{}}`), jwtOf(`{"iss":"\ud800"}`), "{\"iss\":\"i\",\"jti\":\"j\"}", `{"iss":"i","iat":-1}`, `{"a":{"a":[]},"iss":"😀"}`} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		// As it is, and as the claims of a token.
		checkToken(t, raw)
		checkToken(t, jwtOf(raw))
	})
}

// checkWords refuses an error that could hold a part of its input.
func checkWords(t *testing.T, err error) {
	t.Helper()
	for _, w := range strings.FieldsFunc(err.Error(), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_'
	}) {
		if !errorWords[w] && w != "16384" && w != "8" {
			t.Errorf("the error has the word %q: %v", w, err)
		}
	}
}

func checkToken(t *testing.T, raw string) {
	t.Helper()
	tok, err := events.ParseToken(raw)
	if err != nil {
		if !errors.Is(err, events.ErrMalformedToken) && !errors.Is(err, events.ErrNotAccessToken) || tok != nil {
			t.Errorf("got %v, %v", tok, err)
		}
		checkWords(t, err)
		return
	}
	signed := raw[:strings.LastIndexByte(raw, '.')]
	again, err := events.ParseToken(signed + ".AAAA")
	if err != nil || again.Identity != tok.Identity {
		t.Errorf("another signature, another identity: %v", err)
	}
	if tok.IssuedAt < 0 || tok.AuthTime < 0 || tok.Expires < 0 || tok.Expires > 1<<53 || tok.IssuedAt >= 1<<53 {
		t.Errorf("times out of bounds: %+v", tok)
	}
	// Any reader of JSON sees the same iss and jti.
	parsed, _, err := jwt.NewParser().ParseUnverified(raw, jwt.MapClaims{})
	if parsed == nil || errors.Is(err, jwt.ErrTokenMalformed) {
		t.Fatalf("golang-jwt cannot read what ParseToken reads: %v", err)
	}
	claims := parsed.Claims.(jwt.MapClaims)
	iss, _ := claims["iss"].(string)
	jti, _ := claims["jti"].(string)
	if iss != tok.Issuer || jti != tok.JTI {
		t.Errorf("got iss %q, jti %q, golang-jwt reads %q, %q", tok.Issuer, tok.JTI, iss, jti)
	}
	found := 0
	for name, v := range claims {
		if s, ok := v.(string); ok {
			found++
			if key, ok := tok.Claim(name); !ok || key != events.ClaimKey(name, s) {
				t.Errorf("claim %q is not what golang-jwt reads", name)
			}
		}
	}
	if got := len(tok.ClaimKeys()); got != found {
		t.Errorf("got %d string claims, golang-jwt reads %d", got, found)
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"report.json", "status.json", "answer.json", "ask.json"} {
		f.Add(readTestdata(f, "wire", name))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkDecode[events.Report](t, data)
		checkDecode[events.Status](t, data)
		checkDecode[events.Ask](t, data)
		checkDecode[events.Answer](t, data)
	})
}

func checkDecode[T events.Report | events.Status | events.Ask | events.Answer](t *testing.T, data []byte) {
	t.Helper()
	v, err := events.Decode[T](data)
	if err != nil {
		if !errors.Is(err, events.ErrMalformed) || v != nil {
			t.Errorf("got %v, %v", v, err)
		}
		return
	}
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	got, err := events.Decode[T](raw)
	checkAgain(t, v, got, err)
}

func FuzzParseKeySet(f *testing.F) {
	f.Add(readTestdata(f, "keys", "jwks.json"))
	f.Add(readTestdata(f, "keys", "publisher.jwk.json"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if set, err := events.ParseKeySet(data); err == nil {
			doc, err := json.Marshal(set)
			if err != nil {
				t.Fatal(err)
			}
			got, err := events.ParseKeySet(doc)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(set.All(), got.All()); diff != "" {
				t.Errorf("(-read +written and read):\n%s", diff)
			}
		}
		if s, err := events.ParseSigner(data); err == nil {
			if _, err := s.PrivateJWK(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
