package fleettest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/fleettest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/subscriber"
)

// revokeMany revokes n tokens, one by one, and gives them. While the bus is away
// they are queued.
func revokeMany(t *testing.T, f *fleettest.Fleet, n int) []*events.Token {
	t.Helper()
	var out []*events.Token
	for i := range n {
		tok := f.Token(t, realm.TokenRequest{User: fmt.Sprintf("u%d", i)})
		o := fleettest.Order(fleettest.OneToken(tok))
		o.Wait = publisher.WaitNone
		if _, err := f.Publisher.Revoke(t.Context(), o); err != nil && !errors.Is(err, publisher.ErrQueued) {
			t.Fatal(err)
		}
		out = append(out, tok)
	}
	return out
}

func awaitRevoked(t *testing.T, a *subscriber.Agent, tokens ...*events.Token) {
	t.Helper()
	for i, tok := range tokens {
		bustest.Eventually(t, fmt.Sprintf("token %d of %d is refused", i, len(tokens)), func() bool {
			return errors.Is(a.Check(tok), subscriber.ErrRevoked)
		})
	}
}

func TestAgentThatWasDownCatchesUp(t *testing.T) {
	f := fleettest.Start(t)
	a := f.OpenAgents(t, 1)[0]
	first := revokeMany(t, f, 3)
	awaitRevoked(t, a, first...)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	missed := revokeMany(t, f, 100)
	a = f.OpenAgent(t, "a0")
	for i, tok := range first {
		if err := a.Check(tok); err != subscriber.ErrRevoked {
			t.Errorf("token %d right after opening: %v, want ErrRevoked from the stored set", i, err)
		}
	}
	awaitRevoked(t, a, missed...)
	f.AwaitFresh(t, a)
}

func TestMemoryAgentIsNotReadyUntilSynced(t *testing.T) {
	f := fleettest.Start(t)
	tok := revokeMany(t, f, 1)[0]
	f.Server.Stop(t)
	memory := func(c *subscriber.Config) { c.Dir = "" }
	a := f.OpenAgent(t, "m", memory)
	if err := a.Check(tok); err != subscriber.ErrNotReady {
		t.Errorf("before any sync: %v, want ErrNotReady", err)
	}
	f.Server.Start(t)
	awaitRevoked(t, a, tok)
	f.AwaitFresh(t, a)
}

func TestLostStreamIsRefilledFromTheLedger(t *testing.T) {
	for _, tc := range []struct {
		name string
		lose func(t *testing.T, f *fleettest.Fleet, early string)
	}{
		{"purged", func(t *testing.T, f *fleettest.Fleet, _ string) {
			f.Server.Purge(t, events.DefaultFleet, events.Control)
		}},
		{"made again", func(t *testing.T, f *fleettest.Fleet, _ string) {
			f.Server.Remake(t, events.DefaultFleet, events.Control)
		}},
		{"rolled back", func(t *testing.T, f *fleettest.Fleet, early string) { f.Server.RollBack(t, early) }},
		{"lost its tail", func(t *testing.T, f *fleettest.Fleet, _ string) {
			f.Server.LoseTail(t, events.DefaultFleet, events.Control, 4)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := fleettest.Start(t)
			a := f.OpenAgents(t, 1)[0]
			tokens := revokeMany(t, f, 3)
			early := f.Server.Snapshot(t)
			f.AwaitFresh(t, a)
			tokens = append(tokens, revokeMany(t, f, 5)...)
			awaitRevoked(t, a, tokens...)
			tc.lose(t, f, early)

			newcomer := f.OpenAgent(t, "newcomer")
			awaitRevoked(t, newcomer, tokens...)
			f.AwaitFresh(t, a, newcomer)
			awaitRevoked(t, a, tokens...)
			bustest.Eventually(t, "both agents hold the same set", func() bool {
				return a.Status().Digest == newcomer.Status().Digest
			})
			more := revokeMany(t, f, 1)
			awaitRevoked(t, a, more...)
			awaitRevoked(t, newcomer, more...)
		})
	}
}

func TestDamagedFileIsRebuilt(t *testing.T) {
	f := fleettest.Start(t)
	a := f.OpenAgents(t, 1)[0]
	tokens := revokeMany(t, f, 3)
	awaitRevoked(t, a, tokens...)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	f.Server.Stop(t)
	if err := os.Truncate(filepath.Join(f.AgentDir("a0"), "denylist.db"), 0); err != nil {
		t.Fatal(err)
	}
	a = f.OpenAgent(t, "a0")
	if a.Recovered() == "" {
		t.Error("an empty file was taken for an empty denylist")
	}
	if err := a.Check(tokens[0]); err != subscriber.ErrNotReady {
		t.Errorf("while rebuilding: %v, want ErrNotReady", err)
	}
	if s := a.Status().State; s != events.Rebuilding {
		t.Errorf("state %s, want rebuilding", s)
	}
	f.Server.Start(t)
	awaitRevoked(t, a, tokens...)
	f.AwaitFresh(t, a)
}

