package intake

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
)

// FuzzLogoutClaims: whatever claims an issuer signs, what is taken names somebody of
// its own realm.
func FuzzLogoutClaims(f *testing.F) {
	dev, realms := devRealms(f)
	for _, more := range []string{`{"sid":"s"}`, `{"sub":"u"}`, `{"sub":"u","sid":"s","nonce":1}`, `{"events":{}}`, `{"sub":"u","iat":9e9}`, `{"aud":[]}`, `{"sid":{}}`} {
		f.Add(more)
	}
	f.Fuzz(func(t *testing.T, more string) {
		now := time.Now().Unix()
		claims := jwt.MapClaims{"aud": "a", "jti": "j", "iat": now, "exp": now + 60, "events": map[string]any{logoutEvent: map[string]any{}}}
		if json.Unmarshal([]byte(more), &claims) != nil || claims == nil {
			return
		}
		claims["iss"] = "https://demo.rescind.test"
		raw, err := dev.Sign("demo", "EdDSA", "logout+jwt", claims)
		if err != nil {
			return
		}
		s, err := realms.VerifyStatement(t.Context(), raw)
		if err != nil || checkLogout(s) != nil {
			return
		}
		target := logoutTarget(s)
		if target.Realm != "demo" || target.Issuer != s.Issuer || target.Value == "" ||
			target.Kind != events.KindSession && target.Kind != events.KindUser {
			t.Errorf("%s is taken for %+v", more, target)
		}
		if _, nonce := claims["nonce"]; nonce {
			t.Errorf("%s is taken", more)
		}
	})
}
