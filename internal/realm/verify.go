package realm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
)

// Why a token was not accepted, beside events.ErrMalformedToken and
// events.ErrNotAccessToken. No error holds any part of the token.
var (
	// ErrUnknownIssuer is returned for a token whose iss belongs to no realm.
	ErrUnknownIssuer = errors.New("unknown issuer")
	// ErrUnknownKey is returned when the token's issuer does not list the key
	// that the token names, or the token names none and there are several.
	ErrUnknownKey = errors.New("unknown key")
	// ErrSignature is returned when the signature does not verify, or its
	// algorithm is not one that the key may be used with.
	ErrSignature = errors.New("bad signature")
	// ErrExpired is returned for a token whose exp is past, leeway included.
	ErrExpired = errors.New("token has expired")
	// ErrNotYetValid is returned when nbf or iat is beyond now and leeway. A
	// token issued in the future would escape every cutoff.
	ErrNotYetValid = errors.New("token is not valid yet")
	// ErrNoExpiry is returned for a token without exp: it could not be revoked
	// in bounded time.
	ErrNoExpiry = errors.New("token has no expiry")
	// ErrUnrevocable is returned for a token that lives longer than its realm
	// keeps the rules which could hit it.
	ErrUnrevocable = errors.New("token cannot be revoked reliably")
	// ErrKeysUnavailable is returned when the issuer's keys were never had. It
	// is no verdict on the token: try again later.
	ErrKeysUnavailable = errors.New("keys are not available")
	// ErrKeysChanged is returned by VerifyAgain when the issuer's keys are no
	// longer those that the token was verified with: verify it anew.
	ErrKeysChanged = errors.New("keys have changed")
)

// Verified is a token whose signature is right.
type Verified struct {
	Token *events.Token
	Realm *Realm
	// Claims are all claims under their exact names.
	Claims jwt.MapClaims
	// Expired tells that exp is past, leeway included. Only VerifySignature
	// gives such a token.
	Expired bool

	// source and keys are what the signature was verified with. A set that
	// changes is another set, so keys tells whether it has.
	source *keySource
	keys   *keySet
	// notBefore is nbf, where it is a time; nbfErr says that it is none.
	notBefore float64
	nbfErr    error
}

// User is the value of the realm's user claim, "" when the token has none that
// is a string.
func (v *Verified) User() string { return v.claim(v.Realm.UserClaim) }

// Session is the token's sid, "" when it has none.
func (v *Verified) Session() string { return v.claim("sid") }

// Client is the client that the token was issued to: client_id (RFC 9068 section
// 2.2), else azp (OpenID Connect Core section 2); "" when it says neither.
func (v *Verified) Client() string { return v.firstClaim(clientClaims...) }

// firstClaim is the first of the claims that is a string and not empty.
func (v *Verified) firstClaim(names ...string) string {
	for _, name := range names {
		if c := v.claim(name); c != "" {
			return c
		}
	}
	return ""
}

func (v *Verified) claim(name string) string {
	s, _ := v.Claims[name].(string)
	return s
}

// Verify accepts an access token: strictly read, of a known issuer, rightly
// signed, within its times, and living no longer than the realm's max_token. It
// may wait for keys until ctx ends.
func (r *Realms) Verify(ctx context.Context, raw string) (*Verified, error) {
	return r.verify(ctx, raw, "max_token", func(c *Config) time.Duration { return c.MaxToken })
}

// VerifyRefresh is Verify for a refresh token, which may live as long as the
// realm's max_session.
func (r *Realms) VerifyRefresh(ctx context.Context, raw string) (*Verified, error) {
	return r.verify(ctx, raw, "max_session", func(c *Config) time.Duration { return c.MaxSession })
}

func (r *Realms) verify(ctx context.Context, raw, bound string, longest func(*Config) time.Duration) (*Verified, error) {
	now := r.now()
	v, err := r.verifySignature(ctx, raw, now)
	if err != nil {
		return nil, err
	}
	if err := v.checkTimes(now); err != nil {
		return nil, err
	}
	if err := v.checkLife(now, bound, longest(&v.Realm.Config)); err != nil {
		return nil, err
	}
	return v, nil
}

// VerifyAgain gives the verdict that Verify would give now on a token that it
// has accepted, without its signature: the times are judged anew, and the keys
// renewed as for any token. ErrKeysChanged means that there is no such verdict.
// It may wait for keys until ctx ends, and allocates nothing for a good token.
func (r *Realms) VerifyAgain(ctx context.Context, v *Verified) error {
	now := r.now()
	snap, err := v.source.snapshot(ctx, now)
	if err != nil {
		return err
	}
	if snap.keys != v.keys {
		return ErrKeysChanged
	}
	if err := v.checkTimes(now); err != nil {
		return err
	}
	return v.checkLife(now, "max_token", v.Realm.MaxToken)
}

