package realm

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rescind/rescind/events"
)

// SignOut is what a self sign-out revokes in a realm.
type SignOut string

// What a self sign-out can revoke: the token shown, every token of its session,
// or every token of its user.
const (
	SignOutToken   SignOut = "token"
	SignOutSession SignOut = "session"
	SignOutUser    SignOut = "user"
)

// OpaqueRefresh says which opaque refresh tokens of a realm may be listed.
type OpaqueRefresh string

// Only those that an agent has observed, or any.
const (
	OpaqueObserved OpaqueRefresh = "observed"
	OpaqueAccept   OpaqueRefresh = "accept"
)

// Config is one realm as rescind.yaml has it. A duration must be whole seconds;
// zero takes the default.
type Config struct {
	// Issuers are the values of iss that belong to the realm, compared byte by
	// byte. At least one.
	Issuers []string `yaml:"issuers"`
	// JWKS is the URL or the file of the issuers' keys. Empty means OIDC
	// discovery on each issuer.
	JWKS string `yaml:"jwks"`
	// UserClaim names the claim that users are known by. Empty means sub.
	UserClaim string `yaml:"user_claim"`
	// EmailClaim names the claim that holds a user's address, for who signs users out
	// by it. Empty means that tokens do not tell.
	EmailClaim string `yaml:"email_claim"`
	// MaxToken is the longest life of an access token. Zero means 24 hours.
	MaxToken time.Duration `yaml:"max_token"`
	// MaxSession is the longest life of a session or refresh token, not below
	// MaxToken. Zero means 720 hours.
	MaxSession time.Duration `yaml:"max_session"`
	// Skew is how far apart issuer and publisher clocks may be; it is added to
	// cutoffs. Zero means 1 second.
	Skew time.Duration `yaml:"skew"`
	// Leeway is how long past exp, or before nbf and iat, a token is accepted.
	// Zero means 60 seconds.
	Leeway time.Duration `yaml:"leeway"`
	// SignOut is what a self sign-out revokes. Empty means token.
	SignOut SignOut `yaml:"sign_out"`
	// BackchannelLogout is what a logout token revokes that names a session and a
	// user (OIDC Back-Channel Logout 1.0): session, or user where access tokens have
	// no sid. Empty means session.
	BackchannelLogout SignOut `yaml:"backchannel_logout"`
	// LogoutClients are the client_ids that a logout token may be meant for. None
	// means any of the issuer's clients.
	LogoutClients []string `yaml:"logout_clients"`
	// BearerAudience are the values of aud of which a bearer's token must have one for
	// its scopes to count at a publisher (RFC 9068 section 4); without it the token
	// signs itself out and nothing else. None means any audience.
	BearerAudience []string `yaml:"bearer_audience"`
	// OpaqueRefresh says which opaque refresh tokens may be listed. Empty means
	// observed.
	OpaqueRefresh OpaqueRefresh `yaml:"opaque_refresh"`
}

var realmName = regexp.MustCompile(`^[a-z0-9._-]{1,64}$`)

// Validate refuses a realm that could not work under that name. The error names
// the realm and the field as it is called in rescind.yaml.
func (c Config) Validate(name string) error {
	if !realmName.MatchString(name) {
		return fmt.Errorf("realm %q: a realm's name must be 1 to 64 of a-z, 0-9, dot, _ and -", name)
	}
	c = c.withDefaults()
	for _, check := range []func() error{c.validateIssuers, c.validateKeys, c.validateTimes, c.validateChoices} {
		if err := check(); err != nil {
			return fmt.Errorf("realm %s: %w", name, err)
		}
	}
	return nil
}

