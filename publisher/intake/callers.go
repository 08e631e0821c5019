package intake

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

// Why a caller was turned away. An error of Authenticate that is neither
// ErrNoCredentials nor ErrBadCredentials is no verdict on the caller: the
// credentials could not be checked now (realm.ErrKeysUnavailable, or the
// request's context is over). No error holds any part of the credentials.
var (
	// ErrNoCredentials is returned for a request without an Authorization header.
	ErrNoCredentials = errors.New("no credentials")
	// ErrBadCredentials is returned for credentials that are malformed, given
	// twice, unknown, wrong, expired or revoked.
	ErrBadCredentials = errors.New("bad credentials")
	// ErrForbidden is returned by Caller.May for what the caller may not revoke.
	ErrForbidden = errors.New("forbidden")
)

// CallerKind is how a caller proved who it is.
type CallerKind string

// The kinds of caller.
const (
	CallerAdmin  CallerKind = "admin"
	CallerAPIKey CallerKind = "apikey"
	CallerBasic  CallerKind = "basic"
	CallerBearer CallerKind = "bearer"
	CallerClient CallerKind = "client"
	CallerIssuer CallerKind = "issuer"

	CallerTransmitter CallerKind = "transmitter"
	CallerTLS         CallerKind = "tls"
)

// Caller is who asks for a revocation, and what it may ask for.
type Caller struct {
	// Name tells callers apart in the log, the audit stream and the scope of an
	// Idempotency-Key: "admin", "apikey:ID", "basic:NAME", "bearer:REALM:USER",
	// "client:REALM:ID", "issuer:REALM:URL", "transmitter:REALM:URL" or
	// "tls:SUBJECT".
	Name string
	Kind CallerKind
	// Realms are the names of the realms it is bound to; nil means unbound.
	Realms []string
	// Kinds are the kinds of target it may revoke; nil means all, empty none.
	Kinds []events.Kind
	// Admin tells that it used the admin key.
	Admin bool
	// Initiator is who acts: the user, where a bearer has no scope but over its
	// own token, and else an admin.
	Initiator events.Initiator
	// Token is the caller's own, of a bearer only.
	Token *realm.Verified
	// Client is the client_id of an OAuth client, which may act on its own tokens
	// only. Public tells that it proved nothing.
	Client string
	Public bool
	// SSF is what it may do with streams of events, beside what Kinds give it.
	SSF SSFRight
}

// SSFRight is what a caller may do with the streams of events that it receives.
type SSFRight int

// Each includes the ones before it; none is 0.
const (
	SSFRead SSFRight = iota + 1
	SSFManage
)

// May tells whether the caller may revoke targets of the kind in all of the
// realms. No realms means that the target spans every realm, which takes a
// caller that is not bound to any. The error is ErrForbidden with the reason.
func (c *Caller) May(kind events.Kind, realms ...string) error {
	if c.Kinds != nil && !slices.Contains(c.Kinds, kind) {
		return fmt.Errorf("%w: this caller may not revoke targets of kind %s", ErrForbidden, kind)
	}
	if c.Realms == nil {
		return nil
	}
	if len(realms) == 0 {
		return fmt.Errorf("%w: the target spans all realms, and this caller is bound to some", ErrForbidden)
	}
	for _, name := range realms {
		if c.Client != "" && !slices.Contains(c.Realms, name) {
			return errNotIssued
		}
		if !slices.Contains(c.Realms, name) {
			return fmt.Errorf("%w: this caller may not revoke in realm %q", ErrForbidden, name)
		}
	}
	return nil
}

// Owns tells whether t is the token that the caller came with. A bearer may
// always revoke that one, whatever May says.
func (c *Caller) Owns(t *events.Token) bool {
	return c.Token != nil && t != nil && c.Token.Token.Identity == t.Identity
}

// bearerCaller is who holds a realm's token. adminRealms are as in AuthConfig.
func bearerCaller(v *realm.Verified, adminRealms []string) *Caller {
	c := &Caller{
		Name:      "bearer:" + v.Realm.Name + ":" + v.User(),
		Kind:      CallerBearer,
		Realms:    []string{v.Realm.Name},
		Kinds:     []events.Kind{},
		Initiator: events.ByUser,
		Token:     v,
	}
	if v.User() == "" {
		c.Name += v.Token.Identity.String()
	}
	var granted []string
	if isForUs(v) {
		granted = scopes(v)
	}
	for _, scope := range granted {
		c.SSF = max(c.SSF, ssfScopes[scope])
		c.Kinds = append(c.Kinds, scopeKinds[scope]...)
		if scope == scopeAll && slices.Contains(adminRealms, v.Realm.Name) {
			c.Realms = nil
		}
	}
	if len(c.Kinds) > 0 {
		c.Initiator = events.ByAdmin
	}
	return c
}

// isForUs tells whether the token is meant for a publisher: its scopes are for whom its
// audience names (RFC 9068 section 4).
func isForUs(v *realm.Verified) bool {
	return v.Realm.BearerAudience == nil || slices.ContainsFunc(audienceOf(v), func(aud string) bool {
		return slices.Contains(v.Realm.BearerAudience, aud)
	})
}

// audienceOf reads aud, a string or an array of them (RFC 7519 section 4.1.3).
func audienceOf(v *realm.Verified) []string {
	switch aud := v.Claims["aud"].(type) {
	case string:
		return []string{aud}
	case []any:
		return texts(aud)
	}
	return nil
}

// issuerCaller is the issuer of a realm, which speaks by a statement that it has
// signed: for the sessions and users of its own realm.
func issuerCaller(s *realm.Statement) *Caller {
	return &Caller{Name: "issuer:" + s.Realm.Name + ":" + s.Issuer, Kind: CallerIssuer, Realms: []string{s.Realm.Name},
		Kinds: []events.Kind{events.KindSession, events.KindUser}, Initiator: events.BySystem}
}

const scopeAll = "rescind:all"

// scopeKinds are what a bearer's scopes entitle it to, within its realm. A rule
// on a client or on any claim can hit as many as one on the realm does, and a
// lift undoes any of them.
var scopeKinds = map[string][]events.Kind{
	"rescind:token": {events.KindToken, events.KindTokens},
	"rescind:user":  {events.KindSession, events.KindUser},
	"rescind:realm": {events.KindClient, events.KindClaim, events.KindRealm, events.KindLift},
	scopeAll:        events.Kinds,
}

// ssfScopes are those of CAEP's interoperability profile.
var ssfScopes = map[string]SSFRight{"ssf.read": SSFRead, "ssf.manage": SSFManage}

// scopes reads scope (RFC 8693 section 4.2) and scp, each a list in one string
// or in an array, since issuers differ.
func scopes(v *realm.Verified) []string {
	var all []string
	for _, name := range []string{"scope", "scp"} {
		switch claim := v.Claims[name].(type) {
		case string:
			all = append(all, strings.Split(claim, " ")...)
		case []any:
			all = append(all, texts(claim)...)
		}
	}
	return all
}

// texts are the strings of an array.
func texts(claim []any) (out []string) {
	for _, one := range claim {
		if s, ok := one.(string); ok {
			out = append(out, s)
		}
	}
	return out
}
