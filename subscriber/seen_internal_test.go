package subscriber

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"pgregory.net/rapid"
)

const seenNow = 1_800_000_000

// drawToken draws from few values, so that rules hit.
func drawToken(t *rapid.T, n int) *events.Token {
	claims := map[string]any{
		"iss": rapid.SampledFrom([]string{"https://a", "https://b"}).Draw(t, "iss"),
		"jti": fmt.Sprint(n),
		"exp": seenNow + rapid.Int64Range(1, 50).Draw(t, "exp"),
	}
	for _, name := range []string{"sub", "sid", "azp", "client_id", "dept"} {
		if v := rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, name); v != "" {
			claims[name] = v
		}
	}
	for _, name := range []string{"iat", "auth_time"} {
		if v := rapid.Int64Range(0, 6).Draw(t, name); v != 0 {
			claims[name] = seenNow - 10 + v
		}
	}
	tok, err := events.TokenFromClaims(claims)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func drawRule(t *rapid.T, tokens []*events.Token) *events.Revocation {
	r := &events.Revocation{ID: events.NewEventID(), Txn: events.NewEventID(), Expires: seenNow + rapid.Int64Range(1, 50).Draw(t, "expires")}
	target := &r.Target
	target.Kind = rapid.SampledFrom(events.Kinds).Draw(t, "kind")
	switch target.Kind.Mechanism() {
	case events.ByIdentity:
		target.Identities = []events.Identity{rapid.SampledFrom(tokens).Draw(t, "listed").Identity}
	case events.ByClaim:
		target.Claim = rapid.SampledFrom([]string{"sub", "sid", "azp", "client_id", "dept", "none"}).Draw(t, "claim")
		target.Value = rapid.SampledFrom([]string{"x", "y"}).Draw(t, "value")
	}
	if m := target.Kind.Mechanism(); m == events.ByClaim || m == events.ByIssuer {
		target.Issuers = rapid.SampledFrom([][]string{nil, {"https://a"}, {"https://b"}, {"https://a", "https://b"}}).Draw(t, "issuers")
	}
	if target.Kind.HasCutoff() {
		r.NotBefore = seenNow - 10 + rapid.Int64Range(0, 7).Draw(t, "cutoff")
	}
	return r
}

// TestCountsAgreeWithMatch: what is remembered of a token is enough to decide as
// events.Match does on the token itself.
func TestCountsAgreeWithMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSeen(100)
		var tokens []*events.Token
		refused := map[events.TokenHash]bool{}
		for i := range rapid.IntRange(1, 8).Draw(t, "tokens") {
			tok := drawToken(t, i)
			tokens = append(tokens, tok)
			s.add(tok.Identity.Hash(), remember(tok), seenNow, func() bool { return false })
		}
		for range rapid.IntRange(1, 6).Draw(t, "rules") {
			r := drawRule(t, tokens)
			var fresh, before events.TokenHashes
			for _, tok := range tokens {
				h := tok.Identity.Hash()
				switch {
				case !events.Match(r, tok):
				case refused[h]:
					before = append(before, h)
				default:
					fresh = append(fresh, h)
				}
				refused[h] = refused[h] || events.Match(r, tok)
			}
			c := s.count(r, seenNow, true)
			if r.Target.Kind.Mechanism() == events.ByIdentity {
				fresh, before = nil, nil // publishers count those
			}
			slices.Sort(fresh)
			slices.Sort(before)
			slices.Sort(c.Invalidated)
			slices.Sort(c.Previously)
			if !slices.Equal(c.Invalidated, fresh) || !slices.Equal(c.Previously, before) ||
				c.InvalidatedCount != len(fresh) || c.PreviouslyCount != len(before) {
				t.Fatalf("%s: counted %+v, want %v and %v", r.Target.String(), c, fresh, before)
			}
			for h, want := range refused {
				if s.refused(h) != want {
					t.Fatalf("%s: token %x refused %v, want %v", r.Target.String(), h, !want, want)
				}
			}
		}
	})
}

// TestTokensThatNothingTiesToTheirSignInAreTold: those that a rule would hit, once.
func TestTokensThatNothingTiesToTheirSignInAreTold(t *testing.T) {
	s := newSeen(100)
	for i, more := range []map[string]any{{}, {"sid": "s"}, {"auth_time": seenNow - 10}, {"sub": "jill"}, {"exp": seenNow}} {
		claims := map[string]any{"iss": "https://idp", "jti": fmt.Sprint(i), "sub": "jack", "iat": seenNow - 5, "exp": seenNow + 100}
		maps.Copy(claims, more)
		tok, err := events.TokenFromClaims(claims)
		if err != nil {
			t.Fatal(err)
		}
		s.add(tok.Identity.Hash(), remember(tok), seenNow, func() bool { return false })
	}
	s.add(1, &seenToken{realm: "main", user: "jack", expires: seenNow + 100, issuedAt: 1}, seenNow, func() bool { return false })
	r := &events.Revocation{ID: events.NewEventID(), NotBefore: seenNow, Expires: seenNow + 1000,
		Target: events.Target{Kind: events.KindUser, Realm: "main", Claim: "sub", Value: "jack", Issuers: []string{"https://idp"}}}
	if n := s.untied(r, seenNow); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
	s.count(r, seenNow, true)
	if n := s.untied(r, seenNow); n != 0 {
		t.Errorf("%d tokens of those that are refused", n)
	}
}

