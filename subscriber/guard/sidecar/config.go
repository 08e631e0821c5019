package sidecar

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber"
)

// Config configures a sidecar. The zero value of each field has a meaning, but
// Agent must be set.
type Config struct {
	// Agent decides. It stays the caller's to close.
	Agent *subscriber.Agent
	// Realms verify tokens; nil means that the sidecar is revocation-only. They
	// stay the caller's to close.
	Realms *realm.Realms
	// MaxStaleness makes /check and /introspect answer 503 when the agent's
	// knowledge is older; 0 leaves it to the agent's own MaxStaleness.
	MaxStaleness time.Duration
	// AllowAnonymous makes /check answer 200 to requests without a token, as
	// guard.AllowAnonymous does; false refuses them with 401.
	AllowAnonymous bool
	// PreflightFrom lets browsers' preflight requests pass, which have no token
	// (guard.IsPreflight), and says where /check finds the method of the request that a
	// proxy asks about: the name of a header that the proxy always sets, whatever the
	// client sent, such as X-Original-Method or X-Forwarded-Method; or
	// PreflightFromMethod. "" refuses them as other requests without a token.
	PreflightFrom string
	// ChallengeRealm is the realm of challenges, printable ASCII; "" means
	// rescind.
	ChallengeRealm string
	// CacheTokens is of how many tokens is kept what reading them gave, in at most
	// 4 KiB each on average; 0 means 10,000, less than 0 none.
	CacheTokens int
	// Version is the program's, for /metrics; "" means unknown.
	Version string
	// Logger receives what is worth a person's attention; nil means none.
	Logger *slog.Logger

	// heartbeat is the time between comments of a watch in tests; 0 means 15 s.
	heartbeat time.Duration
}

// PreflightFromMethod says that a proxy asks with the original method, as Envoy does.
const PreflightFromMethod = "method"

// ValidPreflightFrom refuses what Config.PreflightFrom cannot be: not the name of a header,
// or one that browsers let anybody set or set themselves.
func ValidPreflightFrom(name string) error {
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case name == "" || name == PreflightFromMethod:
		return nil
	case !httpguts.ValidHeaderFieldName(name), strings.EqualFold(name, PreflightFromMethod):
		return fmt.Errorf("%q is neither the name of a header nor %q", name, PreflightFromMethod)
	case canonical == "Origin", canonical == "Authorization", canonical == "Host", canonical == "Cookie",
		strings.HasPrefix(canonical, "Access-Control-"), strings.HasPrefix(canonical, "Sec-"):
		return fmt.Errorf("%s is the client's to set, not the proxy's", canonical)
	}
	return nil
}

func (c Config) validate() error {
	if c.Agent == nil {
		return errors.New("sidecar: Agent is nil")
	}
	if c.MaxStaleness < 0 {
		return errors.New("sidecar: MaxStaleness is negative")
	}
	if err := ValidPreflightFrom(c.PreflightFrom); err != nil {
		return fmt.Errorf("sidecar: PreflightFrom: %w", err)
	}
	return nil
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger.With("component", "sidecar")
}

func (c Config) challengeRealm() string { return or(c.ChallengeRealm, "rescind") }
func (c Config) version() string        { return or(c.Version, "unknown") }

func (c Config) cacheTokens() int { return or(c.CacheTokens, 10_000) }

func (c Config) watchHeartbeat() time.Duration { return or(c.heartbeat, 15*time.Second) }

func or[T comparable](v, byDefault T) T {
	var zero T
	if v == zero {
		return byDefault
	}
	return v
}
