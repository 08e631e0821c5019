package events

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// decodeSET reads the claims set of an event that is not signed.
func decodeSET(fleet Fleet, payload []byte) (*Revocation, error) {
	d := newDocument()
	defer d.release()
	return readSET(d, fleet, payload)
}

func wireFiles(tb testing.TB) map[string][]byte {
	tb.Helper()
	names, err := filepath.Glob(filepath.Join("..", "testdata", "wire", "*"))
	if err != nil || len(names) == 0 {
		tb.Fatal("no golden files", err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		files[filepath.Base(name)] = bytes.TrimSuffix(b, []byte("\n"))
	}
	return files
}

// oddTexts are JSON objects, and what is nearly one, for each rule that the
// scanner keeps.
var oddTexts = []string{`{}`, ` {"a":1} `, "\t{\r\n}", `{"a":1,}`, `{"a":1]`, `[`, `]`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":[1,]}`, `{"a":[,]}`,
	`{"a":[1}`, `{"a":[1 2]}`, `{"a":[{"b":[]},[]]}`, `{"a" : [ ] , "b" : { } }`, `{a:1}`, `{1:1}`, `{,}`, `{"a":}`, `{"a" 1}`, `{"a";1}`, `{"a",1}`, `{'a":1}`, `{ax":1}`, `{"a":1 "b":2}`,
	`{"a":true,"b":false,"c":null}`, `{"a":tru}`, `{"a":truex}`, `{"a":nul`, `{"a":True}`, `{"a":trve}`, `{"a":folse}`, `{"a":nuil}`,
	`{"a":0}`, `{"a":-0}`, `{"a":01}`, `{"a":-}`, `{"a":+1}`, `{"a":.5}`, `{"a":1.}`, `{"a":1.5e+7}`, `{"a":1e}`, `{"a":1E-}`, `{"a":1e5.5}`, `{"a":0x1}`, `{"a":00}`,
	`{"a":1,"a":1}`, `{"a":1,"\u0061":1}`, `{"x":{"a":1,"a":1}}`, `{"a":1,"A":1}`, `{"":1,"":1}`,
	`{"a":"\"\\\/\b\f\n\r\t\u00e9"}`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u12G4"}`, `{"a":"\U0041"}`, `{"a":"\`, `{"a":"\u`,
	`{"a":"\ud83d\ude00"}`, `{"a":"\uD83D\uDE00"}`, `{"a":"\ud83d"}`, `{"a":"\ude00"}`, `{"a":"\ud83d\u0041"}`, `{"a":"\ud83dxude00"}`, `{"a":"\ud83d\\ude00"}`,
	`{"a":"\ude00\ud83d"}`, `{"a":"\\ud800"}`, `{"a":"\ufffd"}`, "{\"a\":\"\ufffd\"}", `{"\ud800":1}`, `{"a":"12345678\ud800"}`,
	"{\"a\":\"\x00\"}", "{\"a\":\"1234567\x1f90\"}", "{\"a\":\"\x7f\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\xaf\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"é€😀\"}",
	"{\"a\":\"12345678\u2028\"}", "{\"a\xff\":1}", "\ufeff{}", "{}\x00", "{}{}", "{} x", "{}\u00a0", "\v{}", "", " ", "null", "[]", `"{}"`, "5"}

func nested(depth int) string {
	return `{"a":` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + `}`
}

// depthOf is how deep the values of a JSON text are nested.
func depthOf(text []byte) int {
	depth, deepest, inString := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == '{' || c == '['):
			depth++
			deepest = max(deepest, depth)
		case !inString && (c == '}' || c == ']'):
			depth--
		}
	}
	return deepest
}

// checkScan holds the scanner against the reference: what each takes for an
// object, and the members that it finds, at every level.
func checkScan(t *testing.T, text []byte) {
	t.Helper()
	before := bytes.Clone(text)
	want, wantErr := parseObject(text)
	if wantErr == nil && depthOf(text) > maxDepth {
		wantErr = errNotObject
	}
	d := newDocument()
	defer d.release()
	o, err := d.scan(text)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%.200q: got %v, the reference %v", text, err, wantErr)
	}
	if err == nil {
		checkObject(t, o, want)
	}
	if !bytes.Equal(before, text) {
		t.Error("the input was changed")
	}
}

func checkObject(t *testing.T, got object, want referenceObject) {
	t.Helper()
	n := 0
	for name, v := range got.members() {
		raw, ok := want[string(name)]
		if !ok {
			t.Fatalf("member %q is not one to the reference", name)
		}
		checkValue(t, v, raw)
		n++
		if other := got.get(string(name)); other != v {
			t.Errorf("member %q is found at %d, not %d", name, other.at, v.at)
		}
	}
	if n != len(want) {
		t.Errorf("got %d members, the reference %d", n, len(want))
	}
}

