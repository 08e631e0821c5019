package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.etcd.io/bbolt"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/publisher/intake"
)

// measureAccept measures how long a caller of the native API waits for the answer
// to one revocation of one user, and how many of them are answered in a second.
// The publisher and its HTTP server run in this process, the nats-server, which
// syncs at every write, in its own; one agent in memory follows.
//
// An answer stands for a write to the ledger's disk and one to the stream's, one
// after the other, so the limit of one caller is a loop that does just these two
// with as many bytes. Many callers share writes: there the limit is the slower of
// the two, each alone. Receipts are written after the answers; how long that takes
// once the callers have stopped stands beside the throughput.
func measureAccept(ctx context.Context, c *Config) ([]Row, error) {
	all := []int{1, 16, acceptBound}
	return acceptBy(ctx, c, pick(c, all, all, []int{1, 3}), pick(c, 10, 3, 1),
		pick(c, 500*time.Millisecond, 400*time.Millisecond, 20*time.Millisecond))
}

// acceptBound is the number of callers for which the target of the throughput
// holds.
const acceptBound = 64

// operation is one thing that callers do again and again.
type operation struct {
	name string
	// do is called by many at once.
	do func(ctx context.Context) error
	// settled returns once what it set going has ended, so that it does not burden
	// what is measured next. nil when do leaves nothing behind.
	settled func(ctx context.Context) error
	// rates are those of the rounds, in operations a second; took are the times of
	// the operations, and after those until it was settled, in milliseconds.
	rates, took, after samples
}

// round lets callers repeat the operation for a while.
func (o *operation) round(ctx context.Context, callers int, d time.Duration) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var took samples
	var errs []error
	begin := time.Now()
	for range callers {
		wg.Go(func() {
			mine, err := o.repeat(ctx, begin.Add(d))
			mu.Lock()
			defer mu.Unlock()
			took, errs = append(took, mine...), append(errs, err)
		})
	}
	wg.Wait()
	o.rates = append(o.rates, perSecond(len(took), time.Since(begin)))
	o.took = append(o.took, took...)
	if o.settled != nil {
		begin = time.Now()
		errs = append(errs, o.settled(ctx))
		o.after = append(o.after, milliseconds(time.Since(begin)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", o.name, err)
	}
	return nil
}

func (o *operation) repeat(ctx context.Context, until time.Time) (took samples, err error) {
	for now := time.Now(); now.Before(until); {
		if err := o.do(ctx); err != nil {
			return took, err
		}
		end := time.Now()
		took = append(took, milliseconds(end.Sub(now)))
		now = end
	}
	return took, nil
}

// acceptRig is a publisher behind its HTTP server, with the writes that its
// answers stand for beside.
type acceptRig struct {
	*site
	bus     *bus.Bus
	url     string
	key     string
	client  *http.Client
	js      jetstream.JetStream
	db      *bbolt.DB
	payload []byte
	users   atomic.Int64
	records atomic.Uint64
}

func openAcceptRig(ctx context.Context, c *Config, callers int) (*acceptRig, error) {
	g := &acceptRig{}
	return g, openRig(ctx, c, func(s *site, b *bus.Bus) error {
		g.site, g.bus = s, b
		return g.open(ctx, callers)
	})
}

func (g *acceptRig) open(ctx context.Context, callers int) error {
	p, err := g.openPublisher(ctx)
	if err != nil {
		return err
	}
	key, sum := intake.NewAPIKey()
	auth, err := intake.NewAuthenticator(intake.AuthConfig{APIKeys: []intake.APIKeyConfig{{ID: "bench", SHA256: sum}},
		AdminKeySHA256: [32]byte{1}, Realms: g.realms, Revoked: p.Revoked})
	if err != nil {
		return err
	}
	handler, err := intake.New(intake.Config{Publisher: p, Authenticator: auth, Realms: g.realms,
		Limits: intake.Limits{Default: intake.Unlimited}})
	if err != nil {
		return err
	}
	g.key = key
	if err := g.serve(handler, callers); err != nil {
		return err
	}
	agents, err := g.openAgents(ctx, 1, false)
	if err != nil {
		return err
	}
	if err := awaitFleet(ctx, p, agents); err != nil {
		return err
	}
	return g.openPeers(ctx)
}

// serve serves on loopback, and makes a client that keeps a connection open for
// each caller.
func (g *acceptRig) serve(h http.Handler, callers int) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	g.undo = append(g.undo, func() error {
		err := srv.Close()
		<-done
		return err
	})
	transport := &http.Transport{MaxIdleConnsPerHost: callers}
	g.undo = append(g.undo, func() error { transport.CloseIdleConnections(); return nil })
	g.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	g.url = "http://" + l.Addr().String() + "/v1/revocations"
	return nil
}

// openPeers opens a stream and a file of their own, and takes the bytes of an
// event from the stream of the fleet.
func (g *acceptRig) openPeers(ctx context.Context) error {
	nc, err := g.connect()
	if err != nil {
		return err
	}
	if g.js, err = jetstream.New(nc); err != nil {
		return err
	}
	if _, err := g.js.CreateStream(ctx, jetstream.StreamConfig{Name: "BENCH", Subjects: []string{storedSubject}}); err != nil {
		return fmt.Errorf("making a stream: %w", err)
	}
	if g.db, err = openPeerStore(filepath.Join(g.dir, "peer.db")); err != nil {
		return err
	}
	g.undo = append(g.undo, g.db.Close)
	if err := g.post("none")(ctx); err != nil {
		return err
	}
	batch, err := g.bus.Read(ctx, events.Control, 0, 1, 0)
	if err != nil || len(batch.Messages) == 0 {
		return fmt.Errorf("reading an event: %w", err)
	}
	g.payload = batch.Messages[0].Data
	return nil
}

