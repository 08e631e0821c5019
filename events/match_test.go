package events_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rescind/rescind/events"
)

// ruleOf is a rule of the kind on mainIs with the cutoff 1000, kept until 5000.
func ruleOf(kind events.Kind) *events.Revocation {
	r := &events.Revocation{NotBefore: 1000, Expires: 5000, Target: events.Target{Kind: kind, Issuers: []string{mainIs}}}
	switch kind {
	case events.KindUser:
		r.Target.Claim, r.Target.Value = "sub", "u"
	case events.KindClient:
		r.Target.Claim, r.Target.Value = "azp", "c"
	case events.KindClaim:
		r.Target.Claim, r.Target.Value = "device", "d"
	case events.KindSession:
		r.Target.Claim, r.Target.Value, r.NotBefore = "sid", "s", 0
	case events.KindAll:
		r.Target.Issuers = nil
	}
	return r
}

var ruleKinds = []events.Kind{events.KindSession, events.KindUser, events.KindClient, events.KindClaim, events.KindRealm, events.KindAll}

func TestCutoffsHitWhatWasIssuedAtOrBeforeThem(t *testing.T) {
	const hit, miss = true, false
	// The columns are the kinds in the order of ruleKinds.
	for _, c := range []struct {
		name, times string
		want        [6]bool
	}{
		{"iat before the cutoff", `"iat":999`, [6]bool{hit, hit, hit, hit, hit, hit}},
		{"iat at the cutoff", `"iat":1000`, [6]bool{hit, hit, hit, hit, hit, hit}},
		{"iat in the cutoff's second", `"iat":1000.999`, [6]bool{hit, hit, hit, hit, hit, hit}},
		{"iat after the cutoff", `"iat":1001`, [6]bool{hit, miss, miss, miss, miss, miss}},
		{"iat far in the future", `"iat":9007199254740991`, [6]bool{hit, miss, miss, miss, miss, miss}},
		{"no iat, exp before expires", `"exp":4999`, [6]bool{hit, hit, hit, hit, hit, hit}},
		{"no iat, exp at expires", `"exp":5000`, [6]bool{hit, hit, hit, hit, hit, hit}},
		{"no iat, exp beyond expires", `"exp":5001`, [6]bool{hit, miss, miss, miss, miss, miss}},
		{"no iat, exp a fraction beyond", `"exp":5000.1`, [6]bool{hit, miss, miss, miss, miss, miss}},
		{"no iat, no exp", `"x":1`, [6]bool{hit, hit, hit, hit, hit, hit}},
		{"only nbf after the cutoff", `"nbf":2000`, [6]bool{hit, hit, hit, hit, hit, hit}},
		{"iat of zero is none", `"iat":0,"exp":5001`, [6]bool{hit, miss, miss, miss, miss, miss}},
		{"new iat, old auth_time", `"iat":2000,"auth_time":999`, [6]bool{hit, hit, miss, miss, hit, hit}},
		{"new iat, auth_time at the cutoff", `"iat":2000,"auth_time":1000`, [6]bool{hit, hit, miss, miss, hit, hit}},
		{"new iat, new auth_time", `"iat":2000,"auth_time":1001`, [6]bool{hit, miss, miss, miss, miss, miss}},
		{"new iat, auth_time of zero", `"iat":2000,"auth_time":0`, [6]bool{hit, miss, miss, miss, miss, miss}},
		{"old iat, new auth_time", `"iat":999,"auth_time":1001`, [6]bool{hit, hit, hit, hit, hit, hit}},
		{"exp beyond expires, old auth_time", `"exp":5001,"auth_time":999`, [6]bool{hit, hit, miss, miss, hit, hit}},
	} {
		tok := mustParse(t, jwtOf(`{"iss":"`+mainIs+`","sub":"u","sid":"s","azp":"c","device":"d",`+c.times+`}`))
		for i, kind := range ruleKinds {
			if got := events.Match(ruleOf(kind), tok); got != c.want[i] {
				t.Errorf("%s, %s: got %v, want %v", c.name, kind, got, c.want[i])
			}
		}
	}
}

