package events

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Version is the version of the event body that this package writes and reads.
const Version = 1

// MaxEventBytes is the longest signed event, in bytes. Publishers check it
// before an event is given a counter.
const MaxEventBytes = 256 << 10

// MaxReceiptBytes is the longest signed receipt, in bytes, which is the longest
// message that a NATS server takes by default: a receipt names every agent.
const MaxReceiptBytes = 1 << 20

// MaxReasonBytes is the longest reason that an event carries.
const MaxReasonBytes = 1024

// Initiator says who caused a revocation, in CAEP's words (CAEP 1.0 section 2).
type Initiator string

// The initiating entities of CAEP.
const (
	ByAdmin  Initiator = "admin"
	ByUser   Initiator = "user"
	ByPolicy Initiator = "policy"
	BySystem Initiator = "system"
)

// ParseInitiator refuses what CAEP does not know.
func ParseInitiator(s string) (Initiator, error) {
	switch i := Initiator(s); i {
	case ByAdmin, ByUser, ByPolicy, BySystem:
		return i, nil
	}
	return "", fmt.Errorf("unknown initiating entity %q", s)
}

// Origin says which publisher made an event, and as its how-manieth.
type Origin struct {
	// Publisher is the publisher's id, to which its keys are bound.
	Publisher string `json:"id"`
	// Incarnation names one run of it: a UUIDv7, so that later ones sort later.
	Incarnation EventID `json:"incarnation"`
	// Counter numbers what the publisher sends to one stream, from 1, without
	// gaps, across incarnations for as long as its ledger lives.
	Counter uint64 `json:"counter"`
}

func (o *Origin) member(name []byte, v value) error {
	switch string(name) {
	case "id":
		return readText(v, &o.Publisher)
	case "incarnation":
		return readEncoded(v, &o.Incarnation)
	case "counter":
		return readUint(v, &o.Counter)
	}
	return nil
}

// Revocation is one event: what is revoked, from when, until when it matters,
// and who said so. All times are Unix seconds.
type Revocation struct {
	// ID is the event's own id, Txn that of the request which caused it. One
	// request can cause several events.
	ID, Txn EventID
	// Issuer is the publisher's public URL.
	Issuer string
	// Fleet is the audience.
	Fleet Fleet
	// IssuedAt is when it was signed, by the publisher's clock.
	IssuedAt int64
	Target   Target
	// NotBefore is the cutoff, skew included; 0 for kinds that have none.
	NotBefore int64
	// Expires is when the last token that it can hit has died.
	Expires int64
	// Reason is the caller's, for people; Initiator who acted.
	Reason    string
	Initiator Initiator
	// Cause is a hash of what asked for it (a caller's Idempotency-Key, or an
	// incoming token), by which every publisher knows a replay; "" for none.
	Cause  string
	Origin Origin
}

// Validate refuses a revocation that lacks a part or contradicts itself. It
// judges nothing against a clock.
func (r *Revocation) Validate() error {
	if r.ID.IsZero() || r.Txn.IsZero() {
		return errors.New("event has no jti or no txn")
	}
	if r.Issuer == "" || !isText(r.Issuer, MaxValueBytes) {
		return errors.New("event has no usable iss")
	}
	if err := r.Fleet.Validate(); err != nil {
		return err
	}
	if err := r.Target.Validate(); err != nil {
		return err
	}
	if _, err := ParseInitiator(string(r.Initiator)); err != nil {
		return err
	}
	if !isText(r.Reason, MaxReasonBytes) || !isText(r.Cause, 64) {
		return errors.New("event's reason or cause is too long or not UTF-8")
	}
	if err := r.Origin.Validate(); err != nil {
		return err
	}
	return r.validateTimes()
}

func (r *Revocation) validateTimes() error {
	for _, t := range []int64{r.IssuedAt, r.NotBefore, r.Expires} {
		if t < 0 || t >= maxTime {
			return errors.New("event has a time outside 0 to 2^53")
		}
	}
	if r.Target.Kind.HasCutoff() != (r.NotBefore != 0) {
		return fmt.Errorf("event of kind %s: not_before is present where it must not be, or the other way round", r.Target.Kind)
	}
	if r.Expires == 0 || r.IssuedAt == 0 {
		return errors.New("event has no iat or no expires")
	}
	return nil
}

// Validate refuses an origin without publisher, incarnation or counter.
func (o *Origin) Validate() error {
	if o.Publisher == "" || !isText(o.Publisher, 64) || strings.ContainsFunc(o.Publisher, notInSubject) {
		return errors.New("publisher id must be 1 to 64 bytes of UTF-8 without blanks, dots, * and >")
	}
	if o.Incarnation.IsZero() || o.Counter == 0 {
		return errors.New("event has no incarnation or no counter")
	}
	return nil
}

func notInSubject(r rune) bool {
	return strings.ContainsRune(".*>", r) || unicode.IsSpace(r) || unicode.IsControl(r)
}

// isText tells whether s is UTF-8 of at most limit bytes. What is not would be
// changed by encoding it, and then hit something else than what was checked.
func isText(s string, limit int) bool { return len(s) <= limit && utf8.ValidString(s) }
