package intake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
)

// errPublic is that of a client that has proved nothing: it could try tokens until
// one is known (RFC 7662 section 2.1).
var errPublic = fmt.Errorf("%w: a public client may not introspect", ErrForbidden)

// introspect is POST /oauth2/introspect. token_type_hint is read by nobody: what a
// token is can be seen.
func (d oauthDoor) introspect(w http.ResponseWriter, r *http.Request) error {
	form, c, err := d.enter(w, r)
	switch {
	case err != nil:
		return err
	case c.Public:
		return errPublic
	}
	if err := mayTry(c, events.KindToken); err != nil {
		return err
	}
	// Before the publisher has followed the streams, it does not know what is revoked.
	if err := d.s.pub.Ready(); err != nil {
		return err
	}
	var answer realm.Introspection
	if raw := form.Get("token"); events.LooksLikeJWT(raw) {
		answer, err = d.introspectJWT(r.Context(), c, raw)
	} else {
		answer, err = d.introspectOpaque(r.Context(), c, raw)
	}
	if err != nil {
		return err
	}
	writeJSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// introspectJWT says active to whoever could revoke the token, and of nothing else.
func (d oauthDoor) introspectJWT(ctx context.Context, c *Caller, raw string) (realm.Introspection, error) {
	v, err := d.s.realms.Verify(ctx, raw)
	if errors.Is(err, realm.ErrKeysUnavailable) || ctx.Err() != nil {
		return realm.Introspection{}, err
	}
	if err != nil || d.s.pub.Revoked(v.Token) {
		return realm.Introspection{}, nil
	}
	name := v.Realm.Name
	target := publisher.Target{Kind: events.KindToken, Realm: name, Tokens: []publisher.Token{{Token: v.Token, Realm: name}}}
	if authorise(c, &target, []string{name}) != nil {
		return realm.Introspection{}, nil
	}
	return v.Introspection(), nil
}

// introspectOpaque asks the agents, which know the refresh tokens that an issuer let
// them observe. That none knows it is an answer only if each has answered.
func (d oauthDoor) introspectOpaque(ctx context.Context, c *Caller, raw string) (realm.Introspection, error) {
	opaque, err := events.OpaqueToken(raw)
	if err != nil || d.s.pub.Revoked(opaque) {
		return realm.Introspection{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	known, err := d.s.pub.Query(ctx, publisher.Target{Kind: events.KindToken, Tokens: []publisher.Token{{Token: opaque, Refresh: true}}})
	switch {
	case err != nil:
		return realm.Introspection{}, err
	case known.Refresh == nil && (len(known.Silent) > 0 || d.s.someSilent()):
		return realm.Introspection{}, fmt.Errorf("%w: not every agent has said whether it knows the token", publisher.ErrNotReady)
	case known.Refresh == nil, known.Previously > 0, known.Refresh.Expires <= time.Now().Unix(),
		c.May(events.KindToken, known.Refresh.Realm) != nil:
		return realm.Introspection{}, nil
	}
	return realm.Introspection{Active: true, Username: known.Refresh.User, Expires: known.Refresh.Expires}, nil
}
