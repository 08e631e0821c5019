package ledger_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher/ledger"
)

// crashDir makes the test binary a process that writes to the ledger there until
// it is killed, and prints the id of each event whose Update returned.
const crashDir = "RESCIND_LEDGER_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Println(writeForEver(dir))
		os.Exit(1)
	}
	if dir := os.Getenv(panicDir); dir != "" {
		fmt.Println(panicAndGoOn(dir))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// panicDir makes the test binary a process that tries to recover from a panic in
// an update.
const panicDir = "RESCIND_LEDGER_PANIC_DIR"

func panicAndGoOn(dir string) error {
	l, err := ledger.Open(dir, fleet, "p1")
	if err != nil {
		return err
	}
	defer func() { _ = recover() }()
	return l.Update(func(*ledger.Tx) error { panic("the file is damaged") })
}

func TestPanicInACommitEndsTheProcess(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), panicDir+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: the file is damaged") {
		t.Errorf("the process ended with %v and\n%s", err, out)
	}
}

func writeForEver(dir string) error {
	l, err := ledger.Open(dir, fleet, "p1")
	if err != nil {
		return err
	}
	failed := make(chan error)
	for range 4 {
		go func() {
			for {
				e := entry(time.Now().Add(time.Hour), strings.Repeat("x", 500))
				err := l.Update(func(tx *ledger.Tx) error {
					n, err := tx.Counter(events.Control)
					if err == nil {
						e.Seq = n
						err = tx.PutEvent(e)
					}
					if err != nil {
						return err
					}
					return tx.PutPost(&ledger.Post{Stream: events.Control, ID: e.ID})
				})
				if err != nil {
					failed <- err
				}
				fmt.Println(e.ID) // one write, so that lines stay whole
				go func() {
					seen := *e
					seen.Acked = true
					err := l.UpdateLater(func(tx *ledger.Tx) error {
						return errors.Join(tx.PutEvent(&seen), tx.SetCursor(events.Control, seen.ID))
					})
					if err != nil {
						failed <- err
					}
				}()
			}
		}()
	}
	return <-failed
}

func TestAcknowledgedUpdatesSurviveAKill(t *testing.T) {
	dir, total := t.TempDir(), 0
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	acknowledged := map[events.EventID]bool{}
	for range 20 {
		for _, id := range crash(t, dir, r.IntN(400)) {
			acknowledged[id] = true
		}
		l := open(t, dir)
		counters, order := map[uint64]bool{}, uint64(0)
		view(t, l, func(tx *ledger.Tx) error {
			total = 0
			err := tx.Events(func(e *ledger.Entry) error {
				total++
				if counters[e.Seq] {
					t.Errorf("seed %d: counter %d was given twice", seed, e.Seq)
				}
				counters[e.Seq] = true
				return nil
			})
			if err != nil {
				return err
			}
			// A position is never there before what it stands for.
			var at events.EventID
			if err := tx.Cursor(events.Control, &at); err != nil {
				return err
			}
			if e, err := tx.Known(at); !at.IsZero() && (err != nil || e == nil || !e.Acked) {
				t.Errorf("seed %d: the position is at %s, of which the ledger knows %+v, %v", seed, at, e, err)
			}
			posts, err := tx.Posts(0, 1<<20, nil)
			for _, p := range posts {
				if p.Order <= order || p.Raw == nil {
					t.Errorf("seed %d: post %d after %d, raw %v", seed, p.Order, order, p.Raw != nil)
				}
				order = p.Order
			}
			if len(posts) != total {
				t.Errorf("seed %d: %d posts of %d events", seed, len(posts), total)
			}
			return err
		})
		for id := range acknowledged {
			if !has(t, l, id) {
				t.Fatalf("seed %d: event %s was acknowledged and is gone", seed, id)
			}
		}
		for n := range uint64(total) {
			if !counters[n+1] {
				t.Errorf("seed %d: no event has counter %d of %d", seed, n+1, total)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("20 kills, %d events acknowledged, %d stored", len(acknowledged), total)
}

// crash runs the writer until it has acknowledged n updates, kills it, and gives
// all that it acknowledged.
func crash(t *testing.T, dir string, n int) (ids []events.EventID) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		id, err := events.ParseEventID(lines.Text())
		if err != nil {
			t.Fatalf("the writer says %q", lines.Text())
		}
		ids = append(ids, id)
		if len(ids) == n+1 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	return ids
}