func TestAgentNeverFreshBeforeABeacon(t *testing.T) {
	f := fleettest.Start(t)
	a := f.OpenAgents(t, 1)[0]
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Publisher.Close(); err != nil {
		t.Fatal(err)
	}
	tok := f.Token(t, realm.TokenRequest{User: "u"})
	a = f.OpenAgent(t, "a0")
	bustest.Eventually(t, "agent has looked at the streams", func() bool { return a.Status().State == events.Stale })
	if err := a.CheckWithin(tok, time.Hour); err != subscriber.ErrStale {
		t.Errorf("with MaxStaleness and no beacon: %v, want ErrStale", err)
	}
	if err := a.Check(tok); err != nil {
		t.Errorf("without MaxStaleness: %v, want a decision from the stored set", err)
	}
	f.Publisher = f.OpenPublisher(t)
	f.AwaitFresh(t, a)
}

func TestBusAwayQueuesOnceAndRetriesJoin(t *testing.T) {
	f := fleettest.Start(t)
	a := f.OpenAgents(t, 1)[0]
	tok := f.Token(t, realm.TokenRequest{User: "jack"})
	a.Observe(tok)
	f.Server.Stop(t)
	var id events.EventID
	for i := range 4 {
		res, err := f.Publisher.Revoke(t.Context(), fleettest.Order(target(events.KindUser, "demo", "jack")))
		if !errors.Is(err, publisher.ErrQueued) || res == nil {
			t.Fatalf("try %d: %v, want ErrQueued with a result", i, err)
		}
		if i > 0 && res.ID != id {
			t.Errorf("try %d is request %s, want it to join %s", i, res.ID, id)
		}
		id = res.ID
	}
	f.Server.Start(t)
	awaitRevoked(t, a, tok)
	f.AwaitFresh(t, a)
	if n := a.Status().Entries; n != 1 {
		t.Errorf("%d entries, want those of one call", n)
	}
	bustest.Eventually(t, "the receipt is written", func() bool {
		rec, _, err := f.Publisher.Revocation(id)
		return err == nil && rec.Receipt != nil && rec.Receipt.Complete && rec.Receipt.Invalidated == 1
	})
}

func TestAcceptedWhileAwaySurvivesAPublisherRestart(t *testing.T) {
	f := fleettest.Start(t)
	a := f.OpenAgents(t, 1)[0]
	tok := f.Token(t, realm.TokenRequest{User: "jack"})
	f.Server.Stop(t)
	if _, err := f.Publisher.Revoke(t.Context(), fleettest.Order(fleettest.OneToken(tok))); !errors.Is(err, publisher.ErrQueued) {
		t.Fatalf("%v, want ErrQueued", err)
	}
	if err := f.Publisher.Close(); err != nil {
		t.Fatal(err)
	}
	f.Publisher = f.OpenPublisher(t)
	f.Server.Start(t)
	awaitRevoked(t, a, tok)
}

