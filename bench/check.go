package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
)

// checkUsers is how many users are revoked beside the tokens.
const checkUsers = 100_000

// checks measures Check at each size: tokens that are not revoked, and such that
// are, on one core and on two.
func checks(ctx context.Context, c *Config) ([]Row, error) {
	var rows []Row
	sizes := []int{1_000, 100_000, 1_000_000, 10_000_000}
	for _, n := range sizes[:pick(c, 4, 4, 1)] {
		more, err := checksAt(ctx, c, n)
		rows = append(rows, more...)
		if err != nil {
			return rows, fmt.Errorf("%s entries: %w", count(n), err)
		}
		runtime.GC()
	}
	return rows, nil
}

func checksAt(ctx context.Context, c *Config, n int) (rows []Row, err error) {
	s := stock{identities: n, users: pick(c, checkUsers, checkUsers, 1_000), perEvent: perEvent}
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
	tokens := pick(c, named, named/2, named/64)
	for _, name := range []string{"check_miss", "check_hit"} {
		contest := contest{contestants: all, rounds: pick(c, 9, 5, 1), revoked: name == "check_hit"}
		if contest.revoked {
			contest.tokens, err = hits(tokens, s)
		} else {
			contest.tokens, err = misses(tokens, s.users)
		}
		if err != nil {
			return rows, err
		}
		results, err := contest.run(ctx)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", name, err)
		}
		rows = append(rows, checkRows(name, n, results, allocations(&all[0], contest.tokens))...)
	}
	return rows, nil
}

// contestants are rescind first, then the limits, then the peers.
func contestants(ctx context.Context, c *Config, s stock) ([]contestant, error) {
	dir, err := c.stocked(s)
	if err != nil {
		return nil, err
	}
	agent, err := openAgent(ctx, dir)
	if err != nil {
		return nil, err
	}
	memory := words(s.identities)
	all := []contestant{agent.contestant(), randomRead(memory), independentRead(memory), spin(), mapRWMutex(s), bloomFilter(s)}
	if c.Quick && s.identities > 1_000_000 {
		return all, nil // the others take too long to fill
	}
	all = append(all, syncMap(s))
	db, err := boltDB(boltPath(c.Dir, s), s)
	if err != nil {
		return all, fmt.Errorf("bbolt: %w", err)
	}
	all = append(all, db)
	server, err := startRedis(ctx, c.Dir)
	if err != nil {
		return all, err
	}
	all = append(all, server.contestant(ctx))
	return all, server.fill(ctx, s)
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
