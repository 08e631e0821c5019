package transmit

import (
	"fmt"
	"testing"

	"github.com/rescind/rescind/events"
)

// What is for one stream alone is passed on by no other, and only if a publisher has
// signed it.
func TestVerificationsAreTheirStreams(t *testing.T) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	tr := &Transmitter{cfg: Config{Key: key, Issuer: "https://rescind.example"}}
	one, two := &Stream{ID: "one", Audience: "receiver"}, &Stream{ID: "two", Audience: "receiver"}
	set, err := tr.verification(one, "state")
	if err != nil {
		t.Fatal(err)
	}
	if out := tr.own(one, set); out == nil || out.raw != set || out.jti == "" {
		t.Errorf("the stream's own: %+v", out)
	}
	if tr.own(two, set) != nil {
		t.Error("another stream passes it on")
	}
	if (&Transmitter{cfg: Config{Key: other}}).own(one, set) != nil {
		t.Error("a key that has not signed it passes it on")
	}
	if tr.own(one, "nonsense") != nil {
		t.Error("nonsense is passed on")
	}
}

// CAEP's event has a reason in any case, and the time from which on it holds.
func TestSessionRevokedHasWhatCAEPAsksFor(t *testing.T) {
	for _, c := range []struct {
		r    events.Revocation
		want string
	}{
		{events.Revocation{IssuedAt: 100, Initiator: events.ByAdmin}, "map[event_timestamp:100 initiating_entity:admin reason_admin:map[en:revoked]]"},
		{events.Revocation{IssuedAt: 100, NotBefore: 90, Reason: "left", Initiator: events.ByUser}, "map[event_timestamp:90 initiating_entity:user reason_admin:map[en:left]]"},
		{events.Revocation{IssuedAt: 100, NotBefore: 101, Initiator: events.BySystem}, "map[event_timestamp:100 initiating_entity:system reason_admin:map[en:revoked]]"},
	} {
		if got := fmt.Sprint(sessionRevoked(&c.r)); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}
