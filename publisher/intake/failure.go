package intake

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/publisher/transmit"
)

// What is wrong with a request, beside what the publisher and the authenticator
// say.
var (
	// errMalformed is a request that cannot be read: not JSON, a member given
	// twice, a parameter or header that makes no sense.
	errMalformed = errors.New("malformed request")
	// errUnprocessable is a request that can be read and makes no sense.
	errUnprocessable = errors.New("unprocessable request")
	errTooLarge      = errors.New("request is too large")
	errMediaType     = errors.New("unsupported media type")
	errMethod        = errors.New("method not allowed")
	errHeaders       = errors.New("too many header fields")
	errNoRoute       = errors.New("no such page")
	// errUnknownToken is a token that nobody vouches for: it cannot be verified,
	// or it is opaque and no agent has observed it.
	errUnknownToken = errors.New("unknown token")
	// errExpiredToken is a verified token that is dead already.
	errExpiredToken = errors.New("token has expired")
)

// code is how an error looks to HTTP.
type code struct {
	err    error
	status int
	// slug ends the problem's type URI, title is its name for people.
	slug, title string
	// tell means that the error's text is for the caller; otherwise it is for
	// the log only, and detail is sent.
	tell   bool
	detail string
	retry  bool
}

// codes is the one table of errors, the first match wins. What is not in it is
// a fault of ours.
var codes = []code{
	{err: ErrNoCredentials, status: 401, slug: "unauthenticated", title: "Credentials are required",
		detail: "no credentials: send an Authorization header with Bearer, ApiKey or Basic"},
	{err: ErrBadCredentials, status: 401, slug: "unauthenticated", title: "Credentials are not valid", tell: true},
	{err: ErrForbidden, status: 403, slug: "forbidden", title: "Not allowed", tell: true},
	{err: errLimited, status: 429, slug: "rate-limited", title: "Too many revocations", tell: true},
	{err: errMalformed, status: 400, slug: "malformed", title: "Request cannot be read", tell: true},
	{err: errTooLarge, status: 413, slug: "too-large", title: "Request is too large", tell: true},
	{err: errMediaType, status: 415, slug: "media-type", title: "Media type is not supported", tell: true},
	{err: errMethod, status: 405, slug: "method", title: "Method is not allowed", tell: true},
	{err: errHeaders, status: 431, slug: "headers", title: "Too many header fields", tell: true},
	{err: errNoRoute, status: 404, slug: "not-found", title: "Not found", detail: "there is nothing here"},
	{err: errUnknownToken, status: 422, slug: "unknown-token", title: "Token is not known", tell: true},
	{err: errExpiredToken, status: 422, slug: "expired-token", title: "Token has expired",
		detail: "the token has expired: there is nothing to revoke"},
	{err: errUnprocessable, status: 422, slug: "invalid", title: "Request is not valid", tell: true},
	{err: publisher.ErrConflict, status: 409, slug: "conflict", title: "Idempotency-Key was used for another revocation",
		detail: "use a new key for a new revocation"},
	{err: publisher.ErrNotFound, status: 404, slug: "not-found", title: "Not found", detail: "no such revocation"},
	{err: transmit.ErrNotFound, status: 404, slug: "not-found", title: "Not found", detail: "no such stream"},
	{err: transmit.ErrExists, status: 409, slug: "stream-exists", title: "There is a stream already",
		detail: "a receiver has one stream: change it, or delete it first"},
	{err: transmit.ErrInvalid, status: 400, slug: "invalid-stream", title: "Stream is not valid", tell: true},
	{err: transmit.ErrTooSoon, status: 429, slug: "too-soon", title: "Too soon", retry: true,
		detail: "min_verification_interval has not passed since the last verification"},
	{err: transmit.ErrUnavailable, status: 503, slug: "unavailable", title: "Streams cannot be reached", retry: true,
		detail: "the bus is away: nothing was done"},
	{err: publisher.ErrQueued, status: 503, slug: "queued", title: "Accepted, not in force yet", retry: true,
		detail: "the bus is away: it will be done when it is back; the same request again joins this one"},
	{err: realm.ErrKeysUnavailable, status: 503, slug: "keys-unavailable", title: "Keys are not available", retry: true,
		detail: "the issuer's keys cannot be had now, so its tokens cannot be checked"},
	{err: publisher.ErrNotReady, status: 503, slug: "not-ready", title: "Publisher is not ready", retry: true,
		detail: "the publisher cannot ask the agents now: nothing was accepted"},
	{err: publisher.ErrStorage, status: 503, slug: "storage", title: "Nothing can be stored", retry: true,
		detail: "the publisher cannot write: nothing was accepted"},
	{err: publisher.ErrClosed, status: 503, slug: "closing", title: "Publisher is closing", retry: true,
		detail: "the publisher is closing: nothing was accepted"},
	{err: publisher.ErrInvalid, status: 422, slug: "invalid", title: "Request is not valid", tell: true},
	{err: context.Canceled, status: 503, slug: "cancelled", title: "Request was cancelled", retry: true},
	{err: context.DeadlineExceeded, status: 503, slug: "timeout", title: "It took too long", retry: true},
}

// codeOf finds the error in the table.
func codeOf(err error) code {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			if c.tell {
				c.detail = strings.TrimPrefix(err.Error(), c.err.Error()+": ")
			}
			return c
		}
	}
	return code{status: http.StatusInternalServerError, slug: "internal", title: "Internal error",
		detail: "the publisher's log says more"}
}

// retryAfter is what Retry-After says, in seconds: an outage of the bus is
// mostly a reconnect.
const retryAfter = "2"

// explain looks an error up, notes it in the log when it is no fault of the
// caller's and in the audit stream when it is a refusal, and sets the headers that
// go with it.
func (s *Server) explain(w http.ResponseWriter, r *http.Request, d door, err error) code {
	c := codeOf(err)
	s.refused(r.Context(), d, err)
	if c.status >= 500 {
		s.log.Warn("request failed", "door", d.name(), "method", r.Method, "path", r.URL.Path, "status", c.status, "err", err)
	}
	if c.retry {
		w.Header().Set("Retry-After", retryAfter)
	}
	if e, ok := errors.AsType[*rateError](err); ok {
		w.Header().Set("Retry-After", e.seconds())
	}
	return c
}

// fieldError says what is wrong with one member of a body.
type fieldError struct {
	// Pointer is a JSON pointer as a URI fragment (RFC 6901 section 6).
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
	cause   error
}

// fieldErrors are all that is wrong with a body.
type fieldErrors []fieldError

func (f fieldErrors) Error() string {
	switch len(f) {
	case 1:
		return f[0].Detail
	default:
		return "several members are not right"
	}
}

// Unwrap gives the causes, or errUnprocessable when there are none.
func (f fieldErrors) Unwrap() []error {
	var causes []error
	for _, e := range f {
		if e.cause != nil {
			causes = append(causes, e.cause)
		}
	}
	return append(causes, errUnprocessable)
}

// wrong makes the error of one member.
func wrong(name, detail string) error {
	return fieldErrors{{Pointer: pointer(name), Detail: detail}}
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// pointer is the JSON pointer to a member of the body, as a URI fragment.
func pointer(path ...string) string {
	p := "#"
	for _, name := range path {
		p += "/" + fragment(pointerEscapes.Replace(name))
	}
	return p
}
