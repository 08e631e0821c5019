package events_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
)

func TestReasonsAndWhatIsParked(t *testing.T) {
	for _, c := range []struct {
		err    error
		reason string
		park   bool
	}{
		{events.ErrMalformed, "malformed", false},
		{events.ErrSignature, "signature", false},
		{events.ErrUnknownKey, "unknown_key", true},
		{events.ErrAudience, "audience", false},
		{events.ErrKeyBounds, "key_bounds", false},
		{events.ErrUnsupported, "unsupported", true},
		{errors.New("any other"), "malformed", false},
	} {
		for _, err := range []error{c.err, fmt.Errorf("reading: %w", c.err)} {
			if got := events.Reason(err); got != c.reason {
				t.Errorf("%v: got %s, want %s", err, got, c.reason)
			}
			if got := events.Parkable(err); got != c.park {
				t.Errorf("%v: got parkable %v, want %v", err, got, c.park)
			}
		}
	}
	if events.Parkable(nil) {
		t.Error("nil is parkable")
	}
}

const eventType = `"https://schemas.openid.net/secevent/caep/event-type/session-revoked"`

// goodPayload is the claims set of baseRevocation as text, to be edited.
func goodPayload(t *testing.T) string {
	return string(payloadOf(t, mustSign(t, testSigner(t), baseRevocation(t))))
}

// edit replaces old, which must occur once.
func edit(t *testing.T, s, old, new string) string {
	t.Helper()
	if strings.Count(s, old) != 1 {
		t.Fatalf("%q occurs %d times in %s", old, strings.Count(s, old), s)
	}
	return strings.Replace(s, old, new, 1)
}

