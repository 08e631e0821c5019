package publisher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
)

// hold makes who comes wait until go is called, as if a convoy were on the way.
func (c *convoy) hold() (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.handOver()
	}
}

func (c *convoy) await(t *testing.T, n int) {
	t.Helper()
	bustest.Eventually(t, fmt.Sprintf("%d wait", n), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.waiting) == n
	})
}

// TestManyCallersEventsAreStoredTogether: each is told where the stream has its own.
func TestManyCallersEventsAreStoredTogether(t *testing.T) {
	p, _ := openPublisher(t)
	const callers = 4 * togetherFrom
	release := p.convoy.hold()
	var work sync.WaitGroup
	results := make([]*Result, callers)
	for i := range callers {
		work.Go(func() {
			res, err := p.Revoke(t.Context(), *order(Target{Kind: events.KindUser, Realm: "main", Value: fmt.Sprint("user", i)}))
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
			results[i] = res
		})
	}
	p.convoy.await(t, callers)
	release()
	work.Wait()
	bustest.Eventually(t, "all are seen in the stream", func() bool {
		seen := 0
		p.ask(func(l *loop) {
			for _, res := range results {
				if e := l.entries[res.Events[0].ID]; e != nil && e.seq == res.Events[0].Seq {
					seen++
				}
			}
		})
		return seen == callers
	})
	if i, err := p.bus.Info(t.Context(), events.Control); err != nil || i.Msgs != callers {
		t.Errorf("%d messages in the stream, %v, want %d", i.Msgs, err, callers)
	}
	if p.convoy.busy {
		t.Error("somebody still leads")
	}
}

// TestOneThatTheStreamHasHoldsUpNoOther: an event whose acknowledgement was lost
// goes again, among others.
func TestOneThatTheStreamHasHoldsUpNoOther(t *testing.T) {
	p, _ := openPublisher(t)
	raw := []byte("an event")
	ids := make([]events.EventID, 2*togetherFrom)
	for i := range ids {
		ids[i] = events.NewEventID()
	}
	known, err := p.bus.Publish(t.Context(), events.Control, ids[3].String(), raw)
	if err != nil {
		t.Fatal(err)
	}
	release := p.convoy.hold()
	var work sync.WaitGroup
	for i, id := range ids {
		work.Go(func() {
			if seq, err := p.sendAlong(t.Context(), id, raw); err != nil || (seq == known.Seq) != (i == 3) {
				t.Errorf("event %d: sequence %d, %v", i, seq, err)
			}
		})
	}
	p.convoy.await(t, len(ids))
	release()
	work.Wait()
	if i, err := p.bus.Info(t.Context(), events.Control); err != nil || i.Msgs != uint64(len(ids)) {
		t.Errorf("%d messages in the stream, %v, want %d", i.Msgs, err, len(ids))
	}
}

// TestWhoLeavesHoldsUpNoOther: a caller may give up at any time, when it has been
// chosen to lead too.
func TestWhoLeavesHoldsUpNoOther(t *testing.T) {
	p, _ := openPublisher(t)
	release := p.convoy.hold()
	gone, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := p.sendAlong(gone, events.NewEventID(), []byte("x"))
		left <- err
	}()
	p.convoy.await(t, 1)
	cancel()
	if err := <-left; !errors.Is(err, bus.ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v, want ErrUnknownOutcome and the cause", err)
	}
	chosen, next := p.convoy.join(events.NewEventID(), []byte("y")), p.convoy.join(events.NewEventID(), []byte("z"))
	release()
	<-chosen.lead
	p.convoy.leave(chosen)
	<-next.lead
	p.travel()
	if next.err != nil || next.seq == 0 {
		t.Errorf("the next one: %d, %v", next.seq, next.err)
	}
	if _, err := p.sendAlong(t.Context(), events.NewEventID(), []byte("w")); err != nil {
		t.Errorf("one that comes later: %v", err)
	}
	if i, err := p.bus.Info(t.Context(), events.Control); err != nil || i.Msgs != 2 {
		t.Errorf("%d messages in the stream, %v, want the 2 that were sent", i.Msgs, err)
	}
}

func TestConvoyToNowhereIsToldSo(t *testing.T) {
	p, srv := openPublisher(t)
	srv.Stop(t)
	bustest.Eventually(t, "the client notices", func() bool { return !p.nc.IsConnected() })
	release := p.convoy.hold()
	var work sync.WaitGroup
	for range 2 * togetherFrom {
		work.Go(func() {
			if _, err := p.sendAlong(t.Context(), events.NewEventID(), []byte("x")); !errors.Is(err, bus.ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		})
	}
	p.convoy.await(t, 2*togetherFrom)
	release()
	work.Wait()
}
