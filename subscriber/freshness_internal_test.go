package subscriber

import (
	"testing"
	"time"

	"github.com/rescind/rescind/events"
)

// start is when the test's clocks begin: any wall time, and 0 since the start.
var start = time.Unix(1_800_000_000, 0)

// moment is at seconds on both clocks, with the wall clock off by some.
func moment(seconds float64, off time.Duration) instant {
	d := time.Duration(seconds * float64(time.Second))
	return instant{wall: start.Add(d + off), mono: d}
}

func marks(last uint64) map[events.Stream]events.Watermark {
	out := map[events.Stream]events.Watermark{}
	for _, s := range events.EventStreams {
		out[s] = events.Watermark{Epoch: "e", First: 11, Last: last}
	}
	return out
}

// beaconAt is the publisher's n-th, sent at seconds by a clock that is off by some.
func beaconAt(n uint64, seconds float64, off time.Duration) *events.Beacon {
	return &events.Beacon{Origin: events.Origin{Publisher: "p", Incarnation: events.EventID{1}, Counter: n},
		SentAt: moment(seconds, off).wall.UnixMilli(), Streams: marks(10)}
}

func all(map[events.Stream]events.Watermark) bool { return true }

// age is how old the knowledge is, -1 for none.
func (f *freshness) age(now instant) time.Duration {
	f.cover(all)
	if !f.known {
		return -1
	}
	return now.mono - f.asOf
}

func TestReplayedBeaconChangesNothing(t *testing.T) {
	f := newFreshness(5 * time.Second)
	old := beaconAt(3, 0, 0)
	if !f.beacon(old, moment(0, 0)) || f.beacon(old, moment(9, 0)) || f.beacon(beaconAt(2, 9, 0), moment(9, 0)) {
		t.Error("want the first taken, its repetition and an earlier number refused")
	}
	before := beaconAt(9, 9, 0)
	before.Origin.Incarnation = events.EventID{0, 1}
	if f.beacon(before, moment(9, 0)) {
		t.Error("a beacon of an earlier incarnation is taken")
	}
	if got := f.age(moment(9, 0)); got != 9*time.Second {
		t.Errorf("knowledge is %v old, want 9s", got)
	}
	later := beaconAt(1, 9, 0)
	later.Origin.Incarnation = events.EventID{2}
	if !f.beacon(later, moment(9, 0)) || f.age(moment(9, 0)) != 0 {
		t.Error("a beacon of a later incarnation is refused, or counts as old")
	}
}

func TestBeaconsHeardLateAreAsOldAsTheyAre(t *testing.T) {
	f := newFreshness(5 * time.Second)
	f.beacon(beaconAt(1, 0, 0), moment(0, 0))
	// The process is stopped for a minute while two more wait in its buffers.
	f.beacon(beaconAt(2, 1, 0), moment(60, 0))
	f.beacon(beaconAt(3, 2, 0), moment(60, 0))
	if got := f.age(moment(60, 0)); got != 58*time.Second {
		t.Errorf("knowledge is %v old, want 58s", got)
	}
}

func TestOffsetBetweenClocksIsCorrectedUpToItsBound(t *testing.T) {
	for _, tc := range []struct {
		off, want time.Duration
	}{
		{0, 0}, {10 * time.Minute, 0}, {-10 * time.Minute, 0}, {maxOffset, 0}, {-maxOffset, 0},
		{20 * time.Minute, 5 * time.Minute}, {-20 * time.Minute, 5 * time.Minute}, {-100 * time.Hour, 100*time.Hour - maxOffset},
	} {
		f := newFreshness(5 * time.Second)
		f.beacon(beaconAt(1, 0, tc.off), moment(0, 0))
		if got := f.age(moment(0, 0)); got != tc.want {
			t.Errorf("publisher's clock off by %v: knowledge is %v old, want %v", tc.off, got, tc.want)
		}
	}
}

func TestSmallestOffsetSeenCounts(t *testing.T) {
	f := newFreshness(5 * time.Second)
	f.beacon(beaconAt(1, 0, time.Minute), moment(0.8, 0)) // slow on its way
	f.beacon(beaconAt(2, 1, time.Minute), moment(1.1, 0))
	f.beacon(beaconAt(3, 2, time.Minute), moment(2.6, 0))
	if got := f.age(moment(2.6, 0)); got != 500*time.Millisecond {
		t.Errorf("knowledge is %v old, want 500ms", got)
	}
}

func TestClockThatWasSetForgetsWhatRestedOnIt(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		f := newFreshness(5 * time.Second)
		f.beacon(beaconAt(1, 0, 0), moment(0, 0))
		f.cover(all)
		f.clockStepped()
		if f.known || f.hears(moment(0, 0)) || f.age(moment(0.1, step)) != -1 {
			t.Errorf("%v: something is known right after", step)
		}
		f.beacon(beaconAt(2, 1, 0), moment(1, step))
		if got := f.age(moment(1, step)); got != max(0, step.Abs()-maxOffset) {
			t.Errorf("%v: after the next beacon knowledge is %v old", step, got)
		}
	}
}

func TestOwedCountsWithinTheBoundOnly(t *testing.T) {
	f := newFreshness(5 * time.Second)
	b := beaconAt(1, 0, 0)
	w := b.Streams[events.Control]
	w.Owed = 2
	b.Streams[events.Control] = w
	f.beacon(b, moment(0, 0))
	if !f.owed(moment(5, 0)) || f.owed(moment(5.1, 0)) {
		t.Errorf("owed after 5 s: %v, after 5.1 s: %v, want true and false", f.owed(moment(5, 0)), f.owed(moment(5.1, 0)))
	}
	f.beacon(beaconAt(2, 1, 0), moment(1, 0))
	if f.owed(moment(1, 0)) {
		t.Error("owed after a beacon that says nothing is")
	}
}

func TestUncoveredBeaconLeavesTheOlderKnowledge(t *testing.T) {
	f := newFreshness(5 * time.Second)
	have := uint64(10)
	covers := func(m map[events.Stream]events.Watermark) bool { return m[events.Control].Last <= have }
	for n := range uint64(100) {
		b := beaconAt(n+1, float64(n), 0)
		b.Streams = marks(10 + n)
		f.beacon(b, moment(float64(n), 0))
		f.cover(covers)
	}
	if f.asOf != 0 {
		t.Errorf("covered up to %v, want the first beacon only", f.asOf)
	}
	if n := len(f.heard["p"].pending); n > maxPending {
		t.Errorf("%d beacons wait, want at most %d", n, maxPending)
	}
	have = 105
	f.cover(covers)
	if f.asOf != 95*time.Second {
		t.Errorf("covered up to %v, want 95s", f.asOf)
	}
}

func TestNothingExpiresByAClockThatNobodyVouchesFor(t *testing.T) {
	f := newFreshness(5 * time.Second)
	if at := f.expiry(moment(0, 24*time.Hour)); !at.IsZero() {
		t.Errorf("before a beacon: %v, want none", at)
	}
	f.beacon(beaconAt(1, 0, 0), moment(0, 24*time.Hour))
	if at := f.expiry(moment(60, 24*time.Hour)); !at.Equal(start.Add(time.Minute)) {
		t.Errorf("our clock a day ahead: %v, want the publisher's time", at)
	}
	f = newFreshness(5 * time.Second)
	f.beacon(beaconAt(1, 0, 24*time.Hour), moment(0, 0))
	if at := f.expiry(moment(60, 0)); !at.Equal(start.Add(time.Minute)) {
		t.Errorf("the publisher's a day ahead: %v, want our time", at)
	}
}
