package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rescind/rescind/events"
)

// beaconFigures are what was overheard on the bus.
type beaconFigures struct {
	Seconds    float64          `json:"seconds"`
	Publishers []publisherHeard `json:"publishers"`
	// Refused beacons did not verify, by reason.
	Refused map[string]int `json:"refused,omitempty"`
	Agents  []agentHeard   `json:"agents"`
	// AgentsFrom is bus when the agents were overheard, publisher when it was
	// asked, and empty when neither could be had.
	AgentsFrom string `json:"agents_from,omitempty"`
}

// publisherHeard is what a publisher's beacons show.
type publisherHeard struct {
	ID      string `json:"id"`
	Beacons int    `json:"beacons"`
	// Lost are numbers that never came; Restarts new incarnations.
	Lost     int `json:"lost"`
	Restarts int `json:"restarts"`
	// Owed events are missing in the streams, by the newest beacon.
	Owed int `json:"owed"`
	// AgeMS is how much longer a beacon took from its publisher's clock to here
	// than the fastest one, in milliseconds. OffsetMS is what the fastest one took:
	// the difference of the clocks and the shortest way.
	AgeMS    figures `json:"age_ms"`
	OffsetMS float64 `json:"offset_ms"`
}

// agentHeard is an agent's own word on itself.
type agentHeard struct {
	Name    string       `json:"name"`
	State   events.State `json:"state"`
	Lag     uint64       `json:"lag"`
	Entries int          `json:"entries"`
}

// overhearing is what has come in so far.
type overhearing struct {
	mu         sync.Mutex
	publishers map[string]*beacons
	agents     map[string]events.Status
	refused    map[string]int
}

// beacons are those of one publisher.
type beacons struct {
	id          string
	incarnation events.EventID
	restarts    int
	// first, last and count are of the incarnation's numbers, lost of all former.
	first, last uint64
	count, lost int
	heard, owed int
	// took are the differences between the clock here at receipt and the send
	// time, of one incarnation; ages what former ones came to.
	took []time.Duration
	ages []time.Duration
	// offset is the smallest of took.
	offset time.Duration
}

// listen overhears beacons and statuses for d. It says nothing itself.
func (b *bench) listen(ctx context.Context, d time.Duration) (*beaconFigures, error) {
	o := &overhearing{publishers: map[string]*beacons{}, agents: map[string]events.Status{}, refused: map[string]int{}}
	fleet := b.bus.Fleet()
	for subject, handle := range map[string]nats.MsgHandler{
		fleet.BeaconSubject(): func(m *nats.Msg) { o.beacon(b.keys, fleet, m.Data, time.Now()) },
		b.statusSubject():     func(m *nats.Msg) { o.status(m.Data) },
	} {
		sub, err := b.nc.Subscribe(subject, handle)
		if err != nil {
			return nil, fmt.Errorf("listening to %s: %w", subject, err)
		}
		defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed
	}
	if err := countdown(ctx, b.std.err, "listening           ", d); err != nil {
		return nil, err
	}
	f := o.figures()
	f.Seconds = d.Seconds()
	if len(f.Agents) == 0 {
		b.askForAgents(ctx, f)
	}
	return f, nil
}

// askTime is how long a publisher may take that was not asked to be there.
const askTime = 3 * time.Second

// askForAgents asks the publisher, where there is a key for it.
func (b *bench) askForAgents(ctx context.Context, f *beaconFigures) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var list []agentKnown
	body, err := b.agentsBody(ctx)
	if err == nil {
		list, err = parseAgents(body)
	}
	if err != nil || len(list) == 0 {
		return // what was not overheard is said to be so
	}
	f.AgentsFrom = "publisher"
	for _, a := range list {
		f.Agents = append(f.Agents, agentHeard{a.Name, a.shownState(), a.Lag, a.Entries})
	}
	sortAgents(f.Agents)
}

func (o *overhearing) beacon(keys *events.KeySet, fleet events.Fleet, raw []byte, received time.Time) {
	b, err := keys.OpenBeacon(fleet, raw)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.refused[events.Reason(err)]++
		return
	}
	h := o.publishers[b.Origin.Publisher]
	if h == nil {
		h = &beacons{id: b.Origin.Publisher, incarnation: b.Origin.Incarnation}
		o.publishers[h.id] = h
	}
	h.take(b, received)
}

// take counts a beacon. One that is not newer than what was heard is a replay.
func (h *beacons) take(b *events.Beacon, received time.Time) {
	if b.Origin.Incarnation != h.incarnation {
		if b.Origin.Incarnation.String() < h.incarnation.String() {
			return
		}
		h.settle()
		h.incarnation, h.restarts, h.first, h.last, h.count = b.Origin.Incarnation, h.restarts+1, 0, 0, 0
	}
	if b.Origin.Counter <= h.last {
		return
	}
	if h.first == 0 {
		h.first = b.Origin.Counter
	}
	h.last = b.Origin.Counter
	h.count++
	h.heard++
	h.took = append(h.took, received.Sub(time.UnixMilli(b.SentAt)))
	h.owed = 0
	for _, w := range b.Streams {
		h.owed += w.Owed
	}
}

