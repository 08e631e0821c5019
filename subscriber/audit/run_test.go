package audit_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/subscriber/audit"
)

// childEnv makes the test binary an auditor: URL, file and keys.
const childEnv = "RESCIND_TEST_AUDITOR"

func TestMain(m *testing.M) {
	if args := os.Getenv(childEnv); args != "" {
		if err := auditor(strings.Split(args, "\n")); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// auditor is what the child process does until it is killed.
func auditor(args []string) error {
	data, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	keys, err := events.ParseKeySet(data)
	if err != nil {
		return err
	}
	nc, err := nats.Connect(args[0])
	if err != nil {
		return err
	}
	r, err := audit.Open(context.Background(), nc, audit.Config{Keys: keys})
	if err != nil {
		return err
	}
	r.SetBatch(7)
	f, err := audit.OpenFile(args[1])
	if err != nil {
		return err
	}
	return r.Run(context.Background(), f)
}

// exactly fails unless the file has each of all once, and verifies.
func exactly(t *testing.T, path string, keys *events.KeySet, all []posted) {
	t.Helper()
	want := map[string]int{}
	for _, p := range all {
		want[string(p.raw)]++
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	report := verify(t, path, keys)
	mustBeOK(t, report)
	for _, b := range readLines(t, path) {
		for raw := range rawOf(string(b)) {
			want[raw]--
		}
	}
	for raw, n := range want {
		if n != 0 {
			t.Errorf("an event or receipt is in the file %d times: %.60s…", 1-n, raw)
		}
	}
	if report.Lines != int64(len(all)) || report.Rejected != 0 {
		t.Errorf("got %d lines, %d rejected, want %d and 0", report.Lines, report.Rejected, len(all))
	}
}

// rawOf gives the raw member of a line.
func rawOf(line string) func(func(string) bool) {
	return func(yield func(string) bool) {
		if _, rest, ok := strings.Cut(line, `"raw":"`); ok {
			raw, _, _ := strings.Cut(rest, `"`)
			yield(raw)
		}
	}
}

func TestKilledAuditorHasEveryEventAndReceiptOnce(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	all := a.mixed(t, 1000)
	publishMany(t, b, all)
	arrived(t, b, 1000)
	path := filePath(t)
	keysFile := filepath.Join(t.TempDir(), "keys.json")
	jwks, err := a.keys().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keysFile, jwks, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{50, 51, 400, 700} {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{s.URL(), path, keysFile}, "\n"))
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		waitLines(t, path, at)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := child.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		if n := countLines(path); n >= 1000 {
			t.Fatalf("killed at %d lines, which is not in the middle", n)
		}
		mustBeFaultless(t, path, a.keys())
	}
	stop := running(t, openReader(t, b, a.keys()), path)
	waitLines(t, path, 1000)
	stop()
	exactly(t, path, a.keys(), all)
}

// mustBeFaultless verifies a file that may end in the middle of the stream, whose
// order is not that of the counters.
func mustBeFaultless(t *testing.T, path string, keys *events.KeySet) {
	t.Helper()
	for _, p := range verify(t, path, keys).Problems {
		if !strings.Contains(p.Text, "counter") {
			t.Errorf("verify: %v", p)
		}
	}
}

func TestAuditorStoppedBetweenWritingAndAcknowledgingRepeatsNothing(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	all := a.mixed(t, 300)
	path := filePath(t)
	r := openReader(t, b, a.keys())
	r.SetBatch(10)
	for i := range 3 {
		f := openFile(t, path)
		ctx, cancel := context.WithCancel(t.Context())
		r.SetWritten(cancel)
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx, f) }()
		publish(t, b, all[i*100:(i+1)*100]...)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	arrived(t, b, 300)
	r.SetWritten(func() {})
	stop := running(t, r, path)
	waitLines(t, path, 300)
	stop()
	exactly(t, path, a.keys(), all)
}

func TestRunAcknowledgesWhatIsInTheFile(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	path := filePath(t)
	running(t, openReader(t, b, a.keys()), path)
	publish(t, b, a.mixed(t, 20)...)
	waitLines(t, path, 20)
	c, err := b.AuditConsumer(t.Context(), audit.DefaultDurable)
	if err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "nothing is pending", func() bool {
		n, err := c.Pending(t.Context())
		return err == nil && n == 0
	})
}

