package subscriber

import (
	"time"

	"github.com/rescind/rescind/events"
)

// instant is one moment by both clocks: wall for what others say, mono for what
// must not jump.
type instant struct {
	wall time.Time
	mono time.Duration
}

// drift is how far the wall clock is from the monotonic one. It changes by next to
// nothing unless the wall clock was set, or the machine slept.
func (i instant) drift() time.Duration { return time.Duration(i.wall.UnixNano()) - i.mono }

// maxOffset is how far a publisher's clock may be from ours before its beacons
// count as old by what lies beyond.
const maxOffset = 15 * time.Minute

// maxPending is how many beacons of one publisher wait to be covered. They come
// ten times a second at most and matter for the bound only.
const maxPending = 64

// freshness derives how old the agent's knowledge is from the beacons it hears.
// It is a plain state machine and not safe for concurrent use.
type freshness struct {
	bound time.Duration
	heard map[string]*heard
	// asOf is when the newest beacon was sent that is covered by what was
	// applied, by our monotonic clock; only valid when known.
	asOf  time.Duration
	known bool
}

// heard is what is known of one publisher.
type heard struct {
	incarnation events.EventID
	number      uint64
	// offset is the smallest difference between our clock at receipt and the
	// beacon's send time seen in this incarnation: clock difference plus the
	// fastest way here.
	offset    time.Duration
	hasOffset bool
	pending   []pendingBeacon
	// sent is when the newest beacon was sent, owed whether it said that a
	// stream lacks events.
	sent time.Duration
	owed bool
	// wall is the newest beacon's send time by the publisher's clock, received
	// when it came by ours.
	wall     time.Time
	received time.Duration
}

type pendingBeacon struct {
	marks map[events.Stream]events.Watermark
	sent  time.Duration
}

func newFreshness(bound time.Duration) *freshness {
	return &freshness{bound: bound, heard: map[string]*heard{}}
}

// beacon takes one that was verified. It tells false for a replay: a number or
// an incarnation that is not newer than what was heard.
func (f *freshness) beacon(b *events.Beacon, now instant) bool {
	h := f.heard[b.Origin.Publisher]
	if h == nil {
		h = &heard{}
		f.heard[b.Origin.Publisher] = h
	}
	switch {
	case b.Origin.Incarnation == h.incarnation:
		if b.Origin.Counter <= h.number {
			return false
		}
	case !h.incarnation.IsZero() && b.Origin.Incarnation.String() < h.incarnation.String():
		return false
	default:
		*h = heard{incarnation: b.Origin.Incarnation}
	}
	h.number = b.Origin.Counter
	h.wall, h.received = time.UnixMilli(b.SentAt), now.mono
	h.sent = now.mono - h.age(now.wall.Sub(time.UnixMilli(b.SentAt)))
	h.owed = false
	for _, w := range b.Streams {
		h.owed = h.owed || w.Owed > 0
	}
	if len(h.pending) == maxPending {
		h.pending = h.pending[1:]
	}
	h.pending = append(h.pending, pendingBeacon{b.Streams, h.sent})
	return true
}

// age turns the difference between our clock and a send time into how long the
// beacon was under way beyond the fastest one. It is never negative, so a beacon
// never counts as sent after it was received.
func (h *heard) age(difference time.Duration) time.Duration {
	if !h.hasOffset || difference < h.offset {
		h.offset, h.hasOffset = difference, true
	}
	offset := min(max(h.offset, -maxOffset), maxOffset)
	return (difference - offset).Abs()
}

// cover moves asOf to the newest beacon that covers tells to be covered.
func (f *freshness) cover(covers func(map[events.Stream]events.Watermark) bool) {
	for _, h := range f.heard {
		for i := len(h.pending) - 1; i >= 0; i-- {
			if !covers(h.pending[i].marks) {
				continue
			}
			if sent := h.pending[i].sent; !f.known || sent > f.asOf {
				f.asOf, f.known = sent, true
			}
			h.pending = h.pending[i+1:]
			break
		}
	}
}

// owed tells whether a beacon within the bound said that a stream lacks events.
func (f *freshness) owed(now instant) bool {
	for _, h := range f.heard {
		if h.owed && now.mono-h.sent <= f.bound {
			return true
		}
	}
	return false
}

// hears tells whether any beacon is within the bound.
func (f *freshness) hears(now instant) bool {
	for _, h := range f.heard {
		if now.mono-h.sent <= f.bound {
			return true
		}
	}
	return false
}

// forget makes nothing count as covered until a later beacon is.
func (f *freshness) forget() {
	for _, h := range f.heard {
		h.pending = nil
	}
	f.known = false
}

// expiry gives the time up to which events may be dropped as expired: the earliest
// that our clock and the publishers' say it is. A clock of ours that is ahead for a
// while must not take entries away. The zero time means none, before any beacon.
func (f *freshness) expiry(now instant) time.Time {
	if len(f.heard) == 0 {
		return time.Time{}
	}
	at := now.wall
	for _, h := range f.heard {
		if theirs := h.wall.Add(now.mono - h.received); theirs.Before(at) {
			at = theirs
		}
	}
	return at
}

// clockStepped forgets what rests on the wall clock. Nothing is fresh until the
// next beacon: how long the step took, nobody knows.
func (f *freshness) clockStepped() {
	for _, h := range f.heard {
		h.hasOffset, h.sent = false, -f.bound-1
	}
	f.forget()
}
