package follow_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/follow"
)

// readers is a Reader on a real stream, and what it asks the server for.
type readers struct {
	t      *testing.T
	bus    *bus.Bus
	signer *events.Signer
	reader *follow.Reader
	first  uint64
	// asked are the sequences of the requests that the server got.
	asked *nats.Subscription
}

func startReader(t *testing.T, n int) *readers {
	t.Helper()
	srv := bustest.Start(t, bustest.Unsynced)
	r := &readers{t: t, bus: srv.Bus(t, events.DefaultFleet)}
	var err error
	if r.signer, err = events.NewSigner("p1"); err != nil {
		t.Fatal(err)
	}
	r.publish(n)
	nc := srv.Connect(t)
	if r.asked, err = nc.SubscribeSync("$JS.API.DIRECT.GET.>"); err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	keys := events.NewKeySet(r.signer.Public())
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	r.reader = follow.NewReader(ctx, r.bus, func() *events.KeySet { return keys }, running.Go)
	return r
}

// publish adds n messages, of which each third cannot be read.
func (r *readers) publish(n int) {
	r.t.Helper()
	for i := range n {
		raw, err := r.signer.Sign(&events.Revocation{ID: events.NewEventID(), Txn: events.NewEventID(), Issuer: "http://p",
			Fleet: events.DefaultFleet, IssuedAt: 1000, NotBefore: 1000, Expires: 1 << 40, Initiator: events.ByAdmin,
			Target: events.Target{Kind: events.KindUser, Realm: "main", Issuers: []string{"https://idp"}, Claim: "sub", Value: "u"},
			Origin: events.Origin{Publisher: "p1", Incarnation: events.EventID{1}, Counter: uint64(i + 1)}})
		if err != nil {
			r.t.Fatal(err)
		}
		if i%3 == 1 {
			raw[len(raw)-5] ^= 1
		}
		ack, err := r.bus.Publish(r.t.Context(), events.Control, "", raw)
		if err != nil {
			r.t.Fatal(err)
		}
		if r.first == 0 {
			r.first = ack.Seq
		}
	}
}

func (r *readers) read(f follow.Fetch) follow.Batch {
	r.t.Helper()
	done := make(chan follow.Batch, 1)
	r.reader.Start(events.Control, f, func(b follow.Batch, err error) {
		if err != nil {
			r.t.Error(err)
		}
		done <- b
	})
	select {
	case b := <-done:
		return b
	case <-time.After(20 * time.Second):
		r.t.Fatal("a read does not end")
		return follow.Batch{}
	}
}

// request gives the sequence, from the first one on, of the next request.
func (r *readers) request() int {
	r.t.Helper()
	m, err := r.asked.NextMsg(20 * time.Second)
	if err != nil {
		r.t.Fatal(err)
	}
	var req struct{ Seq uint64 }
	if err := json.Unmarshal(m.Data, &req); err != nil {
		r.t.Fatal(err)
	}
	return int(req.Seq - r.first)
}

func TestReaderVerifiesAllAndKeepsTheOrder(t *testing.T) {
	r := startReader(t, 2500)
	at, got := r.first, 0
	for anew := true; ; anew = false {
		b := r.read(follow.Fetch{From: at, Anew: anew})
		if got > 0 {
			b.Messages = b.Messages[1:] // the event at the position comes again
		}
		for _, m := range b.Messages {
			if bad := got%3 == 1; m.Seq != r.first+uint64(got) || (m.Err != nil) != bad || (m.Event == nil) != bad {
				t.Fatalf("message %d: sequence %d, event %v, %v", got, m.Seq-r.first, m.Event, m.Err)
			}
			at = m.Seq
			got++
		}
		if b.Complete {
			break
		}
	}
	if got != 2500 {
		t.Errorf("%d messages, want 2500", got)
	}
}

func TestReadAheadAnswersOnlyWhatMayHaveBegunEarlier(t *testing.T) {
	for _, tc := range []struct {
		name  string
		next  follow.Fetch
		again bool // the server is asked again
	}{
		{"it goes on", follow.Fetch{From: 999}, false},
		{"from the same place, but anew", follow.Fetch{From: 999, Anew: true}, true},
		{"from another place", follow.Fetch{From: 500}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := startReader(t, 1200)
			if b := r.read(follow.Fetch{From: r.first, Anew: true}); b.Complete || len(b.Messages) != 1000 {
				t.Fatalf("%d messages, complete %v", len(b.Messages), b.Complete)
			}
			if a, b := r.request(), r.request(); a != 0 || b != 999 {
				t.Fatalf("asked from %d and %d, want 0 and, ahead, 999", a, b)
			}
			tc.next.From += r.first
			b := r.read(tc.next)
			if b.Messages[0].Seq != tc.next.From {
				t.Errorf("read from %d, want %d", b.Messages[0].Seq-r.first, tc.next.From-r.first)
			}
			r.read(follow.Fetch{From: r.first + 1, Anew: true})
			if got, want := r.request() == 1, !tc.again; got != want {
				t.Errorf("answered from ahead: %v, want %v", got, want)
			}
		})
	}
}