func TestFileLeadsNotTheConsumer(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	all := a.mixed(t, 30)
	publish(t, b, all...)
	arrived(t, b, 30)
	// Another program has taken the consumer's messages, and acknowledged some.
	c, err := b.AuditConsumer(t.Context(), audit.DefaultDurable)
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := c.Fetch(within(t), 20)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range msgs[:len(msgs)/2] {
		if err := m.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	path := filePath(t)
	stop := running(t, openReader(t, b, a.keys()), path)
	waitLines(t, path, 30)
	stop()
	exactly(t, path, a.keys(), all)
}

func TestMessagesThatAnotherTookMeanwhileAreRead(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	path := filePath(t)
	stop := running(t, openReader(t, b, a.keys()), path)
	first := a.mixed(t, 1)
	publish(t, b, first...)
	waitLines(t, path, 1)
	// Two files on one consumer share its messages, and each is complete.
	other := filePath(t)
	stopOther := running(t, openReader(t, b, a.keys()), other)
	all := a.mixed(t, 200)
	publishMany(t, b, all)
	// The one that got the last message has all; the other learns of it with the
	// next message that it gets.
	bustest.Eventually(t, "one file is complete", func() bool { return countLines(path) == 201 || countLines(other) == 201 })
	stop()
	stopOther()
	for _, p := range []string{path, other} {
		stop := running(t, openReader(t, b, a.keys()), p)
		waitLines(t, p, 201)
		stop()
		exactly(t, p, a.keys(), append(slices.Clone(first), all...))
	}
}

func TestEventPublishedAgainIsInTheFileOnce(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	all := a.mixed(t, 10)
	path := filePath(t)
	r := openReader(t, b, a.keys())
	publish(t, b, all...)
	publish(t, b, all[0], all[3]) // within one batch, and later
	arrived(t, b, 12)
	stop := running(t, r, path)
	waitLines(t, path, 10)
	publish(t, b, all...)
	last := a.user(t, "last")
	publish(t, b, last)
	arrived(t, b, 23)
	waitLines(t, path, 11)
	stop()
	exactly(t, path, a.keys(), append(all, last))
	// After a restart the set comes from the file.
	f := openFile(t, path)
	publish(t, b, all...)
	arrived(t, b, 33)
	if err := r.CatchUp(within(t), f); err != nil {
		t.Fatal(err)
	}
	exactly(t, path, a.keys(), append(all, last))
}

func TestRolledBackStreamIsReadAgain(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	all := a.mixed(t, 10)
	publish(t, b, all[:5]...)
	arrived(t, b, 5)
	snapshot := s.Snapshot(t)
	bustest.Eventually(t, "the client is back", b.Conn().IsConnected)
	arrived(t, b, 5)
	path := filePath(t)
	stop := running(t, openReader(t, b, a.keys()), path)
	publish(t, b, all[5:8]...)
	waitLines(t, path, 8)
	s.RollBack(t, snapshot)
	bustest.Eventually(t, "the client is back", b.Conn().IsConnected)
	arrived(t, b, 5)
	// What was lost comes again, behind what is new: at sequences that were read.
	publish(t, b, all[8:]...)
	publish(t, b, all[5:8]...)
	waitLines(t, path, 10)
	stop()
	exactly(t, path, a.keys(), all)
	if r := verify(t, path, a.keys()); r.NoteCount == 0 || !strings.Contains(r.Notes[0].Text, "goes back") {
		t.Errorf("no note of the stream's going back: %v", r.Notes)
	}
}

func TestRemadeStreamIsReadAgain(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	all := []posted{a.receipt(t), a.receipt(t), a.receipt(t), a.receipt(t)}
	publish(t, b, all[:3]...)
	path := filePath(t)
	r := openReader(t, b, a.keys())
	f := openFile(t, path)
	if err := r.CatchUp(within(t), f); err != nil {
		t.Fatal(err)
	}
	s.LoseTail(t, fleet, events.Audit, 1)
	publish(t, b, all[3])
	publish(t, b, all[1:3]...)
	if err := r.CatchUp(within(t), f); err != nil {
		t.Fatal(err)
	}
	exactly(t, path, a.keys(), all)
}

func TestRunOutlivesTheServer(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	all := a.mixed(t, 20)
	path := filePath(t)
	stop := running(t, openReader(t, b, a.keys()), path)
	publish(t, b, all[:10]...)
	waitLines(t, path, 10)
	s.Kill(t)
	s.Start(t)
	arrived(t, b, 10)
	publish(t, b, all[10:]...)
	waitLines(t, path, 20)
	stop()
	exactly(t, path, a.keys(), all)
}

func TestHoleInTheStreamIsPassedOver(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	all := []posted{a.receipt(t), a.receipt(t), a.receipt(t)}
	publish(t, b, all...)
	info, err := b.Info(t.Context(), events.Audit)
	if err != nil {
		t.Fatal(err)
	}
	s.Drop(t, fleet, events.Audit, info.First+1)
	path := filePath(t)
	if err := openReader(t, b, a.keys()).CatchUp(within(t), openFile(t, path)); err != nil {
		t.Fatal(err)
	}
	r := verify(t, path, a.keys())
	if r.Lines != 2 || len(r.Problems) != 1 || r.Problems[0].Line != 2 ||
		!strings.Contains(r.Problems[0].Text, "counter 2 of publisher p1 on audit is missing: line 1 has 1, line 2 has 3") {
		t.Errorf("got %+v", r)
	}
}

// changingKeys gives the sets one after the other, and then the last for ever; a
// nil set is a failure.
type changingKeys struct {
	sets  []*events.KeySet
	asked atomic.Int64
}

func (c *changingKeys) Keys(context.Context) (*events.KeySet, error) {
	n := min(c.asked.Add(1), int64(len(c.sets)))
	if set := c.sets[n-1]; set != nil {
		return set, nil
	}
	return nil, errors.New("the source is down")
}

func TestNewKeyIsAskedFor(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a, late := newAuthor(t, "p1"), newAuthor(t, "p2")
	both := events.NewKeySet(a.signer.Public(), late.signer.Public())
	all := []posted{a.user(t, "a"), late.user(t, "b"), late.user(t, "c")}
	publish(t, b, all...)
	arrived(t, b, 3)
	path := filePath(t)
	// The source is down when the new key is needed: nothing is recorded as
	// rejected because of that.
	keys := &changingKeys{sets: []*events.KeySet{a.keys(), nil, nil, both}}
	stop := running(t, openReader(t, b, keys), path)
	waitLines(t, path, 3)
	stop()
	exactly(t, path, both, all)
	if n := keys.asked.Load(); n != 4 {
		t.Errorf("the source was asked %d times, want 4", n)
	}
}

func TestUnknownKeysAreAskedForOnceABatch(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a, stranger := newAuthor(t, "p1"), newAuthor(t, "p2")
	publish(t, b, stranger.mixed(t, 50)...)
	arrived(t, b, 50)
	keys := &changingKeys{sets: []*events.KeySet{a.keys()}}
	if err := openReader(t, b, keys).CatchUp(within(t), openFile(t, filePath(t))); err != nil {
		t.Fatal(err)
	}
	if n := keys.asked.Load(); n != 2 {
		t.Errorf("the source was asked %d times, want 2", n)
	}
}

func TestOpenRefuses(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	for name, cfg := range map[string]audit.Config{
		"no keys":     {},
		"keys fail":   {Keys: &changingKeys{sets: []*events.KeySet{nil}}},
		"bad fleet":   {Keys: a.keys(), Fleet: "A.b"},
		"other fleet": {Keys: a.keys(), Fleet: "other"},
	} {
		if _, err := audit.Open(t.Context(), b.Conn(), cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := audit.Open(t.Context(), nil, audit.Config{Keys: a.keys()}); err == nil {
		t.Error("no connection: no error")
	}
	r, err := audit.Open(t.Context(), b.Conn(), audit.Config{Keys: a.keys(), Durable: "a.b"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(within(t), openFile(t, filePath(t))); !errors.Is(err, bus.ErrRefused) {
		t.Errorf("bad consumer name: got %v, want ErrRefused", err)
	}
}
