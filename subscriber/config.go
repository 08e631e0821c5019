package subscriber

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/rescind/rescind/events"
)

var (
	// ErrRevoked is returned by Check for a revoked token.
	ErrRevoked = errors.New("token is revoked")
	// ErrStale is returned by Check when the agent's knowledge is older than the
	// caller accepts.
	ErrStale = errors.New("agent is stale")
	// ErrNotReady is returned by Check while the agent has never held a complete
	// set, or has lost it and is reading it again.
	ErrNotReady = errors.New("agent is not ready")
	// ErrUnrevocable is returned by Check for a token without exp, or one that
	// lives longer than Config.MaxToken.
	ErrUnrevocable = errors.New("token lives too long to be revoked reliably")
	// ErrFull is returned by ObserveRefresh when the agent remembers as many live
	// tokens as it may.
	ErrFull = errors.New("agent remembers as many tokens as it may")
	// ErrClosed is returned by methods of a closed agent.
	ErrClosed = errors.New("agent is closed")
)

// KeySource gives the publishers' keys. A *events.KeySet is one that never
// changes; KeysFile and KeysURL make others. Keys may block until ctx ends and
// must be safe for concurrent use.
type KeySource interface {
	Keys(ctx context.Context) (*events.KeySet, error)
}

// Config configures an agent. The zero value of each field has a meaning, but
// Service and Keys must be set.
type Config struct {
	// Fleet to follow; "" means events.DefaultFleet.
	Fleet events.Fleet
	// Service and Instance name the agent; instance "" means the host name.
	Service, Instance string
	// Dir keeps the set, made with mode 0700 when missing. "" means memory only:
	// the agent then starts unsynced each time.
	Dir string
	// Keys are the publishers' keys.
	Keys KeySource
	// Bound is how old the newest covered beacon may be while the agent calls
	// itself fresh; 0 means 5 s. Use 10 s with a NATS cluster.
	Bound time.Duration
	// MaxStaleness makes Check answer ErrStale when the agent's knowledge is
	// older; 0 means that it decides from what is known.
	MaxStaleness time.Duration
	// MaxToken is the longest life of a token that Check accepts, the realm's
	// max_token: a rule is kept until the last token of that life has died. 0 means
	// any.
	MaxToken time.Duration
	// AllowUnsynced makes Check answer from what is known even while the agent
	// has never held a complete set.
	AllowUnsynced bool
	// MaxSeen is how many live tokens are remembered for counting; 0 means 100,000.
	MaxSeen int
	// StatusEvery is the time between statuses; 0 means 5 s.
	StatusEvery time.Duration
	// KeysEvery is the time between refreshes of Keys; 0 means a minute. An event
	// by an unknown key causes one at once, at most once a second.
	KeysEvery time.Duration
	// Version is reported as the program's version.
	Version string
	// Logger receives what is worth a person's attention; nil means none.
	Logger *slog.Logger

	// now stands in for the clock in tests; step is called after each step of an
	// event's way: visible, durable, reported.
	now  func() time.Time
	step func(string)
}

func (c Config) validate() error {
	if c.Service == "" {
		return errors.New("config: Service is empty")
	}
	if c.Keys == nil {
		return errors.New("config: Keys is nil: an agent without publishers' keys would trust nobody")
	}
	if err := c.fleet().Validate(); err != nil {
		return fmt.Errorf("config: Fleet: %w", err)
	}
	for name, d := range map[string]time.Duration{"Bound": c.Bound, "MaxStaleness": c.MaxStaleness, "MaxToken": c.MaxToken,
		"StatusEvery": c.StatusEvery, "KeysEvery": c.KeysEvery} {
		if d < 0 {
			return fmt.Errorf("config: %s is negative", name)
		}
	}
	if c.MaxSeen < 0 {
		return errors.New("config: MaxSeen is negative")
	}
	return events.Agent{ID: "x", Run: "x", Service: c.Service, Instance: c.instance(), Version: c.Version}.Validate()
}

func or[T comparable](v, byDefault T) T {
	var zero T
	if v == zero {
		return byDefault
	}
	return v
}

func (c Config) fleet() events.Fleet        { return or(c.Fleet, events.DefaultFleet) }
func (c Config) bound() time.Duration       { return or(c.Bound, 5*time.Second) }
func (c Config) statusEvery() time.Duration { return or(c.StatusEvery, 5*time.Second) }
func (c Config) keysEvery() time.Duration   { return or(c.KeysEvery, time.Minute) }
func (c Config) maxSeen() int               { return or(c.MaxSeen, 100_000) }

func (c Config) instance() string {
	if c.Instance != "" {
		return c.Instance
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "unnamed"
	}
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '/' {
			return '-'
		}
		return r
	}, host)
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger.With("component", "agent")
}

func (c Config) clock() func() time.Time {
	if c.now != nil {
		return c.now
	}
	return time.Now
}
