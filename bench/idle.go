package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const (
	idleMegabytes = 30.0
	idlePercent   = 0.2
)

// idler is a process that does nothing but wait for revocations.
type idler struct {
	kind    string
	entries int
	*process
	used    time.Duration
	percent float64
	mb      float64
}

// idleAgent measures memory and processor time of agents that have nothing to
// do, all in the same stretch of time.
func idleAgent(ctx context.Context, c *Config) (rows []Row, err error) {
	d, err := deploy(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	var all []*idler
	defer func() {
		for _, i := range all {
			err = errors.Join(err, i.Close())
		}
	}()
	sizes := []int{0, 10_000, 100_000}
	for _, kind := range []string{"bare", "embedded", "binary"} {
		for _, n := range sizes[:pick(c, 3, 3, 1)] {
			if kind == "bare" && n > 0 {
				continue
			}
			p, err := d.startIdler(ctx, c, kind, n)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", kind, err)
			}
			all = append(all, &idler{kind: kind, entries: n, process: p})
		}
	}
	if err := watchIdlers(ctx, all, pick(c, time.Minute, 15*time.Second, time.Second)); err != nil {
		return nil, err
	}
	for _, i := range all[1:] {
		rows = append(rows, i.rows(all[0])...)
	}
	return rows, nil
}

func (d *deployment) startIdler(ctx context.Context, c *Config, kind string, n int) (*process, error) {
	s := stock{identities: n, perEvent: perEvent}
	switch kind {
	case "bare":
		return d.startBuilt(ctx, c, "bare", "--nats", d.url)
	case "embedded":
		dir, err := d.agentDir(c, s)
		if err != nil {
			return nil, err
		}
		return d.startBuilt(ctx, c, "idle", "--nats", d.url, "--keys", d.keys(), "--dir", dir)
	}
	dir, err := d.agentDir(c, s, "agent")
	if err != nil {
		return nil, err
	}
	p, err := startProcess(ctx, d.rescind, "agent", "--nats", d.url, "--dir", dir, "--keys", d.keys(), "--service", "idle",
		"--instance", strconv.Itoa(n), "--agent-listen", "unix:"+filepath.Join(dir, "s"), "--json")
	return p, heard(p, err)
}

// startBuilt starts a program of bench/cmd and waits until it is ready.
func (d *deployment) startBuilt(ctx context.Context, c *Config, name string, args ...string) (*process, error) {
	path, err := c.build(ctx, name)
	if err != nil {
		return nil, err
	}
	p, err := startProcess(ctx, path, args...)
	return p, heard(p, err)
}

// heard waits for the first line of a process that was started without error.
func heard(p *process, err error) error {
	if err != nil {
		return err
	}
	if err := p.hear(nil); err != nil {
		return errors.Join(err, p.Close())
	}
	return nil
}

// startUp is left out of the time in which idlers are watched.
const startUp = 3 * time.Second

func watchIdlers(ctx context.Context, all []*idler, window time.Duration) (err error) {
	if err := pause(ctx, min(startUp, window)); err != nil {
		return err
	}
	for _, i := range all {
		if i.used, err = cpuTime(i.pid()); err != nil {
			return err
		}
	}
	begun := time.Now()
	if err := pause(ctx, window); err != nil {
		return err
	}
	for _, i := range all {
		used, err := cpuTime(i.pid())
		if err != nil {
			return err
		}
		i.percent = 100 * float64(used-i.used) / float64(time.Since(begun))
		r, err := residentOf(i.pid())
		if err != nil {
			return err
		}
		i.mb = r.all / 1e6
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (i *idler) rows(bare *idler) []Row {
	return []Row{
		{Row: "idle_agent", Case: "resident, " + i.kind, N: i.entries, Unit: "MB", Rescind: i.mb, Limit: bare.mb,
			LimitName: "bare_subscription", Ratio: i.mb / idleMegabytes, Of: "30 MB", Must: AtMost, Target: 1},
		{Row: "idle_agent", Case: "cpu, " + i.kind, N: i.entries, Unit: "%", Rescind: i.percent, Limit: bare.percent,
			LimitName: "bare_subscription", Ratio: i.percent / idlePercent, Of: "0.2 %", Must: AtMost, Target: 1},
	}
}

// idleServer measures what an agent costs the nats-server, in memory, beside a
// bare subscription on a connection of its own, each kind with a server of its own.
func idleServer(ctx context.Context, c *Config) ([]Row, error) {
	sizes := []int{50, 100, 200}
	if c.Tiny {
		sizes = []int{2}
	}
	var agents, bare []float64
	var errs [2]error
	var both sync.WaitGroup
	both.Go(func() { agents, errs[0] = perConnection(ctx, c, sizes, "idle", "--agents") })
	both.Go(func() { bare, errs[1] = perConnection(ctx, c, sizes, "bare", "--connections") })
	both.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	var rows []Row
	for i, n := range sizes {
		rows = append(rows, Row{Row: "idle_server", Case: "resident, an agent", N: n, Unit: "kB", Rescind: agents[i], Limit: bare[i],
			LimitName: "bare_subscription", Ratio: agents[i] / bare[i], Of: "bare_subscription"})
	}
	return rows, nil
}

// perConnection gives the server's memory in kB for each connection that the
// program holds, at each size. All connect to the same server, one after another.
func perConnection(ctx context.Context, c *Config, sizes []int, program, flag string) (kb []float64, err error) {
	d, err := deploy(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	var started []io.Closer
	defer func() { err = errors.Join(err, closeAll(started)) }()
	before, err := d.settledServer(ctx, c)
	if err != nil {
		return nil, err
	}
	connected := 0
	for _, n := range sizes {
		p, err := d.startBuilt(ctx, c, program, "--nats", d.url, flag, strconv.Itoa(n-connected), "--keys", d.keys())
		if err != nil {
			return nil, err
		}
		started, connected = append(started, p), n
		after, err := d.settledServer(ctx, c)
		if err != nil {
			return nil, err
		}
		kb = append(kb, (after-before)/float64(n)/1e3)
	}
	return kb, nil
}

// settledServer is the server's resident memory once it has come to rest.
func (d *deployment) settledServer(ctx context.Context, c *Config) (float64, error) {
	if err := pause(ctx, pick(c, startUp, time.Second, 0)); err != nil {
		return 0, err
	}
	r, err := residentOf(d.server.pid())
	return r.all, err
}
