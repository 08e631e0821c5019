package bus_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
)

func live(t *testing.T, b *bus.Bus) <-chan bus.Message {
	t.Helper()
	got := make(chan bus.Message, 100)
	sub, err := b.Live(func(m bus.Message) { got <- m }, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	if err := b.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	return got
}

func next(t *testing.T, got <-chan bus.Message) bus.Message {
	t.Helper()
	select {
	case m := <-got:
		return m
	case <-time.After(20 * time.Second):
		t.Fatal("no live message came")
		return bus.Message{}
	}
}

func TestLiveGetsWhatIsStoredWithItsSequence(t *testing.T) {
	_, b := start(t)
	got := live(t, b)
	for _, s := range events.EventStreams {
		ack, err := b.Publish(t.Context(), s, events.NewEventID().String(), []byte("body of "+s))
		if err != nil {
			t.Fatal(err)
		}
		m := next(t, got)
		if m.Stream != s || m.Seq != ack.Seq || string(m.Data) != "body of "+string(s) || time.Since(m.Time).Abs() > time.Minute {
			t.Errorf("got %+v, want %s at %d", m, s, ack.Seq)
		}
	}
}

func TestSpoofedLiveMessageHasNoSequence(t *testing.T) {
	_, b := start(t)
	got := live(t, b)
	send := func(h nats.Header) {
		t.Helper()
		if err := b.Conn().PublishMsg(&nats.Msg{Subject: fleet.LiveSubject(events.Control), Header: h, Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		if m := next(t, got); m.Seq != 0 || m.Stream != events.Control || string(m.Data) != "x" {
			t.Errorf("headers %v: got %+v, want sequence 0", h, m)
		}
	}
	send(nil)
	send(nats.Header{"Nats-Stream": {"RESCIND_TOKENS"}, "Nats-Sequence": {"7"}, "Nats-Time-Stamp": {"2026-11-22T00:00:00Z"}})
	// A sender's own sequence beside the server's is not believed either.
	m := &nats.Msg{Subject: fleet.EventSubject(events.Control), Header: nats.Header{"Nats-Sequence": {"7"}}}
	if _, err := b.Conn().RequestMsg(m, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if m := next(t, got); m.Seq != 0 {
		t.Errorf("stored with a sequence of its own: got %+v, want sequence 0", m)
	}
}

func TestOtherLiveSubjectsAreIgnored(t *testing.T) {
	_, b := start(t)
	got := live(t, b)
	if err := b.Conn().Publish(fleet.LiveSubject("audit"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	publish(t, b, events.Control, 1)
	if m := next(t, got); m.Stream != events.Control {
		t.Errorf("got %+v, want only control", m)
	}
}

func TestDuplicateIsNotRepublished(t *testing.T) {
	_, b := start(t)
	got := live(t, b)
	for range 2 {
		if _, err := b.Publish(t.Context(), events.Control, "same", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, b, events.Tokens, 1)
	next(t, got)
	if m := next(t, got); m.Stream != events.Tokens {
		t.Errorf("got %+v after the first, want the tokens event", m)
	}
}

func TestLiveContinuesAfterARestart(t *testing.T) {
	srv, b := start(t)
	got := live(t, b)
	srv.Stop(t)
	srv.Start(t)
	bustest.Eventually(t, "an event comes", func() bool {
		_, _ = b.Publish(t.Context(), events.Control, "", []byte("x"))
		return len(got) > 0
	})
}

func TestCloseWaitsForTheHandler(t *testing.T) {
	_, b := start(t)
	entered, release, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
	sub, err := b.Live(func(bus.Message) { close(entered); <-release; close(left) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, events.Control, 1)
	<-entered
	closed := make(chan struct{})
	go func() { sub.Close(); close(closed) }()
	select {
	case <-closed:
		t.Error("Close returned while the handler ran")
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	<-closed
	select {
	case <-left:
	default:
		t.Error("Close returned before the handler did")
	}
	sub.Close()
}

func TestLiveOnAClosedConnectionFails(t *testing.T) {
	_, b := start(t)
	sub, err := b.Live(func(bus.Message) {}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.Conn().Close()
	sub.Close()
	if _, err := b.Live(func(bus.Message) {}, nil); err == nil {
		t.Error("no error on a closed connection")
	}
}
