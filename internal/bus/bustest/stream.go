package bustest

import (
	"context"
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
)

// Purge leaves the stream empty in the same epoch, with First = Last + 1. A
// stream that denies purging cannot be purged, so it is made again.
func (s *Server) Purge(t testing.TB, fleet events.Fleet, stream events.Stream) {
	t.Helper()
	a := s.admin(t, fleet, stream)
	was := a.info(t)
	a.remake(t, was, was.State.LastSeq+1, nil)
}

// Remake deletes the stream and applies the settings of Bus again: it is empty,
// in a new epoch, and its sequences lie beyond the former ones.
func (s *Server) Remake(t testing.TB, fleet events.Fleet, stream events.Stream) {
	t.Helper()
	a := s.admin(t, fleet, stream)
	a.request(t, "STREAM.DELETE", nil, nil)
	b, err := bus.New(a.nc, fleet)
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	s.apply(t, b)
}

// Delete deletes the stream.
func (s *Server) Delete(t testing.TB, fleet events.Fleet, stream events.Stream) {
	t.Helper()
	s.admin(t, fleet, stream).request(t, "STREAM.DELETE", nil, nil)
}

// LoseTail takes all but the first keep messages away, as a power cut does to a
// store that is not synced: the epoch and the sequences of what is left stay, and
// the next message takes the first lost sequence. It does not republish. The
// stream must hold no holes.
func (s *Server) LoseTail(t testing.TB, fleet events.Fleet, stream events.Stream, keep int) {
	t.Helper()
	a := s.admin(t, fleet, stream)
	was := a.info(t)
	var kept []*nats.Msg
	for i := range keep {
		kept = append(kept, a.get(t, was.State.FirstSeq+uint64(i)))
	}
	a.remake(t, was, was.State.FirstSeq, kept)
}

// Drop takes one message out of the stream and leaves a hole. A stream that
// denies deleting keeps its messages, so it is made again without that; the bus
// then calls it weak.
func (s *Server) Drop(t testing.TB, fleet events.Fleet, stream events.Stream, seq uint64) {
	t.Helper()
	a := s.admin(t, fleet, stream)
	was := a.info(t)
	if string(was.Config["deny_delete"]) == "true" {
		var all []*nats.Msg
		for n := was.State.FirstSeq; n <= was.State.LastSeq; n++ {
			all = append(all, a.get(t, n))
		}
		was.Config["deny_delete"] = json.RawMessage("false")
		a.remake(t, was, was.State.FirstSeq, all)
	}
	a.request(t, "STREAM.MSG.DELETE", map[string]uint64{"seq": seq}, nil)
}

// admin speaks the JetStream API about one stream, as someone with all
// permissions could.
type admin struct {
	nc   *nats.Conn
	name string
}

type streamInfo struct {
	Config map[string]json.RawMessage `json:"config"`
	State  struct {
		FirstSeq uint64 `json:"first_seq"`
		LastSeq  uint64 `json:"last_seq"`
	} `json:"state"`
}

func (s *Server) admin(t testing.TB, fleet events.Fleet, stream events.Stream) *admin {
	t.Helper()
	return &admin{s.Connect(t), fleet.StreamName(stream)}
}

func (a *admin) info(t testing.TB) streamInfo {
	t.Helper()
	var info streamInfo
	a.request(t, "STREAM.INFO", nil, &info)
	return info
}

// get fetches a message with the headers that were stored with it.
func (a *admin) get(t testing.TB, seq uint64) *nats.Msg {
	t.Helper()
	var answer struct {
		Message struct {
			Subject string `json:"subject"`
			Hdrs    []byte `json:"hdrs"`
			Data    []byte `json:"data"`
		} `json:"message"`
	}
	a.request(t, "STREAM.MSG.GET", map[string]uint64{"seq": seq}, &answer)
	m := &nats.Msg{Subject: answer.Message.Subject, Data: answer.Message.Data}
	if len(answer.Message.Hdrs) > 0 {
		h, err := nats.DecodeHeadersMsg(answer.Message.Hdrs)
		if err != nil {
			t.Fatalf("bustest: headers of %s/%d: %v", a.name, seq, err)
		}
		m.Header = h
	}
	return m
}

// remake makes the stream again with its configuration and metadata, starting at
// first and holding msgs.
func (a *admin) remake(t testing.TB, was streamInfo, first uint64, msgs []*nats.Msg) {
	t.Helper()
	a.request(t, "STREAM.DELETE", nil, nil)
	was.Config["first_seq"] = json.RawMessage(strconv.FormatUint(first, 10))
	republish := was.Config["republish"]
	delete(was.Config, "republish")
	a.request(t, "STREAM.CREATE", was.Config, nil)
	for i, m := range msgs {
		var ack struct {
			Seq uint64 `json:"seq"`
		}
		a.send(t, m, &ack)
		if ack.Seq != first+uint64(i) {
			t.Fatalf("bustest: %s: stored at %d, want %d: is there a hole?", a.name, ack.Seq, first+uint64(i))
		}
	}
	if republish != nil {
		was.Config["republish"] = republish
		a.request(t, "STREAM.UPDATE", was.Config, nil)
	}
}

func (a *admin) request(t testing.TB, call string, body, answer any) {
	t.Helper()
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			t.Fatalf("bustest: %v", err)
		}
	}
	a.send(t, &nats.Msg{Subject: "$JS.API." + call + "." + a.name, Data: data}, answer)
}

func (a *admin) send(t testing.TB, m *nats.Msg, answer any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := a.nc.RequestMsgWithContext(ctx, m)
	// Right after a start JetStream may not listen yet.
	for err == nats.ErrNoResponders && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
		r, err = a.nc.RequestMsgWithContext(ctx, m)
	}
	if err != nil {
		t.Fatalf("bustest: %s: %v", m.Subject, err)
	}
	var failed struct {
		Error json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(r.Data, &failed); err != nil || failed.Error != nil {
		t.Fatalf("bustest: %s: %s", m.Subject, r.Data)
	}
	if answer != nil {
		if err := json.Unmarshal(r.Data, answer); err != nil {
			t.Fatalf("bustest: %s: %v", m.Subject, err)
		}
	}
}
