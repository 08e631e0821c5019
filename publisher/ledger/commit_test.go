package ledger_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher/ledger"
)

func TestFailingUpdateFailsAlone(t *testing.T) {
	l := open(t, t.TempDir())
	wrong := errors.New("wrong")
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var work sync.WaitGroup
	// While the first is held, the others queue up and share a transaction.
	work.Go(func() {
		if err := l.Update(func(*ledger.Tx) error { once.Do(func() { close(held) }); <-release; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-held
	const n = 50
	ids := make([]events.EventID, n)
	for i := range n {
		e := entry(time.Now().Add(time.Hour), "raw")
		ids[i] = e.ID
		work.Go(func() {
			err := l.Update(func(tx *ledger.Tx) error {
				if _, err := tx.Counter(events.Control); err != nil {
					return err
				}
				if err := tx.PutEvent(e); err != nil {
					return err
				}
				if i == n/2 {
					return wrong
				}
				return nil
			})
			if want := i == n/2; errors.Is(err, wrong) != want || !want && err != nil {
				t.Errorf("update %d: %v", i, err)
			}
		})
	}
	close(release)
	work.Wait()
	for i, id := range ids {
		if got, want := has(t, l, id), i != n/2; got != want {
			t.Errorf("event %d is stored: %v, want %v", i, got, want)
		}
	}
	update(t, l, func(tx *ledger.Tx) error {
		got, err := tx.Counter(events.Control)
		if got != n {
			t.Errorf("next counter is %d, want %d: none for what failed", got, n)
		}
		return err
	})
}

// TestCloseAnswersEveryUpdate closes a ledger while many update it: each gets
// its result, and what returned nil is there.
func TestCloseAnswersEveryUpdate(t *testing.T) {
	for range 30 {
		dir := t.TempDir()
		l, err := ledger.Open(dir, fleet, "p1")
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var kept []events.EventID
		var work sync.WaitGroup
		first := make(chan struct{})
		var once sync.Once
		for range 16 {
			work.Go(func() {
				for {
					e := entry(time.Now().Add(time.Hour), "raw")
					err := l.Update(func(tx *ledger.Tx) error { return tx.PutEvent(e) })
					once.Do(func() { close(first) })
					if err != nil {
						if !errors.Is(err, ledger.ErrClosed) {
							t.Errorf("update: %v", err)
						}
						return
					}
					mu.Lock()
					kept = append(kept, e.ID)
					mu.Unlock()
				}
			})
		}
		<-first
		for range 2 {
			work.Go(func() {
				if err := l.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
		}
		work.Wait()
		if err := l.View(func(*ledger.Tx) error { return nil }); !errors.Is(err, ledger.ErrClosed) {
			t.Errorf("view after close: %v, want ErrClosed", err)
		}
		again := open(t, dir)
		for _, id := range kept {
			if !has(t, again, id) {
				t.Fatalf("%s was acknowledged and is gone", id)
			}
		}
	}
}
