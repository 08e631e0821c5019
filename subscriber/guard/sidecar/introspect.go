package sidecar

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard"
)

// maxForm is the longest form that is read, in bytes.
const maxForm = 64 << 10

// oauthError is an error in the form of RFC 6749 section 5.2.
type oauthError struct {
	status            int
	code, description string
}

var (
	errNoRealms = &oauthError{http.StatusNotImplemented, "unsupported_token_type",
		"this agent has no realms: it cannot tell whether a JWT is genuine"}
	errFormType = &oauthError{http.StatusBadRequest, "invalid_request",
		"the content type must be application/x-www-form-urlencoded"}
	errFormLong  = &oauthError{http.StatusRequestEntityTooLarge, "invalid_request", "the form is longer than 64 KiB"}
	errForm      = &oauthError{http.StatusBadRequest, "invalid_request", "the form cannot be read"}
	errRepeated  = &oauthError{http.StatusBadRequest, "invalid_request", "a parameter is repeated"}
	errFormToken = &oauthError{http.StatusBadRequest, "invalid_request", "token is missing"}
)

// introspect answers RFC 7662. token_type_hint is read and ignored.
func (s *Sidecar) introspect(w http.ResponseWriter, r *http.Request) {
	var answer realm.Introspection
	raw, refused := formToken(w, r)
	if refused == nil {
		answer, refused = s.introspectToken(r.Context(), raw)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	if refused != nil {
		s.metrics.introspections.WithLabelValues("error").Inc()
		refused.write(w)
		return
	}
	s.metrics.introspections.WithLabelValues(activity(answer.Active)).Inc()
	writeJSON(w, http.StatusOK, answer)
}

func activity(active bool) string {
	if active {
		return "active"
	}
	return "inactive"
}

// formToken reads the form of the body alone: a query ends up in logs.
func formToken(w http.ResponseWriter, r *http.Request) (string, *oauthError) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		return "", errFormType
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return "", errFormLong
	}
	form, parseErr := url.ParseQuery(string(body))
	if err != nil || parseErr != nil {
		return "", errForm
	}
	for _, values := range form {
		if len(values) > 1 {
			return "", errRepeated
		}
	}
	if form.Get("token") == "" { // RFC 6749 section 3.2: no value is no parameter
		return "", errFormToken
	}
	return form.Get("token"), nil
}

func (s *Sidecar) introspectToken(ctx context.Context, raw string) (realm.Introspection, *oauthError) {
	if !events.LooksLikeJWT(raw) {
		return s.introspectOpaque(raw)
	}
	if s.cfg.Realms == nil {
		return realm.Introspection{}, errNoRealms
	}
	t, err := s.read(ctx, raw)
	if err != nil {
		if errors.Is(err, realm.ErrKeysUnavailable) || ctx.Err() != nil {
			return realm.Introspection{}, unavailable(s.judged(err))
		}
		return realm.Introspection{}, nil
	}
	live, refused := s.live(t.Token)
	if !live || refused != nil {
		return realm.Introspection{}, refused
	}
	return t.verified.Introspection(), nil
}

// introspectOpaque knows only what was observed. A listed token is refused
// whether it was or not.
func (s *Sidecar) introspectOpaque(raw string) (realm.Introspection, *oauthError) {
	t, err := events.OpaqueToken(raw)
	if err != nil {
		return realm.Introspection{}, nil
	}
	// Without a time a sign-out of all would seem to hit it, however new it is;
	// RefreshRefused knows since when the token is known.
	t.IssuedAt = time.Now().Unix()
	live, refused := s.live(t)
	if !live || refused != nil {
		return realm.Introspection{}, refused
	}
	observed, revoked := s.cfg.Agent.RefreshRefused(t.Identity)
	return realm.Introspection{Active: observed && !revoked}, nil
}

// live asks the agent.
func (s *Sidecar) live(t *events.Token) (bool, *oauthError) {
	var err error
	if s.cfg.MaxStaleness > 0 {
		err = s.cfg.Agent.CheckWithin(t, s.cfg.MaxStaleness)
	} else {
		err = s.cfg.Agent.Check(t)
	}
	if err != nil && !errors.Is(err, subscriber.ErrRevoked) {
		return false, unavailable(err)
	}
	return err == nil, nil
}

func unavailable(err error) *oauthError {
	r := guard.RefusalOf(err)
	return &oauthError{http.StatusServiceUnavailable, r.Code, r.Description}
}

func (e *oauthError) write(w http.ResponseWriter) {
	if e.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	writeJSON(w, e.status, map[string]string{"error": e.code, "error_description": e.description})
}

// retryAfter is how many seconds a caller is asked to wait.
const retryAfter = 1

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// An error means that the caller is gone.
	_ = json.NewEncoder(w).Encode(v)
}
