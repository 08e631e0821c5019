package intake

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
)

// lusidDoor is LUSID's sign-out: the caller's own bearer is what is revoked.
type lusidDoor struct{ s *Server }

// lusidTimeout is how long a sign-out waits for agents. Its answer does not
// depend on them.
const lusidTimeout = 250 * time.Millisecond

func (lusidDoor) name() string { return "lusid" }

func (lusidDoor) begin(http.Header) {}

// signOut is DELETE /identity/api/tokens. It takes no parameters and no body, and
// reads neither.
func (d lusidDoor) signOut(w http.ResponseWriter, r *http.Request) error {
	c, err := d.s.authenticate(r)
	if err != nil {
		return err
	}
	if c.Token == nil {
		return fmt.Errorf("%w: only a realm's token can sign itself out", ErrBadCredentials)
	}
	for _, target := range signOutTargets(c.Token, time.Now()) {
		// The key makes a retry the same order, whichever publisher it reaches.
		_, err := d.s.revoke(r.Context(), d, c, publisher.Order{Target: target, Wait: publisher.WaitAll, Timeout: lusidTimeout,
			Key: fmt.Sprintf("sign-out %s %s", target.Kind, c.Token.Token.Identity)}, []string{target.Realm})
		if err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// signOutTargets are what a sign-out by the token revokes, by its realm's
// sign_out. A token that does not name its session or user takes only itself
// with it; one issued by a clock that is ahead would escape its user's cutoff,
// and is revoked beside.
func signOutTargets(v *realm.Verified, now time.Time) []publisher.Target {
	name := v.Realm.Name
	token := publisher.Target{Kind: events.KindToken, Realm: name, Tokens: []publisher.Token{{Token: v.Token, Realm: name}}}
	switch sid, user := v.Session(), v.User(); {
	case v.Realm.SignOut == realm.SignOutSession && sid != "":
		return []publisher.Target{{Kind: events.KindSession, Realm: name, Value: sid}}
	case v.Realm.SignOut == realm.SignOutUser && user != "":
		targets := []publisher.Target{{Kind: events.KindUser, Realm: name, Value: user}}
		if v.Token.IssuedAt > now.Unix() {
			targets = append([]publisher.Target{token}, targets...)
		}
		return targets
	}
	return []publisher.Target{token}
}

// lusidProblem is a problem document with the two members that LUSID's SDKs
// require. Its code is the HTTP status.
type lusidProblem struct {
	Name         string              `json:"name"`
	ErrorDetails []map[string]string `json:"errorDetails"`
	Code         int                 `json:"code"`
	Type         string              `json:"type"`
	Title        string              `json:"title"`
	Status       int                 `json:"status"`
	Detail       string              `json:"detail"`
	Instance     string              `json:"instance"`
}

// lusidNames are the problem's names by status.
var lusidNames = map[int]string{
	http.StatusUnauthorized:                "InvalidToken",
	http.StatusForbidden:                   "Forbidden",
	http.StatusMethodNotAllowed:            "MethodNotAllowed",
	http.StatusRequestHeaderFieldsTooLarge: "TooManyHeaders",
	http.StatusServiceUnavailable:          "ServiceUnavailable",
	http.StatusTooManyRequests:             "TooManyRequests",
	http.StatusUnprocessableEntity:         "InvalidRequest",
	http.StatusInternalServerError:         "InternalError",
}

func (d lusidDoor) fail(w http.ResponseWriter, r *http.Request, err error) {
	c := d.s.explain(w, r, d, err)
	if c.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", lusidChallenge(err))
	}
	name := lusidNames[c.status]
	if name == "" {
		name = lusidNames[http.StatusInternalServerError]
	}
	writeJSON(w, "application/problem+json", c.status, lusidProblem{Name: name, ErrorDetails: []map[string]string{}, Code: c.status,
		Type: problemBase + c.slug, Title: c.title, Status: c.status, Detail: c.detail, Instance: r.URL.Path})
}

// lusidChallenge never asks for anything but a bearer.
func lusidChallenge(err error) string {
	if errors.Is(err, ErrNoCredentials) {
		return `Bearer realm="rescind"`
	}
	return `Bearer realm="rescind", error="invalid_token", error_description="` + describe(err) + `"`
}