func checkValue(t *testing.T, got value, want json.RawMessage) {
	t.Helper()
	switch got.form() {
	case isString:
		if s, ok := rawString(want); !ok || s != string(got.raw()) {
			t.Errorf("got %q, the reference %s", got.raw(), want)
		}
		return
	case isObject:
		members, wantErr := parseObject(want)
		o, err := got.object()
		if (err == nil) != (wantErr == nil) {
			t.Errorf("%s: got %v, the reference %v", want, err, wantErr)
		} else if err == nil {
			checkObject(t, o, members)
		}
	case isArray:
		var list []json.RawMessage
		if err := json.Unmarshal(want, &list); err != nil {
			t.Fatal(err)
		}
		for v := range got.elements() {
			if len(list) == 0 {
				t.Fatal("an element too many")
			}
			checkValue(t, v, list[0])
			list = list[1:]
		}
		if len(list) != 0 {
			t.Errorf("%d elements too few", len(list))
		}
	}
	if !bytes.Equal(got.raw(), want) {
		t.Errorf("got the text %s, the reference %s", got.raw(), want)
	}
}

func FuzzScan(f *testing.F) {
	for _, text := range oddTexts {
		f.Add([]byte(text))
	}
	for _, b := range wireFiles(f) {
		f.Add(b)
	}
	f.Fuzz(checkScan)
}

func TestScannerReadsWhatTheReferenceReads(t *testing.T) {
	texts := append([]string{nested(maxDepth), nested(maxDepth + 1)}, oddTexts...)
	for _, b := range wireFiles(t) {
		texts = append(texts, string(b))
	}
	for _, text := range texts {
		checkScan(t, []byte(text))
		// At every offset within the eight bytes that are looked at together, and
		// within another value.
		for i := range 9 {
			checkScan(t, []byte(`{"z":"`+strings.Repeat("x", i)+`","y":`+text+`}`))
		}
	}
}

func TestNamesRepeatAmongFewAndMany(t *testing.T) {
	for _, n := range []int{1, 2, fewNames - 1, fewNames, fewNames + 1, 500} {
		var text strings.Builder
		for i := range n {
			text.WriteString(`"` + strings.Repeat("n", i) + `":1,`)
		}
		checkScan(t, []byte(`{`+text.String()+`"last":1}`))
		for _, again := range []string{"", "n", strings.Repeat("n", n-1)} {
			if n > 1 {
				checkScan(t, []byte(`{`+text.String()+`"`+again+`":1}`))
			}
		}
	}
}

// sameRefusal tells whether two errors say the same of a message.
func sameRefusal(a, b error) bool {
	if a == nil || b == nil {
		return a == b
	}
	for _, e := range []error{ErrMalformed, ErrSignature, ErrUnknownKey, ErrAudience, ErrKeyBounds, ErrUnsupported,
		ErrMalformedToken, ErrNotAccessToken} {
		if errors.Is(a, e) != errors.Is(b, e) {
			return false
		}
	}
	return true
}

// checkReading compares two readings of a text, with the reference last.
func checkReading[T any](t *testing.T, text []byte, got *T, err error, want *T, wantErr error) {
	t.Helper()
	if wantErr == nil && depthOf(text) > maxDepth {
		return
	}
	if !sameRefusal(err, wantErr) {
		t.Fatalf("%.300q: got %v, the reference %v", text, err, wantErr)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Token{}, claim{})); diff != "" {
		t.Errorf("%.300q (-reference +got):\n%s", text, diff)
	}
}

// reading has what messages are signed and opened with.
type reading struct {
	signer *Signer
	keys   *KeySet
}

func newReading(tb testing.TB) reading {
	tb.Helper()
	file, err := os.ReadFile(filepath.Join("..", "testdata", "keys", "publisher.jwk.json"))
	if err != nil {
		tb.Fatal(err)
	}
	s, err := ParseSigner(file)
	if err != nil {
		tb.Fatal(err)
	}
	return reading{signer: s, keys: NewKeySet(s.Public())}
}

// check reads the text as the claims of a message of each type, as each message
// that is not signed, and as the claims of a token.
func (r reading) check(t *testing.T, text []byte) {
	t.Helper()
	for _, name := range []string{"event", "beacon", "query", "receipt", "refusal", "report", "status", "answer", "ask", "token"} {
		r.checkAs(t, name, text)
	}
}

