package events_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
)

// TestRevocationsThatLackAPartAreNotSigned also stands for Open, which calls the
// same Validate.
func TestRevocationsThatLackAPartAreNotSigned(t *testing.T) {
	signer := testSigner(t)
	for name, spoil := range map[string]func(*events.Revocation){
		"no id":                     func(r *events.Revocation) { r.ID = events.EventID{} },
		"no txn":                    func(r *events.Revocation) { r.Txn = events.EventID{} },
		"no issuer":                 func(r *events.Revocation) { r.Issuer = "" },
		"issuer too long":           func(r *events.Revocation) { r.Issuer = strings.Repeat("x", events.MaxValueBytes+1) },
		"issuer not UTF-8":          func(r *events.Revocation) { r.Issuer = "\xff" },
		"no fleet":                  func(r *events.Revocation) { r.Fleet = "" },
		"fleet in capitals":         func(r *events.Revocation) { r.Fleet = "RESCIND" },
		"target of no kind":         func(r *events.Revocation) { r.Target.Kind = "" },
		"no initiator":              func(r *events.Revocation) { r.Initiator = "" },
		"unknown initiator":         func(r *events.Revocation) { r.Initiator = "Admin" },
		"reason too long":           func(r *events.Revocation) { r.Reason = strings.Repeat("x", events.MaxReasonBytes+1) },
		"reason not UTF-8":          func(r *events.Revocation) { r.Reason = "\xff" },
		"cause too long":            func(r *events.Revocation) { r.Cause = strings.Repeat("x", 65) },
		"cause not UTF-8":           func(r *events.Revocation) { r.Cause = "\xff" },
		"no publisher":              func(r *events.Revocation) { r.Origin.Publisher = "" },
		"no incarnation":            func(r *events.Revocation) { r.Origin.Incarnation = events.EventID{} },
		"no counter":                func(r *events.Revocation) { r.Origin.Counter = 0 },
		"no iat":                    func(r *events.Revocation) { r.IssuedAt = 0 },
		"negative iat":              func(r *events.Revocation) { r.IssuedAt = -1 },
		"iat too large":             func(r *events.Revocation) { r.IssuedAt = 1 << 53 },
		"no expires":                func(r *events.Revocation) { r.Expires = 0 },
		"negative expires":          func(r *events.Revocation) { r.Expires = -1 },
		"expires too large":         func(r *events.Revocation) { r.Expires = 1 << 53 },
		"no cutoff":                 func(r *events.Revocation) { r.NotBefore = 0 },
		"negative cutoff":           func(r *events.Revocation) { r.NotBefore = -1 },
		"cutoff too large":          func(r *events.Revocation) { r.NotBefore = 1 << 53 },
		"cutoff of a session":       func(r *events.Revocation) { r.Target.Kind = events.KindSession },
		"cutoff of a token":         func(r *events.Revocation) { r.Target = targetOf(t, events.KindToken) },
		"cutoff of a list":          func(r *events.Revocation) { r.Target = targetOf(t, events.KindTokens) },
		"cutoff of a lift":          func(r *events.Revocation) { r.Target = targetOf(t, events.KindLift) },
		"realm's rule without one":  func(r *events.Revocation) { r.Target, r.NotBefore = targetOf(t, events.KindRealm), 0 },
		"client's rule without one": func(r *events.Revocation) { r.Target, r.NotBefore = targetOf(t, events.KindClient), 0 },
	} {
		r := baseRevocation(t)
		spoil(r)
		if raw, err := signer.Sign(r); err == nil || raw != nil {
			t.Errorf("%s: signed", name)
		}
	}
	for name, keep := range map[string]func(*events.Revocation){
		"longest issuer": func(r *events.Revocation) { r.Issuer = strings.Repeat("x", events.MaxValueBytes) },
		"longest reason": func(r *events.Revocation) { r.Reason = strings.Repeat("x", events.MaxReasonBytes) },
		"longest cause":  func(r *events.Revocation) { r.Cause = strings.Repeat("x", 64) },
		"no reason":      func(r *events.Revocation) { r.Reason, r.Cause = "", "" },
		"latest times":   func(r *events.Revocation) { r.IssuedAt, r.NotBefore, r.Expires = 1<<53-1, 1<<53-1, 1<<53-1 },
	} {
		r := baseRevocation(t)
		keep(r)
		got, _, err := testKeySet(t).Open(fleet, mustSign(t, signer, r))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(r, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestPublisherIDsCanBePartOfASubject(t *testing.T) {
	o := testOrigin(t)
	for _, bad := range []string{"", "a b", "a.b", "*", ">", "a\tb", "a\r", "a\n", "a\x00", "a\v", "a\u00a0b", "a\u2028", "\xff",
		strings.Repeat("x", 65)} {
		o.Publisher = bad
		if o.Validate() == nil {
			t.Errorf("publisher %q is accepted", bad)
		}
		if _, err := events.NewSigner(bad); err == nil {
			t.Errorf("a key for publisher %q is made", bad)
		}
	}
	for _, good := range []string{"a", "pub-1", "eu_west", "büro", strings.Repeat("x", 64)} {
		o.Publisher = good
		if err := o.Validate(); err != nil {
			t.Errorf("publisher %q: %v", good, err)
		}
	}
}

func TestLargestListFitsInAnEvent(t *testing.T) {
	r := baseRevocation(t)
	// "<" is six bytes of JSON, no character is more for each of its own.
	long := strings.Repeat("<", events.MaxValueBytes)
	r.Target = events.Target{Kind: events.KindTokens, Realm: long}
	for i := range events.MaxIdentities {
		r.Target.Identities = append(r.Target.Identities, events.OpaqueIdentity(string(binary.BigEndian.AppendUint32(nil, uint32(i)))))
	}
	r.NotBefore, r.Issuer = 0, long
	r.Reason, r.Cause = strings.Repeat("\x01", events.MaxReasonBytes), strings.Repeat("&", 64)
	r.IssuedAt, r.Expires, r.Origin.Counter = 1<<53-1, 1<<53-1, 1<<64-1
	raw := mustSign(t, testSigner(t), r)
	got, _, err := testKeySet(t).Open(fleet, raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEventsBeyondTheLimitAreNeitherSignedNorOpened(t *testing.T) {
	r := baseRevocation(t)
	r.Target.Issuers = nil
	for range events.MaxIssuers {
		r.Target.Issuers = append(r.Target.Issuers, strings.Repeat("x", events.MaxValueBytes))
	}
	if _, err := testSigner(t).Sign(r); err != nil {
		t.Errorf("a rule at its limits: %v", err)
	}
	for i := range r.Target.Issuers {
		r.Target.Issuers[i] = strings.Repeat("<", events.MaxValueBytes)
	}
	if raw, err := testSigner(t).Sign(r); err == nil {
		t.Errorf("an event of %d bytes is signed", len(raw))
	}

	payload := string(payloadOf(t, mustSign(t, testSigner(t), baseRevocation(t))))
	pad := func(n int) []byte {
		return signAny(t, headerOf(t, "secevent+jwt"), payload+strings.Repeat(" ", n))
	}
	fill := (events.MaxEventBytes-len(pad(0)))*3/4 - 3
	if _, _, err := testKeySet(t).Open(fleet, pad(fill)); err != nil {
		t.Errorf("an event just within the limit: %v", err)
	}
	if _, _, err := testKeySet(t).Open(fleet, pad(fill+8)); !errors.Is(err, events.ErrMalformed) {
		t.Errorf("an event beyond the limit: got %v, want ErrMalformed", err)
	}
}

func TestInitiatorsAreThoseOfCAEP(t *testing.T) {
	for _, s := range []string{"admin", "user", "policy", "system"} {
		if got, err := events.ParseInitiator(s); err != nil || string(got) != s {
			t.Errorf("%s: got %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "Admin", "root"} {
		if _, err := events.ParseInitiator(s); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
}
