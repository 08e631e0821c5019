package events

import (
	"errors"
	"fmt"
	"time"
)

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

func (q *Query) member(name []byte, v value) error {
	switch string(name) {
	case "publisher":
		return readObject(v, &q.Origin)
	case "id":
		return readEncoded(v, &q.ID)
	case "sent_at":
		return readInt(v, &q.SentAt)
	case "match":
		return readObject(v, &q.Target)
	case "not_before":
		return readInt(v, &q.NotBefore)
	case "expires":
		return readInt(v, &q.Expires)
	}
	return nil
}

// member reads the match of a query. A lift cannot be asked about, and the
// mechanism follows from the kind.
func (t *Target) member(name []byte, v value) error {
	switch string(name) {
	case "mechanism":
		var mechanism Mechanism
		return readText(v, &mechanism)
	case "kind":
		return readText(v, &t.Kind)
	case "realm":
		return readText(v, &t.Realm)
	case "issuers":
		return readTexts(v, &t.Issuers)
	case "claim":
		return readText(v, &t.Claim)
	case "value":
		return readText(v, &t.Value)
	case "iss":
		return readText(v, &t.Issuer)
	case "jti":
		return readText(v, &t.JTI)
	case "ids":
		return readIdentities(v, &t.Identities)
	case "event":
		var event *EventID
		return readPointer(v, &event, readEncoded)
	}
	return nil
}

// MaxQueryAge is how old a query may be when an agent answers it: an answer says
// something about users, so an old query is not answered again.
const MaxQueryAge = time.Minute

// SignQuery signs a query of the publisher whose public URL is issuer.
func (s *Signer) SignQuery(fleet Fleet, issuer string, q *Query) ([]byte, error) {
	if err := q.Target.Validate(); err != nil {
		return nil, err
	}
	w := writer{[]byte{'{'}}
	w.str("iss", issuer)
	w.str("aud", string(fleet))
	w.number("iat", q.SentAt/1000)
	w.begin("rescind")
	w.origin(&q.Origin)
	w.id("id", q.ID)
	w.number("sent_at", q.SentAt)
	w.match(&q.Target)
	w.someNumber("not_before", q.NotBefore)
	w.someNumber("expires", q.Expires)
	w.end()
	w.end()
	return s.sign(typeQuery, w.text)
}

// OpenQuery verifies a query. The errors are those of Open; a lift cannot be
// asked about.
func (k *KeySet) OpenQuery(fleet Fleet, raw []byte) (*Query, error) {
	q := new(Query)
	key, err := k.openMessage(typeQuery, fleet, raw, q, &q.Origin)
	if err != nil {
		return nil, err
	}
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
