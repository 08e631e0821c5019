package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber/guard"
)

type sidecar struct {
	Config
	log     *slog.Logger
	guard   *guard.Guard
	metrics *metrics
	mux     *http.ServeMux
}

// New makes the handler. It is safe for concurrent use and starts nothing.
func New(c Config) (http.Handler, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &sidecar{Config: c, log: c.logger(), metrics: newMetrics(c.Agent, c.version())}
	var verify guard.Verify
	opts := []guard.Option{guard.Realm(c.challengeRealm())}
	if c.Realms == nil {
		opts = append(opts, guard.RevocationOnly())
	} else {
		verify = s.verify
	}
	if c.MaxStaleness > 0 {
		opts = append(opts, guard.MaxStaleness(c.MaxStaleness))
	}
	if c.AllowAnonymous {
		opts = append(opts, guard.AllowAnonymous())
	}
	var err error
	if s.guard, err = guard.New(c.Agent, verify, opts...); err != nil {
		return nil, fmt.Errorf("sidecar: %w", err)
	}
	s.mux = s.routes()
	return s, nil
}

func (s *sidecar) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /introspect", s.introspect)
	mux.HandleFunc("POST /observe", s.observe)
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("GET /v1/watch", s.watch)
	mux.Handle("GET /metrics", s.metrics.handler())
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.ready)
	return mux
}

func (s *sidecar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Rescind-Mode", s.mode())
	// ServeMux would redirect a path with // or .. in it, and proxies send the
	// path of the request that they ask about.
	if r.URL.Path == "/check" || strings.HasPrefix(r.URL.Path, "/check/") {
		s.check(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

func (s *sidecar) mode() string {
	if s.Realms == nil {
		return "revocation-only"
	}
	return "verifying"
}

// verify is the guard's.
func (s *sidecar) verify(ctx context.Context, raw string) (jwt.MapClaims, error) {
	v, err := s.Realms.Verify(ctx, raw)
	if err != nil {
		return nil, s.judged(err)
	}
	return v.Claims, nil
}

// judged translates an error of Realms for the guard.
func (s *sidecar) judged(err error) error {
	switch {
	case errors.Is(err, realm.ErrKeysUnavailable):
		s.log.Warn("a token cannot be verified", "err", err)
		return fmt.Errorf("%w: %w", guard.ErrUnavailable, err)
	case errors.Is(err, realm.ErrUnrevocable), errors.Is(err, realm.ErrNoExpiry):
		s.log.Debug("a token is not allowed", "err", err)
		return fmt.Errorf("%w: %w", guard.ErrForbidden, err)
	case errors.Is(err, realm.ErrExpired):
		return fmt.Errorf("%w: %w", jwt.ErrTokenExpired, err)
	default:
		s.log.Debug("a token was not accepted", "err", err)
		return err
	}
}
