package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/subscriber"
)

// freshIdentities makes identities that no token had before.
func freshIdentities(n int) []events.Identity {
	ids := make([]events.Identity, n)
	for i := range ids {
		rand.Read(ids[i][:]) // never fails
	}
	return ids
}

// listEvents are the events that list the identities.
func listEvents(fleet events.Fleet, ids []events.Identity) []events.Revocation {
	var out []events.Revocation
	for chunk := range slices.Chunk(ids, perList) {
		out = append(out, stockEvent(fleet, events.Target{Kind: events.KindTokens, Identities: chunk}, len(out)))
	}
	return out
}

// stockEvent is the i-th event of a publisher, from 0.
func stockEvent(fleet events.Fleet, target events.Target, i int) events.Revocation {
	now := time.Now().Unix()
	r := events.Revocation{ID: events.NewEventID(), Txn: events.NewEventID(), Issuer: siteURL, Fleet: fleet, IssuedAt: now,
		Target: target, Expires: now + 24*3600, Initiator: events.ByAdmin,
		Origin: events.Origin{Publisher: "bench", Incarnation: stockIncarnation, Counter: uint64(i) + 1}}
	if target.Kind.HasCutoff() {
		r.NotBefore = now + 1
	}
	return r
}

// stockIncarnation is that of all events which no publisher of the bench made.
var stockIncarnation = events.NewEventID()

// signAll signs on all cores.
func signAll(s *events.Signer, revocations []events.Revocation) ([][]byte, error) {
	raws := make([][]byte, len(revocations))
	errs := make([]error, len(revocations))
	onAllCores(len(raws), func(i int) { raws[i], errs[i] = s.Sign(&revocations[i]) })
	return raws, errors.Join(errs...)
}

// onAllCores calls fn with 0 to n-1.
func onAllCores(n int, fn func(i int)) {
	cores := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for core := range cores {
		wg.Go(func() {
			for i := core; i < n; i += cores {
				fn(i)
			}
		})
	}
	wg.Wait()
}

// patient makes an asynchronous publish wait while the window is full.
var patient = jetstream.WithStallWait(time.Minute)

// awaitAcks waits until the stream has acknowledged all.
func awaitAcks(ctx context.Context, acks []jetstream.PubAckFuture) error {
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return fmt.Errorf("publishing: %w", err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func openPeerStore(path string) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(peerBucket)
		return err
	})
	return db, err
}

// positions hears how far agents have come durably: from their reports, which they
// send as soon as the disk has it.
type positions struct {
	mu sync.Mutex
	// at is by instance.
	at   map[string]map[events.Stream]uint64
	wake chan struct{}
}

// hearPositions begins to listen to the agents of a fleet.
func (s *site) hearPositions(fleet events.Fleet) (*positions, error) {
	nc, err := s.connect()
	if err != nil {
		return nil, err
	}
	p := &positions{at: map[string]map[events.Stream]uint64{}, wake: make(chan struct{}, 1)}
	_, err = nc.Subscribe(fleet.ReportSubject("*"), func(m *nats.Msg) {
		if r, err := events.Decode[events.Report](m.Data); err == nil {
			p.heard(r.Agent, r.Positions)
		}
	})
	if err != nil {
		return nil, err
	}
	return p, nc.Flush()
}

func (p *positions) heard(who events.Agent, at map[events.Stream]events.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at[who.Instance] == nil {
		p.at[who.Instance] = map[events.Stream]uint64{}
	}
	for s, pos := range at {
		p.at[who.Instance][s] = pos.Seq
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// await waits until n agents have reached the sequence.
func (p *positions) await(ctx context.Context, s events.Stream, n int, seq uint64) error {
	for {
		there := p.reached(s, seq)
		if there >= n {
			return nil
		}
		select {
		case <-p.wake:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the agents' disks: %d of %d: %w", there, n, context.Cause(ctx))
		}
	}
}

func (p *positions) reached(s events.Stream, seq uint64) (agents int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.at {
		if at[s] >= seq {
			agents++
		}
	}
	return agents
}

// forget forgets the agents that reported so far.
func (p *positions) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.at)
}

// awaitReceipts waits until the audit stream has the events and the receipts of so
// many orders of one event each.
func awaitReceipts(ctx context.Context, b *bus.Bus, orders int) error {
	var failed error
	err := await(ctx, time.Minute, "all receipts", func() bool {
		info, err := b.Info(ctx, events.Audit)
		failed = err
		return err == nil && info.Msgs >= 2*uint64(orders)
	})
	return errors.Join(err, failed)
}

// prefilled measures each size on one site, whose streams are filled before and do
// not sync each write.
func prefilled(ctx context.Context, c *Config, sizes []int, r repeats,
	measure func(*site, context.Context, int, repeats) ([]Row, error)) (rows []Row, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	s, err := openSite(ctx, c, syncLater)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, n := range sizes {
		some, err := measure(s, ctx, n, r)
		if err != nil {
			return nil, fmt.Errorf("%d of them: %w", n, err)
		}
		rows = append(rows, some...)
		c.logf("  %d done", n)
	}
	return rows, nil
}

