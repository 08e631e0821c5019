package events_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
)

func TestStatementsAreRead(t *testing.T) {
	raw := b64([]byte(`{"alg":"RS256","typ":"application/Logout+JWT"}`)) + "." + b64([]byte(`{"iss":"https://idp","sub":"ann",
		"aud":["a","b"],"iat":100.9,"nbf":100.1,"exp":220,"jti":"j","Nonce":1,
		"events":{"http://schemas.openid.net/event/backchannel-logout":{},"revoke_offline_access":true}}`)) + "." + b64([]byte("s"))
	got, err := events.ParseStatement(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := &events.Statement{Type: "logout+jwt", Issuer: "https://idp", Subject: "ann", JTI: "j", Audience: []string{"a", "b"},
		IssuedAt: 100, NotBefore: 101, Expires: 220, Claims: map[string]any{"iss": "https://idp", "sub": "ann", "aud": []any{"a", "b"},
			"iat": 100.9, "nbf": 100.1, "exp": 220.0, "jti": "j", "Nonce": 1.0,
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}, "revoke_offline_access": true}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	got, err = events.ParseStatement(jwtOf(`{"aud":"one"}`))
	if err != nil || got.Type != "at+jwt" || !cmp.Equal(got.Audience, []string{"one"}) || got.Issuer != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestStatementsAreReadStrictly(t *testing.T) {
	for _, raw := range []string{"", "a.b", jwtOf(`[]`), jwtOf(`{"iss":"i"} {}`), jwtOf(`{"iss":"i"`),
		jwtOf(`{"iss":"i","iss":"j"}`), jwtOf(`{"events":{"a":{"b":1,"b":2}}}`), jwtOf(`{"a":[{"b":1,"\u0062":2}]}`),
		jwtOf(`{"iss":null}`), jwtOf(`{"sub":5}`), jwtOf(`{"jti":{}}`), jwtOf(`{"aud":null}`), jwtOf(`{"aud":5}`), jwtOf(`{"aud":["a",null]}`),
		jwtOf(`{"exp":"1"}`), jwtOf(`{"iat":-1}`), jwtOf(`{"nbf":1e300}`), jwtOf(`{"sub":"\ud800"}`),
		b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{}`)) + ".", b64([]byte(`{"alg":"RS256","crit":["x"]}`)) + "." + b64([]byte(`{}`)) + ".AAAA"} {
		s, err := events.ParseStatement(raw)
		if !errors.Is(err, events.ErrMalformedToken) || s != nil {
			t.Errorf("%s: %+v, %v", raw, s, err)
			continue
		}
		checkWords(t, err)
	}
}

func FuzzParseStatement(f *testing.F) {
	for _, claims := range []string{`{}`, `{"iss":"i","aud":["a"],"events":{"e":{}}}`, `{"a":{"b":[{"c":1}]}}`, `{"a":[{"b":1,"b":2}]}`, `{"aud":[[]]}`} {
		f.Add(claims)
	}
	f.Fuzz(func(t *testing.T, claims string) {
		s, err := events.ParseStatement(jwtOf(claims))
		if err != nil {
			checkWords(t, err)
			return
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(claims), &want); err != nil || !cmp.Equal(want, s.Claims) {
			t.Errorf("claims %v, encoding/json has %v, %v", s.Claims, want, err)
		}
		for name, got := range map[string]string{"iss": s.Issuer, "sub": s.Subject, "jti": s.JTI} {
			if text, _ := want[name].(string); text != got {
				t.Errorf("%s is %q, encoding/json has %q", name, got, text)
			}
		}
	})
}