func TestSignedEventsThatBreakTheFormatAreRefused(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		want           error
	}{
		{"not an object", "", "", events.ErrMalformed},
		{"another fleet", `"aud":"rescind"`, `"aud":"other"`, events.ErrAudience},
		{"no audience", `"aud":"rescind",`, ``, events.ErrAudience},
		{"two audiences", `"aud":"rescind"`, `"aud":["rescind"]`, events.ErrAudience},
		{"audience in capitals", `"aud":"rescind"`, `"AUD":"rescind"`, events.ErrAudience},
		{"audience twice", `"aud":"rescind"`, `"aud":"other","aud":"rescind"`, events.ErrMalformed},
		{"no iss", `"iss":"https://rescind.example.com",`, ``, events.ErrMalformed},
		{"iss is a number", `"iss":"https://rescind.example.com"`, `"iss":5`, events.ErrMalformed},
		{"no jti", `"jti":"019ac9f2-0000-7000-8000-000000000001",`, ``, events.ErrMalformed},
		{"jti is null", `"jti":"019ac9f2-0000-7000-8000-000000000001"`, `"jti":null`, events.ErrMalformed},
		{"jti in capitals", `"jti":"019ac9f2-`, `"jti":"019AC9F2-`, events.ErrMalformed},
		{"no txn", `"txn":"019ac9f2-0000-7000-8000-0000000000aa",`, ``, events.ErrMalformed},
		{"txn is no UUID", `"txn":"019ac9f2-`, `"txn":"x19ac9f2-`, events.ErrMalformed},
		{"iat is text", `"iat":1795302000`, `"iat":"1795302000"`, events.ErrMalformed},
		{"no iat", `"iat":1795302000,`, ``, events.ErrMalformed},
		{"no sub_id", `"sub_id":`, `"subject":`, events.ErrMalformed},
		{"sub", `"aud":`, `"sub":"u","aud":`, events.ErrMalformed},
		{"exp", `"aud":`, `"exp":1895302000,"aud":`, events.ErrMalformed},
		{"no events", `"events":`, `"event":`, events.ErrMalformed},
		{"no event", `"events":{`, `"events":{},"x":{`, events.ErrMalformed},
		{"two events", `"events":{`, `"events":{"https://rescind.dev/event-type/lifted":{},`, events.ErrMalformed},
		{"events is a list", `"events":{`, `"events":[],"x":{`, events.ErrMalformed},
		{"unknown event type", eventType, `"https://rescind.dev/event-type/other"`, events.ErrUnsupported},
		{"event type in capitals", eventType, strings.ToUpper(eventType), events.ErrUnsupported},
		{"another event type", eventType, `"https://rescind.dev/event-type/lifted"`, events.ErrMalformed},
		{"list event type", eventType, `"https://rescind.dev/event-type/tokens-revoked"`, events.ErrMalformed},
		{"body is a list", eventType + `:{`, eventType + `:[],"x":{`, events.ErrMalformed},
		{"body is null", eventType + `:{`, eventType + `:null}, "x":{"y":{`, events.ErrMalformed},
		{"later version", `"v":1`, `"v":2`, events.ErrUnsupported},
		{"version is text", `"v":1`, `"v":"1"`, events.ErrUnsupported},
		{"no version", `"v":1,`, ``, events.ErrUnsupported},
		{"version twice", `"v":1`, `"v":1,"v":2`, events.ErrMalformed},
		{"crit", `"v":1`, `"v":1,"crit":["zone"],"zone":"eu"`, events.ErrUnsupported},
		{"crit of a known member", `"v":1`, `"v":1,"crit":["match"]`, events.ErrUnsupported},
		{"crit is text", `"v":1`, `"v":1,"crit":"zone"`, events.ErrUnsupported},
		{"crit is null", `"v":1`, `"v":1,"crit":null`, events.ErrUnsupported},
		{"no initiator", `"initiating_entity":"admin",`, ``, events.ErrMalformed},
		{"initiator is a number", `"initiating_entity":"admin"`, `"initiating_entity":5`, events.ErrMalformed},
		{"reason is text", `"reason_admin":{"en":"laptop stolen"}`, `"reason_admin":"laptop stolen"`, events.ErrMalformed},
		{"reason twice", `"en":"laptop stolen"`, `"en":"a","en":"b"`, events.ErrMalformed},
		{"cutoff is text", `"not_before":1795302001`, `"not_before":"1795302001"`, events.ErrMalformed},
		{"cutoff is 1e300", `"not_before":1795302001`, `"not_before":1e300`, events.ErrMalformed},
		{"no cutoff", `"not_before":1795302001,`, ``, events.ErrMalformed},
		{"cutoff in other case", `"not_before":1795302001`, `"Not_before":1795302001`, events.ErrMalformed},
		{"expires is text", `"expires":1795388461`, `"expires":"1795388461"`, events.ErrMalformed},
		{"no expires", `"expires":1795388461,`, ``, events.ErrMalformed},
		{"cause is a number", `"cause":"R3u0bK4cPS9uN1wQ8F1b2g"`, `"cause":5`, events.ErrMalformed},
		{"no publisher", `"publisher":`, `"Publisher":`, events.ErrMalformed},
		{"publisher is null", `"publisher":{`, `"publisher":null,"x":{`, events.ErrMalformed},
		{"another publisher", `"id":"test-publisher"`, `"id":"other"`, events.ErrKeyBounds},
		{"publisher id in other case", `"id":"test-publisher"`, `"ID":"test-publisher"`, events.ErrMalformed},
		{"publisher id twice", `"id":"test-publisher"`, `"id":"other","id":"test-publisher"`, events.ErrMalformed},
		{"counter as a fraction", `"counter":42`, `"counter":42.5`, events.ErrMalformed},
		{"counter twice", `"counter":42`, `"counter":42,"counter":42`, events.ErrMalformed},
		{"negative counter", `"counter":42`, `"counter":-1`, events.ErrMalformed},
		{"no match", `"match":{`, `"Match":{`, events.ErrMalformed},
		{"match is a list", `"match":{`, `"match":[],"x":{`, events.ErrMalformed},
		{"unknown kind", `"kind":"user"`, `"kind":"device"`, events.ErrUnsupported},
		{"unknown kind with members of its own", `"kind":"user","realm":"main"`, `"kind":"device","realm":{}`, events.ErrUnsupported},
		{"kind is a number", `"kind":"user"`, `"kind":5`, events.ErrMalformed},
		{"kind twice", `"kind":"user"`, `"kind":"all","kind":"user"`, events.ErrMalformed},
		{"another mechanism", `"mechanism":"claim"`, `"mechanism":"issuer"`, events.ErrMalformed},
		{"no mechanism", `"mechanism":"claim",`, ``, events.ErrMalformed},
		{"mechanism is a number", `"mechanism":"claim"`, `"mechanism":5`, events.ErrMalformed},
		{"realm is a number", `"realm":"main"`, `"realm":5`, events.ErrMalformed},
		{"claim is a number", `"claim":"sub"`, `"claim":5`, events.ErrMalformed},
		{"value is a number", `"value":"jacknich"`, `"value":5`, events.ErrMalformed},
		{"value is half a pair", `"value":"jacknich"`, `"value":"\ud800"`, events.ErrMalformed},
		{"value is not UTF-8", `"value":"jacknich"`, "\"value\":\"\xff\"", events.ErrMalformed},
		{"iss of a user", `"claim":"sub"`, `"claim":"sub","iss":"i"`, events.ErrMalformed},
		{"iss is a number", `"claim":"sub"`, `"claim":"sub","iss":5`, events.ErrMalformed},
		{"jti is a number", `"claim":"sub"`, `"claim":"sub","jti":5`, events.ErrMalformed},
		{"issuers is text", `"issuers":["https://idp.example.com/realms/main"]`, `"issuers":"https://idp.example.com/realms/main"`, events.ErrMalformed},
		{"issuers is null", `"issuers":["https://idp.example.com/realms/main"]`, `"issuers":null`, events.ErrMalformed},
		{"issuers has null", `"issuers":["https://idp.example.com/realms/main"]`, `"issuers":[null]`, events.ErrMalformed},
		{"ids is text", `"claim":"sub"`, `"claim":"sub","ids":"x"`, events.ErrMalformed},
		{"ids has null", `"claim":"sub"`, `"claim":"sub","ids":[null]`, events.ErrMalformed},
		{"event is no UUID", `"claim":"sub"`, `"claim":"sub","event":"x"`, events.ErrMalformed},
		{"event of a user", `"claim":"sub"`, `"claim":"sub","event":"019ac9f2-0000-7000-8000-000000000001"`, events.ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			payload := "[]"
			if c.old != "" {
				payload = edit(t, goodPayload(t), c.old, c.new)
			}
			r, kid, err := testKeySet(t).Open(fleet, signAny(t, headerOf(t, "secevent+jwt"), payload))
			if !errors.Is(err, c.want) || r != nil || kid != "" {
				t.Errorf("got %v, %q, %v, want %v", r, kid, err, c.want)
			}
		})
	}
}

