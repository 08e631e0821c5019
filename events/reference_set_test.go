package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// This file writes and reads events by way of the libraries, as
// reference_json_test.go reads JSON.

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
		Subject: subjectOf(r), Events: map[string]bodyJSON{t.Kind.EventType(): b}}
}

// subjectID is a subject identifier (RFC 9493 section 3, SSF 1.0 section 3), by
// which any reader of SETs sees what the event is about. rescind itself reads
// the body's match, which says more.
type subjectID struct {
	Format string `json:"format"`
	Issuer string `json:"iss,omitempty"`
	JTI    string `json:"jti,omitempty"`
	Sub    string `json:"sub,omitempty"`
	ID     string `json:"id,omitempty"`

	// Members of the complex format. An absent member is a wildcard. Claim is
	// our own, for a rule on a claim that SSF has no member for.
	User        *subjectID `json:"user,omitempty"`
	Session     *subjectID `json:"session,omitempty"`
	Application *subjectID `json:"application,omitempty"`
	Tenant      *subjectID `json:"tenant,omitempty"`
	Claim       *subjectID `json:"claim,omitempty"`
}

func opaque(id string) *subjectID { return &subjectID{Format: "opaque", ID: id} }

func subjectOf(r *Revocation) subjectID {
	t := &r.Target
	s := subjectID{Format: "complex"}
	if t.Realm != "" {
		s.Tenant = opaque(t.Realm)
	}
	switch t.Kind {
	case KindToken:
		if t.JTI != "" {
			return subjectID{Format: "jwt_id", Issuer: t.Issuer, JTI: t.JTI}
		}
		return *opaque(t.Identities[0].String())
	case KindUser:
		s.User = userSubject(t)
		if t.Realm == "" {
			return *s.User
		}
	case KindSession:
		s.Session = opaque(t.Value)
	case KindClient:
		s.Application = opaque(t.Value)
	case KindClaim:
		s.Claim = opaque(t.Claim + "=" + t.Value)
	case KindRealm:
	case KindLift:
		return *opaque(t.Lifted.String())
	case KindAll:
		return *opaque(string(r.Fleet))
	default:
		return *opaque(r.ID.String())
	}
	return s
}

func userSubject(t *Target) *subjectID {
	if t.Claim == "sub" && len(t.Issuers) == 1 {
		return &subjectID{Format: "iss_sub", Issuer: t.Issuers[0], Sub: t.Value}
	}
	return opaque(t.Value)
}

func referenceOpen(k *KeySet, fleet Fleet, raw []byte) (*Revocation, string, error) {
	payload, key, err := referenceJWS(k, typeEvent, raw)
	if err != nil {
		return nil, "", err
	}
	r, err := referenceSET(fleet, payload)
	if err != nil {
		return nil, "", err
	}
	if r.Origin.Publisher != key.Publisher || !key.maySign(r.Target.Kind) {
		return nil, "", ErrKeyBounds
	}
	return r, key.ID, nil
}

// referenceJWS verifies a compact JWS of the given typ and gives its payload and the key
// that signed it. The algorithm is fixed (RFC 8725 section 3.1): a header that
// names another is malformed.
func referenceJWS(k *KeySet, typ string, raw []byte) ([]byte, *PublicKey, error) {
	if limit := maxBytes(typ); len(raw) > limit {
		return nil, nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, limit)
	}
	parts := strings.SplitN(string(raw), ".", 4)
	if len(parts) != 3 {
		return nil, nil, fmt.Errorf("%w: not a compact JWS", ErrMalformed)
	}
	h, err := referenceHeader(parts[0])
	if err != nil {
		return nil, nil, err
	}
	if h.alg != "EdDSA" || h.typ != typ || h.kid == "" {
		return nil, nil, fmt.Errorf("%w: header is not that of a %s signed with EdDSA", ErrMalformed, typ)
	}
	sig, err := decodeB64(parts[2])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: signature is not base64url", ErrMalformed)
	}
	payload, err := decodeB64(parts[1])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: payload is not base64url", ErrMalformed)
	}
	key, ok := k.keys[h.kid]
	if !ok {
		return nil, nil, ErrUnknownKey
	}
	signed := raw[:len(parts[0])+1+len(parts[1])]
	if jwt.SigningMethodEdDSA.Verify(string(signed), sig, key.Public) != nil {
		return nil, nil, ErrSignature
	}
	return payload, key, nil
}

func referenceHeader(part string) (header, error) {
	b, err := decodeB64(part)
	if err != nil {
		return header{}, fmt.Errorf("%w: header is not base64url", ErrMalformed)
	}
	o, err := parseObject(b)
	if err != nil {
		return header{}, fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	if o.has("crit") || o.has("b64") {
		return header{}, fmt.Errorf("%w: header has crit or b64", ErrMalformed)
	}
	var h header
	var errs [3]error
	h.alg, errs[0] = o.str("alg")
	h.kid, errs[1] = o.str("kid")
	h.typ, errs[2] = o.str("typ")
	if err := errors.Join(errs[:]...); err != nil {
		return header{}, fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	return h, nil
}

func referenceSET(fleet Fleet, payload []byte) (*Revocation, error) {
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
	if err := referenceEvents(r, o["events"]); err != nil {
		return nil, err
	}
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return r, nil
}

func referenceEvents(r *Revocation, raw json.RawMessage) error {
	evs, err := parseObject(raw)
	if err != nil || len(evs) != 1 {
		return fmt.Errorf("%w: events is not an object with one event", ErrMalformed)
	}
	for typ, body := range evs {
		if typ != TypeSessionRevoked && typ != TypeTokensRevoked && typ != TypeLifted {
			return fmt.Errorf("%w: event type", ErrUnsupported)
		}
		if err := referenceBody(r, body); err != nil {
			return err
		}
		if r.Target.Kind.EventType() != typ {
			return fmt.Errorf("%w: kind %s under the wrong event type", ErrMalformed, r.Target.Kind)
		}
	}
	return nil
}

func referenceBody(r *Revocation, raw json.RawMessage) error {
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
	return referenceMatch(r, o["match"])
}

func referenceMatch(r *Revocation, raw json.RawMessage) error {
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
