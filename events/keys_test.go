package events_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
)

// The members of a usable key, in which one is replaced or to which one is added.
func jwkWith(change map[string]any) map[string]any {
	k := map[string]any{"kty": "OKP", "crv": "Ed25519", "x": "vQtT6zAEzDSk6kNL-jc06Az2sfF2A_kF2zUHv1VQvBA",
		"rescind_publisher": "p"}
	for name, v := range change {
		if k[name] = v; v == nil {
			delete(k, name)
		}
	}
	return k
}

func jwksOf(t *testing.T, keys ...map[string]any) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKeySetsWithOtherThanBoundPublicKeysAreRefused(t *testing.T) {
	const d = "a_gh0fswInSskQ_g3LCHcqVq7DWEWJcqZ3ur-BybpHU"
	for name, change := range map[string]map[string]any{
		"a private key":              {"d": d},
		"no publisher":               {"rescind_publisher": nil},
		"empty publisher":            {"rescind_publisher": ""},
		"publisher is a number":      {"rescind_publisher": 5},
		"publisher with a dot":       {"rescind_publisher": "a.b"},
		"publisher in other case":    {"rescind_publisher": nil, "Rescind_Publisher": "p"},
		"two publishers":             {"RESCIND_PUBLISHER": "q"},
		"unknown kind":               {"rescind_kinds": []string{"user", "tokenz"}},
		"kinds is a string":          {"rescind_kinds": "user"},
		"kinds is null":              {"rescind_kinds": json.RawMessage("null")},
		"kinds is empty":             {"rescind_kinds": []string{}},
		"kinds misspelt":             {"rescind_kind": []string{"user"}},
		"kinds in other case":        {"Rescind_kinds": []string{"user"}},
		"another curve":              {"crv": "X25519"},
		"another kty":                {"kty": "EC"},
		"no kty":                     {"kty": nil},
		"a symmetric key":            {"kty": "oct", "k": "AAAA"},
		"an RSA key":                 {"kty": "RSA", "n": strings.Repeat("q", 342), "e": "AQAB"},
		"an EC key":                  {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
		"no x":                       {"x": nil},
		"x too short":                {"x": "vQtT6zAEzDSk6kNL"},
		"x too long":                 {"x": "vQtT6zAEzDSk6kNL-jc06Az2sfF2A_kF2zUHv1VQvBAAAA"},
		"x of small order":           {"x": strings.Repeat("A", 43)},
		"a key for encryption":       {"use": "enc"},
		"private key of another key": {"d": strings.Repeat("A", 43)},
	} {
		if set, err := events.ParseKeySet(jwksOf(t, jwkWith(nil), jwkWith(change))); err == nil {
			t.Errorf("%s: accepted, %d keys", name, set.Len())
		}
		// Alone as well, where it is no duplicate of a good one.
		if set, err := events.ParseKeySet(jwksOf(t, jwkWith(change))); err == nil {
			t.Errorf("%s alone: accepted, %d keys", name, set.Len())
		} else if strings.Contains(err.Error(), d) {
			t.Errorf("%s: the error shows the private key", name)
		}
	}
}

func TestKeySetsThatAreNoneAreRefused(t *testing.T) {
	good := string(jwksOf(t, jwkWith(nil)))
	key := good[len(`{"keys":[`) : len(good)-2]
	for _, doc := range []string{"", "null", "[]", "{}", `"x"`, `{"keys":null}`, `{"keys":[]}`, `{"keys":{}}`, `{"keys":[null]}`,
		`{"keys":["x"]}`, `{"Keys":[` + key + `]}`, `{"keys":[` + key + `],"keys":[` + key + `]}`, good + "x", good + good,
		`{"keys":[` + key[:len(key)-1] + `,"rescind_publisher":"q"}]}`} {
		if set, err := events.ParseKeySet([]byte(doc)); err == nil {
			t.Errorf("%s: accepted, %d keys", doc, set.Len())
		}
	}
}

// TestOneKeyHasOneBound: of two entries of one key either would be the bound.
func TestOneKeyHasOneBound(t *testing.T) {
	if _, err := events.ParseKeySet(jwksOf(t, jwkWith(nil), jwkWith(map[string]any{"rescind_publisher": "q"}))); err == nil {
		t.Error("one key of two publishers is accepted")
	}
}

func TestKeySetsSurviveTheirOwnJSON(t *testing.T) {
	a, b := newSigner(t, "a"), newSigner(t, "b", events.KindToken, events.KindTokens)
	set := events.NewKeySet(b.Public(), a.Public())
	doc, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	got, err := events.ParseKeySet(doc)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(set.All(), got.All()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Len() != 2 || !got.Has(a.Public().ID) || !got.Has(b.Public().ID) || got.Has("x") {
		t.Errorf("got %d keys", got.Len())
	}
	if all := got.All(); all[0].ID >= all[1].ID {
		t.Error("the keys are not in the order of their ids")
	}
	if same, err := got.Keys(context.Background()); err != nil || same != got {
		t.Errorf("Keys: got %v, %v, want the set itself", same, err)
	}
	if empty, err := json.Marshal(events.NewKeySet()); err != nil || string(empty) != `{"keys":[]}` {
		t.Errorf("empty set: got %s, %v", empty, err)
	}
}

func TestKeyIDsAreThumbprints(t *testing.T) {
	// The kid in a file is not believed: RFC 7638 gives it.
	set, err := events.ParseKeySet(jwksOf(t, jwkWith(map[string]any{"kid": "mine"})))
	if err != nil {
		t.Fatal(err)
	}
	if want := "rbdMOE_RF8wj5uSMgNLEDFlP2CGMtThAA7uxK-wkT_Q"; !set.Has(want) || set.Has("mine") {
		t.Errorf("got %s, want %s", set.All()[0].ID, want)
	}
}

func newSigner(t testing.TB, publisher string, kinds ...events.Kind) *events.Signer {
	t.Helper()
	s, err := events.NewSigner(publisher, kinds...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSignersSurviveTheirFile(t *testing.T) {
	want := newSigner(t, "p", events.KindUser)
	file, err := want.PrivateJWK()
	if err != nil {
		t.Fatal(err)
	}
	got, err := events.ParseSigner(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Public(), got.Public()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r := baseRevocation(t)
	r.Origin.Publisher = "p"
	if diff := cmp.Diff(mustSign(t, want, r), mustSign(t, got, r)); diff != "" {
		t.Errorf("the same key signs otherwise:\n%s", diff)
	}
}

func TestSignersDoNotShareTheCallersKinds(t *testing.T) {
	kinds := []events.Kind{events.KindToken}
	s := newSigner(t, "p", kinds...)
	kinds[0] = events.KindAll
	if got := s.Public().Kinds[0]; got != events.KindToken {
		t.Errorf("got %s, want token", got)
	}
	if _, err := events.NewSigner("p", "tokenz"); err == nil {
		t.Error("a key for an unknown kind is made")
	}
}

func TestFilesThatAreNoSignerAreRefused(t *testing.T) {
	const d = "a_gh0fswInSskQ_g3LCHcqVq7DWEWJcqZ3ur-BybpHU"
	for name, doc := range map[string]any{
		"nothing":               nil,
		"a public key":          jwkWith(nil),
		"no publisher":          jwkWith(map[string]any{"d": d, "rescind_publisher": nil}),
		"publisher is a number": jwkWith(map[string]any{"d": d, "rescind_publisher": 5}),
		"unknown kind":          jwkWith(map[string]any{"d": d, "rescind_kinds": []string{"tokenz"}}),
		"kinds misspelt":        jwkWith(map[string]any{"d": d, "rescind_kind": []string{"token"}}),
		"kinds is empty":        jwkWith(map[string]any{"d": d, "rescind_kinds": []string{}}),
		"kinds is text":         jwkWith(map[string]any{"d": d, "rescind_kinds": "token"}),
		"another key's d":       jwkWith(map[string]any{"d": strings.Repeat("A", 43)}),
		"d too short":           jwkWith(map[string]any{"d": "AAAA"}),
		"a symmetric key":       map[string]any{"kty": "oct", "k": d, "rescind_publisher": "p"},
	} {
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := events.ParseSigner(b); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), d) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
	for _, doc := range []string{"", d, "-----BEGIN PRIVATE KEY-----\n" + d} {
		if _, err := events.ParseSigner([]byte(doc)); err == nil || strings.Contains(err.Error(), d) {
			t.Errorf("%q: got %v", doc, err)
		}
	}
}

// TestSignersNeverShowTheirKey prints signers in every way that a log line or a
// debugging print may take.
func TestSignersNeverShowTheirKey(t *testing.T) {
	s := testSigner(t)
	seed, err := base64.RawURLEncoding.DecodeString("a_gh0fswInSskQ_g3LCHcqVq7DWEWJcqZ3ur-BybpHU")
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		Pointer *events.Signer
		Value   events.Signer
		pointer *events.Signer
		value   events.Signer
		Any     any
		Map     map[string]events.Signer
		Slice   []events.Signer
	}
	h := holder{s, *s, s, *s, *s, map[string]events.Signer{"k": *s}, []events.Signer{*s}}
	var out bytes.Buffer
	for _, v := range []any{s, *s, &s, h, &h, []*events.Signer{s}, []any{*s, s}, map[string]any{"s": *s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%t", "%p"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(handler).Info("m", "signer", v, slog.Group("g", "signer", v))
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info(fmt.Sprint(v))
		fmt.Fprintln(&out, fmt.Errorf("signing with %v", v))
		fmt.Fprintln(&out, cmp.Diff(v, nil, cmp.AllowUnexported(holder{}, events.Signer{})))
	}
	got := out.String()
	private := ed25519.NewKeyFromSeed(seed)
	for name, form := range map[string]string{
		"base64url": base64.RawURLEncoding.EncodeToString(seed),
		"base64":    base64.StdEncoding.EncodeToString(private),
		"hex":       hex.EncodeToString(seed),
		"HEX":       strings.ToUpper(hex.EncodeToString(seed)),
		"decimal":   strings.Trim(fmt.Sprintf("%d", seed[:8]), "[]"),
		"JSON list": strings.ReplaceAll(strings.Trim(fmt.Sprintf("%d", seed[:8]), "[]"), " ", ","),
		"Go syntax": strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", seed[:8]), "[]byte{"), "}"),
		"octal":     strings.Trim(fmt.Sprintf("%o", seed[:8]), "[]"),
		"binary":    strings.Trim(fmt.Sprintf("%b", seed[:8]), "[]"),
		"raw":       string(seed),
		"quoted":    strings.Trim(fmt.Sprintf("%q", string(seed)), `"`),
	} {
		if i := strings.Index(got, form); i >= 0 {
			t.Errorf("the private key is shown in %s: …%.200s", name, got[max(0, i-100):])
		}
	}
	for verb, want := range map[string]string{"%v": "signer " + s.Public().ID, "%#v": "signer " + s.Public().ID} {
		if got := fmt.Sprintf(verb, s); got != want {
			t.Errorf("%s: got %s, want %s", verb, got, want)
		}
		if got := fmt.Sprintf(verb, *s); got != want {
			t.Errorf("%s of the value: got %s, want %s", verb, got, want)
		}
	}
	if got, err := json.Marshal(*s); err != nil || string(got) != `"signer `+s.Public().ID+`"` {
		t.Errorf("JSON: got %s, %v", got, err)
	}
}