func TestForgedMessagesChangeNothing(t *testing.T) {
	f := fleettest.Start(t)
	signer := func(publisher string) *events.Signer {
		s, err := events.NewSigner(publisher)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	// Keys that the agent knows under bounds which their holders do not keep.
	stranger, wide, alias := signer("p1"), signer("p2"), signer("p3")
	bounded := events.NewKeySet(f.Signer.Public(),
		&events.PublicKey{ID: wide.Public().ID, Public: wide.Public().Public, Publisher: "p2", Kinds: []events.Kind{events.KindToken}},
		&events.PublicKey{ID: alias.Public().ID, Public: alias.Public().Public, Publisher: "p4"})
	a := f.OpenAgent(t, "a0", func(c *subscriber.Config) { c.Keys = bounded })
	f.AwaitFresh(t, a)
	awaitRevoked(t, a, revokeMany(t, f, 1)...)
	before := a.Status().Digest
	bus, nc := f.Server.Bus(t, events.DefaultFleet), f.Connect(t)
	forge := func(s *events.Signer, fleet events.Fleet) []byte {
		id := events.NewEventID()
		raw, err := s.Sign(&events.Revocation{ID: id, Txn: id, Issuer: fleettest.Issuer, Fleet: fleet, IssuedAt: 1,
			Target: events.Target{Kind: events.KindAll}, NotBefore: time.Now().Unix(), Expires: time.Now().Unix() + 3600,
			Initiator: events.ByAdmin, Origin: events.Origin{Publisher: s.Public().Publisher, Incarnation: id, Counter: 1}})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	broken := forge(f.Signer, events.DefaultFleet)
	if at := len(broken) - 5; broken[at] == 'A' {
		broken[at] = 'B'
	} else {
		broken[at] = 'A'
	}
	for name, raw := range map[string][]byte{
		"signature": broken, "audience": forge(f.Signer, "other"), "garbage": []byte("{}"), "empty": {},
		"kind": forge(wide, events.DefaultFleet), "publisher": forge(alias, events.DefaultFleet),
	} {
		if _, err := bus.Publish(t.Context(), events.Control, "", raw); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	// One that says it is the next on the live subject, with an unknown key.
	m := nats.NewMsg(events.DefaultFleet.LiveSubject(events.Control))
	m.Data = forge(stranger, events.DefaultFleet)
	m.Header.Set("Nats-Stream", events.DefaultFleet.StreamName(events.Control))
	m.Header.Set("Nats-Sequence", "99999999999999999")
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	// And one that the server itself injects, asked to answer onto the live subject.
	req := nats.NewMsg("$JS.API.DIRECT.GET." + events.DefaultFleet.StreamName(events.Control))
	req.Reply, req.Data = events.DefaultFleet.EventSubject(events.Control), []byte(`{"seq":1}`)
	if err := nc.PublishMsg(req); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("status %+v", a.Status())
		}
	})
	bustest.Eventually(t, "the refusals are counted", func() bool {
		r := a.Status().Rejected
		return r["signature"] > 0 && r["audience"] > 0 && r["malformed"] > 1 && r["key_bounds"] > 1
	})
	bustest.Eventually(t, "the refusals are reported", func() bool {
		for _, info := range f.Publisher.Agents() {
			if len(info.Faults) > 2 {
				return true
			}
		}
		return false
	})
	f.AwaitFresh(t, a)
	if got := a.Status().Digest; got != before {
		t.Errorf("digest changed from %s to %s", before, got)
	}
	if err := a.Check(f.Token(t, realm.TokenRequest{User: "u"})); err != nil {
		t.Errorf("a live token: %v", err)
	}
}

