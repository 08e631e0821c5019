package denylist_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/denylist"
)

var sizes = []int{1_000, 100_000, 1_000_000}

// benchSet lists size identities, with some rules on claims that hit nobody.
func benchSet(tb testing.TB, size, rules int) *denylist.Set {
	s := mustOpen(tb, options(""))
	tb.Cleanup(func() { mustClose(tb, s) })
	for n := range size / 1000 {
		r := list(n, 0, 0)
		for i := range 1000 {
			r.Target.Identities = append(r.Target.Identities, quick(n*1000+i))
		}
		s.Stage(denylist.Change{Records: []denylist.Record{r}})
	}
	for n := range rules {
		s.Stage(denylist.Change{Records: []denylist.Record{{ID: id(1<<32 + n), Stream: events.Control, NotBefore: 100, Expires: 1 << 40,
			Target: events.Target{Kind: events.KindUser, Claim: "sub", Value: fmt.Sprint("user ", n), Issuers: issuers[:1]}}}})
	}
	return s
}

// quick is an identity that is cheap to make and as random as any.
func quick(n int) (id events.Identity) {
	for i := range 4 {
		x := uint64(n*4+i+1) * 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(id[8*i:], x^x>>31)
	}
	return id
}

// bench checks tokens that differ in their identity, as if each had just been
// parsed: the token is in the processor's cache, what the set knows of it is not.
func bench(b *testing.B, s *denylist.Set, first, count int, iat int64, want bool) {
	tok := token(b, map[string]any{"iss": issuers[0], "sub": "user 7", "sid": "s", "azp": "web", "exp": 300})
	tok.IssuedAt = iat
	ids := make([]events.Identity, count)
	for i := range ids {
		ids[i] = quick(first + i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tok.Identity = ids[i%count]
		if s.Check(tok) != want {
			b.Fatal("wrong verdict")
		}
	}
}

func BenchmarkCheckMiss(b *testing.B) {
	for _, size := range sizes {
		for _, rules := range []int{0, 1000} {
			b.Run(fmt.Sprintf("%d/%d rules", size, rules), func(b *testing.B) {
				bench(b, benchSet(b, size, rules), 1<<40, 1<<16, 200, false)
			})
		}
	}
}

func BenchmarkCheckHit(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			bench(b, benchSet(b, size, 0), 0, min(size, 1<<16), 200, true)
		})
	}
}

func BenchmarkCheckHitByClaim(b *testing.B) {
	for _, rules := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(rules), func(b *testing.B) {
			bench(b, benchSet(b, 0, rules), 1<<40, 1<<16, 50, true)
		})
	}
}

func BenchmarkStageList(b *testing.B) {
	s := mustOpen(b, options(""))
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		r := list(n, 0, 0)
		for i := range 1000 {
			r.Target.Identities = append(r.Target.Identities, quick(n*1000+i))
		}
		b.StartTimer()
		s.Stage(denylist.Change{Records: []denylist.Record{r}})
	}
	b.ReportMetric(float64(s.TableBytes())/float64(s.Len()), "bytes/identity")
}

func BenchmarkStageRules(b *testing.B) {
	s := mustOpen(b, options(newPath(b)))
	defer mustClose(b, s)
	for n := 0; b.Loop(); n++ {
		r := denylist.Record{ID: id(n), KeyID: "k1", Stream: events.Control, Seq: uint64(n), NotBefore: 100, Expires: 1 << 40,
			Target: events.Target{Kind: events.KindUser, Claim: "sub", Value: fmt.Sprint("user ", n), Issuers: issuers[:1]}}
		s.Stage(denylist.Change{Records: []denylist.Record{r}})
		if n%1000 == 999 {
			mustCommit(b, s)
		}
	}
}

// BenchmarkOpen loads and verifies 1,000,000 identities.
func BenchmarkOpen(b *testing.B) {
	o := options(newPath(b))
	s := mustOpen(b, o)
	for n := range 1000 {
		r := list(n, 0, 0)
		for i := range 1000 {
			r.Target.Identities = append(r.Target.Identities, quick(n*1000+i))
		}
		s.Stage(denylist.Change{Records: []denylist.Record{r}})
	}
	mustClose(b, s)
	for b.Loop() {
		mustClose(b, mustOpen(b, o))
	}
}
