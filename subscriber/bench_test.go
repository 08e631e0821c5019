package subscriber

import (
	"crypto/ed25519"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
)

// filled is a server whose stream holds n signed events.
type filled struct {
	srv    *bustest.Server
	bus    *bus.Bus
	signer *events.Signer
	stream events.Stream
	last   uint64
	// bytes are those of one event.
	bytes   int
	beacons uint64
}

// fill publishes n events of the target that make gives.
func fill(b *testing.B, s events.Stream, n int, make func(i int) events.Target) *filled {
	f := &filled{srv: bustest.Start(b, bustest.Unsynced), stream: s}
	f.bus = f.srv.Bus(b, events.DefaultFleet)
	var err error
	if f.signer, err = events.NewSigner("p1"); err != nil {
		b.Fatal(err)
	}
	raws := f.sign(b, n, make)
	nc := f.srv.Connect(b)
	for i, raw := range raws {
		if err = nc.Publish(events.DefaultFleet.EventSubject(s), raw); err == nil && i%100 == 99 {
			err = nc.Flush() // the server drops what comes faster than it stores
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	bustest.Eventually(b, "the stream holds all events", func() bool {
		info, err := f.bus.Info(b.Context(), s)
		f.last = info.Last
		return err == nil && info.Msgs == uint64(n)
	})
	f.bytes = len(raws[0])
	return f
}

// sign makes n events, on all cores.
func (f *filled) sign(b *testing.B, n int, target func(i int) events.Target) [][]byte {
	out := make([][]byte, n)
	now := time.Now().Unix()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				r := &events.Revocation{ID: events.NewEventID(), Txn: events.NewEventID(), Issuer: "http://p",
					Fleet: events.DefaultFleet, IssuedAt: now, Expires: now + 3600, Initiator: events.ByAdmin,
					Target: target(i), Origin: events.Origin{Publisher: "p1", Incarnation: events.EventID{1}, Counter: uint64(i + 1)}}
				if r.Target.Kind.HasCutoff() {
					r.NotBefore = now
				}
				raw, err := f.signer.Sign(r)
				if err != nil {
					b.Error(err)
					return
				}
				out[i] = raw
			}
		})
	}
	wg.Wait()
	return out
}

// beacon says how far the streams reach.
func (f *filled) beacon(b *testing.B) {
	f.beacons++
	beacon := events.Beacon{SentAt: time.Now().UnixMilli(), Streams: map[events.Stream]events.Watermark{},
		Origin: events.Origin{Publisher: "p1", Incarnation: events.EventID{1}, Counter: f.beacons}}
	for _, s := range events.EventStreams {
		i, err := f.bus.Info(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		beacon.Streams[s] = events.Watermark{Epoch: i.Epoch, First: i.First, Last: i.Last}
	}
	raw, err := f.signer.SignBeacon(events.DefaultFleet, "http://p", &beacon)
	if err == nil {
		err = f.bus.Conn().Publish(events.DefaultFleet.BeaconSubject(), raw)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// catchUp opens a new agent and gives the times until it is fresh and until all
// is durable.
func (f *filled) catchUp(b *testing.B) (fresh, durable time.Duration) {
	nc := f.srv.Connect(b)
	defer nc.Close()
	begun := time.Now()
	a, err := Open(b.Context(), nc, Config{Service: "bench", Dir: b.TempDir(), Keys: events.NewKeySet(f.signer.Public())})
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	// The first beacon may come before the agent's subscription has.
	for beat := time.Tick(200 * time.Millisecond); fresh == 0; {
		f.beacon(b)
		select {
		case <-a.Synced():
			fresh = time.Since(begun)
		case <-beat:
		}
	}
	bustest.Eventually(b, "everything is durable", func() bool { return a.set.Cursors()[f.stream].Seq == f.last })
	return fresh, time.Since(begun)
}

// verifyAll is the limit: how long ed25519.Verify alone takes for n messages of
// so many bytes on all cores.
func verifyAll(b *testing.B, n, size int) time.Duration {
	pub, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	message := make([]byte, size)
	signature := ed25519.Sign(private, message)
	begun := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				if !ed25519.Verify(pub, message, signature) {
					b.Error("a signature is not valid")
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begun)
}

// processCPU is the processor time that the process, the server in it included,
// has used.
func processCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmarkCatchUp(b *testing.B, s events.Stream, n int, target func(i int) events.Target) {
	f := fill(b, s, n, target)
	var fresh, durable, limit, cpu, limitCPU time.Duration
	runs := uint64(0)
	for b.Loop() {
		runs++
		before := processCPU(b)
		limit += verifyAll(b, n, f.bytes)
		between := processCPU(b)
		x, y := f.catchUp(b)
		fresh, durable = fresh+x, durable+y
		limitCPU, cpu = limitCPU+between-before, cpu+processCPU(b)-between
	}
	// On a machine that others use, processor time says more than the clock.
	b.ReportMetric(limitCPU.Seconds()/cpu.Seconds(), "of-verify-cpu")
	b.ReportMetric(fresh.Seconds()*1000/float64(runs), "ms-fresh")
	b.ReportMetric(durable.Seconds()*1000/float64(runs), "ms-durable")
	b.ReportMetric(limit.Seconds()*1000/float64(runs), "ms-verify-alone")
	b.ReportMetric(limit.Seconds()/durable.Seconds(), "of-verify-speed")
}

// BenchmarkCatchUpUsers: a new agent reads so many revocations of one user each.
//
//	go test -run '^$' -bench CatchUp -benchtime 3x ./subscriber
func BenchmarkCatchUpUsers(b *testing.B) {
	for _, n := range []int{1000, 30_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			benchmarkCatchUp(b, events.Control, n, func(i int) events.Target {
				return events.Target{Kind: events.KindUser, Realm: "main", Issuers: []string{"https://idp.example.com/realms/main"},
					Claim: "preferred_username", Value: fmt.Sprintf("user-%d", i)}
			})
		})
	}
}

// BenchmarkCatchUpLists: a new agent reads lists of 1,000 tokens.
func BenchmarkCatchUpLists(b *testing.B) {
	for _, n := range []int{300} {
		b.Run(fmt.Sprintf("%d000", n), func(b *testing.B) {
			benchmarkCatchUp(b, events.Tokens, n, func(i int) events.Target {
				t := events.Target{Kind: events.KindTokens, Realm: "main"}
				for j := range 1000 {
					t.Identities = append(t.Identities, events.OpaqueIdentity(fmt.Sprintf("token %d of %d", j, i)))
				}
				return t
			})
		})
	}
}
