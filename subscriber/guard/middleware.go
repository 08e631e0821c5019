package guard

import (
	"context"
	"fmt"
	"net/http"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/subscriber"
)

var _ Agent = (*subscriber.Agent)(nil)

// Middleware guards handlers: they see only requests whose token was read
// strictly, verified and not revoked, and get its claims from [Claims] and the
// token from [Token]. The package's documentation says what is refused and how.
//
// It panics where [New] gives an error: a guard that is set up wrongly must not
// serve.
func Middleware(agent Agent, verify Verify, opts ...Option) func(http.Handler) http.Handler {
	g, err := New(agent, verify, opts...)
	if err != nil {
		panic(err)
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, next) })
	}
}

func (g *Guard) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	a, err := g.admit(r)
	if err != nil {
		RefusalOf(err).Write(w, g.realm)
		return
	}
	next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), a)))
}

func (g *Guard) admit(r *http.Request) (Admitted, error) {
	if g.preflight && IsPreflight(r.Method, r.Header) {
		return Admitted{}, nil
	}
	authorization := r.Header.Values("Authorization")
	if err := oneMethod(r, authorization); err != nil {
		return Admitted{}, err
	}
	return g.Admit(r.Context(), authorization)
}

// oneMethod refuses a token in the query beside one in the header (RFC 6750
// section 2): the handler might take the one that was not judged.
func oneMethod(r *http.Request, authorization []string) error {
	if len(authorization) > 0 && r.URL.RawQuery != "" && r.URL.Query().Has("access_token") {
		return fmt.Errorf("%w: a token in the query too", ErrBadRequest)
	}
	return nil
}

// IsPreflight tells whether a request of the method is one that a browser sends, by
// itself and without a token, before one across origins (Fetch standard, "CORS-preflight
// request"): OPTIONS with Origin and Access-Control-Request-Method, and no
// Authorization. The keys of h are in canonical form.
func IsPreflight(method string, h http.Header) bool {
	return method == http.MethodOptions && len(h["Authorization"]) == 0 &&
		h.Get("Origin") != "" && h.Get("Access-Control-Request-Method") != ""
}

type admittedKey struct{}

// NewContext gives ctx the verdict on its request, for FromContext: for guards of
// other protocols.
func NewContext(ctx context.Context, a Admitted) context.Context {
	return context.WithValue(ctx, admittedKey{}, a)
}

// FromContext gives the verdict on the request; false where no Middleware ran. What
// it points to is shared by all who ask: do not change it.
func FromContext(ctx context.Context) (Admitted, bool) {
	a, ok := ctx.Value(admittedKey{}).(Admitted)
	return a, ok
}

// Claims are the verified claims of the request's token; nil for an anonymous
// request, under RevocationOnly, and where no Middleware ran. They are shared by
// all who ask: do not change them.
func Claims(ctx context.Context) jwt.MapClaims {
	a, _ := FromContext(ctx)
	return a.Claims
}

// Token is the request's token as revocations are matched against it; nil for an
// anonymous request and where no Middleware ran.
func Token(ctx context.Context) *events.Token {
	a, _ := FromContext(ctx)
	return a.Token
}
