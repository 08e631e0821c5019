// Package guardtest gives the tests of guards a fleet without a publisher: a real
// nats-server, a real agent, signed events and beacons, and tokens of the
// development realms. The test sends what a publisher would, when it wants to.
package guardtest

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber"
)

const (
	fleet     = events.DefaultFleet
	publisher = "p1"
	issuer    = "http://127.0.0.1:7480"
)

// Fleet is a server with the fleet's streams, and the realms demo and partner.
// Its methods must not be called at the same time, except Token and Verify.
type Fleet struct {
	Server *bustest.Server
	Bus    *bus.Bus
	Dev    *realm.Dev
	Realms *realm.Realms

	signer      *events.Signer
	incarnation events.EventID
	beacons     uint64
	events      uint64
}

// Start starts a fleet, which ends with the test.
func Start(t testing.TB) *Fleet {
	t.Helper()
	f := &Fleet{Server: bustest.Start(t), incarnation: events.NewEventID()}
	f.Bus = f.Server.Bus(t, fleet)
	var err error
	if f.signer, err = events.NewSigner(publisher); err != nil {
		t.Fatal(err)
	}
	if f.Dev, err = realm.OpenDev(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if f.Realms, err = realm.New(f.Dev.Configs(), realm.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Realms.Close)
	return f
}

// Unsynced opens an agent that has heard no beacon. One beacon keeps it fresh for
// a minute.
func (f *Fleet) Unsynced(t testing.TB) *subscriber.Agent {
	t.Helper()
	a, err := subscriber.Open(t.Context(), f.Server.Connect(t), subscriber.Config{Service: "test", Instance: "agent",
		Keys: events.NewKeySet(f.signer.Public()), Bound: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("closing agent: %v", err)
		}
	})
	return a
}

// Fresh opens an agent and waits until it is fresh.
func (f *Fleet) Fresh(t testing.TB) *subscriber.Agent {
	t.Helper()
	a := f.Unsynced(t)
	f.Refresh(t, a)
	return a
}

// Refresh sends beacons until the agent is fresh.
func (f *Fleet) Refresh(t testing.TB, a *subscriber.Agent) {
	t.Helper()
	bustest.Eventually(t, "the agent is fresh", func() bool {
		f.beacon(t, 0)
		return a.Ready() && a.Status().State == events.Fresh
	})
}

// Owe sends a beacon by which the control stream lacks an event: nobody who hears
// it is fresh.
func (f *Fleet) Owe(t testing.TB) {
	t.Helper()
	f.beacon(t, 1)
}

func (f *Fleet) beacon(t testing.TB, owed int) {
	t.Helper()
	f.beacons++
	b := &events.Beacon{Origin: events.Origin{Publisher: publisher, Incarnation: f.incarnation, Counter: f.beacons},
		SentAt: time.Now().UnixMilli(), Streams: map[events.Stream]events.Watermark{}}
	for _, s := range events.EventStreams {
		i, err := f.Bus.Info(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		b.Streams[s] = events.Watermark{Epoch: i.Epoch, First: i.First, Last: i.Last, Owed: owed}
	}
	raw, err := f.signer.SignBeacon(fleet, issuer, b)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Bus.Conn().Publish(fleet.BeaconSubject(), raw); err != nil {
		t.Fatal(err)
	}
}

// Revoke publishes a revocation of what was issued up to now.
func (f *Fleet) Revoke(t testing.TB, target events.Target) *events.Revocation {
	t.Helper()
	r, raw := f.sign(t, target)
	if _, err := f.Bus.Publish(t.Context(), target.Kind.Stream(), r.ID.String(), raw); err != nil {
		t.Fatal(err)
	}
	return r
}

// RevokeMany publishes n revocations of a token each, many at once.
func (f *Fleet) RevokeMany(t testing.TB, n int) {
	t.Helper()
	work := make(chan []byte)
	var publishers sync.WaitGroup
	for range 32 {
		publishers.Go(func() {
			for raw := range work {
				if _, err := f.Bus.Publish(t.Context(), events.Control, "", raw); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		id := events.OpaqueIdentity(strconv.Itoa(i))
		_, raw := f.sign(t, events.Target{Kind: events.KindToken, Identities: []events.Identity{id}})
		work <- raw
	}
	close(work)
	publishers.Wait()
}

func (f *Fleet) sign(t testing.TB, target events.Target) (*events.Revocation, []byte) {
	t.Helper()
	f.events++
	now := time.Now().Unix()
	r := &events.Revocation{ID: events.NewEventID(), Txn: events.NewEventID(), Issuer: issuer, Fleet: fleet,
		IssuedAt: now, Target: target, Expires: now + 3600, Initiator: events.ByAdmin,
		Origin: events.Origin{Publisher: publisher, Incarnation: f.incarnation, Counter: f.events}}
	if target.Kind.HasCutoff() {
		r.NotBefore = now
	}
	raw, err := f.signer.Sign(r)
	if err != nil {
		t.Fatal(err)
	}
	return r, raw
}

// RevokeToken publishes a revocation of one token.
func (f *Fleet) RevokeToken(t testing.TB, raw string) *events.Revocation {
	t.Helper()
	tok := Parse(t, raw)
	return f.Revoke(t, events.Target{Kind: events.KindToken, Identities: []events.Identity{tok.Identity},
		Issuer: tok.Issuer, JTI: tok.JTI})
}

// RevokeUser publishes a revocation of a user of the realm demo.
func (f *Fleet) RevokeUser(t testing.TB, user string) *events.Revocation {
	t.Helper()
	demo, _ := f.Realms.Get("demo")
	return f.Revoke(t, demo.UserTarget(user))
}

// Token issues a token, ten seconds ago unless the request says otherwise, so
// that every cutoff from now on hits it.
func (f *Fleet) Token(t testing.TB, req realm.TokenRequest) string {
	t.Helper()
	if req.Now.IsZero() {
		req.Now = time.Now().Add(-10 * time.Second)
	}
	raw, err := f.Dev.Issue(req)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Verify verifies as a service would.
func (f *Fleet) Verify(ctx context.Context, raw string) (jwt.MapClaims, error) {
	v, err := f.Realms.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	return v.Claims, nil
}

// Within waits for what must come soon.
func Within[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: nothing", what)
	}
	return v
}

// Parse reads a token that must be readable.
func Parse(t testing.TB, raw string) *events.Token {
	t.Helper()
	tok, err := events.ParseToken(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}
