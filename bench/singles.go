package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

// measureSingles measures how fast a new agent takes up revocations of one user
// each that the stream holds already, until they are on its disk. Nothing else
// runs but the nats-server, which sends them, in its own process.
//
// The limit is verifying the same signatures on all cores.
func measureSingles(ctx context.Context, c *Config) ([]Row, error) {
	return prefilled(ctx, c, pick(c, []int{1_000, 10_000, 100_000}, []int{1_000, 5_000, 20_000}, []int{20}),
		pick(c, repeats{5, time.Minute}, repeats{5, 5 * time.Second}, repeats{times: 1}), (*site).singles)
}

// stockedUser is the i-th user of the stock.
func stockedUser(i int) string { return fmt.Sprintf("user-%d", i) }

// singles measures one size, in a fleet of its own.
func (s *site) singles(ctx context.Context, n int, repeat repeats) ([]Row, error) {
	demo, ok := s.realms.Get("demo")
	if !ok {
		return nil, errors.New("no development realm")
	}
	fleet := events.Fleet(fmt.Sprintf("singles-%d", n))
	revocations := make([]events.Revocation, n)
	for i := range revocations {
		revocations[i] = stockEvent(fleet, demo.UserTarget(stockedUser(i)), i)
	}
	k, err := s.fill(ctx, fleet, events.Control, revocations)
	if err != nil {
		return nil, err
	}
	first, err := s.tokenOf(stockedUser(0), revocations[0].IssuedAt)
	if err != nil {
		return nil, err
	}
	last, err := s.tokenOf(stockedUser(n-1), revocations[n-1].IssuedAt)
	if err != nil {
		return nil, err
	}
	if _, err := k.read(ctx, "", first, last); err != nil {
		return nil, fmt.Errorf("warming up: %w", err)
	}
	var own, limit samples
	err = repeat.do(func() error {
		rate, err := k.verifyRate()
		if err != nil {
			return err
		}
		limit = append(limit, rate)
		took, err := k.readDurably(ctx, first, last)
		own = append(own, perSecond(n, took.durable))
		return err
	})
	return []Row{{Row: "singles", Case: "new agent, durable", N: n, Rescind: own.median(), Unit: "revocations/s",
		Limit: limit.median(), LimitName: "ed25519_all_cores", Ratio: own.median() / limit.median(), Of: "ed25519_all_cores",
		Must: AtLeast, Target: 0.7, Detail: map[string]float64{"rounds": float64(len(own))}}}, err
}

// tokenOf issues a token of the user at a time.
func (s *site) tokenOf(user string, issued int64) (*events.Token, error) {
	raw, err := s.dev.Issue(realm.TokenRequest{User: user, Now: time.Unix(issued, 0)})
	if err != nil {
		return nil, err
	}
	return events.ParseToken(raw)
}

// readDurably reads the stock into a new directory.
func (k *filled) readDurably(ctx context.Context, holds ...*events.Token) (caughtUp, error) {
	dir, err := os.MkdirTemp(k.dir, "reader-")
	if err != nil {
		return caughtUp{}, err
	}
	took, err := k.read(ctx, dir, holds...)
	return took, errors.Join(err, os.RemoveAll(dir))
}

// verifyRate verifies all signatures of the stock on all cores, and nothing else.
func (k *filled) verifyRate() (float64, error) {
	parts := make([]signature, len(k.raws))
	for i, raw := range k.raws {
		var err error
		if parts[i], err = splitSignature(raw); err != nil {
			return 0, err
		}
	}
	key := k.signer.Public().Public
	good := make([]bool, len(parts))
	begin := time.Now()
	onAllCores(len(parts), func(i int) { good[i] = ed25519.Verify(key, parts[i].signed, parts[i].sig) })
	took := time.Since(begin)
	for i, ok := range good {
		if !ok {
			return 0, fmt.Errorf("event %d does not verify", i)
		}
	}
	return perSecond(len(parts), took), nil
}
