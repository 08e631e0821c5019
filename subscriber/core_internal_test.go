package subscriber

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/follow"
)

// testCore is a core with what its owner knows.
type testCore struct {
	*core
	known map[events.EventID]bool
}

func testedCore() *testCore {
	c := &testCore{known: map[events.EventID]bool{}}
	c.core = newCore(5*time.Second, nil, func(id events.EventID) bool { return c.known[id] })
	return c
}

// syncedCore has read both streams, which are empty, and hears beacon 1 at 0 s.
func syncedCore(t *testing.T) *testCore {
	c := testedCore()
	c.tick(moment(0, 0))
	c.do(c.beacon(beaconAt(1, 0, 0), moment(0, 0)))
	c.readBoth()
	if got := c.state(moment(0, 0)); got != events.Fresh {
		t.Fatalf("state %s after everything was read, want fresh", got)
	}
	return c
}

func (c *testCore) do(e effects) effects {
	for _, m := range e.apply {
		c.known[m.Event.ID] = true
	}
	return e
}

func (c *testCore) readBoth(control ...follow.Message) {
	for range 2 {
		c.do(c.fetched(events.Control, follow.Batch{Complete: true, Messages: control}))
		c.do(c.fetched(events.Tokens, follow.Batch{Complete: true}))
		control = nil
	}
}

func (c *testCore) beaconUpTo(n uint64, seconds float64, last uint64, owed int) {
	b := beaconAt(n, seconds, 0)
	b.Streams[events.Control] = events.Watermark{Epoch: "e", First: 11, Last: last, Owed: owed}
	c.do(c.beacon(b, moment(seconds, 0)))
}

func message(n byte, seq uint64, err error) follow.Message {
	m := follow.Message{Seq: seq, Raw: []byte{n}, Hash: sha256.Sum256([]byte{n}), Err: err}
	if err == nil {
		m.Event = &events.Revocation{ID: events.EventID{1, n}, Target: events.Target{Kind: events.KindUser},
			Expires: start.Unix() + 3600}
	}
	return m
}

func TestStateSaysWhatTheAgentKnows(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(c *testCore)
		at   float64
		want events.State
		asOf bool
	}{
		{"nothing happens", func(*testCore) {}, 5, events.Fresh, true},
		{"no beacon for longer than the bound", func(*testCore) {}, 5.001, events.Stale, true},
		{"events are missing", func(c *testCore) { c.beaconUpTo(2, 5, 12, 0) }, 5.5, events.Syncing, true},
		{"events are missing, for a moment", func(c *testCore) { c.beaconUpTo(2, 1, 12, 0) }, 2, events.Fresh, true},
		{"a stream owes events", func(c *testCore) { c.beaconUpTo(2, 1, 10, 1) }, 2, events.Stale, false},
		{"a stream owes no more", func(c *testCore) { c.beaconUpTo(2, 1, 10, 1); c.beaconUpTo(3, 2, 10, 0) }, 3, events.Fresh, true},
		{"something cannot be read", func(c *testCore) {
			c.beaconUpTo(2, 1, 11, 0)
			c.readBoth(message(1, 11, events.ErrUnknownKey))
		}, 2, events.Untrusted, false},
		{"something was refused", func(c *testCore) {
			c.beaconUpTo(2, 1, 11, 0)
			c.readBoth(message(1, 11, events.ErrSignature))
		}, 2, events.Fresh, true},
		{"it is rebuilding", func(c *testCore) { c.rebuilding = true }, 1, events.Rebuilding, true},
		{"the clock was set", func(c *testCore) { c.tick(moment(1, time.Hour)) }, 1, events.Stale, false},
		{"a beacon is heard after the clock was set", func(c *testCore) { c.beacon(beaconAt(2, 5.5, 0), moment(5.5, 10*time.Minute)) },
			5.5, events.Fresh, true},
		{"the streams are read again", func(c *testCore) { c.again("test") }, 1, events.Syncing, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := syncedCore(t)
			tc.do(c)
			if got := c.state(moment(tc.at, 0)); got != tc.want {
				t.Errorf("state %s, want %s", got, tc.want)
			}
			if _, ok := c.asOf(moment(tc.at, 0)); ok != tc.asOf {
				t.Errorf("knows a time up to which it is whole: %v, want %v", ok, tc.asOf)
			}
		})
	}
}

func TestNeverFreshBeforeABeacon(t *testing.T) {
	c := testedCore()
	c.synced = true // by its file
	c.tick(moment(0, 0))
	c.readBoth(message(1, 11, nil))
	if got := c.state(moment(0.1, 0)); got != events.Stale {
		t.Errorf("state %s before a beacon, want stale", got)
	}
	c = testedCore()
	c.tick(moment(0, 0))
	c.readBoth(message(1, 11, nil))
	if got := c.state(moment(0.1, 0)); got != events.Unsynced {
		t.Errorf("state %s of a new agent, want unsynced", got)
	}
	if e := c.beacon(beaconAt(1, 0.2, 0), moment(0.2, 0)); e.synced {
		t.Error("synced before the streams were read to the beacon's marks")
	}
}

