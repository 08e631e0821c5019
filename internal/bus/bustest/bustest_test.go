package bustest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
)

const fleet = events.DefaultFleet

func publish(t *testing.T, b *bus.Bus, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := b.Publish(t.Context(), events.Control, events.NewEventID().String(), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
}

func info(t *testing.T, b *bus.Bus) (i bus.Info) {
	t.Helper()
	bustest.Eventually(t, "the stream tells its state", func() bool {
		var err error
		i, err = b.Info(t.Context(), events.Control)
		return err == nil
	})
	return i
}

// texts gives what the stream holds, and the first sequence.
func texts(t *testing.T, b *bus.Bus) (got []string, first uint64) {
	t.Helper()
	var batch bus.Batch
	bustest.Eventually(t, "the stream can be read", func() bool {
		var err error
		batch, err = b.Read(t.Context(), events.Control, 1, 0, 0)
		return err == nil
	})
	for _, m := range batch.Messages {
		got = append(got, string(m.Data))
	}
	if len(got) > 0 {
		first = batch.Messages[0].Seq
	}
	return got, first
}

func TestPurgeKeepsTheEpochAndTheEnd(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	publish(t, b, "a", "b")
	was := info(t, b)
	s.Purge(t, fleet, events.Control)
	is := info(t, b)
	if is.Epoch != was.Epoch || is.Last != was.Last || is.First != was.Last+1 || is.Msgs != 0 {
		t.Errorf("was %+v, is %+v", was, is)
	}
	if err := b.Verify(t.Context(), bus.Settings{}); err != nil {
		t.Error(err)
	}
}

func TestRollBackLosesWhatCameAfterTheSnapshot(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	publish(t, b, "a")
	was := info(t, b)
	snapshot := s.Snapshot(t)
	bustest.Eventually(t, "the client is back", b.Conn().IsConnected)
	info(t, b)
	publish(t, b, "b")
	s.RollBack(t, snapshot)
	if diff := cmp.Diff(was, info(t, b)); diff != "" {
		t.Error(diff)
	}
}

func TestLoseTailKeepsTheHeadAndIsNotSeenLive(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	publish(t, b, "a", "b", "c")
	was := info(t, b)
	live := make(chan string, 10)
	sub, err := b.Live(func(m bus.Message) { live <- string(m.Data) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	s.LoseTail(t, fleet, events.Control, 2)
	got, first := texts(t, b)
	is := info(t, b)
	if diff := cmp.Diff([]string{"a", "b"}, got); diff != "" || first != was.First || is.Epoch != was.Epoch || is.Last != was.Last-1 {
		t.Errorf("was %+v, is %+v with %v", was, is, got)
	}
	publish(t, b, "d")
	if got := <-live; got != "d" {
		t.Errorf("live: got %s, want only what is new", got)
	}
	if err := b.Verify(t.Context(), bus.Settings{}); err != nil {
		t.Error(err)
	}
}

func TestDropLeavesAHole(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	publish(t, b, "a", "b", "c")
	was := info(t, b)
	s.Drop(t, fleet, events.Control, was.First+1)
	got, _ := texts(t, b)
	if diff := cmp.Diff([]string{"a", "c"}, got); diff != "" || info(t, b).Epoch != was.Epoch {
		t.Error(diff)
	}
}

func TestKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	publish(t, b, "a", "b")
	s.Kill(t)
	s.Start(t)
	got, _ := texts(t, b)
	if diff := cmp.Diff([]string{"a", "b"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestProxyCutsSwallowsAndHeals(t *testing.T) {
	s := bustest.Start(t)
	proxy := bustest.NewProxy(t, s.URL())
	nc := bustest.Connect(t, proxy.URL())
	proxy.Cut()
	bustest.Eventually(t, "the client notices the cut", func() bool { return !nc.IsConnected() })
	proxy.Heal()
	bustest.Eventually(t, "the client is back", nc.IsConnected)
	proxy.BlackHole()
	if err := nc.FlushTimeout(50 * time.Millisecond); err == nil {
		t.Error("a flush went through a black hole")
	}
	if !nc.IsConnected() {
		t.Error("the client noticed the black hole")
	}
	proxy.Heal()
	if err := nc.FlushTimeout(20 * time.Second); err != nil {
		t.Error(err)
	}
	s.Stop(t)
	bustest.Eventually(t, "the client notices the stop", func() bool { return !nc.IsConnected() })
	b, err := bus.New(nc, fleet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Info(t.Context(), events.Control); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	s.Start(t)
	bustest.Eventually(t, "the client is back", nc.IsConnected)
}
