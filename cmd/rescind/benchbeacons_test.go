package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rescind/rescind/events"
)

// beaconAt is a publisher's beacon that was sent, by its clock, at ms.
func beaconAt(incarnation byte, number uint64, ms int64, owed int) *events.Beacon {
	return &events.Beacon{Origin: events.Origin{Publisher: "p", Incarnation: events.EventID{incarnation}, Counter: number},
		SentAt: ms, Streams: map[events.Stream]events.Watermark{events.Control: {}, events.Tokens: {Owed: owed}}}
}

func TestBeaconsAgeIsBeyondTheFastestOfTheirRun(t *testing.T) {
	h := &beacons{id: "p", incarnation: events.EventID{1}}
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	h.take(beaconAt(1, 7, 1000, 0), at(1012))
	h.take(beaconAt(1, 8, 2000, 2), at(2010)) // the fastest
	h.take(beaconAt(1, 8, 2000, 2), at(2500)) // a replay
	h.take(beaconAt(1, 7, 1000, 0), at(2600)) // another
	h.take(beaconAt(1, 11, 5000, 0), at(5015))
	// A new run with another clock has an offset of its own.
	h.take(beaconAt(2, 1, 90_000, 0), at(6000))
	h.take(beaconAt(2, 2, 91_000, 3), at(7001))
	h.take(beaconAt(1, 12, 6000, 0), at(8000)) // the former run is over
	o := &overhearing{publishers: map[string]*beacons{"p": h}}
	f := o.figures().Publishers[0]
	if f.Beacons != 5 || f.Lost != 2 || f.Restarts != 1 || f.Owed != 3 || f.OffsetMS != -84_000 {
		t.Errorf("got %+v", f)
	}
	// A recorder keeps three digits.
	if short(f.AgeMS.Max) != "5" || short(f.AgeMS.P50) != "1" || f.AgeMS.Count != 5 {
		t.Errorf("ages of 2, 0, 5, 0 and 1 ms came to %+v", f.AgeMS)
	}
}

func TestOverheardAgentsAreListedWorstFirst(t *testing.T) {
	o := &overhearing{publishers: map[string]*beacons{}, agents: map[string]events.Status{}}
	for _, raw := range []string{
		`{"agent":{"id":"a","service":"pay","instance":"a","run":"r","version":"1"},"moment":"status","state":"fresh","entries":5}`,
		`{"agent":{"id":"b","service":"pay","instance":"b","run":"r","version":"1"},"moment":"status","state":"fresh"}`,
		`{"agent":{"id":"b","service":"pay","instance":"b","run":"r","version":"1"},"moment":"status","state":"syncing","lag":3}`,
		`{"agent":{"id":"c","service":"pay","instance":"c","run":"r","version":"1"},"moment":"goodbye","state":"fresh"}`,
		`no status`,
	} {
		o.status([]byte(raw))
	}
	f := o.figures()
	want := []agentHeard{{"pay/b", events.Syncing, 3, 0}, {"pay/c", goneState, 0, 0}, {"pay/a", events.Fresh, 0, 5}}
	if diff := cmp.Diff(want, f.Agents); diff != "" || f.AgentsFrom != "bus" {
		t.Errorf("from %q: %s", f.AgentsFrom, diff)
	}
}

func TestReceiptsSumUpByAgent(t *testing.T) {
	receipt := func(at int64, complete bool, o events.Outcome) *events.Receipt {
		o.Complete = complete
		return &events.Receipt{AcceptedAt: at, Outcome: o}
	}
	f := figuresOf([]*events.Receipt{
		receipt(3000, true, events.Outcome{Applied: []events.Application{{Agent: "a", AfterMS: 0}, {Agent: "b", AfterMS: 40}}}),
		receipt(1000, true, events.Outcome{Applied: []events.Application{{Agent: "a", AfterMS: 2}, {Agent: "b", AfterMS: 60}}}),
		receipt(2000, false, events.Outcome{Applied: []events.Application{{Agent: "a", AfterMS: 4}},
			Errors: []events.OutcomeError{{Agent: "b", Type: events.AgentSilent}, {Type: events.AgentMissing}}}),
	}, nil)
	if f.Receipts != 3 || f.Complete != 2 || f.Oldest.UnixMilli() != 1000 || f.Newest.UnixMilli() != 3000 {
		t.Errorf("got %+v", f)
	}
	if f.AppliedMS.Count != 5 || f.AppliedMS.P50 != 4 || f.AppliedMS.Max != 60 {
		t.Errorf("applied: %+v", f.AppliedMS)
	}
	if len(f.Agents) != 2 || f.Agents[0].Name != "b" || f.Agents[0].P50 != 40 || f.Agents[1].Max != 4 {
		t.Errorf("agents: %+v", f.Agents)
	}
	if diff := cmp.Diff(map[string]int{"b": 1, "no agent": 1}, f.Unanswered); diff != "" {
		t.Error(diff)
	}
}
