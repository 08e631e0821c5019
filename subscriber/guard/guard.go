package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
)

// Agent is what a guard asks. A *subscriber.Agent is one. Its methods must be
// safe for concurrent use, and do no I/O.
type Agent interface {
	// Check answers nil for a token that may be accepted, else an error that is
	// subscriber.ErrRevoked, ErrNotReady or ErrStale. Any other error is taken
	// for not knowing.
	Check(t *events.Token) error
	// CheckWithin is Check with a bound of its own on how old the agent's
	// knowledge may be; 0 means any.
	CheckWithin(t *events.Token, maxStaleness time.Duration) error
	// Observe is told of tokens that were verified, and of no other.
	Observe(t *events.Token)
}

// Verify verifies a token in compact form: its signature, issuer, audience and
// times. It gives all claims under their exact names. It must be safe for
// concurrent use; it may block until ctx ends.
//
// An error that is ErrUnavailable says that the token could not be judged (503),
// one that is ErrForbidden that the token is genuine and still not accepted
// (403). Every other one refuses the token (401). The error's text is not sent.
type Verify func(ctx context.Context, raw string) (jwt.MapClaims, error)

// Guard decides on requests. It is safe for concurrent use.
type Guard struct {
	agent Agent
	state func() events.State // nil for an agent that does not tell
	options
}

// stated is an agent that tells how it stands, as a *subscriber.Agent does.
type stated interface{ State() events.State }

// New makes a guard. It refuses a nil agent, anything but exactly one of verify,
// [RevocationOnly] and [ReadBy], and an option that Middleware refuses.
func New(agent Agent, verify Verify, opts ...Option) (*Guard, error) {
	g := &Guard{agent: agent, options: options{realm: defaultRealm}}
	for _, o := range opts {
		if err := o(&g.options); err != nil {
			return nil, fmt.Errorf("guard: %w", err)
		}
	}
	if s, ok := agent.(stated); ok {
		g.state = s.State
	}
	switch {
	case agent == nil:
		return nil, errors.New("guard: agent is nil")
	case g.read != nil && (verify != nil || g.revocationOnly):
		return nil, errors.New("guard: ReadBy contradicts verify and RevocationOnly")
	case g.read != nil:
		return g, nil
	case verify == nil && !g.revocationOnly:
		return nil, errors.New("guard: verify is nil: anybody could make tokens; RevocationOnly says that they are verified elsewhere")
	case verify != nil && g.revocationOnly:
		return nil, errors.New("guard: RevocationOnly contradicts verify")
	}
	g.read = reading(agent, verify)
	return g, nil
}

// Realm is the realm that challenges name.
func (g *Guard) Realm() string { return g.realm }

// read gives what is known of a token before the agent is asked.
type read func(ctx context.Context, raw string) (*Admitted, error)

// reading reads each token anew: strictly, and verified before the agent hears
// of it.
func reading(agent Agent, verify Verify) read {
	return func(ctx context.Context, raw string) (*Admitted, error) {
		t, err := events.ParseToken(raw)
		if err != nil {
			return nil, err
		}
		a := &Admitted{Token: t}
		if verify != nil {
			if a.Claims, err = verify(ctx, raw); err != nil {
				return nil, err
			}
			agent.Observe(t)
		}
		return a, nil
	}
}

// Admitted is the verdict on a request that was admitted.
type Admitted struct {
	// Token is nil for a request without one (see [AllowAnonymous] and
	// [AllowPreflight]).
	Token *events.Token
	// Claims are those that verify gave; nil without verify.
	Claims jwt.MapClaims
	// State is how the agent stood: with any but events.Fresh a newer revocation may
	// be missing. It is "" without a token, and where the agent does not tell.
	State events.State
}

// Admit decides by the values of a request's Authorization headers. The token is
// read strictly, verified, observed and then checked: the agent never hears of
// one that anybody could have made up. [RefusalOf] turns the error into an
// answer; no error holds any part of the token, unless verify's does.
//
// It blocks for as long as verify does.
func (g *Guard) Admit(ctx context.Context, authorization []string) (Admitted, error) {
	if len(authorization) == 0 && g.anonymous {
		return Admitted{}, nil
	}
	raw, err := credentials(authorization)
	switch {
	case g.anonymous && errors.Is(err, errBasic):
		return Admitted{}, nil
	case err != nil:
		return Admitted{}, err
	}
	a, err := g.AdmitToken(ctx, raw)
	if err != nil && !isToken68(raw) {
		return Admitted{}, errNotOneToken
	}
	return a, err
}

// AdmitToken decides as Admit does on a token that came another way than in an
// Authorization header: in a message, a cookie, a websocket's subprotocol. With a
// Verify by [JWT] it parses, verifies and checks in one call.
func (g *Guard) AdmitToken(ctx context.Context, raw string) (Admitted, error) {
	read, err := g.read(ctx, raw)
	if err != nil {
		return Admitted{}, judged(ctx, err)
	}
	a := *read
	if g.state != nil {
		a.State = g.state() // before the set is looked at: it may have been older then, and not newer
	}
	if err := g.check(a.Token); err != nil {
		return Admitted{}, err
	}
	return a, nil
}

func (g *Guard) check(t *events.Token) error {
	if g.maxStaleness == nil {
		return g.agent.Check(t)
	}
	return g.agent.CheckWithin(t, *g.maxStaleness)
}

// judged tells a verdict on the token from a failure to reach one.
func judged(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrForbidden):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	default:
		return fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
}