var peerBucket = []byte("bench")

// post revokes a user that was never revoked before.
func (g *acceptRig) post(wait string) func(context.Context) error {
	return func(ctx context.Context) error {
		body := fmt.Sprintf(`{"user":"user-%d","realm":"demo","reason":"bench"}`, g.users.Add(1))
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+"?wait="+wait, strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+g.key)
		req.Header.Set("Content-Type", "application/json")
		res, err := g.client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err == nil && res.StatusCode != http.StatusCreated {
			err = fmt.Errorf("answer %d: %s", res.StatusCode, answer)
		}
		return err
	}
}

// receipted waits until every order has its receipt.
func (g *acceptRig) receipted(ctx context.Context) error {
	return awaitReceipts(ctx, g.bus, int(g.users.Load()))
}

func (g *acceptRig) publish(ctx context.Context) error {
	_, err := g.js.Publish(ctx, storedSubject, g.payload)
	return err
}

// store gives a write of the payload by one caller, or one that callers share.
func (g *acceptRig) store(write func(func(*bbolt.Tx) error) error) func(context.Context) error {
	return func(context.Context) error {
		key := binary.BigEndian.AppendUint64(nil, g.records.Add(1))
		return write(func(tx *bbolt.Tx) error { return tx.Bucket(peerBucket).Put(key, g.payload) })
	}
}

// operations are rescind and what stands beside it, for so many callers.
func (g *acceptRig) operations(callers int) map[string]*operation {
	store := g.store(g.db.Batch)
	if callers == 1 {
		store = g.store(g.db.Update)
	}
	all := map[string]*operation{}
	for _, o := range []*operation{
		{name: "rescind", do: g.post("none"), settled: g.receipted},
		{name: "jetstream_sync", do: g.publish},
		{name: "bbolt_sync", do: store},
		{name: bothWrites, do: func(ctx context.Context) error { return errors.Join(store(ctx), g.publish(ctx)) }},
	} {
		all[o.name] = o
	}
	if callers == 1 {
		all["wait_all"] = &operation{name: "wait_all", do: g.post("all"), settled: g.receipted}
	}
	return all
}

// bothWrites is the limit of one caller.
const bothWrites = "bbolt_then_jetstream"

func acceptBy(ctx context.Context, c *Config, callers []int, rounds int, slice time.Duration) (rows []Row, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	g, err := openAcceptRig(ctx, c, callers[len(callers)-1])
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	for _, n := range callers {
		ops := g.operations(n)
		for i := range 1 + rounds {
			if i == 1 { // the first round was for warming up
				for _, o := range ops {
					o.rates, o.took, o.after = nil, nil, nil
				}
			}
			for _, name := range []string{"rescind", bothWrites, "wait_all", "jetstream_sync", "bbolt_sync"} {
				if ops[name] == nil {
					continue
				}
				if err := ops[name].round(ctx, n, slice); err != nil {
					return nil, fmt.Errorf("%d callers: %w", n, err)
				}
			}
		}
		rows = append(rows, latencyRow(n, ops), throughputRow(n, ops))
		if ops["wait_all"] != nil {
			rows = append(rows, waitAllRow(n, ops))
		}
		c.logf("  %d callers done", n)
	}
	return rows, nil
}

// latencyRow compares the times of one answer.
func latencyRow(callers int, ops map[string]*operation) Row {
	own, limit := ops["rescind"].took, ops[bothWrites].took
	r := Row{Row: "accept", Case: "latency", N: callers, Rescind: own.median(), Unit: "ms",
		Limit: limit.median(), LimitName: bothWrites, Ratio: own.median() / limit.median(), Of: bothWrites,
		Peers: map[string]float64{}, Detail: map[string]float64{"p99": own.p99(), "p99_" + bothWrites: limit.p99()}}
	for _, name := range []string{"jetstream_sync", "bbolt_sync"} {
		r.Peers[name], r.Detail["p99_"+name] = ops[name].took.median(), ops[name].took.p99()
	}
	if callers == 1 {
		r.Must, r.Target = AtMost, 1.3
	}
	return r
}

// waitAllRow shows what an answer costs that waits for the agent's report.
func waitAllRow(callers int, ops map[string]*operation) Row {
	own, limit := ops["wait_all"].took, ops[bothWrites].took
	return Row{Row: "accept", Case: "latency with wait=all", N: callers, Rescind: own.median(), Unit: "ms",
		Limit: limit.median(), LimitName: bothWrites, Ratio: own.median() / limit.median(), Of: bothWrites,
		Detail: map[string]float64{"p99": own.p99(), "requests_per_second": ops["wait_all"].rates.median()}}
}

// throughputRow compares with the slower of the two writes.
func throughputRow(callers int, ops map[string]*operation) Row {
	own := ops["rescind"].rates.median()
	r := Row{Row: "accept", Case: "throughput", N: callers, Rescind: own, Unit: "requests/s",
		Peers: map[string]float64{}, Detail: map[string]float64{"p99_ms": ops["rescind"].took.p99(),
			"receipts_after_ms": ops["rescind"].after.median()}}
	for _, name := range []string{"jetstream_sync", "bbolt_sync"} {
		rate := ops[name].rates.median()
		r.Peers[name], r.Detail["p99_ms_"+name] = rate, ops[name].took.p99()
		if r.LimitName == "" || rate < r.Limit {
			r.Limit, r.LimitName = rate, name
		}
	}
	r.Ratio, r.Of = own/r.Limit, r.LimitName
	if callers >= acceptBound {
		r.Must, r.Target = AtLeast, 0.7
	}
	return r
}
