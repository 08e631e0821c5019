package bus_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
)

func TestSameIDIsStoredOnce(t *testing.T) {
	_, b := start(t)
	id := events.NewEventID().String()
	first, err := b.Publish(t.Context(), events.Control, id, []byte("one"))
	if err != nil || first.Duplicate {
		t.Fatal(first, err)
	}
	again, err := b.Publish(t.Context(), events.Control, id, []byte("two"))
	if err != nil || !again.Duplicate || again.Seq != first.Seq {
		t.Errorf("same id: got %+v, %v, want a duplicate of %d", again, err, first.Seq)
	}
	past, err := b.Publish(t.Context(), events.Control, "", []byte("one"))
	if err != nil || past.Duplicate || past.Seq != first.Seq+1 {
		t.Errorf("no id: got %+v, %v, want %d", past, err, first.Seq+1)
	}
}

func TestManyPublishesInFlight(t *testing.T) {
	_, b := start(t)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if _, err := b.Publish(t.Context(), events.Tokens, events.NewEventID().String(), []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := info(t, b, events.Tokens).Msgs; got != 64 {
		t.Errorf("stream holds %d messages, want 64", got)
	}
}

func TestPublishToAStoppedServerStoresNothing(t *testing.T) {
	srv, b := start(t)
	srv.Stop(t)
	bustest.Eventually(t, "the client notices", func() bool { return !b.Conn().IsConnected() })
	_, err := b.Publish(t.Context(), events.Control, "", []byte("x"))
	if !errors.Is(err, bus.ErrUnavailable) || !bus.Retryable(err) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	srv.Start(t)
	bustest.Eventually(t, "the client is back", b.Conn().IsConnected)
	if got := info(t, b, events.Control).Msgs; got != 0 {
		t.Errorf("%d messages were stored by a publish that failed as unavailable", got)
	}
}

func TestPublishWithoutAnAnswerHasAnUnknownOutcome(t *testing.T) {
	srv, direct := start(t)
	proxy := bustest.NewProxy(t, srv.URL())
	b, err := bus.New(bustest.Connect(t, proxy.URL()), fleet)
	if err != nil {
		t.Fatal(err)
	}
	proxy.BlackHole()
	id := events.NewEventID().String()
	_, err = b.Publish(within(t, 50*time.Millisecond), events.Control, id, []byte("x"))
	if !errors.Is(err, bus.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) || !bus.Retryable(err) {
		t.Errorf("got %v, want ErrUnknownOutcome and the context's error", err)
	}
	proxy.Heal()
	bustest.Eventually(t, "the message arrives after all", func() bool { return info(t, direct, events.Control).Msgs == 1 })
	if ack, err := b.Publish(t.Context(), events.Control, id, []byte("x")); err != nil || !ack.Duplicate {
		t.Errorf("retry under the same id: got %+v, %v, want a duplicate", ack, err)
	}
}

func TestPublishWithAnEndedContextSendsNothing(t *testing.T) {
	_, b := start(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	cancel(why)
	if _, err := b.Publish(ctx, events.Control, "", nil); !errors.Is(err, why) || bus.Retryable(err) {
		t.Errorf("got %v, want the context's cause", err)
	}
	if got := info(t, b, events.Control).Msgs; got != 0 {
		t.Errorf("stream holds %d messages", got)
	}
}

func TestPublishToAFullStreamIsRefusedLoudly(t *testing.T) {
	srv := bustest.Start(t)
	b, err := bus.New(srv.Connect(t), fleet)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(t.Context(), bus.Settings{TokensMaxBytes: 10_000}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), events.Tokens, "", make([]byte, 6000)); err != nil {
		t.Fatal(err)
	}
	_, err = b.Publish(t.Context(), events.Tokens, "", make([]byte, 6000))
	if !errors.Is(err, bus.ErrFull) || !bus.Retryable(err) {
		t.Errorf("got %v, want ErrFull", err)
	}
	if _, err := b.Publish(t.Context(), events.Control, "", make([]byte, 6000)); err != nil {
		t.Errorf("control is blocked by full tokens: %v", err)
	}
	i := info(t, b, events.Tokens)
	if i.Msgs != 1 || i.MaxBytes != 10_000 || i.Bytes < 6000 {
		t.Errorf("state is %+v", i)
	}
}

func TestPublishWithoutAStreamIsUnavailable(t *testing.T) {
	srv, b := start(t)
	srv.Delete(t, fleet, events.Control)
	if _, err := b.Publish(t.Context(), events.Control, "", []byte("x")); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

func TestPublishIntoAForeignStreamIsRefused(t *testing.T) {
	srv, b := start(t)
	srv.Delete(t, fleet, events.Control)
	_, err := jet(t, b).CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "FOREIGN", Subjects: []string{fleet.EventSubject(events.Control)}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Publish(t.Context(), events.Control, "", []byte("x"))
	if !errors.Is(err, bus.ErrRefused) || bus.Retryable(err) {
		t.Errorf("got %v, want ErrRefused", err)
	}
}

func TestAnAckOfAnotherStreamIsNotBelieved(t *testing.T) {
	srv, b := start(t)
	srv.Delete(t, fleet, events.Control)
	_, err := b.Conn().Subscribe(fleet.EventSubject(events.Control), func(m *nats.Msg) {
		_ = m.Respond([]byte(`{"stream":"OTHER","seq":7}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	if ack, err := b.Publish(t.Context(), events.Control, "", nil); !errors.Is(err, bus.ErrUnknownOutcome) {
		t.Errorf("got %+v, %v, want ErrUnknownOutcome", ack, err)
	}
}

func TestPublishTooLongIsRefused(t *testing.T) {
	_, b := start(t)
	_, err := b.Publish(t.Context(), events.Control, "", bytes.Repeat([]byte("x"), 2<<20))
	if !errors.Is(err, bus.ErrRefused) || bus.Retryable(err) {
		t.Errorf("got %v, want ErrRefused", err)
	}
}

func together(n int) (all []bus.Identified) {
	for range n {
		all = append(all, bus.Identified{ID: events.NewEventID().String(), Data: []byte("receipt")})
	}
	return all
}

func TestMessagesPublishedTogetherAreAllStoredOrNone(t *testing.T) {
	_, b := start(t)
	all := together(30)
	if err := b.PublishTogether(t.Context(), events.Audit, all); err != nil {
		t.Fatal(err)
	}
	if got := info(t, b, events.Audit).Msgs; got != 30 {
		t.Errorf("stream holds %d messages, want 30", got)
	}
	// Their ids are known, alone and together.
	if ack, err := b.Publish(t.Context(), events.Audit, all[7].ID, all[7].Data); err != nil || !ack.Duplicate {
		t.Errorf("one again: %+v, %v, want a duplicate", ack, err)
	}
	mixed := append(together(5), all[7])
	if err := b.PublishTogether(t.Context(), events.Audit, mixed); !errors.Is(err, bus.ErrRefused) {
		t.Errorf("one that is known among others: %v, want ErrRefused", err)
	}
	if got := info(t, b, events.Audit).Msgs; got != 30 {
		t.Errorf("stream holds %d messages after a refusal, want 30", got)
	}
	if err := b.PublishTogether(t.Context(), events.Control, together(2)); !errors.Is(err, bus.ErrRefused) {
		t.Errorf("to a stream that does not allow it: %v, want ErrRefused", err)
	}
	for _, n := range []int{0, bus.MaxTogether + 1} {
		if err := b.PublishTogether(t.Context(), events.Audit, together(n)); !errors.Is(err, bus.ErrRefused) {
			t.Errorf("%d messages: %v, want ErrRefused", n, err)
		}
	}
	if err := b.PublishTogether(t.Context(), events.Audit, together(bus.MaxTogether)); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
}

func TestMessagesPublishedTogetherSurviveAKill(t *testing.T) {
	srv, b := start(t)
	all := together(20)
	if err := b.PublishTogether(t.Context(), events.Audit, all); err != nil {
		t.Fatal(err)
	}
	srv.Kill(t)
	srv.Start(t)
	bustest.Eventually(t, "they are all there", func() bool {
		i, err := b.Info(t.Context(), events.Audit)
		return err == nil && i.Msgs == 20
	})
	if ack, err := b.Publish(t.Context(), events.Audit, all[19].ID, all[19].Data); err != nil || !ack.Duplicate {
		t.Errorf("one again: %+v, %v, want a duplicate", ack, err)
	}
}

func TestPublishTogetherWithoutAnAnswerHasAnUnknownOutcome(t *testing.T) {
	srv, direct := start(t)
	proxy := bustest.NewProxy(t, srv.URL())
	b, err := bus.New(bustest.Connect(t, proxy.URL()), fleet)
	if err != nil {
		t.Fatal(err)
	}
	proxy.BlackHole()
	if err := b.PublishTogether(within(t, 50*time.Millisecond), events.Audit, together(3)); !errors.Is(err, bus.ErrUnknownOutcome) {
		t.Errorf("got %v, want ErrUnknownOutcome", err)
	}
	proxy.Heal()
	bustest.Eventually(t, "they arrive after all", func() bool { return info(t, direct, events.Audit).Msgs == 3 })
	srv.Stop(t)
	bustest.Eventually(t, "the client notices", func() bool { return !direct.Conn().IsConnected() })
	if err := direct.PublishTogether(t.Context(), events.Audit, together(3)); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("stopped server: %v, want ErrUnavailable", err)
	}
}
