package events

import (
	"errors"
	"fmt"
	"math"
	"strconv"
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

// EventType is the event type of its SETs.
func (k Kind) EventType() string {
	switch k {
	case KindTokens:
		return TypeTokensRevoked
	case KindLift:
		return TypeLifted
	default:
		return TypeSessionRevoked
	}
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
	d := newDocument()
	defer d.release()
	d.decoded = appendSET(d.decoded[:0], r)
	return s.sign(typeEvent, d.decoded)
}

// appendSET writes the claims set of an event (RFC 8417 section 2.2). The order
// of its members is the order on the wire.
func appendSET(b []byte, r *Revocation) []byte {
	w := writer{append(b, '{')}
	w.str("iss", r.Issuer)
	w.id("jti", r.ID)
	w.number("iat", r.IssuedAt)
	w.str("aud", string(r.Fleet))
	w.id("txn", r.Txn)
	w.subject(r)
	w.begin("events")
	w.begin(r.Target.Kind.EventType())
	w.body(r)
	w.end()
	w.end()
	w.end()
	return w.text
}

func (w *writer) body(r *Revocation) {
	w.number("event_timestamp", r.IssuedAt)
	w.str("initiating_entity", string(r.Initiator))
	if r.Reason != "" {
		w.begin("reason_admin")
		w.str("en", r.Reason)
		w.end()
	}
	w.number("v", Version)
	w.match(&r.Target)
	w.someNumber("not_before", r.NotBefore)
	w.number("expires", r.Expires)
	w.someStr("cause", r.Cause)
	w.origin(&r.Origin)
}

func (w *writer) match(t *Target) {
	w.begin("match")
	w.str("mechanism", string(t.Kind.Mechanism()))
	w.str("kind", string(t.Kind))
	w.someStr("realm", t.Realm)
	w.someStrs("issuers", t.Issuers)
	w.someStr("claim", t.Claim)
	w.someStr("value", t.Value)
	w.someStr("iss", t.Issuer)
	w.someStr("jti", t.JTI)
	w.someIdentities("ids", t.Identities)
	if !t.Lifted.IsZero() {
		w.id("event", t.Lifted)
	}
	w.end()
}

func (w *writer) origin(o *Origin) {
	w.begin("publisher")
	w.str("id", o.Publisher)
	w.id("incarnation", o.Incarnation)
	w.name("counter")
	w.text = strconv.AppendUint(w.text, o.Counter, 10)
	w.end()
}

// Open verifies a SET and gives the revocation and the id of the key that signed
// it. On failure the error is one of ErrMalformed, ErrSignature, ErrUnknownKey,
// ErrAudience, ErrKeyBounds and ErrUnsupported, wrapped with the detail.
//
// Members that it does not know are ignored unless the body's crit names them.
func (k *KeySet) Open(fleet Fleet, raw []byte) (*Revocation, string, error) {
	d := newDocument()
	defer d.release()
	payload, key, err := k.open(d, typeEvent, raw)
	if err != nil {
		return nil, "", err
	}
	r, err := readSET(d, fleet, payload)
	if err != nil {
		return nil, "", err
	}
	if r.Origin.Publisher != key.Publisher || !key.maySign(r.Target.Kind) {
		return nil, "", ErrKeyBounds
	}
	return r, key.ID, nil
}

func readSET(d *document, fleet Fleet, payload []byte) (*Revocation, error) {
	o, err := d.scan(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if aud, err := o.chars("aud"); err != nil || Fleet(aud) != fleet {
		return nil, ErrAudience
	}
	r := &Revocation{Fleet: fleet}
	var errs [5]error
	r.Issuer, errs[0] = o.str("iss")
	errs[1] = into(o, "jti", &r.ID, readEncoded)
	errs[2] = into(o, "txn", &r.Txn, readEncoded)
	r.IssuedAt, errs[3] = o.seconds("iat", math.Floor)
	if !o.has("sub_id") || o.has("sub") || o.has("exp") {
		errs[4] = errors.New("sub_id is missing, or sub or exp is present")
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := readEvents(r, o.get("events")); err != nil {
		return nil, err
	}
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return r, nil
}

func readEvents(r *Revocation, v value) error {
	typ, body, ok := v.onlyMember()
	if !ok {
		return fmt.Errorf("%w: events is not an object with one event", ErrMalformed)
	}
	if typ != TypeSessionRevoked && typ != TypeTokensRevoked && typ != TypeLifted {
		return fmt.Errorf("%w: event type", ErrUnsupported)
	}
	if err := readEvent(r, body); err != nil {
		return err
	}
	if r.Target.Kind.EventType() != typ {
		return fmt.Errorf("%w: kind %s under the wrong event type", ErrMalformed, r.Target.Kind)
	}
	return nil
}

func readEvent(r *Revocation, v value) error {
	o, err := v.object()
	if err != nil {
		return fmt.Errorf("%w: event body: %w", ErrMalformed, err)
	}
	if v := o.get("v"); v.form() != isNumber || string(v.raw()) != "1" {
		return fmt.Errorf("%w: version", ErrUnsupported)
	}
	var crit []string
	if err := into(o, "crit", &crit, readTexts); err != nil || len(crit) > 0 {
		return fmt.Errorf("%w: critical member", ErrUnsupported)
	}
	var why reason
	var errs [6]error
	errs[0] = into(o, "initiating_entity", &r.Initiator, readText)
	errs[1] = into(o, "reason_admin", &why, readBody)
	r.NotBefore, errs[2] = o.seconds("not_before", math.Floor)
	r.Expires, errs[3] = o.seconds("expires", math.Ceil)
	r.Cause, errs[4] = o.str("cause")
	errs[5] = into(o, "publisher", &r.Origin, readBody)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	r.Reason = string(why)
	return readMatch(r, o.get("match"))
}

// reason is the English one of a reason_admin.
type reason string

func (r *reason) member(name []byte, v value) error {
	if string(name) == "en" {
		return readText(v, r)
	}
	var other string
	return readText(v, &other)
}

func readMatch(r *Revocation, v value) error {
	o, err := v.object()
	if err != nil {
		return fmt.Errorf("%w: match: %w", ErrMalformed, err)
	}
	t := &r.Target
	if err := into(o, "kind", &t.Kind, readText); err != nil {
		return fmt.Errorf("%w: match: %w", ErrMalformed, err)
	}
	// The kind comes first: another kind may have other members.
	if _, err := ParseKind(string(t.Kind)); err != nil {
		return fmt.Errorf("%w: kind", ErrUnsupported)
	}
	var mechanism Mechanism
	var errs [9]error
	errs[0] = into(o, "mechanism", &mechanism, readText)
	t.Realm, errs[1] = o.str("realm")
	t.Claim, errs[2] = o.str("claim")
	t.Value, errs[3] = o.str("value")
	t.Issuer, errs[4] = o.str("iss")
	t.JTI, errs[5] = o.str("jti")
	errs[6] = into(o, "issuers", &t.Issuers, readTexts)
	errs[7] = into(o, "ids", &t.Identities, readIdentities)
	errs[8] = into(o, "event", &t.Lifted, readEncoded)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("%w: match: %w", ErrMalformed, err)
	}
	if mechanism != t.Kind.Mechanism() {
		return fmt.Errorf("%w: kind %s under another mechanism", ErrMalformed, t.Kind)
	}
	return nil
}
