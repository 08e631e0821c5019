package events_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rescind/rescind/events"
)

func TestTokenHoldsWhatItsClaimsSay(t *testing.T) {
	raw := jwtOf(`{"iss":"` + mainIs + `","jti":"j","sub":"u","sid":"s","iat":1795302000,"auth_time":1795300000,` +
		`"exp":1795305600,"aud":["a"],"scope":"read","n":5,"deep":{"sub":"other"},"nil":null}`)
	tok := mustParse(t, raw)
	type shown struct {
		Identity                    events.Identity
		Issuer, JTI                 string
		IssuedAt, AuthTime, Expires int64
		IssuerKey                   events.Key
		Claims                      []events.Key
	}
	got := shown{tok.Identity, tok.Issuer, tok.JTI, tok.IssuedAt, tok.AuthTime, tok.Expires, tok.IssuerKey(), tok.ClaimKeys()}
	want := shown{events.JTIIdentity(mainIs, "j"), mainIs, "j", 1795302000, 1795300000, 1795305600, events.IssuerKey(mainIs),
		[]events.Key{events.ClaimKey("iss", mainIs), events.ClaimKey("jti", "j"), events.ClaimKey("scope", "read"),
			events.ClaimKey("sid", "s"), events.ClaimKey("sub", "u")}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, name := range []string{"n", "deep", "nil", "aud", "Sub", "SUB", "\u017fub", ""} {
		if _, ok := tok.Claim(name); ok {
			t.Errorf("claim %q: there is none", name)
		}
	}
	if key, ok := tok.Claim("sub"); !ok || key != events.ClaimKey("sub", "u") {
		t.Error("claim sub is missing")
	}
}

// TestClaimNamesAreReadToTheLetter is the table of what encoding/json would read
// otherwise.
func TestClaimNamesAreReadToTheLetter(t *testing.T) {
	for _, c := range []struct {
		name, claims string
		jti          string
		sub          string
		iat          int64
	}{
		{"JTI beside jti", `{"iss":"i","jti":"a","JTI":"b"}`, "a", "", 0},
		{"JTI alone", `{"iss":"i","JTI":"b"}`, "", "", 0},
		{"Sub beside sub, IAT beside iat", `{"iss":"i","sub":"u1","Sub":"evil","iat":1700000000,"IAT":9999999999}`, "", "u1", 1700000000},
		{"U+017F for s", "{\"iss\":\"i\",\"\u017fub\":\"x\"}", "", "", 0},
		{"escaped U+017F for s", `{"iss":"i","\u017fub":"x"}`, "", "", 0},
		{"an escaped name is the name", `{"iss":"i","\u006ati":"a"}`, "a", "", 0},
		{"a NUL is not the end", `{"iss":"i","jti":"a\u0000b","sub":"u\u0000"}`, "a\x00b", "u\x00", 0},
		{"jti is a number", `{"iss":"i","jti":5}`, "", "", 0},
		{"jti is null", `{"iss":"i","jti":null}`, "", "", 0},
		{"jti is empty", `{"iss":"i","jti":""}`, "", "", 0},
		{"a whole surrogate pair", `{"iss":"i","jti":"\ud83d\ude00"}`, "\U0001F600", "", 0},
		{"an escaped backslash before u", `{"iss":"i","jti":"\\ud800"}`, `\ud800`, "", 0},
		{"U+FFFD itself", `{"iss":"i","jti":"\ufffd"}`, "\ufffd", "", 0},
		{"names within are not claims", `{"iss":"i","act":{"jti":"a","jti":"b"}}`, "", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := jwtOf(c.claims)
			tok := mustParse(t, raw)
			if tok.JTI != c.jti || tok.IssuedAt != c.iat {
				t.Errorf("got jti %q, iat %d, want %q, %d", tok.JTI, tok.IssuedAt, c.jti, c.iat)
			}
			key, ok := tok.Claim("sub")
			if ok != (c.sub != "") || ok && key != events.ClaimKey("sub", c.sub) {
				t.Errorf("sub is not %q", c.sub)
			}
			want := events.SignedIdentity(raw[:strings.LastIndexByte(raw, '.')])
			if c.jti != "" {
				want = events.JTIIdentity("i", c.jti)
			}
			if tok.Identity != want {
				t.Error("the identity does not rest on the jti read")
			}
		})
	}
}

