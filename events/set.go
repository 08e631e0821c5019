package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// The event types of the SETs that publishers sign.
const (
	// TypeSessionRevoked is CAEP's, for rules and single tokens.
	TypeSessionRevoked = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
	// TypeTokensRevoked is for lists.
	TypeTokensRevoked = "https://rescind.dev/event-type/tokens-revoked"
	// TypeLifted is for lifts.
	TypeLifted = "https://rescind.dev/event-type/lifted"
)

func (k Kind) eventType() string {
	switch k {
	case KindTokens:
		return TypeTokensRevoked
	case KindLift:
		return TypeLifted
	default:
		return TypeSessionRevoked
	}
}

// setJSON is the claims set of an event (RFC 8417 section 2.2). The order of
// its members is the order on the wire.
type setJSON struct {
	Issuer   string              `json:"iss"`
	ID       EventID             `json:"jti"`
	IssuedAt int64               `json:"iat"`
	Fleet    Fleet               `json:"aud"`
	Txn      EventID             `json:"txn"`
	Subject  subjectID           `json:"sub_id"`
	Events   map[string]bodyJSON `json:"events"`
}

type bodyJSON struct {
	Timestamp int64             `json:"event_timestamp"`
	Initiator Initiator         `json:"initiating_entity"`
	Reason    map[string]string `json:"reason_admin,omitempty"`
	V         int               `json:"v"`
	Match     matchJSON         `json:"match"`
	NotBefore int64             `json:"not_before,omitempty"`
	Expires   int64             `json:"expires"`
	Cause     string            `json:"cause,omitempty"`
	Origin    Origin            `json:"publisher"`
}

type matchJSON struct {
	Mechanism Mechanism  `json:"mechanism"`
	Kind      Kind       `json:"kind"`
	Realm     string     `json:"realm,omitempty"`
	Issuers   []string   `json:"issuers,omitempty"`
	Claim     string     `json:"claim,omitempty"`
	Value     string     `json:"value,omitempty"`
	Issuer    string     `json:"iss,omitempty"`
	JTI       string     `json:"jti,omitempty"`
	IDs       []Identity `json:"ids,omitempty"`
	Event     *EventID   `json:"event,omitempty"`
}

// Sign makes the SET of a revocation (RFC 8417, in the profile of SSF 1.0
// section 4). It refuses one that Validate refuses, one that its key is not
// bound to, and one longer than MaxEventBytes.
func (s *Signer) Sign(r *Revocation) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if r.Origin.Publisher != s.public.Publisher || !s.public.maySign(r.Target.Kind) {
		return nil, ErrKeyBounds
	}
	return s.sign(typeEvent, encodeSET(r))
}

func encodeSET(r *Revocation) setJSON {
	t := &r.Target
	m := matchJSON{Mechanism: t.Kind.Mechanism(), Kind: t.Kind, Realm: t.Realm, Issuers: t.Issuers,
		Claim: t.Claim, Value: t.Value, Issuer: t.Issuer, JTI: t.JTI, IDs: t.Identities}
	if !t.Lifted.IsZero() {
		m.Event = &t.Lifted
	}
	b := bodyJSON{Timestamp: r.IssuedAt, Initiator: r.Initiator, V: Version, Match: m,
		NotBefore: r.NotBefore, Expires: r.Expires, Cause: r.Cause, Origin: r.Origin}
	if r.Reason != "" {
		b.Reason = map[string]string{"en": r.Reason}
	}
	return setJSON{Issuer: r.Issuer, ID: r.ID, IssuedAt: r.IssuedAt, Fleet: r.Fleet, Txn: r.Txn,
		Subject: subjectOf(r), Events: map[string]bodyJSON{t.Kind.eventType(): b}}
}

// Open verifies a SET and gives the revocation and the id of the key that signed
// it. On failure the error is one of ErrMalformed, ErrSignature, ErrUnknownKey,
// ErrAudience, ErrKeyBounds and ErrUnsupported, wrapped with the detail.
//
// Members that it does not know are ignored unless the body's crit names them.
func (k *KeySet) Open(fleet Fleet, raw []byte) (*Revocation, string, error) {
	payload, key, err := k.open(typeEvent, raw)
	if err != nil {
		return nil, "", err
	}
	r, err := decodeSET(fleet, payload)
	if err != nil {
		return nil, "", err
	}
	if r.Origin.Publisher != key.Publisher || !key.maySign(r.Target.Kind) {
		return nil, "", ErrKeyBounds
	}
	return r, key.ID, nil
}

