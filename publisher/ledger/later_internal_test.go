package ledger

import (
	"bytes"
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
)

func openHere(t *testing.T) *Ledger {
	t.Helper()
	l, err := Open(filepath.Join(t.TempDir(), "ledger"), events.DefaultFleet, "p1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return l
}

// awaitLate waits until n updates without hurry have queued up.
func awaitLate(l *Ledger, n int) {
	for queued := -1; queued < n; runtime.Gosched() {
		l.mu.Lock()
		queued = len(l.late)
		l.mu.Unlock()
	}
}

// holdLate keeps what has no hurry from being committed on its own.
func holdLate(l *Ledger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.patience = time.AfterFunc(time.Hour, func() {})
}

// commits is how many transactions were committed.
func commits(t *testing.T, l *Ledger) (n int) {
	t.Helper()
	if err := l.View(func(tx *Tx) error { n = tx.tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhatHasNoHurryRidesAlong(t *testing.T) {
	l := openHere(t)
	holdLate(l)
	wrong := errors.New("wrong")
	ids := make([]events.EventID, 5)
	put := func(id events.EventID) func(tx *Tx) error {
		return func(tx *Tx) error { return tx.PutRequest(id, time.Now().Unix()+60, "r") }
	}
	var work sync.WaitGroup
	for i := range ids {
		ids[i] = events.NewEventID()
		work.Go(func() {
			if err := l.UpdateLater(put(ids[i])); err != nil {
				t.Errorf("update %d: %v", i, err)
			}
		})
	}
	work.Go(func() {
		if err := l.UpdateLater(func(*Tx) error { return wrong }); !errors.Is(err, wrong) {
			t.Errorf("the one that fails: %v", err)
		}
	})
	awaitLate(l, 6)
	before := commits(t, l)
	if err := l.Update(put(events.NewEventID())); err != nil {
		t.Error(err)
	}
	work.Wait()
	if n := commits(t, l) - before; n != 1 {
		t.Errorf("%d commits, want one", n)
	}
	for i, id := range ids {
		err := l.View(func(tx *Tx) error {
			if found, err := tx.Request(id, new(string)); err != nil || !found {
				t.Errorf("update %d: found %v, %v", i, found, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestBytesOfAnEventAreWrittenOnce(t *testing.T) {
	l := openHere(t)
	e := &Entry{ID: events.NewEventID(), Stream: events.Tokens, Expires: time.Now().Unix() + 60, Raw: bytes.Repeat([]byte("x"), 1<<20)}
	put := func() int64 {
		before := l.db.Stats()
		if err := l.Update(func(tx *Tx) error { return tx.PutEvent(e) }); err != nil {
			t.Fatal(err)
		}
		after := l.db.Stats()
		return after.TxStats.GetPageAlloc() - before.TxStats.GetPageAlloc()
	}
	if n := put(); n < 1<<20 {
		t.Fatalf("first written with %d bytes", n)
	}
	e.Seq = 7
	if n := put(); n > 1<<17 {
		t.Errorf("%d bytes were written to note where the stream has it", n)
	}
	e.Raw = []byte("stamped anew")
	put()
	err := l.View(func(tx *Tx) error {
		if got, err := tx.Event(e.ID); err != nil || got.Seq != 7 || string(got.Raw) != "stamped anew" {
			t.Errorf("%+v, %v", got, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWhatHasNoHurryIsWrittenWithoutCompany(t *testing.T) {
	l := openHere(t)
	for range 3 {
		if err := l.UpdateLater(func(tx *Tx) error { _, err := tx.Counter(events.Audit); return err }); err != nil {
			t.Fatal(err)
		}
	}
	err := l.View(func(tx *Tx) error {
		if n := tx.NextCounter(events.Audit); n != 4 {
			t.Errorf("next counter %d, want 4", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCloseWritesWhatHasNoHurry(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	l, err := Open(dir, events.DefaultFleet, "p1")
	if err != nil {
		t.Fatal(err)
	}
	holdLate(l)
	id := events.NewEventID()
	done := make(chan error, 1)
	go func() {
		done <- l.UpdateLater(func(tx *Tx) error { return tx.PutRequest(id, time.Now().Unix()+60, "r") })
	}()
	awaitLate(l, 1)
	if err := errors.Join(l.Close(), <-done); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(dir, events.DefaultFleet, "p1"); err != nil {
		t.Fatal(err)
	}
	err = l.View(func(tx *Tx) error {
		if found, err := tx.Request(id, new(string)); err != nil || !found {
			t.Errorf("found %v, %v", found, err)
		}
		return nil
	})
	if err := errors.Join(err, l.Close()); err != nil {
		t.Error(err)
	}
}
