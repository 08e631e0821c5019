package sidecar

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/rescind/rescind/subscriber/guard"
)

type sidecar struct {
	Config
	log     *slog.Logger
	guard   *guard.Guard
	metrics *metrics
	cache   *tokenCache
	mux     *http.ServeMux
	// modeHeader is shared by all answers.
	modeHeader []string
}

// New makes the handler. It is safe for concurrent use and starts nothing.
func New(c Config) (http.Handler, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &sidecar{Config: c, log: c.logger(), cache: newTokenCache(c.cacheTokens())}
	s.metrics = newMetrics(c.Agent, c.version(), s.cache)
	s.modeHeader = []string{s.mode()}
	opts := []guard.Option{guard.Realm(c.challengeRealm()), guard.ReadBy(s.admittedBy)}
	if c.MaxStaleness > 0 {
		opts = append(opts, guard.MaxStaleness(c.MaxStaleness))
	}
	if c.AllowAnonymous {
		opts = append(opts, guard.AllowAnonymous())
	}
	var err error
	if s.guard, err = guard.New(c.Agent, nil, opts...); err != nil {
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
	w.Header()["Rescind-Mode"] = s.modeHeader
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