// TestBeaconOfAStreamThatWentBackIsNotCovered: the beacon speaks of two streams,
// of which the second is shorter than what was applied.
func TestBeaconOfAStreamThatWentBackIsNotCovered(t *testing.T) {
	c := syncedCore(t)
	for _, s := range events.EventStreams {
		m := message(1, 11, nil)
		m.Event.Target.Kind = map[events.Stream]events.Kind{events.Control: events.KindUser, events.Tokens: events.KindTokens}[s]
		m.Event.ID[5] = byte(len(s))
		c.do(c.live(s, m, moment(0.5, 0)))
	}
	b := beaconAt(2, 4, 0)
	b.Streams = marks(11)
	last := events.EventStreams[len(events.EventStreams)-1]
	b.Streams[last] = events.Watermark{Epoch: "e", First: 11, Last: 10}
	c.do(c.beacon(b, moment(4, 0)))
	if got := c.state(moment(6, 0)); got == events.Fresh {
		t.Error("fresh by a beacon that says that a stream ends before the position")
	}
}

func TestLiveMessageThatNoPublisherWouldSendNowMovesNothing(t *testing.T) {
	for name, change := range map[string]func(r *events.Revocation){
		"of the other stream": func(r *events.Revocation) { r.Target.Kind = events.KindTokens },
		"expired":             func(r *events.Revocation) { r.Expires = start.Unix() },
	} {
		c := syncedCore(t)
		m := message(1, 11, nil)
		change(m.Event)
		e := c.do(c.live(events.Control, m, moment(1, 0)))
		if len(e.apply) != 1 || len(e.cursors) != 0 || e.fetch[events.Control].From == 0 {
			t.Errorf("%s: effects %+v, want it applied, the position where it was, and a read", name, e)
		}
	}
}

func TestParkedMessagesAreOpenedWhenTheirKeyComes(t *testing.T) {
	c := syncedCore(t)
	c.beaconUpTo(2, 1, 13, 0)
	c.readBoth(message(1, 11, events.ErrUnknownKey), message(2, 12, events.ErrUnsupported), message(3, 13, events.ErrUnknownKey))
	// The stream was rolled back: another message stands at 11 now.
	c.core.park(&effects{}, place{events.Control, 11}, message(4, 11, events.ErrUnknownKey))
	if len(c.parked) != 4 {
		t.Fatalf("%d parked, want 4", len(c.parked))
	}
	answers := map[byte]error{1: nil, 2: events.ErrUnsupported, 3: events.ErrSignature, 4: events.ErrUnknownKey}
	open := func(seq uint64, raw []byte) follow.Message { return message(raw[0], seq, answers[raw[0]]) }
	known := func(id events.EventID) bool { return c.known[id] }
	e := c.do(c.retryParked(open, known))
	if len(e.apply) != 1 || len(e.unpark) != 1 || e.unpark[0].seq != 13 || len(c.parked) != 2 {
		t.Errorf("applied %d, unparked %v, %d left; want 1, only 13 since another waits at 11, 2", len(e.apply), e.unpark, len(c.parked))
	}
	answers[2], answers[4] = nil, nil
	if e = c.do(c.retryParked(open, known)); len(e.apply) != 2 || len(e.unpark) != 2 || !c.trusted() {
		t.Errorf("applied %d, unparked %v, want both of each", len(e.apply), e.unpark)
	}
}

func TestWhatFoundNoRoomToBeParkedIsReadAgain(t *testing.T) {
	c := syncedCore(t)
	var e effects
	for i := range maxParked + 1 {
		raw := []byte{byte(i), byte(i >> 8), byte(i >> 16)}
		c.core.park(&e, place{events.Control, 11 + uint64(i)}, follow.Message{Raw: raw, Hash: sha256.Sum256(raw), Err: events.ErrUnknownKey})
	}
	if len(c.parked) != maxParked || c.trusted() {
		t.Fatalf("%d parked, trusted %v", len(c.parked), c.trusted())
	}
	e = c.retryParked(func(seq uint64, raw []byte) follow.Message { return message(raw[0], seq, events.ErrSignature) },
		func(events.EventID) bool { return true })
	if e.fetch[events.Control].From != 11 || len(e.lost) != len(events.EventStreams) {
		t.Errorf("reads %v, want the streams from their beginning", e.fetch)
	}
	if got := c.state(moment(1, 0)); got != events.Syncing {
		t.Errorf("state %s while it reads again, want syncing", got)
	}
}
