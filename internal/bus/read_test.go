package bus_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
)

func read(t *testing.T, b *bus.Bus, from uint64, max, maxBytes int) bus.Batch {
	t.Helper()
	batch, err := b.Read(within(t, 20*time.Second), events.Control, from, max, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// span is a batch in short: the sequences relative to first, and its flags.
func span(first uint64, b bus.Batch) string {
	var s strings.Builder
	for _, m := range b.Messages {
		fmt.Fprintf(&s, "%d ", int64(m.Seq-first))
	}
	fmt.Fprintf(&s, "pending %d", b.Pending)
	if b.Complete {
		s.WriteString(" complete")
	}
	if b.Broken {
		s.WriteString(" broken")
	}
	return s.String()
}

func TestReadGivesEveryMessageOnceInOrder(t *testing.T) {
	_, b := start(t)
	first := publish(t, b, events.Control, 10)
	for _, c := range []struct {
		from uint64
		max  int
		want string
	}{
		{first, 4, "0 1 2 3 pending 6"},
		{first + 4, 4, "4 5 6 7 pending 2"},
		{first + 8, 4, "8 9 pending 0 complete"},
		{first + 8, 2, "8 9 pending 0 complete"},
		{first + 9, 1, "9 pending 0 complete"},
		{first + 10, 4, "pending 0 complete"},
		{first + 1000, 4, "pending 0 complete"},
		{first - 1000, 2, "0 1 pending 8"},
		{0, 2, "0 1 pending 8"},
		{1, 1, "0 pending 9"},
		{first, 0, "0 1 2 3 4 5 6 7 8 9 pending 0 complete"},
		{first, 1 << 30, "0 1 2 3 4 5 6 7 8 9 pending 0 complete"},
	} {
		if got := span(first, read(t, b, c.from, c.max, 0)); got != c.want {
			t.Errorf("from %d, max %d: got %s, want %s", int64(c.from-first), c.max, got, c.want)
		}
	}
	m := read(t, b, first, 1, 0).Messages[0]
	if string(m.Data) != "message 0" || m.Stream != events.Control || time.Since(m.Time).Abs() > time.Minute {
		t.Errorf("got %+v", m)
	}
}

func TestReadOfAnEmptyStreamIsComplete(t *testing.T) {
	srv, b := start(t)
	if got := span(0, read(t, b, 0, 10, 0)); got != "pending 0 complete" {
		t.Errorf("new stream: got %s", got)
	}
	first := publish(t, b, events.Control, 2)
	srv.Purge(t, fleet, events.Control)
	if got := span(0, read(t, b, first, 10, 0)); got != "pending 0 complete" {
		t.Errorf("purged stream: got %s", got)
	}
}

func TestReadPassesOverDeletedMessages(t *testing.T) {
	srv, b := start(t)
	first := publish(t, b, events.Control, 6)
	for _, n := range []uint64{0, 2, 3} {
		srv.Drop(t, fleet, events.Control, first+n)
	}
	if got, want := span(first, read(t, b, first, 10, 0)), "1 4 5 pending 0 complete"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := span(first, read(t, b, first+2, 1, 0)), "4 pending 1"; got != want {
		t.Errorf("one: got %s, want %s", got, want)
	}
}

func TestReadIsSplitByBytes(t *testing.T) {
	_, b := start(t)
	var first uint64
	for range 4 {
		ack, err := b.Publish(t.Context(), events.Control, "", make([]byte, 1000))
		if err != nil {
			t.Fatal(err)
		}
		if first == 0 {
			first = ack.Seq
		}
	}
	for _, c := range []struct {
		maxBytes int
		want     string
	}{{1, "0 pending 3"}, {1500, "0 1 pending 2"}, {1 << 20, "0 1 2 3 pending 0 complete"}} {
		if got := span(first, read(t, b, first, 10, c.maxBytes)); got != c.want {
			t.Errorf("%d bytes: got %s, want %s", c.maxBytes, got, c.want)
		}
	}
}

func TestReadEachGivesEveryMessageOnceInOrder(t *testing.T) {
	srv, b := start(t)
	first := publish(t, b, events.Control, 5)
	srv.Drop(t, fleet, events.Control, first+2)
	for _, max := range []int{1, 3, 100} {
		var got bus.Batch
		batch, err := b.ReadEach(t.Context(), events.Control, first, max, 0, func(m bus.Message) { got.Messages = append(got.Messages, m) })
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(batch.Messages, got.Messages); diff != "" || len(got.Messages) != min(max, 4) {
			t.Errorf("at most %d: got %d messages, %s", max, len(got.Messages), diff)
		}
	}
}

func TestGetIsExact(t *testing.T) {
	srv, b := start(t)
	first := publish(t, b, events.Control, 3)
	if m, err := b.Get(t.Context(), events.Control, first+1); err != nil || string(m.Data) != "message 1" || m.Seq != first+1 {
		t.Errorf("got %+v, %v", m, err)
	}
	srv.Drop(t, fleet, events.Control, first+1)
	for _, seq := range []uint64{0, 1, first + 1, first + 3} {
		if m, err := b.Get(t.Context(), events.Control, seq); !errors.Is(err, bus.ErrNotFound) {
			t.Errorf("%d: got %+v, %v, want ErrNotFound", seq, m, err)
		}
	}
}

// raw publishes with a header block that no client library would write.
func raw(t *testing.T, srv *bustest.Server, header, data string) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(srv.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = fmt.Fprintf(c, "CONNECT {\"verbose\":false,\"headers\":true}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n",
		fleet.EventSubject(events.Control), len(header), len(header)+len(data), header, data)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	var got strings.Builder
	for buf := make([]byte, 4096); !strings.Contains(got.String(), "PONG"); {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(got.String(), err)
		}
		got.Write(buf[:n])
	}
}

func TestReaderIsNotMovedOrStoppedByStoredHeaders(t *testing.T) {
	for name, header := range map[string]string{
		"a sequence":             "NATS/1.0\r\nNats-Sequence: 7\r\nNats-Last-Sequence: 3\r\n\r\n",
		"a status":               "NATS/1.0\r\nStatus: 404\r\n\r\n",
		"an inline status":       "NATS/1.0 404 Not Found\r\n\r\n",
		"no colon":               "NATS/1.0\r\nbroken\r\n\r\n",
		"a blank line":           "NATS/1.0\r\n\r\nX: y\r\n\r\n",
		"a forged end":           "NATS/1.0\r\nStatus: 204\r\nNats-Num-Pending: 0\r\nNats-Last-Sequence: 9\r\n\r\nX: y\r\n\r\n",
		"a forged sequence":      "NATS/1.0\r\nNats-Stream: RESCIND_CONTROL\r\nNats-Sequence: 18000000000000000000\r\nNats-Time-Stamp: 2026-01-01T00:00:00Z\r\nNats-Num-Pending: 0\r\nNats-Last-Sequence: 0\r\n\r\nX: y\r\n\r\n",
		"a foreign stream's end": "NATS/1.0\r\nNats-Stream: X\r\nNats-Sequence: 1\r\n\r\nX: y\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			srv, b := start(t)
			first := publish(t, b, events.Control, 2)
			raw(t, srv, header, "poison 1")
			raw(t, srv, header, "poison 2")
			bustest.Eventually(t, "both are stored", func() bool { return info(t, b, events.Control).Msgs == 4 })
			publish(t, b, events.Control, 1)
			var got []string
			for at := first; at < first+5; {
				batch := read(t, b, at, 100, 0)
				if len(batch.Messages) == 0 {
					t.Fatalf("stuck at %d: %+v", at-first, batch)
				}
				for _, m := range batch.Messages {
					if m.Seq != at {
						t.Fatalf("got %d, want %d", int64(m.Seq-first), at-first)
					}
					got = append(got, string(m.Data))
					at++
				}
			}
			if want := "message 0,message 1,poison 1,poison 2,message 0"; strings.Join(got, ",") != want {
				t.Errorf("got %q, want %s", got, want)
			}
		})
	}
}

