package intake_test

import (
	"encoding/json"
	"log/slog"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
)

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (a *agent) publish(t *testing.T, subject string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	must(t, a.nc.Publish(subject, b))
	must(t, a.nc.Flush())
}

// report says that the event is enforced, with the script's counts.
func (a *agent) report(r *events.Revocation, s events.Stream, sequence string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	seq, err := strconv.ParseUint(sequence, 10, 64)
	if err != nil {
		return
	}
	a.number++
	c := a.counted(r)
	c.Event = r.ID
	b, err := json.Marshal(events.Report{Agent: a.who, Number: a.number, Counted: []events.Counted{c},
		Positions: map[events.Stream]events.Position{s: {Epoch: a.epochs[s], Seq: seq}}})
	if err == nil {
		_ = a.nc.Publish(a.fleet.ReportSubject(a.who.ID), b) // the test sees that it is missing
	}
}

func (a *agent) reply(q *events.Query, m *nats.Msg) {
	a.mu.Lock()
	defer a.mu.Unlock()
	answer := a.answer(q)
	answer.Query, answer.Agent = q.ID, a.who
	if b, err := json.Marshal(answer); err == nil {
		_ = m.Respond(b)
	}
}

// set changes the agent's script.
func (a *agent) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}
