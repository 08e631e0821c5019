package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/subscriber"
)

// measurePropagation measures how long it takes from the moment at which a signed
// event is sent to the stream until the last agent refuses. Agents and all other
// receivers live in this process, each with a connection of its own, and the
// nats-server in its own; the agents keep no files, since hundreds of them on one
// disk would measure the disk. Refusing does not wait for the disk in any case.
//
// The limit is a stream whose messages the server republishes to receivers that
// verify the same signature: it has the store's fsync in it, as rescind has. The
// fan-outs without it stand beside.
func measurePropagation(ctx context.Context, c *Config) ([]Row, error) {
	all := []int{10, 100, propagationBound}
	var rows []Row
	for _, n := range pick(c, all, all, []int{3}) {
		r, err := propagationTo(ctx, c, n, pick(c, repeats{50, 2 * time.Minute}, repeats{20, 12 * time.Second}, repeats{times: 1}))
		if err != nil {
			return rows, fmt.Errorf("%d agents: %w", n, err)
		}
		rows = append(rows, *r)
	}
	return rows, nil
}

// propagationBound is the number of agents for which the targets hold.
const propagationBound = 500

// fanout is one way to tell n receivers. send begins one round and gives the time
// at which the message left.
type fanout struct {
	name string
	send func(ctx context.Context, round int) (time.Time, error)
	gate *gate
	took samples
}

// once sends to all and waits for the last.
func (f *fanout) once(ctx context.Context, round, n int) (time.Duration, error) {
	f.gate.arm(n)
	sent, err := f.send(ctx, round)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", f.name, err)
	}
	last, err := f.gate.wait(ctx)
	if err != nil {
		return 0, fmt.Errorf("%s: waiting for the last receiver: %w", f.name, err)
	}
	return last.Sub(sent), nil
}

// gate opens when as many have arrived as it was armed for.
type gate struct {
	missing atomic.Int64
	last    chan time.Time
}

func newGate() *gate { return &gate{last: make(chan time.Time, 1)} }

func (g *gate) arm(n int) { g.missing.Store(int64(n)) }

func (g *gate) arrived() {
	now := time.Now()
	if g.missing.Add(-1) == 0 {
		g.last <- now
	}
}

func (g *gate) wait(ctx context.Context) (time.Time, error) {
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	select {
	case at := <-g.last:
		return at, nil
	case <-timeout.C:
		return time.Time{}, fmt.Errorf("%d have not got it", g.missing.Load())
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
}

// stamp notes when the first message to a subject leaves a connection: the only
// place where the time of publishing shows from outside.
type stamp struct {
	mark atomic.Pointer[[]byte]
	at   atomic.Pointer[time.Time]
}

// watch begins to look for the subject.
func (s *stamp) watch(subject string) {
	mark := []byte("PUB " + subject + " ")
	s.at.Store(nil)
	s.mark.Store(&mark)
}

// taken is when it left.
func (s *stamp) taken() (time.Time, error) {
	if at := s.at.Load(); at != nil {
		return *at, nil
	}
	return time.Time{}, errors.New("the message never left")
}

// Dial makes it a nats.CustomDialer.
func (s *stamp) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return stampedConn{conn, s}, err
}

type stampedConn struct {
	net.Conn
	s *stamp
}

func (c stampedConn) Write(b []byte) (int, error) {
	if mark := c.s.mark.Load(); mark != nil && c.s.at.Load() == nil && bytes.Contains(b, *mark) {
		now := time.Now()
		c.s.at.Store(&now)
	}
	return c.Conn.Write(b)
}

// agentsFanout is rescind: a publisher and its agents.
type agentsFanout struct {
	fanout
	dev    *realm.Dev
	pub    *publisher.Publisher
	agents []*subscriber.Agent
	stamp  stamp
	// token is the one that the round at hand revokes.
	token atomic.Pointer[victim]
	// fault is the first thing that an agent did wrong.
	fault atomic.Pointer[error]
	// untilSent and untilReported are how long after the call the event left, and
	// all agents had reported.
	untilSent, untilReported samples
}

type victim struct {
	user  string
	token *events.Token
}

func openAgentsFanout(ctx context.Context, s *site, n int) (*agentsFanout, error) {
	f := &agentsFanout{fanout: fanout{name: "rescind", gate: newGate()}, dev: s.dev}
	f.send = f.revoke
	var err error
	if f.pub, err = s.openPublisher(ctx, nats.SetCustomDialer(&f.stamp)); err != nil {
		return nil, err
	}
	if f.agents, err = s.openAgents(ctx, n, false); err != nil {
		return nil, err
	}
	for _, a := range f.agents {
		go f.follow(a, a.Watch()) // ends with the agent
	}
	return f, awaitFleet(ctx, f.pub, f.agents)
}

// follow notes when the agent refuses the token of the round.
func (f *agentsFanout) follow(a *subscriber.Agent, w *subscriber.Watch) {
	for r := range w.C {
		v := f.token.Load()
		if r.Target.Value != v.user {
			continue
		}
		if err := a.Check(v.token); !errors.Is(err, subscriber.ErrRevoked) {
			err = fmt.Errorf("checking after the revocation: %w", err)
			f.fault.CompareAndSwap(nil, &err)
		}
		f.gate.arrived()
	}
}

