package events

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// This file reads tokens and all messages but events by way of the libraries, as
// reference_json_test.go reads JSON.

func referenceToken(raw string) (*Token, error) {
	if len(raw) > MaxTokenBytes {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformedToken, MaxTokenBytes)
	}
	parts := strings.SplitN(raw, ".", 4)
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" {
		return nil, fmt.Errorf("%w: not three parts", ErrMalformedToken)
	}
	if _, err := decodeB64(parts[2]); err != nil {
		return nil, fmt.Errorf("%w: signature is not base64url", ErrMalformedToken)
	}
	if err := referenceTokenHeader(parts[0]); err != nil {
		return nil, err
	}
	payload, err := decodeB64(parts[1])
	if err != nil {
		return nil, fmt.Errorf("%w: payload is not base64url", ErrMalformedToken)
	}
	t, err := referenceClaims(payload)
	if err != nil {
		return nil, err
	}
	if t.Issuer != "" && t.JTI != "" {
		t.Identity = JTIIdentity(t.Issuer, t.JTI)
	} else {
		t.Identity = SignedIdentity(parts[0] + "." + parts[1])
	}
	return t, nil
}

func referenceTokenHeader(part string) error {
	b, err := decodeB64(part)
	if err != nil {
		return fmt.Errorf("%w: header is not base64url", ErrMalformedToken)
	}
	h, err := parseObject(b)
	if err != nil {
		return fmt.Errorf("%w: header: %w", ErrMalformedToken, err)
	}
	alg, err := h.str("alg")
	if err != nil || alg == "" || strings.EqualFold(alg, "none") {
		return fmt.Errorf("%w: header has no alg to verify with", ErrMalformedToken)
	}
	if h.has("crit") || h.has("b64") {
		return fmt.Errorf("%w: header has crit or b64", ErrMalformedToken)
	}
	typ, err := h.str("typ")
	if err != nil {
		return fmt.Errorf("%w: header: %w", ErrMalformedToken, err)
	}
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	if slices.Contains(notAccess, typ) {
		return fmt.Errorf("%w: typ is %s", ErrNotAccessToken, typ)
	}
	return nil
}

func referenceClaims(payload []byte) (*Token, error) {
	o, err := parseObject(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: payload: %w", ErrMalformedToken, err)
	}
	if o.has("events") {
		return nil, fmt.Errorf("%w: it has an events claim", ErrNotAccessToken)
	}
	t := &Token{}
	var errs [6]error
	t.Issuer, errs[0] = o.str("iss")
	_, errs[1] = o.str("sub")
	_, errs[2] = o.str("sid")
	t.IssuedAt, _, errs[3] = o.seconds("iat", math.Floor)
	t.AuthTime, _, errs[4] = o.seconds("auth_time", math.Floor)
	t.Expires, _, errs[5] = o.seconds("exp", math.Ceil)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformedToken, err)
	}
	t.JTI, _ = rawString(o["jti"])
	t.issuer = IssuerKey(t.Issuer)
	var claims []claim
	for name, raw := range o {
		if v, ok := rawString(raw); ok {
			claims = append(claims, claim{name, ClaimKey(name, v)})
		}
	}
	slices.SortFunc(claims, func(a, b claim) int { return strings.Compare(a.name, b.name) })
	t.setClaims(claims)
	return t, nil
}

// claimsOf are the registered claims that every message but an event carries.
type claimsOf[T any] struct {
	Issuer   string `json:"iss"`
	Audience Fleet  `json:"aud"`
	IssuedAt int64  `json:"iat"`
	Body     T      `json:"rescind"`
}

