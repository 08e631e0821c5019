package guard_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/internal/tokentest"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/subscribertest"
)

// scene is what runs outside of an example: a fleet, and an issuer with its users.
type scene struct {
	*testScene
	fleet  *subscribertest.Fleet
	issuer *tokentest.Issuer
}

// deployment starts a scene, with an agent of the service.
func deployment() (*subscriber.Agent, *scene) {
	t := &testScene{}
	s := &scene{t, subscribertest.New(t, "https://idp.example.com"), tokentest.NewIssuer(t, "https://idp.example.com")}
	keys = s.issuer.Key
	return s.fleet.Agent(t), s
}

// keys are those of the scene's issuer, as the service gets them.
var keys jwt.Keyfunc

func (s *scene) login(user string) string {
	return s.issuer.Token(s, "EdDSA", s.issuer.Claims(user, nil))
}

// revoke signs a user out of the fleet.
func (s *scene) revoke(user string) { s.fleet.RevokeUser(s, user) }

// get prints what a client of the service sees.
func get(h http.Handler, path, token string) {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(path, w.Code, strings.TrimSpace(w.Body.String()))
}

// testScene is what the fleet takes a test for. It panics where a test fails.
type testScene struct {
	testing.TB
	cleanups []func()
}

func (s *testScene) close() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
}

func (s *testScene) Helper()                      {}
func (s *testScene) Context() context.Context     { return context.Background() }
func (s *testScene) Cleanup(f func())             { s.cleanups = append(s.cleanups, f) }
func (s *testScene) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (s *testScene) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (s *testScene) Error(args ...any)            { panic(fmt.Sprint(args...)) }
func (s *testScene) Errorf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

func (s *testScene) TempDir() string {
	dir, err := os.MkdirTemp("", "rescind-example-")
	if err != nil {
		panic(err)
	}
	s.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
