package fleettest_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/fleettest"
	"github.com/rescind/rescind/publisher"
)

// BenchmarkSynced is how long an agent that missed nothing takes to know it after
// a restart.
//
//	go test -run '^$' -bench . -benchtime 20x ./internal/fleettest
func BenchmarkSynced(b *testing.B) {
	f := fleettest.Start(b)
	f.AwaitFresh(b, f.OpenAgent(b, "a"))
	var all []time.Duration
	for b.Loop() {
		begun := time.Now()
		a := f.OpenAgent(b, "b")
		<-a.Synced()
		all = append(all, time.Since(begun))
		if err := a.Close(); err != nil {
			b.Fatal(err)
		}
	}
	report(b, all)
}

// BenchmarkWaitAll is how long the answer to an order takes that waits for one
// agent, with so many callers at a time.
func BenchmarkWaitAll(b *testing.B) {
	for _, callers := range []int{1, 8} {
		b.Run(fmt.Sprintf("%d callers", callers), func(b *testing.B) {
			f := fleettest.Start(b)
			f.AwaitFresh(b, f.OpenAgents(b, 1)...)
			var next atomic.Int64
			took := make([][]time.Duration, callers)
			var caller atomic.Int64
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				i := int(caller.Add(1)) - 1
				if i >= callers {
					return
				}
				for pb.Next() {
					begun := time.Now()
					target := publisher.Target{Kind: events.KindUser, Realm: "demo", Value: fmt.Sprint("user-", next.Add(1))}
					if _, err := f.Publisher.Revoke(b.Context(), fleettest.Order(target)); err != nil {
						b.Error(err)
						return
					}
					took[i] = append(took[i], time.Since(begun))
				}
			})
			report(b, slices.Concat(took...))
		})
	}
}

func report(b *testing.B, all []time.Duration) {
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(all[len(all)*9/10].Microseconds())/1000, "ms-p90")
}
