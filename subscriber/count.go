package subscriber

import (
	"slices"

	"github.com/rescind/rescind/events"
)

// countApplied counts what the applied events hit, in the order in which they
// came. It stops at lifts until the marks of what they took away are corrected.
func (l *loop) countApplied(now instant) {
	for len(l.applied) > 0 && !l.lifting {
		lifts := 0
		for lifts < len(l.applied) && l.applied[lifts].Target.Kind == events.KindLift {
			lifts++
		}
		if lifts > 0 {
			l.liftSeen(l.applied[:lifts])
			l.applied = l.applied[lifts:]
			continue
		}
		l.count(l.applied[0], now)
		l.applied = l.applied[1:]
	}
	if len(l.applied) == 0 {
		l.applied = nil
	}
}

// count counts what a rule hits, now that it is in force: a token that is observed
// at the same time is found here, or found refused when it is remembered.
func (l *loop) count(r *events.Revocation, now instant) {
	if l.lifted[r.ID] || r.Expires <= now.wall.Unix() {
		return
	}
	counted := l.seen.count(r, now.wall.Unix(), true)
	// What was seen before this run is forgotten: the count cannot be whole.
	counted.Replay = r.Target.Kind.Mechanism() != events.ByIdentity && r.IssuedAt < l.begun.Unix()
	if counted.InvalidatedCount+counted.PreviouslyCount > 0 || counted.AtLeast || counted.Replay {
		l.core.report.counted = append(l.core.report.counted, counted)
	}
}

// liftSeen corrects the marks of the live tokens after events were lifted. It
// looks at all that stands, which may be on disk, beside the loop; what came
// behind the lifts is counted after it.
func (l *loop) liftSeen(lifts []*events.Revocation) {
	if l.seen.len() == 0 {
		return // a token that is remembered from now on is compared with the set
	}
	names := map[events.EventID]bool{}
	for _, r := range lifts {
		names[r.Target.Lifted] = true
	}
	l.lifting = true
	l.done.Go(func() {
		var lifted, others []*events.Revocation
		l.each(func(r *events.Revocation, stands bool) {
			switch {
			case names[r.ID]:
				lifted = append(lifted, r)
			case stands:
				others = append(others, r)
			}
		})
		l.input(func(l *loop) { l.liftedSeen(lifted, others) })
	})
}

func (l *loop) liftedSeen(lifted, others []*events.Revocation) {
	l.lifting, l.settling = false, true
	behind := make(map[events.EventID]bool, len(l.applied))
	for _, r := range l.applied {
		behind[r.ID] = true
	}
	others = slices.DeleteFunc(others, func(r *events.Revocation) bool { return behind[r.ID] })
	for _, r := range lifted {
		l.seen.lifted(r, slices.Values(others))
	}
}
