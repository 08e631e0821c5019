package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/natsd"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/subscriber"
)

// The bench runs itself again as the nats-server, so that the server has a
// process of its own as in a deployment: these name its directory, and whether it
// syncs at every write.
const (
	serverDirEnv  = "RESCIND_BENCH_NATS_DIR"
	serverSyncEnv = "RESCIND_BENCH_NATS_SYNC"
)

// init is here and not in main, so that the test binary can be the server too.
func init() {
	dir := os.Getenv(serverDirEnv)
	if dir == "" {
		return
	}
	if err := serveNATS(dir, storeSync(os.Getenv(serverSyncEnv))); err != nil {
		fmt.Fprintln(os.Stderr, "bench: nats-server:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// storeSync says when the nats-server's store reaches the disk.
type storeSync string

const (
	// syncAlways is what rescind asks for in a deployment.
	syncAlways storeSync = "always"
	// syncLater is for streams that are only read in a measurement: they are
	// written faster.
	syncLater storeSync = "later"
)

// serveNATS serves until the standard input ends, which it does at the latest when
// the bench does.
func serveNATS(dir string, sync storeSync) error {
	if sync == syncLater {
		return serveUnsynced(dir)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	srv, err := natsd.Start(ctx, natsd.Config{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	defer srv.Close()
	return announce(srv.ClientURL())
}

func serveUnsynced(dir string) error {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true,
		StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		return err
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(20 * time.Second) {
		return errors.New("not ready for connections")
	}
	return announce(srv.ClientURL())
}

func announce(url string) error {
	if _, err := fmt.Println(url); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// startNATS starts a nats-server in a process of its own and gives its URL.
func startNATS(ctx context.Context, dir string, sync storeSync) (url string, stop func() error, err error) {
	exe, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), serverDirEnv+"="+dir, serverSyncEnv+"="+string(sync))
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 5 * time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("starting nats-server: %w", err)
	}
	stop = func() error { return errors.Join(stdin.Close(), cmd.Wait()) }
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("starting nats-server: %w", err), stop())
	}
	return strings.TrimSpace(line), stop, nil
}

// site is a nats-server with what a fleet on it needs. Close stops all that was
// opened by its methods.
type site struct {
	dir    string
	url    string
	signer *events.Signer
	keys   *events.KeySet
	dev    *realm.Dev
	realms *realm.Realms
	// undo ends what was begun, the last first.
	undo []func() error
}

// siteURL is the public URL of the site's publisher: nobody asks it.
const siteURL = "http://127.0.0.1:7480"

func openSite(ctx context.Context, c *Config, sync storeSync) (s *site, err error) {
	dir, err := os.MkdirTemp(c.Dir, "site-")
	if err != nil {
		return nil, err
	}
	s = &site{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	s.undo = append(s.undo, func() error { return os.RemoveAll(dir) })
	url, stop, err := startNATS(ctx, filepath.Join(dir, "nats"), sync)
	if err != nil {
		return s, err
	}
	s.url, s.undo = url, append(s.undo, stop)
	if s.signer, err = events.NewSigner("bench"); err != nil {
		return s, err
	}
	s.keys = events.NewKeySet(s.signer.Public())
	if s.dev, err = realm.OpenDev(dir); err != nil {
		return s, err
	}
	if s.realms, err = realm.New(s.dev.Configs(), realm.Options{}); err != nil {
		return s, err
	}
	s.undo = append(s.undo, func() error { s.realms.Close(); return nil })
	return s, nil
}

// Close ends everything, the last begun first.
func (s *site) Close() error {
	var errs []error
	for _, fn := range slices.Backward(s.undo) {
		errs = append(errs, fn())
	}
	s.undo = nil
	return errors.Join(errs...)
}

// connect opens a connection that lives as long as the site.
func (s *site) connect(opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect(s.url, append([]nats.Option{nats.Timeout(20 * time.Second)}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	s.undo = append(s.undo, func() error { nc.Close(); return nil })
	return nc, nil
}

// apply makes the streams of a fleet.
func (s *site) apply(ctx context.Context, fleet events.Fleet) (*bus.Bus, error) {
	nc, err := s.connect()
	if err != nil {
		return nil, err
	}
	b, err := bus.New(nc, fleet)
	if err != nil {
		return nil, err
	}
	return b, b.Apply(ctx, bus.Settings{})
}

// openPublisher opens the publisher of the default fleet, with its ledger on the
// disk that the server's streams are on.
func (s *site) openPublisher(ctx context.Context, opts ...nats.Option) (*publisher.Publisher, error) {
	nc, err := s.connect(opts...)
	if err != nil {
		return nil, err
	}
	p, err := publisher.Open(ctx, nc, publisher.Config{Issuer: siteURL, Signer: s.signer, Keys: s.keys, Realms: s.realms,
		Dir: filepath.Join(s.dir, "publisher"), ListenFor: 200 * time.Millisecond, AckTimeout: 30 * time.Second})
	if err != nil {
		return nil, err
	}
	s.undo = append(s.undo, p.Close)
	return p, nil
}

// openAgents opens n agents of the default fleet, each on a connection of its
// own: with files of their own when durable, and in memory only otherwise.
func (s *site) openAgents(ctx context.Context, n int, durable bool) ([]*subscriber.Agent, error) {
	out := make([]*subscriber.Agent, n)
	for i := range out {
		nc, err := s.connect()
		if err != nil {
			return nil, err
		}
		cfg := subscriber.Config{Service: "bench", Instance: fmt.Sprintf("a%d", i), Keys: s.keys}
		if durable {
			cfg.Dir = filepath.Join(s.dir, "agents", cfg.Instance)
		}
		if out[i], err = subscriber.Open(ctx, nc, cfg); err != nil {
			return nil, err
		}
		s.undo = append(s.undo, out[i].Close)
	}
	return out, nil
}

// awaitFleet waits until the publisher is ready and knows the agents, and all of
// them are fresh.
func awaitFleet(ctx context.Context, p *publisher.Publisher, agents []*subscriber.Agent) error {
	return eventually(ctx, "the fleet is ready", func() bool {
		if p.Ready() != nil || len(p.Agents()) < len(agents) {
			return false
		}
		return !slices.ContainsFunc(agents, func(a *subscriber.Agent) bool { return a.Status().State != events.Fresh })
	})
}

// eventually waits until the condition holds, for a minute at most.
func eventually(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		}
	}
	return nil
}

// samples are measured values of one thing.
type samples []float64

// quantile gives the value below which the share q of them lies.
func (s samples) quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func (s samples) median() float64 { return s.quantile(0.5) }

func (s samples) p99() float64 { return s.quantile(0.99) }

// repeats says how often a measurement is taken: at most so many times, and not
// again once the time is used up, so that a slow machine does not make the bench
// endless.
type repeats struct {
	times int
	until time.Duration
}

func (r repeats) do(fn func() error) error {
	begin := time.Now()
	for i := range r.times {
		if i > 0 && time.Since(begin) > r.until {
			break
		}
		if err := fn(); err != nil {
			return err
		}
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// perSecond is a rate.
func perSecond(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }
