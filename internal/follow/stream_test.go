package follow

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
)

// owner keeps what a Stream's owner keeps, and the last Step.
type owner struct {
	*Stream
	t    *testing.T
	has  map[events.EventID]bool
	step Step
}

func follower(t *testing.T, from Cursor, ordered bool) *owner {
	o := &owner{t: t, has: map[events.EventID]bool{}}
	o.Stream = New(from, ordered, func(id events.EventID) bool { return o.has[id] })
	return o
}

// at gives a follower that has read events 11 to last, under a watermark.
func at(t *testing.T, last uint64, ordered bool) *owner {
	o := follower(t, Cursor{}, ordered)
	o.do(o.Watermark(mark("e", 11, last)))
	o.do(o.Fetched(Batch{Complete: true, Messages: span(11, last)}))
	if o.step.Fetch != nil || !o.Covers(mark("e", 11, last)) {
		t.Fatalf("after reading to %d: %+v", last, o.step)
	}
	return o
}

func (o *owner) do(s Step) *owner {
	for _, m := range s.Apply {
		o.has[m.Event.ID] = true
	}
	o.step = s
	return o
}

// want compares the last Step and the position.
func (o *owner) want(what string, applied int, seq uint64, fetch int, lost bool) {
	o.t.Helper()
	got := -1
	if o.step.Fetch != nil {
		got = int(o.step.Fetch.From)
	}
	if len(o.step.Apply) != applied || o.Cursor().Seq != seq || got != fetch || (o.step.Lost != "") != lost {
		o.t.Errorf("%s: applied %d, position %d, fetch %d, lost %q; want %d, %d, %d, %v",
			what, len(o.step.Apply), o.Cursor().Seq, got, o.step.Lost, applied, seq, fetch, lost)
	}
}

func mark(epoch string, first, last uint64) events.Watermark {
	return events.Watermark{Epoch: epoch, First: first, Last: last}
}

// event is the n-th event, standing at seq.
func event(n byte, seq uint64) Message {
	return Message{Seq: seq, Raw: []byte{n}, Hash: sha256.Sum256([]byte{n}),
		Event: &events.Revocation{ID: events.EventID{1, n}, Target: events.Target{Kind: events.KindUser}, Expires: 1000}}
}

func unreadable(n byte, seq uint64, err error) Message {
	return Message{Seq: seq, Raw: []byte{n}, Hash: sha256.Sum256([]byte{n}), Err: err}
}

// span is the events from first to last, each standing where its number says.
func span(first, last uint64) (out []Message) {
	for n := first; n <= last; n++ {
		out = append(out, event(byte(n), n))
	}
	return out
}

func TestLiveMessageMovesThePositionOnlyIfNextAndNew(t *testing.T) {
	for _, tc := range []struct {
		name    string
		m       Message
		applied int
		seq     uint64
		fetch   int
	}{
		{"next and new", event(14, 14), 1, 14, -1},
		{"behind a gap", event(15, 15), 1, 13, 13},
		{"next but known", event(12, 14), 0, 13, 13},
		{"known, at its place", event(12, 12), 0, 13, -1},
		{"new at the position", event(20, 13), 1, 13, 13},
		{"new below the position", event(20, 11), 1, 13, 13},
		{"new without a sequence", event(20, 0), 1, 13, 13},
		{"unreadable, next", unreadable(20, 14, events.ErrSignature), 0, 13, 13},
		{"unreadable, without a sequence", unreadable(20, 0, events.ErrMalformed), 0, 13, 13},
		{"unreadable, at the position", unreadable(20, 13, events.ErrUnknownKey), 0, 13, 13},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := at(t, 13, false)
			o.do(o.Live(tc.m)).want("live", tc.applied, tc.seq, tc.fetch, false)
		})
	}
}

func TestOrderedFollowerLeavesAGapToTheRead(t *testing.T) {
	o := at(t, 13, true)
	o.do(o.Live(event(15, 15))).want("behind a gap", 0, 13, 13, false)
	o.do(o.Fetched(Batch{Complete: true, Messages: span(13, 15)})).want("read", 2, 15, -1, false)
	o.do(o.Live(event(16, 16))).want("next", 1, 16, -1, false)
}