// TestMembersOfOtherKindsHaveTheirTypesToo: a part that the kind does not use is
// no place to hide something in.
func TestMembersOfOtherKindsHaveTheirTypesToo(t *testing.T) {
	for _, c := range []struct{ event, old, new string }{
		{"session", `"expires":`, `"not_before":"x","expires":`},
		{"token-hash", `"expires":`, `"not_before":null,"expires":`},
		{"realm", `"kind":"realm"`, `"kind":"realm","claim":5`},
		{"realm", `"kind":"realm"`, `"kind":"realm","value":5`},
		{"all", `"kind":"all"`, `"kind":"all","realm":5`},
		{"all", `"kind":"all"`, `"kind":"all","issuers":"https://idp.example.com"`},
		{"all", `"kind":"all"`, `"kind":"all","issuers":null`},
		{"all", `"kind":"all"`, `"kind":"all","iss":5`},
		{"all", `"kind":"all"`, `"kind":"all","jti":5`},
		{"all", `"kind":"all"`, `"kind":"all","ids":null`},
		{"all", `"kind":"all"`, `"kind":"all","event":null`},
	} {
		payload := edit(t, string(payloadOf(t, mustSign(t, testSigner(t), sampleRevocations(t)[c.event]))), c.old, c.new)
		_, _, err := testKeySet(t).Open(fleet, signAny(t, headerOf(t, "secevent+jwt"), payload))
		if !errors.Is(err, events.ErrMalformed) {
			t.Errorf("%s with %s: got %v, want ErrMalformed", c.event, c.new, err)
		}
	}
}

