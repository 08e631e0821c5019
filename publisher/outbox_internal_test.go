package publisher

import (
	"cmp"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher/ledger"
)

// openPublisher opens one on a server of its own, with a realm "main".
func openPublisher(t *testing.T) (*Publisher, *bustest.Server) {
	t.Helper()
	srv := bustest.Start(t)
	srv.Bus(t, events.DefaultFleet)
	return openPublishers(t, srv, "p1")[0], srv
}

// openPublishers opens publishers of one fleet that trust each other.
func openPublishers(t *testing.T, srv *bustest.Server, ids ...string) (all []*Publisher) {
	t.Helper()
	realms, err := realm.New(twoRealms(), realm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(realms.Close)
	var signers []*events.Signer
	var keys []*events.PublicKey
	for _, id := range ids {
		signer, err := events.NewSigner(id)
		if err != nil {
			t.Fatal(err)
		}
		signers, keys = append(signers, signer), append(keys, signer.Public())
	}
	for _, signer := range signers {
		all = append(all, openOne(t, srv, Config{Issuer: "http://127.0.0.1:7480", Signer: signer, Keys: events.NewKeySet(keys...),
			Realms: realms, Dir: t.TempDir(), ListenFor: time.Millisecond}))
	}
	return all
}

func openOne(t *testing.T, srv *bustest.Server, c Config) *Publisher {
	t.Helper()
	p, err := Open(t.Context(), srv.Connect(t, nats.MaxReconnects(-1)), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	bustest.Eventually(t, "publisher is ready", func() bool { return p.Ready() == nil })
	return p
}

// accepting writes an order as accept does, up to where the loop is told. expires
// replaces the events' own unless it is 0.
func accepting(t *testing.T, p *Publisher, o *Order, expires int64) (*request, []ledger.Post) {
	t.Helper()
	drafts, err := p.plan(o)
	if err != nil {
		t.Fatal(err)
	}
	req := &request{txn: events.NewEventID(), acked: make(chan struct{}), missing: len(drafts)}
	req.tally = newTally(req.txn, 0)
	for i := range drafts {
		r := drafts[i].revocation(p.now(), 0)
		r.ID, r.Txn, r.Issuer, r.Fleet, r.Initiator = events.NewEventID(), req.txn, p.cfg.Issuer, p.fleet, o.Initiator
		r.Expires = cmp.Or(expires, r.Expires)
		req.items = append(req.items, &item{r: r})
		req.tally.expect(r.ID, &tallied{stream: r.Target.Kind.Stream()})
	}
	req.record = newRecord(o, req, p.now())
	posts := make([]ledger.Post, len(req.items))
	if err := p.ledger.Update(func(tx *ledger.Tx) error { return p.writeAccepted(tx, req, posts) }); err != nil {
		t.Fatal(err)
	}
	return req, posts
}

func (p *Publisher) outbox(t *testing.T) (n int) {
	t.Helper()
	err := p.ledger.View(func(tx *ledger.Tx) error {
		posts, err := tx.Posts(0, 100, nil)
		n = len(posts)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestOutboxLeavesWhatIsBeingAccepted: an event that it sent before the loop
// expects it would stay in the outbox, and its caller would wait in vain.
func TestOutboxLeavesWhatIsBeingAccepted(t *testing.T) {
	p, _ := openPublisher(t)
	req, posts := accepting(t, p, order(Target{Kind: events.KindUser, Realm: "main", Value: "jack"}), 0)
	p.drain()
	before, err := p.bus.Info(t.Context(), events.Control)
	if err != nil || before.Msgs != 0 {
		t.Fatalf("%d messages in the stream, %v, want none yet", before.Msgs, err)
	}
	p.ask(func(l *loop) { l.accepted(req, posts) })
	p.drain()
	bustest.Eventually(t, "it is seen in the stream", func() bool {
		reached := false
		p.ask(func(*loop) { reached = req.tally.reached() })
		return reached && p.outbox(t) == 0
	})
}

func TestEventThatExpiredOnItsWayEndsItsRequest(t *testing.T) {
	for name, then := range map[string]func(l *loop){
		"in the stream": func(*loop) {},
		"in the outbox": func(l *loop) { l.sweep(l.mono()) },
	} {
		p, _ := openPublisher(t)
		// What the first sweep removes is removed by now.
		if err := p.ledger.UpdateLater(func(*ledger.Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
		gone := time.Now().Add(-time.Minute).Unix()
		req, posts := accepting(t, p, order(Target{Kind: events.KindUser, Realm: "main", Value: "jack"}), gone)
		p.ask(func(l *loop) { l.accepted(req, posts); then(l) })
		bustest.Eventually(t, "the wait for one that expired "+name+" is over, and the outbox empty", func() bool {
			over := false
			p.ask(func(*loop) { over = req.tally.reached() || req.tally.final != nil })
			return over && p.outbox(t) == 0
		})
	}
}

// TestWhatWasAcceptedWhileClosingIsQueued stops the loop before the ledger, as
// Close does.
func TestWhatWasAcceptedWhileClosingIsQueued(t *testing.T) {
	p, _ := openPublisher(t)
	p.cancel(ErrClosed)
	p.work.Wait()
	o := order(Target{Kind: events.KindUser, Realm: "main", Value: "jack"})
	drafts, err := p.plan(o)
	if err != nil {
		t.Fatal(err)
	}
	req, err := p.accept(o, drafts, "key", "")
	if err != nil || p.outbox(t) != 1 {
		t.Fatalf("%v with %d in the outbox, want it accepted", err, p.outbox(t))
	}
	if res, err := p.await(t.Context(), o, req, false); !errors.Is(err, ErrQueued) || res == nil {
		t.Errorf("not acknowledged: %v, %v, want ErrQueued with a result", res, err)
	}
	close(req.acked)
	if res, err := p.await(t.Context(), o, req, false); !errors.Is(err, ErrQueued) || res == nil {
		t.Errorf("acknowledged: %v, %v, want ErrQueued with a result", res, err)
	}
	if _, err := p.Revoke(t.Context(), *o); !errors.Is(err, ErrClosed) {
		t.Errorf("another one: %v, want ErrClosed", err)
	}
}

// putReceipts puts receipts into the outbox, as the receipt loop does.
func putReceipts(t *testing.T, p *Publisher, n int) []ledger.Post {
	t.Helper()
	posts := make([]ledger.Post, n)
	err := p.ledger.Update(func(tx *ledger.Tx) error {
		for i := range posts {
			posts[i] = ledger.Post{Stream: events.Audit, ID: events.NewEventID(), Raw: []byte("receipt")}
			if err := tx.PutPost(&posts[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return posts
}

// TestReceiptThatTheStreamHasHoldsUpNoOther: a crash after receipts were published
// and before they were taken off the outbox.
func TestReceiptThatTheStreamHasHoldsUpNoOther(t *testing.T) {
	p, _ := openPublisher(t)
	posts := putReceipts(t, p, 3*togetherFrom)
	if _, err := p.bus.Publish(t.Context(), events.Audit, posts[4].ID.String(), posts[4].Raw); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the outbox is empty", func() bool { p.kickOutbox(); return p.outbox(t) == 0 })
	if i, err := p.bus.Info(t.Context(), events.Audit); err != nil || i.Msgs != uint64(len(posts)) {
		t.Errorf("%d messages in the stream, %v, want each receipt once: %d", i.Msgs, err, len(posts))
	}
}

// TestReceiptsGoOutWhenTheBusIsBack publishes many together once there is a bus.
func TestReceiptsGoOutWhenTheBusIsBack(t *testing.T) {
	p, srv := openPublisher(t)
	srv.Stop(t)
	posts := putReceipts(t, p, 3*togetherFrom)
	p.kickOutbox()
	bustest.Eventually(t, "the client notices", func() bool { return !p.nc.IsConnected() })
	srv.Start(t)
	bustest.Eventually(t, "the outbox is empty", func() bool { return p.outbox(t) == 0 })
	if i, err := p.bus.Info(t.Context(), events.Audit); err != nil || i.Msgs != uint64(len(posts)) {
		t.Errorf("%d messages in the stream, %v, want each receipt once: %d", i.Msgs, err, len(posts))
	}
}