// filled is a stream that holds signed events before anybody reads it. No publisher
// runs: the bench sends the beacons itself, so that only the agent works.
type filled struct {
	*site
	fleet  events.Fleet
	stream events.Stream
	bus    *bus.Bus
	raws   [][]byte
	last   uint64
	heard  *positions
	js     jetstream.JetStream
	beacon uint64
}

// fill makes the streams of a fleet and puts the events into one of them.
func (s *site) fill(ctx context.Context, fleet events.Fleet, stream events.Stream, revocations []events.Revocation) (*filled, error) {
	b, err := s.apply(ctx, fleet)
	if err != nil {
		return nil, err
	}
	k := &filled{site: s, fleet: fleet, stream: stream, bus: b}
	if k.raws, err = signAll(s.signer, revocations); err != nil {
		return nil, err
	}
	if k.js, err = jetstream.New(b.Conn(), jetstream.WithPublishAsyncMaxPending(publishWindow)); err != nil {
		return nil, err
	}
	acks := make([]jetstream.PubAckFuture, len(k.raws))
	for i, raw := range k.raws {
		if acks[i], err = k.js.PublishAsync(fleet.EventSubject(stream), raw, patient); err != nil {
			return nil, fmt.Errorf("filling the stream: %w", err)
		}
	}
	if err := awaitAcks(ctx, acks); err != nil {
		return nil, err
	}
	info, err := b.Info(ctx, stream)
	if err != nil {
		return nil, err
	}
	k.last = info.Last
	k.heard, err = s.hearPositions(fleet)
	return k, err
}

// tell sends a beacon that covers all there is.
func (k *filled) tell(ctx context.Context) error {
	k.beacon++
	b := &events.Beacon{SentAt: time.Now().UnixMilli(), Streams: map[events.Stream]events.Watermark{},
		Origin: events.Origin{Publisher: "bench", Incarnation: stockIncarnation, Counter: k.beacon}}
	for _, s := range events.EventStreams {
		info, err := k.bus.Info(ctx, s)
		if err != nil {
			return err
		}
		b.Streams[s] = events.Watermark{Epoch: info.Epoch, First: info.First, Last: info.Last}
	}
	raw, err := k.signer.SignBeacon(k.fleet, siteURL, b)
	if err != nil {
		return err
	}
	return errors.Join(k.bus.Conn().Publish(k.fleet.BeaconSubject(), raw), k.bus.Conn().FlushWithContext(ctx))
}

// caughtUp is how long a new agent took from its opening.
type caughtUp struct {
	// synced is when it held everything in memory, durable when its disk did: 0
	// without a directory.
	synced, durable time.Duration
}

// read opens a new agent, with files in dir unless it is "", and waits until it
// has read the stock. It then closes it. holds are tokens that it must refuse.
func (k *filled) read(ctx context.Context, dir string, holds ...*events.Token) (took caughtUp, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	nc, err := nats.Connect(k.url)
	if err != nil {
		return took, err
	}
	defer nc.Close()
	k.heard.forget()
	begin := time.Now()
	a, err := subscriber.Open(ctx, nc, subscriber.Config{Fleet: k.fleet, Service: "bench", Instance: "reader", Dir: dir, Keys: k.keys})
	if err != nil {
		return took, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if err := nc.FlushWithContext(ctx); err != nil {
		return took, err
	}
	group, beacons := errgroup.WithContext(ctx)
	beacons, stop := context.WithCancel(beacons)
	group.Go(func() error { return k.tellUntil(beacons) })
	defer func() { stop(); err = errors.Join(err, group.Wait()) }()
	select {
	case <-a.Synced():
		took.synced = time.Since(begin)
	case <-beacons.Done():
		return took, fmt.Errorf("waiting for the agent: %w", context.Cause(beacons))
	}
	if dir != "" {
		if err := k.heard.await(ctx, k.stream, 1, k.last); err != nil {
			return took, err
		}
		took.durable = time.Since(begin)
	}
	return took, k.check(ctx, a, holds)
}

// check tells whether the agent is what was waited for: fresh, and refusing.
func (k *filled) check(ctx context.Context, a *subscriber.Agent, holds []*events.Token) error {
	for _, t := range holds {
		if err := a.Check(t); !errors.Is(err, subscriber.ErrRevoked) {
			return fmt.Errorf("a revoked token is not refused: %w", err)
		}
	}
	return await(ctx, time.Minute, "a fresh agent", func() bool { return a.Status().State == events.Fresh })
}

// tellUntil sends a beacon at once and then each second, as a publisher does.
func (k *filled) tellUntil(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := k.tell(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("sending a beacon: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
