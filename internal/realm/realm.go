package realm

import (
	"slices"

	"github.com/rescind/rescind/events"
)

// Realm is a configured realm. Its Config has every default filled in. It does
// not change; do not modify its slices.
type Realm struct {
	Name string
	Config
}

// Target is the realm itself: every token of its issuers.
func (r *Realm) Target() events.Target {
	return events.Target{Kind: events.KindRealm, Realm: r.Name, Issuers: slices.Clone(r.Issuers)}
}

// UserTarget is a user of the realm, known by the value of the realm's user_claim.
func (r *Realm) UserTarget(user string) events.Target {
	return r.rule(events.KindUser, r.UserClaim, user)
}

// SessionTarget is a session of the realm, known by its sid.
func (r *Realm) SessionTarget(sid string) events.Target {
	return r.rule(events.KindSession, "sid", sid)
}

// clientClaims are those in which issuers name a token's client, in the order of
// their standing: RFC 9068, OpenID Connect, Okta, Entra ID's first version.
var clientClaims = []string{"client_id", "azp", "cid", "appid"}

// IssuedTo tells whether the token names the client as the one that it was issued
// to, by the first of those claims that it has.
func IssuedTo(t *events.Token, client string) bool {
	for _, name := range clientClaims {
		if key, ok := t.Claim(name); ok {
			return key == events.ClaimKey(name, client)
		}
	}
	return false
}

// ClientTargets are a client of the realm: one target for each claim in which
// issuers name it.
func (r *Realm) ClientTargets(client string) []events.Target {
	var targets []events.Target
	for _, claim := range clientClaims {
		targets = append(targets, r.rule(events.KindClient, claim, client))
	}
	return targets
}

// ClaimTarget is whoever in the realm has the value in a top-level string claim.
func (r *Realm) ClaimTarget(claim, value string) events.Target {
	return r.rule(events.KindClaim, claim, value)
}

func (r *Realm) rule(kind events.Kind, claim, value string) events.Target {
	return events.Target{Kind: kind, Realm: r.Name, Issuers: slices.Clone(r.Issuers), Claim: claim, Value: value}
}
