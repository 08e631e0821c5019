package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// storeSync says when the nats-server's store reaches the disk.
type storeSync string

const (
	// syncAlways is what rescind asks for in a deployment.
	syncAlways storeSync = "always"
	// syncLater is for streams that are only read in a measurement: they are
	// written faster.
	syncLater storeSync = "later"
)

// natsChild is a nats-server in a process of its own, as in a deployment: its
// arguments are its directory and when it syncs.
func natsChild(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("nats: needs a directory and a storeSync")
	}
	if storeSync(args[1]) == syncLater {
		return serveUnsynced(args[0])
	}
	srv, err := natsd.Start(ctx, natsd.Config{Dir: args[0], Listen: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	defer srv.Close()
	return errors.Join(tell(srv.ClientURL()), stay())
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
	return errors.Join(tell(srv.ClientURL()), stay())
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
	srv, err := startChild(ctx, "nats", filepath.Join(dir, "nats"), string(sync))
	if err != nil {
		return s, err
	}
	s.undo = append(s.undo, srv.Close)
	if err := srv.hear(&s.url); err != nil {
		return s, err
	}
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

// openRig opens a site with the streams of the default fleet, and lets fill open what
// stands on it. When that fails, the site is closed.
func openRig(ctx context.Context, c *Config, fill func(*site, *bus.Bus) error) error {
	s, err := openSite(ctx, c, syncAlways)
	if err != nil {
		return err
	}
	b, err := s.apply(ctx, events.DefaultFleet)
	if err == nil {
		err = fill(s, b)
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
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
	return await(ctx, time.Minute, "the fleet", func() bool {
		if p.Ready() != nil || len(p.Agents()) < len(agents) {
			return false
		}
		return !slices.ContainsFunc(agents, func(a *subscriber.Agent) bool { return a.Status().State != events.Fresh })
	})
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

// perSecond is a rate.
func perSecond(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }
