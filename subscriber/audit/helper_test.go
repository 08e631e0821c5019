package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/subscriber/audit"
)

const (
	fleet    = events.DefaultFleet
	pubURL   = "https://rescind.example.com"
	issuer   = "https://idp.example.com/realms/main"
	signedAt = 1795302000
)

// author signs as one publisher.
type author struct {
	signer      *events.Signer
	incarnation events.EventID
	counters    map[events.Stream]uint64
}

func newAuthor(t testing.TB, publisher string) *author {
	t.Helper()
	s, err := events.NewSigner(publisher)
	if err != nil {
		t.Fatal(err)
	}
	return &author{s, events.NewEventID(), map[events.Stream]uint64{}}
}

func (a *author) keys() *events.KeySet { return events.NewKeySet(a.signer.Public()) }

func (a *author) origin(s events.Stream) events.Origin {
	a.counters[s]++
	return events.Origin{Publisher: a.signer.Public().Publisher, Incarnation: a.incarnation, Counter: a.counters[s]}
}

// posted is a signed message with where it goes.
type posted struct {
	stream events.Stream
	id     events.EventID
	raw    []byte
}

func (a *author) event(t testing.TB, target events.Target) posted {
	t.Helper()
	r := &events.Revocation{ID: events.NewEventID(), Txn: events.NewEventID(), Issuer: pubURL, Fleet: fleet,
		IssuedAt: signedAt, Target: target, NotBefore: signedAt + 1, Expires: signedAt + 86461,
		Reason: "laptop \"stolen\" <été>", Initiator: events.ByAdmin, Origin: a.origin(target.Kind.Stream())}
	if !target.Kind.HasCutoff() {
		r.NotBefore = 0
	}
	raw, err := a.signer.Sign(r)
	if err != nil {
		t.Fatal(err)
	}
	return posted{target.Kind.Stream(), r.ID, raw}
}

func (a *author) user(t testing.TB, name string) posted {
	t.Helper()
	return a.event(t, events.Target{Kind: events.KindUser, Realm: "main", Issuers: []string{issuer}, Claim: "sub", Value: name})
}

func (a *author) tokens(t testing.TB) posted {
	t.Helper()
	return a.event(t, events.Target{Kind: events.KindTokens, Realm: "main",
		Identities: []events.Identity{events.OpaqueIdentity("a"), events.OpaqueIdentity("b")}})
}

func (a *author) lift(t testing.TB, lifted events.EventID) posted {
	t.Helper()
	return a.event(t, events.Target{Kind: events.KindLift, Lifted: lifted})
}

func (a *author) receipt(t testing.TB) posted {
	t.Helper()
	r := &events.Receipt{Origin: a.origin(events.Audit), ID: events.NewEventID(), Caller: "admin-cli", Door: "native",
		Reason: "laptop stolen", AcceptedAt: signedAt * 1000, ElapsedMS: 12,
		Events: []events.ReceiptEvent{{ID: events.NewEventID(), Stream: events.Control, Seq: 42, Target: `user "jack" in realm main`}},
		Outcome: events.Outcome{Invalidated: 9, Previously: 15, Expected: 2, Applied: []events.Application{{Agent: "payments/web-1", AfterMS: 3}},
			Errors: []events.OutcomeError{{Agent: "payments/web-2", Type: events.AgentSilent, Reason: "no report"}}}}
	raw, err := a.signer.SignReceipt(fleet, pubURL, signedAt, r)
	if err != nil {
		t.Fatal(err)
	}
	return posted{events.Audit, r.ID, raw}
}

func (a *author) refusal(t testing.TB) posted {
	t.Helper()
	r := &events.Refusal{Origin: a.origin(events.Audit), ID: events.NewEventID(), Door: "native", Error: "forbidden",
		Detail: "this caller may not revoke targets of kind realm", Caller: "apikey:helpdesk", Remote: "192.0.2.7",
		Kind: events.KindRealm, Realm: "main", Target: "realm main", Count: 3, First: signedAt * 1000, Last: signedAt*1000 + 59_000}
	raw, err := a.signer.SignRefusal(fleet, pubURL, signedAt, r)
	if err != nil {
		t.Fatal(err)
	}
	return posted{events.Audit, r.ID, raw}
}

