package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The subjects of the peers.
const (
	rawSubject       = "bench.raw"
	verifySubject    = "bench.verify"
	storedSubject    = "bench.stored"
	republishSubject = "bench.republished"
)

// peers are the other ways to tell n receivers, all with the same bytes. Those on
// NATS share one connection for each receiver: only one of them is measured at a
// time.
type peers struct {
	n       int
	payload []byte
	key     ed25519.PublicKey
	conns   []*nats.Conn
	sender  *nats.Conn
	js      jetstream.JetStream
	stamp   stamp
}

func openPeers(ctx context.Context, s *site, n int, payload []byte) ([]*fanout, error) {
	p := &peers{n: n, payload: payload, key: s.signer.Public().Public}
	if !verifies(p.key, payload) {
		return nil, errors.New("the event does not verify")
	}
	var err error
	if p.sender, err = s.connect(nats.SetCustomDialer(&p.stamp)); err != nil {
		return nil, err
	}
	if p.js, err = jetstream.New(p.sender); err != nil {
		return nil, err
	}
	for range n {
		nc, err := s.connect()
		if err != nil {
			return nil, err
		}
		p.conns = append(p.conns, nc)
	}
	var all []*fanout
	for _, open := range []func(context.Context) (*fanout, error){p.openRaw, p.openVerify, p.openRepublish} {
		f, err := open(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	kv, err := p.openKV(ctx)
	if err != nil {
		return nil, err
	}
	r, err := p.openRedis(ctx, s)
	if err != nil {
		return nil, err
	}
	all = append(append(all, kv...), r)
	for _, nc := range p.conns {
		if err := nc.FlushWithContext(ctx); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// listen subscribes all receivers.
func (p *peers) listen(subject string, fn nats.MsgHandler) error {
	for _, nc := range p.conns {
		if _, err := nc.Subscribe(subject, fn); err != nil {
			return err
		}
	}
	return nil
}

// sentBy gives the time at which the message to the subject left.
func (p *peers) sentBy(subject string, publish func() error) (time.Time, error) {
	p.stamp.watch(subject)
	if err := publish(); err != nil {
		return time.Time{}, err
	}
	return p.stamp.taken()
}

// core publishes on core NATS.
func (p *peers) core(subject string) func(context.Context, int) (time.Time, error) {
	return func(ctx context.Context, _ int) (time.Time, error) {
		return p.sentBy(subject, func() error {
			if err := p.sender.Publish(subject, p.payload); err != nil {
				return err
			}
			return p.sender.FlushWithContext(ctx)
		})
	}
}

func (p *peers) openRaw(context.Context) (*fanout, error) {
	f := &fanout{name: "core", gate: newGate(), send: p.core(rawSubject)}
	return f, p.listen(rawSubject, func(*nats.Msg) { f.gate.arrived() })
}

// verified counts a message whose signature is right.
func (p *peers) verified(g *gate) nats.MsgHandler {
	return func(m *nats.Msg) {
		if verifies(p.key, m.Data) {
			g.arrived()
		}
	}
}

func (p *peers) openVerify(context.Context) (*fanout, error) {
	f := &fanout{name: "core_verify", gate: newGate(), send: p.core(verifySubject)}
	return f, p.listen(verifySubject, p.verified(f.gate))
}

func (p *peers) openRepublish(ctx context.Context) (*fanout, error) {
	_, err := p.js.CreateStream(ctx, jetstream.StreamConfig{Name: "BENCH", Subjects: []string{storedSubject},
		RePublish: &jetstream.RePublish{Source: storedSubject, Destination: republishSubject}})
	if err != nil {
		return nil, fmt.Errorf("making a stream: %w", err)
	}
	f := &fanout{name: limitOfPropagation, gate: newGate()}
	f.send = func(ctx context.Context, _ int) (time.Time, error) {
		return p.sentBy(storedSubject, func() error {
			_, err := p.js.Publish(ctx, storedSubject, p.payload)
			return err
		})
	}
	return f, p.listen(republishSubject, p.verified(f.gate))
}

// kvVerified begins the keys whose values the watchers verify.
const kvVerified = "verify-"

// openKV opens a watcher for each receiver: a consumer of its own on the server.
// They take values as they come, and, what is the like of rescind, verify them.
func (p *peers) openKV(ctx context.Context) ([]*fanout, error) {
	kv, err := p.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "bench"})
	if err != nil {
		return nil, fmt.Errorf("making a bucket: %w", err)
	}
	put := func(prefix string) func(context.Context, int) (time.Time, error) {
		return func(ctx context.Context, round int) (time.Time, error) {
			key := prefix + strconv.Itoa(round)
			return p.sentBy("$KV.bench."+key, func() error {
				_, err := kv.Put(ctx, key, p.payload)
				return err
			})
		}
	}
	plain := &fanout{name: "kv_watch", gate: newGate(), send: put("user-")}
	checked := &fanout{name: "kv_watch_verify", gate: newGate(), send: put(kvVerified)}
	for i, nc := range p.conns {
		w, err := watchAll(ctx, nc)
		if err != nil {
			return nil, fmt.Errorf("watcher %d: %w", i, err)
		}
		go func() { // ends with the connection
			for e := range w.Updates() {
				switch {
				case !strings.HasPrefix(e.Key(), kvVerified):
					plain.gate.arrived()
				case verifies(p.key, e.Value()):
					checked.gate.arrived()
				}
			}
		}()
	}
	return []*fanout{plain, checked}, nil
}

func watchAll(ctx context.Context, nc *nats.Conn) (jetstream.KeyWatcher, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	kv, err := js.KeyValue(ctx, "bench")
	if err != nil {
		return nil, err
	}
	return kv.WatchAll(ctx, jetstream.UpdatesOnly())
}

// openRedis starts a redis-server on a unix socket, with a connection for each
// receiver.
func (p *peers) openRedis(ctx context.Context, s *site) (*fanout, error) {
	srv, err := startRedis(ctx, s.dir)
	if err != nil {
		return nil, err
	}
	s.undo = append(s.undo, srv.Close)
	f := &fanout{name: "redis_pubsub", gate: newGate()}
	f.send = func(ctx context.Context, _ int) (time.Time, error) {
		at := time.Now()
		return at, srv.client.Publish(ctx, rawSubject, p.payload).Err()
	}
	for range p.n {
		sub := srv.client.Subscribe(ctx, rawSubject) // a connection of its own
		if _, err := sub.Receive(ctx); err != nil {
			return nil, fmt.Errorf("subscribing: %w", err)
		}
		s.undo = append(s.undo, sub.Close)
		go func() {
			for { // ends with the subscription
				if _, err := sub.ReceiveMessage(ctx); err != nil {
					return
				}
				f.gate.arrived()
			}
		}()
	}
	return f, nil
}
