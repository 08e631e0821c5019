package bus

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
)

const testTime = "2026-11-22T01:02:03.000000004Z"

func testMessage(last, seq uint64) *nats.Msg {
	return &nats.Msg{Data: fmt.Append(nil, seq), Header: nats.Header{
		headerStream: {"S"}, headerSequence: {strconv.FormatUint(seq, 10)}, headerTime: {testTime},
		headerPending: {"9"}, headerLast: {strconv.FormatUint(last, 10)}}}
}

func testStatus(code string) *nats.Msg { return &nats.Msg{Header: nats.Header{headerStatus: {code}}} }

func testEnd(last, pending uint64) *nats.Msg {
	m := testStatus(statusEOB)
	m.Header[headerLast] = []string{strconv.FormatUint(last, 10)}
	m.Header[headerPending] = []string{strconv.FormatUint(pending, 10)}
	return m
}

func edit(m *nats.Msg, key string, values ...string) *nats.Msg {
	m.Header[key] = values
	return m
}

// bare is a message whose own headers end before the server's begin.
func bare() *nats.Msg { return &nats.Msg{Header: nats.Header{"X": {"y"}}, Data: []byte("bare")} }

func run(c *chain, replies ...*nats.Msg) (Batch, bool, error) {
	for i, m := range replies {
		if done, err := c.add(parseReply("S", events.Control, m)); done {
			if i != len(replies)-1 && err == nil && !c.batch.Broken {
				panic("done before the last reply of the test")
			}
			return c.batch, true, err
		}
	}
	return c.batch, false, nil
}

func TestChainKeepsOnlyWhatTheNextReplyConfirms(t *testing.T) {
	for _, c := range []struct {
		name             string
		replies          []*nats.Msg
		want             []uint64
		complete, broken bool
	}{
		{"all there", []*nats.Msg{testMessage(0, 5), testMessage(5, 6), testEnd(6, 0)}, []uint64{5, 6}, true, false},
		{"more to come", []*nats.Msg{testMessage(0, 5), testEnd(5, 3)}, []uint64{5}, false, false},
		{"deleted in between", []*nats.Msg{testMessage(0, 5), testMessage(5, 9), testEnd(9, 0)}, []uint64{5, 9}, true, false},
		{"deleted at the start", []*nats.Msg{testMessage(0, 8), testEnd(8, 0)}, []uint64{8}, true, false},
		{"nothing", []*nats.Msg{testStatus("404")}, nil, true, false},
		{"first reply lost", []*nats.Msg{testMessage(5, 6), testEnd(6, 0)}, nil, false, true},
		{"reply in the middle lost", []*nats.Msg{testMessage(0, 5), testMessage(5, 6), testMessage(7, 8), testEnd(8, 0)}, []uint64{5}, false, true},
		{"last reply lost", []*nats.Msg{testMessage(0, 5), testMessage(5, 6), testEnd(7, 0)}, []uint64{5}, false, true},
		{"all but the end lost", []*nats.Msg{testEnd(7, 0)}, nil, false, true},
		{"a reply twice", []*nats.Msg{testMessage(0, 5), testMessage(5, 5), testEnd(5, 0)}, []uint64{5}, false, true},
		{"before what was asked for", []*nats.Msg{testMessage(0, 4), testEnd(4, 0)}, nil, false, true},
		{"nothing after something", []*nats.Msg{testMessage(0, 5), testStatus("404")}, nil, false, true},
		{"a foreign stream", []*nats.Msg{edit(testMessage(0, 5), headerStream, "T"), testEnd(5, 0)}, nil, false, true},
		{"stored headers before the server's", []*nats.Msg{edit(testMessage(0, 5), headerSequence, "99", "5"), testEnd(5, 0)}, []uint64{5}, true, false},
		{"stored status", []*nats.Msg{edit(testMessage(0, 5), headerStatus, "404"), testEnd(5, 0)}, []uint64{5}, true, false},
		{"forged sequence", []*nats.Msg{testMessage(0, 5), testMessage(5, 1000), testMessage(6, 7), testEnd(7, 0)}, []uint64{5}, false, true},
		{"headers hidden", []*nats.Msg{testMessage(0, 5), bare(), testMessage(6, 7), testEnd(7, 0)}, nil, false, true},
		{"sequence with a plus", []*nats.Msg{edit(testMessage(0, 5), headerSequence, "+5"), testEnd(5, 0)}, nil, false, true},
		{"sequence with a zero", []*nats.Msg{edit(testMessage(0, 5), headerSequence, "05"), testEnd(5, 0)}, nil, false, true},
		{"no time", []*nats.Msg{edit(testMessage(0, 5), headerTime), testEnd(5, 0)}, nil, false, true},
		{"no pending", []*nats.Msg{edit(testMessage(0, 5), headerPending, "many"), testEnd(5, 0)}, nil, false, true},
		{"end without numbers", []*nats.Msg{testMessage(0, 5), testStatus("204")}, nil, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, done, err := run(&chain{from: 5}, c.replies...)
			if err != nil || !done {
				t.Fatal(done, err)
			}
			var seqs []uint64
			for _, m := range got.Messages {
				seqs = append(seqs, m.Seq)
			}
			if !slices.Equal(seqs, c.want) || got.Complete != c.complete || got.Broken != c.broken {
				t.Errorf("got %v, complete %v, broken %v, want %v, %v, %v",
					seqs, got.Complete, got.Broken, c.want, c.complete, c.broken)
			}
		})
	}
}