// referenceMessage verifies a beacon, query or receipt and decodes its body. The
// origin that the body names must be the publisher to which the key is bound.
func referenceMessage[T any](k *KeySet, typ string, fleet Fleet, raw []byte, origin func(*T) Origin) (*claimsOf[T], *PublicKey, error) {
	payload, key, err := referenceJWS(k, typ, raw)
	if err != nil {
		return nil, nil, err
	}
	var c claimsOf[T]
	if err := decodeObject(payload, &c); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if c.Audience != fleet {
		return nil, nil, ErrAudience
	}
	o := origin(&c.Body)
	if err := o.Validate(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if o.Publisher != key.Publisher {
		return nil, nil, ErrKeyBounds
	}
	return &c, key, nil
}

func referenceBeacon(k *KeySet, fleet Fleet, raw []byte) (*Beacon, error) {
	c, _, err := referenceMessage(k, typeBeacon, fleet, raw, func(b *Beacon) Origin { return b.Origin })
	if err != nil {
		return nil, err
	}
	b := &c.Body
	if b.SentAt <= 0 || b.SentAt >= maxTime {
		return nil, fmt.Errorf("%w: beacon without a send time", ErrMalformed)
	}
	for _, s := range EventStreams {
		if w, ok := b.Streams[s]; !ok || w.Epoch == "" || w.First > w.Last+1 || w.Owed < 0 {
			return nil, fmt.Errorf("%w: beacon without the mark of stream %s", ErrMalformed, s)
		}
	}
	return b, nil
}

type queryJSON struct {
	Origin    Origin    `json:"publisher"`
	ID        EventID   `json:"id"`
	SentAt    int64     `json:"sent_at"`
	Match     matchJSON `json:"match"`
	NotBefore int64     `json:"not_before,omitempty"`
	Expires   int64     `json:"expires,omitempty"`
}

func referenceQueryClaims(fleet Fleet, issuer string, q *Query) (claimsOf[queryJSON], error) {
	if err := q.Target.Validate(); err != nil {
		return claimsOf[queryJSON]{}, err
	}
	t := &q.Target
	m := matchJSON{Mechanism: t.Kind.Mechanism(), Kind: t.Kind, Realm: t.Realm, Issuers: t.Issuers,
		Claim: t.Claim, Value: t.Value, Issuer: t.Issuer, JTI: t.JTI, IDs: t.Identities}
	return claimsOf[queryJSON]{issuer, fleet, q.SentAt / 1000,
		queryJSON{q.Origin, q.ID, q.SentAt, m, q.NotBefore, q.Expires}}, nil
}

func referenceQuery(k *KeySet, fleet Fleet, raw []byte) (*Query, error) {
	c, key, err := referenceMessage(k, typeQuery, fleet, raw, func(q *queryJSON) Origin { return q.Origin })
	if err != nil {
		return nil, err
	}
	j := &c.Body
	q := &Query{Origin: j.Origin, ID: j.ID, SentAt: j.SentAt, NotBefore: j.NotBefore, Expires: j.Expires,
		Target: Target{Kind: j.Match.Kind, Realm: j.Match.Realm, Issuers: j.Match.Issuers, Claim: j.Match.Claim,
			Value: j.Match.Value, Issuer: j.Match.Issuer, JTI: j.Match.JTI, Identities: j.Match.IDs}}
	err = q.Target.Validate()
	if q.ID.IsZero() {
		err = errors.Join(err, errors.New("query without an id"))
	}
	if q.SentAt <= 0 || q.SentAt >= maxTime {
		err = errors.Join(err, errors.New("query without a send time"))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if !key.maySign(q.Target.Kind) {
		return nil, ErrKeyBounds
	}
	return q, nil
}

func referenceRefusal(k *KeySet, fleet Fleet, raw []byte) (*Refusal, error) {
	c, _, err := referenceMessage(k, typeRefusal, fleet, raw, func(r *Refusal) Origin { return r.Origin })
	if err != nil {
		return nil, err
	}
	if c.Body.ID.IsZero() || c.Body.Count < 1 {
		return nil, fmt.Errorf("%w: refusal without an id or a count", ErrMalformed)
	}
	return &c.Body, nil
}

func referenceReceipt(k *KeySet, fleet Fleet, raw []byte) (*Receipt, error) {
	c, _, err := referenceMessage(k, typeReceipt, fleet, raw, func(r *Receipt) Origin { return r.Origin })
	if err != nil {
		return nil, err
	}
	if c.Body.ID.IsZero() {
		return nil, fmt.Errorf("%w: receipt without an id", ErrMalformed)
	}
	return &c.Body, nil
}

func referenceDecode[T Report | Status | Ask | Answer](data []byte) (*T, error) {
	if len(data) > maxMessage {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, maxMessage)
	}
	v := new(T)
	if err := decodeObject(data, v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var err error
	switch m := any(v).(type) {
	case *Report:
		err = m.Agent.Validate()
		if m.Number == 0 {
			err = errors.Join(err, errors.New("report without a number"))
		}
		for i := range m.Counted {
			err = errors.Join(err, m.Counted[i].validate())
		}
	case *Status:
		err = m.Agent.Validate()
	case *Answer:
		err = errors.Join(m.Agent.Validate(), m.Counted.validate())
	case *Ask:
		if m.From > m.To || (m.From == 0) != (m.To == 0) {
			err = errors.New("ask for reports from none to some, or backwards")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return v, nil
}
