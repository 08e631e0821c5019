package intake

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher"
)

// visit is what is known of a request for the record of its refusal.
type visit struct {
	remote string // host:port, or a host
	caller string
	target publisher.Target
	realms []string
}

type visitKey struct{}

// withVisit gives a visit to what comes from an address.
func withVisit(ctx context.Context, remote string) context.Context {
	return context.WithValue(ctx, visitKey{}, &visit{remote: remote})
}

// visitOf is the visit of a request, or a new one of nobody's.
func visitOf(ctx context.Context) *visit {
	if v, ok := ctx.Value(visitKey{}).(*visit); ok {
		return v
	}
	return &visit{}
}

// by notes who asks.
func (v *visit) by(c *Caller) { v.caller = c.Name }

// about notes what is to be revoked. realms are those that it touches.
func (v *visit) about(t *publisher.Target, realms []string) { v.target, v.realms = *t, realms }

// refusal is the record, but for why.
func (v *visit) refusal() events.Refusal {
	r := events.Refusal{Caller: v.caller, Remote: v.remote}
	if host, _, err := net.SplitHostPort(v.remote); err == nil {
		r.Remote = host
	}
	t := &v.target
	if t.Kind == "" {
		return r
	}
	r.Kind, r.Realm = t.Kind, strings.Join(v.realms, ",")
	switch {
	case len(t.Tokens) == 1:
		r.Target = fmt.Sprintf("token %s", t.Tokens[0].Identity)
	case len(t.Tokens) > 0:
		r.Target = fmt.Sprintf("%d tokens", len(t.Tokens))
	default:
		shown := events.Target{Kind: t.Kind, Realm: t.Realm, Claim: t.Claim, Value: t.Value, Lifted: t.Lifted}
		r.Target = shown.String()
	}
	return r
}

// untrusted is a statement that was shown as a proof, and is not taken as one.
type untrusted struct{ error }

// Unwrap gives what is wrong with it.
func (u untrusted) Unwrap() error { return u.error }

// refusalName tells whether an error is a refusal because of who asked, or of what was
// shown as a proof, and gives it a name. What is only malformed is none.
func refusalName(err error) (name string, ok bool) {
	if e, ok := errors.AsType[*setError](err); ok {
		return e.code, true
	}
	if _, ok := errors.AsType[untrusted](err); ok {
		return "untrusted-statement", true
	}
	for _, is := range []error{ErrNoCredentials, ErrBadCredentials, ErrForbidden, errLimited, errUnknownToken} {
		if errors.Is(err, is) {
			return codeOf(is).slug, true
		}
	}
	return "", false
}

// refused records a refusal in the audit stream, if err is one.
func (s *Server) refused(ctx context.Context, d door, err error) {
	name, ok := refusalName(err)
	if !ok {
		return
	}
	r := visitOf(ctx).refusal()
	r.Door, r.Error, r.Detail = d.name(), name, codeOf(err).detail
	if e, ok := errors.AsType[*setError](err); ok {
		r.Detail = e.Error()
	}
	s.pub.RecordRefusal(r)
}

// authenticate tells who sent the request, and notes it.
func (s *Server) authenticate(r *http.Request) (*Caller, error) {
	c, err := s.auth.Authenticate(r)
	if err == nil {
		visitOf(r.Context()).by(c)
	}
	return c, err
}