func TestRulesHitTheirIssuersOnly(t *testing.T) {
	issuers := map[string]string{"same": mainIs, "other": partIs, "trailing slash": mainIs + "/", "other case": strings.ToUpper(mainIs),
		"empty": ""}
	for name, iss := range issuers {
		tok := mustParse(t, jwtOf(`{"iss":"`+iss+`","sub":"u","sid":"s","azp":"c","device":"d","iat":1}`))
		for _, kind := range ruleKinds {
			if got, want := events.Match(ruleOf(kind), tok), iss == mainIs || kind == events.KindAll; got != want {
				t.Errorf("%s issuer, %s: got %v, want %v", name, kind, got, want)
			}
			anywhere := ruleOf(kind)
			anywhere.Target.Issuers = nil
			if !events.Match(anywhere, tok) {
				t.Errorf("%s issuer, %s of any issuer: not hit", name, kind)
			}
			both := ruleOf(kind)
			both.Target.Issuers = []string{partIs, mainIs}
			if kind != events.KindAll && events.Match(both, tok) != (iss == mainIs || iss == partIs) {
				t.Errorf("%s issuer, %s of two issuers", name, kind)
			}
		}
	}
}

func TestClaimRulesCompareNameAndValueToTheLetter(t *testing.T) {
	r := ruleOf(events.KindUser)
	for claims, want := range map[string]bool{
		`"sub":"u"`:              true,
		`"sub":"\u0075"`:         true,
		`"sub":"U"`:              false,
		`"sub":"u "`:             false,
		`"sub":""`:               false,
		`"Sub":"u"`:              false,
		`"\u017fub":"u"`:         false,
		`"x":"u"`:                false,
		`"x":{"sub":"u"}`:        false,
		`"sub":"v","Sub":"u"`:    false,
		`"sub":"u","Sub":"evil"`: true,
	} {
		tok := mustParse(t, jwtOf(`{"iss":"`+mainIs+`","iat":1,`+claims+`}`))
		if got := events.Match(r, tok); got != want {
			t.Errorf("%s: got %v, want %v", claims, got, want)
		}
	}
	// A number is no string, whatever its digits.
	r.Target.Claim, r.Target.Value = "uid", "5"
	if events.Match(r, mustParse(t, jwtOf(`{"iss":"`+mainIs+`","uid":5}`))) {
		t.Error("a number is hit by a rule on a string")
	}
}

func TestListsHitIdentitiesWhateverTheTimes(t *testing.T) {
	tok := mustParse(t, jwtOf(`{"iss":"`+mainIs+`","jti":"j","iat":9999,"exp":99999}`))
	other := events.JTIIdentity(mainIs, "k")
	for _, kind := range []events.Kind{events.KindToken, events.KindTokens} {
		hit := &events.Revocation{Target: events.Target{Kind: kind, Identities: []events.Identity{other, tok.Identity}}}
		if !events.Match(hit, tok) {
			t.Errorf("%s: a listed token is not hit", kind)
		}
		miss := &events.Revocation{Target: events.Target{Kind: kind, Identities: []events.Identity{other}}}
		if events.Match(miss, tok) {
			t.Errorf("%s: an unlisted token is hit", kind)
		}
	}
}

func TestLiftsAndUnknownKindsHitNothing(t *testing.T) {
	tok := mustParse(t, jwtOf(`{"iss":"`+mainIs+`","jti":"j","iat":1}`))
	for _, kind := range []events.Kind{events.KindLift, "", "tokenz"} {
		r := &events.Revocation{NotBefore: 1000, Expires: 5000,
			Target: events.Target{Kind: kind, Identities: []events.Identity{tok.Identity}, Issuers: []string{mainIs}}}
		if events.Match(r, tok) {
			t.Errorf("kind %q hits", kind)
		}
	}
}