// answerer stands in for a server that loses replies: it answers direct gets for a
// fleet that has no streams.
func answerer(t *testing.T, replies ...*nats.Msg) *bus.Bus {
	t.Helper()
	srv := bustest.Start(t)
	b, err := bus.New(srv.Connect(t), fleet)
	if err != nil {
		t.Fatal(err)
	}
	_, err = srv.Connect(t).Subscribe("$JS.API.DIRECT.GET.RESCIND_CONTROL", func(m *nats.Msg) {
		for _, r := range replies {
			_ = m.RespondMsg(&nats.Msg{Header: r.Header, Data: r.Data})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "it answers", func() bool {
		_, err := b.Conn().Request("$JS.API.DIRECT.GET.RESCIND_CONTROL", nil, time.Second)
		return err == nil
	})
	return b
}

func message(last, seq string) *nats.Msg {
	return &nats.Msg{Data: []byte("x"), Header: nats.Header{"Nats-Stream": {"RESCIND_CONTROL"}, "Nats-Sequence": {seq},
		"Nats-Last-Sequence": {last}, "Nats-Num-Pending": {"0"}, "Nats-Time-Stamp": {"2026-11-22T00:00:00Z"}}}
}

func TestLostReplyEndsTheBatchBeforeIt(t *testing.T) {
	b := answerer(t, message("0", "5"), message("5", "6"), message("7", "8"))
	if got, want := span(0, read(t, b, 5, 10, 0)), "5 pending 0 broken"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSilenceIsAnErrorWithinTheContext(t *testing.T) {
	b := answerer(t, message("0", "5"))
	_, err := b.Read(within(t, 100*time.Millisecond), events.Control, 5, 10, 0)
	if !errors.Is(err, bus.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ErrUnavailable and the context's error", err)
	}
}

func TestNothingButLostRepliesIsAnError(t *testing.T) {
	b := answerer(t, message("4", "5"), message("8", "9"))
	if batch, err := b.Read(within(t, 20*time.Second), events.Control, 5, 10, 0); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("got %+v, %v, want ErrUnavailable", batch, err)
	}
}

func TestReadWithoutAServerOrStreamIsUnavailable(t *testing.T) {
	srv, b := start(t)
	srv.Delete(t, fleet, events.Tokens)
	if _, err := b.Read(t.Context(), events.Tokens, 1, 10, 0); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("no stream: got %v, want ErrUnavailable", err)
	}
	srv.Stop(t)
	bustest.Eventually(t, "the client notices", func() bool { return !b.Conn().IsConnected() })
	_, err := b.Read(within(t, 2*time.Second), events.Control, 1, 10, 0)
	if !errors.Is(err, bus.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no server: got %v, want ErrUnavailable at once", err)
	}
}
