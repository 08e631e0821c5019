package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
)

func consumer(t *testing.T, b *bus.Bus) *bus.AuditConsumer {
	t.Helper()
	c, err := b.AuditConsumer(t.Context(), "auditor")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// take fetches until it has n messages.
func take(t *testing.T, c *bus.AuditConsumer, n int) (all []bus.AuditMessage) {
	t.Helper()
	for ctx := within(t, 20*time.Second); len(all) < n; {
		msgs, err := c.Fetch(ctx, n-len(all))
		if err != nil && !errors.Is(err, bus.ErrUnavailable) || ctx.Err() != nil {
			t.Fatalf("after %d messages: %v", len(all), err)
		}
		all = append(all, msgs...)
	}
	return all
}

func TestAuditStreamHasEventsAndReceipts(t *testing.T) {
	_, b := start(t)
	publish(t, b, events.Control, 1)
	publish(t, b, events.Tokens, 1)
	publish(t, b, events.Audit, 1)
	subjects := map[string]bool{}
	for _, m := range take(t, consumer(t, b), 3) {
		subjects[m.Subject] = true
		if string(m.Data) != "message 0" || m.Seq == 0 || time.Since(m.Time).Abs() > time.Minute {
			t.Errorf("got %+v", m)
		}
	}
	for _, want := range []string{"rescind.events.control", "rescind.events.tokens", "rescind.audit.receipt"} {
		if !subjects[want] {
			t.Errorf("no message on %s", want)
		}
	}
}

func TestAuditStreamFollowsAcrossARemadeStream(t *testing.T) {
	srv, b := start(t)
	publish(t, b, events.Control, 3)
	c := consumer(t, b)
	take(t, c, 3)
	srv.Remake(t, fleet, events.Control)
	publish(t, b, events.Control, 2)
	// A running server notices within half a minute, a starting one at once.
	srv.Stop(t)
	srv.Start(t)
	if got := take(t, c, 2); string(got[1].Data) != "message 1" {
		t.Errorf("got %q", got[1].Data)
	}
}

func TestConsumerResumesAfterARestartWithoutLoss(t *testing.T) {
	srv, b := start(t)
	publish(t, b, events.Audit, 10)
	c := consumer(t, b)
	for _, m := range take(t, c, 4) {
		if err := m.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	srv.Stop(t)
	srv.Start(t)
	var again *bus.AuditConsumer
	bustest.Eventually(t, "the consumer is back", func() (ok bool) {
		var err error
		again, err = b.AuditConsumer(t.Context(), "auditor")
		return err == nil
	})
	if n, err := again.Pending(t.Context()); err != nil || n != 6 {
		t.Errorf("pending: got %d, %v, want 6", n, err)
	}
	for i, m := range take(t, again, 6) {
		if want := fmt.Sprintf("message %d", i+4); string(m.Data) != want {
			t.Errorf("got %q, want %q", m.Data, want)
		}
		if err := m.Ack(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n, err := again.Pending(t.Context()); err != nil || n != 0 {
		t.Errorf("pending at the end: got %d, %v, want 0", n, err)
	}
}

func TestKilledServerRepeatsButLosesNothing(t *testing.T) {
	srv, b := start(t)
	publish(t, b, events.Audit, 10)
	for _, m := range take(t, consumer(t, b), 4) {
		if err := m.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	srv.Kill(t)
	srv.Start(t)
	bustest.Eventually(t, "the consumer is back", func() (ok bool) {
		_, err := b.AuditConsumer(t.Context(), "auditor")
		return err == nil
	})
	c := consumer(t, b)
	missing := map[string]bool{}
	for i := 4; i < 10; i++ {
		missing[fmt.Sprintf("message %d", i)] = true
	}
	for len(missing) > 0 {
		delete(missing, string(take(t, c, 1)[0].Data))
	}
}

func TestUnacknowledgedMessagesArePending(t *testing.T) {
	_, b := start(t)
	publish(t, b, events.Audit, 3)
	c := consumer(t, b)
	take(t, c, 2)
	if n, err := c.Pending(t.Context()); err != nil || n != 3 {
		t.Errorf("got %d, %v, want 3", n, err)
	}
}

func TestFetchWaitsForAMessageOrTheContext(t *testing.T) {
	_, b := start(t)
	c := consumer(t, b)
	if _, err := c.Fetch(within(t, 100*time.Millisecond), 10); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing there: got %v, want DeadlineExceeded", err)
	}
	got := make(chan error, 1)
	go func() {
		msgs, err := c.Fetch(within(t, 20*time.Second), 10)
		if err == nil && len(msgs) != 1 {
			err = fmt.Errorf("%d messages", len(msgs))
		}
		got <- err
	}()
	publish(t, b, events.Audit, 1)
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestConsumerOfNoStreamOrNoNameFails(t *testing.T) {
	srv, b := start(t)
	for _, name := range []string{"", "a.b", "a b"} {
		if _, err := b.AuditConsumer(t.Context(), name); !errors.Is(err, bus.ErrRefused) {
			t.Errorf("%q: got %v, want ErrRefused", name, err)
		}
	}
	c := consumer(t, b)
	srv.Delete(t, fleet, events.Audit)
	if _, err := b.AuditConsumer(t.Context(), "auditor"); !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("got %v, want ErrNoStream", err)
	}
	srv.Stop(t)
	bustest.Eventually(t, "the client notices", func() bool { return !b.Conn().IsConnected() })
	if _, err := c.Fetch(within(t, 2*time.Second), 1); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("stopped server: got %v, want ErrUnavailable", err)
	}
}
