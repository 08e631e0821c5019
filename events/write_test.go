package events

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawRevocation draws a valid event.
func drawRevocation(t *rapid.T) *Revocation {
	text := rapid.StringN(1, 40, 200)
	texts := rapid.SliceOfN(text, 1, 4)
	id := rapid.Map(rapid.SliceOfN(rapid.Byte(), 16, 16), func(b []byte) EventID { return EventID(append([]byte{1}, b[1:]...)) })
	when := rapid.Int64Range(1, maxTime-1)
	r := &Revocation{ID: id.Draw(t, "id"), Txn: id.Draw(t, "txn"), Issuer: text.Draw(t, "issuer"), Fleet: DefaultFleet,
		IssuedAt: when.Draw(t, "iat"), Expires: when.Draw(t, "expires"), Reason: rapid.StringN(0, 100, 1000).Draw(t, "reason"),
		Initiator: rapid.SampledFrom([]Initiator{ByAdmin, ByUser, ByPolicy, BySystem}).Draw(t, "initiator"),
		Cause:     rapid.StringN(0, 16, 64).Draw(t, "cause"),
		Origin:    Origin{Publisher: "test-publisher", Incarnation: id.Draw(t, "incarnation"), Counter: rapid.Uint64Min(1).Draw(t, "counter")}}
	target := Target{Kind: rapid.SampledFrom(Kinds).Draw(t, "kind"), Realm: text.Draw(t, "realm")}
	switch target.Kind {
	case KindToken:
		target.Issuer, target.JTI = text.Draw(t, "iss"), text.Draw(t, "jti")
		target.Identities = []Identity{JTIIdentity(target.Issuer, target.JTI)}
		if rapid.Bool().Draw(t, "by hash") {
			target.Issuer, target.JTI = "", ""
		}
	case KindTokens:
		for _, s := range rapid.SliceOfN(text, 1, 40).Draw(t, "tokens") {
			target.Identities = append(target.Identities, OpaqueIdentity(s))
		}
	case KindSession, KindUser, KindClient, KindClaim:
		target.Claim, target.Value = rapid.OneOf(rapid.Just("sub"), text).Draw(t, "claim"), text.Draw(t, "value")
		target.Issuers = texts.Draw(t, "issuers")
		if target.Kind != KindSession && rapid.Bool().Draw(t, "any realm") {
			target.Realm = ""
		}
	case KindRealm:
		target.Issuers = texts.Draw(t, "issuers")
	case KindAll:
		target.Realm = ""
	case KindLift:
		target.Lifted = id.Draw(t, "lifted")
	}
	if r.Target = target; target.Kind.HasCutoff() {
		r.NotBefore = when.Draw(t, "cutoff")
	}
	return r
}

func TestEventsAreWrittenAsEncodingJSONWritesThem(t *testing.T) {
	r := newReading(t)
	rapid.Check(t, func(t *rapid.T) {
		rev := drawRevocation(t)
		want, err := json.Marshal(encodeSET(rev))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(appendSET(nil, rev))); diff != "" {
			t.Errorf("(-encoding/json +written):\n%s", diff)
		}
		q := &Query{Origin: rev.Origin, ID: rev.ID, SentAt: rev.IssuedAt, Target: rev.Target, NotBefore: rev.NotBefore, Expires: rev.Expires}
		q.Target.Lifted = EventID{}
		if q.Target.Validate() != nil {
			return
		}
		claims, err := referenceQueryClaims(rev.Fleet, rev.Issuer, q)
		if err != nil {
			t.Fatal(err)
		}
		if want, err = json.Marshal(claims); err != nil {
			t.Fatal(err)
		}
		raw, err := r.signer.SignQuery(rev.Fleet, rev.Issuer, q)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := decodeB64(strings.Split(string(raw), ".")[1])
		if diff := cmp.Diff(string(want), string(payload)); err != nil || diff != "" {
			t.Errorf("query: %v (-encoding/json +written):\n%s", err, diff)
		}
	})
}

func TestStringsAreWrittenAsEncodingJSONWritesThem(t *testing.T) {
	texts := []string{"", "plain", "é€😀", "\u2028", "\u2029", "\ufffd", "\xff", "a\xc0\xafb", "\xed\xa0\x80", "<script>&amp;"}
	for c := range 256 {
		texts = append(texts, "a"+string([]byte{byte(c)})+"b")
	}
	for _, s := range texts {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendString([]byte("before"), s); string(got) != "before"+string(want) {
			t.Errorf("%q: got %s, encoding/json %s", s, got, want)
		}
	}
}
