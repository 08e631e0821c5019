package publisher

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

const (
	hour    = time.Hour
	mainIs  = "https://idp.example.com/main"
	otherIs = "https://idp.example.com/other"
)

var orderedAt = time.Unix(1_800_000_000, 600_000_000)

func planner(t *testing.T, realms map[string]realm.Config) *Publisher {
	t.Helper()
	rs, err := realm.New(realms, realm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rs.Close)
	return &Publisher{cfg: Config{Realms: rs}, now: func() time.Time { return orderedAt }}
}

// twoRealms name users alike; main has settings of its own.
func twoRealms() map[string]realm.Config {
	return map[string]realm.Config{
		"main": {Issuers: []string{mainIs}, MaxToken: 2 * hour, MaxSession: 10 * hour, Skew: 3 * time.Second, Leeway: 5 * time.Second},
		"side": {Issuers: []string{otherIs}},
	}
}

func order(t Target) *Order { return &Order{Target: t, Initiator: events.ByAdmin} }

func token(n int, expires int64) Token {
	return Token{Token: &events.Token{Identity: events.OpaqueIdentity(fmt.Sprint(n)), Expires: expires}, Realm: "main"}
}

func TestEveryKindIsPlannedWithItsCutoffAndExpiry(t *testing.T) {
	now := orderedAt.Unix()
	in := func(kind events.Kind, claim, value string) events.Target {
		return events.Target{Kind: kind, Realm: "main", Issuers: []string{mainIs}, Claim: claim, Value: value}
	}
	jti := &events.Token{Identity: events.JTIIdentity(mainIs, "j"), Issuer: mainIs, JTI: "j", Expires: now + 100}
	type stamp struct {
		Target             events.Target
		NotBefore, Expires int64
	}
	access, session := int64(2*3600+5), int64(10*3600+5)
	for _, tc := range []struct {
		name string
		t    Target
		want []stamp
	}{
		{"realm", Target{Kind: events.KindRealm, Realm: "main"},
			[]stamp{{events.Target{Kind: events.KindRealm, Realm: "main", Issuers: []string{mainIs}}, now + 3, now + 3 + session}}},
		{"user", Target{Kind: events.KindUser, Realm: "main", Value: "jack"},
			[]stamp{{in(events.KindUser, "sub", "jack"), now + 3, now + 3 + session}}},
		{"session", Target{Kind: events.KindSession, Realm: "main", Value: "s"},
			[]stamp{{in(events.KindSession, "sid", "s"), 0, now + session}}},
		{"client", Target{Kind: events.KindClient, Realm: "main", Value: "c"},
			[]stamp{{in(events.KindClient, "client_id", "c"), now + 3, now + 3 + access}, {in(events.KindClient, "azp", "c"), now + 3, now + 3 + access},
				{in(events.KindClient, "cid", "c"), now + 3, now + 3 + access}, {in(events.KindClient, "appid", "c"), now + 3, now + 3 + access}}},
		{"claim", Target{Kind: events.KindClaim, Realm: "main", Claim: "dept", Value: "x"},
			[]stamp{{in(events.KindClaim, "dept", "x"), now + 3, now + 3 + access}}},
		{"all", Target{Kind: events.KindAll},
			[]stamp{{events.Target{Kind: events.KindAll}, now + 3, now + 3 + 720*3600 + 60}}},
		{"user in all realms", Target{Kind: events.KindUser, Value: "jack"},
			[]stamp{{events.Target{Kind: events.KindUser, Claim: "sub", Value: "jack"}, now + 3, now + 3 + 720*3600 + 60}}},
		{"token", Target{Kind: events.KindToken, Tokens: []Token{{Token: jti, Realm: "main"}}},
			[]stamp{{events.Target{Kind: events.KindToken, Realm: "main", Identities: []events.Identity{jti.Identity}, Issuer: mainIs, JTI: "j"}, 0, now + 105}}},
		{"token of unknown expiry", Target{Kind: events.KindToken, Tokens: []Token{token(1, 0)}},
			[]stamp{{events.Target{Kind: events.KindToken, Realm: "main", Identities: []events.Identity{token(1, 0).Identity}}, 0, now + session}}},
		{"token that has expired", Target{Kind: events.KindToken, Tokens: []Token{token(1, now-100)}},
			[]stamp{{events.Target{Kind: events.KindToken, Realm: "main", Identities: []events.Identity{token(1, 0).Identity}}, 0, now + 5}}},
		{"list, one of them twice", Target{Kind: events.KindTokens, Realm: "main", Tokens: []Token{token(1, now+9), token(2, now+50), token(1, now+9)}},
			[]stamp{{events.Target{Kind: events.KindTokens, Realm: "main", Identities: []events.Identity{token(1, 0).Identity, token(2, 0).Identity}}, 0, now + 55}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			drafts, err := planner(t, twoRealms()).plan(order(tc.t))
			if err != nil {
				t.Fatal(err)
			}
			var got []stamp
			for i := range drafts {
				r := drafts[i].revocation(orderedAt, 0)
				got = append(got, stamp{r.Target, r.NotBefore, r.Expires})
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOrderThatMakesNoSenseIsInvalid(t *testing.T) {
	now := orderedAt.Unix()
	user := Target{Kind: events.KindUser, Realm: "main", Value: "jack"}
	for _, tc := range []struct {
		name string
		o    *Order
		want string // "" for accepted
	}{
		{"nothing", order(Target{}), "unknown realm"},
		{"unknown realm", order(Target{Kind: events.KindUser, Realm: "nowhere", Value: "jack"}), "unknown realm"},
		{"session without a realm", order(Target{Kind: events.KindSession, Value: "s"}), "unknown realm"},
		{"no user", order(Target{Kind: events.KindUser, Realm: "main"}), "needs a claim"},
		{"no token", order(Target{Kind: events.KindTokens, Realm: "main"}), "no token"},
		{"two tokens as one", order(Target{Kind: events.KindToken, Tokens: []Token{token(1, 0), token(2, 0)}}), "no token"},
		{"no initiator", &Order{Target: user}, "initiat"},
		{"long reason", &Order{Target: user, Initiator: events.ByAdmin, Reason: strings.Repeat("x", events.MaxReasonBytes+1)}, "reason"},
		{"reason of another encoding", &Order{Target: user, Initiator: events.ByAdmin, Reason: "\xff"}, "reason"},
		{"cutoff now", &Order{Target: user, Initiator: events.ByAdmin, NotBefore: now}, ""},
		{"cutoff within the skew", &Order{Target: user, Initiator: events.ByAdmin, NotBefore: now + 3}, ""},
		{"cutoff in the future", &Order{Target: user, Initiator: events.ByAdmin, NotBefore: now + 4}, "future"},
		{"cutoff an hour ago", &Order{Target: user, Initiator: events.ByAdmin, NotBefore: now - 3600}, ""},
		{"cutoff whose tokens are dead", &Order{Target: user, Initiator: events.ByAdmin, NotBefore: now - 10*3600 - 5}, "so far back"},
		{"cutoff before time", &Order{Target: user, Initiator: events.ByAdmin, NotBefore: -1}, "so far back"},
		{"cutoff of a session", &Order{Target: Target{Kind: events.KindSession, Realm: "main", Value: "s"}, Initiator: events.ByAdmin, NotBefore: now}, "not_before"},
		{"cutoff of a token", &Order{Target: Target{Kind: events.KindToken, Tokens: []Token{token(1, 0)}}, Initiator: events.ByAdmin, NotBefore: now}, "not_before"},
	} {
		drafts, err := planner(t, twoRealms()).plan(tc.o)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tc.want) || drafts != nil):
			t.Errorf("%s: %v, want ErrInvalid with %q", tc.name, err, tc.want)
		}
	}
}

func TestUserInAllRealmsIsNamedByTheClaimOfEach(t *testing.T) {
	var many []string
	for i := range events.MaxIssuers {
		many = append(many, fmt.Sprintf("https://idp.example.com/%d", i))
	}
	p := planner(t, map[string]realm.Config{
		"a": {Issuers: many}, "b": {Issuers: []string{mainIs}}, "c": {Issuers: []string{otherIs}, UserClaim: "email"},
	})
	drafts, err := p.plan(order(Target{Kind: events.KindUser, Value: "jack"}))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, d := range drafts {
		got[d.target.Claim] = append(got[d.target.Claim], d.target.Issuers...)
	}
	want := map[string][]string{"sub": append(many, mainIs), "email": {otherIs}}
	if diff := cmp.Diff(want, got); diff != "" || len(drafts) != 3 {
		t.Errorf("%d events, want 3 (-want +got):\n%s", len(drafts), diff)
	}
}

func TestLongListIsSplit(t *testing.T) {
	target := Target{Kind: events.KindTokens, Realm: "main"}
	for i := range 2*events.MaxIdentities + 1 {
		target.Tokens = append(target.Tokens, token(i, orderedAt.Unix()+int64(i)+1))
	}
	drafts, err := planner(t, twoRealms()).plan(order(target))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[events.Identity]bool{}
	var sizes []int
	for i := range drafts {
		sizes = append(sizes, len(drafts[i].target.Identities))
		if len(drafts[i].tokens) != sizes[i] {
			t.Errorf("event %d: %d tokens to count of %d", i, len(drafts[i].tokens), sizes[i])
		}
		for _, id := range drafts[i].target.Identities {
			seen[id] = true
		}
	}
	if diff := cmp.Diff([]int{events.MaxIdentities, events.MaxIdentities, 1}, sizes); diff != "" || len(seen) != len(target.Tokens) {
		t.Errorf("%d tokens of %d listed, sizes (-want +got):\n%s", len(seen), len(target.Tokens), diff)
	}
}

func TestAllLivesLongEnoughWithoutRealms(t *testing.T) {
	drafts, err := planner(t, nil).plan(order(Target{Kind: events.KindAll}))
	if err != nil {
		t.Fatal(err)
	}
	r := drafts[0].revocation(orderedAt, 0)
	if got := r.Expires - r.NotBefore; got < 30*24*3600 {
		t.Errorf("it expires after %d s", got)
	}
	if _, err := planner(t, nil).plan(order(Target{Kind: events.KindUser, Value: "jack"})); !errors.Is(err, ErrInvalid) {
		t.Errorf("a user without realms: %v, want ErrInvalid", err)
	}
}

func TestOrdersForDifferentTargetsHaveDifferentKeys(t *testing.T) {
	p, seen := planner(t, twoRealms()), map[string]string{}
	for name, target := range map[string]Target{
		"jack":      {Kind: events.KindUser, Realm: "main", Value: "jack"},
		"jill":      {Kind: events.KindUser, Realm: "main", Value: "jill"},
		"elsewhere": {Kind: events.KindUser, Realm: "side", Value: "jack"},
		"anywhere":  {Kind: events.KindUser, Value: "jack"},
		"claim":     {Kind: events.KindClaim, Realm: "main", Claim: "sub", Value: "jack"},
		"session":   {Kind: events.KindSession, Realm: "main", Value: "jack"},
		"token":     {Kind: events.KindToken, Tokens: []Token{token(1, 0)}},
		"token 2":   {Kind: events.KindToken, Tokens: []Token{token(2, 0)}},
		"all":       {Kind: events.KindAll},
	} {
		drafts, err := p.plan(order(target))
		if err != nil {
			t.Fatal(err)
		}
		key := orderKey(drafts, 0)
		if other, taken := seen[key]; taken {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[key] = name
	}
}
