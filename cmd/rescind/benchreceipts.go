package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/schollz/progressbar/v3"
)

// receiptFigures are what signed receipts say of how fast revocations were
// applied.
type receiptFigures struct {
	Receipts int `json:"receipts"`
	// Complete are those for which every agent expected had answered.
	Complete int `json:"complete"`
	// Oldest and Newest are when the first and the last of them were accepted.
	Oldest *time.Time `json:"oldest,omitempty"`
	Newest *time.Time `json:"newest,omitempty"`
	// Refused receipts did not verify, by reason.
	Refused map[string]int `json:"refused,omitempty"`
	// AppliedMS is from a request's acceptance to an agent's report that the
	// revocation is in force and on its disk, in milliseconds, for each agent of
	// each receipt.
	AppliedMS figures `json:"applied_ms"`
	// Agents are those that reported, the slowest first.
	Agents []agentFigures `json:"agents"`
	// Unanswered counts, by agent, the receipts in which it failed or is missing.
	Unanswered map[string]int `json:"unanswered,omitempty"`
}

// agentFigures are one agent's.
type agentFigures struct {
	Name string `json:"name"`
	figures
}

// longestApplied is the longest time that is told apart, in milliseconds: what was
// accepted while NATS was away waits for it.
const longestApplied = int64(24 * time.Hour / time.Millisecond)

// auditWindow is how many messages of the audit stream are looked through at a
// time, from its end backwards: an event or two, and a receipt, for each request.
const auditWindow = 2000

// auditInfo asks for the audit stream's state.
func (b *bench) auditInfo(ctx context.Context) (bus.Info, error) {
	info, err := b.bus.Info(ctx, events.Audit)
	if errors.Is(err, bus.ErrNoStream) {
		return info, fmt.Errorf("%w: run rescind streams apply, or --receipts 0 leaves it out", err)
	}
	return info, err
}

// openAudit makes sure that the audit stream may be read, also one that is empty,
// and gives its state.
func (b *bench) openAudit(ctx context.Context) (bus.Info, error) {
	info, err := b.auditInfo(ctx)
	if err != nil {
		return info, err
	}
	_, err = b.bus.Read(ctx, events.Audit, info.Last, 1, 0)
	return info, err
}

// past sums up the last of the audit stream's receipts.
func (b *bench) past(ctx context.Context, last int) (*receiptFigures, error) {
	receipts, refused, err := b.receipts(ctx, last)
	if err != nil {
		return nil, err
	}
	return figuresOf(receipts, refused), nil
}

// receipts gives the last of the audit stream's receipts, the newest last, and
// counts those that do not verify.
func (b *bench) receipts(ctx context.Context, last int) (out []*events.Receipt, refused map[string]int, err error) {
	info, err := b.openAudit(ctx)
	if err != nil {
		return nil, nil, err
	}
	bar := newProgress(b.std.err, "reading receipts    ", int64(last), progressbar.OptionShowCount())
	defer bar.end()
	refused = map[string]int{}
	for end := info.Last; len(out) < last && end >= info.First && info.Msgs > 0; {
		from := max(info.First, end-min(end, auditWindow-1))
		found, bad, err := b.receiptsBetween(ctx, from, end)
		if err != nil {
			return nil, nil, err
		}
		for reason, n := range bad {
			refused[reason] += n
		}
		bar.add(int64(len(found)), 0)
		out = append(found, out...)
		end = from - 1
	}
	return out[max(len(out)-last, 0):], refused, nil
}

// receiptsBetween reads the audit stream from one sequence to another.
func (b *bench) receiptsBetween(ctx context.Context, from, to uint64) (out []*events.Receipt, refused map[string]int, err error) {
	refused = map[string]int{}
	for from <= to {
		batch, err := b.bus.Read(ctx, events.Audit, from, int(min(to-from+1, benchReadMessages)), benchReadBytes)
		if err != nil {
			return nil, nil, err
		}
		for _, m := range batch.Messages {
			if m.Seq > to {
				return out, refused, nil
			}
			from = m.Seq + 1
			switch r, err := b.keys.OpenReceipt(b.bus.Fleet(), m.Data); {
			case err == nil:
				out = append(out, r)
			case !errors.Is(err, events.ErrMalformed): // that is an event
				refused[events.Reason(err)]++
			}
		}
		if batch.Complete && !batch.Broken {
			return out, refused, nil
		}
	}
	return out, refused, nil
}

