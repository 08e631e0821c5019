package bus_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
)

const fleet = events.Fleet("rescind")

func start(t *testing.T) (*bustest.Server, *bus.Bus) {
	t.Helper()
	s := bustest.Start(t)
	return s, s.Bus(t, fleet)
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// publish stores n numbered messages and gives the sequence of the first.
func publish(t *testing.T, b *bus.Bus, s events.Stream, n int) (first uint64) {
	t.Helper()
	for i := range n {
		ack, err := b.Publish(t.Context(), s, events.NewEventID().String(), fmt.Appendf(nil, "message %d", i))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = ack.Seq
		}
	}
	return first
}

func info(t *testing.T, b *bus.Bus, s events.Stream) bus.Info {
	t.Helper()
	var i bus.Info
	bustest.Eventually(t, "the stream tells its state", func() bool {
		var err error
		i, err = b.Info(t.Context(), s)
		return err == nil
	})
	return i
}

func jet(t *testing.T, b *bus.Bus) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(b.Conn())
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// configOf gives a stream's configuration, to make a worse one of.
func configOf(t *testing.T, b *bus.Bus, s events.Stream) jetstream.StreamConfig {
	t.Helper()
	st, err := jet(t, b).Stream(t.Context(), b.Fleet().StreamName(s))
	if err != nil {
		t.Fatal(err)
	}
	return st.CachedInfo().Config
}
