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
	authorization := r.Header.Values("Authorization")
	err := oneMethod(r, authorization)
	var a *Admitted
	if err == nil {
		a, err = g.Admit(r.Context(), authorization)
	}
	if err != nil {
		RefusalOf(err).Write(w, g.realm)
		return
	}
	next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), a)))
}

// oneMethod refuses a token in the query beside one in the header (RFC 6750
// section 2): the handler might take the one that was not judged.
func oneMethod(r *http.Request, authorization []string) error {
	if len(authorization) > 0 && r.URL.RawQuery != "" && r.URL.Query().Has("access_token") {
		return fmt.Errorf("%w: a token in the query too", ErrBadRequest)
	}
	return nil
}

type admittedKey struct{}

// NewContext gives ctx what Admit gave, for Claims and Token: for guards of other
// protocols.
func NewContext(ctx context.Context, a *Admitted) context.Context {
	return context.WithValue(ctx, admittedKey{}, a)
}

func admitted(ctx context.Context) Admitted {
	if a, ok := ctx.Value(admittedKey{}).(*Admitted); ok {
		return *a
	}
	return Admitted{}
}

// Claims are the verified claims of the request's token; nil for an anonymous
// request, under RevocationOnly, and where no Middleware ran. They are shared by
// all who ask: do not change them.
func Claims(ctx context.Context) jwt.MapClaims { return admitted(ctx).Claims }

// Token is the request's token as revocations are matched against it; nil for an
// anonymous request and where no Middleware ran.
func Token(ctx context.Context) *events.Token { return admitted(ctx).Token }
