package subscribertest_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/subscriber/guard"
	"github.com/rescind/rescind/subscriber/subscribertest"
)

// A service tests what it does with a revoked token, by a revocation.
func Example() {
	test := func(t *testing.T, service http.Handler, verify guard.Verify, raw string) {
		fleet := subscribertest.New(t, "https://idp.example.com")
		h := guard.Middleware(fleet.Agent(t), verify)(service)
		fleet.RevokeUser(t, "jack")

		r := httptest.NewRequest("GET", "/orders", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
			t.Errorf("jack is served: %d", w.Code)
		}
	}
	_ = test
}

// The example's middleware, and its three lines, do what they say.
func TestMiddlewareOfAFleet(t *testing.T) {
	fleet := subscribertest.New(t, issuer)
	verify := func(_ context.Context, raw string) (jwt.MapClaims, error) {
		claims := jwt.MapClaims{}
		_, err := jwt.ParseWithClaims(raw, claims, func(*jwt.Token) (any, error) { return []byte("a key of the test"), nil })
		return claims, err
	}
	h := guard.Middleware(fleet.Agent(t), verify)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	raw, _ := token(t, jwt.MapClaims{"sub": "jack"})
	ask := func() int {
		r := httptest.NewRequest("GET", "/orders", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	if code := ask(); code != http.StatusOK {
		t.Fatalf("before: %d", code)
	}
	fleet.RevokeUser(t, "jack")
	if code := ask(); code != http.StatusUnauthorized {
		t.Errorf("after: %d", code)
	}
}
