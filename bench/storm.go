package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/publisher"
)

// measureStorm measures how fast a mass sign-out comes into force: orders of 10,000
// tokens, which become ten events, are given to the publisher by a few callers,
// until every agent has reported that all are on its disk. The publisher and the
// agents live in this process, the nats-server in its own; every agent has a file of
// its own, all on one disk.
//
// The limit is the slower of two things done with the same bytes: publishing the
// same signed events to a stream that syncs at every write, and writing what an
// agent keeps of them (32 bytes a token) to one bbolt file for each agent.
func measureStorm(ctx context.Context, c *Config) ([]Row, error) {
	sizes := pick(c, []int{100_000, 300_000, 1_000_000}, []int{50_000, 100_000, 200_000}, []int{2 * perList})
	ten := pick(c, 1_000_000, 100_000, perList)
	r := pick(c, repeats{3, 2 * time.Minute}, repeats{3, 10 * time.Second}, repeats{times: 1})
	one, err := stormOver(ctx, c, 1, sizes, r)
	if err != nil {
		return nil, fmt.Errorf("one agent: %w", err)
	}
	more, err := stormOver(ctx, c, 10, []int{ten}, r)
	if err != nil {
		return one, fmt.Errorf("ten agents: %w", err)
	}
	return append(one, more...), nil
}

const (
	// perList is how many tokens one event lists.
	perList = events.MaxIdentities
	// perOrder is how many events an order becomes.
	perOrder = 10
	// stormCallers is how many give orders to the publisher at a time.
	stormCallers = 8
	// publishWindow is how many publishes to a stream wait for their
	// acknowledgement at a time.
	publishWindow = 256
	// stormBatch is how many lists share a transaction of the bbolt peer at most:
	// as many as an agent reads at a time.
	stormBatch = 64
)

// stormRig is a fleet whose agents have files, with the peers beside.
type stormRig struct {
	*site
	bus       *bus.Bus
	pub       *publisher.Publisher
	agents    int
	positions *positions
	js        jetstream.JetStream
	stores    []*bbolt.DB
	orders    int
	records   uint64
}

func openStormRig(ctx context.Context, c *Config, agents int) (*stormRig, error) {
	g := &stormRig{agents: agents}
	return g, openRig(ctx, c, func(s *site, b *bus.Bus) error {
		g.site, g.bus = s, b
		return g.open(ctx)
	})
}

func (g *stormRig) open(ctx context.Context) (err error) {
	if g.pub, err = g.openPublisher(ctx); err != nil {
		return err
	}
	if g.positions, err = g.hearPositions(events.DefaultFleet); err != nil {
		return err
	}
	all, err := g.openAgents(ctx, g.agents, true)
	if err != nil {
		return err
	}
	if err := awaitFleet(ctx, g.pub, all); err != nil {
		return err
	}
	return g.openPeers(ctx)
}

func (g *stormRig) openPeers(ctx context.Context) error {
	nc, err := g.connect()
	if err != nil {
		return err
	}
	if g.js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(publishWindow)); err != nil {
		return err
	}
	if _, err := g.js.CreateStream(ctx, jetstream.StreamConfig{Name: "BENCH", Subjects: []string{storedSubject}}); err != nil {
		return fmt.Errorf("making a stream: %w", err)
	}
	for i := range g.agents {
		db, err := openPeerStore(filepath.Join(g.dir, fmt.Sprintf("peer-%d.db", i)))
		if err != nil {
			return err
		}
		g.undo = append(g.undo, db.Close)
		g.stores = append(g.stores, db)
	}
	return nil
}

// list is one event's worth of tokens, as the publisher takes them and as the
// peers do.
type list struct {
	tokens []publisher.Token
	raw    []byte
	packed []byte
}

// lists makes n tokens that nothing has revoked.
func (g *stormRig) lists(n int) ([]list, error) {
	ids := freshIdentities(n)
	raws, err := signAll(g.signer, listEvents(events.DefaultFleet, ids))
	if err != nil {
		return nil, err
	}
	var out []list
	for chunk := range slices.Chunk(ids, perList) {
		l := list{raw: raws[len(out)]}
		for i := range chunk {
			l.tokens = append(l.tokens, publisher.Token{Realm: "demo",
				Token: &events.Token{Identity: chunk[i], Expires: time.Now().Add(time.Hour).Unix()}})
			l.packed = append(l.packed, chunk[i][:]...)
		}
		out = append(out, l)
	}
	return out, nil
}