func TestReadComparesTheEventAtThePosition(t *testing.T) {
	for _, tc := range []struct {
		name string
		mark events.Watermark
		read []Message
		seq  uint64
		lost bool
	}{
		{"the same", mark("e", 11, 14), span(13, 14), 14, false},
		{"another", mark("e", 11, 14), []Message{event(30, 13), event(14, 14)}, 10, true},
		{"gone, with others behind", mark("e", 11, 14), span(14, 14), 10, true},
		{"aged out", mark("e", 14, 14), span(14, 14), 14, false},
		{"aged out, nothing left", mark("e", 14, 13), nil, 13, false},
		{"not on the replica that answers", mark("e", 11, 14), nil, 13, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := at(t, 13, false)
			o.do(o.Watermark(tc.mark))
			o.do(o.Reconnected())
			o.do(o.Fetched(Batch{Complete: true, Messages: tc.read}))
			if got := o.Cursor().Seq; got != tc.seq || (o.step.Lost != "") != tc.lost {
				t.Errorf("position %d, lost %q, want %d, %v", got, o.step.Lost, tc.seq, tc.lost)
			}
		})
	}
}

func TestLostStreamIsReadFromItsBeginning(t *testing.T) {
	o := at(t, 13, false)
	o.do(o.Watermark(mark("f", 101, 102))).want("new epoch", 0, 100, 101, true)
	if !o.step.Moved || o.step.Cursor.Epoch != "f" || !o.Rereading() {
		t.Errorf("want the position stored as it goes back, and rereading: %+v", o.step)
	}
	o.do(o.Fetched(Batch{Complete: true, Messages: []Message{event(12, 101), event(40, 102)}})).want("read", 1, 102, -1, false)
	if o.Rereading() || !o.Covers(mark("f", 101, 102)) || o.Covers(mark("e", 11, 13)) {
		t.Error("want the new stream covered and the old one not")
	}
}

func TestStreamThatEndsBeforeThePositionNeedsTwoWatermarksAndARead(t *testing.T) {
	o := at(t, 13, false)
	o.do(o.Live(event(14, 14)))
	o.do(o.Watermark(mark("e", 11, 13))).want("overtaken", 0, 14, -1, false)
	o.do(o.Live(event(30, 0))).want("a read for another reason", 1, 14, 14, false)
	o.do(o.Fetched(Batch{Complete: true})).want("answered by a replica that lags", 0, 14, -1, false)
	if o.Covers(mark("e", 11, 13)) {
		t.Error("it covers a watermark that may be of a shorter stream")
	}
	o.do(o.Watermark(mark("e", 11, 13))).want("again", 0, 14, 14, false)
	o.do(o.Fetched(Batch{Complete: true})).want("nothing there", 0, 10, 11, true)
}

func TestNothingIsCoveredUntilThePositionWasVerified(t *testing.T) {
	w := mark("e", 11, 13)
	stored := at(t, 13, false).Cursor()
	o := follower(t, stored, false)
	o.do(o.Tick())
	o.do(o.Watermark(w))
	if o.Covers(w) {
		t.Error("after a start: covered before the event at the position was read")
	}
	o.Failed()
	o.do(o.Watermark(w)).do(o.Fetched(Batch{Complete: true, Messages: span(13, 13)}))
	if !o.Covers(w) {
		t.Error("after a start: not covered after the read")
	}
	o.do(o.Reconnected())
	o.do(o.Reconnected()) // while the read is under way
	o.do(o.Fetched(Batch{Complete: true, Messages: span(13, 13)})).want("a read from before", 0, 13, 13, false)
	if o.Covers(w) {
		t.Error("covered by a read that began before the reconnect")
	}
	o.do(o.Live(event(14, 14))).want("next, on a position in doubt", 1, 13, -1, false)
	o.do(o.Fetched(Batch{Complete: true, Messages: span(13, 14)})).want("the read", 0, 14, 14, false)
	if !o.Covers(w) {
		t.Error("not covered after a read that began behind the reconnect")
	}
}

