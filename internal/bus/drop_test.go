package bus

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/natsd"
)

// A drop happens at a limit that no test can reach, so this one lowers it.
func TestDropIsToldBeforeTheNextMessage(t *testing.T) {
	srv, err := natsd.Start(t.Context(), natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	nc, err := nats.Connect("", nats.InProcessServer(srv), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	b, err := New(nc, events.DefaultFleet)
	if err != nil {
		t.Fatal(err)
	}
	entered, release, order := make(chan struct{}, 20), make(chan struct{}), make(chan string, 20)
	handler := func(m Message) { entered <- struct{}{}; <-release; order <- string(m.Data) }
	sub, err := b.Live(handler, func() { order <- "drop" })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	if err := sub.sub.SetPendingLimits(2, -1); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if i == 1 {
			<-entered // the first is being handled, the others wait
		}
		if err := nc.Publish(b.fleet.LiveSubject(events.Control), []byte("m")); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	close(release)
	for i, want := range []string{"m", "drop", "m"} {
		select {
		case got := <-order:
			if got != want {
				t.Fatalf("call %d: got %q, want %q", i, got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("call %d did not come", i)
		}
	}
}
