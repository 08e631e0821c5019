package fleettest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/fleettest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/subscriber"
)

func target(kind events.Kind, realm, value string) publisher.Target {
	return publisher.Target{Kind: kind, Realm: realm, Value: value}
}

func TestEachKindOfTargetIsRefusedByEveryAgent(t *testing.T) {
	f := fleettest.Start(t)
	agents := f.OpenAgents(t, 3)
	old := time.Now().Add(-time.Minute)
	for _, tc := range []struct {
		name   string
		hit    realm.TokenRequest
		spared realm.TokenRequest
		target func(hit *events.Token) publisher.Target
	}{
		{"token", realm.TokenRequest{User: "a", Now: old}, realm.TokenRequest{User: "a", Now: old}, fleettest.OneToken},
		{"session", realm.TokenRequest{User: "b", Session: "s1", Now: old}, realm.TokenRequest{User: "b", Session: "s2", Now: old},
			func(*events.Token) publisher.Target { return target(events.KindSession, "demo", "s1") }},
		{"client", realm.TokenRequest{User: "c", Client: "c1", Now: old}, realm.TokenRequest{User: "c", Client: "c2", Now: old},
			func(*events.Token) publisher.Target { return target(events.KindClient, "demo", "c1") }},
		{"user in realm", realm.TokenRequest{User: "d", Now: old}, realm.TokenRequest{User: "d", Realm: "partner", Now: old},
			func(*events.Token) publisher.Target { return target(events.KindUser, "demo", "d") }},
		{"user anywhere", realm.TokenRequest{User: "e", Realm: "partner", Now: old}, realm.TokenRequest{User: "e2", Now: old},
			func(*events.Token) publisher.Target { return target(events.KindUser, "", "e") }},
		{"claim", realm.TokenRequest{User: "f", Scope: "x", Now: old}, realm.TokenRequest{User: "f", Scope: "y", Now: old},
			func(*events.Token) publisher.Target {
				return publisher.Target{Kind: events.KindClaim, Realm: "demo", Claim: "scope", Value: "x"}
			}},
		{"realm", realm.TokenRequest{User: "g", Realm: "partner", Now: old}, realm.TokenRequest{User: "g", Now: old},
			func(*events.Token) publisher.Target { return target(events.KindRealm, "partner", "") }},
		{"all", realm.TokenRequest{User: "h", Now: old}, realm.TokenRequest{User: "h", Now: time.Now().Add(time.Hour)},
			func(*events.Token) publisher.Target { return publisher.Target{Kind: events.KindAll} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hit, spared := f.Token(t, tc.hit), f.Token(t, tc.spared)
			for i, a := range agents {
				if err := a.Check(hit); err != nil {
					t.Fatalf("agent %d before: %v", i, err)
				}
				a.Observe(hit)
			}
			res := f.Revoke(t, tc.target(hit))
			if !res.Complete || len(res.Applied) != 3 || res.Invalidated != 1 {
				t.Errorf("outcome %+v, want complete, 3 applied, 1 invalidated", res.Outcome)
			}
			for i, a := range agents {
				if err := a.Check(hit); err != subscriber.ErrRevoked {
					t.Errorf("agent %d: %v, want ErrRevoked", i, err)
				}
				if err := a.Check(spared); err != nil {
					t.Errorf("agent %d: a token that was not meant: %v", i, err)
				}
			}
		})
	}
	for i, a := range agents {
		if got, want := a.Status().Digest, agents[0].Status().Digest; got != want {
			t.Errorf("agent %d has digest %s, agent 0 %s", i, got, want)
		}
	}
}

func TestCountsAreOfTokensNotOfAgents(t *testing.T) {
	f := fleettest.Start(t)
	agents := f.OpenAgents(t, 3)
	for range 5 {
		tok := f.Token(t, realm.TokenRequest{User: "jack"})
		for _, a := range agents {
			a.Observe(tok)
		}
	}
	if res := f.Revoke(t, target(events.KindUser, "demo", "jack")); res.Invalidated != 5 || res.Previously != 0 {
		t.Errorf("first: %d invalidated, %d previously, want 5 and 0", res.Invalidated, res.Previously)
	}
	if res := f.Revoke(t, target(events.KindUser, "demo", "jack")); res.Invalidated != 0 || res.Previously != 5 {
		t.Errorf("second: %d invalidated, %d previously, want 0 and 5", res.Invalidated, res.Previously)
	}
}

func TestAKeyStandsForOneOrderWithItsCutoff(t *testing.T) {
	f := fleettest.Start(t)
	f.OpenAgents(t, 1)
	order := fleettest.Order(target(events.KindUser, "demo", "jack"))
	order.Key, order.NotBefore = "k", time.Now().Unix()-60
	first, err := f.Publisher.Revoke(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.Publisher.Revoke(t.Context(), order)
	if err != nil || again.ID != first.ID || !again.Replayed {
		t.Errorf("the same again: %v %+v, want a replay of %s", err, again, first.ID)
	}
	order.NotBefore++
	if _, err := f.Publisher.Revoke(t.Context(), order); !errors.Is(err, publisher.ErrConflict) {
		t.Errorf("with another cutoff: %v, want ErrConflict", err)
	}
}

func TestWhoDoesNotWaitIsToldOfNoSilence(t *testing.T) {
	f := fleettest.Start(t)
	f.OpenAgents(t, 1)
	order := fleettest.Order(target(events.KindUser, "demo", "jack"))
	order.Wait = publisher.WaitNone
	res, err := f.Publisher.Revoke(t.Context(), order)
	if err != nil || len(res.Errors) > 0 {
		t.Errorf("%v, errors %v, want none", err, res.Errors)
	}
}

func TestWaitForMoreAgentsThanThereAreSaysSo(t *testing.T) {
	f := fleettest.Start(t)
	f.OpenAgents(t, 1)
	order := fleettest.Order(target(events.KindUser, "demo", "jack"))
	order.Wait = 3
	res, err := f.Publisher.Revoke(t.Context(), order)
	if err != nil || len(res.Errors) != 1 || res.Errors[0].Type != events.AgentMissing {
		t.Errorf("%v, errors %v, want that agents are missing", err, res.Errors)
	}
}
