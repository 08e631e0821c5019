package intake

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
)

const (
	mainIssuer, mainSecond = "https://idp.example/main", "https://idp.example/main2"
	otherIssuer            = "https://idp.example/other"
)

// subjectRealms are main, of two issuers, whose tokens have an address and a name for
// the user, and other.
func subjectRealms(tb testing.TB) *realm.Realms {
	tb.Helper()
	realms, err := realm.New(map[string]realm.Config{
		"main":  {Issuers: []string{mainIssuer, mainSecond}, UserClaim: "name", EmailClaim: "email"},
		"other": {Issuers: []string{otherIssuer}}}, realm.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(realms.Close)
	return realms
}

func TestSubjectsMeanTheNarrowestTarget(t *testing.T) {
	realms := subjectRealms(t)
	main, _ := realms.Get("main")
	bound, one, free := home{realms: realms, realm: main}, home{realms: realms, realm: main, issuer: mainSecond}, home{realms: realms}
	named := home{realms: realms, realm: main, tenant: "acme"}
	user := func(issuer, claim, value string) []publisher.Target {
		return []publisher.Target{{Kind: events.KindUser, Realm: "main", Issuer: issuer, Claim: claim, Value: value}}
	}
	jti := []publisher.Target{{Kind: events.KindToken, Realm: "main", Tokens: []publisher.Token{{Realm: "main",
		Token: &events.Token{Identity: events.JTIIdentity(mainIssuer, "j"), Issuer: mainIssuer, JTI: "j"}}}}}
	session := func(issuer string) []publisher.Target {
		return []publisher.Target{{Kind: events.KindSession, Realm: "main", Issuer: issuer, Value: "s"}}
	}
	const issSub = `{"format":"iss_sub","iss":"` + mainIssuer + `","sub":"u"}`
	const opaqueUser, opaqueSession = `"user":{"format":"opaque","id":"u"}`, `"session":{"format":"opaque","id":"s"}`
	const tenant = `"tenant":{"format":"opaque","id":"main"}`
	for _, tc := range []struct {
		name, subject string
		home          home
		want          []publisher.Target // nil: errSubject
	}{
		{"iss_sub", issSub, free, user(mainIssuer, "sub", "u")},
		{"jwt_id", `{"format":"jwt_id","iss":"` + mainIssuer + `","jti":"j"}`, free, jti},
		{"opaque", `{"format":"opaque","id":"u"}`, bound, user("", "name", "u")},
		{"opaque, one issuer", `{"format":"opaque","id":"u"}`, one, user(mainSecond, "name", "u")},
		{"opaque, of any realm", `{"format":"opaque","id":"u"}`, free, nil},
		{"email", `{"format":"email","email":"u@x"}`, bound, user("", "email", "u@x")},
		{"email of no realm", `{"format":"email","email":"u@x"}`, free, nil},
		{"unknown issuer", `{"format":"iss_sub","iss":"x","sub":"u"}`, bound, nil},
		{"token of an unknown issuer", `{"format":"jwt_id","iss":"x","jti":"j"}`, bound, nil},
		{"telephone", `{"format":"phone_number","phone_number":"+1"}`, bound, nil},
		{"session", `{"format":"complex",` + opaqueSession + `}`, one, session(mainSecond)},
		{"session of any realm", `{"format":"complex",` + opaqueSession + `}`, free, nil},
		{"session and user", `{"format":"complex",` + opaqueSession + `,"user":` + issSub + `}`, free, session(mainIssuer)},
		{"session and tenant", `{"format":"complex",` + opaqueSession + `,` + tenant + `}`, free, session("")},
		{"user and tenant", `{"format":"complex",` + opaqueUser + `,` + tenant + `}`, free, user("", "name", "u")},
		{"user and tenant, one issuer", `{"format":"complex",` + opaqueUser + `,` + tenant + `}`, one, user(mainSecond, "name", "u")},
		{"user and tenant by issuer", `{"format":"complex",` + opaqueUser + `,"tenant":{"format":"uri","uri":"` + mainIssuer + `"}}`, free, user(mainIssuer, "name", "u")},
		{"user of another tenant", `{"format":"complex","user":` + issSub + `,"tenant":{"format":"opaque","id":"other"}}`, free, nil},
		{"bound, of another tenant", `{"format":"complex","tenant":{"format":"opaque","id":"other"}}`, bound, nil},
		{"user of an unknown tenant, by issuer", `{"format":"complex","user":` + issSub + `,"tenant":{"format":"opaque","id":"x"}}`, bound, user(mainIssuer, "sub", "u")},
		{"user of an unknown tenant", `{"format":"complex",` + opaqueUser + `,"tenant":{"format":"opaque","id":"x"}}`, bound, nil},
		{"session of an unknown tenant", `{"format":"complex",` + opaqueSession + `,"tenant":{"format":"opaque","id":"x"}}`, bound, nil},
		{"an unknown tenant", `{"format":"complex","tenant":{"format":"opaque","id":"x"}}`, bound, nil},
		{"user of a tenant by the sender's name", `{"format":"complex",` + opaqueUser + `,"tenant":{"format":"opaque","id":"acme"}}`, named, user("", "name", "u")},
		{"the sender's name for the realm", `{"format":"complex","tenant":{"format":"opaque","id":"acme"}}`, named, []publisher.Target{{Kind: events.KindRealm, Realm: "main"}}},
		{"user and device", `{"format":"complex","device":{"format":"opaque","id":"d"},` + opaqueUser + `}`, bound, user("", "name", "u")},
		{"user of a format that is not known", `{"format":"complex","user":{"format":"x"},` + tenant + `}`, bound, nil},
		{"device", `{"format":"complex","device":{"format":"opaque","id":"d"}}`, bound, nil},
		{"client", `{"format":"complex","application":{"format":"opaque","id":"c"},` + tenant + `}`, free,
			[]publisher.Target{{Kind: events.KindClient, Realm: "main", Value: "c"}}},
		{"client on a device", `{"format":"complex","application":{"format":"opaque","id":"c"},"device":{"format":"opaque","id":"d"}}`, bound, nil},
		{"tenant", `{"format":"complex",` + tenant + `}`, free, []publisher.Target{{Kind: events.KindRealm, Realm: "main"}}},
		{"tenant and device", `{"format":"complex",` + tenant + `,"device":{"format":"opaque","id":"d"}}`, free, nil},
		{"tenant and what is not known", `{"format":"complex",` + tenant + `,"group":{"format":"x"}}`, free, nil},
		{"aliases", `{"format":"aliases","identifiers":[{"format":"phone_number","phone_number":"+1"},` + issSub + `,{"format":"email","email":"u@x"}]}`, bound,
			append(user(mainIssuer, "sub", "u"), user("", "email", "u@x")...)},
		{"aliases of no use", `{"format":"aliases","identifiers":[{"format":"phone_number","phone_number":"+1"}]}`, bound, nil},
		{"aliases of no known format", `{"format":"aliases","identifiers":[{"format":"x"}]}`, bound, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := readSubject(json.RawMessage(tc.subject))
			if err != nil {
				t.Fatal(err)
			}
			got, err := tc.home.targets(s)
			if (err == nil) != (tc.want != nil) || err != nil && !errors.Is(err, errSubject) {
				t.Fatalf("%v, %v", got, err)
			}
			if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(events.Token{}), cmp.Comparer(func(a, b events.Token) bool {
				return a.Identity == b.Identity && a.Issuer == b.Issuer && a.JTI == b.JTI
			})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAddressesAreLookedForInLowerCaseToo(t *testing.T) {
	realms := subjectRealms(t)
	main, _ := realms.Get("main")
	s, err := readSubject(json.RawMessage(`{"format":"email","email":"U@X"}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := home{realms: realms, realm: main}.targets(s)
	if err != nil || len(got) != 2 || got[0].Value != "U@X" || got[1].Value != "u@x" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSubjectsAreReadStrictly(t *testing.T) {
	for raw, want := range map[string]error{
		`[]`: errMalformed, `5`: errMalformed, `{`: errMalformed, `{}`: errMalformed, `{"format":5}`: errMalformed,
		`{"format":"opaque"}`: errMalformed, `{"format":"opaque","id":null}`: errMalformed, `{"format":"opaque","id":""}`: errMalformed,
		`{"format":"opaque","id":"a","more":1}`: errMalformed, `{"format":"opaque","ID":"a"}`: errMalformed,
		`{"format":"opaque","id":"a","id":"b"}`: errMalformed, `{"format":"opaque","id":"\ud800"}`: errMalformed,
		`{"format":"x"}`: errSubject, `{"format":"ip-addresses","ip-addresses":["::1"]}`: errSubject,
		`{"format":"complex","user":5}`: errMalformed, `{"format":"complex","user":{"format":"opaque"}}`: errMalformed,
		`{"format":"aliases"}`: errMalformed, `{"format":"aliases","identifiers":[]}`: errMalformed, `{"format":"aliases","identifiers":{}}`: errMalformed,
		`{"format":"aliases","identifiers":[{"format":"opaque"}]}`:                errMalformed,
		`{"format":"aliases","identifiers":[{"format":"opaque","id":"a"}],"x":1}`: errMalformed,
		`{"format":"aliases","identifiers":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}`:  errMalformed,
	} {
		if s, err := readSubject(json.RawMessage(raw)); !errors.Is(err, want) {
			t.Errorf("%s: %+v, %v", raw, s, err)
		}
	}
	// No subject is nested in a nested one.
	for _, raw := range []string{`{"format":"aliases","identifiers":[{"format":"aliases","identifiers":[{"format":"opaque","id":"a"}]}]}`,
		`{"format":"complex","user":{"format":"complex","user":{"format":"opaque","id":"a"}}}`} {
		s, err := readSubject(json.RawMessage(raw))
		if err != nil || len(s.aliases) != 0 || len(s.parts) != 0 {
			t.Errorf("%s: %+v, %v", raw, s, err)
		}
	}
}

// FuzzSubject: what is read means targets of a realm that is there, with a name, or
// nothing; and never more than the aliases ask for.
func FuzzSubject(f *testing.F) {
	realms := subjectRealms(f)
	main, _ := realms.Get("main")
	for _, raw := range []string{`{"format":"iss_sub","iss":"https://idp.example/main","sub":"u"}`, `{"format":"email","email":"A@b"}`,
		`{"format":"complex","tenant":{"format":"opaque","id":"main"},"user":{"format":"opaque","id":"u"},"session":{"format":"opaque","id":"s"}}`,
		`{"format":"aliases","identifiers":[{"format":"opaque","id":"a"}]}`, `{"subject_type":"iss-sub"}`, `{"format":"complex"}`, `[]`} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := readSubject(raw)
		if err != nil {
			if !errors.Is(err, errMalformed) && !errors.Is(err, errSubject) {
				t.Errorf("%v", err)
			}
			return
		}
		for _, h := range []home{{realms: realms}, {realms: realms, realm: main, issuer: mainIssuer}} {
			targets, err := h.targets(s)
			if err != nil && !errors.Is(err, errSubject) || len(targets) > 2*maxAliases || (err == nil) != (len(targets) > 0) {
				t.Fatalf("%d targets, %v", len(targets), err)
			}
			for _, target := range targets {
				_, known := realms.Get(target.Realm)
				named := target.Value != "" || target.Kind == events.KindRealm || len(target.Tokens) == 1
				if !known || !named || target.Kind == events.KindAll || target.Kind == events.KindRealm && s.format != "complex" {
					t.Errorf("%s means %+v", raw, target)
				}
			}
		}
	})
}
