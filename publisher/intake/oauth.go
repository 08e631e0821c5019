package intake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher"
)

// oauthDoor is OAuth's token revocation (RFC 7009) and introspection (RFC 7662).
// rescind is not the authorization server: it makes services refuse a token, and
// tells whether they do.
type oauthDoor struct{ s *Server }

const (
	revokePath     = "/oauth2/revoke"
	introspectPath = "/oauth2/introspect"
	// oauthTimeout is how long a revocation waits for agents. Its answer does not
	// depend on them.
	oauthTimeout = 250 * time.Millisecond
)

func (oauthDoor) name() string { return "oauth" }

func (oauthDoor) begin(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
}

// revoke is POST /oauth2/revoke. A token that is dead, revoked already, or nobody's
// that could be verified is answered as one that was revoked (RFC 7009 section 2.2).
func (d oauthDoor) revoke(w http.ResponseWriter, r *http.Request) error {
	// A client in a browser must be able to read the answer. No cookie counts here.
	w.Header().Set("Access-Control-Allow-Origin", "*")
	form, c, err := d.enter(w, r)
	if err != nil {
		return err
	}
	if err := mayTry(c, events.KindToken); err != nil {
		return err
	}
	t, realms, err := d.token(r.Context(), c, form)
	switch {
	case errors.Is(err, errUnknownToken), errors.Is(err, errExpiredToken):
		d.s.refused(r.Context(), d, err)
		d.s.log.Info("token not revoked", "door", d.name(), "caller", c.Name, "reason", err)
		d.s.metrics.unknown(d.name())
	case err != nil:
		return err
	default:
		target := publisher.Target{Kind: events.KindToken, Realm: t.Realm, Tokens: []publisher.Token{t}}
		if _, err := d.s.revoke(r.Context(), d, c, publisher.Order{Target: target, Wait: publisher.WaitAll, Timeout: oauthTimeout}, realms); err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// preflight lets a page of any origin send what RFC 7009 takes.
func (oauthDoor) preflight(w http.ResponseWriter, _ *http.Request) error {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", http.MethodPost)
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	h.Set("Access-Control-Max-Age", "3600")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// enter reads the form, which may hold the credentials, and authenticates the caller.
func (d oauthDoor) enter(w http.ResponseWriter, r *http.Request) (url.Values, *Caller, error) {
	form, err := readForm(w, r)
	if err != nil {
		return nil, nil, err
	}
	c, err := d.s.auth.authenticateForm(r, form, []string{d.s.pub.Issuer(), d.s.endpoint(revokePath), d.s.endpoint(introspectPath)})
	if err != nil {
		return nil, nil, err
	}
	visitOf(r.Context()).by(c)
	if form.Get("token") == "" {
		return nil, nil, fmt.Errorf("%w: token is missing", errMalformed)
	}
	return form, c, nil
}

// token reads the token that is to be revoked. token_type_hint tells how long a JWT
// may live, and nothing else: a wrong one does no harm.
func (d oauthDoor) token(ctx context.Context, c *Caller, form url.Values) (publisher.Token, []string, error) {
	raw := form.Get("token")
	if !events.LooksLikeJWT(raw) || form.Get("token_type_hint") == "refresh_token" {
		return d.s.refreshToken(ctx, c, raw)
	}
	t, err := d.s.accessToken(ctx, raw)
	return t, []string{t.Realm}, err
}

// oauthProblem is an error of RFC 6749 section 5.2.
type oauthProblem struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

func (d oauthDoor) fail(w http.ResponseWriter, r *http.Request, err error) {
	d.s.failOAuth(w, r, d, err)
}

// failOAuth answers in the form of OAuth, which others have taken over.
func (s *Server) failOAuth(w http.ResponseWriter, r *http.Request, d door, err error) {
	c := s.explain(w, r, d, err)
	status, name := oauthCode(r, c.status, err)
	switch {
	case errors.Is(err, ErrNoCredentials):
		w.Header().Set("WWW-Authenticate", basicChallenge)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		w.Header().Set("WWW-Authenticate", challenge(r, err))
	}
	writeJSON(w, "application/json;charset=UTF-8", status, oauthProblem{name, plain(c.detail)})
}

// oauthCode gives an error its status and its name in OAuth. 401 is for callers who
// used the Authorization header, or nothing: it must tell them which scheme to use.
func oauthCode(r *http.Request, status int, err error) (int, string) {
	header := len(r.Header.Values("Authorization")) > 0
	bearer := header && scheme(r) != "basic"
	switch {
	case errors.Is(err, errNotIssued):
		return http.StatusBadRequest, "invalid_grant"
	case errors.Is(err, ErrForbidden) && bearer:
		return http.StatusForbidden, "insufficient_scope"
	case errors.Is(err, ErrForbidden):
		return http.StatusBadRequest, "unauthorized_client"
	case errors.Is(err, ErrBadCredentials) && bearer:
		return http.StatusUnauthorized, "invalid_token"
	case errors.Is(err, ErrBadCredentials) && !header:
		return http.StatusBadRequest, "invalid_client"
	case status == http.StatusUnauthorized:
		return status, "invalid_client"
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		return status, "temporarily_unavailable"
	case status >= http.StatusInternalServerError:
		return status, "server_error"
	case status == http.StatusMethodNotAllowed, status == http.StatusRequestEntityTooLarge, status == http.StatusRequestHeaderFieldsTooLarge:
		return status, "invalid_request"
	}
	return http.StatusBadRequest, "invalid_request"
}
