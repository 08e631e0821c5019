package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"time"

	"github.com/rescind/rescind/internal/natsd"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
)

// served is a listener with what it serves, and what runs beside for as long; nil is
// nothing.
type served struct {
	server  *httpServer
	handler http.Handler
	beside  func(context.Context) error
}

type natsCmd struct {
	NatsListen    string `help:"Where NATS listens." default:"127.0.0.1:4222" placeholder:"HOST:PORT"`
	MonitorListen string `help:"Where NATS's HTTP monitor listens." placeholder:"HOST:PORT"`
	tlsFlags
}

func (c *natsCmd) Help() string {
	return `One nats-server with JetStream on DIR/nats, synced at every write. A fleet that must survive the
loss of a disk runs a cluster of its own nats-servers with "sync_interval: always" instead.`
}

// Validate is kong's.
func (c *natsCmd) Validate() error {
	if c.MonitorListen != "" {
		if err := checkHostPort("--monitor-listen", c.MonitorListen); err != nil {
			return err
		}
	}
	return errors.Join(checkHostPort("--nats-listen", c.NatsListen), c.tlsFlags.validate())
}

func (c *natsCmd) Run(ctx context.Context, g *globals) (err error) {
	secure, err := c.tlsFlags.config(tls.RequireAndVerifyClientCert)
	if err != nil {
		return err
	}
	srv, err := g.startNATS(ctx, natsd.Config{Listen: c.NatsListen, MonitorListen: c.MonitorListen, TLS: secure,
		Logger: g.logger().With("component", "nats")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	text, pairs := "NATS is up at "+srv.ClientURL()+", data in "+g.path("nats"), []string{"nats", srv.ClientURL(), "data", g.path("nats")}
	if url := srv.MonitorURL(); url != "" {
		text, pairs = text+", monitor at "+url, append(pairs, "monitor", url)
	}
	if err := g.announce(text, pairs...); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

type publisherCmd struct {
	Listen    string `help:"Where the publisher listens." default:"127.0.0.1:7480" placeholder:"HOST:PORT"`
	PublicURL string `name:"public-url" help:"What others call the publisher. Default: where it listens." placeholder:"URL"`
	doorFlags
	tlsFlags
	Key          string        `help:"Signing key. Default: publisher.key in DIR." placeholder:"FILE"`
	Keys         string        `help:"All publishers' public keys, a JWKS file or URL. Default: publishers.jwks in DIR." placeholder:"FILE|URL"`
	AdminKey     string        `help:"File with the admin key; none means no admin. Default: admin.key in DIR." placeholder:"FILE"`
	Dev          bool          `help:"Know the development realms of DIR too."`
	ReceiptAfter time.Duration `help:"How long a receipt waits for agents that have not answered." default:"10s"`
}

func (c *publisherCmd) Help() string {
	return `Refuses to start without a signing key: "rescind keys new" makes one. Is not ready (/readyz) until
it has found the streams as they must be ("rescind streams apply" makes them) and listened for agents.`
}

// Validate is kong's.
func (c *publisherCmd) Validate() error {
	return errors.Join(checkListen("--listen", c.Listen), checkPublicURL(c.PublicURL), c.doorFlags.validate(), c.tlsFlags.validate(), checkKeys(c.Keys),
		notNegative("--receipt-after", c.ReceiptAfter))
}

func (c *publisherCmd) Run(ctx context.Context, g *globals) (err error) {
	log := g.logger()
	signer, err := readSigner(orPath(c.Key, g.path(keyFile)))
	if err != nil {
		return err
	}
	keys, err := keySource(orPath(c.Keys, g.path(jwksFile)))
	if err != nil {
		return err
	}
	secure, err := c.tlsFlags.config(tls.VerifyClientCertIfGiven)
	if err != nil {
		return err
	}
	srv, err := listen("publisher", c.Listen, secure)
	if err != nil {
		return err
	}
	defer srv.listener.Close()
	nc, err := g.connect(log, "rescind publisher "+signer.Public().Publisher)
	if err != nil {
		return err
	}
	defer nc.Close()
	realms, err := g.openRealms(ctx, c.Dev, log)
	if err != nil {
		return err
	}
	defer realms.Close()
	p, err := g.openPublisher(ctx, nc, realms, publisherConfig{issuer: orPath(c.PublicURL, srv.url()), signer: signer,
		keys: publisher.KeySource(keys), adminKeyFile: c.AdminKey, dir: g.path("publisher"),
		receiptAfter: c.ReceiptAfter, doors: c.doorFlags}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := g.announce("publisher "+p.ID()+" is up at "+srv.url(), "id", p.ID(), "publisher", srv.url()); err != nil {
		return err
	}
	return serveAll(ctx, log, served{srv, p.doors, p.beside})
}

func orPath(given, byDefault string) string {
	if given != "" {
		return given
	}
	return byDefault
}

type agentCmd struct {
	Service     string `help:"The service that the agent stands beside." default:"sidecar"`
	Instance    string `help:"The instance of it; unique in the service. Default: the host's name." placeholder:"NAME"`
	AgentListen string `help:"Where the agent listens; unix:/path for a socket." default:"127.0.0.1:7481" placeholder:"HOST:PORT"`
	askedFlags
	tlsFlags
	Keys           string        `help:"Publishers' public keys, a JWKS file or URL. Default: publishers.jwks in DIR." placeholder:"FILE|URL"`
	Bound          time.Duration `help:"How old the newest beacon may be while the agent calls itself fresh; 10s with a cluster." default:"5s"`
	AllowUnsynced  bool          `help:"Decide from what is known even before the first sync."`
	CacheTokens    int           `help:"Of how many tokens to keep what reading them gave, in up to 4 KiB each; 0 reads every token anew." default:"10000"`
	RevocationOnly bool          `help:"Verify no signatures, even though realms are configured."`
	Dev            bool          `help:"Verify tokens of the development realms of DIR too."`
}

func (c *agentCmd) Help() string {
	return `Keeps its set in DIR/agent and answers /check, /introspect, /observe, /v1/status, /v1/watch, /metrics,
/healthz and /readyz; with --grpc-listen Envoy's ext_authz over gRPC, too. With realms in the
configuration it verifies tokens; without, it is revocation-only and says so in a header.

A token that was read and verified is not read again while it lives and its issuer lists the same
keys; whether it was revoked is asked at every request.`
}

// Validate is kong's.
func (c *agentCmd) Validate() error {
	if c.Service == "" {
		return errors.New("--service must not be empty")
	}
	return errors.Join(checkListen("--agent-listen", c.AgentListen), checkKeys(c.Keys), c.tlsFlags.validate(),
		c.askedFlags.validate(), notNegative("--bound", c.Bound), notNegative("--cache-tokens", c.CacheTokens))
}

func (c *agentCmd) Run(ctx context.Context, g *globals) (err error) {
	log := g.logger()
	keys, err := keySource(orPath(c.Keys, g.path(jwksFile)))
	if err != nil {
		return err
	}
	secure, err := c.tlsFlags.config(tls.RequireAndVerifyClientCert)
	if err != nil {
		return err
	}
	srv, err := listen("agent", c.AgentListen, secure)
	if err != nil {
		return err
	}
	defer srv.listener.Close()
	envoy, err := c.askedFlags.listen(secure)
	if err != nil {
		return err
	}
	defer envoy.Close()
	nc, err := g.connect(log, "rescind agent "+c.Service)
	if err != nil {
		return err
	}
	defer nc.Close()
	var realms *realm.Realms
	if !c.RevocationOnly && (c.Dev || len(g.file.Realms) > 0) {
		if realms, err = g.openRealms(ctx, c.Dev, log); err != nil {
			return err
		}
		defer realms.Close()
	}
	if realms == nil && !c.RevocationOnly {
		log.Warn("there are no realms: whoever asks this agent must verify tokens, it does not (--revocation-only says that this is meant)")
	}
	a, err := g.openAgent(ctx, nc, realms, subscriber.Config{Service: c.Service, Instance: c.Instance, Dir: g.path("agent"),
		Keys: keys, Bound: c.Bound, AllowUnsynced: c.AllowUnsynced, Logger: log},
		c.askedFlags.sidecar(sidecar.Config{CacheTokens: cacheTokens(c.CacheTokens)}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	name := a.Status().Agent.Name()
	text, pairs := "agent "+name+" is up at "+srv.url(), []string{"name", name, "agent", srv.url()}
	if where := envoy.address(); where != "" {
		text, pairs = text+", for Envoy at "+where, append(pairs, "grpc", where)
	}
	if err := g.announce(text, pairs...); err != nil {
		return err
	}
	return serveAll(ctx, log, served{srv, a.sidecar, envoy.serving(a.sidecar, log)})
}

// cacheTokens gives the flag's value as the sidecar has it, where 0 is the default.
func cacheTokens(flag int) int {
	if flag == 0 {
		return -1
	}
	return flag
}
