package publisher

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/follow"
)

// TestOwnEventIsKnownAgainAsItWouldBeRead orders while the bus is away, so that the
// events stay in flight.
func TestOwnEventIsKnownAgainAsItWouldBeRead(t *testing.T) {
	p, srv := openPublisher(t)
	srv.Stop(t)
	bustest.Eventually(t, "the client notices", func() bool { return !p.nc.IsConnected() })
	list := Target{Kind: events.KindTokens, Realm: "main"}
	for i := range 3 {
		list.Tokens = append(list.Tokens, token(i, orderedAt.Unix()+3600))
	}
	for name, target := range map[string]Target{
		"user": {Kind: events.KindUser, Realm: "main", Value: "jack"}, "session": {Kind: events.KindSession, Realm: "main", Value: "s"},
		"list": list, "token": {Kind: events.KindToken, Tokens: list.Tokens[:1]}, "all": {Kind: events.KindAll},
	} {
		o := order(target)
		o.Reason, o.Key = "laptop stolen", "key "+name
		res, err := p.Revoke(t.Context(), *o)
		if !errors.Is(err, ErrQueued) {
			t.Fatalf("%s: %v", name, err)
		}
		p.mu.Lock()
		f := p.inflight[res.Events[0].ID]
		p.mu.Unlock()
		raw := f.req.items[f.i].raw
		want := follow.Decode(p.keys.Load(), p.fleet, 7, raw)
		got := p.decode(7, bytes.Clone(raw))
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || want.Err != nil {
			t.Errorf("%s (-read +known): %v\n%s", name, want.Err, diff)
		}
		if got.Event != &f.req.items[f.i].r {
			t.Errorf("%s: it was read once more", name)
		}
		own := p.cfg.Signer.Public()
		bounded := *own
		bounded.Kinds = []events.Kind{events.KindLift}
		for why, keys := range map[error]*events.KeySet{events.ErrUnknownKey: events.NewKeySet(), events.ErrKeyBounds: events.NewKeySet(&bounded)} {
			p.keys.Store(keys)
			if got := p.decode(7, raw); !errors.Is(got.Err, why) {
				t.Errorf("%s: %v, want %v", name, got.Err, why)
			}
		}
		p.keys.Store(events.NewKeySet(own))
	}
}

// TestFollowerStandsStillWhileTheDiskLags: what the follower wants on disk is
// bounded; it goes on where it was.
func TestFollowerStandsStillWhileTheDiskLags(t *testing.T) {
	p, _ := openPublisher(t)
	lag := func(bytes int) {
		p.persists.mu.Lock()
		defer p.persists.mu.Unlock()
		p.persists.unwritten += bytes
	}
	lag(2 * maxUnwritten)
	o := order(Target{Kind: events.KindUser, Realm: "main", Value: "jack"})
	res, err := p.Revoke(t.Context(), *o)
	if err != nil {
		t.Fatal(err)
	}
	id := res.Events[0].ID
	state := func() (held bool, seq, beacons uint64) {
		p.ask(func(l *loop) { held, seq, beacons = l.held, l.entries[id].seq, l.beaconNo })
		return held, seq, beacons
	}
	bustest.Eventually(t, "it comes live and is passed over", func() bool { held, _, _ := state(); return held })
	_, _, was := state()
	bustest.Eventually(t, "beacons say that there is more to read", func() bool { _, _, n := state(); return n >= was+3 })
	if _, seq, _ := state(); seq != 0 {
		t.Error("it was followed")
	}
	lag(-2 * maxUnwritten)
	bustest.Eventually(t, "it is read", func() bool { _, seq, _ := state(); return seq != 0 })
	bustest.Eventually(t, "it is off the outbox, and nothing counts as unwritten", func() bool {
		p.persists.mu.Lock()
		defer p.persists.mu.Unlock()
		return p.persists.unwritten == 0 && p.outbox(t) == 0
	})
}
