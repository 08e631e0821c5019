package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"

	"github.com/rescind/rescind/internal/tokentest"
	"github.com/rescind/rescind/subscriber/guard"
	"github.com/rescind/rescind/subscriber/subscribertest"
)

// The middleware stands in the chains of other people's routers, and their handlers see
// whose token it is.
func TestRoutersTakeTheMiddleware(t *testing.T) {
	issuer := tokentest.NewIssuer(t, "https://idp.example.com")
	fleet := subscribertest.New(t, issuer.Name)
	verify, err := guard.JWT{Keys: issuer.Key, Methods: tokentest.Algorithms, Issuers: []string{issuer.Name}, Audiences: []string{tokentest.Audience}}.Verify()
	if err != nil {
		t.Fatal(err)
	}
	guarded := guard.Middleware(fleet.Agent(t), verify)

	router := chi.NewRouter()
	router.Get("/healthz", func(http.ResponseWriter, *http.Request) {})
	router.Group(func(r chi.Router) {
		r.Use(guarded)
		r.Get("/users/{id}", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, guard.Claims(r.Context())["sub"], " looks at ", chi.URLParam(r, "id"))
		})
	})
	e := echo.New()
	e.GET("/healthz", func(c echo.Context) error { return c.NoContent(http.StatusOK) })
	e.GET("/users/:id", func(c echo.Context) error {
		return c.String(http.StatusOK, fmt.Sprint(guard.Claims(c.Request().Context())["sub"], " looks at ", c.Param("id")))
	}, echo.WrapMiddleware(guarded))

	for name, h := range map[string]http.Handler{"chi": router, "echo": e} {
		t.Run(name, func(t *testing.T) {
			user := name + "-user"
			raw := issuer.Token(t, "EdDSA", issuer.Claims(user, nil))
			ask := func(path, authorization string) (int, string) {
				r := httptest.NewRequest(http.MethodGet, path, nil)
				r.Header.Set("Authorization", authorization)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				return w.Code, w.Body.String()
			}
			if code, body := ask("/users/7", "Bearer "+raw); code != 200 || body != user+" looks at 7" {
				t.Fatalf("live: %d %s", code, body)
			}
			fleet.RevokeUser(t, user)
			if code, body := ask("/users/7", "Bearer "+raw); code != 401 {
				t.Errorf("revoked: %d %s", code, body)
			}
			if code, _ := ask("/healthz", ""); code != 200 {
				t.Errorf("a route that is not guarded: %d", code)
			}
		})
	}
}