func TestLiftedRuleLeavesWhatOthersRefuse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSeen(100)
		var tokens []*events.Token
		for i := range 6 {
			tokens = append(tokens, drawToken(t, i))
			s.add(tokens[i].Identity.Hash(), remember(tokens[i]), seenNow, func() bool { return false })
		}
		var rules []*events.Revocation
		for range rapid.IntRange(1, 5).Draw(t, "rules") {
			rules = append(rules, drawRule(t, tokens))
			s.count(rules[len(rules)-1], seenNow, true)
		}
		i := rapid.IntRange(0, len(rules)-1).Draw(t, "lifted")
		lifted := rules[i]
		others := slices.Delete(slices.Clone(rules), i, i+1)
		s.lifted(lifted, slices.Values(others))
		for _, tok := range tokens {
			want := slices.ContainsFunc(others, func(r *events.Revocation) bool { return events.Match(r, tok) })
			if got := s.refused(tok.Identity.Hash()); got != want {
				t.Fatalf("after %s was lifted: refused %v, want %v", lifted.Target.String(), got, want)
			}
		}
	})
}

func TestObservedRefreshTokenIsHitByRealmAndUser(t *testing.T) {
	rule := func(kind events.Kind, realm, value string, notBefore int64) *events.Revocation {
		return &events.Revocation{ID: events.NewEventID(), NotBefore: notBefore, Expires: seenNow + 1000,
			Target: events.Target{Kind: kind, Realm: realm, Claim: "sub", Value: value}}
	}
	for _, tc := range []struct {
		name string
		r    *events.Revocation
		want int
	}{
		{"its user", rule(events.KindUser, "main", "jack", seenNow), 1},
		{"its user in any realm", rule(events.KindUser, "", "jack", seenNow), 1},
		{"its user elsewhere", rule(events.KindUser, "other", "jack", seenNow), 0},
		{"another user", rule(events.KindUser, "main", "jill", seenNow), 0},
		{"its user before it was observed", rule(events.KindUser, "main", "jack", seenNow-1), 0},
		{"its realm", rule(events.KindRealm, "main", "", seenNow), 1},
		{"another realm", rule(events.KindRealm, "other", "", seenNow), 0},
		{"all", rule(events.KindAll, "", "", seenNow), 1},
		{"a claim of that value", rule(events.KindClaim, "main", "jack", seenNow), 0},
	} {
		s := newSeen(10)
		s.add(1, &seenToken{realm: "main", user: "jack", expires: seenNow + 100, issuedAt: seenNow}, seenNow, func() bool { return false })
		if got := s.count(tc.r, seenNow, true).InvalidatedCount; got != tc.want {
			t.Errorf("%s: %d hit, want %d", tc.name, got, tc.want)
		}
	}
}

func TestEventsOfOneRequestInvalidateATokenTogether(t *testing.T) {
	s := newSeen(10)
	s.add(1, &seenToken{expires: seenNow + 100, issuedAt: 1}, seenNow, func() bool { return false })
	rule := func(txn byte) *events.Revocation {
		return &events.Revocation{ID: events.NewEventID(), Txn: events.EventID{txn}, Target: events.Target{Kind: events.KindAll},
			NotBefore: seenNow, Expires: seenNow + 1000}
	}
	for i, tc := range []struct {
		txn      byte
		mark     bool
		inv, pre int
	}{{1, false, 1, 0}, {1, true, 1, 0}, {1, true, 1, 0}, {2, true, 0, 1}, {0, false, 0, 1}, {1, true, 1, 0}} {
		if c := s.count(rule(tc.txn), seenNow, tc.mark); c.InvalidatedCount != tc.inv || c.PreviouslyCount != tc.pre {
			t.Errorf("step %d: %d and %d, want %d and %d", i, c.InvalidatedCount, c.PreviouslyCount, tc.inv, tc.pre)
		}
	}
}

func TestMemoryOfSeenTokensIsBoundedAndSaysSo(t *testing.T) {
	s := newSeen(3)
	live := func() bool { return false }
	for h := range events.TokenHash(5) {
		s.add(h, &seenToken{expires: seenNow + 10 + int64(h)}, seenNow, live)
	}
	everything := &events.Revocation{Target: events.Target{Kind: events.KindAll}, NotBefore: seenNow, Expires: seenNow + 100}
	if c := s.count(everything, seenNow, false); s.len() != 3 || !c.AtLeast || c.InvalidatedCount != 3 {
		t.Errorf("%d remembered, counted %+v, want 3, at least", s.len(), c)
	}
	if !s.add(9, &seenToken{expires: seenNow + 100}, seenNow+11, live) || s.has(0) {
		t.Error("an expired token keeps a live one out")
	}
	if c := s.count(everything, seenNow+12, false); c.InvalidatedCount != 1 {
		t.Errorf("counted %+v with all but one expired", c)
	}
}

func TestTokenObservedOnceIsRememberedOnce(t *testing.T) {
	s := newSeen(3)
	if !s.add(1, &seenToken{expires: seenNow + 10}, seenNow, func() bool { return true }) || !s.refused(1) {
		t.Error("a token that is refused when it is observed is not remembered as refused")
	}
	if s.add(1, &seenToken{expires: seenNow + 99}, seenNow, func() bool { return false }) || !s.refused(1) {
		t.Error("observing it again changes it")
	}
}

func TestStalenessShowsAtOnceThatTheClockWasSet(t *testing.T) {
	a := &Agent{begun: time.Now()}
	for off, want := range map[time.Duration]bool{0: true, 100 * time.Millisecond: true, time.Hour: false, -time.Hour: false} {
		a.drift.Store(int64(a.instant().drift() + off))
		if got := a.Staleness() < time.Minute; got != want {
			t.Errorf("clock set by %v: knows how old its knowledge is: %v, want %v", -off, got, want)
		}
	}
}

func TestInstantShowsWhenTheWallClockWasSet(t *testing.T) {
	a := &Agent{begun: time.Now()}
	if now := a.instant(); now.wall != now.wall.Round(0) {
		t.Error("the wall clock carries a monotonic reading: differences would not show a clock that was set")
	}
}
