package intake

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
)

// logoutDoor receives the logout tokens of the realms' OpenID Providers (OIDC
// Back-Channel Logout 1.0). A token is its own credential: it speaks for the issuer
// that signed it, in that issuer's realm.
type logoutDoor struct {
	s *Server
	// queued remembers the tokens that were answered 503: the provider sends them
	// again.
	queued *shown
}

const (
	// logoutEvent is written with http, not https.
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// logoutTimeout is how long a logout waits for agents. Its answer does not
	// depend on them.
	logoutTimeout = 250 * time.Millisecond
)

func (logoutDoor) name() string { return "backchannel_logout" }

func (logoutDoor) begin(h http.Header) { h.Set("Cache-Control", "no-store") }

// logout is POST /backchannel-logout. Other parameters of the form are ignored.
func (d logoutDoor) logout(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	raw := form.Get("logout_token")
	if raw == "" {
		return fmt.Errorf("%w: logout_token is missing", errMalformed)
	}
	s, err := d.s.realms.VerifyStatement(r.Context(), raw)
	if err == nil {
		err = checkLogout(s)
	}
	if errors.Is(err, realm.ErrKeysUnavailable) || r.Context().Err() != nil {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: the logout token: %w", errMalformed, untrusted{err})
	}
	// A user who has signed in again since the token's iat stays so.
	o := publisher.Order{Target: logoutTarget(s), NotBefore: s.IssuedAt, Ahead: true, Wait: publisher.WaitAll, Timeout: logoutTimeout,
		Key: "logout token " + strconv.Quote(s.Issuer) + " " + s.JTI}
	if !o.Target.Kind.HasCutoff() {
		o.NotBefore = 0
	}
	res, err := d.s.revoke(r.Context(), d, issuerCaller(s), o, []string{s.Realm.Name})
	switch {
	case errors.Is(err, publisher.ErrConflict):
		return fmt.Errorf("%w: the logout token: %w", errMalformed, untrusted{errors.New("its jti is that of another")})
	case errors.Is(err, publisher.ErrQueued):
		d.queued.first(s.Issuer, s.JTI)
		return err
	case err != nil:
		return err
	case res.Replayed && !d.queued.drop(s.Issuer, s.JTI):
		return fmt.Errorf("%w: the logout token: %w", errMalformed, untrusted{errors.New("it was shown before")})
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// checkLogout is the validation of section 2.6, but for the signature.
func checkLogout(s *realm.Statement) error {
	logout, _ := s.Claims["events"].(map[string]any)
	_, isLogout := logout[logoutEvent].(map[string]any)
	_, hasNonce := s.Claims["nonce"]
	switch {
	case s.Type != "" && s.Type != "jwt" && s.Type != "logout+jwt":
		return errors.New("typ is that of something else")
	case !isLogout:
		return errors.New("events has no member " + logoutEvent)
	case hasNonce:
		return errors.New("it has a nonce, as an ID token has")
	case s.IssuedAt == 0 || s.Expires == 0 || s.JTI == "" || len(s.Audience) == 0:
		return errors.New("one of aud, iat, exp and jti is missing")
	case s.Realm.LogoutClients != nil && !slices.ContainsFunc(s.Audience, func(aud string) bool {
		return slices.Contains(s.Realm.LogoutClients, aud)
	}):
		return errors.New("aud is none of the realm's logout_clients")
	case s.Subject == "" && logoutSession(s) == "":
		return errors.New("neither sub nor sid is there")
	}
	return s.CheckTimes(s.Realm.Leeway)
}

func logoutSession(s *realm.Statement) string {
	sid, _ := s.Claims["sid"].(string)
	return sid
}

// logoutTarget is the session, or the user where the token or the realm has no
// sessions. Users are named by sub here, whatever the realm's user_claim.
func logoutTarget(s *realm.Statement) publisher.Target {
	sid := logoutSession(s)
	if sid != "" && (s.Realm.BackchannelLogout == realm.SignOutSession || s.Subject == "") {
		return publisher.Target{Kind: events.KindSession, Realm: s.Realm.Name, Issuer: s.Issuer, Value: sid}
	}
	return publisher.Target{Kind: events.KindUser, Realm: s.Realm.Name, Issuer: s.Issuer, Claim: "sub", Value: s.Subject}
}

func (d logoutDoor) fail(w http.ResponseWriter, r *http.Request, err error) {
	d.s.failOAuth(w, r, d, err)
}