// revoke gives all lists to the publisher and waits until every agent has them on
// its disk. It gives the time for both.
func (g *stormRig) revoke(ctx context.Context, lists []list) (time.Duration, error) {
	var mu sync.Mutex
	var last uint64
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(stormCallers)
	begin := time.Now()
	for some := range slices.Chunk(lists, perOrder) {
		g.orders++
		group.Go(func() error {
			var tokens []publisher.Token
			for _, l := range some {
				tokens = append(tokens, l.tokens...)
			}
			res, err := g.pub.Revoke(groupCtx, publisher.Order{Target: publisher.Target{Kind: events.KindTokens, Tokens: tokens},
				Caller: "bench", Door: "bench", Initiator: events.ByAdmin, Wait: publisher.WaitNone, Timeout: time.Second})
			if err != nil {
				return fmt.Errorf("revoking: %w", err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, e := range res.Events {
				last = max(last, e.Seq)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	if err := g.positions.await(ctx, events.Tokens, g.agents, last); err != nil {
		return 0, err
	}
	return time.Since(begin), nil
}

// publish sends the signed events to a stream of their own.
func (g *stormRig) publish(ctx context.Context, lists []list) (time.Duration, error) {
	begin := time.Now()
	acks := make([]jetstream.PubAckFuture, len(lists))
	var err error
	for i, l := range lists {
		if acks[i], err = g.js.PublishAsync(storedSubject, l.raw, patient); err != nil {
			return 0, fmt.Errorf("publishing: %w", err)
		}
	}
	err = awaitAcks(ctx, acks)
	return time.Since(begin), err
}

// store writes what an agent keeps to every peer store: each takes what has queued
// up into one transaction.
func (g *stormRig) store(ctx context.Context, lists []list) (time.Duration, error) {
	begin := time.Now()
	var group errgroup.Group
	first := g.records
	g.records += uint64(len(lists))
	for _, db := range g.stores {
		group.Go(func() error {
			key := first
			for batch := range slices.Chunk(lists, stormBatch) {
				if err := ctx.Err(); err != nil {
					return context.Cause(ctx)
				}
				if err := db.Update(func(tx *bbolt.Tx) error {
					for _, l := range batch {
						key++
						if err := tx.Bucket(peerBucket).Put(binary.BigEndian.AppendUint64(nil, key), l.packed); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					return fmt.Errorf("writing: %w", err)
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return time.Since(begin), err
}

// stormRates are identities a second, by what was measured.
type stormRates map[string]samples

func stormOver(ctx context.Context, c *Config, agents int, sizes []int, repeat repeats) (rows []Row, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	g, err := openStormRig(ctx, c, agents)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err := g.round(ctx, 5*perList, stormRates{}); err != nil {
		return nil, fmt.Errorf("warming up: %w", err)
	}
	for _, n := range sizes {
		rates := stormRates{}
		if err := repeat.do(func() error { return g.round(ctx, n, rates) }); err != nil {
			return nil, fmt.Errorf("%d tokens: %w", n, err)
		}
		rows = append(rows, stormRow(n, agents, rates))
		c.logf("  %d tokens over %d agents done", n, agents)
	}
	return rows, nil
}

func (g *stormRig) round(ctx context.Context, n int, rates stormRates) error {
	lists, err := g.lists(n)
	if err != nil {
		return err
	}
	for _, m := range []struct {
		name string
		do   func(context.Context, []list) (time.Duration, error)
	}{{"jetstream_sync", g.publish}, {"rescind", g.revoke}, {"bbolt_sync", g.store}} {
		took, err := m.do(ctx, lists)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		rates[m.name] = append(rates[m.name], perSecond(n, took))
		// The receipts are written afterwards; they must not burden what comes next.
		if err := awaitReceipts(ctx, g.bus, g.orders); err != nil {
			return err
		}
	}
	return nil
}

func stormRow(n, agents int, rates stormRates) Row {
	r := Row{Row: "storm", Case: fmt.Sprintf("%d agents", agents), N: n, Rescind: rates["rescind"].median(), Unit: "identities/s",
		Peers: map[string]float64{}, Must: AtLeast, Target: 0.7, Detail: map[string]float64{"rounds": float64(len(rates["rescind"]))}}
	if agents == 1 {
		r.Case = "1 agent"
	}
	for _, name := range []string{"jetstream_sync", "bbolt_sync"} {
		rate := rates[name].median()
		r.Peers[name] = rate
		if r.LimitName == "" || rate < r.Limit {
			r.Limit, r.LimitName = rate, name
		}
	}
	r.Ratio, r.Of = r.Rescind/r.Limit, r.LimitName
	return r
}
