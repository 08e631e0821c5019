package subscriber

import (
	"encoding/json"
	"maps"

	"github.com/rescind/rescind/events"
)

func (l *loop) statusNow(now instant) events.Status {
	return events.Status{
		Agent: l.me, Moment: events.Regular, State: l.core.state(now), Reports: l.reporter.number,
		Positions: l.positions(), Lag: l.core.lag(), Entries: l.set.Len(), Digest: l.set.Digest(),
		Parked: len(l.core.parked), Rejected: maps.Clone(l.core.rejected), Disk: l.diskErr,
	}
}

// positions are those that the disk has: a report is evidence that outlives a
// restart.
func (l *loop) positions() map[events.Stream]events.Position {
	p := map[events.Stream]events.Position{}
	for s, c := range l.durable {
		p[s] = events.Position{Epoch: c.Epoch, Seq: c.Seq}
	}
	return p
}

func (l *loop) sendStatus(m events.Moment) {
	now := l.instant()
	l.statusAt = now.mono + l.cfg.statusEvery()
	s := l.statusNow(now)
	s.Moment, l.saidState = m, s.State
	b, err := json.Marshal(s)
	if err != nil {
		l.log.Error("encoding a status", "err", err)
		return
	}
	l.send(l.cfg.fleet().StatusSubject(l.me.ID), b)
}

// sendReport sends what is due, in as many reports as it takes.
func (l *loop) sendReport() {
	for more := l.core.report.due; more; {
		var rep events.Report
		rep.Agent = l.me
		if rep.Counted, rep.Faults, more = l.core.report.take(); !more {
			// The position comes last: whoever sees it has all counts up to it.
			rep.Positions = l.positions()
		}
		b, err := l.reporter.next(rep)
		if err != nil {
			l.log.Error("encoding a report", "err", err)
			return
		}
		l.send(l.cfg.fleet().ReportSubject(l.me.ID), b)
		l.reached("reported", 1)
	}
	l.core.report.due = false
}

// send publishes on core NATS. While the connection is away nats.go buffers, and
// drops when its buffer is full: publishers see the hole and ask again.
func (l *loop) send(subject string, data []byte) {
	if err := l.nc.Publish(subject, data); err != nil {
		l.log.Debug("sending", "subject", subject, "err", err)
	}
}
