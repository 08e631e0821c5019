package events_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rescind/rescind/events"
)

const (
	fleet  = events.DefaultFleet
	pubURL = "https://rescind.example.com"
	mainIs = "https://idp.example.com/realms/main"
	partIs = "https://idp.example.com/realms/partner"

	signedAt = 1795302000
	cutoff   = 1795302001
	expires  = 1795388461
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func readTestdata(tb testing.TB, path ...string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{"..", "testdata"}, path...)...))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func testSigner(tb testing.TB) *events.Signer {
	tb.Helper()
	s, err := events.ParseSigner(readTestdata(tb, "keys", "publisher.jwk.json"))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func testKeySet(tb testing.TB) *events.KeySet {
	tb.Helper()
	k, err := events.ParseKeySet(readTestdata(tb, "keys", "jwks.json"))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

var testSeed = sync.OnceValues(func() ([]byte, error) {
	file, err := os.ReadFile(filepath.Join("..", "testdata", "keys", "publisher.jwk.json"))
	if err != nil {
		return nil, err
	}
	var jwk struct{ D string }
	if err := json.Unmarshal(file, &jwk); err != nil {
		return nil, err
	}
	return base64.RawURLEncoding.DecodeString(jwk.D)
})

// signAny makes a compact JWS of any header and payload with the test key, for
// what a Signer would not sign.
func signAny(tb testing.TB, header, payload string) []byte {
	tb.Helper()
	seed, err := testSeed()
	if err != nil {
		tb.Fatal(err)
	}
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	return []byte(signed + "." + b64(ed25519.Sign(ed25519.NewKeyFromSeed(seed), []byte(signed))))
}

func headerOf(tb testing.TB, typ string) string {
	return `{"alg":"EdDSA","kid":"` + testSigner(tb).Public().ID + `","typ":"` + typ + `"}`
}

func payloadOf(tb testing.TB, jws []byte) []byte {
	tb.Helper()
	parts := strings.Split(string(jws), ".")
	if len(parts) != 3 {
		tb.Fatalf("%q is no compact JWS", jws)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func compact(tb testing.TB, b []byte) string {
	tb.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		tb.Fatal(err)
	}
	return out.String()
}

func mustSign(tb testing.TB, s *events.Signer, r *events.Revocation) []byte {
	tb.Helper()
	raw, err := s.Sign(r)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func id(tb testing.TB, s string) events.EventID {
	tb.Helper()
	v, err := events.ParseEventID(s)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// jwtOf is an unsigned token of the claims: its signature is not looked at.
func jwtOf(claims string) string {
	return b64([]byte(`{"alg":"ES256","typ":"at+jwt"}`)) + "." + b64([]byte(claims)) + "." + b64([]byte("signature"))
}

func mustParse(tb testing.TB, raw string) *events.Token {
	tb.Helper()
	tok, err := events.ParseToken(raw)
	if err != nil {
		tb.Fatalf("ParseToken: %v", err)
	}
	return tok
}

// baseRevocation is a user's sign-out, valid as it stands.
func baseRevocation(tb testing.TB) *events.Revocation {
	return &events.Revocation{
		ID:        id(tb, "019ac9f2-0000-7000-8000-000000000001"),
		Txn:       id(tb, "019ac9f2-0000-7000-8000-0000000000aa"),
		Issuer:    pubURL,
		Fleet:     fleet,
		IssuedAt:  signedAt,
		NotBefore: cutoff,
		Expires:   expires,
		Reason:    "laptop stolen",
		Initiator: events.ByAdmin,
		Cause:     "R3u0bK4cPS9uN1wQ8F1b2g",
		Origin:    testOrigin(tb),
		Target: events.Target{Kind: events.KindUser, Realm: "main", Issuers: []string{mainIs},
			Claim: "sub", Value: "jacknich"},
	}
}

func testOrigin(tb testing.TB) events.Origin {
	return events.Origin{Publisher: "test-publisher",
		Incarnation: id(tb, "019ac9f0-0000-7000-8000-0000000000ff"), Counter: 42}
}

// sampleRevocations has one of each kind and form, by the name of its golden file.
func sampleRevocations(tb testing.TB) map[string]*events.Revocation {
	identity := events.JTIIdentity(mainIs, "b1946ac9")
	targets := map[string]events.Target{
		"token-jti": {Kind: events.KindToken, Realm: "main", Issuer: mainIs, JTI: "b1946ac9",
			Identities: []events.Identity{identity}},
		"token-hash": {Kind: events.KindToken, Identities: []events.Identity{events.SignedIdentity("e30.e30")}},
		"tokens": {Kind: events.KindTokens, Realm: "main",
			Identities: []events.Identity{identity, events.OpaqueIdentity("opaque"), events.SignedIdentity("e30.e30")}},
		"session":          {Kind: events.KindSession, Realm: "main", Issuers: []string{mainIs}, Claim: "sid", Value: "08a5019c"},
		"user-one-issuer":  {Kind: events.KindUser, Realm: "main", Issuers: []string{mainIs}, Claim: "sub", Value: "jacknich"},
		"user-any-issuer":  {Kind: events.KindUser, Claim: "preferred_username", Value: "jacknich"},
		"user-other-claim": {Kind: events.KindUser, Issuers: []string{mainIs}, Claim: "preferred_username", Value: "jacknich"},
		"client":           {Kind: events.KindClient, Realm: "main", Issuers: []string{mainIs}, Claim: "azp", Value: "billing"},
		"claim": {Kind: events.KindClaim, Realm: "partner", Issuers: []string{mainIs, partIs},
			Claim: "device", Value: `kiosk <7> & "8"`},
		"realm": {Kind: events.KindRealm, Realm: "main", Issuers: []string{mainIs, partIs}},
		"all":   {Kind: events.KindAll},
		"lift":  {Kind: events.KindLift, Lifted: id(tb, "019ac9f1-0000-7000-8000-000000000007")},
	}
	out := map[string]*events.Revocation{}
	for name, target := range targets {
		r := baseRevocation(tb)
		r.Target = target
		if !target.Kind.HasCutoff() {
			r.NotBefore = 0
		}
		out[name] = r
	}
	out["lift"].Reason, out["lift"].Cause = "", ""
	return out
}

func sampleAgent() events.Agent {
	return events.Agent{ID: "kLx0Zc3vQ9m1", Service: "payments", Instance: "web-7", Run: "r1", Version: "1.0.0"}
}

func samplePositions() map[events.Stream]events.Position {
	return map[events.Stream]events.Position{
		events.Control: {Epoch: "e1", Seq: 1795302000000042},
		events.Tokens:  {Epoch: "e1", Seq: 1795302000000007},
	}
}

func sampleCounted(tb testing.TB) events.Counted {
	return events.Counted{Event: id(tb, "019ac9f2-0000-7000-8000-000000000001"),
		Invalidated: events.TokenHashes{1, 1 << 63, 0xfedcba9876543210}, Previously: events.TokenHashes{7},
		InvalidatedCount: 4, PreviouslyCount: 1, AtLeast: true}
}

func sampleReport(tb testing.TB) *events.Report {
	return &events.Report{Agent: sampleAgent(), Number: 3, Positions: samplePositions(),
		Counted: []events.Counted{sampleCounted(tb), {Event: id(tb, "019ac9f2-0000-7000-8000-000000000002"), Replay: true}},
		Faults: []events.Fault{{Type: "signature", Stream: events.Control, Seq: 1795302000000041, Live: true},
			{Type: "disk", Detail: "no space left on device"}}}
}

func sampleStatus() *events.Status {
	return &events.Status{Agent: sampleAgent(), Moment: events.Regular, State: events.Fresh, Reports: 3,
		Positions: samplePositions(), Lag: 2, Entries: 12, Digest: "q80", Parked: 1,
		Rejected: map[string]uint64{"signature": 5, "audience": 1}, Disk: "no space left on device"}
}

func sampleAnswer(tb testing.TB) *events.Answer {
	return &events.Answer{Query: id(tb, "019ac9f2-0000-7000-8000-000000000003"), Agent: sampleAgent(),
		Counted: sampleCounted(tb), Untied: 1, Refresh: &events.RefreshToken{Realm: "main", User: "jacknich", Expires: expires}}
}

func sampleAsk() *events.Ask { return &events.Ask{From: 2, To: 3} }

func sampleBeacon(tb testing.TB) *events.Beacon {
	return &events.Beacon{Origin: testOrigin(tb), SentAt: signedAt*1000 + 123, Streams: map[events.Stream]events.Watermark{
		events.Control: {Epoch: "e1", First: 1795302000000001, Last: 1795302000000042, Owed: 1},
		events.Tokens:  {Epoch: "e1", First: 1795302000000001, Last: 1795302000000000},
	}}
}

func sampleQuery(tb testing.TB) *events.Query {
	return &events.Query{Origin: testOrigin(tb), ID: id(tb, "019ac9f2-0000-7000-8000-000000000003"),
		SentAt: signedAt*1000 + 123, Target: baseRevocation(tb).Target, NotBefore: cutoff, Expires: expires}
}

func sampleRefusal(tb testing.TB) *events.Refusal {
	return &events.Refusal{Origin: testOrigin(tb), ID: id(tb, "019ac9f2-0000-7000-8000-0000000000bb"), Door: "native",
		Error: "forbidden", Detail: "this caller may not revoke kind all", Caller: "apikey:helpdesk", Remote: "192.0.2.7",
		Kind: events.KindRealm, Realm: "main", Target: "realm main", Count: 17, First: signedAt * 1000, Last: signedAt*1000 + 59_000}
}

func sampleReceipt(tb testing.TB) *events.Receipt {
	return &events.Receipt{Origin: testOrigin(tb), ID: id(tb, "019ac9f2-0000-7000-8000-0000000000aa"),
		Events: []events.ReceiptEvent{{ID: id(tb, "019ac9f2-0000-7000-8000-000000000001"), Stream: events.Control,
			Seq: 1795302000000042, Target: `user "jacknich" in realm main`, NotBefore: cutoff}},
		Caller: "apikey:helpdesk", Door: "native", Reason: "laptop stolen",
		AcceptedAt: signedAt * 1000, ElapsedMS: 2004,
		Outcome: events.Outcome{Invalidated: 9, Previously: 15, AtLeast: true, CountsMissing: []string{"orders/api-1"},
			Expected: 3, Applied: []events.Application{{Agent: "orders/api-1", AfterMS: 4}, {Agent: "orders/api-2", AfterMS: 6}},
			Errors: []events.OutcomeError{{Agent: "payments/web-7", Type: events.AgentSilent, Reason: "no report within 2s"}}}}
}