func TestStreamThatBeginsBeforeWhatAgedOutWasRolledBack(t *testing.T) {
	o := at(t, 13, false)
	o.do(o.Watermark(mark("e", 21, 20))).want("all aged out", 0, 20, -1, false)
	o.do(o.Watermark(mark("e", 15, 25))).want("begins earlier", 0, 14, 15, true)
}

func TestEventUnderAnothersSequenceIsFoundOut(t *testing.T) {
	for _, missing := range []Message{event(14, 14), unreadable(40, 14, events.ErrUnknownKey)} {
		o := at(t, 13, false)
		o.do(o.Live(event(16, 14))).want("the third as the first", 1, 14, -1, false)
		o.do(o.Live(event(15, 15))).want("the second", 1, 15, -1, false)
		o.do(o.Live(event(16, 16))).want("the third", 0, 15, 15, false)
		o.do(o.Fetched(Batch{Complete: true, Messages: span(15, 16)})).want("read", 0, 10, 11, true)
		all := append(append(span(11, 13), missing), span(15, 16)...)
		o.do(o.Fetched(Batch{Complete: true, Messages: all}))
		if got := len(o.step.Apply) + len(o.step.Park); got != 1 || o.Cursor().Seq != 16 {
			t.Errorf("second reading: %d, position %d, want what was missing, and 16", got, o.Cursor().Seq)
		}
	}
}

