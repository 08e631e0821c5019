package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// contestant is one way to decide on tokens.
type contestant struct {
	name string
	// slow ways decide on a part of the tokens in each round.
	slow bool
	// worker makes what one goroutine works with: it decides on a block of tokens
	// and tells how many are revoked.
	worker func() func(block []query) (revoked int)
	// judges is false for what only costs time, such as a random read.
	judges bool
	close  func() error
}

const (
	// blockSize tokens are timed together: few enough to stay in the first cache,
	// enough to make the clock's own cost small.
	blockSize = 64
	// passBlocks is how many blocks a pass takes: a few milliseconds, so that what
	// is compared meets the same phase of the machine.
	passBlocks = 128
	// slowBlocks is how many blocks a slow contestant gets in a pass.
	slowBlocks = 4
)

// contest lets all contestants decide on the same tokens, round after round, on
// one core and on two.
type contest struct {
	contestants []contestant
	tokens      []query
	revoked     bool // what is true of all tokens
	rounds      int
}

// result is the cost in ns of one decision, and by how much two cores decide on
// more than one.
type result struct{ one, two, scaling float64 }

// run gives the median over all rounds by contestant's name. The garbage
// collector rests: what the contestants leave behind is little.
func (c *contest) run(ctx context.Context) (map[string]result, error) {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	samples := map[string][]result{}
	for round := range c.rounds + 1 {
		for i := range c.contestants {
			who := &c.contestants[(round+i)%len(c.contestants)]
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			var of [2]float64
			for i := range of {
				cores := (i+round)%2 + 1
				var err error
				if of[cores-1], err = c.pass(who, round, cores); err != nil {
					return nil, err
				}
			}
			if round > 0 { // the first warms up
				samples[who.name] = append(samples[who.name], result{of[0], of[1], 2 * of[0] / of[1]})
			}
		}
	}
	out := map[string]result{}
	for name, s := range samples {
		out[name] = result{
			medianOf(s, func(r result) float64 { return r.one }),
			medianOf(s, func(r result) float64 { return r.two }),
			medianOf(s, func(r result) float64 { return r.scaling }),
		}
	}
	return out, nil
}

// pass gives the cost of a decision, in ns, while so many cores decide.
func (c *contest) pass(who *contestant, round, cores int) (float64, error) {
	costs, wrong := make([]float64, cores), make([]int, cores)
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	for core := range cores {
		tokens, work := c.share(who, round, core, cores), who.worker()
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			costs[core], wrong[core] = c.time(work, tokens)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	sum := 0.0
	for core := range cores {
		if who.judges && wrong[core] > 0 {
			return 0, fmt.Errorf("%s is wrong about %d tokens", who.name, wrong[core])
		}
		sum += costs[core]
	}
	return sum / float64(cores), nil
}

// share is the part of the tokens that a core decides on, another one in each
// round.
func (c *contest) share(who *contestant, round, core, cores int) []query {
	n := len(c.tokens) / cores / blockSize * blockSize
	mine := c.tokens[core*n : (core+1)*n]
	size := passBlocks * blockSize
	if who.slow {
		size = slowBlocks * blockSize
	}
	if size < n {
		at := round * size % (n - size)
		mine = mine[at : at+size]
	}
	return mine
}

// time gives the median over the blocks, in ns a token: a block in which the
// machine did something else does not count.
func (c *contest) time(work func([]query) int, tokens []query) (float64, int) {
	var costs []time.Duration
	wrong, sum := 0, 0
	for ; len(tokens) >= blockSize; tokens = tokens[blockSize:] {
		block := tokens[:blockSize]
		sum += touch(block)
		begun := time.Now()
		revoked := work(block)
		costs = append(costs, time.Since(begun))
		if c.revoked {
			revoked = blockSize - revoked
		}
		wrong += revoked
	}
	runtime.KeepAlive(sum)
	slices.Sort(costs)
	return float64(max(0, costs[len(costs)/2]-clockCost())) / blockSize, wrong
}

// clockCost is what reading the clock twice adds to a measurement.
var clockCost = sync.OnceValue(func() time.Duration {
	costs := make([]time.Duration, 1001)
	for i := range costs {
		begun := time.Now()
		costs[i] = time.Since(begun)
	}
	return median(costs)
})

func median[T int | float64 | time.Duration](values []T) T {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

func medianOf[S any](samples []S, of func(S) float64) float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	return median(values)
}
