package events

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

func TestSignedMessagesReachTheLimitAndNoFurther(t *testing.T) {
	r := newReading(t)
	b64 := base64.RawURLEncoding
	for _, typ := range []string{typeEvent, typeReceipt} {
		limit := maxBytes(typ)
		rest := b64.EncodedLen(len(appendHeader(nil, typ, r.signer.kid))) + len("..") + b64.EncodedLen(64)
		fits := b64.DecodedLen(limit - rest)
		raw, err := r.signer.sign(typ, bytes.Repeat([]byte(" "), fits))
		if err != nil || len(raw) > limit || len(raw) < limit-1 {
			t.Errorf("%s: %d bytes of %d, %v", typ, len(raw), limit, err)
		}
		if raw, err := r.signer.sign(typ, bytes.Repeat([]byte(" "), fits+1)); err == nil {
			t.Errorf("%s of %d bytes is signed, more than %d", typ, len(raw), limit)
		}
	}
}

// TestPartsAreCountedFirst: what is no compact JWS is told so, not that one of
// its parts is wrong.
func TestPartsAreCountedFirst(t *testing.T) {
	good := string(wireFiles(t)["all.jws"])
	for _, raw := range []string{"", "a.b", good + ".", good + ".AAAA", good + ".AAAA.AAAA"} {
		if _, _, err := newReading(t).keys.Open(DefaultFleet, []byte(raw)); err == nil || !strings.Contains(err.Error(), "not a compact JWS") {
			t.Errorf("%.20q: got %v", raw, err)
		}
	}
	for _, raw := range []string{"", "a.b", good + ".", good + ".AAAA", good + ".AAAA.AAAA", ".e30.AAAA", "e30..AAAA", ".."} {
		if _, err := ParseToken(raw); err == nil || !strings.Contains(err.Error(), "not three parts") {
			t.Errorf("%.20q as a token: got %v", raw, err)
		}
	}
}

// TestKeysInTextAreNoKeys: a string that says what a JWK says is not one.
func TestKeysInTextAreNoKeys(t *testing.T) {
	set, err := json.Marshal(newReading(t).keys)
	if err != nil {
		t.Fatal(err)
	}
	jwk := strings.TrimSuffix(strings.TrimPrefix(string(set), `{"keys":[`), `]}`)
	text, err := json.Marshal(jwk)
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range []string{`{"keys":[` + string(text) + `]}`, `{"keys":{"k":` + jwk + `}}`, `{"keys":{` + string(text) + `:` + jwk + `}}`,
		`{"keys":` + string(text) + `}`} {
		if _, err := ParseKeySet([]byte(doc)); err == nil {
			t.Errorf("%s is accepted", doc)
		}
	}
	if _, err := ParseKeySet([]byte(`{"keys":[` + jwk + `]}`)); err != nil {
		t.Error(err)
	}
}