// withDefaults gives a copy that shares nothing with c and has no zero left.
func (c Config) withDefaults() Config {
	c.Issuers, c.LogoutClients, c.BearerAudience = slices.Clone(c.Issuers), slices.Clone(c.LogoutClients), slices.Clone(c.BearerAudience)
	setDefault(&c.UserClaim, "sub")
	setDefault(&c.MaxToken, 24*time.Hour)
	setDefault(&c.MaxSession, 720*time.Hour)
	setDefault(&c.Skew, time.Second)
	setDefault(&c.Leeway, time.Minute)
	setDefault(&c.SignOut, SignOutToken)
	setDefault(&c.BackchannelLogout, SignOutSession)
	setDefault(&c.OpaqueRefresh, OpaqueObserved)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c Config) validateIssuers() error {
	if n := len(c.Issuers); n == 0 || n > events.MaxIssuers {
		return fmt.Errorf("issuers: must be 1 to %d, are %d", events.MaxIssuers, n)
	}
	for i, iss := range c.Issuers {
		if iss == "" || len(iss) > events.MaxValueBytes {
			return fmt.Errorf("issuers: must be of 1 to %d bytes each", events.MaxValueBytes)
		}
		if slices.Contains(c.Issuers[:i], iss) {
			return fmt.Errorf("issuers: %s is listed twice", iss)
		}
	}
	return nil
}

func (c Config) validateKeys() error {
	if c.JWKS != "" {
		if !strings.Contains(c.JWKS, "://") {
			return nil
		}
		if _, err := webURL(c.JWKS); err != nil {
			return fmt.Errorf("jwks: %w", err)
		}
		return nil
	}
	for _, iss := range c.Issuers {
		u, err := webURL(iss)
		if err != nil {
			return fmt.Errorf("issuers: keys of %s cannot be discovered: %w (set jwks)", iss, err)
		}
		if u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("issuers: keys of %s cannot be discovered: it has a query or fragment (set jwks)", iss)
		}
	}
	return nil
}

func webURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, errors.New("not an http or https URL")
	}
	if u.User != nil {
		return nil, errors.New("a URL must not hold a password")
	}
	return u, nil
}

func (c Config) validateTimes() error {
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"max_token", c.MaxToken}, {"max_session", c.MaxSession}, {"skew", c.Skew}, {"leeway", c.Leeway}} {
		if f.value < 0 || f.value%time.Second != 0 {
			return fmt.Errorf("%s: must be whole seconds, not below zero", f.name)
		}
	}
	// Rules that compare auth_time are kept for max_session; they must not end
	// before the last access token does.
	if c.MaxSession < c.MaxToken {
		return fmt.Errorf("max_session: %v is shorter than max_token %v", c.MaxSession, c.MaxToken)
	}
	return nil
}

func (c Config) validateChoices() error {
	for name, claim := range map[string]string{"user_claim": c.UserClaim, "email_claim": c.EmailClaim} {
		if len(claim) > events.MaxValueBytes {
			return fmt.Errorf("%s: longer than %d bytes", name, events.MaxValueBytes)
		}
	}
	if !slices.Contains([]SignOut{SignOutToken, SignOutSession, SignOutUser}, c.SignOut) {
		return fmt.Errorf("sign_out: %q is not token, session or user", string(c.SignOut))
	}
	if !slices.Contains([]SignOut{SignOutSession, SignOutUser}, c.BackchannelLogout) {
		return fmt.Errorf("backchannel_logout: %q is not session or user", string(c.BackchannelLogout))
	}
	// A list that was emptied to mean nothing must not come to mean all.
	if c.BearerAudience != nil && len(c.BearerAudience) == 0 {
		return errors.New("bearer_audience: is empty: name some, or leave it out")
	}
	if c.LogoutClients != nil && len(c.LogoutClients) == 0 {
		return errors.New("logout_clients: is empty: name some, or leave it out to mean all")
	}
	if !slices.Contains([]OpaqueRefresh{OpaqueObserved, OpaqueAccept}, c.OpaqueRefresh) {
		return fmt.Errorf("opaque_refresh: %q is not observed or accept", string(c.OpaqueRefresh))
	}
	return nil
}
