package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
)

// globalDoor is Global Token Revocation (draft-parecki-oauth-global-token-revocation),
// which Okta calls Universal Logout. It takes a caller as every door does, or a JWT
// that the realm's issuer has signed for this one call.
type globalDoor struct {
	s     *Server
	shown *shown
}

const (
	globalPath      = "/global-token-revocation"
	globalType      = "global-token-revocation+jwt"
	globalBodyLimit = 64 << 10
	// globalTimeout is how long a revocation waits for agents. Its answer does not
	// depend on them.
	globalTimeout = 250 * time.Millisecond
	// maxGlobalLife is how long a JWT for one call may be good for. Okta's are for
	// five minutes.
	maxGlobalLife = time.Hour
)

func (globalDoor) name() string { return "global_token_revocation" }

func (globalDoor) begin(http.Header) {}

func (d globalDoor) fail(w http.ResponseWriter, r *http.Request, err error) {
	d.s.failProblem(w, r, d, err)
}

// revoke is POST /global-token-revocation. Users are not looked up anywhere, so one
// that nobody knows is signed out like any other.
func (d globalDoor) revoke(w http.ResponseWriter, r *http.Request) (err error) {
	c, h, forget, err := d.caller(r)
	if err != nil {
		return err
	}
	// A JWT counts as shown when what it asks for is done.
	defer func() {
		if err != nil {
			forget()
		}
	}()
	targets, err := d.targets(w, r, h)
	if err != nil {
		return err
	}
	for _, t := range targets {
		o := publisher.Order{Target: t, Wait: publisher.WaitAll, Timeout: globalTimeout}
		if _, err := d.s.revoke(r.Context(), d, c, o, []string{t.Realm}); err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// caller authenticates, and gives the realm that subjects without an issuer are of:
// the one that the caller is bound to.
func (d globalDoor) caller(r *http.Request) (*Caller, home, func(), error) {
	_, credentials, err := authorization(r.Header)
	if err != nil {
		return nil, home{}, nil, err
	}
	if s, err := events.ParseStatement(credentials); err == nil && s.Type == globalType {
		return d.issuer(r, credentials)
	}
	c, err := d.s.authenticate(r)
	if err != nil {
		return nil, home{}, nil, err
	}
	return c, d.s.homeOf(c), func() {}, nil
}

// homeOf is the one realm that the caller may act in, if there is one only.
func (s *Server) homeOf(c *Caller) home {
	h := home{realms: s.realms}
	names := c.Realms
	if names == nil {
		names = s.realms.Names()
	}
	if len(names) == 1 {
		h.realm, _ = s.realms.Get(names[0])
	}
	return h
}

// issuer verifies the JWT of an issuer, as Okta documents it.
func (d globalDoor) issuer(r *http.Request, raw string) (*Caller, home, func(), error) {
	s, err := d.s.realms.VerifyStatement(r.Context(), raw)
	if err == nil {
		err = d.check(s)
	}
	if errors.Is(err, realm.ErrKeysUnavailable) || r.Context().Err() != nil {
		return nil, home{}, nil, err
	}
	if err != nil {
		return nil, home{}, nil, fmt.Errorf("%w: %w", ErrBadCredentials, err)
	}
	if !d.shown.first(s.Issuer, s.JTI) {
		return nil, home{}, nil, bad("the JWT was shown before")
	}
	return issuerCaller(s), home{realms: d.s.realms, realm: s.Realm, issuer: s.Issuer}, func() { d.shown.drop(s.Issuer, s.JTI) }, nil
}

func (d globalDoor) check(s *realm.Statement) error {
	switch {
	case s.Realm.LogoutClients != nil && !slices.Contains(s.Realm.LogoutClients, s.Subject):
		return errors.New("sub of the JWT is none of the realm's logout_clients")
	case !slices.Equal(s.Audience, []string{d.s.endpoint(globalPath)}):
		return errors.New("aud of the JWT must be " + d.s.endpoint(globalPath))
	case s.Subject == "" || s.JTI == "" || s.Expires == 0:
		return errors.New("one of sub, jti and exp is missing")
	case s.Expires-s.IssuedAt > int64(maxGlobalLife/time.Second):
		return errors.New("the JWT is for longer than an hour, or has no iat")
	}
	return s.CheckTimes(s.Realm.Leeway)
}

// targets reads the body: sub_id, which former drafts called subject.
func (d globalDoor) targets(w http.ResponseWriter, r *http.Request, h home) ([]publisher.Target, error) {
	if !isJSON(r.Header) {
		return nil, fmt.Errorf("%w: Content-Type must be application/json", errMediaType)
	}
	body, err := readBody(w, r, globalBodyLimit, false)
	if err != nil {
		return nil, err
	}
	members, err := readObject(body)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	for _, m := range members {
		if m.name == "sub_id" || m.name == "subject" && raw == nil {
			raw = m.value
		}
	}
	if raw == nil {
		return nil, fmt.Errorf("%w: sub_id is missing", errMalformed)
	}
	s, err := readSubject(raw)
	switch {
	case errors.Is(err, errSubject):
		return nil, fmt.Errorf("%w: format of sub_id must be email, iss_sub or opaque", errMalformed)
	case err != nil:
		return nil, err
	case !slices.Contains([]string{"email", "iss_sub", "opaque"}, s.format):
		return nil, fmt.Errorf("%w: format of sub_id must be email, iss_sub or opaque", errMalformed)
	}
	if s.format == "iss_sub" && h.issuer != "" && s.texts["iss"] != h.issuer {
		return nil, fmt.Errorf("%w: an issuer signs out its own users only", ErrForbidden)
	}
	return h.targets(s)
}
