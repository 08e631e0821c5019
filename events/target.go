package events

import (
	"errors"
	"fmt"
	"slices"
)

// Kind says what a revocation is aimed at.
type Kind string

// The kinds of target. Token and Tokens list identities; Session, User, Client
// and Claim are rules on a claim; Realm and All are rules on the issuer; Lift
// takes one earlier event away.
const (
	KindToken   Kind = "token"
	KindTokens  Kind = "tokens"
	KindSession Kind = "session"
	KindUser    Kind = "user"
	KindClient  Kind = "client"
	KindClaim   Kind = "claim"
	KindRealm   Kind = "realm"
	KindAll     Kind = "all"
	KindLift    Kind = "lift"
)

// Kinds are all of them, the narrowest first.
var Kinds = []Kind{KindToken, KindTokens, KindSession, KindUser, KindClient, KindClaim, KindRealm, KindAll, KindLift}

// ParseKind refuses what is not one of Kinds.
func ParseKind(s string) (Kind, error) {
	if !slices.Contains(Kinds, Kind(s)) {
		return "", fmt.Errorf("unknown kind of target %q", s)
	}
	return Kind(s), nil
}

// Mechanism is the way in which a kind of target is matched.
type Mechanism string

// The mechanisms.
const (
	ByIdentity Mechanism = "identity"
	ByClaim    Mechanism = "claim"
	ByIssuer   Mechanism = "issuer"
	ByEvent    Mechanism = "event"
)

// Mechanism tells how targets of the kind are matched.
func (k Kind) Mechanism() Mechanism {
	switch k {
	case KindToken, KindTokens:
		return ByIdentity
	case KindSession, KindUser, KindClient, KindClaim:
		return ByClaim
	case KindRealm, KindAll:
		return ByIssuer
	default:
		return ByEvent
	}
}

// Stream is where events of the kind travel: lists apart from all else.
func (k Kind) Stream() Stream {
	if k == KindTokens {
		return Tokens
	}
	return Control
}

// HasCutoff tells whether a rule of the kind spares tokens issued after its
// not_before. A session rule has none: it hits every token of the session.
func (k Kind) HasCutoff() bool {
	return k != KindSession && (k.Mechanism() == ByClaim || k.Mechanism() == ByIssuer)
}

// ComparesAuthTime tells whether the cutoff is also compared with auth_time,
// which a refreshed token keeps from its first login.
func (k Kind) ComparesAuthTime() bool {
	return k == KindUser || k == KindRealm || k == KindAll
}

// The limits of a target.
const (
	// MaxIdentities is how many tokens one event may list.
	MaxIdentities = 1000
	// MaxIssuers is how many issuers one rule may name.
	MaxIssuers = 64
	// MaxValueBytes is the longest claim value, claim name, issuer or realm.
	MaxValueBytes = 2048
)

// Target is what a revocation hits.
type Target struct {
	Kind Kind
	// Realm is the realm's name, for people and for refresh tokens that were
	// observed under it; matching goes by Issuers. "" when the target is not
	// bound to a realm.
	Realm string
	// Issuers are the values of iss that a rule hits; empty means any.
	Issuers []string
	// Claim and Value are what a rule on a claim compares, case-sensitively.
	Claim, Value string
	// Identities are the tokens of a list, one of them for KindToken.
	Identities []Identity
	// Issuer and JTI name the token of a KindToken target when its identity
	// rests on them; both are empty otherwise.
	Issuer, JTI string
	// Lifted is the event that a lift takes away.
	Lifted EventID
}

