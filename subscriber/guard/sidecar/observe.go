package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

const (
	// maxObservation is the longest body that is read, in bytes.
	maxObservation = 4 << 20
	// maxObserved is how many tokens one request may bring.
	maxObserved = 1000
	// maxRefreshLife is the longest life of a refresh token whose realm is not
	// known here. A time in milliseconds lies beyond it.
	maxRefreshLife = 10 * 365 * 24 * time.Hour
)

// observedJSON is one token that was seen: an access token, or a refresh token
// with whose it is and when it dies.
type observedJSON struct {
	Token        string `json:"token"`
	RefreshToken string `json:"refresh_token"`
	Realm        string `json:"realm"`
	User         string `json:"user"`
	ExpiresAt    int64  `json:"expires_at"`
}

// observation is one that was checked: a verified token, or a refresh token by
// its identity. A dead token is neither.
type observation struct {
	token   *events.Token
	id      events.Identity
	refresh events.RefreshToken
}

func (s *Sidecar) observe(w http.ResponseWriter, r *http.Request) {
	items, array, p := readObserved(w, r)
	if p != nil {
		p.write(w)
		return
	}
	checked, p := s.checkObserved(r.Context(), items, array)
	if p != nil {
		p.write(w)
		return
	}
	for _, o := range checked {
		if err := s.takeObserved(o); err != nil {
			// A closed or full agent refuses; what went before does no harm.
			newProblem(http.StatusServiceUnavailable, err.Error()).write(w)
			return
		}
	}
	s.metrics.observed.Add(float64(len(checked)))
	w.WriteHeader(http.StatusNoContent)
}

func (s *Sidecar) takeObserved(o observation) error {
	if o.token != nil {
		s.cfg.Agent.Observe(o.token)
		return nil
	}
	return s.cfg.Agent.ObserveRefresh(o.id, o.refresh)
}

// readObserved reads one or an array, and tells which it was.
func readObserved(w http.ResponseWriter, r *http.Request) (items []observedJSON, array bool, p *problem) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, false, newProblem(http.StatusUnsupportedMediaType, "the content type must be application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxObservation))
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return nil, false, newProblem(http.StatusRequestEntityTooLarge, "the body is longer than 4 MiB: send fewer tokens at once")
	}
	body = bytes.TrimLeft(body, " \t\r\n")
	array = bytes.HasPrefix(body, []byte("["))
	items = make([]observedJSON, 1)
	into := any(&items[0])
	if array {
		items, into = nil, &items
	}
	if err != nil || !decodeStrict(body, into) {
		return nil, array, newProblem(http.StatusBadRequest,
			"the body must be an object or an array of objects with token, or refresh_token, realm, user and expires_at")
	}
	if len(items) > maxObserved {
		return nil, array, newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("more than %d tokens", maxObserved))
	}
	return items, array, nil
}

// decodeStrict refuses members that it does not know and anything after the
// value. The error of encoding/json quotes the body, so it is not passed on.
func decodeStrict(body []byte, into any) bool {
	if !bytes.HasPrefix(body, []byte("[")) && !bytes.HasPrefix(body, []byte("{")) {
		return false // null would be taken for nothing
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if d.Decode(into) != nil {
		return false
	}
	_, err := d.Token()
	return errors.Is(err, io.EOF)
}

// checkObserved checks all before any is taken.
func (s *Sidecar) checkObserved(ctx context.Context, items []observedJSON, array bool) ([]observation, *problem) {
	var out []observation
	var errs []problemError
	for i := range items {
		o, err := s.checkOne(ctx, &items[i])
		var bad *badMember
		switch {
		case errors.As(err, &bad):
			pointer := "/" + bad.member
			if array {
				pointer = fmt.Sprintf("/%d/%s", i, bad.member)
			}
			errs = append(errs, problemError{bad.detail, "#" + pointer})
		case errors.Is(err, errUnverifiable):
			return nil, newProblem(http.StatusConflict, err.Error())
		case err != nil:
			s.log.Warn("an observed token cannot be verified", "err", err)
			return nil, newProblem(http.StatusServiceUnavailable, "a token cannot be verified now; nothing was taken")
		case o != nil:
			out = append(out, *o)
		}
	}
	if len(errs) > 0 {
		return nil, newProblem(http.StatusUnprocessableEntity, "nothing was taken: see errors", errs...)
	}
	return out, nil
}

// badMember says which member of an item is wrong, and how.
type badMember struct{ member, detail string }

func (e *badMember) Error() string { return e.member + ": " + e.detail }

// errUnverifiable is returned for a JWT when there is nothing to verify it with.
var errUnverifiable = errors.New("this agent has no realms and cannot verify a JWT: it takes opaque refresh tokens only")

// checkOne gives nil for a token that is dead already.
func (s *Sidecar) checkOne(ctx context.Context, o *observedJSON) (*observation, error) {
	switch {
	case (o.Token == "") == (o.RefreshToken == ""):
		return nil, &badMember{"token", "exactly one of token and refresh_token must be given"}
	case o.Token != "" && (o.Realm != "" || o.User != "" || o.ExpiresAt != 0):
		return nil, &badMember{"token", "the token itself says its realm, user and expiry"}
	case o.Token != "":
		return s.checkJWT(ctx, "token", o, s.cfg.Realms.Verify)
	case events.LooksLikeJWT(o.RefreshToken):
		return s.checkJWT(ctx, "refresh_token", o, s.cfg.Realms.VerifyRefresh)
	default:
		return s.checkOpaque(o)
	}
}

func (s *Sidecar) checkJWT(ctx context.Context, member string, o *observedJSON,
	verify func(context.Context, string) (*realm.Verified, error)) (*observation, error) {
	if s.cfg.Realms == nil {
		return nil, errUnverifiable
	}
	v, err := verify(ctx, or(o.Token, o.RefreshToken))
	switch {
	case errors.Is(err, realm.ErrExpired):
		return nil, nil
	case errors.Is(err, realm.ErrKeysUnavailable), err != nil && ctx.Err() != nil:
		return nil, err
	case err != nil:
		return nil, &badMember{member, err.Error()} // no part of the token is in it
	case o.Realm != "" && o.Realm != v.Realm.Name:
		return nil, &badMember{"realm", "the token is of another realm"}
	}
	return &observation{token: v.Token}, nil
}

func (s *Sidecar) checkOpaque(o *observedJSON) (*observation, error) {
	longest, now := maxRefreshLife, time.Now()
	if s.cfg.Realms != nil {
		r, ok := s.cfg.Realms.Get(o.Realm)
		if !ok {
			return nil, &badMember{"realm", "no such realm"}
		}
		longest = r.MaxSession + r.Leeway
	}
	t, err := events.OpaqueToken(o.RefreshToken)
	switch {
	case err != nil:
		return nil, &badMember{"refresh_token", "too long"}
	case o.Realm == "" || len(o.Realm) > events.MaxValueBytes:
		return nil, &badMember{"realm", "must be given"}
	case len(o.User) > events.MaxValueBytes:
		return nil, &badMember{"user", "too long"}
	case o.ExpiresAt <= 0:
		return nil, &badMember{"expires_at", "must be given, in Unix seconds"}
	case o.ExpiresAt > now.Add(longest).Unix():
		return nil, &badMember{"expires_at", "later than a session may last: is it in Unix seconds?"}
	case o.ExpiresAt <= now.Unix():
		return nil, nil
	}
	return &observation{id: t.Identity,
		refresh: events.RefreshToken{Realm: o.Realm, User: o.User, Expires: o.ExpiresAt}}, nil
}
