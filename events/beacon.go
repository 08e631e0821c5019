package events

import (
	"errors"
	"fmt"
	"time"
)

// Watermark says how far a stream reaches, as its leader told the publisher.
type Watermark struct {
	// Epoch names one life of the stream; a re-made stream has another.
	Epoch string `json:"epoch"`
	// First and Last are sequences. An empty stream has First = Last + 1.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Owed is how many acknowledged, unexpired events the stream lacks: they
	// were lost by it and will be published again.
	Owed int `json:"owed,omitempty"`
}

// Beacon is what each publisher says once a second, so that an agent which hears
// nothing else knows whether it has missed anything.
type Beacon struct {
	// Origin's Counter is the beacon's number within the incarnation, from 1,
	// only rising.
	Origin Origin `json:"publisher"`
	// SentAt is the publisher's clock in Unix milliseconds, read before the
	// watermarks are asked for: they cover all that was acknowledged by then.
	SentAt  int64                `json:"sent_at"`
	Streams map[Stream]Watermark `json:"streams"`
}

// SignBeacon signs a beacon of the publisher whose public URL is issuer.
func (s *Signer) SignBeacon(fleet Fleet, issuer string, b *Beacon) ([]byte, error) {
	return s.sign(typeBeacon, claimsOf[*Beacon]{issuer, fleet, b.SentAt / 1000, b})
}

// OpenBeacon verifies a beacon. The errors are those of Open.
func (k *KeySet) OpenBeacon(fleet Fleet, raw []byte) (*Beacon, error) {
	c, _, err := openMessage(k, typeBeacon, fleet, raw, func(b *Beacon) Origin { return b.Origin })
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

// Query asks all agents which of the live tokens they know a target would hit.
// It changes nothing.
type Query struct {
	Origin Origin `json:"publisher"`
	ID     EventID
	// SentAt is the publisher's clock in Unix milliseconds.
	SentAt int64
	Target Target
	// NotBefore and Expires are those that the revocation would have.
	NotBefore, Expires int64
}

type queryJSON struct {
	Origin    Origin    `json:"publisher"`
	ID        EventID   `json:"id"`
	SentAt    int64     `json:"sent_at"`
	Match     matchJSON `json:"match"`
	NotBefore int64     `json:"not_before,omitempty"`
	Expires   int64     `json:"expires,omitempty"`
}

// MaxQueryAge is how old a query may be when an agent answers it: an answer says
// something about users, so an old query is not answered again.
const MaxQueryAge = time.Minute

// SignQuery signs a query of the publisher whose public URL is issuer.
func (s *Signer) SignQuery(fleet Fleet, issuer string, q *Query) ([]byte, error) {
	if err := q.Target.Validate(); err != nil {
		return nil, err
	}
	t := &q.Target
	m := matchJSON{Mechanism: t.Kind.Mechanism(), Kind: t.Kind, Realm: t.Realm, Issuers: t.Issuers,
		Claim: t.Claim, Value: t.Value, Issuer: t.Issuer, JTI: t.JTI, IDs: t.Identities}
	return s.sign(typeQuery, claimsOf[queryJSON]{issuer, fleet, q.SentAt / 1000,
		queryJSON{q.Origin, q.ID, q.SentAt, m, q.NotBefore, q.Expires}})
}

// OpenQuery verifies a query. The errors are those of Open; a lift cannot be
// asked about.
func (k *KeySet) OpenQuery(fleet Fleet, raw []byte) (*Query, error) {
	c, key, err := openMessage(k, typeQuery, fleet, raw, func(q *queryJSON) Origin { return q.Origin })
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
