package fleettest_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/fleettest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/subscriber"
)

// The variables that make the test binary a publisher which revokes until it is
// killed, and prints the id of each request whose events the stream has.
const (
	killDir = "RESCIND_KILL_DIR"
	killURL = "RESCIND_KILL_URL"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		fmt.Println(revokeForEver(dir, os.Getenv(killURL)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func revokeForEver(dir, url string) error {
	key, err := os.ReadFile(filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	signer, err := events.ParseSigner(key)
	if err != nil {
		return err
	}
	dev, err := realm.OpenDev(dir)
	if err != nil {
		return err
	}
	realms, err := realm.New(dev.Configs(), realm.Options{})
	if err != nil {
		return err
	}
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	p, err := publisher.Open(context.Background(), nc, publisher.Config{Issuer: fleettest.Issuer, Signer: signer, Realms: realms,
		Dir: filepath.Join(dir, "ledger"), ListenFor: time.Millisecond})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for i := range 6 {
		go func() {
			for j := 0; ; j++ {
				o := fleettest.Order(target(events.KindUser, "demo", fmt.Sprintf("u%d-%d-%d", os.Getpid(), i, j)))
				o.Wait = publisher.WaitNone
				res, err := p.Revoke(context.Background(), o)
				if err != nil {
					failed <- err
				}
				fmt.Println(res.ID) // one write, so that lines stay whole
			}
		}()
	}
	return <-failed
}

// killOnce runs the publisher until it has acknowledged n requests, kills it, and
// gives all that it acknowledged.
func killOnce(t *testing.T, dir, url string, n int) (ids []events.EventID) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killDir+"="+dir, killURL+"="+url)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		id, err := events.ParseEventID(lines.Text())
		if err != nil {
			t.Fatalf("the publisher says %q", lines.Text())
		}
		if ids = append(ids, id); len(ids) == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	return ids
}

// TestKilledPublisherLosesNothingAndNumbersNothingTwice kills a publisher at any
// point between accepting, publishing, noting where the stream has an event, closing
// a request, and publishing its receipt.
func TestKilledPublisherLosesNothingAndNumbersNothingTwice(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	f := fleettest.Start(t)
	if err := f.Publisher.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	signer, err := events.NewSigner("p2")
	if err != nil {
		t.Fatal(err)
	}
	key, err := signer.PrivateJWK()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "key"), key, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Keys = events.NewKeySet(f.Signer.Public(), signer.Public())
	f.OpenAgent(t, "a", func(c *subscriber.Config) { c.Keys = f.Keys })
	var acknowledged []events.EventID
	for range 5 {
		acknowledged = append(acknowledged, killOnce(t, dir, f.Server.URL(), 1+r.IntN(150))...)
		p := f.OpenPublisher(t, func(c *publisher.Config) {
			c.Signer, c.Dir, c.ReceiptAfter = signer, filepath.Join(dir, "ledger"), time.Second
		})
		bustest.Eventually(t, "every request has a receipt", func() bool { return open(t, p) == 0 })
		for _, id := range acknowledged {
			if _, _, err := p.Revocation(id); err != nil {
				t.Fatalf("request %s was acknowledged: %v", id, err)
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p := f.OpenPublisher(t, func(c *publisher.Config) { c.Signer, c.Dir = signer, filepath.Join(dir, "ledger") })
	all, err := p.Revocations(events.EventID{}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	checkStreams(t, f, all)
}

// open counts the requests without a receipt.
func open(t *testing.T, p *publisher.Publisher) (n int) {
	t.Helper()
	all, err := p.Revocations(events.EventID{}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if all[i].Receipt == nil {
			n++
		}
	}
	return n
}

// numbered is what stands under each of a publisher's numbers, and where each id was
// seen.
type numbered struct {
	ids  map[uint64]events.EventID
	seen map[events.EventID]bool
}

func (n *numbered) note(t *testing.T, what string, counter uint64, id events.EventID) {
	t.Helper()
	if have, ok := n.ids[counter]; ok && have != id {
		t.Errorf("%s %s and %s have number %d", what, have, id, counter)
	}
	n.ids[counter] = id
	n.seen[id] = true
}

func (n *numbered) whole(t *testing.T, what string) {
	t.Helper()
	for i := range uint64(len(n.ids)) {
		if _, ok := n.ids[i+1]; !ok {
			t.Errorf("no %s has number %d of %d", what, i+1, len(n.ids))
		}
	}
}

// checkStreams waits until both streams have what the ledger has, and compares.
func checkStreams(t *testing.T, f *fleettest.Fleet, all []publisher.Record) {
	t.Helper()
	b := f.Server.Bus(t, events.DefaultFleet)
	var sent, receipts *numbered
	bustest.Eventually(t, "every receipt is in the audit stream", func() bool {
		receipts = readNumbered(t, b, events.Audit, func(raw []byte, n *numbered) {
			if rec, err := f.Keys.OpenReceipt(events.DefaultFleet, raw); err == nil && rec.Origin.Publisher == "p2" {
				n.note(t, "receipts of", rec.Origin.Counter, rec.ID)
			}
		})
		return len(receipts.seen) >= len(all)
	})
	sent = readNumbered(t, b, events.Control, func(raw []byte, n *numbered) {
		r, _, err := f.Keys.Open(events.DefaultFleet, raw)
		if err != nil {
			t.Fatal(err)
		}
		n.note(t, "events", r.Origin.Counter, r.ID)
	})
	sent.whole(t, "event")
	receipts.whole(t, "receipt")
	for i := range all {
		if !receipts.seen[all[i].ID] || !sent.seen[all[i].Events[0].ID] {
			t.Errorf("request %s: receipt %v, event %v", all[i].ID, receipts.seen[all[i].ID], sent.seen[all[i].Events[0].ID])
		}
	}
	t.Logf("%d requests, %d events, %d receipts", len(all), len(sent.ids), len(receipts.ids))
}

func readNumbered(t *testing.T, b *bus.Bus, s events.Stream, note func([]byte, *numbered)) *numbered {
	t.Helper()
	n := &numbered{ids: map[uint64]events.EventID{}, seen: map[events.EventID]bool{}}
	for from := uint64(0); ; {
		batch, err := b.Read(t.Context(), s, from, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range batch.Messages {
			note(m.Data, n)
			from = m.Seq + 1
		}
		if batch.Complete {
			return n
		}
	}
}
