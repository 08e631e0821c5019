package events_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
)

// targetOf is a valid target of the kind.
func targetOf(t *testing.T, kind events.Kind) events.Target {
	t.Helper()
	for _, name := range []string{"token-jti", "tokens", "session", "user-one-issuer", "client", "claim", "realm", "all", "lift"} {
		if target := sampleRevocations(t)[name].Target; target.Kind == kind {
			return target
		}
	}
	t.Fatalf("no sample of kind %s", kind)
	return events.Target{}
}

func TestKindsHaveTheirMechanism(t *testing.T) {
	type row struct {
		Mechanism        events.Mechanism
		Stream           events.Stream
		Cutoff, AuthTime bool
	}
	want := map[events.Kind]row{
		events.KindToken:   {events.ByIdentity, events.Control, false, false},
		events.KindTokens:  {events.ByIdentity, events.Tokens, false, false},
		events.KindSession: {events.ByClaim, events.Control, false, false},
		events.KindUser:    {events.ByClaim, events.Control, true, true},
		events.KindClient:  {events.ByClaim, events.Control, true, false},
		events.KindClaim:   {events.ByClaim, events.Control, true, false},
		events.KindRealm:   {events.ByIssuer, events.Control, true, true},
		events.KindAll:     {events.ByIssuer, events.Control, true, true},
		events.KindLift:    {events.ByEvent, events.Control, false, false},
	}
	got := map[events.Kind]row{}
	for _, k := range events.Kinds {
		got[k] = row{k.Mechanism(), k.Stream(), k.HasCutoff(), k.ComparesAuthTime()}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{"", "Token", "user ", "users"} {
		if _, err := events.ParseKind(bad); err == nil {
			t.Errorf("kind %q is accepted", bad)
		}
	}
}

// TestTargetsTakeOnlyThePartsOfTheirKind adds each part to a valid target of
// each kind.
func TestTargetsTakeOnlyThePartsOfTheirKind(t *testing.T) {
	another := events.OpaqueIdentity("another")
	lifted := events.NewEventID()
	parts := map[string]func(*events.Target){
		"realm":      func(x *events.Target) { x.Realm = "other" },
		"issuers":    func(x *events.Target) { x.Issuers = []string{"https://x.example"} },
		"claim":      func(x *events.Target) { x.Claim = "x" },
		"value":      func(x *events.Target) { x.Value = "x" },
		"identities": func(x *events.Target) { x.Identities = []events.Identity{another} },
		"issuer":     func(x *events.Target) { x.Issuer = "https://x.example" },
		"jti":        func(x *events.Target) { x.JTI = "x" },
		"lifted":     func(x *events.Target) { x.Lifted = lifted },
	}
	takes := map[events.Kind][]string{
		// A token's iss, jti and identity go together.
		events.KindToken:   {"realm"},
		events.KindTokens:  {"realm", "identities"},
		events.KindSession: {"realm", "issuers", "claim", "value"},
		events.KindUser:    {"realm", "issuers", "claim", "value"},
		events.KindClient:  {"realm", "issuers", "claim", "value"},
		events.KindClaim:   {"realm", "issuers", "claim", "value"},
		events.KindRealm:   {"realm", "issuers"},
		events.KindAll:     {},
		events.KindLift:    {"realm", "lifted"},
	}
	for _, kind := range events.Kinds {
		for part, put := range parts {
			target := targetOf(t, kind)
			put(&target)
			want := false
			for _, p := range takes[kind] {
				want = want || p == part
			}
			if got := target.Validate() == nil; got != want {
				t.Errorf("%s with %s: accepted %v, want %v (%v)", kind, part, got, want, target.Validate())
			}
		}
	}
}

// TestTargetsNeedThePartsOfTheirKind takes each part from a valid target of each
// kind.
func TestTargetsNeedThePartsOfTheirKind(t *testing.T) {
	parts := map[string]func(*events.Target){
		"realm":      func(x *events.Target) { x.Realm = "" },
		"issuers":    func(x *events.Target) { x.Issuers = nil },
		"claim":      func(x *events.Target) { x.Claim = "" },
		"value":      func(x *events.Target) { x.Value = "" },
		"identities": func(x *events.Target) { x.Identities = nil },
		"issuer":     func(x *events.Target) { x.Issuer = "" },
		"jti":        func(x *events.Target) { x.JTI = "" },
		"lifted":     func(x *events.Target) { x.Lifted = events.EventID{} },
	}
	needs := map[events.Kind]string{
		events.KindToken:   "identities issuer jti",
		events.KindTokens:  "identities",
		events.KindSession: "issuers claim value",
		events.KindUser:    "issuers claim value",
		events.KindClient:  "issuers claim value",
		events.KindClaim:   "issuers claim value",
		events.KindRealm:   "realm issuers",
		events.KindLift:    "lifted",
	}
	for _, kind := range events.Kinds {
		for part, take := range parts {
			target := targetOf(t, kind)
			take(&target)
			want := true
			for _, p := range strings.Fields(needs[kind]) {
				want = want && p != part
			}
			if got := target.Validate() == nil; got != want {
				t.Errorf("%s without %s: accepted %v, want %v (%v)", kind, part, got, want, target.Validate())
			}
		}
	}
}

func TestTargetsHaveLimits(t *testing.T) {
	long := strings.Repeat("x", events.MaxValueBytes)
	many := func(n int) []events.Identity {
		ids := make([]events.Identity, n)
		for i := range ids {
			ids[i] = events.OpaqueIdentity(string(rune('a' + i)))
		}
		return ids
	}
	issuers := func(n int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = mainIs
		}
		return out
	}
	with := func(kind events.Kind, f func(*events.Target)) events.Target {
		target := targetOf(t, kind)
		f(&target)
		return target
	}
	for name, c := range map[string]struct {
		target events.Target
		want   bool
	}{
		"longest realm":             {with(events.KindRealm, func(x *events.Target) { x.Realm = long }), true},
		"realm too long":            {with(events.KindRealm, func(x *events.Target) { x.Realm = long + "x" }), false},
		"longest claim":             {with(events.KindClaim, func(x *events.Target) { x.Claim = long }), true},
		"claim too long":            {with(events.KindClaim, func(x *events.Target) { x.Claim = long + "x" }), false},
		"longest value":             {with(events.KindClaim, func(x *events.Target) { x.Value = long }), true},
		"value too long":            {with(events.KindClaim, func(x *events.Target) { x.Value = long + "x" }), false},
		"issuer too long":           {with(events.KindRealm, func(x *events.Target) { x.Issuers = []string{mainIs, long + "x"} }), false},
		"empty issuer":              {with(events.KindRealm, func(x *events.Target) { x.Issuers = []string{mainIs, ""} }), false},
		"most issuers":              {with(events.KindRealm, func(x *events.Target) { x.Issuers = issuers(events.MaxIssuers) }), true},
		"too many issuers":          {with(events.KindRealm, func(x *events.Target) { x.Issuers = issuers(events.MaxIssuers + 1) }), false},
		"most identities":           {with(events.KindTokens, func(x *events.Target) { x.Identities = many(events.MaxIdentities) }), true},
		"too many identities":       {with(events.KindTokens, func(x *events.Target) { x.Identities = many(events.MaxIdentities + 1) }), false},
		"two identities of a token": {events.Target{Kind: events.KindToken, Identities: many(2)}, false},
		"an unset identity":         {events.Target{Kind: events.KindTokens, Identities: make([]events.Identity, 1)}, false},
		"an unset token":            {events.Target{Kind: events.KindToken, Identities: make([]events.Identity, 1)}, false},
		"another token's identity": {with(events.KindToken, func(x *events.Target) { x.JTI = "other" }),
			false},
		"longest jti": {events.Target{Kind: events.KindToken, Issuer: "i", JTI: long,
			Identities: []events.Identity{events.JTIIdentity("i", long)}}, true},
		"jti too long": {events.Target{Kind: events.KindToken, Issuer: "i", JTI: long + "x",
			Identities: []events.Identity{events.JTIIdentity("i", long+"x")}}, false},
		"iss too long": {events.Target{Kind: events.KindToken, Issuer: long + "x", JTI: "j",
			Identities: []events.Identity{events.JTIIdentity(long+"x", "j")}}, false},
		"jti without iss": {events.Target{Kind: events.KindToken, JTI: "j",
			Identities: []events.Identity{events.JTIIdentity("", "j")}}, false},
		"iss without jti": {events.Target{Kind: events.KindToken, Issuer: "i",
			Identities: []events.Identity{events.JTIIdentity("i", "")}}, false},
		"value is not UTF-8":  {with(events.KindUser, func(x *events.Target) { x.Value = "a\xff" }), false},
		"claim is not UTF-8":  {with(events.KindUser, func(x *events.Target) { x.Claim = "a\xff" }), false},
		"realm is not UTF-8":  {with(events.KindUser, func(x *events.Target) { x.Realm = "a\xff" }), false},
		"issuer is not UTF-8": {with(events.KindUser, func(x *events.Target) { x.Issuers = []string{"a\xff"} }), false},
		"jti is not UTF-8": {events.Target{Kind: events.KindToken, Issuer: "i", JTI: "a\xff",
			Identities: []events.Identity{events.JTIIdentity("i", "a\xff")}}, false},
		"no kind":      {events.Target{}, false},
		"unknown kind": {events.Target{Kind: "tokenz"}, false},
	} {
		if err := c.target.Validate(); (err == nil) != c.want {
			t.Errorf("%s: got %v, want accepted %v", name, err, c.want)
		}
	}
}

func TestTargetsDescribeThemselvesWithoutIdentities(t *testing.T) {
	got := map[string]string{}
	for name, r := range sampleRevocations(t) {
		got[name] = r.Target.String()
	}
	want := map[string]string{
		"token-jti": "token in realm main", "token-hash": "token", "tokens": "3 tokens in realm main",
		"session": `session "08a5019c" in realm main`, "user-one-issuer": `user "jacknich" in realm main`,
		"user-any-issuer": `user "jacknich"`, "user-other-claim": `user "jacknich"`, "client": `client "billing" in realm main`,
		"claim": `claim device="kiosk <7> & \"8\"" in realm partner`, "realm": "realm main", "all": "all tokens",
		"lift": "lift of 019ac9f1-0000-7000-8000-000000000007",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
