package guard

import (
	"context"
	"errors"
	"time"
)

// Option changes one thing about a guard.
type Option func(*options) error

type options struct {
	realm          string
	anonymous      bool
	preflight      bool
	revocationOnly bool
	read           read
	// maxStaleness is nil where the agent's own bound is to hold.
	maxStaleness *time.Duration
}

// MaxStaleness refuses with 503 when the agent's knowledge is older than d,
// whatever the agent's own bound is; 0 decides from what is known, however old.
// Without it the agent's own bound holds. d must not be negative.
func MaxStaleness(d time.Duration) Option {
	return func(o *options) error {
		if d < 0 {
			return errors.New("MaxStaleness is negative")
		}
		o.maxStaleness = &d
		return nil
	}
}

// defaultRealm stands in challenges when nothing else is said: they need at
// least one parameter.
const defaultRealm = "rescind"

// Realm is the realm that challenges name (RFC 9110 section 11.5), in printable
// ASCII; without it "rescind".
func Realm(name string) Option {
	return func(o *options) error {
		if name == "" {
			return errors.New("Realm is empty")
		}
		for i := range len(name) {
			if name[i] < ' ' || name[i] > '~' {
				return errors.New("Realm is not printable ASCII")
			}
		}
		o.realm = name
		return nil
	}
}

// AllowAnonymous lets requests pass that have no token, for services that serve those
// too: without any Authorization header, or with one of the scheme Basic, whose password
// is the handler's to judge. A request with any other header is judged by it: some
// handlers find tokens under schemes of their own.
func AllowAnonymous() Option {
	return func(o *options) error {
		o.anonymous = true
		return nil
	}
}

// AllowPreflight lets [Middleware] pass a browser's preflight requests, which have no
// token ([IsPreflight]): where what answers them stands behind the guard. The handler
// must do no more for an OPTIONS than say what it allows.
func AllowPreflight() Option {
	return func(o *options) error {
		o.preflight = true
		return nil
	}
}

// RevocationOnly says that verify is nil on purpose: something else on the
// request's way verifies tokens, by the same strict reading. The guard then
// refuses what was revoked, observes nothing, and gives no claims.
func RevocationOnly() Option {
	return func(o *options) error {
		o.revocationOnly = true
		return nil
	}
}

// ReadBy replaces the reading and verifying of tokens, for a caller that keeps
// what reading a token gave; verify must be nil. read reads as
// [events.ParseToken] does, verifies as Verify does unless something else on the
// request's way has, and tells the agent of the tokens that it verified. Its
// errors are those of both. What it gives is shared by all who ask: nobody may
// change it. It must be safe for concurrent use.
//
// The guard still asks the agent at every request: read keeps nothing about
// revocation.
func ReadBy(read func(ctx context.Context, raw string) (*Admitted, error)) Option {
	return func(o *options) error {
		if read == nil {
			return errors.New("ReadBy is nil")
		}
		o.read = read
		return nil
	}
}