// revoke revokes a user. It returns when all agents have reported, so that the
// reports do not burden the next measurement.
func (f *agentsFanout) revoke(ctx context.Context, round int) (time.Time, error) {
	v, err := f.victim(round)
	if err != nil {
		return time.Time{}, err
	}
	f.stamp.watch(events.DefaultFleet.EventSubject(events.Control))
	called := time.Now()
	res, err := f.pub.Revoke(ctx, publisher.Order{Target: publisher.Target{Kind: events.KindUser, Realm: "demo", Value: v.user},
		Caller: "bench", Door: "bench", Initiator: events.ByAdmin, Wait: publisher.WaitAll, Timeout: 20 * time.Second})
	if err != nil {
		return time.Time{}, fmt.Errorf("revoking: %w", err)
	}
	f.untilReported = append(f.untilReported, milliseconds(time.Since(called)))
	if len(res.Applied) < len(f.agents) {
		return time.Time{}, fmt.Errorf("%d of %d agents have reported", len(res.Applied), len(f.agents))
	}
	if fault := f.fault.Load(); fault != nil {
		return time.Time{}, *fault
	}
	sent, err := f.stamp.taken()
	f.untilSent = append(f.untilSent, milliseconds(sent.Sub(called)))
	return sent, err
}

// victim makes a token that no agent refuses yet.
func (f *agentsFanout) victim(round int) (*victim, error) {
	v := &victim{user: fmt.Sprintf("user-%d", round)}
	raw, err := f.dev.Issue(realm.TokenRequest{User: v.user})
	if err != nil {
		return nil, err
	}
	if v.token, err = events.ParseToken(raw); err != nil {
		return nil, err
	}
	for _, a := range f.agents {
		if err := a.Check(v.token); err != nil {
			return nil, fmt.Errorf("checking before the revocation: %w", err)
		}
	}
	f.token.Store(v)
	return v, nil
}

// signature is a signed event, taken apart as a verifier needs it.
type signature struct {
	signed, sig []byte
}

func splitSignature(raw []byte) (signature, error) {
	dot := bytes.LastIndexByte(raw, '.')
	if dot < 0 {
		return signature{}, errors.New("not a JWS")
	}
	sig, err := base64.RawURLEncoding.AppendDecode(nil, raw[dot+1:])
	return signature{raw[:dot], sig}, err
}

// verifies tells whether the event was signed with the key: no more than the
// signature is looked at.
func verifies(key ed25519.PublicKey, raw []byte) bool {
	s, err := splitSignature(raw)
	return err == nil && ed25519.Verify(key, s.signed, s.sig)
}

func propagationTo(ctx context.Context, c *Config, n int, repeat repeats) (row *Row, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	s, err := openSite(ctx, c, syncAlways)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := s.apply(ctx, events.DefaultFleet); err != nil {
		return nil, err
	}
	agents, err := openAgentsFanout(ctx, s, n)
	if err != nil {
		return nil, err
	}
	payload, err := agents.eventBytes(ctx, s)
	if err != nil {
		return nil, err
	}
	peers, err := openPeers(ctx, s, n, payload)
	if err != nil {
		return nil, err
	}
	all := append([]*fanout{&agents.fanout}, peers...)
	round := 0
	tellAll := func() error {
		round++
		for _, f := range all {
			took, err := f.once(ctx, round, n)
			if err != nil {
				return err
			}
			f.took = append(f.took, milliseconds(took))
		}
		return nil
	}
	if err := (repeats{2, time.Minute}).do(tellAll); err != nil {
		return nil, fmt.Errorf("warming up: %w", err)
	}
	for _, f := range all {
		f.took = nil
	}
	agents.untilSent, agents.untilReported = nil, nil
	if err := repeat.do(tellAll); err != nil {
		return nil, err
	}
	c.logf("  %d agents done", n)
	return propagationRow(n, agents, peers), nil
}

// eventBytes revokes a user and gives the event as it went over the wire.
func (f *agentsFanout) eventBytes(ctx context.Context, s *site) ([]byte, error) {
	nc, err := s.connect()
	if err != nil {
		return nil, err
	}
	sub, err := nc.SubscribeSync(events.DefaultFleet.LiveSubject(events.Control))
	if err != nil {
		return nil, err
	}
	if err := nc.FlushWithContext(ctx); err != nil {
		return nil, err
	}
	if _, err := f.once(ctx, 0, len(f.agents)); err != nil {
		return nil, err
	}
	m, err := sub.NextMsgWithContext(ctx)
	if err != nil {
		return nil, err
	}
	return m.Data, sub.Unsubscribe()
}

// limitOfPropagation is the comparable fan-out.
const limitOfPropagation = "republish_verify"

func propagationRow(n int, agents *agentsFanout, peers []*fanout) *Row {
	median := agents.took.median()
	r := &Row{Row: "propagation", Case: "publish to the last refusal", N: n, Rescind: median, Unit: "ms", LimitName: limitOfPropagation,
		Peers: map[string]float64{}, Of: limitOfPropagation, Detail: map[string]float64{"p99": agents.took.p99(),
			"call_to_publish": agents.untilSent.median(), "call_to_all_reported": agents.untilReported.median(),
			"rounds": float64(len(agents.took))}}
	for _, f := range peers {
		r.Detail["p99_"+f.name] = f.took.p99()
		if f.name == limitOfPropagation {
			r.Limit, r.Ratio = f.took.median(), median/f.took.median()
			continue
		}
		r.Peers[f.name] = f.took.median()
		r.Detail["ratio_to_"+f.name] = median / f.took.median()
	}
	// Above 1, no receiver that verifies can be ahead of watchers that do not.
	r.Detail["limit_to_kv_watch"] = r.Limit / r.Peers["kv_watch"]
	if n >= propagationBound {
		r.Must, r.Target = AtMost, 1.3
		r.Also = map[string]Bound{"ratio_to_kv_watch": {AtMost, 1}}
	}
	return r
}
