package guard

import (
	"fmt"
	"strings"
)

// credentials gives the token from the values of the Authorization headers. Admit
// takes only what no other reader could split otherwise: one header, of one
// scheme, one blank and one token68 (RFC 9110 section 11.2). Some proxies join
// doubled headers with a comma, and a comma is not part of a token68.
//
// That the token is one is looked at only when it was not read: every character of a
// JWT is one of a token68's.
func credentials(values []string) (string, error) {
	switch len(values) {
	case 0:
		return "", ErrNoToken
	case 1:
	default:
		return "", fmt.Errorf("%w: more than one", ErrBadRequest)
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	switch {
	case scheme == "" || token == "":
		return "", errNotOneToken
	case !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "DPoP"):
		switch {
		case !isToken68(token):
			return "", errNotOneToken
		case strings.EqualFold(scheme, "Basic"):
			return "", errBasic
		}
		return "", fmt.Errorf("%w: the scheme is another one", ErrNoToken)
	}
	return token, nil
}

var (
	errNotOneToken = fmt.Errorf("%w: not a scheme, a blank and a token", ErrBadRequest)
	// errBasic is for a password in the place of a token.
	errBasic = fmt.Errorf("%w: the scheme is Basic", ErrNoToken)
)

// isToken68 tells whether s is one or more of the characters of a token68,
// followed by any number of "=".
func isToken68(s string) bool {
	for s != "" && s[len(s)-1] == '=' {
		s = s[:len(s)-1]
	}
	for i := range len(s) {
		if !token68[s[i]] {
			return false
		}
	}
	return s != ""
}

// token68 has the characters of a token68 but "=".
var token68 = func() (is [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/" {
		is[c] = true
	}
	return is
}()
