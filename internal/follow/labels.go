package follow

import "github.com/rescind/rescind/events"

// labels remembers which sequence each of the last live messages that moved the
// position claimed: an event that the stream then has elsewhere was labelled with
// the sequence of one that may never have come. It keeps the last maxLabels to
// twice as many.
type labels struct{ young, old map[events.EventID]uint64 }

const maxLabels = 4096

func (l *labels) put(id events.EventID, seq uint64) {
	if len(l.young) >= maxLabels {
		l.young, l.old = nil, l.young
	}
	if l.young == nil {
		l.young = map[events.EventID]uint64{}
	}
	l.young[id] = seq
}

// contradicts tells whether the event moved the position under another sequence.
func (l *labels) contradicts(id events.EventID, seq uint64) bool {
	at, ok := l.young[id]
	if !ok {
		at, ok = l.old[id]
	}
	return ok && at != seq
}
