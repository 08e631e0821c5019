package denylist_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/denylist"
)

const fleet = events.Fleet("test")

// hours is the time h hours after the beginning.
func hours(h int) time.Time { return time.Unix(int64(h)*3600, 0) }

func options(path string) denylist.Options {
	return denylist.Options{Path: path, Fleet: fleet, Now: func() time.Time { return hours(0) }}
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "state", "denylist.db") }

// quickDir is a directory in memory where the system has one: thousands of
// transactions are made in it, and none needs to outlive the test.
func quickDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "denylist")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func mustOpen(t rapid.TB, o denylist.Options) *denylist.Set {
	t.Helper()
	s, err := denylist.Open(o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

func mustCommit(t rapid.TB, s *denylist.Set) map[events.Stream]denylist.Cursor {
	t.Helper()
	c, err := s.Commit()
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return c
}

func mustClose(t rapid.TB, s *denylist.Set) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// id is the n-th event id.
func id(n int) (id events.EventID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n)+1)
	return id
}

// identity is the n-th identity that no token of the tests has.
func identity(n int) events.Identity { return events.OpaqueIdentity(fmt.Sprint("token ", n)) }

func token(t rapid.TB, claims map[string]any) *events.Token {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	tok, err := events.ParseToken(enc([]byte(`{"alg":"EdDSA"}`)) + "." + enc(payload) + "." + enc([]byte("signature")))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// list is the n-th record, of size identities from the first-th on.
func list(n, first, size int) denylist.Record {
	r := denylist.Record{ID: id(n), KeyID: "key", Stream: events.Tokens, Seq: uint64(n + 1), Expires: 5*3600 - 1,
		Target: events.Target{Kind: events.KindTokens}}
	for i := range size {
		r.Target.Identities = append(r.Target.Identities, identity(first+i))
	}
	return r
}

func opaque(n int) *events.Token {
	return &events.Token{Identity: identity(n)}
}

var (
	issuers = []string{"https://a", "https://b", "https://c"}
	claims  = []string{"sub", "sid", "azp"}
	values  = []string{"x", "y"}
)

// drawToken draws from few values, so that much is hit; what is absent is drawn
// often.
func drawToken(t *rapid.T) *events.Token {
	c := map[string]any{}
	if iss := rapid.SampledFrom(append([]string{""}, issuers...)).Draw(t, "iss"); iss != "" {
		c["iss"] = iss
	}
	for _, name := range append([]string{"jti"}, claims...) {
		if v := rapid.SampledFrom(append([]string{""}, values...)).Draw(t, name); v != "" {
			c[name] = v
		}
	}
	for _, name := range []string{"iat", "auth_time", "exp"} {
		if v := rapid.IntRange(0, 9).Draw(t, name); v != 0 {
			c[name] = v * 1800
		}
	}
	return token(t, c)
}

func drawRecord(t *rapid.T, n int, tokens []*events.Token) denylist.Record {
	kind := rapid.SampledFrom(append([]events.Kind{events.KindLift, events.KindTokens}, events.Kinds...)).Draw(t, "kind")
	r := denylist.Record{ID: id(n), KeyID: rapid.SampledFrom([]string{"k1", "k2"}).Draw(t, "kid"), Stream: kind.Stream(),
		Seq: uint64(rapid.IntRange(1, 5).Draw(t, "seq")), Target: events.Target{Kind: kind},
		Expires: int64(rapid.IntRange(0, 9).Draw(t, "expires")) * 1800}
	if kind.HasCutoff() {
		r.NotBefore = int64(rapid.IntRange(1, 9).Draw(t, "not_before")) * 1800
	}
	switch kind.Mechanism() {
	case events.ByIdentity:
		size := 1
		if kind == events.KindTokens {
			size = rapid.IntRange(1, 4).Draw(t, "size")
		}
		for range size {
			r.Target.Identities = append(r.Target.Identities, rapid.SampledFrom(tokens).Draw(t, "listed").Identity)
		}
	case events.ByClaim:
		r.Target.Claim = rapid.SampledFrom(claims).Draw(t, "claim")
		r.Target.Value = rapid.SampledFrom(values).Draw(t, "value")
		r.Target.Issuers = rapid.SliceOfN(rapid.SampledFrom(issuers), 0, 3).Draw(t, "issuers")
	case events.ByIssuer:
		if kind == events.KindRealm {
			r.Target.Realm = "main"
			r.Target.Issuers = rapid.SliceOfN(rapid.SampledFrom(issuers), 1, 3).Draw(t, "issuers")
		}
	case events.ByEvent:
		r.Target.Lifted = id(rapid.IntRange(0, 12).Draw(t, "lifted"))
	}
	return r
}

// model is the set as its documentation defines it.
type model struct {
	known map[events.EventID]denylist.Record
}

func newModel() *model { return &model{map[events.EventID]denylist.Record{}} }

func (m *model) clone() *model {
	c := newModel()
	for id, r := range m.known {
		c.known[id] = r
	}
	return c
}

func (m *model) stage(r denylist.Record) {
	if _, ok := m.known[r.ID]; !ok {
		m.known[r.ID] = r
	}
}

func (m *model) standing() (out []denylist.Record) {
	lifted := map[events.EventID]bool{}
	for _, r := range m.known {
		if r.Target.Kind == events.KindLift {
			lifted[r.Target.Lifted] = true
		}
	}
	for _, r := range m.known {
		if r.Target.Kind != events.KindLift && !lifted[r.ID] {
			out = append(out, r)
		}
	}
	return out
}

// hits are the standing events that events.Match says hit the token.
func (m *model) hits(t *events.Token) (ids []events.EventID) {
	for _, r := range m.standing() {
		v := events.Revocation{ID: r.ID, Target: r.Target, NotBefore: r.NotBefore, Expires: r.Expires}
		if events.Match(&v, t) {
			ids = append(ids, r.ID)
		}
	}
	slices.SortFunc(ids, func(a, b events.EventID) int { return slices.Compare(a[:], b[:]) })
	return ids
}

func (m *model) len() int {
	identities, rules := map[events.Identity]bool{}, 0
	for _, r := range m.standing() {
		for _, identity := range r.Target.Identities {
			identities[identity] = true
		}
		if len(r.Target.Identities) == 0 {
			rules++
		}
	}
	return len(identities) + rules
}

func (m *model) drop(gone func(denylist.Record) bool) (n int) {
	for id, r := range m.known {
		if gone(r) {
			delete(m.known, id)
			n++
		}
	}
	return n
}

// compare fails when the set differs from the model in anything.
func (m *model) compare(t rapid.TB, s *denylist.Set, tokens []*events.Token) {
	t.Helper()
	for _, tok := range tokens {
		want := m.hits(tok)
		if got := s.Check(tok); got != (len(want) > 0) {
			t.Fatalf("Check(%+v) = %v, but events.Match says %v", tok, got, want)
		}
		got, err := s.Explain(tok)
		if err != nil {
			t.Fatalf("Explain: %v", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("Explain(%+v): %s", tok, diff)
		}
	}
	if got, want := s.Len(), m.len(); got != want {
		t.Fatalf("Len() = %d, want %d", got, want)
	}
	if got, want := s.Known(), len(m.known); got != want {
		t.Fatalf("Known() = %d, want %d", got, want)
	}
	for n := range 14 {
		if _, want := m.known[id(n)]; s.Has(id(n)) != want {
			t.Fatalf("Has(%s) = %v", id(n), !want)
		}
	}
}