func TestIdentityRestsOnJTIOnlyWithAnIssuer(t *testing.T) {
	for _, claims := range []string{`{"jti":"a"}`, `{"iss":"","jti":"a"}`} {
		raw := jwtOf(claims)
		if tok := mustParse(t, raw); tok.Identity != events.SignedIdentity(raw[:strings.LastIndexByte(raw, '.')]) {
			t.Errorf("%s: identity rests on a jti without an issuer", claims)
		}
	}
}

// TestEncodingTricksNeverMergeTokens has payloads in which a lax reader sees
// U+FFFD, and so one jti in all of them.
func TestEncodingTricksNeverMergeTokens(t *testing.T) {
	for _, jti := range []string{`\ud800`, `\ud83d\nde00`, `\ud83dXude00`, `\ud83d\\ude00`, `\udfff`, `\udc00\ud800`, `\ud800\ud800`, `\ud800x`, `\ud83d\u0041`, `\uD83D\n`,
		`\\\ud800`, "\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80"} {
		for _, claims := range []string{`{"iss":"i","jti":"` + jti + `"}`, `{"iss":"` + jti + `","jti":"j"}`,
			`{"iss":"i","jti":"j","` + jti + `":1}`, `{"iss":"i","jti":"j","x":[{"y":"` + jti + `"}]}`,
			// At an odd offset as well as at an even one.
			`{"iss":"i","jti":"a` + jti + `"}`, `{"iss":"i","jti":"
` + jti + `"}`} {
			if _, err := events.ParseToken(jwtOf(claims)); !errors.Is(err, events.ErrMalformedToken) {
				t.Errorf("%q: got %v, want ErrMalformedToken", claims, err)
			}
		}
	}
}

