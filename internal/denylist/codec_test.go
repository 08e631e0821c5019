package denylist_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/denylist"
)

func TestRecordsComeBackFromTheirEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawRecord(t, 0, []*events.Token{opaque(1), opaque(2)})
		got, err := denylist.DecodeRecord(denylist.EncodeRecord(&want))
		got.ID, got.Stream, got.Seq = want.ID, want.Stream, want.Seq
		if want.Target.Issuers != nil && len(want.Target.Issuers) == 0 {
			want.Target.Issuers = nil
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v, %s", err, diff)
		}
	})
}

func TestRecordOfKeepsWhatMatchNeeds(t *testing.T) {
	target := events.Target{Kind: events.KindToken, Realm: "main", Identities: []events.Identity{events.JTIIdentity("i", "j")}, Issuer: "i", JTI: "j"}
	got := denylist.RecordOf(&events.Revocation{ID: id(1), Target: target, NotBefore: 1, Expires: 2}, "kid", events.Control, 3)
	target.Issuer, target.JTI = "", ""
	want := denylist.Record{ID: id(1), KeyID: "kid", Stream: events.Control, Seq: 3, Target: target, NotBefore: 1, Expires: 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Whatever the bytes are, decoding ends without a panic, and what it takes is
// what encoding gives.
func FuzzDecode(f *testing.F) {
	r := list(1, 0, 2)
	f.Add(denylist.EncodeRecord(&r))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = denylist.DecodeState(b)
		r, err := denylist.DecodeRecord(b)
		if err != nil {
			return
		}
		again, err := denylist.DecodeRecord(denylist.EncodeRecord(&r))
		if diff := cmp.Diff(r, again); err != nil || diff != "" {
			t.Fatalf("%v, %s", err, diff)
		}
	})
}
