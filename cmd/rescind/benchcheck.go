package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/denylist"
	"golang.org/x/sync/errgroup"
)

// checkFigures say what checks cost against the set.
type checkFigures struct {
	Cores int `json:"cores"`
	// Checks were done on all cores together, Refused of them were refused.
	Checks    int64   `json:"checks"`
	Refused   int64   `json:"refused"`
	PerSecond float64 `json:"checks_per_second"`
	// NS are nanoseconds a check on one core, each measurement the mean of Sample
	// checks in a row.
	NS     figures `json:"ns"`
	Sample int     `json:"sample"`
}

const (
	// checkSample is how many checks are measured together: reading the clock takes
	// as long as a check does.
	checkSample = 32
	// checkTime is how long checks are measured for.
	checkTime = 500 * time.Millisecond
	// checkIdentities are more than a processor's nearest caches hold the table
	// lines of: a request's token is one that was not checked just before.
	checkIdentities = 1 << 17
	// checkSlowest is the longest that a sample is told apart, in nanoseconds.
	checkSlowest = int64(time.Second)
)

// checkSet measures checks of random tokens on 1 and on all cores.
func (b *bench) checkSet(ctx context.Context, set *denylist.Set) ([]checkFigures, error) {
	tokens, err := randomTokens(64)
	if err != nil {
		return nil, err
	}
	ids := randomIdentities(checkIdentities)
	cores := []int{1}
	if n := runtime.GOMAXPROCS(0); n > 1 {
		cores = append(cores, n)
	}
	var out []checkFigures
	for _, n := range cores {
		var c checkFigures
		group, measuring := errgroup.WithContext(ctx)
		done := make(chan struct{})
		group.Go(func() error { c = checkOn(n, set, tokens, ids, done); return nil })
		group.Go(func() error {
			defer close(done)
			return countdown(measuring, b.std.err, fmt.Sprintf("checks on %-10s ", counted(n, "core")), checkTime)
		})
		if err := group.Wait(); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// checkOn checks on so many cores until done is closed.
func checkOn(cores int, set *denylist.Set, tokens []*events.Token, ids []events.Identity, done <-chan struct{}) checkFigures {
	c := checkFigures{Cores: cores, Sample: checkSample}
	all := newRecorder(checkSlowest, checkSample)
	each := make([]*recorder, cores)
	var refused atomic.Int64
	var group errgroup.Group
	begun := time.Now()
	for i := range each {
		each[i] = newRecorder(checkSlowest, checkSample)
		group.Go(func() error {
			refused.Add(checkUntil(done, each[i], set, tokens, ids, i*len(ids)/cores))
			return nil
		})
	}
	_ = group.Wait() // nothing in it fails
	took := time.Since(begun)
	for _, r := range each {
		all.merge(r)
	}
	c.NS = all.figures()
	c.Checks, c.Refused = c.NS.Count*checkSample, refused.Load()
	c.PerSecond = float64(c.Checks) / took.Seconds()
	return c
}

// checkUntil measures on one core. The token differs from one check to the next
// by its identity, as if it had just been parsed: it is in the processor's cache,
// what the set knows of it is not.
func checkUntil(done <-chan struct{}, r *recorder, set *denylist.Set, tokens []*events.Token, ids []events.Identity, at int) (refused int64) {
	for n := 0; ; n++ {
		if n%64 == 0 {
			select {
			case <-done:
				return refused
			default:
			}
		}
		tok := *tokens[n%len(tokens)]
		begun := time.Now()
		for range checkSample {
			tok.Identity = ids[at]
			if set.Check(&tok) {
				refused++
			}
			if at++; at == len(ids) {
				at = 0
			}
		}
		r.record(int64(time.Since(begun)))
	}
}

// randomTokens makes tokens as an identity provider would, of an issuer and with
// values that nobody has: what is usual is that a token is not refused.
func randomTokens(n int) ([]*events.Token, error) {
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","typ":"at+jwt"}`))
	out := make([]*events.Token, n)
	for i := range out {
		now := time.Now().Unix()
		claims, err := json.Marshal(map[string]any{"iss": "https://bench.rescind.invalid", "sub": rand.Text(), "jti": rand.Text(),
			"sid": rand.Text(), "azp": rand.Text(), "client_id": rand.Text(), "preferred_username": rand.Text(),
			"scope": "openid", "iat": now, "auth_time": now, "exp": now + 3600})
		if err != nil {
			return nil, err
		}
		// Nobody verifies it: the check is of what a token says.
		if out[i], err = events.ParseToken(header + "." + base64.RawURLEncoding.EncodeToString(claims) + ".AAAA"); err != nil {
			return nil, fmt.Errorf("making a token: %w", err)
		}
	}
	return out, nil
}

func randomIdentities(n int) []events.Identity {
	var seed [32]byte
	rand.Read(seed[:])
	source := mathrand.NewChaCha8(seed)
	ids := make([]events.Identity, n)
	for i := range ids {
		_, _ = source.Read(ids[i][:]) // it never fails
	}
	return ids
}

func printChecks(b *bench, all []checkFigures) {
	busy := false
	for _, c := range all {
		b.row(counted(c.Cores, "core"), "p50 %s ns   p99 %s ns   mean %s ns   %s million a second", short(c.NS.P50), short(c.NS.P99),
			short(c.NS.Mean), short(c.PerSecond/1e6))
		busy = busy || c.NS.Mean > 2*c.NS.P50
	}
	if busy {
		b.warn("this machine was busy with something else: go by p50")
	}
	if one := all[0]; one.NS.Count > 0 {
		b.note("a check of a random token on 1 core, as the mean of %d in a row", one.Sample)
		b.printf("\n%s", b.page.histogram(one.NS, "ns"))
	}
}
