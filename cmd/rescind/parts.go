package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/publisher/intake"
	"github.com/rescind/rescind/publisher/transmit"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
)

// openRealms opens the configured realms, and with dev the development realms
// beside them.
func (g *globals) openRealms(ctx context.Context, dev bool, log *slog.Logger) (*realm.Realms, error) {
	configs := map[string]realm.Config{}
	if dev {
		d, err := realm.OpenDev(g.Dir)
		if err != nil {
			return nil, err
		}
		configs = d.Configs()
	}
	maps.Copy(configs, g.file.Realms)
	realms, err := realm.New(configs, realm.Options{Logger: log, BaseDir: g.file.dir()})
	if err != nil {
		return nil, g.file.wrong(err)
	}
	loading, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := realms.Load(loading); err != nil {
		log.Warn("keys of a realm are not there yet", "err", err)
	}
	return realms, nil
}

// publisherPart is a publisher with its doors.
type publisherPart struct {
	*publisher.Publisher
	auth         *intake.Authenticator
	transmitters *intake.Transmitters
	transmitter  *transmit.Transmitter
	doors        *intake.Server
}

// doorFlags are the flags of up and publisher about doors.
type doorFlags struct {
	GlobalTokenRevocation bool     `help:"Open /global-token-revocation too: what Okta calls Universal Logout."`
	SSFKey                string   `name:"ssf-key" help:"Key that security events to receivers outside of the fleet are signed with. Default: ssf.key in DIR, if it is there." placeholder:"FILE"`
	SSFAllow              []string `name:"ssf-allow" help:"Addresses that events may be pushed to although they are private or loopback, there by plain HTTP too." placeholder:"CIDR"`
}

func (f *doorFlags) validate() error {
	_, err := f.prefixes()
	return err
}

func (f *doorFlags) prefixes() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range f.SSFAllow {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--ssf-allow: %q is not a prefix such as 10.0.0.0/8", text)
		}
		out = append(out, p)
	}
	return out, nil
}

// publisherConfig is what the flags of up and publisher say.
type publisherConfig struct {
	issuer       string
	signer       *events.Signer
	keys         publisher.KeySource
	adminKeyFile string // empty is admin.key of DIR, if it is there
	dir          string
	receiptAfter time.Duration
	doors        doorFlags
}

func (g *globals) openPublisher(ctx context.Context, nc *nats.Conn, realms *realm.Realms, c publisherConfig, log *slog.Logger) (*publisherPart, error) {
	admin, err := g.adminKeySum(c.adminKeyFile, log)
	if err != nil {
		return nil, err
	}
	p, err := publisher.Open(ctx, nc, publisher.Config{Fleet: events.Fleet(g.Fleet), Issuer: c.issuer, Signer: c.signer,
		Keys: c.keys, Realms: realms, Dir: c.dir, Expect: g.file.Expect, ReceiptAfter: c.receiptAfter, Logger: log})
	if err != nil {
		return nil, err
	}
	callers := g.callers(realms, log)
	callers.AdminKeySHA256, callers.Revoked = admin, p.Revoked
	auth, err := intake.NewAuthenticator(callers)
	if err != nil {
		return nil, errors.Join(g.file.wrong(err), p.Close())
	}
	part := &publisherPart{Publisher: p, auth: auth}
	registry := prometheus.NewRegistry()
	if part.transmitter, err = g.openTransmitter(nc, p, c, registry, log); err != nil {
		return nil, errors.Join(err, part.Close())
	}
	part.transmitters, err = intake.OpenTransmitters(g.file.SSFTransmitters, realms, g.keyOptions(log))
	if err != nil {
		return nil, errors.Join(g.file.wrong(err), part.Close())
	}
	part.doors, err = intake.New(intake.Config{Publisher: p, Authenticator: auth, Realms: realms, Logger: log, Registry: registry,
		GlobalTokenRevocation: c.doors.GlobalTokenRevocation, Transmitters: part.transmitters, Transmitter: part.transmitter,
		Limits: g.file.RateLimits})
	if err != nil {
		return nil, errors.Join(err, part.Close())
	}
	return part, nil
}

// openTransmitter makes what sends events to receivers outside of the fleet, nil
// without a key for it.
func (g *globals) openTransmitter(nc *nats.Conn, p *publisher.Publisher, c publisherConfig, registry prometheus.Registerer, log *slog.Logger) (*transmit.Transmitter, error) {
	key, err := g.readSSFKey(c.doors.SSFKey, log)
	if key == nil || err != nil {
		return nil, err
	}
	prefixes, err := c.doors.prefixes()
	if err != nil {
		return nil, usage("%v", err)
	}
	b, err := bus.New(nc, events.Fleet(g.Fleet))
	if err != nil {
		return nil, err
	}
	return transmit.New(transmit.Config{Bus: b, Keys: p.Keys, Issuer: c.issuer, Key: key, AllowedPrefixes: prefixes, Logger: log, Registry: registry})
}

// beside runs what the doors need beside requests, until ctx ends.
func (p *publisherPart) beside(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { p.doors.Poll(ctx) })
	if p.transmitter != nil {
		group.Go(func() { p.transmitter.Run(ctx) })
	}
	group.Wait()
	return nil
}

// callers are those whom the configuration file names.
func (g *globals) callers(realms *realm.Realms, log *slog.Logger) intake.AuthConfig {
	return intake.AuthConfig{APIKeys: g.file.APIKeys, Users: g.file.Users, Clients: g.file.OAuthClients, TLSClients: g.file.TLSClients,
		Keys: g.keyOptions(log), Realms: realms, AdminRealms: g.file.AdminRealms}
}

// keyOptions are for keys that the configuration file names.
func (g *globals) keyOptions(log *slog.Logger) realm.Options {
	return realm.Options{Logger: log, BaseDir: g.file.dir()}
}

// Close closes the doors' part first: what it fetches is for them.
func (p *publisherPart) Close() error {
	p.auth.Close()
	if p.transmitters != nil {
		p.transmitters.Close()
	}
	return p.Publisher.Close()
}

// agentPart is an agent with its sidecar.
type agentPart struct {
	*subscriber.Agent
	sidecar *sidecar.Sidecar
}

func (g *globals) openAgent(ctx context.Context, nc *nats.Conn, realms *realm.Realms, cfg subscriber.Config, side sidecar.Config) (*agentPart, error) {
	cfg.Fleet, cfg.Version = events.Fleet(g.Fleet), programVersion()
	a, err := subscriber.Open(ctx, nc, cfg)
	if err != nil {
		return nil, err
	}
	debug.FreeOSMemory() // what loading has left behind
	side.Agent, side.Realms, side.Version, side.Logger = a, realms, cfg.Version, cfg.Logger
	s, err := sidecar.New(side)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return &agentPart{a, s}, nil
}

// checkKeys refuses keys that anybody on the way could replace.
func checkKeys(from string) error {
	u, err := url.Parse(from)
	if err != nil || u.Scheme != "http" {
		return nil
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("--keys: over plain http from another host they could be anyone's: use https or a file")
	}
	return nil
}

// keySource reads publishers' keys from a file or a URL.
func keySource(from string) (subscriber.KeySource, error) {
	if err := checkKeys(from); err != nil {
		return nil, usage("%v", err)
	}
	if u, err := url.Parse(from); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
		return subscriber.KeysURL(from, nil), nil
	}
	if _, err := os.Stat(from); err != nil {
		return nil, fmt.Errorf("publishers' keys: %w (rescind keys jwks prints them where the publisher is)", err)
	}
	return subscriber.KeysFile(from), nil
}
