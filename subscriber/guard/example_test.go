package guard_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard"
)

// A service verifies tokens as before. The guard refuses those that were revoked
// since, on the administrators' routes even when it may know too little.
func ExampleMiddleware() {
	routes := func(agent *subscriber.Agent, keys jwt.Keyfunc) http.Handler {
		verify := func(_ context.Context, raw string) (jwt.MapClaims, error) {
			claims := jwt.MapClaims{}
			_, err := jwt.ParseWithClaims(raw, claims, keys, jwt.WithValidMethods([]string{"RS256"}),
				jwt.WithIssuer("https://idp.example.com"), jwt.WithAudience("orders"), jwt.WithExpirationRequired())
			return claims, err
		}
		orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "orders of", guard.Claims(r.Context())["sub"])
		})
		mux := http.NewServeMux()
		mux.Handle("/orders", guard.Middleware(agent, verify)(orders))
		mux.Handle("/admin", guard.Middleware(agent, verify, guard.MaxStaleness(5*time.Second))(orders))
		return mux
	}
	_ = routes
}