// Validate refuses a target that has a part which its kind does not use, lacks
// one that it needs, or exceeds a limit.
func (t *Target) Validate() error {
	if _, err := ParseKind(string(t.Kind)); err != nil {
		return err
	}
	if err := t.validateLimits(); err != nil {
		return err
	}
	m := t.Kind.Mechanism()
	switch {
	case m != ByIdentity && len(t.Identities) > 0:
		return fmt.Errorf("target %s takes no identities", t.Kind)
	case t.Kind != KindToken && (t.JTI != "" || t.Issuer != ""):
		return fmt.Errorf("target %s takes no iss and no jti", t.Kind)
	case m != ByClaim && (t.Claim != "" || t.Value != ""):
		return fmt.Errorf("target %s takes no claim", t.Kind)
	case m != ByEvent && !t.Lifted.IsZero():
		return fmt.Errorf("target %s lifts nothing", t.Kind)
	case m != ByClaim && m != ByIssuer && len(t.Issuers) > 0:
		return fmt.Errorf("target %s takes no issuers", t.Kind)
	}
	return t.validateNeeds()
}

func (t *Target) validateLimits() error {
	if len(t.Issuers) > MaxIssuers {
		return fmt.Errorf("more than %d issuers", MaxIssuers)
	}
	for _, s := range append([]string{t.Realm, t.Claim, t.Value, t.Issuer, t.JTI}, t.Issuers...) {
		if !isText(s, MaxValueBytes) {
			return fmt.Errorf("a value of the target is longer than %d bytes or not UTF-8", MaxValueBytes)
		}
	}
	if slices.Contains(t.Issuers, "") {
		return errors.New("an issuer of the target is empty")
	}
	if slices.Contains(t.Identities, Identity{}) {
		return errors.New("an identity of the target is not set")
	}
	return nil
}

func (t *Target) validateNeeds() error {
	switch t.Kind {
	case KindToken:
		return t.validateToken()
	case KindTokens:
		if n := len(t.Identities); n == 0 || n > MaxIdentities {
			return fmt.Errorf("a list has %d identities: must be 1 to %d", n, MaxIdentities)
		}
	case KindSession, KindUser, KindClient, KindClaim:
		if t.Claim == "" || t.Value == "" {
			return fmt.Errorf("target %s needs a claim and its value", t.Kind)
		}
		if t.Kind == KindSession && len(t.Issuers) == 0 {
			return errors.New("target session needs issuers: sid is unique within an issuer only")
		}
		if t.Realm != "" && len(t.Issuers) == 0 {
			return fmt.Errorf("target %s names a realm and no issuers: it would hit every realm", t.Kind)
		}
	case KindRealm:
		if t.Realm == "" || len(t.Issuers) == 0 {
			return errors.New("target realm needs a realm and its issuers")
		}
	case KindAll:
		if t.Realm != "" || len(t.Issuers) > 0 {
			return errors.New("target all takes no realm and no issuers")
		}
	case KindLift:
		if t.Lifted.IsZero() {
			return errors.New("target lift needs the event to lift")
		}
	}
	return nil
}

func (t *Target) validateToken() error {
	if len(t.Identities) != 1 {
		return errors.New("target token needs exactly one identity")
	}
	if (t.Issuer == "") != (t.JTI == "") {
		return errors.New("target token needs both iss and jti, or neither")
	}
	if t.JTI != "" && JTIIdentity(t.Issuer, t.JTI) != t.Identities[0] {
		return errors.New("target token: iss and jti do not give its identity")
	}
	return nil
}

// String describes the target in a few words for logs and people, without
// identities.
func (t *Target) String() string {
	where := ""
	if t.Realm != "" {
		where = " in realm " + t.Realm
	}
	switch t.Kind {
	case KindTokens:
		return fmt.Sprintf("%d tokens%s", len(t.Identities), where)
	case KindClaim:
		return fmt.Sprintf("claim %s=%q%s", t.Claim, t.Value, where)
	case KindSession, KindUser, KindClient:
		return fmt.Sprintf("%s %q%s", t.Kind, t.Value, where)
	case KindRealm:
		return fmt.Sprintf("realm %s", t.Realm)
	case KindAll:
		return "all tokens"
	case KindLift:
		return "lift of " + t.Lifted.String()
	default:
		return string(t.Kind) + where
	}
}
