package publisher

import (
	"errors"
	"slices"
	"testing"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
)

// TestAnOrderIsKnownByItsKeyAtEachPublisher: what one has carried out, another does
// not carry out again, also after a start; what differs under the same key is refused.
func TestAnOrderIsKnownByItsKeyAtEachPublisher(t *testing.T) {
	srv := bustest.Start(t)
	b := srv.Bus(t, events.DefaultFleet)
	all := openPublishers(t, srv, "p1", "p2")
	one, two := all[0], all[1]
	published := func() (n uint64) {
		for _, s := range events.EventStreams {
			info, err := b.Info(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			n += info.Msgs
		}
		return n
	}
	client := order(Target{Kind: events.KindClient, Realm: "main", Value: "app"}) // two events
	client.Key = "k1"
	cut := order(Target{Kind: events.KindUser, Realm: "main", Value: "jack"})
	cut.Key, cut.NotBefore, cut.Ahead = "k2", one.now().Unix()+30, true
	for _, o := range []*Order{client, cut} {
		first, err := one.Revoke(t.Context(), *o)
		if err != nil || first.Replayed {
			t.Fatal(first, err)
		}
		if o.Ahead && first.NotBefore >= o.NotBefore {
			t.Errorf("the cutoff %d of a clock that is ahead is not cut to now", first.NotBefore)
		}
		known := func() bool {
			two.mu.Lock()
			defer two.mu.Unlock()
			e := two.elsewhere[o.cause()]
			return e != nil && len(e.events) == len(first.Events)
		}
		bustest.Eventually(t, "the other publisher follows", known)
		before := published()
		again, err := two.Revoke(t.Context(), *o)
		if err != nil || !again.Replayed || again.ID != first.ID || again.NotBefore != first.NotBefore || len(again.Events) != len(first.Events) {
			t.Errorf("again: %+v, %v, first: %+v", again, err, first)
		}
		if !slices.ContainsFunc(again.Errors, func(e events.OutcomeError) bool { return e.Type == events.AgentMissing }) || again.Complete {
			t.Errorf("an answer with no agent: %+v", again.Outcome)
		}
		other := *o
		other.Target.Value = "other"
		if _, err := two.Revoke(t.Context(), other); !errors.Is(err, ErrConflict) {
			t.Errorf("another order under the key: %v", err)
		}
		if n := published(); n != before {
			t.Errorf("%d events more", n-before)
		}
	}
	// The same from the ledger.
	cfg := two.cfg
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	two = openOne(t, srv, cfg)
	if again, err := two.Revoke(t.Context(), *client); err != nil || !again.Replayed {
		t.Errorf("after a start: %+v, %v", again, err)
	}
	// And its own are its own.
	if again, err := one.Revoke(t.Context(), *client); err != nil || !again.Replayed {
		t.Errorf("its own: %+v, %v", again, err)
	}
	one.mu.Lock()
	if len(one.elsewhere) != 0 {
		t.Errorf("%d of its own orders are taken for another's", len(one.elsewhere))
	}
	one.mu.Unlock()
	// One whose ledger is lost knows them from the stream.
	cfg = one.cfg
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Dir = t.TempDir()
	one = openOne(t, srv, cfg)
	bustest.Eventually(t, "it has read the stream", func() bool {
		one.mu.Lock()
		defer one.mu.Unlock()
		return len(one.elsewhere) == 2
	})
	if again, err := one.Revoke(t.Context(), *client); err != nil || !again.Replayed {
		t.Errorf("after the ledger was lost: %+v, %v", again, err)
	}
}
