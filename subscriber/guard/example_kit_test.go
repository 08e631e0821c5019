package guard_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/subscribertest"
)

// scene is what runs outside of an example: a fleet, and an issuer with its users.
type scene struct {
	*testScene
	fleet   *subscribertest.Fleet
	private ed25519.PrivateKey
}

// deployment starts a scene, with an agent of the service.
func deployment() (*subscriber.Agent, *scene) {
	ts := &testScene{}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	keys = func(*jwt.Token) (any, error) { return public, nil }
	s := &scene{ts, subscribertest.New(ts, "https://idp.example.com"), private}
	return s.fleet.Agent(ts), s
}

// keys are those of the scene's issuer, as the service gets them.
var keys jwt.Keyfunc

func (s *scene) login(user string) string {
	now := time.Now().Add(-10 * time.Second)
	raw, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"iss": "https://idp.example.com", "aud": "orders", "sub": user,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}).SignedString(s.private)
	if err != nil {
		panic(err)
	}
	return raw
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