// VerifySignature accepts any token of a known issuer that is rightly signed,
// for whoever wants to revoke it. It refuses nothing because of the token's
// times: Expired tells whether it is dead already, and Token.Expires may be
// absent or far away.
func (r *Realms) VerifySignature(ctx context.Context, raw string) (*Verified, error) {
	return r.verifySignature(ctx, raw, r.now())
}

func (r *Realms) verifySignature(ctx context.Context, raw string, now time.Time) (*Verified, error) {
	t, err := events.ParseToken(raw)
	if err != nil {
		return nil, err
	}
	is, ok := r.issuers[t.Issuer]
	if !ok {
		return nil, ErrUnknownIssuer
	}
	v := &Verified{Token: t, Realm: is.realm, Claims: jwt.MapClaims{}, source: is.keys}
	if err := r.checkSignature(ctx, raw, v, now); err != nil {
		return nil, err
	}
	v.notBefore, v.nbfErr = readNotBefore(v.Claims)
	v.Expired = v.expiredAt(now)
	return v, nil
}

func (v *Verified) expiredAt(now time.Time) bool {
	return v.Token.Expires != 0 && now.Unix() >= v.Token.Expires+seconds(v.Realm.Leeway)
}

// checkSignature fills claims and keys.
func (r *Realms) checkSignature(ctx context.Context, raw string, v *Verified, now time.Time) (err error) {
	v.keys, err = verifySigned(ctx, r.parser, v.source, raw, v.Claims, now)
	return err
}

// verifySigned verifies a compact JWS and fills its claims, and gives the keys that
// it was verified with. Errors of the jwt package are not passed on: some hold parts
// of the token.
func verifySigned(ctx context.Context, p *jwt.Parser, from *keySource, raw string, claims jwt.MapClaims, now time.Time) (keys *keySet, err error) {
	var keyErr error
	_, err = p.ParseWithClaims(raw, claims, func(t *jwt.Token) (any, error) {
		kid, ok := t.Header["kid"].(string)
		if _, has := t.Header["kid"]; has && (!ok || kid == "") {
			return nil, jwt.ErrTokenMalformed
		}
		var set jwt.VerificationKeySet
		keys, set.Keys, keyErr = from.find(ctx, now, kid, t.Method.Alg())
		return set, keyErr
	})
	switch {
	case keyErr != nil:
		return nil, keyErr
	case errors.Is(err, jwt.ErrTokenMalformed):
		return nil, fmt.Errorf("%w: not a JWT", events.ErrMalformedToken)
	case err != nil:
		return nil, ErrSignature
	}
	return keys, nil
}

func (v *Verified) checkTimes(now time.Time) error {
	latest := now.Unix() + seconds(v.Realm.Leeway)
	switch {
	case v.nbfErr != nil:
		return v.nbfErr
	case v.Token.Expires == 0:
		return ErrNoExpiry
	case v.expiredAt(now):
		return ErrExpired
	case v.notBefore > float64(latest):
		return fmt.Errorf("%w: nbf is in the future", ErrNotYetValid)
	case v.Token.IssuedAt > latest:
		return fmt.Errorf("%w: iat is in the future", ErrNotYetValid)
	}
	return nil
}

func (v *Verified) checkLife(now time.Time, bound string, longest time.Duration) error {
	if life(v.Token, now) > seconds(longest) {
		return fmt.Errorf("%w: it lives longer than the %s of realm %s", ErrUnrevocable, bound, v.Realm.Name)
	}
	return nil
}

// readNotBefore reads nbf, which events.Token does not carry, as strictly as that
// reads the other times.
func readNotBefore(claims jwt.MapClaims) (float64, error) {
	raw, ok := claims["nbf"]
	if !ok {
		return 0, nil
	}
	nbf, ok := raw.(float64)
	if !ok || nbf < 0 || nbf >= 1<<53 {
		return 0, fmt.Errorf("%w: member nbf is not a time in seconds", events.ErrMalformedToken)
	}
	return math.Floor(nbf), nil
}

// life is how long a token lives, in seconds. It counts from iat, not from now:
// a rule that hit the token is kept for that long from the token's issue, and a
// token near its end would otherwise be accepted when the rule is gone. Only
// where there is no iat does it count from now.
func life(t *events.Token, now time.Time) int64 {
	if t.IssuedAt != 0 {
		return t.Expires - t.IssuedAt
	}
	return t.Expires - now.Unix()
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
