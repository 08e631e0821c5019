package guard

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/subscriber"
)

var (
	// ErrNoToken is returned for a request without a bearer token.
	ErrNoToken = errors.New("no bearer token")
	// ErrBadRequest is returned for an Authorization header that is not exactly
	// one scheme and one token, and for tokens in two places.
	ErrBadRequest = errors.New("malformed Authorization")
	// ErrInvalidToken is returned for a token that verify refused.
	ErrInvalidToken = errors.New("token was not accepted")
	// ErrForbidden is for Verify to wrap when the token is genuine and a policy
	// still refuses it: another token of the same kind would be refused too.
	ErrForbidden = errors.New("token is not allowed here")
	// ErrUnavailable is for Verify to wrap when it cannot judge the token now.
	ErrUnavailable = errors.New("token cannot be verified now")
)

// Refusal is the answer to a request that was not admitted.
type Refusal struct {
	// Status is the HTTP status: 400, 401, 403 or 503.
	Status int
	// Code and Description are those of RFC 6750 section 3.1, in the characters
	// that it allows. Both are "" when the request had no token. The description of
	// invalid_token is for programs too: revoked, expired, malformed, not accepted,
	// not an access token.
	Code, Description string
}

// refusals is the one place where errors become answers; the first that fits
// counts.
var refusals = []struct {
	err error
	Refusal
}{
	{ErrUnavailable, unavailable("The token cannot be verified now")},
	{subscriber.ErrNotReady, unavailable("What was revoked is not known yet")},
	{subscriber.ErrStale, unavailable("What was revoked is known only up to too long ago")},
	{ErrForbidden, Refusal{http.StatusForbidden, "access_denied", "The access token is not allowed here"}},
	{subscriber.ErrUnrevocable, Refusal{http.StatusForbidden, "access_denied", "The access token lives too long to be revoked reliably"}},
	{ErrNoToken, Refusal{Status: http.StatusUnauthorized}},
	{ErrBadRequest, Refusal{http.StatusBadRequest, "invalid_request", "The request must carry exactly one token, in one Authorization header"}},
	{subscriber.ErrRevoked, invalidToken("revoked")},
	{events.ErrNotAccessToken, invalidToken("not an access token")},
	{events.ErrMalformedToken, invalidToken("malformed")},
	{jwt.ErrTokenExpired, invalidToken("expired")},
	{ErrInvalidToken, invalidToken("not accepted")},
}

func invalidToken(description string) Refusal {
	return Refusal{http.StatusUnauthorized, "invalid_token", description}
}

func unavailable(description string) Refusal {
	return Refusal{http.StatusServiceUnavailable, "temporarily_unavailable", description}
}

// RefusalOf gives the answer to an error of Admit. An error that it does not
// know is a failure to decide: 503.
func RefusalOf(err error) Refusal {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.Refusal
		}
	}
	return unavailable("The request cannot be decided now")
}

// Challenge is the value of WWW-Authenticate (RFC 6750 section 3), with the realm
// that it names.
func (r Refusal) Challenge(realm string) string {
	c := `Bearer realm="` + quoted.Replace(realm) + `"`
	if r.Code != "" {
		c += `, error="` + quoted.Replace(r.Code) + `", error_description="` + quoted.Replace(r.Description) + `"`
	}
	return c
}

// quoted escapes what may not stand as it is in a quoted-string (RFC 9110
// section 5.6.4).
var quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// RetryAfter is how long a client is asked to wait: agents catch up
// within one beacon.
const RetryAfter = time.Second

// Write sends the refusal, as Answer gives it.
func (r Refusal) Write(w http.ResponseWriter, realm string) {
	header, body := r.Answer(realm)
	maps.Copy(w.Header(), header)
	w.WriteHeader(r.Status)
	_, _ = w.Write(body) // an error means that the client is gone
}

// Answer gives the header and the body that go with Status: a challenge with 400 and
// 401, Retry-After with 503, a small JSON body when there is a code. No cache may keep
// it.
func (r Refusal) Answer(realm string) (http.Header, []byte) {
	h := http.Header{"Cache-Control": {"no-store"}}
	switch r.Status {
	case http.StatusBadRequest, http.StatusUnauthorized:
		h.Set("WWW-Authenticate", r.Challenge(realm))
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(int(RetryAfter/time.Second)))
	}
	if r.Code == "" {
		return h, nil
	}
	h.Set("Content-Type", "application/json")
	body, err := json.Marshal(map[string]string{"error": r.Code, "error_description": r.Description})
	if err != nil {
		panic(err) // two strings
	}
	return h, append(body, '\n')
}