// settle turns what the beacons of the incarnation took into ages.
func (h *beacons) settle() {
	if len(h.took) == 0 {
		return
	}
	h.offset = slices.Min(h.took)
	for _, t := range h.took {
		h.ages = append(h.ages, t-h.offset)
	}
	h.lost += int(h.last-h.first) + 1 - h.count
	h.took = nil
}

func (o *overhearing) status(raw []byte) {
	s, err := events.Decode[events.Status](raw)
	if err != nil {
		return // it is no agent's
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.agents[s.Agent.ID] = *s
}

func (o *overhearing) figures() *beaconFigures {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := &beaconFigures{Publishers: []publisherHeard{}, Agents: []agentHeard{}, Refused: o.refused}
	for _, id := range slices.Sorted(maps.Keys(o.publishers)) {
		h := o.publishers[id]
		h.settle()
		ages := newRecorder(time.Hour.Microseconds(), 1000)
		for _, age := range h.ages {
			ages.record(age.Microseconds())
		}
		f.Publishers = append(f.Publishers, publisherHeard{ID: id, Beacons: h.heard, Lost: h.lost, Restarts: h.restarts,
			Owed: h.owed, AgeMS: ages.figures(), OffsetMS: float64(h.offset.Microseconds()) / 1000})
	}
	for _, s := range o.agents {
		if s.Moment == events.Goodbye {
			s.State = goneState
		}
		f.Agents = append(f.Agents, agentHeard{s.Agent.Name(), s.State, s.Lag, s.Entries})
	}
	if len(f.Agents) > 0 {
		f.AgentsFrom = "bus"
	}
	sortAgents(f.Agents)
	return f
}

// sortAgents puts first whoever needs a look.
func sortAgents(agents []agentHeard) {
	well := func(a agentHeard) int {
		if a.State == events.Fresh {
			return 1
		}
		return 0
	}
	slices.SortFunc(agents, func(x, y agentHeard) int {
		return cmp.Or(well(x)-well(y), cmp.Compare(y.Lag, x.Lag), strings.Compare(x.Name, y.Name))
	})
}

func (f *beaconFigures) print(b *bench) {
	if len(f.Publishers) == 0 {
		b.warn("no beacon in %s: no publisher runs, or NATS is not this fleet's. Agents grow stale", seconds(f.Seconds))
	} else {
		b.table(func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "  PUBLISHER\tBEACONS\tLOST\tAGE P50\tAGE MAX\tOFFSET")
			for _, p := range f.Publishers {
				fmt.Fprintf(w, "  %s\t%d\t%d\t%s ms\t%s ms\t%+.0f ms\n", p.ID, p.Beacons, p.Lost, short(p.AgeMS.P50),
					short(p.AgeMS.Max), p.OffsetMS)
			}
		})
		b.note("age at arrival: how much longer it took than the publisher's fastest beacon")
		b.note("offset: what that one took, by two clocks that may differ")
	}
	for _, p := range f.Publishers {
		if p.Owed > 0 {
			b.warn("%s says that the streams lack %s, and publishes them again", p.ID, counted(p.Owed, "event"))
		}
		if p.Restarts > 0 {
			b.warn("%s began anew %d times, or its clock was set", p.ID, p.Restarts)
		}
	}
	if len(f.Refused) > 0 {
		b.warn("%s did not verify (%s): --keys is not this fleet's, or lacks a publisher's key",
			counted(total(f.Refused), "beacon"), reasons(f.Refused))
	}
	f.printAgents(b)
}

// shownAgents are how many agents a person is shown; --json has them all.
const shownAgents = 10

func (f *beaconFigures) printAgents(b *bench) {
	if len(f.Agents) == 0 {
		b.warn("no agent was overheard%s; each speaks every 5 s", b.whyNoStatuses())
		return
	}
	states := map[string]int{}
	for _, a := range f.Agents {
		states[string(a.State)]++
	}
	b.printf("\n")
	b.table(func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "  AGENT\tSTATE\tLAG\tENTRIES")
		for _, a := range f.Agents[:min(len(f.Agents), shownAgents)] {
			state := string(a.State)
			fmt.Fprintf(w, "  %s\t%s\t%d\t%s\n", a.Name, state, a.Lag, grouped(int64(a.Entries)))
		}
	})
	more := ""
	if n := len(f.Agents) - shownAgents; n > 0 {
		more = fmt.Sprintf(" (%d more than are shown)", n)
	}
	from := "as overheard"
	if f.AgentsFrom == "publisher" {
		from = "as the publisher knows them"
	}
	b.note("%s, %s: %s%s", counted(len(f.Agents), "agent"), from, reasons(states), more)
}