func (r reading) checkAs(t *testing.T, name string, text []byte) {
	t.Helper()
	switch name {
	case "beacon":
		checkOpening(t, r, typeBeacon, text, (*KeySet).OpenBeacon, referenceBeacon)
	case "query":
		checkOpening(t, r, typeQuery, text, (*KeySet).OpenQuery, referenceQuery)
	case "receipt":
		checkOpening(t, r, typeReceipt, text, (*KeySet).OpenReceipt, referenceReceipt)
	case "refusal":
		checkOpening(t, r, typeRefusal, text, (*KeySet).OpenRefusal, referenceRefusal)
	case "report":
		checkDecoding[Report](t, text)
	case "status":
		checkDecoding[Status](t, text)
	case "answer":
		checkDecoding[Answer](t, text)
	case "ask":
		checkDecoding[Ask](t, text)
	case "token":
		raw := encodeJWS(`{"alg":"ES256"}`, text)
		got, err := ParseToken(raw)
		want, wantErr := referenceToken(raw)
		checkReading(t, text, got, err, want, wantErr)
	default:
		got, err := decodeSET(DefaultFleet, text)
		want, wantErr := referenceSET(DefaultFleet, text)
		checkReading(t, text, got, err, want, wantErr)
	}
}

func checkOpening[T any](t *testing.T, r reading, typ string, text []byte,
	open, reference func(*KeySet, Fleet, []byte) (*T, error)) {
	t.Helper()
	raw, err := r.signer.sign(typ, text)
	if err != nil {
		return // too long to be sent
	}
	got, err := open(r.keys, DefaultFleet, raw)
	want, wantErr := reference(r.keys, DefaultFleet, raw)
	checkReading(t, text, got, err, want, wantErr)
}

func checkDecoding[T Report | Status | Ask | Answer](t *testing.T, text []byte) {
	t.Helper()
	got, err := Decode[T](text)
	want, wantErr := referenceDecode[T](text)
	checkReading(t, text, got, err, want, wantErr)
}

// checkOpen opens a message, of which text is what is within it.
func (r reading) checkOpen(t *testing.T, raw, text []byte) {
	t.Helper()
	got, kid, err := r.keys.Open(DefaultFleet, raw)
	want, wantKid, wantErr := referenceOpen(r.keys, DefaultFleet, raw)
	checkReading(t, text, got, err, want, wantErr)
	if kid != wantKid && depthOf(text) <= maxDepth {
		t.Errorf("%.300q: got key %q, the reference %q", raw, kid, wantKid)
	}
}

// signedUnder makes an event of a header that no Signer would write.
func (r reading) signedUnder(header, payload []byte) []byte {
	b64 := base64.RawURLEncoding
	raw := append(b64.AppendEncode(nil, header), '.')
	raw = b64.AppendEncode(raw, payload)
	sig := ed25519.Sign(r.signer.private(), raw)
	return b64.AppendEncode(append(raw, '.'), sig)
}

// oddHeaders are headers of the key: the Signer's own, and others.
func (r reading) oddHeaders() []string {
	kid := r.signer.kid
	own := string(appendHeader(nil, typeEvent, kid))
	change := func(old, new string) string { return strings.Replace(own, old, new, 1) }
	return append([]string{own, own + " ", change(`"kid"`, ` "kid"`), change(kid, "x"), change(kid, ""), change(`"alg":"EdDSA",`, ``),
		change("EdDSA", "none"), change("EdDSA", "ES256"), change("EdDSA", `Ed\u0044SA`), change("EdDSA", `Ed\u0044S\u0041`), change("EdDSA", "eddsa"), change("alg", "Alg"), change("typ", "TYP"),
		change(typeEvent, typeBeacon), change(typeEvent, "JWT"), change(typeEvent, ""), change(`"typ":"secevent+jwt"`, `"typ":null`),
		change(`"alg"`, `"crit":[],"alg"`), change(`"alg"`, `"b64":true,"alg"`), change(`"alg"`, `"x5u":"y","alg"`), change(`"alg"`, `"alg":"none","alg"`),
		change(`"alg"`, `"kid":"x","alg"`), change(`"`+kid+`"`, `5`), change(`"`+kid+`"`, `null`), change(`"`+kid+`"`, `["`+kid+`"]`),
		string(appendHeader(nil, typeBeacon, kid))}, oddTexts...)
}

func FuzzOpenAsTheReference(f *testing.F) {
	r := newReading(f)
	files := wireFiles(f)
	for name, b := range files {
		if strings.HasSuffix(name, ".jws") {
			f.Add(b, []byte(`{}`), files["all.json"])
		}
	}
	for _, h := range r.oddHeaders() {
		f.Add([]byte("a.b.c"), []byte(h), files["all.json"])
	}
	f.Fuzz(func(t *testing.T, raw, header, payload []byte) {
		text := bytes.Clone(raw)
		for part := range bytes.SplitSeq(raw, []byte(".")) {
			b, _ := base64.RawURLEncoding.DecodeString(string(part))
			text = append(text, b...)
		}
		r.checkOpen(t, raw, text)
		r.checkOpen(t, r.signedUnder(header, payload), append(bytes.Clone(header), payload...))
	})
}

