package intake

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

// client is an OAuth client that may revoke and introspect its own tokens.
type client struct {
	ClientConfig
	sum  [sha256.Size]byte
	keys *realm.Keys // of a client that signs assertions
}

// assertionType is the only client_assertion_type (RFC 7523 section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

const (
	// maxAssertion is how long an assertion may be good for. For so long it is
	// remembered, so that nobody can use it again.
	maxAssertion = time.Hour
	// assertionSkew is how far apart a client's clock and ours may be.
	assertionSkew = time.Minute
)

func newClients(configs []ClientConfig, opts realm.Options) (map[string]*client, error) {
	all := make(map[string]*client, len(configs))
	for i, c := range configs {
		made := &client{ClientConfig: c}
		var err error
		switch {
		case c.SecretSHA256 != "":
			made.sum, err = parseSum(c.SecretSHA256)
		case c.JWKS != "":
			if made.keys, err = realm.OpenKeys(c.JWKS, opts); err != nil {
				err = fmt.Errorf("jwks: %w", err)
			}
		}
		if err != nil {
			closeClients(all)
			return nil, fmt.Errorf("oauth_clients[%d]: %w", i, err)
		}
		all[c.ID] = made
	}
	return all, nil
}

func closeClients(all map[string]*client) {
	for _, c := range all {
		if c.keys != nil {
			c.keys.Close()
		}
	}
}

func (c *client) caller() *Caller {
	return &Caller{Name: "client:" + c.Realm + ":" + c.ID, Kind: CallerClient, Realms: []string{c.Realm},
		Kinds: []events.Kind{events.KindToken}, Initiator: events.ByUser, Client: c.ID, Public: c.Public}
}

// authenticateForm tells who sent a form, by the ways of OAuth (RFC 6749 section
// 2.3): an Authorization header, a secret in the form, a signed assertion whose
// audience is one of those given (RFC 7523), or a client's bare name where the
// client is public. By the first two, those whom Authenticate knows are known too.
func (a *Authenticator) authenticateForm(r *http.Request, form url.Values, audience []string) (*Caller, error) {
	id, secret, assertion := form.Get("client_id"), form.Get("client_secret"), form.Get("client_assertion")
	header := len(r.Header.Values("Authorization")) > 0
	ways := 0
	for _, used := range []bool{header, secret != "", assertion != ""} {
		if used {
			ways++
		}
	}
	switch {
	case ways > 1:
		return nil, fmt.Errorf("%w: more than one way of authentication is used", errMalformed)
	case header:
		return a.authenticateHeader(r, id)
	case assertion != "":
		if form.Get("client_assertion_type") != assertionType {
			return nil, fmt.Errorf("%w: client_assertion_type must be %s", errMalformed, assertionType)
		}
		return a.assertion(r.Context(), assertion, id, audience)
	case secret != "":
		return a.named(r.Context(), id, secret)
	case id == "":
		return a.Authenticate(r) // by a certificate, or not at all
	}
	if c := a.clients[id]; c != nil && c.Public {
		return c.caller(), nil
	}
	return nil, bad("no public client is called that, and one that is not must authenticate")
}

// authenticateHeader is Authenticate, but for Basic: OAuth has both halves encoded
// as in a form (RFC 6749 section 2.3.1), which some clients do and some do not.
// client_id may stand in the form beside.
func (a *Authenticator) authenticateHeader(r *http.Request, id string) (*Caller, error) {
	scheme, credentials, err := authorization(r.Header)
	if err != nil {
		return nil, err
	}
	if scheme != "basic" {
		return a.Authenticate(r)
	}
	rawName, rawSecret, ok := decodePair(credentials)
	if !ok {
		return nil, bad("the Authorization header is malformed")
	}
	name, err1 := url.QueryUnescape(rawName)
	secret, err2 := url.QueryUnescape(rawSecret)
	encoded := err1 == nil && err2 == nil && (name != rawName || secret != rawSecret)
	var c *Caller
	if encoded {
		c, err = a.named(r.Context(), name, secret)
	}
	if !encoded || errors.Is(err, ErrBadCredentials) {
		name = rawName
		c, err = a.named(r.Context(), rawName, rawSecret)
	}
	if err == nil && id != "" && id != name {
		return nil, fmt.Errorf("%w: client_id is not the one that the Authorization header names", errMalformed)
	}
	return c, err
}

// named finds who has the name and the secret: a client, or whom Basic knows.
func (a *Authenticator) named(ctx context.Context, name, secret string) (*Caller, error) {
	c := a.clients[name]
	if c == nil {
		return a.password(ctx, name, secret)
	}
	sum := sha256.Sum256([]byte(secret))
	// Nothing hashes to the zero sum of one without a secret.
	if subtle.ConstantTimeCompare(sum[:], c.sum[:]) != 1 {
		return nil, errPassword
	}
	return c.caller(), nil
}

// assertion verifies a client's assertion: one that it signed itself, for us, not
// long ago, and never showed before (RFC 7523 section 3, OpenID Connect Core section
// 9, which has jti required).
func (a *Authenticator) assertion(ctx context.Context, raw, id string, audience []string) (*Caller, error) {
	unverified, err := events.ParseStatement(raw)
	if err != nil {
		return nil, bad("the assertion is not a JWT that can be read")
	}
	c := a.clients[unverified.Subject]
	if c == nil || c.keys == nil {
		return nil, bad("no client that signs assertions is called that")
	}
	s, err := c.keys.Verify(ctx, raw)
	if errors.Is(err, realm.ErrKeysUnavailable) {
		return nil, fmt.Errorf("checking assertion: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the assertion: %w", ErrBadCredentials, err)
	}
	if err := s.CheckTimes(assertionSkew); err != nil {
		return nil, fmt.Errorf("%w: the assertion: %w", ErrBadCredentials, err)
	}
	switch latest := a.now().Add(maxAssertion + assertionSkew).Unix(); {
	case s.Type != "" && s.Type != "jwt" && s.Type != "client-authentication+jwt":
		return nil, bad("typ of the assertion is that of something else")
	case s.Issuer != c.ID || s.Subject != c.ID || id != "" && id != c.ID:
		return nil, bad("iss, sub and client_id must be the client's")
	case !slices.ContainsFunc(s.Audience, func(aud string) bool { return slices.Contains(audience, aud) }):
		return nil, bad("aud of the assertion is not this publisher")
	case s.Expires == 0 || s.Expires > latest:
		return nil, bad("exp of the assertion must be there, and within an hour")
	case s.JTI == "":
		return nil, bad("the assertion has no jti")
	case !a.shown.first("assertion", c.ID, s.JTI):
		return nil, bad("the assertion was shown before")
	}
	return c.caller(), nil
}