func TestMessageThatNoPublisherWouldSendNowHasNoSequence(t *testing.T) {
	list := event(14, 14)
	list.Event.Target.Kind = events.KindTokens
	for _, tc := range []struct {
		name string
		m    Message
		now  int64
		want uint64
	}{
		{"an event of the stream", event(14, 14), 999, 14},
		{"expired", event(14, 14), 1000, 0},
		{"of the other stream", list, 999, 0},
		{"unreadable", unreadable(14, 14, events.ErrSignature), 999, 14},
	} {
		if got := tc.m.Heard(events.Control, time.Unix(tc.now, 0)).Seq; got != tc.want {
			t.Errorf("%s: sequence %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestReadGoesOnBehindAnAnchorThatComesAlone(t *testing.T) {
	o := at(t, 13, false)
	o.do(o.Watermark(mark("e", 11, 15))).want("more", 0, 13, 13, false)
	o.do(o.Fetched(Batch{Messages: span(13, 13)})).want("the anchor alone", 0, 13, 14, false)
	o.do(o.Fetched(Batch{Messages: []Message{unreadable(14, 14, events.ErrMalformed)}})).want("one by one", 0, 14, 14, false)
	if len(o.step.Reject) != 1 {
		t.Errorf("rejected %d, want 1", len(o.step.Reject))
	}
	o.do(o.Fetched(Batch{Complete: true, Messages: []Message{unreadable(14, 14, events.ErrMalformed), event(15, 15)}})).
		want("the rest", 1, 15, -1, false)
}

func TestFailedReadIsTriedAgainAtTheNextTickOnly(t *testing.T) {
	o := at(t, 13, false)
	o.do(o.Reconnected()).want("reconnected", 0, 13, 13, false)
	o.do(o.Tick()).want("while it is under way", 0, 13, -1, false)
	o.Failed()
	o.do(o.Tick()).want("after it failed", 0, 13, 13, false)
}

func TestGoneAnchorIsInDoubtUntilAWatermarkTells(t *testing.T) {
	stored := at(t, 13, false).Cursor()
	for _, tc := range []struct {
		name  string
		first uint64
		seq   uint64
		lost  bool
	}{{"it aged out", 14, 15, false}, {"it is gone", 11, 10, true}} {
		o := follower(t, stored, false)
		o.do(o.Tick())
		o.do(o.Fetched(Batch{Complete: true, Messages: span(14, 15)}))
		if o.Cursor().Seq != 13 || o.step.Moved || o.Covers(mark("e", tc.first, 15)) {
			t.Errorf("%s: position %d, stored %v before a watermark", tc.name, o.Cursor().Seq, o.step.Moved)
		}
		o.do(o.Watermark(mark("e", tc.first, 15)))
		if o.Cursor().Seq != tc.seq || (o.step.Lost != "") != tc.lost || !o.step.Moved {
			t.Errorf("%s: position %d, lost %q, want %d, %v", tc.name, o.Cursor().Seq, o.step.Lost, tc.seq, tc.lost)
		}
	}
}

func TestMessageThatWasPassedByDuringAReadIsFound(t *testing.T) {
	o := at(t, 13, false)
	unknown := unreadable(40, 14, events.ErrUnknownKey)
	o.do(o.Live(unknown)).want("cannot be read", 0, 13, 13, false)
	o.do(o.Live(event(16, 14))).want("a later one in its place", 1, 14, -1, false)
	o.do(o.Live(event(15, 15))).want("the next", 1, 15, -1, false)
	o.do(o.Fetched(Batch{Complete: true, Messages: []Message{event(13, 13), unknown, event(15, 15)}})).want("read", 0, 10, 11, true)
}

func TestReadBehindTheAnchorIsNotBelievedAfterAReconnect(t *testing.T) {
	o := at(t, 13, false)
	o.do(o.Watermark(mark("e", 11, 15)))
	o.do(o.Fetched(Batch{Messages: span(13, 13)})).want("the anchor alone", 0, 13, 14, false)
	o.do(o.Reconnected())
	o.do(o.Fetched(Batch{Complete: true, Messages: []Message{event(41, 14), event(42, 15)}})).want("of which stream?", 0, 13, 13, false)
	o.do(o.Fetched(Batch{Complete: true, Messages: []Message{event(40, 13), event(41, 14)}})).want("of another", 2, 10, 11, true)
}

func TestOnlyAReadThatGoesOnMayHaveBegunEarlier(t *testing.T) {
	o := at(t, 13, false)
	part := func(last uint64) Batch { return Batch{Messages: span(o.Cursor().Seq, last)} }
	want := func(what string, from uint64, anew bool) {
		t.Helper()
		if f := o.step.Fetch; f == nil || f.From != from || f.Anew != anew {
			t.Errorf("%s: fetch %+v, want from %d, anew %v", what, f, from, anew)
		}
	}
	o.do(o.Watermark(mark("e", 11, 30)))
	want("a watermark asks", 13, true)
	o.do(o.Fetched(part(15)))
	want("it goes on", 15, false)
	o.do(o.Reconnected())
	o.do(o.Fetched(part(19)))
	want("after a reconnect", 19, true)
	o.do(o.Fetched(part(21)))
	want("verified again", 21, false)
	o.do(o.Live(unreadable(41, 41, events.ErrUnknownKey)))
	o.do(o.Fetched(part(23)))
	want("it goes on past a live message", 23, false)
	o.do(o.Fetched(Batch{Complete: true, Messages: span(23, 30)}))
	want("what came live may lie behind the last read", 30, true)
	o.do(o.Fetched(Batch{Complete: true, Messages: span(30, 30)})).want("nothing more", 0, 30, -1, false)
}

func TestReadBehindAnAnchorIsNotTakenForTheAnchorAfterAReconnect(t *testing.T) {
	o := at(t, 13, false)
	o.do(o.Watermark(mark("e", 11, 15)))
	o.do(o.Reconnected())
	o.do(o.Fetched(Batch{Messages: span(13, 13)})).want("the anchor alone, from before", 0, 13, 13, false)
	o.do(o.Fetched(Batch{Messages: span(13, 13)})).want("the anchor alone", 0, 13, 14, false)
}

func TestPositionInAnEmptyStreamIsVerifiedByAWatermark(t *testing.T) {
	o := follower(t, at(t, 13, false).Cursor(), false)
	o.do(o.Tick())
	o.do(o.Fetched(Batch{Complete: true})).want("nothing there, no watermark yet", 0, 13, -1, false)
	o.do(o.Watermark(mark("e", 14, 13))).want("all aged out", 0, 13, 13, false)
	o.do(o.Fetched(Batch{Complete: true}))
	if !o.Covers(mark("e", 14, 13)) {
		t.Error("an empty stream is never covered")
	}
}
