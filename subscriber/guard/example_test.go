package guard_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"
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

// What a handler holds open ends when its token is revoked: server-sent events by
// their request's context alone.
func ExampleLive_Handler() {
	routes := func(agent *subscriber.Agent, verify guard.Verify) http.Handler {
		live := guard.NewLive(agent) // one for the service; close it with the server
		prices := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-r.Context().Done(): // the client has gone, or its token is revoked
					return
				case at := <-tick.C:
					fmt.Fprintf(w, "data: %d\n\n", at.Unix())
					_ = http.NewResponseController(w).Flush()
				}
			}
		})
		return guard.Middleware(agent, verify)(live.Handler(prices))
	}
	_ = routes
}

// A websocket is closed by whoever holds it, and its client is told why.
func ExampleLive_Open() {
	serve := func(live *guard.Live, w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		ctx, done := live.Open(r.Context(), guard.Token(r.Context()))
		defer done()
		defer context.AfterFunc(ctx, func() {
			_ = conn.Close(websocket.StatusPolicyViolation, context.Cause(ctx).Error())
		})()
		for {
			if _, _, err := conn.Read(context.WithoutCancel(ctx)); err != nil {
				return
			}
		}
	}
	_ = serve
}
