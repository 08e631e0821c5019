package subscriber

import (
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/follow"
)

// subscribe opens the agent's subscriptions. Their callbacks verify, which may
// take some ten microseconds, and hand over to the loop.
func (a *Agent) subscribe() (unsubscribe func(), err error) {
	fleet := a.cfg.fleet()
	live, err := a.bus.Live(func(m bus.Message) {
		msg := follow.Decode(a.keys.Load(), fleet, m.Seq, m.Data)
		a.input(func(l *loop) { l.perform(l.core.live(m.Stream, msg, l.instant())) })
	}, func() { a.input(func(l *loop) { l.perform(l.core.reconnected()) }) })
	if err != nil {
		return nil, err
	}
	var subs []*nats.Subscription
	unsubscribe = func() {
		live.Close()
		for _, s := range subs {
			_ = s.Unsubscribe() // fails only when the connection is closed
		}
	}
	for subject, handle := range map[string]nats.MsgHandler{
		fleet.BeaconSubject():     a.onBeacon,
		fleet.QuerySubject():      a.onQuery,
		fleet.AskSubject(a.me.ID): a.onAsk,
		fleet.AskAllSubject():     a.onAsk,
	} {
		s, err := a.nc.Subscribe(subject, handle)
		if err != nil {
			unsubscribe()
			return nil, err
		}
		subs = append(subs, s)
	}
	return unsubscribe, nil
}

// input hands fn to the loop, or drops it once the agent is closed.
func (a *Agent) input(fn func(*loop)) {
	select {
	case a.inputs <- fn:
	case <-a.stopped:
	}
}

func (a *Agent) onBeacon(m *nats.Msg) {
	received := a.instant()
	b, err := a.keys.Load().OpenBeacon(a.cfg.fleet(), m.Data)
	a.input(func(l *loop) {
		if err != nil {
			l.core.refuse(events.Reason(err))
			l.refreshKeys(err)
			return
		}
		l.perform(l.core.beacon(b, received))
	})
}

func (a *Agent) onAsk(m *nats.Msg) {
	ask, err := events.Decode[events.Ask](m.Data)
	a.input(func(l *loop) {
		switch {
		case err != nil:
			l.core.refuse(events.Reason(err))
		case ask.From == 0:
			l.sendStatus(events.Regular)
		default:
			for _, b := range l.reporter.again(ask.From, ask.To) {
				l.send(l.cfg.fleet().ReportSubject(l.me.ID), b)
			}
		}
	})
}

// onQuery answers what a target would hit. An answer speaks of users, so only a
// publisher that signed the question gets one.
func (a *Agent) onQuery(m *nats.Msg) {
	q, err := a.keys.Load().OpenQuery(a.cfg.fleet(), m.Data)
	now := a.instant()
	if err != nil || now.wall.Sub(time.UnixMilli(q.SentAt)).Abs() > events.MaxQueryAge {
		a.input(func(l *loop) { l.core.refuse("query") })
		return
	}
	r := &events.Revocation{ID: q.ID, Target: q.Target, NotBefore: q.NotBefore, Expires: q.Expires}
	answer := events.Answer{Query: q.ID, Agent: a.me, Counted: a.seen.count(r, now.wall.Unix(), false),
		Untied: a.seen.untied(r, now.wall.Unix())}
	if len(q.Target.Identities) == 1 {
		if t, ok := a.seen.get(q.Target.Identities[0].Hash()); ok && t.realm != "" {
			answer.Refresh = &events.RefreshToken{Realm: t.realm, User: t.user, Expires: t.expires}
		}
	}
	b, err := json.Marshal(answer)
	if err == nil {
		err = m.Respond(b)
	}
	if err != nil {
		a.log.Warn("answering a query", "err", err)
	}
}
