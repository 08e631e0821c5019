package fleettest_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/fleettest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/subscriber"
)

// storeRaw stores a message with a header block that no client library would write.
func storeRaw(t *testing.T, f *fleettest.Fleet, header, data string) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(f.Server.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = fmt.Fprintf(c, "CONNECT {\"verbose\":false,\"headers\":true}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n",
		events.DefaultFleet.EventSubject(events.Control), len(header), len(header)+len(data), header, data)
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if lines.Text() == "PONG" {
			return
		}
	}
	t.Fatal("the server hung up")
}

// TestMessageWhoseHeadersHideItsSequenceStopsNobody stores, next behind an agent's
// position, a message that can only be read alone.
func TestMessageWhoseHeadersHideItsSequenceStopsNobody(t *testing.T) {
	f := fleettest.Start(t)
	a := f.OpenAgents(t, 1)[0]
	awaitRevoked(t, a, revokeMany(t, f, 2)...)
	for range 2 {
		storeRaw(t, f, "NATS/1.0\r\n\r\nX: y\r\n\r\n", "not an event")
	}
	tokens := revokeMany(t, f, 2)
	newcomer := f.OpenAgent(t, "newcomer")
	awaitRevoked(t, a, tokens...)
	awaitRevoked(t, newcomer, tokens...)
	f.AwaitFresh(t, a, newcomer)
}

// TestAgentThatRefusesAnEventHasNotAppliedIt gives one agent a key set that bounds
// the publisher's key more closely.
func TestAgentThatRefusesAnEventHasNotAppliedIt(t *testing.T) {
	f := fleettest.Start(t)
	second, err := events.NewSigner("p2")
	if err != nil {
		t.Fatal(err)
	}
	bounded := *second.Public()
	bounded.Kinds = []events.Kind{events.KindToken}
	both := events.NewKeySet(f.Signer.Public(), second.Public())
	if err := f.Publisher.Close(); err != nil {
		t.Fatal(err)
	}
	f.Keys = both
	f.Publisher = f.OpenPublisher(t, func(c *publisher.Config) {
		c.Signer, c.Dir = second, filepath.Join(t.TempDir(), "p2")
	})
	knows := f.OpenAgent(t, "knows")
	refuses := f.OpenAgent(t, "refuses", func(c *subscriber.Config) { c.Keys = events.NewKeySet(f.Signer.Public(), &bounded) })
	f.AwaitFresh(t, knows, refuses)
	res := f.Revoke(t, target(events.KindUser, "demo", "jack"))
	if res.Complete || len(res.Applied) != 1 || res.Applied[0].Agent != "test/knows" {
		t.Errorf("outcome %+v, want it applied by the other agent, and incomplete", res.Outcome)
	}
}

// TestManyOrdersAtOnceAreAllAnswered runs beside the outbox, which reads what the
// orders have just written.
func TestManyOrdersAtOnceAreAllAnswered(t *testing.T) {
	f := fleettest.Start(t)
	f.OpenAgents(t, 2)
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			for j := range 60 {
				o := fleettest.Order(target(events.KindUser, "demo", fmt.Sprintf("u%d-%d", i, j)))
				o.Timeout = 20 * time.Second
				if res, err := f.Publisher.Revoke(t.Context(), o); err != nil || !res.Complete {
					t.Errorf("order %d-%d: %v, %+v", i, j, err, res)
					return
				}
			}
		})
	}
	work.Wait()
}

func TestOneKeyGivenTwiceAtOnceIsOneRequest(t *testing.T) {
	f := fleettest.Start(t)
	f.OpenAgents(t, 1)
	o := fleettest.Order(target(events.KindUser, "demo", "jack"))
	o.Key = "k"
	ids := make([]events.EventID, 16)
	var work sync.WaitGroup
	for i := range ids {
		work.Go(func() {
			res, err := f.Publisher.Revoke(t.Context(), o)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = res.ID
		})
	}
	work.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("requests %v, want one", ids)
		}
	}
	late := f.OpenAgent(t, "late")
	f.AwaitFresh(t, late)
	res, err := f.Publisher.Revoke(t.Context(), o)
	if err != nil || !res.Replayed || res.ID != ids[0] || res.Elapsed == 0 || !res.Complete {
		t.Errorf("repeated after another agent came: %+v, %v, want the first one's result", res, err)
	}
	o.Target.Value = "jill"
	if _, err := f.Publisher.Revoke(t.Context(), o); !errors.Is(err, publisher.ErrConflict) {
		t.Errorf("with another target: %v, want ErrConflict", err)
	}
}

func TestLiftedEventMarksNoTokenWhicheverComesFirst(t *testing.T) {
	for name, liftFirst := range map[string]bool{"lift first": true, "lift last": false} {
		t.Run(name, func(t *testing.T) {
			f := fleettest.Start(t)
			a := f.OpenAgents(t, 1)[0]
			token := events.OpaqueIdentity("a refresh token")
			observed := events.RefreshToken{Realm: "demo", User: "jack", Expires: time.Now().Unix() + 3600}
			if err := a.ObserveRefresh(token, observed); err != nil {
				t.Fatal(err)
			}
			id, lift := events.NewEventID(), events.NewEventID()
			store := func(id events.EventID, target events.Target, notBefore int64) {
				raw, err := f.Signer.Sign(&events.Revocation{ID: id, Txn: id, Issuer: fleettest.Issuer, Fleet: events.DefaultFleet,
					IssuedAt: time.Now().Unix(), Target: target, NotBefore: notBefore, Expires: time.Now().Unix() + 3600,
					Initiator: events.ByAdmin, Origin: events.Origin{Publisher: "p1", Incarnation: id, Counter: 1}})
				if err == nil {
					_, err = f.Server.Bus(t, events.DefaultFleet).Publish(t.Context(), events.Control, "", raw)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			steps := []func(){
				func() { store(id, events.Target{Kind: events.KindAll}, time.Now().Unix()+1) },
				func() { store(lift, events.Target{Kind: events.KindLift, Lifted: id}, 0) },
			}
			if liftFirst {
				steps[0], steps[1] = steps[1], steps[0]
			}
			var was uint64
			bustest.Eventually(t, "the agent's position is on its disk", func() bool {
				was = a.Status().Positions[events.Control].Seq
				return was != 0
			})
			for i, step := range steps {
				step()
				bustest.Eventually(t, "it is applied", func() bool { return a.Status().Positions[events.Control].Seq == was+uint64(i)+1 })
			}
			if known, refused := a.RefreshRefused(token); !known || refused {
				t.Errorf("known %v, refused %v, want it known and not refused", known, refused)
			}
		})
	}
}

func TestClientRevocationCountsATokenOfBothClaimsOnce(t *testing.T) {
	f := fleettest.Start(t)
	agents := f.OpenAgents(t, 2)
	tok := f.Token(t, realm.TokenRequest{User: "jack", Client: "shop"})
	for _, a := range agents {
		a.Observe(tok)
	}
	if res := f.Revoke(t, target(events.KindClient, "demo", "shop")); res.Invalidated != 1 || res.Previously != 0 {
		t.Errorf("%d invalidated, %d previously, want 1 and 0", res.Invalidated, res.Previously)
	}
}
