package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"slices"
	"time"

	"github.com/coder/websocket"

	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard"
)

// The service says what a token of its own is. The guard refuses those that were
// revoked, on the administrators' routes even when it may know too little.
func ExampleMiddleware() {
	agent, idp := deployment() // subscriber.Open, in a service
	defer idp.close()
	verify, err := guard.JWT{Keys: keys, Methods: []string{"EdDSA"}, Issuers: []string{"https://idp.example.com"},
		Audiences: []string{"orders"}}.Verify()
	if err != nil {
		log.Fatal(err)
	}
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "orders of", guard.Claims(r.Context())["sub"])
	})
	mux := http.NewServeMux()
	mux.Handle("/orders", guard.Middleware(agent, verify)(orders))
	mux.Handle("/admin", guard.Middleware(agent, verify, guard.MaxStaleness(5*time.Second))(orders))
	mux.Handle("/prices", guard.Middleware(agent, verify, guard.AllowAnonymous())(orders))

	jack, jill := idp.login("jack"), idp.login("jill")
	get(mux, "/orders", jack)
	idp.revoke("jack")
	get(mux, "/orders", jack)
	get(mux, "/admin", jill)
	get(mux, "/prices", "")
	// Output:
	// /orders 200 orders of jack
	// /orders 401 {"error":"invalid_token","error_description":"revoked"}
	// /admin 200 orders of jill
	// /prices 200 orders of <nil>
}

// chi and every other router whose middleware is func(http.Handler) http.Handler take it
// as it is: r.Use(guard.Middleware(agent, verify)).
func ExampleMiddleware_chi() {
	agent, idp := deployment()
	defer idp.close()
	use := []func(http.Handler) http.Handler{
		func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Second, "too slow") },
		guard.Middleware(agent, nil, guard.RevocationOnly()), // a gateway verifies
	}
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "orders") })
	for _, m := range slices.Backward(use) {
		h = m(h)
	}

	jack := idp.login("jack")
	get(h, "/orders", jack)
	idp.revoke("jack")
	get(h, "/orders", jack)
	// Output:
	// /orders 200 orders
	// /orders 401 {"error":"invalid_token","error_description":"revoked"}
}

// Handlers of echo and its like give an error: e.Use(echo.WrapMiddleware(m)) does what
// wrap does here.
func ExampleMiddleware_echo() {
	agent, idp := deployment()
	defer idp.close()
	type handler func(w http.ResponseWriter, r *http.Request) error
	wrap := func(m func(http.Handler) http.Handler, next handler) handler {
		return func(w http.ResponseWriter, r *http.Request) (err error) {
			m(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { err = next(w, r) })).ServeHTTP(w, r)
			return err
		}
	}
	h := wrap(guard.Middleware(agent, nil, guard.RevocationOnly()), func(w http.ResponseWriter, r *http.Request) error {
		_, err := fmt.Fprintln(w, "orders")
		return err
	})
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			log.Print(err)
		}
	})

	jack := idp.login("jack")
	get(serve, "/orders", jack)
	idp.revoke("jack")
	get(serve, "/orders", jack)
	// Output:
	// /orders 200 orders
	// /orders 401 {"error":"invalid_token","error_description":"revoked"}
}

// One call parses, verifies and checks a token that came in a message, say.
func ExampleGuard_AdmitToken() {
	agent, idp := deployment()
	defer idp.close()
	verify, err := guard.JWT{Keys: keys, Methods: []string{"EdDSA"}, Issuers: []string{"https://idp.example.com"},
		Audiences: []string{"orders"}}.Verify()
	if err != nil {
		log.Fatal(err)
	}
	g, err := guard.New(agent, verify)
	if err != nil {
		log.Fatal(err)
	}

	jack := idp.login("jack")
	admitted, err := g.AdmitToken(context.Background(), jack)
	fmt.Println(admitted.Claims["sub"], admitted.State, err)
	idp.revoke("jack")
	_, err = g.AdmitToken(context.Background(), jack)
	fmt.Println(errors.Is(err, subscriber.ErrRevoked))
	// Output:
	// jack fresh <nil>
	// true
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
