package sidecar

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/rescind/rescind/subscriber/guard"
)

// Sidecar is the agent's HTTP side, a handler. It is safe for concurrent use.
type Sidecar struct {
	cfg     Config // validated
	log     *slog.Logger
	guard   *guard.Guard
	metrics *metrics
	cache   *tokenCache
	mux     *http.ServeMux
	// keysAway keeps the log from filling: whoever asks may ask often.
	keysAway rate.Sometimes
	// modeHeader is shared by all answers.
	modeHeader []string
}

// New makes a sidecar. It starts nothing.
func New(c Config) (*Sidecar, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &Sidecar{cfg: c, log: c.logger(), cache: newTokenCache(c.cacheTokens()), keysAway: rate.Sometimes{Interval: 10 * time.Second}}
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

func (s *Sidecar) routes() *http.ServeMux {
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

// ServeHTTP answers what the package's documentation lists.
func (s *Sidecar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header()["Rescind-Mode"] = s.modeHeader
	// ServeMux would redirect a path with // or .. in it, and proxies send the
	// path of the request that they ask about.
	if r.URL.Path == "/check" || strings.HasPrefix(r.URL.Path, "/check/") {
		s.check(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// Realm is the realm that challenges name.
func (s *Sidecar) Realm() string { return s.guard.Realm() }

// Ready tells whether the agent holds a set that was complete once.
func (s *Sidecar) Ready() bool { return s.cfg.Agent.Ready() }

func (s *Sidecar) mode() string {
	if s.cfg.Realms == nil {
		return "revocation-only"
	}
	return "verifying"
}
