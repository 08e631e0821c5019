package events

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestTextsThatAreNotOneObjectAreRefused(t *testing.T) {
	for text, want := range map[string]error{
		"": errNotObject, " ": errNotObject, "null": errNotObject, "[]": errNotObject, `"x"`: errNotObject, "5": errNotObject,
		"\ufeff{}": errNotObject, "\v{}": errNotObject, "{}{}": errTail, "{} x": errTail, "{}\x00": errTail, "{}\u00a0": errTail,
		`{`: errNotObject, `{"a`: errNotObject, `{"a"`: errNotObject, `{"a":`: errNotObject, `{"a":1`: errNotObject, `{"a":1,`: errNotObject,
		`{"a":1]`: errNotObject, `{"a":1,}`: errNotObject, `{,}`: errNotObject, `{a:1}`: errNotObject, `{1:1}`: errNotObject,
		`{"a" 1}`: errNotObject, `{"a";1}`: errNotObject, `{"a",1}`: errNotObject, `{'a":1}`: errNotObject, `{ax":1}`: errNotObject, `{"a":}`: errNotObject, `{"a":1 "b":2}`: errNotObject, `{"a":1;"b":2}`: errNotObject,
		`{"a":[}`: errNotObject, `{"a":[1,]}`: errNotObject, `{"a":[,1]}`: errNotObject, `{"a":[1 2]}`: errNotObject, `{"a":[1}}`: errNotObject,
		`{"a":tru}`: errNotObject, `{"a":TRUE}`: errNotObject, `{"a":truee}`: errNotObject, `{"a":fals}`: errNotObject, `{"a":nil}`: errNotObject, `{"a":trve}`: errNotObject,
		`{"a":folse}`: errNotObject, `{"a":nuil}`: errNotObject,
		`{"a":01}`: errNotObject, `{"a":-01}`: errNotObject, `{"a":-}`: errNotObject, `{"a":+1}`: errNotObject, `{"a":.5}`: errNotObject, `{"a":1.}`: errNotObject,
		`{"a":1e}`: errNotObject, `{"a":1e+}`: errNotObject, `{"a":0x1}`: errNotObject, `{"a":1_0}`: errNotObject, `{"a":NaN}`: errNotObject,
		"{\"a\":\"\n\"}": errNotObject, "{\"a\":\"1234567\x00\"}": errNotObject, "{\"a\":\"12345678\x1f\"}": errNotObject, "{\"a\n\":1}": errNotObject,
		`{"a":"\x"}`: errNotObject, `{"a":"\`: errNotObject, `{"a":"\u00`: errNotObject, `{"a":"\u00g0"}`: errNotObject, `{"a":"\U0041"}`: errNotObject,
		"{\"a\":\"\xff\"}": errUTF8, "{\"a\":\"\xc0\xaf\"}": errUTF8, "{\"a\":\"\xed\xa0\x80\"}": errUTF8, "{\"\xff\":1}": errUTF8,
		"{\"a\":\"\xf4\x90\x80\x80\"}": errUTF8, "{\"a\":\"\xe2\x82": errUTF8, "{\"a\":[{\"b\":\"\xff\"}]}": errUTF8,
		`{"a":"\ud800"}`: errSurrogate, `{"a":"\udc00"}`: errSurrogate, `{"a":"\ud800\u0041"}`: errSurrogate, `{"a":"\udc00\ud800"}`: errSurrogate,
		`{"a":"\ud800\ud800"}`: errSurrogate, `{"a":"\ud83d\nde00"}`: errSurrogate, `{"a":"\ud83d0ude00"}`: errSurrogate, `{"a":"\ud83d`: errSurrogate,
		`{"\ud800":1}`: errSurrogate, `{"a":[{"b":"\ud800"}]}`: errSurrogate,
		`{"a":1,"a":1}`: errTwice, `{"a":1,"\u0061":1}`: errTwice, `{"a":{},"b":1,"a":null}`: errTwice, `{"":1,"":1}`: errTwice,
		nested(maxDepth + 1): errNotObject, `{"a":` + strings.Repeat("[", 100_000): errNotObject, strings.Repeat(`{"a":`, 100_000): errNotObject,
	} {
		d := newDocument()
		if _, err := d.scan([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%.60q: got %v, want %v", text, err, want)
		}
		d.release()
	}
	for _, text := range []string{"{}", "\t\r\n {} ", `{"a":{"b":1,"b":2}}`, `{"a":1,"A":1}`, `{"a":"\ud83d\ude00 \\ud800 \/"}`, `{"a":-0.5e-7}`, nested(maxDepth)} {
		d := newDocument()
		if _, err := d.scan([]byte(text)); err != nil {
			t.Errorf("%.60q: %v", text, err)
		}
		d.release()
	}
}

// TestDocumentsAreUsedAgain: what an earlier text left behind is no part of a
// later one.
func TestDocumentsAreUsedAgain(t *testing.T) {
	d := new(document)
	for _, text := range []string{`{"a":"\u00e9","b":[1,2,3],"c":"x"}`, `{"a":1`, `{"b":"\u00e8"}`} {
		o, err := d.scan([]byte(text))
		if err == nil && o.has("c") != strings.Contains(text, `"c"`) {
			t.Errorf("%s: c is there: %v", text, o.has("c"))
		}
	}
	if got, err := (object{value{d, 0}}).str("b"); err != nil || got != "\u00e8" {
		t.Errorf("got %q, %v", got, err)
	}
	if len(d.unescaped) != len("\u00e8") {
		t.Errorf("an earlier text's characters are kept: %q", d.unescaped)
	}
}

// TestWhatWasReadOutlivesItsDocument writes over the memory from which messages
// were read.
func TestWhatWasReadOutlivesItsDocument(t *testing.T) {
	r := newReading(t)
	files := wireFiles(t)
	d := new(document)
	for name, text := range files {
		if !strings.HasSuffix(name, ".json") {
			continue
		}
		want, _ := referenceSET(DefaultFleet, text)
		copied := bytes.Clone(text)
		got, err := readSET(d, DefaultFleet, copied)
		wantToken, _ := referenceClaims(text)
		gotToken, tokenErr := readToken(d, copied)
		clear(copied)
		clear(d.unescaped[:cap(d.unescaped)])
		clear(d.nodes[:cap(d.nodes)])
		if err == nil {
			checkReading(t, text, got, nil, want, nil)
		}
		if tokenErr == nil {
			checkReading(t, text, gotToken, nil, wantToken, nil)
		}
	}
	// As callers have it, with the documents of the pool.
	want, _, err := referenceOpen(r.keys, DefaultFleet, files["claim.jws"])
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := r.keys.Open(DefaultFleet, bytes.Clone(files["claim.jws"]))
	for range 100 {
		if _, _, err := r.keys.Open(DefaultFleet, files["realm.jws"]); err != nil {
			t.Fatal(err)
		}
	}
	checkReading(t, nil, got, err, want, nil)
}
