package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
)

// checkUsers is how many users are revoked beside the tokens.
const checkUsers = 100_000

// checkTokens is how many different tokens are checked.
const checkTokens = 1 << 17

// checks measures Check at each size: tokens that are not revoked, and such that
// are, on one core and on two.
func checks(ctx context.Context, c *Config) ([]Row, error) {
	var rows []Row
	p := pool{size: pick(c, checkTokens, checkTokens/2, checkTokens/64)}
	sizes := []int{1_000, 100_000, 1_000_000, 10_000_000}
	for _, n := range sizes[:pick(c, 4, 4, 1)] {
		more, err := checksAt(ctx, c, &p, stock{identities: n, users: pick(c, checkUsers, checkUsers, 1_000), perEvent: perEvent})
		rows = append(rows, more...)
		if err != nil {
			return rows, fmt.Errorf("%s entries: %w", count(n), err)
		}
		runtime.GC()
	}
	return rows, nil
}

func checksAt(ctx context.Context, c *Config, p *pool, s stock) (rows []Row, err error) {
	all, err := contestants(ctx, c, s)
	defer func() {
		for _, who := range all {
			if who.close != nil {
				err = errors.Join(err, who.close())
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"check_miss", "check_hit"} {
		contest := contest{contestants: all, rounds: pick(c, 120, 48, 1), revoked: name == "check_hit"}
		if contest.tokens, err = p.tokens(contest.revoked, s); err != nil {
			return rows, err
		}
		results, err := contest.run(ctx)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", name, err)
		}
		rows = append(rows, checkRows(name, s.identities, results, allocations(&all[0], contest.tokens))...)
	}
	return rows, nil
}

// pool keeps the tokens that several sizes can be asked about.
type pool struct {
	size   int
	misses []query
	hits   []query
	listed int // from how many listed tokens the hits are
}

func (p *pool) tokens(revoked bool, s stock) (_ []query, err error) {
	if !revoked {
		if p.misses == nil {
			p.misses, err = misses(p.size, s.users)
		}
		return p.misses, err
	}
	if listed := min(s.identities, named); listed != p.listed {
		p.listed = listed
		p.hits, err = hits(p.size, s)
	}
	return p.hits, err
}

// contestants are rescind first, then the limits, then the peers. They are filled
// at the same time, on all cores. Those that are there are given with an error
// too, to be closed.
func contestants(ctx context.Context, c *Config, s stock) ([]contestant, error) {
	sure := func(make func(stock) contestant) func() (contestant, error) {
		return func() (contestant, error) { return make(s), nil }
	}
	makers := []func() (contestant, error){
		func() (contestant, error) { return stockedAgent(ctx, c, s) },
		sure(func(s stock) contestant { return randomRead(words(s.identities)) }),
		sure(func(s stock) contestant { return independentRead(words(s.identities)) }),
		sure(func(stock) contestant { return spin() }),
		sure(mapRWMutex),
	}
	if !c.Quick || s.identities <= 1_000_000 { // filling these takes too long
		makers = append(makers, sure(bloomFilter), sure(syncMap),
			func() (contestant, error) { return boltDB(boltPath(c.Dir, s), s) },
			func() (contestant, error) { return stockedRedis(ctx, c, s) })
	}
	all, errs := make([]contestant, len(makers)), make([]error, len(makers))
	var filling sync.WaitGroup
	for i, make := range makers {
		filling.Go(func() { all[i], errs[i] = make() })
	}
	filling.Wait()
	return all, errors.Join(errs...)
}

func stockedAgent(ctx context.Context, c *Config, s stock) (contestant, error) {
	dir, err := c.stocked(s)
	if err != nil {
		return contestant{}, err
	}
	a, err := openAgent(ctx, dir)
	if err != nil {
		return contestant{}, err
	}
	return a.contestant(), nil
}

// allocations is how often a decision allocates.
func allocations(who *contestant, tokens []query) float64 {
	work, i := who.worker(), 0
	return testing.AllocsPerRun(1000, func() {
		work(tokens[i : i+1])
		i = (i + 1) % len(tokens)
	})
}

// exactPeers and limits by name; the rest informs.
var (
	checkPeers = []string{"map_rwmutex", "sync_map", "bbolt", "redis", "bloom"}
	inexact    = []string{"bloom"}
)

// checkTarget is asked at this size, where memory is what a lookup waits for.
const (
	checkTarget   = 2.5
	checkTargetAt = 10_000_000
	scalingTarget = 1.9
)

func checkRows(name string, n int, results map[string]result, allocs float64) []Row {
	row := func(kase string, of func(result) float64) Row {
		r := Row{Row: name, Case: kase, N: n, Unit: "ns", Rescind: of(results["rescind"]), LimitName: "random_read",
			Limit: of(results["random_read"]), Of: "random_read", Inexact: inexact, MustBeat: true,
			Peers:  map[string]float64{},
			Detail: map[string]float64{"allocs": allocs, "independent_read": of(results["independent_read"])},
			Also:   map[string]Bound{"allocs": {AtMost, 0}}}
		for _, peer := range checkPeers {
			if res, ok := results[peer]; ok {
				r.Peers[peer] = of(res)
			}
		}
		r.Ratio = r.Rescind / r.Limit
		if n == checkTargetAt {
			r.Must, r.Target = AtMost, checkTarget
		}
		return r
	}
	scaling := row(name[len("check_"):], func(r result) float64 { return r.scaling })
	scaling.Row, scaling.Unit, scaling.MustBeat, scaling.Also = "check_scaling", "x", false, nil
	scaling.Limit, scaling.LimitName = results["spin"].scaling, "spin"
	scaling.Detail = map[string]float64{"random_read": results["random_read"].scaling, "independent_read": results["independent_read"].scaling}
	scaling.Ratio, scaling.Of, scaling.Must, scaling.Target = scaling.Rescind, "1 core", AtLeast, scalingTarget
	return []Row{
		row("1 core", func(r result) float64 { return r.one }),
		row("2 cores", func(r result) float64 { return r.two }),
		scaling,
	}
}