func TestUnknownKeyIsParkedAndAppliedWhenItArrives(t *testing.T) {
	f := fleettest.Start(t)
	second, err := events.NewSigner("p2")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys.jwks")
	write := func(set *events.KeySet) {
		b, err := set.MarshalJSON()
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(f.Keys)
	a := f.OpenAgent(t, "a0", func(c *subscriber.Config) {
		c.Keys, c.KeysEvery = subscriber.KeysFile(path), 300*time.Millisecond
	})
	f.AwaitFresh(t, a)
	tok := f.Token(t, realm.TokenRequest{User: "u"})
	id := events.NewEventID()
	raw, err := second.Sign(&events.Revocation{ID: id, Txn: id, Issuer: fleettest.Issuer, Fleet: events.DefaultFleet,
		IssuedAt: time.Now().Unix(), Target: events.Target{Kind: events.KindToken, Identities: []events.Identity{tok.Identity}},
		Expires: time.Now().Unix() + 3600, Initiator: events.ByAdmin,
		Origin: events.Origin{Publisher: "p2", Incarnation: id, Counter: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Server.Bus(t, events.DefaultFleet).Publish(t.Context(), events.Control, id.String(), raw); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "agent is untrusted", func() bool { return a.Status().State == events.Untrusted })
	if err := a.CheckWithin(tok, time.Hour); err != subscriber.ErrStale {
		t.Errorf("with something parked and MaxStaleness: %v, want ErrStale", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = f.OpenAgent(t, "a0", func(c *subscriber.Config) {
		c.Keys, c.KeysEvery = subscriber.KeysFile(path), 300*time.Millisecond
	})
	bustest.Eventually(t, "agent is untrusted after a restart too", func() bool { return a.Status().State == events.Untrusted })
	write(events.NewKeySet(f.Signer.Public(), second.Public()))
	awaitRevoked(t, a, tok)
	f.AwaitFresh(t, a)
}

func TestLiftTakesOneEventAway(t *testing.T) {
	f := fleettest.Start(t)
	a := f.OpenAgents(t, 1)[0]
	tok := f.Token(t, realm.TokenRequest{User: "jack"})
	one := f.Revoke(t, fleettest.OneToken(tok))
	two := f.Revoke(t, target(events.KindUser, "demo", "jack"))
	f.Revoke(t, publisher.Target{Kind: events.KindLift, Lifted: two.ID})
	if err := a.Check(tok); err != subscriber.ErrRevoked {
		t.Errorf("after lifting one of two: %v, want ErrRevoked", err)
	}
	f.Revoke(t, publisher.Target{Kind: events.KindLift, Lifted: one.Events[0].ID})
	if err := a.Check(tok); err != nil {
		t.Errorf("after lifting both: %v, want nil", err)
	}
	if f.Publisher.Revoked(tok) {
		t.Error("the publisher still refuses it")
	}
}

// TestOrderAfterALiftStands: what comes after a lift must not be taken away by it.
func TestOrderAfterALiftStands(t *testing.T) {
	f := fleettest.Start(t)
	a := f.OpenAgents(t, 1)[0]
	tok := f.Token(t, realm.TokenRequest{User: "zoe"})
	f.Server.Stop(t)
	queue := func(target publisher.Target) events.EventID {
		t.Helper()
		res, err := f.Publisher.Revoke(t.Context(), fleettest.Order(target))
		if !errors.Is(err, publisher.ErrQueued) {
			t.Fatalf("%v, want ErrQueued", err)
		}
		return res.ID
	}
	first := queue(target(events.KindUser, "demo", "zoe"))
	queue(publisher.Target{Kind: events.KindLift, Lifted: first})
	if again := queue(target(events.KindUser, "demo", "zoe")); again == first {
		t.Error("the order after the lift joined the one that was lifted")
	}
	f.Server.Start(t)
	awaitRevoked(t, a, tok)
}

// TestRemovedKeyOwesNothing: after a publisher's key is taken out of use and
// another is added, nobody publishes the old key's events again.
func TestRemovedKeyOwesNothing(t *testing.T) {
	f := fleettest.Start(t)
	other, err := events.NewSigner("p2")
	if err != nil {
		t.Fatal(err)
	}
	third, err := events.NewSigner("p3")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Publisher.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys.jwks")
	write := func(keys ...*events.PublicKey) {
		b, err := events.NewKeySet(keys...).MarshalJSON()
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(f.Signer.Public(), other.Public())
	f.Publisher = f.OpenPublisher(t, func(c *publisher.Config) { c.Keys = subscriber.KeysFile(path) })
	a := f.OpenAgent(t, "a0", func(c *subscriber.Config) { c.Keys, c.KeysEvery = subscriber.KeysFile(path), 200*time.Millisecond })
	f.AwaitFresh(t, a)
	bus := f.Server.Bus(t, events.DefaultFleet)
	tok := f.Token(t, realm.TokenRequest{User: "u"})
	event := func(s *events.Signer) {
		id := events.NewEventID()
		raw, err := s.Sign(&events.Revocation{ID: id, Txn: id, Issuer: fleettest.Issuer, Fleet: events.DefaultFleet,
			IssuedAt: time.Now().Unix(), Target: events.Target{Kind: events.KindToken, Identities: []events.Identity{tok.Identity}},
			Expires: time.Now().Unix() + 3600, Initiator: events.ByAdmin,
			Origin: events.Origin{Publisher: s.Public().Publisher, Incarnation: id, Counter: 1}})
		if err == nil {
			_, err = bus.Publish(t.Context(), events.Control, id.String(), raw)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	event(other)
	awaitRevoked(t, a, tok)
	bustest.Eventually(t, "the publisher has it", func() bool { return f.Publisher.Revoked(tok) })
	write(f.Signer.Public(), third.Public())
	// An event by the new key makes publisher and agent read the keys again.
	tok = f.Token(t, realm.TokenRequest{User: "v"})
	event(third)
	awaitRevoked(t, a, tok)
	bustest.Eventually(t, "the publisher has it", func() bool { return f.Publisher.Revoked(tok) })
	messages := func() uint64 {
		info, err := bus.Info(t.Context(), events.Control)
		if err != nil {
			t.Fatal(err)
		}
		return info.Msgs
	}
	pause := func() {
		began := time.Now()
		bustest.Eventually(t, "several beacons have passed", func() bool { return time.Since(began) > 3*time.Second })
	}
	if pause(); messages() != 2 {
		t.Errorf("the stream has %d messages, want the 2 that were published", messages())
	}
	f.AwaitFresh(t, a)
	f.Server.Purge(t, events.DefaultFleet, events.Control)
	bustest.Eventually(t, "what is trusted is back", func() bool { return messages() > 0 })
	if pause(); messages() != 1 {
		t.Errorf("after a purge the stream has %d messages, want the one that is trusted", messages())
	}
	f.AwaitFresh(t, a)
}