func TestTimesAreWholeSecondsRoundedTowardsRefusing(t *testing.T) {
	for _, c := range []struct {
		value         string
		iat, exp      int64
		neverAccepted bool
	}{
		{value: "1700000000", iat: 1700000000, exp: 1700000000},
		{value: "1700000000.987", iat: 1700000000, exp: 1700000001},
		{value: "1.7e9", iat: 1700000000, exp: 1700000000},
		{value: "17E8", iat: 1700000000, exp: 1700000000},
		{value: "0", iat: 0, exp: 0},
		{value: "-0", iat: 0, exp: 0},
		{value: "-0.0", iat: 0, exp: 0},
		{value: "0.5", iat: 0, exp: 1},
		{value: "1e-5", iat: 0, exp: 1},
		{value: "9007199254740991", iat: 1<<53 - 1, exp: 1<<53 - 1},
		{value: "9007199254740992", neverAccepted: true},
		{value: "9007199254740992.0", neverAccepted: true},
		{value: "9223372036854775808", neverAccepted: true},
		{value: "-9223372036854775809", neverAccepted: true},
		{value: "1e300", neverAccepted: true},
		{value: "1e400", neverAccepted: true},
		{value: "1e99999999999", neverAccepted: true},
		{value: "-1e99999999999", neverAccepted: true},
		{value: "-1", neverAccepted: true},
		{value: "-0.1", neverAccepted: true},
		{value: `"1700000000"`, neverAccepted: true},
		{value: `"x"`, neverAccepted: true},
		{value: "null", neverAccepted: true},
		{value: "true", neverAccepted: true},
		{value: "[1700000000]", neverAccepted: true},
		{value: "{}", neverAccepted: true},
		{value: "01700000000", neverAccepted: true},
		{value: "+1700000000", neverAccepted: true},
		{value: "0x65", neverAccepted: true},
		{value: "1_000", neverAccepted: true},
		{value: "NaN", neverAccepted: true},
		{value: "Infinity", neverAccepted: true},
		{value: "1.", neverAccepted: true},
		{value: ".5", neverAccepted: true},
	} {
		for _, name := range []string{"iat", "auth_time", "exp"} {
			tok, err := events.ParseToken(jwtOf(`{"iss":"i","` + name + `":` + c.value + `}`))
			if c.neverAccepted {
				if !errors.Is(err, events.ErrMalformedToken) {
					t.Errorf("%s %s: got %v, want ErrMalformedToken", name, c.value, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s %s: %v", name, c.value, err)
				continue
			}
			got := map[string]int64{"iat": tok.IssuedAt, "auth_time": tok.AuthTime, "exp": tok.Expires}
			want := map[string]int64{"iat": 0, "auth_time": 0, "exp": 0, name: c.iat}
			if name == "exp" {
				want["exp"] = c.exp
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s %s (-want +got):\n%s", name, c.value, diff)
			}
		}
	}
}

func TestMalformedTokensAreRefused(t *testing.T) {
	header, payload, sig := b64([]byte(`{"alg":"ES256"}`)), b64([]byte(`{"iss":"i","jti":"j"}`)), b64([]byte("sig"))
	good := header + "." + payload + "." + sig
	mustParse(t, good)
	for name, raw := range map[string]string{
		"empty":                      "",
		"two parts":                  header + "." + payload,
		"four parts":                 good + ".",
		"four parts, one empty":      "." + good,
		"JWE of five parts":          b64([]byte(`{"alg":"RSA-OAEP","enc":"A256GCM"}`)) + ".a2V5.aXY.Y2lwaGVy.dGFn",
		"empty header":               "." + payload + "." + sig,
		"empty payload":              header + ".." + sig,
		"padding on the header":      header + "=." + payload + "." + sig,
		"padding on the payload":     header + "." + payload + "=." + sig,
		"padding on the signature":   good + "==",
		"space before":               " " + good,
		"space behind":               good + " ",
		"tab in the payload":         header + "." + payload[:4] + "\t" + payload[4:] + "." + sig,
		"LF in the header":           header[:4] + "\n" + header[4:] + "." + payload + "." + sig,
		"CR in the header":           header[:4] + "\r" + header[4:] + "." + payload + "." + sig,
		"LF in the payload":          header + "." + payload[:4] + "\n" + payload[4:] + "." + sig,
		"CR in the payload":          header + "." + payload[:4] + "\r" + payload[4:] + "." + sig,
		"LF in the signature":        header + "." + payload + "." + sig[:2] + "\n" + sig[2:],
		"CR in the signature":        header + "." + payload + "." + sig[:2] + "\r" + sig[2:],
		"spare bits in the header":   b64([]byte(`{"alg":"ES25"}`))[:18] + "R." + payload + "." + sig,
		"spare bits in the payload":  header + ".e31." + sig,
		"standard alphabet":          header + "." + payload + ".+/+/",
		"Bearer before":              "Bearer " + good,
		"header is not JSON":         b64([]byte("alg")) + "." + payload + "." + sig,
		"header is an array":         b64([]byte("[]")) + "." + payload + "." + sig,
		"header is null":             b64([]byte("null")) + "." + payload + "." + sig,
		"payload is a string":        header + "." + b64([]byte(`"x"`)) + "." + sig,
		"payload is null":            header + "." + b64([]byte("null")) + "." + sig,
		"payload with a tail":        header + "." + b64([]byte("{}{}")) + "." + sig,
		"payload with a text tail":   header + "." + b64([]byte("{} x")) + "." + sig,
		"payload cut off":            header + "." + b64([]byte(`{"a":1`)) + "." + sig,
		"payload cut off in a name":  header + "." + b64([]byte(`{"a`)) + "." + sig,
		"payload with a stray comma": header + "." + b64([]byte(`{"a":1,}`)) + "." + sig,
		"payload with a number name": header + "." + b64([]byte(`{1:1}`)) + "." + sig,
		"payload with a BOM":         header + "." + b64([]byte("\ufeff{}")) + "." + sig,
		"payload of one space":       header + "." + b64([]byte(" ")) + "." + sig,
		"payload closed wrongly":     header + "." + b64([]byte(`{"a":1]`)) + "." + sig,
		"half an escape":             header + "." + b64([]byte(`{"a":"\u`)) + "." + sig,
		"three digits of an escape":  header + "." + b64([]byte(`{"a":"\ud80`)) + "." + sig,
		"half a pair at the end":     header + "." + b64([]byte(`{"a":"\ud83d`)) + "." + sig,
		"backslash at the end":       header + "." + b64([]byte(`{"a":"\`)) + "." + sig,
		"pair and a half escape":     header + "." + b64([]byte(`{"a":"\ud83d\ude`)) + "." + sig,
		"nesting of 10,000":          header + "." + b64([]byte(`{"a":`+strings.Repeat("[", 10_000))) + "." + sig,
	} {
		checkRefusal(t, name, raw, events.ErrMalformedToken)
	}
}

func TestHeadersThatChangeTheMeaningAreRefused(t *testing.T) {
	for _, h := range []string{`{}`, `{"alg":""}`, `{"alg":"none"}`, `{"alg":"None"}`, `{"alg":"NONE"}`, `{"alg":"nOnE"}`,
		`{"alg":5}`, `{"alg":null}`, `{"alg":["ES256"]}`, `{"Alg":"ES256"}`, `{"alg":"none","alg":"ES256"}`,
		`{"alg":"ES256","alg":"ES256"}`, `{"alg":"ES256","\u0061lg":"ES256"}`,
		`{"alg":"ES256","crit":["exp"],"exp":1}`, `{"alg":"ES256","crit":[]}`, `{"alg":"ES256","crit":null}`,
		`{"alg":"ES256","b64":false}`, `{"alg":"ES256","b64":true}`, `{"alg":"ES256","b64":false,"crit":["b64"]}`,
		`{"alg":"ES256","typ":5}`, `{"alg":"ES256","typ":null}`, `{"alg":"ES256","typ":["JWT"]}`} {
		checkRefusal(t, h, b64([]byte(h))+"."+b64([]byte(`{"iss":"i"}`))+".c2ln", events.ErrMalformedToken)
	}
}

func TestOtherJWTsAreNotAccessTokens(t *testing.T) {
	for _, typ := range []string{"secevent+jwt", "logout+jwt", "statuslist+jwt", "global-token-revocation+jwt", "client-authentication+jwt",
		"rescind-beacon+jwt", "rescind-query+jwt", "rescind-receipt+jwt", "rescind-refusal+jwt"} {
		for _, spelled := range []string{typ, strings.ToUpper(typ), strings.ToUpper(typ[:1]) + typ[1:], "application/" + typ,
			"Application/" + typ, "APPLICATION/" + strings.ToUpper(typ)} {
			raw := b64([]byte(`{"alg":"ES256","typ":"`+spelled+`"}`)) + "." + b64([]byte(`{"iss":"i"}`)) + ".c2ln"
			checkRefusal(t, spelled, raw, events.ErrNotAccessToken)
		}
	}
	for _, claims := range []string{`{"events":{}}`, `{"events":null}`, `{"\u0065vents":1,"iss":"i","jti":"j"}`} {
		checkRefusal(t, claims, jwtOf(claims), events.ErrNotAccessToken)
	}
	for _, r := range sampleRevocations(t) {
		checkRefusal(t, "an event", string(mustSign(t, testSigner(t), r)), events.ErrNotAccessToken)
	}
	for _, typ := range []string{"JWT", "jwt", "at+jwt", "application/at+jwt", "", "dpop+jwt"} {
		mustParse(t, b64([]byte(`{"alg":"ES256","typ":"`+typ+`"}`))+"."+b64([]byte(`{"iss":"i"}`))+".c2ln")
	}
}

func TestClaimsThatEvadeRulesAreRefused(t *testing.T) {
	for _, claims := range []string{
		`{"jti":"a","jti":"b"}`, `{"jti":"a","\u006ati":"b"}`, `{"x":1,"x":1}`, `{"":1,"":2}`,
		`{"iss":5}`, `{"iss":null}`, `{"iss":["i"]}`, `{"sub":5}`, `{"sub":null}`, `{"sub":{"id":"u"}}`,
		`{"sid":5}`, `{"sid":null}`, `{"sid":["s"]}`,
	} {
		checkRefusal(t, claims, jwtOf(claims), events.ErrMalformedToken)
	}
}

func checkRefusal(t *testing.T, name, raw string, want error) {
	t.Helper()
	tok, err := events.ParseToken(raw)
	if !errors.Is(err, want) || tok != nil {
		t.Errorf("%s: got %v, %v, want %v", name, tok, err, want)
	}
}

func TestLongTokensAreRefused(t *testing.T) {
	head, tail := b64([]byte(`{"alg":"ES256"}`))+"."+b64([]byte(`{"iss":"i"}`))+".", ""
	for len(head)+len(tail) < events.MaxTokenBytes {
		tail += "AAAA"
	}
	// A multiple of four characters has no spare bits.
	fits := head + tail[:(events.MaxTokenBytes-len(head))/4*4]
	mustParse(t, fits)
	checkRefusal(t, "longer than the limit", fits+strings.Repeat("AAAA", 2), events.ErrMalformedToken)
	if _, err := events.OpaqueToken(strings.Repeat("x", events.MaxTokenBytes)); err != nil {
		t.Error(err)
	}
	for _, raw := range []string{"", strings.Repeat("x", events.MaxTokenBytes+1)} {
		if _, err := events.OpaqueToken(raw); !errors.Is(err, events.ErrMalformedToken) {
			t.Errorf("opaque token of %d bytes: got %v, want ErrMalformedToken", len(raw), err)
		}
	}
}

func TestRefusalsNeverShowTheToken(t *testing.T) {
	const secret = "5ecret-canary"
	for _, raw := range []string{secret, secret + ".e30.e30", "e30." + secret + ".", b64([]byte(secret)) + ".e30.",
		jwtOf(secret), jwtOf(`{"` + secret + `":1,"` + secret + `":1}`), jwtOf(`{"iat":"` + secret + `"}`),
		jwtOf(`{"iss":["` + secret + `"]}`), b64([]byte(`{"alg":"ES256","typ":["`+secret+`"]}`)) + ".e30.",
		b64([]byte(`{"alg":"none","typ":"`+secret+`"}`)) + ".e30."} {
		_, err := events.ParseToken(raw)
		if err == nil {
			t.Errorf("%s: accepted", raw)
		} else if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), b64([]byte(secret))) {
			t.Errorf("the error shows the token: %v", err)
		}
	}
}

func TestLooksLikeJWTCountsDots(t *testing.T) {
	for raw, want := range map[string]bool{"a.b.c": true, "..": true, "a.b": false, "a": false, "": false, "a.b.c.d.e": false} {
		if got := events.LooksLikeJWT(raw); got != want {
			t.Errorf("%q: got %v, want %v", raw, got, want)
		}
	}
}

func TestOpaqueTokenIsItsBytesAndNothingElse(t *testing.T) {
	tok, err := events.OpaqueToken("tGzv3JOkF0XG5Qx2TlKWIA")
	if err != nil {
		t.Fatal(err)
	}
	if want := events.OpaqueIdentity("tGzv3JOkF0XG5Qx2TlKWIA"); tok.Identity != want {
		t.Errorf("got %s, want %s", tok.Identity, want)
	}
	if tok.IssuerKey() != events.IssuerKey("") || len(tok.ClaimKeys()) != 0 {
		t.Error("an opaque token has an issuer or claims")
	}
}

func TestExpiredAtExp(t *testing.T) {
	now := time.Unix(signedAt, 0)
	for exp, want := range map[int64]bool{0: false, signedAt - 1: true, signedAt: true, signedAt + 1: false} {
		if got := (&events.Token{Expires: exp}).Expired(now); got != want {
			t.Errorf("exp %d: got %v, want %v", exp, got, want)
		}
	}
}

func TestClaimsReadLikeTheTokenTheyCameFrom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		claims := map[string]any{"iss": rapid.StringN(1, 20, -1).Draw(t, "iss"), "jti": rapid.StringN(1, 20, -1).Draw(t, "jti"),
			"iat": rapid.Float64Range(0, 1e10).Draw(t, "iat"), "exp": rapid.Int64Range(0, 1e10).Draw(t, "exp"),
			rapid.StringMatching(`x[a-zA-Z]{0,4}`).Draw(t, "name"): rapid.String().Draw(t, "value"), "n": nil}
		payload, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		want, err := events.ParseToken(jwtOf(string(payload)))
		if err != nil {
			t.Fatal(err)
		}
		// As golang-jwt would have them.
		parsed, _, err := jwt.NewParser().ParseUnverified(jwtOf(string(payload)), jwt.MapClaims{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := events.TokenFromClaims(parsed.Claims.(jwt.MapClaims))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fmt.Sprintf("%+v", *want), fmt.Sprintf("%+v", *got)); diff != "" {
			t.Errorf("(-parsed +from claims):\n%s", diff)
		}
	})
}

func TestClaimsWithoutAnIdentityAreRefused(t *testing.T) {
	for name, claims := range map[string]map[string]any{
		"nil":            nil,
		"no jti":         {"iss": "i"},
		"no iss":         {"jti": "j"},
		"jti is number":  {"iss": "i", "jti": 5.0},
		"iss is number":  {"iss": 5.0, "jti": "j"},
		"iat is string":  {"iss": "i", "jti": "j", "iat": "1700000000"},
		"iat is 1e300":   {"iss": "i", "jti": "j", "iat": 1e300},
		"not encodable":  {"iss": "i", "jti": "j", "f": func() {}},
		"invalid number": {"iss": "i", "jti": "j", "iat": json.Number("x")},
	} {
		if tok, err := events.TokenFromClaims(claims); !errors.Is(err, events.ErrMalformedToken) {
			t.Errorf("%s: got %v, %v, want ErrMalformedToken", name, tok, err)
		}
	}
	if _, err := events.TokenFromClaims(map[string]any{"iss": "i", "jti": "j", "events": 1}); !errors.Is(err, events.ErrNotAccessToken) {
		t.Errorf("events: got %v, want ErrNotAccessToken", err)
	}
}

func TestIdentityIsIndependentOfTheSignature(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		claims := `{"iss":"i"}`
		if rapid.Bool().Draw(t, "with jti") {
			claims = `{"iss":"i","jti":"j"}`
		}
		head := b64([]byte(`{"alg":"ES256"}`)) + "." + b64([]byte(claims)) + "."
		a, err := events.ParseToken(head + b64(rapid.SliceOf(rapid.Byte()).Draw(t, "a")))
		if err != nil {
			t.Fatal(err)
		}
		b, err := events.ParseToken(head + b64(rapid.SliceOf(rapid.Byte()).Draw(t, "b")))
		if err != nil {
			t.Fatal(err)
		}
		if a.Identity != b.Identity {
			t.Error("two signatures, two identities")
		}
	})
}

// Names are compared by their length and beginning first; a claim must not be
// found under the name of another that shares them.
func TestClaimsAreFoundByTheirWholeName(t *testing.T) {
	zeros := `\u0000\u0000\u0000\u0000`
	names := []string{"sub", "suc", "su", "sub" + zeros, "sub" + zeros + strings.Repeat("x", 252), "preferred_username",
		"preferred_user_name", "preferred_usernames", "", strings.Repeat("n", 300), strings.Repeat("n", 299) + "m"}
	for i, name := range names {
		tok, err := events.ParseToken(jwtOf(`{"` + name + `":"v"}`))
		if err != nil {
			t.Fatal(err)
		}
		for j, other := range names {
			if _, ok := tok.Claim(strings.ReplaceAll(other, `\u0000`, "\x00")); ok != (i == j) {
				t.Errorf("token with %.20q: Claim(%.20q) = %v", name, other, ok)
			}
		}
	}
}