func decodeSET(fleet Fleet, payload []byte) (*Revocation, error) {
	o, err := parseObject(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var aud string
	if aud, err = o.str("aud"); err != nil || Fleet(aud) != fleet {
		return nil, ErrAudience
	}
	r := &Revocation{Fleet: fleet}
	var errs [5]error
	r.Issuer, errs[0] = o.str("iss")
	errs[1] = o.into("jti", &r.ID)
	errs[2] = o.into("txn", &r.Txn)
	r.IssuedAt, _, errs[3] = o.seconds("iat", math.Floor)
	if !o.has("sub_id") || o.has("sub") || o.has("exp") {
		errs[4] = errors.New("sub_id is missing, or sub or exp is present")
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := decodeEvents(r, o["events"]); err != nil {
		return nil, err
	}
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return r, nil
}

func decodeEvents(r *Revocation, raw json.RawMessage) error {
	evs, err := parseObject(raw)
	if err != nil || len(evs) != 1 {
		return fmt.Errorf("%w: events is not an object with one event", ErrMalformed)
	}
	for typ, body := range evs {
		if typ != TypeSessionRevoked && typ != TypeTokensRevoked && typ != TypeLifted {
			return fmt.Errorf("%w: event type", ErrUnsupported)
		}
		if err := decodeBody(r, body); err != nil {
			return err
		}
		if r.Target.Kind.eventType() != typ {
			return fmt.Errorf("%w: kind %s under the wrong event type", ErrMalformed, r.Target.Kind)
		}
	}
	return nil
}

func decodeBody(r *Revocation, raw json.RawMessage) error {
	o, err := parseObject(raw)
	if err != nil {
		return fmt.Errorf("%w: event body: %w", ErrMalformed, err)
	}
	if string(o["v"]) != "1" {
		return fmt.Errorf("%w: version", ErrUnsupported)
	}
	var crit []string
	if err := o.into("crit", &crit); err != nil || len(crit) > 0 {
		return fmt.Errorf("%w: critical member", ErrUnsupported)
	}
	reason := map[string]string{}
	var initiator string
	var errs [6]error
	initiator, errs[0] = o.str("initiating_entity")
	errs[1] = o.into("reason_admin", &reason)
	r.NotBefore, _, errs[2] = o.seconds("not_before", math.Floor)
	r.Expires, _, errs[3] = o.seconds("expires", math.Ceil)
	r.Cause, errs[4] = o.str("cause")
	errs[5] = o.into("publisher", &r.Origin)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	r.Initiator, r.Reason = Initiator(initiator), reason["en"]
	return decodeMatch(r, o["match"])
}

func decodeMatch(r *Revocation, raw json.RawMessage) error {
	o, err := parseObject(raw)
	if err != nil {
		return fmt.Errorf("%w: match: %w", ErrMalformed, err)
	}
	kind, err := o.str("kind")
	if err != nil {
		return fmt.Errorf("%w: match: %w", ErrMalformed, err)
	}
	t := &r.Target
	// The kind comes first: another kind may have other members.
	if t.Kind, err = ParseKind(kind); err != nil {
		return fmt.Errorf("%w: kind", ErrUnsupported)
	}
	var mechanism string
	var errs [9]error
	mechanism, errs[0] = o.str("mechanism")
	t.Realm, errs[1] = o.str("realm")
	t.Claim, errs[2] = o.str("claim")
	t.Value, errs[3] = o.str("value")
	t.Issuer, errs[4] = o.str("iss")
	t.JTI, errs[5] = o.str("jti")
	errs[6] = o.into("issuers", &t.Issuers)
	errs[7] = o.into("ids", &t.Identities)
	errs[8] = o.into("event", &t.Lifted)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("%w: match: %w", ErrMalformed, err)
	}
	if Mechanism(mechanism) != t.Kind.Mechanism() {
		return fmt.Errorf("%w: kind %s under another mechanism", ErrMalformed, kind)
	}
	return nil
}
