package intake

import (
	"errors"
	"net/http"
	"strings"
)

// challenge is the WWW-Authenticate of a door that takes bearers (RFC 6750
// section 3): without an error code when there were no credentials, in the
// scheme that the caller tried.
func challenge(r *http.Request, err error) string {
	switch {
	case errors.Is(err, ErrForbidden):
		return `Bearer realm="rescind", error="insufficient_scope"`
	case !errors.Is(err, ErrBadCredentials):
		return `Bearer realm="rescind"`
	case scheme(r) == "basic":
		return basicChallenge
	}
	return `Bearer realm="rescind", error="invalid_token", error_description="` + describe(err) + `"`
}

const basicChallenge = `Basic realm="rescind", charset="UTF-8"`

// scheme is what the caller tried, in lower case.
func scheme(r *http.Request) string {
	s, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.ToLower(s)
}

// describe makes an error fit for error_description (RFC 6750 section 3: no
// quotes, no backslash, ASCII).
func describe(err error) string {
	return plain(strings.TrimPrefix(err.Error(), ErrBadCredentials.Error()+": "))
}

// plain leaves of a text what OAuth's errors may hold (RFC 6749 section 5.2).
func plain(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return '\''
		}
		return c
	}, text)
}
