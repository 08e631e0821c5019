package events

import "slices"

// Match tells whether the revocation hits the token. It is the one definition
// of a hit; the denylist's index answers the same, faster.
//
// A rule hits a token whose iat is at or before the rule's not_before, or whose
// auth_time is where the kind compares it. A token without iat is hit, unless
// its exp lies beyond the event's expires: such a token outlives every token
// that the rule was made for. A lift hits nothing.
func Match(r *Revocation, t *Token) bool {
	switch r.Target.Kind.Mechanism() {
	case ByIdentity:
		return slices.Contains(r.Target.Identities, t.Identity)
	case ByClaim:
		key, ok := t.Claim(r.Target.Claim)
		return ok && key == ClaimKey(r.Target.Claim, r.Target.Value) && matchIssuer(r, t) && matchCutoff(r, t)
	case ByIssuer:
		return matchIssuer(r, t) && matchCutoff(r, t)
	default:
		return false
	}
}

func matchIssuer(r *Revocation, t *Token) bool {
	return len(r.Target.Issuers) == 0 || slices.Contains(r.Target.Issuers, t.Issuer)
}

func matchCutoff(r *Revocation, t *Token) bool {
	if !r.Target.Kind.HasCutoff() {
		return true
	}
	return BeforeCutoff(t, r.NotBefore, r.Expires) ||
		r.Target.Kind.ComparesAuthTime() && t.AuthTime != 0 && t.AuthTime <= r.NotBefore
}

// BeforeCutoff tells whether the token counts as issued at or before notBefore,
// for a rule that is kept until expires (both Unix seconds).
func BeforeCutoff(t *Token, notBefore, expires int64) bool {
	if t.IssuedAt == 0 {
		return t.Expires <= expires
	}
	return t.IssuedAt <= notBefore
}
