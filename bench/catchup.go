package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.etcd.io/bbolt"

	"github.com/rescind/rescind/events"
)

// measureCatchup measures how fast a new agent reads token identities, in lists of
// 1,000, from a stream that holds them already: until it is in sync when it keeps
// no files, and until all are on its disk when it does. Nothing else runs but the
// nats-server, in its own process.
//
// The peers are what a user would build: an ordered consumer that verifies each
// event's signature and puts the identities into a map, and one that also puts
// them into a bbolt file. The limit is an ordered consumer that only reads.
func measureCatchup(ctx context.Context, c *Config) ([]Row, error) {
	return prefilled(ctx, c, pick(c, []int{10_000, 100_000, 1_000_000}, []int{10_000, 50_000, 200_000}, []int{2 * perList}),
		pick(c, repeats{5, time.Minute}, repeats{5, 5 * time.Second}, repeats{times: 1}), (*site).catchup)
}

// The ordered consumers beside.
const (
	consumerReads = "ordered_consumer"
	consumerMaps  = "ordered_consumer_map"
	consumerKeeps = "ordered_consumer_bbolt"
)

// catchup measures one size, in a fleet of its own.
func (s *site) catchup(ctx context.Context, n int, repeat repeats) ([]Row, error) {
	ids := freshIdentities(n)
	fleet := events.Fleet(fmt.Sprintf("catchup-%d", n))
	k, err := s.fill(ctx, fleet, events.Tokens, listEvents(fleet, ids))
	if err != nil {
		return nil, err
	}
	holds := []*events.Token{{Identity: ids[0]}, {Identity: ids[n-1]}}
	if _, err := k.consume(ctx, consumerMaps, n); err != nil {
		return nil, fmt.Errorf("warming up: %w", err)
	}
	if _, err := k.read(ctx, "", holds...); err != nil {
		return nil, fmt.Errorf("warming up: %w", err)
	}
	rates := map[string]samples{}
	if err := repeat.do(func() error { return k.catchupRound(ctx, n, holds, rates) }); err != nil {
		return nil, err
	}
	return []Row{catchupRow(n, "memory", consumerMaps, rates), catchupRow(n, "durable", consumerKeeps, rates)}, nil
}

// inMemory is how often a round reads the stock without files, which takes
// milliseconds.
const inMemory = 5

// catchupRound reads the stock in every way.
func (k *filled) catchupRound(ctx context.Context, n int, holds []*events.Token, rates map[string]samples) error {
	add := func(name string, took time.Duration) { rates[name] = append(rates[name], perSecond(n, took)) }
	consume := func(name string) error {
		took, err := k.consume(ctx, name, n)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		add(name, took)
		return nil
	}
	for range inMemory {
		if err := errors.Join(consume(consumerReads), consume(consumerMaps)); err != nil {
			return err
		}
		took, err := k.read(ctx, "", holds...)
		if err != nil {
			return err
		}
		add("memory", took.synced)
	}
	if err := consume(consumerKeeps); err != nil {
		return err
	}
	took, err := k.readDurably(ctx, holds...)
	if err != nil {
		return err
	}
	add("durable", took.durable)
	return nil
}

func catchupRow(n int, form, peer string, rates map[string]samples) Row {
	own, reads, beside := rates[form].median(), rates[consumerReads].median(), rates[peer].median()
	return Row{Row: "catchup", Case: form, N: n, Rescind: own, Unit: "identities/s", Limit: reads, LimitName: consumerReads,
		Peers: map[string]float64{peer: beside}, Ratio: own / beside, Of: peer, Must: AtLeast, Target: 1,
		Detail: map[string]float64{"ratio_to_" + consumerReads: own / reads, "rounds": float64(len(rates[form]))}}
}

// consume reads the stock with an ordered consumer on a connection of its own.
func (k *filled) consume(ctx context.Context, name string, n int) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	nc, err := nats.Connect(k.url)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	take, done, err := k.taker(name, n)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	js, err := jetstream.New(nc)
	if err != nil {
		return 0, err
	}
	consumer, err := js.OrderedConsumer(ctx, k.fleet.StreamName(k.stream), jetstream.OrderedConsumerConfig{})
	if err != nil {
		return 0, fmt.Errorf("making a consumer: %w", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return 0, err
	}
	defer messages.Stop()
	for range k.raws {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return 0, fmt.Errorf("reading: %w", err)
		}
		if err := take(m.Data()); err != nil {
			return 0, err
		}
	}
	err = done()
	return time.Since(begin), err
}

// taker gives what a consumer does with each message, and at the end.
func (k *filled) taker(name string, n int) (take func([]byte) error, done func() error, err error) {
	switch name {
	case consumerReads:
		return func([]byte) error { return nil }, func() error { return nil }, nil
	case consumerMaps:
		set := map[string]int64{}
		return func(raw []byte) error { return k.remember(set, raw) }, func() error { return complete(len(set), n) }, nil
	}
	return k.keeper(n)
}

func complete(got, want int) error {
	if got != want {
		return fmt.Errorf("has %d identities, not %d", got, want)
	}
	return nil
}

// remember verifies an event and puts its identities into the map, each with its
// expiry.
func (k *filled) remember(set map[string]int64, raw []byte) error {
	if !verifies(k.signer.Public().Public, raw) {
		return errors.New("an event does not verify")
	}
	parts := bytes.Split(raw, []byte("."))
	payload, err := base64.RawURLEncoding.AppendDecode(nil, parts[1])
	if err != nil {
		return err
	}
	var event struct {
		Events map[string]struct {
			Expires int64 `json:"expires"`
			Match   struct {
				IDs []string `json:"ids"`
			} `json:"match"`
		} `json:"events"`
	}
	if err := json.Unmarshal(payload, &event); err != nil {
		return err
	}
	for _, e := range event.Events {
		for _, id := range e.Match.IDs {
			set[id] = e.Expires
		}
	}
	return nil
}

// keeper is remember with a bbolt file behind: each identity a key, and as many
// events in one transaction as an agent reads at a time.
func (k *filled) keeper(n int) (take func([]byte) error, done func() error, err error) {
	dir, err := os.MkdirTemp(k.dir, "keeper-")
	if err != nil {
		return nil, nil, err
	}
	db, err := openPeerStore(filepath.Join(dir, "ids.db"))
	if err != nil {
		return nil, nil, err
	}
	set, queued, events := map[string]int64{}, map[string]int64{}, 0
	flush := func() error {
		defer clear(queued)
		return db.Update(func(tx *bbolt.Tx) error {
			for id, expires := range queued {
				set[id] = expires
				if err := tx.Bucket(peerBucket).Put([]byte(id), strconv.AppendInt(nil, expires, 10)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	take = func(raw []byte) error {
		if err := k.remember(queued, raw); err != nil {
			return err
		}
		if events++; events%stormBatch != 0 {
			return nil
		}
		return flush()
	}
	done = func() error {
		return errors.Join(flush(), complete(len(set), n), db.Close(), os.RemoveAll(dir))
	}
	return take, done, nil
}