func TestZeroAndOpaqueTokensAreHitByAllOnly(t *testing.T) {
	opaque, err := events.OpaqueToken("o")
	if err != nil {
		t.Fatal(err)
	}
	for name, tok := range map[string]*events.Token{"zero": {}, "opaque": opaque} {
		for _, r := range sampleRevocations(t) {
			if r.Target.Kind == events.KindTokens {
				continue // it lists this very token
			}
			if got, want := events.Match(r, tok), r.Target.Kind == events.KindAll; got != want {
				t.Errorf("%s token, %s: got %v, want %v", name, &r.Target, got, want)
			}
		}
	}
}

func drawToken(t *rapid.T) *events.Token {
	claims := fmt.Sprintf(`"iss":%q,"sub":%q`, rapid.SampledFrom([]string{mainIs, partIs}).Draw(t, "iss"),
		rapid.SampledFrom([]string{"u", "v"}).Draw(t, "sub"))
	for _, name := range []string{"iat", "auth_time", "exp"} {
		if rapid.Bool().Draw(t, "has "+name) {
			claims += fmt.Sprintf(`,%q:%d`, name, rapid.Int64Range(0, 20).Draw(t, name))
		}
	}
	tok, err := events.ParseToken(jwtOf("{" + claims + `,"sid":"s","azp":"c","device":"d"}`))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func drawRule(t *rapid.T) *events.Revocation {
	r := ruleOf(rapid.SampledFrom(ruleKinds).Draw(t, "kind"))
	r.Expires = rapid.Int64Range(0, 20).Draw(t, "expires")
	if r.Target.Kind.HasCutoff() {
		r.NotBefore = rapid.Int64Range(1, 20).Draw(t, "not_before")
	}
	return r
}

func TestLaterCutoffsAndExpiriesHitNoLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tok, r := drawToken(t), drawRule(t)
		later := *r
		later.Expires += rapid.Int64Range(0, 5).Draw(t, "longer")
		if r.Target.Kind.HasCutoff() {
			later.NotBefore += rapid.Int64Range(0, 5).Draw(t, "later")
		}
		if events.Match(r, tok) && !events.Match(&later, tok) {
			t.Errorf("hit by %+v, not by the later %+v", *r, later)
		}
	})
}

// TestMergingByMaximumHitsTheUnion is what lets a denylist keep one cutoff per
// key: two rules on one target hit together what their maximum hits.
func TestMergingByMaximumHitsTheUnion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tok, a := drawToken(t), drawRule(t)
		b, merged := *a, *a
		b.NotBefore = a.NotBefore + rapid.Int64Range(0, 5).Draw(t, "later")
		if !a.Target.Kind.HasCutoff() {
			b.NotBefore = 0
		}
		b.Expires = a.Expires + rapid.Int64Range(0, 5).Draw(t, "longer")
		merged.NotBefore, merged.Expires = max(a.NotBefore, b.NotBefore), max(a.Expires, b.Expires)
		if got, want := events.Match(&merged, tok), events.Match(a, tok) || events.Match(&b, tok); got != want {
			t.Errorf("merged: got %v, want %v", got, want)
		}
	})
}

func TestMatchSurvivesTheWire(t *testing.T) {
	signer, keys := testSigner(t), testKeySet(t)
	rapid.Check(t, func(rt *rapid.T) {
		tok, rule := drawToken(rt), drawRule(rt)
		r := baseRevocation(t)
		r.Target, r.NotBefore, r.Expires = rule.Target, rule.NotBefore, max(rule.Expires, 1)
		if r.Target.Kind == events.KindRealm {
			r.Target.Realm = "main"
		}
		raw, err := signer.Sign(r)
		if err != nil {
			rt.Fatal(err)
		}
		read, _, err := keys.Open(fleet, raw)
		if err != nil {
			rt.Fatal(err)
		}
		if got, want := events.Match(read, tok), events.Match(r, tok); got != want {
			rt.Errorf("got %v after the wire, want %v", got, want)
		}
	})
}
