package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// startTarget is how many times as long as reading the file a start may take.
const startTarget = 3.0

// start measures how long an agent with a stored set takes to its first correct
// answer, beside reading the file.
func start(ctx context.Context, c *Config) ([]Row, error) {
	var rows []Row
	sizes := []int{100_000, 1_000_000, 10_000_000}
	if c.Tiny {
		sizes = []int{10_000}
	}
	for _, n := range sizes[:pick(c, 3, 2, 1)] {
		dir, err := c.stocked(stock{identities: n, perEvent: perEvent})
		if err != nil {
			return rows, err
		}
		r, err := startRow(ctx, dir, n, pick(c, 7, 5, 1))
		if err != nil {
			return rows, fmt.Errorf("%s entries: %w", count(n), err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func startRow(ctx context.Context, dir string, n, rounds int) (Row, error) {
	path := filepath.Join(dir, "denylist.db")
	samples := map[string][]float64{}
	for range rounds {
		for _, what := range []string{"open", "read"} {
			for _, cache := range []string{"cold", "warm"} {
				ms, err := startOnce(ctx, what, cache, path, n)
				if err != nil {
					return Row{}, err
				}
				samples[what+" "+cache] = append(samples[what+" "+cache], ms)
			}
		}
	}
	r := Row{Row: "start", Case: "cold page cache", N: n, Unit: "ms", LimitName: "sequential_read", Of: "sequential_read",
		Rescind: median(samples["open cold"]), Limit: median(samples["read cold"]), Must: AtMost, Target: startTarget,
		Detail: map[string]float64{"open_warm": median(samples["open warm"]), "read_warm": median(samples["read warm"])}}
	r.Ratio = r.Rescind / r.Limit
	return r, nil
}

// startOnce gives the milliseconds of one start, or one read, in a process of its
// own.
func startOnce(ctx context.Context, what, cache, path string, n int) (ms float64, err error) {
	prepare := readThrough
	if cache == "cold" {
		prepare = dropCache
	}
	if err := prepare(path); err != nil {
		return 0, err
	}
	p, err := startChild(ctx, "open", what, path, strconv.Itoa(n))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	return ms, p.hear(&ms)
}

// dropCache makes the kernel forget what it keeps of the file in memory.
func dropCache(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil { // what is not written cannot be forgotten
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

func readThrough(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buffer := make([]byte, 1<<20)
	for {
		if _, err := f.Read(buffer); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// openChild tells how many milliseconds it takes to open an agent on a file and
// to get two right answers, or to read the file.
func openChild(ctx context.Context, args []string) error {
	what, path := args[0], args[1]
	if what == "read" {
		begun := time.Now()
		if err := readThrough(path); err != nil {
			return err
		}
		return tell(milliseconds(time.Since(begun)))
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	miss, err := misses(1, 1)
	if err != nil {
		return err
	}
	hit, err := hits(2, stock{identities: n, users: 1})
	if err != nil {
		return err
	}
	begun := time.Now()
	a, err := openAgent(ctx, filepath.Dir(path))
	if err != nil {
		return err
	}
	// hits[0] is revoked by its user, and no user is in this file.
	refused, passed := a.Check(hit[1].tok) != nil, a.Check(miss[0].tok) == nil
	took := time.Since(begun)
	if !refused || !passed {
		return errors.Join(errors.New("the first answers are wrong"), a.Close())
	}
	return errors.Join(tell(milliseconds(took)), a.Close())
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