// mixed is n events and receipts of all sorts.
func (a *author) mixed(t testing.TB, n int) []posted {
	t.Helper()
	var all []posted
	for i := range n {
		switch i % 5 {
		case 3:
			all = append(all, a.receipt(t))
		case 4:
			all = append(all, a.tokens(t))
		default:
			all = append(all, a.user(t, fmt.Sprintf("user-%d", i)))
		}
	}
	return all
}

func publish(t testing.TB, b *bus.Bus, all ...posted) {
	t.Helper()
	for _, p := range all {
		_, err := b.Publish(t.Context(), p.stream, "", p.raw)
		for bus.Retryable(err) && t.Context().Err() == nil { // a server that has just started may not answer
			_, err = b.Publish(t.Context(), p.stream, "", p.raw)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// publishMany publishes many at a time, as a publisher does.
func publishMany(t testing.TB, b *bus.Bus, all []posted) {
	t.Helper()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 32)
	for _, p := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if _, err := b.Publish(t.Context(), p.stream, p.id.String(), p.raw); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// publishInOrder has the messages in the audit stream in their order: each of the
// streams that it sources comes in by itself.
func publishInOrder(t testing.TB, b *bus.Bus, all []posted) {
	t.Helper()
	for i, p := range all {
		publish(t, b, p)
		if i+1 == len(all) || all[i+1].stream != p.stream {
			arrived(t, b, uint64(i+1))
		}
	}
}

// arrived waits until the audit stream holds n messages.
func arrived(t testing.TB, b *bus.Bus, n uint64) {
	t.Helper()
	bustest.Eventually(t, fmt.Sprintf("the audit stream holds %d messages", n), func() bool {
		info, err := b.Info(t.Context(), events.Audit)
		return err == nil && info.Msgs >= n
	})
}

func openReader(t testing.TB, b *bus.Bus, keys audit.KeySource) *audit.Reader {
	t.Helper()
	r, err := audit.Open(t.Context(), b.Conn(), audit.Config{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func filePath(t testing.TB) string { return filepath.Join(t.TempDir(), "audit.jsonl") }

func openFile(t testing.TB, path string) *audit.File {
	t.Helper()
	f, err := audit.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// running runs r on a file until stop is called, which closes the file.
func running(t testing.TB, r *audit.Reader, path string) (stop func()) {
	t.Helper()
	f := openFile(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, f) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		f.Close()
	})
	t.Cleanup(stop)
	return stop
}

func readLines(t testing.TB, path string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.SplitAfter(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
}

func countLines(path string) int {
	b, _ := os.ReadFile(path)
	return bytes.Count(b, []byte("\n"))
}

func waitLines(t testing.TB, path string, n int) {
	t.Helper()
	bustest.Eventually(t, fmt.Sprintf("the file has %d lines", n), func() bool { return countLines(path) >= n })
}

func verify(t testing.TB, path string, keys *events.KeySet) *audit.Report {
	t.Helper()
	r, err := audit.Verify(path, fleet, keys)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustBeOK(t testing.TB, r *audit.Report) {
	t.Helper()
	if !r.OK() {
		t.Fatalf("verify: %d problems: %v", r.ProblemCount, r.Problems)
	}
}

// exported gives what an export of the messages has, in their order.
func exported(t testing.TB, keys *events.KeySet, all []posted) (lines []byte, cp audit.Checkpoint) {
	t.Helper()
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	publishInOrder(t, b, all)
	var buf bytes.Buffer
	cp, err := openReader(t, b, keys).Export(within(t), &buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), cp
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
