package intake

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
)

func TestReasonsAreReadInEnglish(t *testing.T) {
	for _, tc := range []struct {
		reason any
		want   string
	}{
		{nil, ""}, {5.0, ""}, {"text", "text"}, {map[string]any{}, ""}, {map[string]any{"en": 5.0}, ""},
		{map[string]any{"de": "Grund", "en": "reason"}, "reason"}, {map[string]any{"de": "Grund", "en-GB": "reason", "ar": "x"}, "reason"},
		{map[string]any{"fr": "raison", "de": "Grund"}, "Grund"}, {map[string]any{"en": "", "de": "Grund"}, "Grund"},
		{strings.Repeat("ä", events.MaxReasonBytes), strings.Repeat("ä", events.MaxReasonBytes/2)},
	} {
		if got := reasonOf(map[string]any{"reason_admin": tc.reason}); got != tc.want || !utf8.ValidString(got) {
			t.Errorf("%v: got %q, want %q", tc.reason, got, tc.want)
		}
	}
}

// FuzzSecurityEvent: whatever claims a transmitter signs, what is taken has a subject,
// a name and an event, and no more than one subject.
func FuzzSecurityEvent(f *testing.F) {
	dev, realms := devRealms(f)
	demo, _ := realms.Get("demo")
	from := &transmitter{realm: demo, TransmitterConfig: TransmitterConfig{Events: revokingEvents}}
	const uri = `"https://schemas.openid.net/secevent/caep/event-type/session-revoked"`
	const good = `{"jti":"j","iat":1,"sub_id":{"format":"opaque","id":"u"},"events":{` + uri + `:{}}}`
	for _, claims := range []string{good, `{"jti":"j","iat":1,"events":{` + uri + `:{"subject":{"format":"opaque","id":"u"}}}}`,
		`{"events":5}`, `{"events":{"a":[]}}`, `{"jti":"j","iat":1,"sub_id":5,"events":{"a":{"subject":5}}}`, `{"sub":"x"}`,
		`{"jti":"j","iat":1,"sub_id":null,"events":{"a":{}}}`} {
		f.Add(claims)
	}
	f.Fuzz(func(t *testing.T, text string) {
		claims := jwt.MapClaims{}
		if json.Unmarshal([]byte(text), &claims) != nil || claims == nil {
			return
		}
		claims["iss"] = "https://demo.rescind.test"
		raw, err := dev.Sign("demo", "EdDSA", "secevent+jwt", claims)
		if err != nil {
			return
		}
		st, err := realms.VerifyStatement(t.Context(), raw)
		if err != nil {
			return
		}
		e := &securityEvent{from: from, Statement: st}
		if err := e.read(); err != nil {
			if _, code := errors.AsType[*setError](err); !code || text == good {
				t.Errorf("%s: %v", text, err)
			}
			return
		}
		if _, sub := claims["sub"]; e.JTI == "" || sub || len(e.kinds) == 0 || len(e.subject) == 0 || len(e.revoking()) > len(e.kinds) {
			t.Errorf("%s is taken", text)
		}
		if _, err := readSubject(e.subject); err == nil && e.subject[0] != '{' {
			t.Errorf("subject %s", e.subject)
		}
	})
}
