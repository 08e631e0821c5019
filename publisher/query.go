package publisher

import (
	"context"
	"fmt"
	"slices"

	"github.com/rescind/rescind/events"
)

// Answers is what the agents said to a query.
type Answers struct {
	// Invalidated and Previously count the live tokens that the target would hit,
	// a token that several agents have seen once.
	Invalidated, Previously int
	// Known tells that some agent knows the token asked about; Refresh is what it
	// knows of a refresh token.
	Known   bool
	Refresh *events.RefreshToken
	// Silent names the agents that did not answer in time.
	Silent []string
	// Asked is how many agents were expected to answer.
	Asked int
	// AtLeast tells that there may be more: some agent has more than it can tell of.
	AtLeast bool
	// Untied is how many of the live tokens, at the agent that knows most of them,
	// name neither a session nor a time of authentication.
	Untied int
}

// DryRun finds out what an order would hit, and waits for agents until ctx ends. It
// changes nothing. Of tokens the publisher knows itself whether they are revoked; of
// all else the agents are asked, as by Query. The errors are those of Query.
func (p *Publisher) DryRun(ctx context.Context, o Order) (*Answers, error) {
	o.Initiator = events.BySystem // it is nobody's deed
	drafts, err := p.plan(&o)
	if err != nil {
		return nil, err
	}
	if o.Target.Kind == events.KindLift {
		return nil, fmt.Errorf("%w: a lift has no dry run", ErrInvalid)
	}
	if o.Target.Kind.Mechanism() != events.ByIdentity {
		return p.askAll(ctx, drafts, o.NotBefore)
	}
	out := &Answers{}
	now := p.now()
	for i := range drafts {
		for _, tok := range drafts[i].tokens {
			switch {
			case tok.Expired(now):
			case p.set.Check(tok):
				out.Previously++
			default:
				out.Invalidated++
			}
		}
	}
	return out, nil
}

// Query asks all agents what a revocation of target would hit, and waits for
// each expected one until ctx ends. It changes nothing. The error is ErrInvalid for
// a target that makes no sense, and ErrNotReady while the bus is away: nobody can
// be asked.
func (p *Publisher) Query(ctx context.Context, t Target) (*Answers, error) {
	drafts, err := p.draft(&t)
	if err != nil {
		return nil, err
	}
	return p.askAll(ctx, drafts, 0)
}

func (p *Publisher) askAll(ctx context.Context, drafts []draft, notBefore int64) (*Answers, error) {
	if !p.nc.IsConnected() {
		return nil, fmt.Errorf("%w: not connected to NATS", ErrNotReady)
	}
	out := &Answers{}
	hit := newTally(events.EventID{}, 0)
	for i := range drafts {
		if err := p.query(ctx, &drafts[i], notBefore, hit, out); err != nil {
			return nil, err
		}
	}
	o := hit.outcome(&view{}, false, 0)
	out.Invalidated, out.Previously, out.AtLeast = o.Invalidated, o.Previously, o.AtLeast
	slices.Sort(out.Silent)
	out.Silent = slices.Compact(out.Silent)
	return out, nil
}

func (p *Publisher) query(ctx context.Context, d *draft, notBefore int64, hit *tally, out *Answers) error {
	now := p.now()
	r := d.revocation(now, notBefore)
	q := &events.Query{ID: events.NewEventID(), SentAt: now.UnixMilli(), Target: r.Target, NotBefore: r.NotBefore,
		Expires: r.Expires, Origin: events.Origin{Publisher: p.id, Incarnation: *p.incarnation.Load(), Counter: 1}}
	raw, err := p.cfg.Signer.SignQuery(p.fleet, p.cfg.Issuer, q)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	waiting := map[string]string{}
	p.ask(func(l *loop) {
		for _, m := range l.roster.expected(l.mono()) {
			waiting[m.agent.ID] = m.agent.Name()
		}
	})
	out.Asked = max(out.Asked, len(waiting))
	hit.events[q.ID] = &tallied{}
	inbox := p.nc.NewInbox()
	sub, err := p.nc.SubscribeSync(inbox)
	if err == nil {
		defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed
		err = p.nc.PublishRequest(p.fleet.QuerySubject(), inbox, raw)
	}
	if err != nil {
		return fmt.Errorf("asking the agents: %w", err)
	}
	for len(waiting) > 0 {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			break
		}
		a, err := events.Decode[events.Answer](m.Data)
		if err != nil || a.Query != q.ID {
			continue
		}
		if _, asked := waiting[a.Agent.ID]; !asked {
			continue
		}
		delete(waiting, a.Agent.ID)
		a.Counted.Event, a.Counted.Replay = q.ID, false
		hit.count(a.Agent, &a.Counted)
		out.Untied = max(out.Untied, a.Untied)
		if a.Refresh != nil {
			out.Known, out.Refresh = true, a.Refresh
		}
	}
	for _, name := range waiting {
		out.Silent = append(out.Silent, name)
	}
	// Whoever is known and was not asked may know the token too.
	p.ask(func(l *loop) {
		for _, c := range l.roster.complaints(l.mono()) {
			if c.Type != events.AgentDuplicate {
				out.Silent = append(out.Silent, c.Agent)
			}
		}
	})
	return nil
}