func TestHeadersReadAsTheReferenceReadsThem(t *testing.T) {
	r := newReading(t)
	files := wireFiles(t)
	for _, h := range r.oddHeaders() {
		good := r.signedUnder([]byte(h), files["all.json"])
		r.checkOpen(t, good, nil)
		for _, bad := range [][]byte{good[:len(good)-1], good[:len(good)-4], append(bytes.Clone(good), "AAAA"...), append(bytes.Clone(good), '.'), append(bytes.Clone(good), '\n'),
			bytes.Replace(good, []byte("."), []byte(".!"), 1), append([]byte("A"), good...), append([]byte("="), good...),
			r.signedUnder([]byte(h), nil), r.signedUnder([]byte(h), []byte("{}"))} {
			r.checkOpen(t, bad, nil)
		}
	}
	// The key is known by its header, and is no Ed25519 key.
	public := *r.signer.Public()
	public.Public = public.Public[:31]
	raw := r.signedUnder(appendHeader(nil, typeEvent, public.ID), files["all.json"])
	if _, _, err := NewKeySet(&public).Open(DefaultFleet, raw); !errors.Is(err, ErrSignature) {
		t.Errorf("a key of 31 bytes: got %v, want ErrSignature", err)
	}
	// A key set that somebody made by hand knows a key without a name of its own.
	public = *r.signer.Public()
	for _, kid := range []string{"", "\xff", `x","typ":"y`} {
		public.ID = kid
		reference := reading{r.signer, NewKeySet(&public)}
		reference.checkOpen(t, r.signedUnder(appendHeader(nil, typeEvent, kid), files["all.json"]), nil)
	}
}

func encodeJWS(header string, payload []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode(payload) + ".c2ln"
}

func FuzzReading(f *testing.F) {
	r := newReading(f)
	for _, text := range oddTexts {
		f.Add([]byte(text))
	}
	for _, b := range wireFiles(f) {
		f.Add(b)
	}
	f.Fuzz(r.check)
}

// TestEveryMemberReadsAsTheReferenceReadsIt puts every kind of value in the place
// of every value of the golden messages, renames and doubles every member, and
// reads what comes out as every message.
func TestEveryMemberReadsAsTheReferenceReadsIt(t *testing.T) {
	values := []string{`null`, `true`, `0`, `1`, `-1`, `-0`, `1.5`, `1e3`, `9007199254740992`, `18446744073709551616`, `""`, `"x"`, `[]`, `[null]`, `["x"]`, `[[]]`,
		`{}`, `{"en":null}`, `{"en":"x","de":null}`, `{"a":1,"a":1}`, `[{}]`, `[{"a":1,"a":2}]`, `{"x":null}`, `{"x":{}}`, `{"x":1,"x":1}`,
		// Numbers that would be base64url of a hash and of an identity.
		`10000000000`, `1` + strings.Repeat("0", 42), `[1` + strings.Repeat("0", 42) + `]`}
	r := newReading(t)
	files := wireFiles(t)
	files["token.json"] = []byte(`{"iss":"i","sub":"u","sid":"s","jti":"j","iat":1,"auth_time":2,"exp":3,"scope":"x","aud":["a"]}`)
	// With the members of other kinds, empty or passed over.
	files["query.json"] = bytes.Replace(files["query.json"], []byte(`"match": {`), []byte(`"match": {"iss":"","jti":"",`+
		`"ids":[],"event":"019ac9f1-0000-7000-8000-000000000007",`), 1)
	for _, name := range []string{"claim", "tokens", "token-jti", "lift", "beacon", "query", "receipt", "refusal", "report", "status",
		"answer", "ask", "token"} {
		text := files[name+".json"]
		d := newDocument()
		if _, err := d.scan(text); err != nil {
			t.Fatal(err)
		}
		for _, n := range d.nodes {
			if n.elsewhere {
				continue // its place in the text is not kept
			}
			start, end := placeOf(n)
			before, self, after := string(text[:start]), string(text[start:end]), string(text[end:])
			others := values
			if strings.HasPrefix(after, ":") {
				others = []string{strings.ToUpper(self), `"zone":{},` + self, self + `:null,` + self}
			}
			for _, other := range others {
				r.checkAs(t, name, []byte(before+other+after))
			}
		}
		d.release()
	}
}

// placeOf gives the place of a value in the text, quotes included.
func placeOf(n node) (start, end int) {
	if n.form == isString {
		return int(n.start) - 1, int(n.end) + 1
	}
	return int(n.start), int(n.end)
}
