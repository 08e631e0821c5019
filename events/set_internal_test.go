package events

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzOpenPayload reads arbitrary claims as if they were signed: what is read
// means the same when it is written and read again.
func FuzzOpenPayload(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("..", "testdata", "wire", "*.json"))
	if err != nil || len(files) == 0 {
		f.Fatal("no golden files", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, err := decodeSET(DefaultFleet, payload)
		if err != nil {
			if r != nil {
				t.Error("a refused payload gives a revocation")
			}
			return
		}
		if !json.Valid(payload) {
			t.Fatalf("%q is no JSON and is read", payload)
		}
		if err := r.Validate(); err != nil {
			t.Fatalf("what is read is not valid: %v", err)
		}
		again, err := json.Marshal(encodeSET(r))
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeSET(DefaultFleet, again)
		if err != nil {
			t.Fatalf("what is written is refused: %v\n%s", err, again)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Errorf("(-read +written and read):\n%s", diff)
		}
	})
}

// FuzzParseObject: what is taken for an object is one to encoding/json too, with
// the same members.
func FuzzParseObject(f *testing.F) {
	for _, s := range []string{`{}`, ` {"a":1}`, `{"a":1,}`, `{"a":1]`, `{"a":{"a":[{}]},"b":"\ud83d\ude00"}`, `{"a":"\\ud800"}`, `{"a" 1}`,
		`{"a":"\ud800"}`, `{,}`, `{"a":}`, `{"a":1 "b":2}`, `{"a":01}`, `{"a":"\u00"}`, `{"a":"` + "\x00" + `"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := parseObject(data)
		if err != nil {
			return
		}
		want := map[string]json.RawMessage{}
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("%q: encoding/json: %v", data, err)
		}
		if diff := cmp.Diff(want, map[string]json.RawMessage(o)); diff != "" {
			t.Errorf("(-encoding/json +parseObject):\n%s", diff)
		}
		again := map[string]json.RawMessage{}
		if err := decodeObject(data, &again); err == nil && len(again) != len(o) {
			t.Errorf("decodeObject reads %d members, parseObject %d", len(again), len(o))
		}
		for name, raw := range o {
			if s, ok := rawString(raw); ok && bytes.ContainsRune([]byte(s), '\uFFFD') && !mentionsReplacement(raw) {
				t.Errorf("member %q: U+FFFD came from nowhere: %q", name, raw)
			}
		}
	})
}

// mentionsReplacement tells whether raw has U+FFFD itself, or its escape.
func mentionsReplacement(raw []byte) bool {
	return bytes.ContainsRune(raw, '\uFFFD') || bytes.Contains(bytes.ToLower(raw), []byte(`\ufffd`))
}