// figuresOf sums receipts up.
func figuresOf(receipts []*events.Receipt, refused map[string]int) *receiptFigures {
	f := &receiptFigures{Receipts: len(receipts), Refused: refused, Agents: []agentFigures{}, Unanswered: map[string]int{}}
	all, agents := newRecorder(longestApplied, 1), map[string]*recorder{}
	for _, r := range receipts {
		if at := time.UnixMilli(r.AcceptedAt).UTC(); f.Oldest == nil {
			f.Oldest, f.Newest = &at, &at
		} else if f.Newest.Before(at) {
			f.Newest = &at
		} else if at.Before(*f.Oldest) {
			f.Oldest = &at
		}
		if r.Complete {
			f.Complete++
		}
		for _, a := range r.Applied {
			if agents[a.Agent] == nil {
				agents[a.Agent] = newSmallRecorder(longestApplied, 1)
			}
			agents[a.Agent].record(a.AfterMS)
			all.record(a.AfterMS)
		}
		for _, e := range r.Errors {
			f.Unanswered[cmp.Or(e.Agent, "no agent")]++
		}
	}
	f.AppliedMS = all.figures()
	for _, name := range slices.Sorted(maps.Keys(agents)) {
		a := agentFigures{name, agents[name].figures()}
		a.Histogram = nil // one for each of a thousand agents says nothing to anybody
		f.Agents = append(f.Agents, a)
	}
	slices.SortStableFunc(f.Agents, func(x, y agentFigures) int {
		return cmp.Or(cmp.Compare(y.P99, x.P99), cmp.Compare(y.P50, x.P50))
	})
	return f
}

func (f *receiptFigures) print(b *bench) {
	f.printRefused(b)
	if f.Receipts == 0 {
		b.printf("  The audit stream holds no receipts. --revoke 20 revokes 20 made-up tokens and\n  measures how long that takes.\n")
		return
	}
	b.row("receipts", "%s, %s to %s UTC", grouped(int64(f.Receipts)), f.Oldest.Format(time.DateTime), f.Newest.Format(time.DateTime))
	b.row("complete", "%s: every agent expected had answered", grouped(int64(f.Complete)))
	if f.AppliedMS.Count > 0 {
		b.percentiles("applied", f.AppliedMS)
		b.note("from acceptance to an agent's report that it is in force and on its disk")
		b.printf("\n%s", b.page.histogram(f.AppliedMS, "ms"))
	}
	f.printAgents(b)
}

func (f *receiptFigures) printRefused(b *bench) {
	if len(f.Refused) > 0 {
		b.warn("%s did not verify (%s): --keys lacks", counted(total(f.Refused), "receipt"), reasons(f.Refused))
		b.warn("a publisher's key, or a former one")
	}
}

// printAgents shows which agents are slow or silent.
func (f *receiptFigures) printAgents(b *bench) {
	if len(f.Agents) > 0 {
		b.printf("\n")
		b.table(func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "  SLOWEST AGENTS\tRECEIPTS\tP50\tP90\tP99\tMAX")
			for _, a := range f.Agents[:min(len(f.Agents), slowestAgents)] {
				fmt.Fprintf(w, "  %s\t%s\t%s ms\t%s ms\t%s ms\t%s ms\n", a.Name, grouped(a.Count), short(a.P50), short(a.P90),
					short(a.P99), short(a.Max))
			}
		})
		if more := len(f.Agents) - slowestAgents; more > 0 {
			b.note("and %s", counted(more, "faster one"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Unanswered)) {
		b.warn("%s has not confirmed %s", name, counted(f.Unanswered[name], "request"))
	}
}

// slowestAgents are how many a person is shown; --json has them all.
const slowestAgents = 5
