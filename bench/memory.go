package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
)

// rawKey is the size of an identity: no exact set that keeps them takes less.
const rawKey = 32

const (
	residentTarget = 48.0
	diskTarget     = 80.0
)

// memoryDisk measures bytes for each entry, in memory and on disk.
func memoryDisk(ctx context.Context, c *Config) ([]Row, error) {
	var rows []Row
	sizes := []int{100_000, 1_000_000, 10_000_000}
	if c.Tiny {
		sizes = []int{10_000}
	}
	for _, n := range sizes[:pick(c, 3, 2, 1)] {
		more, err := memoryDiskAt(ctx, c, stock{identities: n, perEvent: perEvent}, "lists")
		if err != nil {
			return rows, fmt.Errorf("%s entries: %w", count(n), err)
		}
		rows = append(rows, more...)
	}
	// Tokens that were revoked one by one, each by an event of its own, cost more:
	// no target, but no secret either.
	single := stock{identities: sizes[0], perEvent: 1}
	more, err := memoryDiskAt(ctx, c, single, "one by one")
	for i := range more {
		more[i].Must, more[i].Target, more[i].MustBeat = Unbound, 0, false
	}
	return append(rows, more...), err
}

func memoryDiskAt(ctx context.Context, c *Config, s stock, kase string) ([]Row, error) {
	dir, err := c.stocked(s)
	if err != nil {
		return nil, err
	}
	empty, err := c.stocked(stock{perEvent: perEvent})
	if err != nil {
		return nil, err
	}
	n := float64(s.identities)
	agent, err := residentDifference(ctx, "agent", []string{dir}, []string{empty})
	if err != nil {
		return nil, err
	}
	plain, err := residentDifference(ctx, "map", []string{strconv.Itoa(s.identities)}, []string{"0"})
	if err != nil {
		return nil, err
	}
	file, err := os.Stat(filepath.Join(dir, "denylist.db"))
	if err != nil {
		return nil, err
	}
	used, dump, err := redisSizes(ctx, c, s)
	if err != nil {
		return nil, err
	}
	row := Row{Row: "memory_disk", N: s.identities, Unit: "B", Limit: rawKey, LimitName: "raw_key", Of: "raw_key", Must: AtMost}
	memory, disk := row, row
	memory.Case, disk.Case = "resident, "+kase, "disk, "+kase
	memory.Rescind, disk.Rescind = agent.all/n, float64(file.Size())/n
	memory.Peers = map[string]float64{"map": plain.all / n, "redis": used / n}
	memory.Detail = map[string]float64{"anonymous": agent.anonymous / n}
	disk.Peers = map[string]float64{"redis_rdb": dump / n}
	memory.Target, disk.Target = residentTarget/rawKey, diskTarget/rawKey
	memory.Ratio, disk.Ratio = memory.Rescind/rawKey, disk.Rescind/rawKey
	return []Row{memory, disk}, nil
}

// residentDifference is what a child takes more with the first arguments than
// with the second.
func residentDifference(ctx context.Context, child string, full, empty []string) (resident, error) {
	var of [2]resident
	for i, args := range [][]string{full, empty} {
		p, err := startChild(ctx, child, args...)
		if err != nil {
			return resident{}, err
		}
		err = p.hear(nil)
		if err == nil {
			of[i], err = residentOf(p.pid())
		}
		if err := errors.Join(err, p.Close()); err != nil {
			return resident{}, err
		}
	}
	return resident{of[0].all - of[1].all, of[0].anonymous - of[1].anonymous}, nil
}

func redisSizes(ctx context.Context, c *Config, s stock) (used, dump float64, err error) {
	server, err := startRedis(ctx, c.Dir)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	before, err := server.usedMemory(ctx)
	if err != nil {
		return 0, 0, err
	}
	if err := server.fill(ctx, s); err != nil {
		return 0, 0, err
	}
	if used, err = server.usedMemory(ctx); err != nil {
		return 0, 0, err
	}
	dump, err = server.dumpSize(ctx)
	return used - before, dump, err
}

// settle gives back what the process does not use, as the runtime does by and by.
func settle() {
	runtime.GC()
	debug.FreeOSMemory()
}

// agentChild holds an agent on the denylist in a directory.
func agentChild(ctx context.Context, args []string) error {
	a, err := openAgent(ctx, args[0])
	if err != nil {
		return err
	}
	defer a.Close()
	settle()
	if err := tell(a.Status().Entries); err != nil {
		return err
	}
	return stay()
}

// mapChild holds a Go map of so many identities.
func mapChild(_ context.Context, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	set := map[[32]byte]struct{}{}
	for i := range n {
		set[identity(i)] = struct{}{}
	}
	settle()
	if err := tell(len(set)); err != nil {
		return err
	}
	err = stay()
	runtime.KeepAlive(set)
	return err
}