func TestListsOfUnsetIdentitiesAreRefused(t *testing.T) {
	payload := string(payloadOf(t, mustSign(t, testSigner(t), sampleRevocations(t)["tokens"])))
	at := strings.Index(payload, `"ids":[`)
	end := at + strings.IndexByte(payload[at:], ']')
	for _, ids := range []string{`[null]`, `[""]`, `["AAAA"]`, `["` + strings.Repeat("A", 43) + `"]`, `[5]`, `[]`, `null`, `{}`} {
		raw := signAny(t, headerOf(t, "secevent+jwt"), payload[:at]+`"ids":`+ids+payload[end+1:])
		if _, _, err := testKeySet(t).Open(fleet, raw); !errors.Is(err, events.ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", ids, err)
		}
	}
}

func TestUnknownMembersAreIgnored(t *testing.T) {
	want := baseRevocation(t)
	for name, change := range map[string][2]string{
		"claim":        {`"aud":`, `"zone":{"a":[1,2,{"a":1}]},"aud":`},
		"body":         {`"v":1`, `"v":1,"zone":"eu"`},
		"empty crit":   {`"v":1`, `"v":1,"crit":[]`},
		"match":        {`"claim":"sub"`, `"claim":"sub","zone":null`},
		"publisher":    {`"counter":42`, `"counter":42,"zone":[]`},
		"other reason": {`"en":"laptop stolen"`, `"en":"laptop stolen","de":"Laptop gestohlen"`},
		"blanks":       {`"v":1,`, "\"v\" : 1 ,\n\t"},
		"other case":   {`"value":"jacknich"`, `"value":"jacknich","Value":"evil","VALUE":"evil"`},
		"publisher ID": {`"id":"test-publisher"`, `"id":"test-publisher","ID":"evil"`},
	} {
		payload := edit(t, goodPayload(t), change[0], change[1])
		got, _, err := testKeySet(t).Open(fleet, signAny(t, headerOf(t, "secevent+jwt"), payload))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestFormsThatAreNoEventAreRefused(t *testing.T) {
	good := string(mustSign(t, testSigner(t), baseRevocation(t)))
	p := strings.Split(good, ".")
	kid := testSigner(t).Public().ID
	header := func(h string) string { return string(signAny(t, h, goodPayload(t))) }
	for name, c := range map[string]struct {
		raw  string
		want error
	}{
		"empty":                {"", events.ErrMalformed},
		"two parts":            {p[0] + "." + p[1], events.ErrMalformed},
		"four parts":           {good + ".", events.ErrMalformed},
		"no signature":         {p[0] + "." + p[1] + ".", events.ErrSignature},
		"padded signature":     {good + "==", events.ErrMalformed},
		"LF in the signature":  {p[0] + "." + p[1] + "." + p[2][:9] + "\n" + p[2][9:], events.ErrMalformed},
		"CR in the payload":    {p[0] + "." + p[1][:9] + "\r" + p[1][9:] + "." + p[2], events.ErrMalformed},
		"LF in the header":     {p[0][:9] + "\n" + p[0][9:] + "." + p[1] + "." + p[2], events.ErrMalformed},
		"header is no JSON":    {b64([]byte("x")) + "." + p[1] + "." + p[2], events.ErrMalformed},
		"header is no base64":  {"!." + p[1] + "." + p[2], events.ErrMalformed},
		"payload is no base64": {p[0] + ".!." + p[2], events.ErrMalformed},
		"unknown key":          {header(`{"alg":"EdDSA","kid":"x","typ":"secevent+jwt"}`), events.ErrUnknownKey},
		"no kid":               {header(`{"alg":"EdDSA","typ":"secevent+jwt"}`), events.ErrMalformed},
		"kid is a number":      {header(`{"alg":"EdDSA","kid":5,"typ":"secevent+jwt"}`), events.ErrMalformed},
		"alg none":             {header(`{"alg":"none","kid":"` + kid + `","typ":"secevent+jwt"}`), events.ErrMalformed},
		"alg HS256":            {header(`{"alg":"HS256","kid":"` + kid + `","typ":"secevent+jwt"}`), events.ErrMalformed},
		"alg in other case":    {header(`{"alg":"eddsa","kid":"` + kid + `","typ":"secevent+jwt"}`), events.ErrMalformed},
		"no alg":               {header(`{"kid":"` + kid + `","typ":"secevent+jwt"}`), events.ErrMalformed},
		"alg is a number":      {header(`{"alg":5,"kid":"` + kid + `","typ":"secevent+jwt"}`), events.ErrMalformed},
		"alg twice":            {header(`{"alg":"none","alg":"EdDSA","kid":"` + kid + `","typ":"secevent+jwt"}`), events.ErrMalformed},
		"no typ":               {header(`{"alg":"EdDSA","kid":"` + kid + `"}`), events.ErrMalformed},
		"typ JWT":              {header(`{"alg":"EdDSA","kid":"` + kid + `","typ":"JWT"}`), events.ErrMalformed},
		"typ is a number":      {header(`{"alg":"EdDSA","kid":"` + kid + `","typ":5}`), events.ErrMalformed},
		"crit":                 {header(`{"alg":"EdDSA","kid":"` + kid + `","typ":"secevent+jwt","crit":["x"]}`), events.ErrMalformed},
		"b64":                  {header(`{"alg":"EdDSA","kid":"` + kid + `","typ":"secevent+jwt","b64":false}`), events.ErrMalformed},
		"another's signature":  {p[0] + "." + p[1] + "." + strings.Split(header(headerOf(t, "secevent+jwt")+" "), ".")[2], events.ErrSignature},
	} {
		r, _, err := testKeySet(t).Open(fleet, []byte(c.raw))
		if !errors.Is(err, c.want) || r != nil {
			t.Errorf("%s: got %v, %v, want %v", name, r, err, c.want)
		}
	}
}

func TestKeysAreHeldToTheirBounds(t *testing.T) {
	kinds := []events.Kind{events.KindToken, events.KindTokens, events.KindUser}
	bounded := newSigner(t, "bounded", kinds...)
	// The same key without its bounds on kinds, as a thief would use it.
	file, err := bounded.PrivateJWK()
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(file), `"rescind_kinds"`)
	loose, err := events.ParseSigner([]byte(strings.TrimRight(string(file[:at]), ", \n") + "}"))
	if err != nil {
		t.Fatal(err)
	}
	keys := events.NewKeySet(bounded.Public(), testSigner(t).Public())
	for name, r := range sampleRevocations(t) {
		r.Origin.Publisher = "bounded"
		want := error(events.ErrKeyBounds)
		for _, k := range kinds {
			if r.Target.Kind == k {
				want = nil
			}
		}
		if _, err := bounded.Sign(r); !errors.Is(err, want) {
			t.Errorf("signing %s: got %v, want %v", name, err, want)
		}
		if _, _, err := keys.Open(fleet, mustSign(t, loose, r)); !errors.Is(err, want) {
			t.Errorf("opening %s: got %v, want %v", name, err, want)
		}
		// Another publisher's name.
		r.Origin.Publisher = "test-publisher"
		if _, err := bounded.Sign(r); !errors.Is(err, events.ErrKeyBounds) {
			t.Errorf("signing %s for another publisher: got %v, want ErrKeyBounds", name, err)
		}
	}

	q := sampleQuery(t)
	q.Origin.Publisher, q.Target = "bounded", targetOf(t, events.KindRealm)
	raw, err := loose.SignQuery(fleet, pubURL, q)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.OpenQuery(fleet, raw); !errors.Is(err, events.ErrKeyBounds) {
		t.Errorf("query about a realm: got %v, want ErrKeyBounds", err)
	}
	if raw, err = loose.SignBeacon(fleet, pubURL, sampleBeacon(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.OpenBeacon(fleet, raw); !errors.Is(err, events.ErrKeyBounds) {
		t.Errorf("another publisher's beacon: got %v, want ErrKeyBounds", err)
	}
}

func TestNoMessagePassesForAnother(t *testing.T) {
	signer, keys := testSigner(t), testKeySet(t)
	beacon, err := signer.SignBeacon(fleet, pubURL, sampleBeacon(t))
	if err != nil {
		t.Fatal(err)
	}
	query, err := signer.SignQuery(fleet, pubURL, sampleQuery(t))
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := signer.SignReceipt(fleet, pubURL, signedAt, sampleReceipt(t))
	if err != nil {
		t.Fatal(err)
	}
	refusal, err := signer.SignRefusal(fleet, pubURL, signedAt, sampleRefusal(t))
	if err != nil {
		t.Fatal(err)
	}
	messages := map[string][]byte{"event": mustSign(t, signer, baseRevocation(t)), "beacon": beacon, "query": query, "receipt": receipt,
		"refusal": refusal}
	openers := map[string]func([]byte) error{
		"event":   func(raw []byte) error { _, _, err := keys.Open(fleet, raw); return err },
		"beacon":  func(raw []byte) error { _, err := keys.OpenBeacon(fleet, raw); return err },
		"query":   func(raw []byte) error { _, err := keys.OpenQuery(fleet, raw); return err },
		"receipt": func(raw []byte) error { _, err := keys.OpenReceipt(fleet, raw); return err },
		"refusal": func(raw []byte) error { _, err := keys.OpenRefusal(fleet, raw); return err },
	}
	for message, raw := range messages {
		for opener, open := range openers {
			err := open(raw)
			if message == opener && err != nil {
				t.Errorf("%s: %v", message, err)
			}
			if message != opener && !errors.Is(err, events.ErrMalformed) {
				t.Errorf("%s as %s: got %v, want ErrMalformed", message, opener, err)
			}
		}
		if got := events.IsRefusal(raw); got != (message == "refusal") {
			t.Errorf("%s: IsRefusal gives %v", message, got)
		}
	}
	if _, _, err := keys.Open("other", messages["event"]); !errors.Is(err, events.ErrAudience) {
		t.Errorf("event to another fleet: got %v, want ErrAudience", err)
	}
	if _, err := keys.OpenBeacon("other", beacon); !errors.Is(err, events.ErrAudience) {
		t.Errorf("beacon to another fleet: got %v, want ErrAudience", err)
	}
	if _, err := keys.OpenQuery("other", query); !errors.Is(err, events.ErrAudience) {
		t.Errorf("query to another fleet: got %v, want ErrAudience", err)
	}
	if _, err := keys.OpenReceipt("other", receipt); !errors.Is(err, events.ErrAudience) {
		t.Errorf("receipt to another fleet: got %v, want ErrAudience", err)
	}
	if _, err := keys.OpenRefusal("other", refusal); !errors.Is(err, events.ErrAudience) {
		t.Errorf("refusal to another fleet: got %v, want ErrAudience", err)
	}
}

func TestMessagesOfUnknownKeysAreNotOpened(t *testing.T) {
	stranger := newSigner(t, "test-publisher")
	keys := testKeySet(t)
	if _, _, err := keys.Open(fleet, mustSign(t, stranger, baseRevocation(t))); !errors.Is(err, events.ErrUnknownKey) {
		t.Errorf("got %v, want ErrUnknownKey", err)
	}
	beacon, err := stranger.SignBeacon(fleet, pubURL, sampleBeacon(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.OpenBeacon(fleet, beacon); !errors.Is(err, events.ErrUnknownKey) {
		t.Errorf("got %v, want ErrUnknownKey", err)
	}
}

func TestSignedMessagesThatLackAPartAreRefused(t *testing.T) {
	signer, keys := testSigner(t), testKeySet(t)
	for name, spoil := range map[string]func(*events.Beacon){
		"no publisher":        func(b *events.Beacon) { b.Origin.Publisher = "" },
		"no incarnation":      func(b *events.Beacon) { b.Origin.Incarnation = events.EventID{} },
		"no number":           func(b *events.Beacon) { b.Origin.Counter = 0 },
		"no send time":        func(b *events.Beacon) { b.SentAt = 0 },
		"negative send time":  func(b *events.Beacon) { b.SentAt = -1 },
		"send time too large": func(b *events.Beacon) { b.SentAt = 1 << 53 },
		"no streams":          func(b *events.Beacon) { b.Streams = nil },
		"no tokens stream":    func(b *events.Beacon) { delete(b.Streams, events.Tokens) },
		"no epoch":            func(b *events.Beacon) { b.Streams[events.Control] = events.Watermark{First: 1, Last: 1} },
		"first beyond last":   func(b *events.Beacon) { b.Streams[events.Control] = events.Watermark{Epoch: "e", First: 7, Last: 5} },
		"first beyond none": func(b *events.Beacon) {
			b.Streams[events.Tokens] = events.Watermark{Epoch: "e", First: 1, Last: 1<<64 - 1}
		},
		"negative owed": func(b *events.Beacon) { b.Streams[events.Tokens] = events.Watermark{Epoch: "e", Owed: -1} },
	} {
		b := sampleBeacon(t)
		spoil(b)
		raw, err := signer.SignBeacon(fleet, pubURL, b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.OpenBeacon(fleet, raw); !errors.Is(err, events.ErrMalformed) {
			t.Errorf("beacon, %s: got %v, want ErrMalformed", name, err)
		}
	}
	for name, spoil := range map[string]func(*events.Query){
		"no id":               func(q *events.Query) { q.ID = events.EventID{} },
		"no send time":        func(q *events.Query) { q.SentAt = 0 },
		"negative send time":  func(q *events.Query) { q.SentAt = -1 },
		"send time too large": func(q *events.Query) { q.SentAt = 1 << 53 },
		"no counter":          func(q *events.Query) { q.Origin.Counter = 0 },
		// The lifted event does not travel in a query.
		"a lift": func(q *events.Query) { q.Target = targetOf(t, events.KindLift) },
	} {
		q := sampleQuery(t)
		spoil(q)
		raw, err := signer.SignQuery(fleet, pubURL, q)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.OpenQuery(fleet, raw); !errors.Is(err, events.ErrMalformed) {
			t.Errorf("query, %s: got %v, want ErrMalformed", name, err)
		}
	}
	if _, err := signer.SignQuery(fleet, pubURL, &events.Query{}); err == nil {
		t.Error("a query without a target is signed")
	}
	r := sampleReceipt(t)
	r.ID = events.EventID{}
	raw, err := signer.SignReceipt(fleet, pubURL, signedAt, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.OpenReceipt(fleet, raw); !errors.Is(err, events.ErrMalformed) {
		t.Errorf("receipt without an id: got %v, want ErrMalformed", err)
	}
}

func TestSignedMessagesAreReadToTheLetter(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		want           error
	}{
		{"body in other case", `"rescind":{`, `"Rescind":{`, events.ErrMalformed},
		{"body twice", `"rescind":{`, `"rescind":{},"rescind":{`, events.ErrMalformed},
		{"publisher id in other case", `"id":"test-publisher"`, `"ID":"test-publisher"`, events.ErrMalformed},
		{"publisher id twice", `"id":"test-publisher"`, `"id":"x","id":"test-publisher"`, events.ErrMalformed},
		{"stream twice", `"streams":{`, `"streams":{"control":{},`, events.ErrMalformed},
		{"stream in other case", `"control":{`, `"Control":{`, events.ErrMalformed},
		{"half a pair", `"id":"test-publisher"`, `"id":"\ud800"`, events.ErrMalformed},
		{"wrong type", `"sent_at":`, `"x":1,"sent_at":"",`, events.ErrMalformed},
		{"audience in other case", `"aud":`, `"Aud":`, events.ErrAudience},
		{"unknown members", `"id":"test-publisher"`, `"ID":"evil","zone":{},"id":"test-publisher"`, nil},
	} {
		raw, err := testSigner(t).SignBeacon(fleet, pubURL, sampleBeacon(t))
		if err != nil {
			t.Fatal(err)
		}
		payload := string(payloadOf(t, raw))
		if c.name == "wrong type" {
			payload = edit(t, payload, `"sent_at":1795302000123`, `"sent_at":"1795302000123"`)
		} else {
			payload = edit(t, payload, c.old, c.new)
		}
		_, err = testKeySet(t).OpenBeacon(fleet, signAny(t, headerOf(t, "rescind-beacon+jwt"), payload))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	for _, payload := range []string{"null", "[]", `"x"`, "{}x", ""} {
		_, err := testKeySet(t).OpenBeacon(fleet, signAny(t, headerOf(t, "rescind-beacon+jwt"), payload))
		if !errors.Is(err, events.ErrMalformed) {
			t.Errorf("%q: got %v, want ErrMalformed", payload, err)
		}
	}
}
