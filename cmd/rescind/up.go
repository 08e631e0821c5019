package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/natsd"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
	"golang.org/x/sync/errgroup"
)

type upCmd struct {
	Listen      string `help:"Where the publisher listens." default:"127.0.0.1:7480" placeholder:"HOST:PORT"`
	AgentListen string `help:"Where the agent listens; unix:/path for a socket." default:"127.0.0.1:7481" placeholder:"HOST:PORT"`
	NatsListen  string `help:"Where the embedded NATS listens." default:"127.0.0.1:4222" placeholder:"HOST:PORT"`
	PublicURL   string `name:"public-url" help:"What others call the publisher. Default: where it listens." placeholder:"URL"`
	doorFlags
	askedFlags
	tlsFlags
}

func (c *upCmd) Help() string {
	return `Makes what is missing in DIR (admin.key, publisher.key, ssf.key, development realms), starts NATS, a
publisher and one agent, prints where they are, and runs until it is interrupted. For trying
rescind out and for a single host; a fleet runs nats, publisher and agent as processes of their own.`
}

// Validate is kong's.
func (c *upCmd) Validate() error {
	return errors.Join(checkListen("--listen", c.Listen), checkListen("--agent-listen", c.AgentListen),
		checkHostPort("--nats-listen", c.NatsListen), checkPublicURL(c.PublicURL), c.doorFlags.validate(), c.askedFlags.validate(), c.tlsFlags.validate())
}

// Run is long because it is one straight line: each part is started once the one
// before it is there, and closed in reverse order.
func (c *upCmd) Run(ctx context.Context, g *globals) (err error) {
	log := g.logger()
	secure, err := c.tlsFlags.config(tls.VerifyClientCertIfGiven)
	if err != nil {
		return err
	}
	pub, err := listen("publisher", c.Listen, secure)
	if err != nil {
		return err
	}
	defer pub.listener.Close()
	ag, err := listen("agent", c.AgentListen, secure)
	if err != nil {
		return err
	}
	defer ag.listener.Close()
	envoy, err := c.askedFlags.listen(secure)
	if err != nil {
		return err
	}
	defer envoy.Close()
	signer, err := c.makeKeys(g)
	if err != nil {
		return err
	}
	secureNATS, err := c.tlsFlags.config(tls.RequireAndVerifyClientCert)
	if err != nil {
		return err
	}
	srv, err := g.startNATS(ctx, natsd.Config{Listen: c.NatsListen, TLS: secureNATS, Logger: log.With("component", "nats")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	g.Nats = "" // it is reached inside of the process, where there is no TLS
	nc, err := g.connect(log, "rescind up", nats.InProcessServer(srv.Server))
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := applyStreams(ctx, nc, events.Fleet(g.Fleet), bus.Settings{}); err != nil {
		return err
	}
	realms, err := g.openRealms(ctx, true, log)
	if err != nil {
		return err
	}
	defer realms.Close()
	issuer := c.PublicURL
	if issuer == "" {
		issuer = pub.url()
	}
	keys := subscriber.KeysFile(g.path(jwksFile))
	p, err := g.openPublisher(ctx, nc, realms, publisherConfig{issuer: issuer, signer: signer, keys: keys,
		adminKeyFile: g.path("admin.key"), dir: g.path("publisher"), doors: c.doorFlags}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	a, err := g.openAgent(ctx, nc, realms, subscriber.Config{Service: "up", Dir: g.path("agent"), Keys: keys, Logger: log}, c.askedFlags.sidecar(sidecar.Config{}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if err := awaitReady(ctx, p, a); err != nil {
		return err
	}
	if err := c.greet(g, pub, ag, envoy, srv.ClientURL()); err != nil {
		return err
	}
	return serveAll(ctx, log, served{pub, p.doors, p.beside}, served{ag, a.sidecar, envoy.serving(a.sidecar, log)})
}

// makeKeys makes the keys on the first start.
func (c *upCmd) makeKeys(g *globals) (*events.Signer, error) {
	if _, err := ensureAdminKey(g.path("admin.key")); err != nil {
		return nil, fmt.Errorf("admin key: %w", err)
	}
	if err := newSSFKey(g.path(ssfKeyFile)); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("key of the transmitter: %w", err)
	}
	return ensureSigner(g.Dir, "local")
}

func applyStreams(ctx context.Context, nc *nats.Conn, fleet events.Fleet, s bus.Settings) error {
	b, err := bus.New(nc, fleet)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return b.Apply(ctx, s)
}

// awaitReady waits until the publisher knows its streams and the agent is synced.
func awaitReady(ctx context.Context, p *publisherPart, a *agentPart) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.Ready()
		if err == nil && a.Status().State == events.Fresh {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("starting: agent is %s: %w", a.Status().State, errors.Join(err, context.Cause(ctx)))
		}
	}
}

func (c *upCmd) greet(g *globals, pub, ag *httpServer, envoy *envoyListener, natsURL string) error {
	key := g.path("admin.key")
	curl := "curl -i -H \"Authorization: Bearer $TOKEN\" " + ag.url() + "/check"
	if path, ok := strings.CutPrefix(ag.url(), "unix:"); ok {
		curl = "curl -i --unix-socket '" + path + "' -H \"Authorization: Bearer $TOKEN\" http://agent/check"
	}
	pairs := []string{"publisher", pub.url(), "agent", ag.url(), "nats", natsURL, "data", g.Dir, "admin_key_file", key}
	forEnvoy := ""
	if where := envoy.address(); where != "" {
		forEnvoy, pairs = "  for Envoy  "+where+"\n", append(pairs, "grpc", where)
	}
	return g.announce(fmt.Sprintf(`rescind is up.

  publisher  %[1]s
  agent      %[2]s
%[7]s  NATS       %[3]s
  data       %[4]s
  admin key  %[5]s

Try, in another terminal:

  TOKEN=$(rescind token --dir '%[4]s' --user jack)
  %[6]s
  curl -X DELETE -H "Authorization: Bearer $(cat '%[5]s')" -H 'Content-Type: application/json' \
       -d "{\"token\":\"$TOKEN\"}" %[1]s/_security/oauth2/token
  %[6]s
`, pub.url(), ag.url(), natsURL, g.Dir, key, curl, forEnvoy), pairs...)
}

// serveAll serves until ctx ends or one of them fails.
func serveAll(ctx context.Context, log *slog.Logger, servers ...served) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range servers {
		group.Go(func() error { return s.server.serve(ctx, s.handler, log) })
		if s.beside != nil {
			group.Go(func() error { return s.beside(ctx) })
		}
	}
	return group.Wait()
}
