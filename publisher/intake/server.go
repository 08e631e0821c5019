package intake

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/publisher/transmit"
)

// Config configures a Server. Publisher, Authenticator and Realms must be set.
type Config struct {
	// Publisher carries out what the doors accept. It stays the caller's: closing
	// it makes every door answer 503.
	Publisher *publisher.Publisher
	// Authenticator knows the callers.
	Authenticator *Authenticator
	// Realms verify the tokens that callers hand over. They must be the ones that
	// the publisher has.
	Realms *realm.Realms
	// GlobalTokenRevocation opens the door of that name (Okta's Universal Logout).
	GlobalTokenRevocation bool
	// Transmitters are those whose security events are taken. Nil means none.
	Transmitters *Transmitters
	// Transmitter sends the fleet's events to receivers outside of it. Nil closes the
	// doors by which they make streams.
	Transmitter *transmit.Transmitter
	// Limits are how often one caller may revoke.
	Limits Limits
	// Logger receives what is worth a person's attention; nil means none.
	Logger *slog.Logger
	// Registry takes the metrics and is what /metrics shows; nil means one of its
	// own.
	Registry *prometheus.Registry
}

func (c Config) validate() error {
	switch {
	case c.Publisher == nil:
		return errors.New("config: Publisher is nil")
	case c.Authenticator == nil:
		return errors.New("config: Authenticator is nil: anyone could revoke")
	case c.Realms == nil:
		return errors.New("config: Realms is nil")
	}
	return nil
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger.With("component", "intake")
}

func (c Config) transmitters() *Transmitters {
	if c.Transmitters == nil {
		return &Transmitters{}
	}
	return c.Transmitters
}

func (c Config) registry() *prometheus.Registry {
	if c.Registry == nil {
		return prometheus.NewRegistry()
	}
	return c.Registry
}

// Server is the publisher's HTTP handler: every door by which a revocation comes
// in, and what others read of the publisher. It is safe for concurrent use and
// holds nothing that needs closing.
type Server struct {
	pub     *publisher.Publisher
	auth    *Authenticator
	realms  *realm.Realms
	log     *slog.Logger
	metrics *metrics
	mux     *http.ServeMux
	global  bool // whether that door is open
	// paths are those that are served, as patterns; document describes them.
	paths    map[string]bool
	document []byte

	transmitters *Transmitters
	limits       *limiter
}

var _ http.Handler = (*Server)(nil)

// New makes a Server. It refuses a configuration that lacks a part, and a
// registry that has the metrics of another Server.
func New(c Config) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	registry := c.registry()
	m, err := newMetrics(registry, c.Publisher)
	if err != nil {
		return nil, err
	}
	s := &Server{pub: c.Publisher, auth: c.Authenticator, realms: c.Realms, log: c.logger(), metrics: m, mux: http.NewServeMux(), paths: map[string]bool{},
		transmitters: c.transmitters(), limits: newLimiter(c.Limits, time.Now)}
	s.routes(c, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	if s.document, err = s.describe(); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	return s, nil
}

func (s *Server) routes(c Config, metrics http.Handler) {
	elastic, lusid, native, oauth, open := elasticDoor{s}, lusidDoor{s}, nativeDoor{s}, oauthDoor{s}, openDoor{s}
	s.add("/_security/oauth2/token", elastic, methods{http.MethodDelete: elastic.invalidate})
	s.add("/_xpack/security/oauth2/token", elastic, methods{http.MethodDelete: elastic.invalidate})
	s.add("/_security/", elastic, methods{"": elastic.noHandler})
	s.add("/_xpack/", elastic, methods{"": elastic.noHandler})

	s.add("/identity/api/tokens", lusid, methods{http.MethodDelete: lusid.signOut})
	s.add("/api/tokens", lusid, methods{http.MethodDelete: lusid.signOut})

	s.add("/v1/revocations", native, methods{http.MethodPost: native.revoke, http.MethodGet: native.list})
	s.add("/v1/revocations/{id}", native, methods{http.MethodGet: native.show, http.MethodDelete: native.lift})
	s.add("/v1/agents", native, methods{http.MethodGet: native.agents})

	s.add(revokePath, oauth, methods{http.MethodPost: oauth.revoke, http.MethodOptions: oauth.preflight})
	s.add(introspectPath, oauth, methods{http.MethodPost: oauth.introspect})
	// Some clients look where an OpenID Provider has it (RFC 8414 section 5).
	for _, name := range []string{"oauth-authorization-server", "openid-configuration"} {
		for _, path := range wellKnown(name, s.pub.Issuer()) {
			s.add(path, oauth, methods{http.MethodGet: oauth.metadata})
		}
	}

	logout := logoutDoor{s, newShown()}
	s.add("/backchannel-logout", logout, methods{http.MethodPost: logout.logout})

	push := pushDoor{s}
	s.add("/ssf/events", push, methods{http.MethodPost: push.push})

	if c.Transmitter != nil {
		streamDoor{s, c.Transmitter}.routes()
	}

	if c.GlobalTokenRevocation {
		global := globalDoor{s, newShown()}
		s.global = true
		s.add(globalPath, global, methods{http.MethodPost: global.revoke})
	}

	s.add(openapiPath, open, methods{http.MethodGet: open.openapi})
	s.add("/.well-known/jwks.json", open, methods{http.MethodGet: open.jwks})
	s.add("/healthz", open, methods{http.MethodGet: open.health})
	s.add("/readyz", open, methods{http.MethodGet: open.ready})
	s.add("/metrics", open, methods{http.MethodGet: served(metrics)})
	s.add("/{$}", open, methods{http.MethodGet: open.root})
	s.add("/", open, methods{"": open.notFound})
}

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func served(h http.Handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}
