// Package fleettest starts a whole fleet in one process for tests: a real
// nats-server, publishers with real ledgers, agents with real files, and
// development realms that issue real tokens. Everything is stopped and checked
// when the test ends.
package fleettest

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/subscriber"
)

// Fleet is a running fleet with one publisher.
type Fleet struct {
	Server    *bustest.Server
	Signer    *events.Signer
	Keys      *events.KeySet
	Dev       *realm.Dev
	Realms    *realm.Realms
	Publisher *publisher.Publisher

	dir string
	log *slog.Logger
}

// Issuer is the public URL of the fleet's publisher.
const Issuer = "http://127.0.0.1:7480"

// Start starts a server with the fleet's streams and a publisher.
func Start(t testing.TB) *Fleet {
	t.Helper()
	f := &Fleet{Server: bustest.Start(t), dir: t.TempDir(), log: slog.New(slog.DiscardHandler)}
	if os.Getenv("RESCIND_TEST_LOG") != "" {
		f.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var err error
	if f.Signer, err = events.NewSigner("p1"); err != nil {
		t.Fatal(err)
	}
	f.Keys = events.NewKeySet(f.Signer.Public())
	if f.Dev, err = realm.OpenDev(f.dir); err != nil {
		t.Fatal(err)
	}
	if f.Realms, err = realm.New(f.Dev.Configs(), realm.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Realms.Close)
	f.Server.Bus(t, events.DefaultFleet)
	f.Publisher = f.OpenPublisher(t)
	return f
}

// OpenPublisher opens the fleet's publisher, again after it was closed. opts
// change its configuration.
func (f *Fleet) OpenPublisher(t testing.TB, opts ...func(*publisher.Config)) *publisher.Publisher {
	t.Helper()
	cfg := publisher.Config{Issuer: Issuer, Signer: f.Signer, Keys: f.Keys, Realms: f.Realms,
		Dir: filepath.Join(f.dir, "publisher"), ListenFor: 200 * time.Millisecond, Logger: f.log}
	for _, o := range opts {
		o(&cfg)
	}
	p, err := publisher.Open(t.Context(), f.Connect(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("closing publisher: %v", err)
		}
	})
	return p
}

// Connect opens a connection that reconnects for ever, and quickly.
func (f *Fleet) Connect(t testing.TB) *nats.Conn {
	t.Helper()
	return f.Server.Connect(t, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond), nats.RetryOnFailedConnect(true))
}

// AgentDir is the directory of the named agent.
func (f *Fleet) AgentDir(name string) string { return filepath.Join(f.dir, "agents", name) }

// OpenAgent opens an agent, again after it was closed. opts change its
// configuration.
func (f *Fleet) OpenAgent(t testing.TB, name string, opts ...func(*subscriber.Config)) *subscriber.Agent {
	t.Helper()
	cfg := subscriber.Config{Service: "test", Instance: name, Dir: f.AgentDir(name), Keys: f.Keys, Logger: f.log}
	for _, o := range opts {
		o(&cfg)
	}
	a, err := subscriber.Open(t.Context(), f.Connect(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("closing agent %s: %v", name, err)
		}
	})
	return a
}

// OpenAgents opens n agents and waits until they are fresh and the publisher
// knows them.
func (f *Fleet) OpenAgents(t testing.TB, n int) []*subscriber.Agent {
	t.Helper()
	var out []*subscriber.Agent
	for i := range n {
		out = append(out, f.OpenAgent(t, fmt.Sprintf("a%d", i)))
	}
	f.AwaitFresh(t, out...)
	return out
}

// AwaitFresh waits until the agents are fresh, the publisher is ready and knows
// at least so many agents.
func (f *Fleet) AwaitFresh(t testing.TB, agents ...*subscriber.Agent) {
	t.Helper()
	for _, a := range agents {
		bustest.Eventually(t, "agent is fresh", func() bool { return a.Status().State == events.Fresh })
	}
	bustest.Eventually(t, "publisher is ready and knows the agents", func() bool {
		return f.Publisher.Ready() == nil && len(f.Publisher.Agents()) >= len(agents)
	})
}

// Token issues a token and gives it parsed.
func (f *Fleet) Token(t testing.TB, req realm.TokenRequest) *events.Token {
	t.Helper()
	raw, err := f.Dev.Issue(req)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := events.ParseToken(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// Revoke gives an order to the publisher, waiting for all agents.
func (f *Fleet) Revoke(t testing.TB, target publisher.Target) *publisher.Result {
	t.Helper()
	res, err := f.Publisher.Revoke(t.Context(), Order(target))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// Order is an administrator's order that waits 2 s for all agents.
func Order(target publisher.Target) publisher.Order {
	return publisher.Order{Target: target, Caller: "admin", Door: "test", Initiator: events.ByAdmin,
		Wait: publisher.WaitAll, Timeout: 2 * time.Second}
}

// OneToken is the target of one token.
func OneToken(t *events.Token) publisher.Target {
	return publisher.Target{Kind: events.KindToken, Tokens: []publisher.Token{{Token: t, Realm: "demo"}}}
}
