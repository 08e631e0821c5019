// Package subscribertest gives a program that embeds an agent a whole fleet for its
// own tests, in their process: a NATS server, a publisher and agents, nothing of which
// is a mock.
//
//	fleet := subscribertest.New(t, "https://idp.example.com")
//	h := guard.Middleware(fleet.Agent(t), verify)(handler)
//	fleet.RevokeUser(t, "jack") // h refuses jack's tokens when it returns
//
// Everything ends with the test. It links the NATS server and the publisher: it is for
// tests only.
package subscribertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/subscriber"
)

// Realm is the name of the fleet's realm.
const Realm = "test"

// patience is how long anything may take before the test fails.
const patience = 20 * time.Second

// Fleet is a fleet with one realm, whose issuers are those that New was given. Its
// methods are safe for concurrent use.
type Fleet struct {
	srv  *bustest.Server
	pub  *publisher.Publisher
	keys *events.KeySet

	mu     sync.Mutex
	agents int
}

// New starts a fleet, and ends it with the test. issuers are the values of iss of the
// tokens that the test makes: at least one. It fails the test when it cannot start.
func New(t testing.TB, issuers ...string) *Fleet {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dir := t.TempDir()
	f := &Fleet{srv: bustest.Start(t)}
	nc := f.srv.Bus(t, events.DefaultFleet).Conn()
	realms := openRealms(t, dir, issuers)
	signer, err := events.NewSigner("test")
	if err != nil {
		t.Fatalf("subscribertest: %v", err)
	}
	f.keys = events.NewKeySet(signer.Public())
	if f.pub, err = publisher.Open(ctx, nc, publisher.Config{Issuer: "http://subscribertest.invalid", Signer: signer, Keys: f.keys,
		Realms: realms, Dir: filepath.Join(dir, "publisher"), ListenFor: time.Millisecond}); err != nil {
		t.Fatalf("subscribertest: %v", err)
	}
	t.Cleanup(func() {
		if err := f.pub.Close(); err != nil {
			t.Errorf("subscribertest: closing the publisher: %v", err)
		}
	})
	bustest.Eventually(t, "the publisher is ready", func() bool { return f.pub.Ready() == nil })
	return f
}

// openRealms makes the realm. Nothing here verifies a token: the service does, and the
// keys are nobody's.
func openRealms(t testing.TB, dir string, issuers []string) *realm.Realms {
	t.Helper()
	keys := filepath.Join(dir, "none.jwks")
	if err := os.WriteFile(keys, []byte(`{"keys":[]}`), 0o600); err != nil {
		t.Fatalf("subscribertest: %v", err)
	}
	realms, err := realm.New(map[string]realm.Config{Realm: {Issuers: issuers, JWKS: keys}}, realm.Options{})
	if err != nil {
		t.Fatalf("subscribertest: %v", err)
	}
	t.Cleanup(realms.Close)
	return realms
}

// Agent opens an agent and waits until it is fresh and the publisher knows it. opts
// change its configuration: it keeps no file unless Dir is set.
func (f *Fleet) Agent(t testing.TB, opts ...func(*subscriber.Config)) *subscriber.Agent {
	t.Helper()
	f.mu.Lock()
	f.agents++
	c := subscriber.Config{Service: "test", Instance: strconv.Itoa(f.agents), Keys: f.keys}
	f.mu.Unlock()
	for _, o := range opts {
		o(&c)
	}
	a, err := subscriber.Open(context.Background(), f.srv.Connect(t, nats.MaxReconnects(-1)), c)
	if err != nil {
		t.Fatalf("subscribertest: %v", err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("subscribertest: closing an agent: %v", err)
		}
	})
	bustest.Eventually(t, "the agent is fresh", func() bool { return a.State() == events.Fresh })
	bustest.Eventually(t, "the publisher knows the agent", func() bool {
		for _, known := range f.pub.Agents() {
			if known.Service == c.Service && known.Name == c.Service+"/"+c.Instance {
				return true
			}
		}
		return false
	})
	return a
}

// RevokeUser revokes the tokens of a user that were issued until now, and a second
// more: the user's next token must be issued after that. Users are known by sub. It
// returns when all agents refuse them.
func (f *Fleet) RevokeUser(t testing.TB, user string) {
	t.Helper()
	f.revoke(t, publisher.Target{Kind: events.KindUser, Realm: Realm, Value: user})
}

// RevokeSession revokes the tokens of a session, by their sid. It returns when all
// agents refuse them.
func (f *Fleet) RevokeSession(t testing.TB, sid string) {
	t.Helper()
	f.revoke(t, publisher.Target{Kind: events.KindSession, Realm: Realm, Value: sid})
}

// RevokeToken revokes one token, in compact form, whose signature is not looked at. It
// returns when all agents refuse it.
func (f *Fleet) RevokeToken(t testing.TB, raw string) {
	t.Helper()
	tok, err := events.ParseToken(raw)
	if err != nil {
		t.Fatalf("subscribertest: %v", err)
	}
	f.revoke(t, publisher.Target{Kind: events.KindToken, Realm: Realm, Tokens: []publisher.Token{{Token: tok, Realm: Realm}}})
}

// RevokeAll revokes every token that was issued until now, and a second more. It
// returns when all agents refuse them.
func (f *Fleet) RevokeAll(t testing.TB) {
	t.Helper()
	f.revoke(t, publisher.Target{Kind: events.KindAll})
}

func (f *Fleet) revoke(t testing.TB, target publisher.Target) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	res, err := f.pub.Revoke(ctx, publisher.Order{Target: target, Wait: publisher.WaitAll, Timeout: patience, Caller: "test", Door: "subscribertest", Initiator: events.ByAdmin})
	switch {
	case err != nil:
		t.Fatalf("subscribertest: revoking: %v", err)
	case !res.Complete && len(f.pub.Agents()) > 0:
		t.Fatalf("subscribertest: revoking: %s", fmt.Sprint(res.Errors))
	}
}

// StopNATS stops the NATS server for good, as an outage would: what the agents know is
// what they decide by, and grows stale.
func (f *Fleet) StopNATS(t testing.TB) {
	t.Helper()
	f.srv.Stop(t)
}