func TestSingleMessageTakesItsSequenceFromTheEnd(t *testing.T) {
	for _, c := range []struct {
		name    string
		replies []*nats.Msg
		want    uint64
		done    bool
	}{
		{"good headers", []*nats.Msg{testMessage(0, 5), testEnd(5, 1)}, 5, true},
		{"hidden headers", []*nats.Msg{bare(), testEnd(6, 1)}, 6, true},
		{"forged headers", []*nats.Msg{testMessage(3, 1000), testEnd(6, 1)}, 6, true},
		{"forged end", []*nats.Msg{testEnd(1000, 0), testEnd(6, 1)}, 6, true},
		{"message lost", []*nats.Msg{testEnd(6, 1)}, 0, false},
		{"end before what was asked for", []*nats.Msg{bare(), testEnd(4, 1)}, 0, true},
	} {
		got, done, err := run(&chain{from: 5, single: true}, c.replies...)
		var seq uint64
		if len(got.Messages) == 1 {
			seq = got.Messages[0].Seq
		}
		if err != nil || done != c.done || seq != c.want {
			t.Errorf("%s: got %+v, done %v, %v, want sequence %d", c.name, got, done, err, c.want)
		}
	}
}

func TestStatusOfNoResponderIsUnavailable(t *testing.T) {
	if _, _, err := run(&chain{from: 5}, testStatus("503")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("503: got %v", err)
	}
	if _, _, err := run(&chain{from: 5}, testStatus("408")); !errors.Is(err, ErrRefused) {
		t.Errorf("408: got %v", err)
	}
}

func TestLiveMessageWithDoubtfulHeadersHasNoSequence(t *testing.T) {
	live := func() *nats.Msg { return testMessage(0, 5) }
	for name, c := range map[string]struct {
		m    *nats.Msg
		want uint64
	}{
		"the server's":    {live(), 5},
		"none":            {&nats.Msg{}, 0},
		"other stream":    {edit(live(), headerStream, "T"), 0},
		"two streams":     {edit(live(), headerStream, "S", "T"), 0},
		"two sequences":   {edit(live(), headerSequence, "9", "5"), 0},
		"no sequence":     {edit(live(), headerSequence), 0},
		"not a number":    {edit(live(), headerSequence, "-5"), 0},
		"beyond 64 bits":  {edit(live(), headerSequence, "18446744073709551616"), 0},
		"not a time":      {edit(live(), headerTime, "yesterday"), 0},
		"other spelling":  {&nats.Msg{Header: nats.Header{"nats-sequence": {"5"}}}, 0},
		"space around it": {edit(live(), headerSequence, " 5"), 0},
	} {
		got := parseLive("S", events.Control, c.m)
		if got.Seq != c.want || got.Time.IsZero() != (c.want == 0) || got.Stream != events.Control {
			t.Errorf("%s: got %+v, want sequence %d", name, got, c.want)
		}
	}
}

func TestBatchLimitsAreBounded(t *testing.T) {
	for _, c := range [][4]int{{0, 0, 1000, 1 << 20}, {-1, -1, 1000, 1 << 20}, {7, 8, 7, 8}, {1 << 30, 8, 10_000, 8}} {
		if count, bytes := batchLimits(c[0], c[1]); count != c[2] || bytes != c[3] {
			t.Errorf("%d, %d: got %d, %d, want %d, %d", c[0], c[1], count, bytes, c[2], c[3])
		}
	}
}
